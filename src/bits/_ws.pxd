"""RFC 6455 frames, server side, for the hub to use without touching a Python object."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Seen:
    NEED_MORE = 0   # everything given was taken; nothing to do
    GOT_PING = 1    # answer with a pong carrying `control`
    GOT_CLOSE = 2   # answer with a close carrying `close_code`, then end the connection
    BROKEN = 3      # the peer broke the protocol: close with `close_code`
    GOT_MESSAGE = 4 # the sink holds a whole message; never seen without a sink

cdef struct Reader:
    # The message under way
    uint32_t message_length     # bytes of data so far in this message
    uint8_t message_opcode      # 1 text, 2 binary, 0 when between messages
    uint8_t utf8_need           # continuation bytes still wanted
    uint8_t utf8_low            # least and greatest value allowed for the next one
    uint8_t utf8_high
    # The frame under way
    uint8_t header[14]
    uint8_t header_length       # bytes of header so far
    uint8_t in_payload
    uint8_t mask_phase
    uint32_t left               # payload bytes still to come
    uint8_t control[125]        # a control frame's payload, unmasked
    uint8_t control_length
    # The verdict
    uint16_t close_code

# Where messages are kept for who wants them. Begins zeroed; whoever made it frees `data`.
cdef struct Sink:
    uint8_t *data
    size_t length       # bytes of the message under way
    size_t capacity
    uint8_t opcode      # of the message that has just become whole: 1 text, 2 binary

cdef void reset(Reader *reader) noexcept nogil
cdef bint is_idle(const Reader *reader) noexcept nogil
cdef int feed(Reader *reader, const uint8_t **cursor, const uint8_t *end) noexcept nogil
cdef int feed_into(
    Reader *reader, const uint8_t **cursor, const uint8_t *end, uint32_t limit, Sink *sink
) noexcept nogil
cdef size_t write_header(uint8_t *out, uint8_t opcode, uint64_t length) noexcept nogil
