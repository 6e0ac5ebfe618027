"""RFC 6455 frames, server side, sans I/O: bytes from a client in, what to do about them out.

Clients of a presence server have nothing to say, so the hub has data checked and thrown away; with a sink, the same
reader keeps it, for the echo that conformance suites talk to. What matters is that any split of the stream is
understood alike, that memory stays bounded, and that every breach of the protocol ends the connection with the code
the standard names for it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

# The longest message taken from a client. Nothing we know sends one at all; 4 kB leaves room for a
# chatty library's hello and keeps a hostile client's cost at one small read.
cdef enum:
    MAX_MESSAGE = 4096

MAX_MESSAGE_BYTES = MAX_MESSAGE

cdef enum:
    SCRATCH = 256           # payload without a sink is unmasked here, piece by piece, to be checked
    SMALLEST_SINK = 4096
    KEPT_SINK = 65536       # a sink that grew beyond this is given back after its message
    LARGEST_LIMIT = 0x7FFFFFFF

LARGEST_MAX_MESSAGE = LARGEST_LIMIT

cdef enum:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

cdef enum:
    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NO_CODE = 1005
    BAD_DATA = 1007
    TOO_BIG = 1009
    OUR_FAULT = 1011


cdef void reset(Reader *reader) noexcept nogil:
    """Start at the first byte of a connection."""
    memset(reader, 0, sizeof(Reader))


cdef bint is_idle(const Reader *reader) noexcept nogil:
    """Tell whether nothing is under way, so that the reader may be freed and begun anew."""
    return reader.header_length == 0 and reader.message_opcode == 0


cdef int broken(Reader *reader, uint16_t code) noexcept nogil:
    reader.close_code = code
    return BROKEN


cdef bint utf8_accepts(Reader *reader, uint8_t byte) noexcept nogil:
    """Step the UTF-8 checker (RFC 3629 section 4: no surrogates, no overlong forms, nothing past U+10FFFF)."""
    if reader.utf8_need:
        if not reader.utf8_low <= byte <= reader.utf8_high:
            return False
        reader.utf8_need -= 1
    elif byte < 0x80:
        return True
    elif 0xC2 <= byte <= 0xDF:
        reader.utf8_need = 1
    elif 0xE0 <= byte <= 0xEF:
        reader.utf8_need = 2
    elif 0xF0 <= byte <= 0xF4:
        reader.utf8_need = 3
    else:
        return False
    # Only the byte after the first is restricted, and only after these four.
    reader.utf8_low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
    reader.utf8_high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF
    return True


cdef bint utf8_accepts_all(Reader *reader, const uint8_t *at, size_t size) noexcept nogil:
    """Step the checker over many bytes; ASCII, eight at a time."""
    cdef const uint8_t *end = at + size
    cdef uint64_t word
    while at < end:
        if reader.utf8_need == 0:
            while end - at >= 8:
                memcpy(&word, at, 8)
                if word & <uint64_t> 0x8080808080808080:
                    break
                at += 8
            if at == end:
                break
        if not utf8_accepts(reader, at[0]):
            return False
        at += 1
    return True


cdef void unmask(uint8_t *out, const uint8_t *at, size_t size, const uint8_t *mask, uint8_t phase) noexcept nogil:
    """Undo the mask (section 5.3), eight bytes at a time; phase is how far into the mask the first byte is."""
    cdef uint8_t turned[8]
    cdef uint64_t key, word
    cdef size_t i
    for i in range(8):
        turned[i] = mask[(phase + i) & 3]
    memcpy(&key, turned, 8)
    i = 0
    while i + 8 <= size:
        memcpy(&word, at + i, 8)
        word ^= key
        memcpy(out + i, &word, 8)
        i += 8
    while i < size:
        out[i] = at[i] ^ turned[i & 7]
        i += 1


cdef uint8_t *room(Sink *sink, size_t size) noexcept nogil:
    """Return where the next bytes go, or NULL when there is no memory.

    It grows with what came, never with what was announced: a client that only talks of megabytes costs none.
    """
    cdef size_t capacity = sink.capacity
    cdef uint8_t *grown
    if size > capacity - sink.length:
        capacity = max(<size_t> SMALLEST_SINK, 2 * capacity, sink.length + size)
        grown = <uint8_t *> realloc(sink.data, capacity)
        if grown == NULL:
            return NULL
        sink.data = grown
        sink.capacity = capacity
    return sink.data + sink.length


cdef size_t header_size(const Reader *reader) noexcept nogil:
    """Return how many header bytes this frame has, as far as its first two bytes tell."""
    if reader.header_length < 2:
        return 2
    cdef uint8_t length = reader.header[1] & 0x7F
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + 4


cdef int begin_frame(Reader *reader, uint32_t limit) noexcept nogil:
    """Judge a complete header. Returns NEED_MORE or BROKEN."""
    cdef uint8_t opcode = reader.header[0] & 0x0F
    cdef bint final = reader.header[0] & 0x80
    cdef uint64_t length = reader.header[1] & 0x7F
    cdef int i
    if length == 126:
        length = (<uint64_t> reader.header[2] << 8) | reader.header[3]
        if length < 126:
            return broken(reader, PROTOCOL_ERROR)  # section 5.2: the shortest form is the only one
    elif length == 127:
        length = 0
        for i in range(8):
            length = (length << 8) | reader.header[2 + i]
        if length < 65536 or length >> 63:
            return broken(reader, PROTOCOL_ERROR)
    if opcode >= CLOSE:
        if opcode > PONG or not final or length > 125:
            return broken(reader, PROTOCOL_ERROR)
        reader.control_length = 0
    else:
        if opcode > BINARY or (opcode == CONTINUATION) != (reader.message_opcode != 0):
            return broken(reader, PROTOCOL_ERROR)
        if length > limit - reader.message_length:
            return broken(reader, TOO_BIG)
        if opcode != CONTINUATION:
            reader.message_opcode = opcode
        reader.message_length += <uint32_t> length
    reader.left = <uint32_t> length
    reader.mask_phase = 0
    reader.in_payload = True
    return NEED_MORE


cdef int judge_close(Reader *reader) noexcept nogil:
    """Check a close frame's payload (section 7.4) and choose the code to answer with."""
    cdef Reader text
    cdef uint16_t code
    if reader.control_length == 0:
        reader.close_code = NORMAL
        return GOT_CLOSE
    if reader.control_length == 1:
        return broken(reader, PROTOCOL_ERROR)
    code = (<uint16_t> reader.control[0] << 8) | reader.control[1]
    if not (3000 <= code <= 4999 or 1000 <= code <= 1003 or 1007 <= code <= 1014):
        return broken(reader, PROTOCOL_ERROR)
    text.utf8_need = 0
    if not utf8_accepts_all(&text, reader.control + 2, reader.control_length - 2) or text.utf8_need:
        return broken(reader, BAD_DATA)
    reader.close_code = code
    return GOT_CLOSE


cdef int end_frame(Reader *reader, Sink *sink) noexcept nogil:
    """Close the books on a complete frame."""
    cdef uint8_t opcode = reader.header[0] & 0x0F
    cdef bint final = reader.header[0] & 0x80
    reader.header_length = 0
    reader.in_payload = False
    if opcode == PING:
        return GOT_PING
    if opcode == CLOSE:
        return judge_close(reader)
    if opcode != PONG and final:
        if reader.utf8_need:
            return broken(reader, BAD_DATA)
        if sink != NULL:
            sink.opcode = reader.message_opcode
        reader.message_opcode = 0
        reader.message_length = 0
        return NEED_MORE if sink == NULL else GOT_MESSAGE
    return NEED_MORE


cdef int take_payload(Reader *reader, const uint8_t *at, size_t size, Sink *sink) noexcept nogil:
    """Unmask, check and perhaps keep the next bytes of a frame's payload. Returns NEED_MORE or BROKEN."""
    cdef const uint8_t *mask = reader.header + header_size(reader) - 4
    cdef uint8_t scratch[SCRATCH]
    cdef uint8_t *out
    cdef size_t piece
    reader.left -= <uint32_t> size
    if reader.header[0] & 0x08:
        # At most 125 in all: begin_frame saw to it.
        unmask(reader.control + reader.control_length, at, size, mask, reader.mask_phase)
        reader.control_length += <uint8_t> size
        reader.mask_phase = (reader.mask_phase + size) & 3
        return NEED_MORE
    while size:
        piece = size
        if sink != NULL:
            out = room(sink, size)
            if out == NULL:
                return broken(reader, OUR_FAULT)
            sink.length += size
        elif reader.message_opcode == TEXT:
            out = scratch
            piece = min(size, <size_t> SCRATCH)
        else:
            return NEED_MORE  # nobody looks at it
        unmask(out, at, piece, mask, reader.mask_phase)
        reader.mask_phase = (reader.mask_phase + piece) & 3
        if reader.message_opcode == TEXT and not utf8_accepts_all(reader, out, piece):
            return broken(reader, BAD_DATA)
        at += piece
        size -= piece
    return NEED_MORE


cdef int feed(Reader *reader, const uint8_t **cursor, const uint8_t *end) noexcept nogil:
    """Take bytes from cursor up to end; stop early, with the cursor moved on, at something to answer.

    Call again with the rest until it says NEED_MORE. After BROKEN or GOT_CLOSE nothing more may be fed.
    """
    return feed_into(reader, cursor, end, MAX_MESSAGE, NULL)


cdef int feed_into(
    Reader *reader, const uint8_t **cursor, const uint8_t *end, uint32_t limit, Sink *sink
) noexcept nogil:
    """Do what feed does, with a limit of bytes a message and, unless sink is NULL, a place to keep them.

    With a sink it also stops at GOT_MESSAGE; the caller then takes sink.length bytes and sets that to 0.
    """
    cdef const uint8_t *at = cursor[0]
    cdef size_t size
    cdef int seen = NEED_MORE
    while at < end or (reader.in_payload and reader.left == 0):
        if not reader.in_payload:
            reader.header[reader.header_length] = at[0]
            reader.header_length += 1
            at += 1
            if reader.header_length == 1 and reader.header[0] & 0x70:
                seen = broken(reader, PROTOCOL_ERROR)  # reserved bits: no extension was agreed
            elif reader.header_length == 2 and not reader.header[1] & 0x80:
                seen = broken(reader, PROTOCOL_ERROR)  # section 5.1: a client must mask
            elif reader.header_length == header_size(reader):
                seen = begin_frame(reader, limit)
        else:
            size = min(<size_t> reader.left, <size_t> (end - at))
            seen = take_payload(reader, at, size, sink)
            at += size
            if seen == NEED_MORE and reader.left == 0:
                seen = end_frame(reader, sink)
        if seen != NEED_MORE:
            break
    cursor[0] = at
    return seen


cdef size_t write_header(uint8_t *out, uint8_t opcode, uint64_t length) noexcept nogil:
    """Write an unmasked, final frame's header. out has room for 10 bytes. Returns the bytes written."""
    cdef int i
    out[0] = 0x80 | opcode
    if length < 126:
        out[1] = <uint8_t> length
        return 2
    if length < 65536:
        out[1] = 126
        out[2] = <uint8_t> (length >> 8)
        out[3] = <uint8_t> length
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <uint8_t> (length >> (56 - 8 * i))
    return 10


def text_frame(bytes payload not None):
    """Return one finished text frame around a payload of UTF-8."""
    cdef uint8_t header[10]
    cdef size_t size = write_header(header, TEXT, len(payload))
    return (<char *> header)[:size] + payload


def frame_header(int opcode, uint64_t length):
    """Return the header of an unmasked, final frame around a payload of so many bytes, to be sent right behind it.

    Raises:
        ValueError: not an opcode of section 5.2, or a control frame longer than 125 bytes.
    """
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise ValueError(f"opcode {opcode}: expected 0, 1, 2, 8, 9 or 10")
    if length > 125 and opcode >= CLOSE or length >> 63:
        raise ValueError(f"{length} bytes in a frame of opcode {opcode}: expected at most 125, or less than 2^63 of data")
    cdef uint8_t header[10]
    cdef size_t size = write_header(header, <uint8_t> opcode, length)
    return (<char *> header)[:size]


def close_frame(int code):
    """Return a finished close frame with a code and no reason."""
    if not 1000 <= code <= 4999:
        raise ValueError(f"close code {code}: expected 1000 to 4999")
    cdef uint8_t frame[4]
    write_header(frame, CLOSE, 2)
    frame[2] = <uint8_t> (code >> 8)
    frame[3] = <uint8_t> code
    return (<char *> frame)[:4]


def read(list chunks not None):
    """Read a client's stream, given as chunks of bytes; for tests and tools, the hub calls feed itself.

    Returns:
        What had to be answered, in order: ("ping", payload), and last perhaps ("close", code) or
        ("broken", code), after which the rest is not looked at.
    """
    cdef Reader reader
    cdef const uint8_t *cursor
    cdef const uint8_t *end
    cdef bytes chunk
    cdef int seen
    answers = []
    reset(&reader)
    for chunk in chunks:
        cursor = chunk
        end = cursor + len(chunk)
        while True:
            seen = feed(&reader, &cursor, end)
            if seen == GOT_PING:
                answers.append(("ping", (<char *> reader.control)[:reader.control_length]))
            elif seen == GOT_CLOSE:
                return [*answers, ("close", reader.close_code)]
            elif seen == BROKEN:
                return [*answers, ("broken", reader.close_code)]
            else:
                break
    return answers


@cython.final
cdef class Connection:
    """One client's stream, whose messages are wanted: the hub's reader with a sink behind it.

    Args:
        max_message: bytes, 1 to 2^31 - 1; a longer message ends the connection with code 1009.
    Raises:
        ValueError: max_message out of range.
    """

    cdef Reader reader
    cdef Sink sink
    cdef uint32_t limit
    cdef readonly bint ended

    def __cinit__(self, int64_t max_message=MAX_MESSAGE):
        if not 1 <= max_message <= LARGEST_LIMIT:
            raise ValueError(f"max_message {max_message}: expected 1 to {LARGEST_LIMIT}")
        self.limit = <uint32_t> max_message
        reset(&self.reader)

    def __dealloc__(self):
        free(self.sink.data)

    @property
    def held(self):
        """The bytes of memory held for the message under way."""
        return self.sink.capacity

    def feed(self, bytes data not None):
        """Take the next bytes of the stream.

        Returns:
            What has become complete, in order: ("text", payload in UTF-8), ("binary", payload), ("ping", payload) to
            be answered with a pong, and last perhaps ("close", code) or ("broken", code) to be answered with a close;
            after these `ended` is true and nothing more is looked at.
        """
        cdef const uint8_t *cursor = <const uint8_t *> PyBytes_AS_STRING(data)
        cdef const uint8_t *end = cursor + PyBytes_GET_SIZE(data)
        cdef list events = []
        cdef int seen
        while not self.ended:
            seen = feed_into(&self.reader, &cursor, end, self.limit, &self.sink)
            if seen == NEED_MORE:
                break
            if seen == GOT_MESSAGE:
                events.append(("text" if self.sink.opcode == TEXT else "binary", self.taken()))
            elif seen == GOT_PING:
                events.append(("ping", (<char *> self.reader.control)[:self.reader.control_length]))
            else:
                self.ended = True
                self.let_go()
                events.append(("close" if seen == GOT_CLOSE else "broken", self.reader.close_code))
        return events

    cdef bytes taken(self):
        """Empty the sink into a bytes object."""
        cdef bytes payload = PyBytes_FromStringAndSize(<char *> self.sink.data, self.sink.length)
        self.sink.length = 0
        if self.sink.capacity > KEPT_SINK:
            self.let_go()
        return payload

    cdef void let_go(self) noexcept:
        free(self.sink.data)
        memset(&self.sink, 0, sizeof(Sink))
