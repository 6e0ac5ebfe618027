"""A share of the open push connections, and the loop that serves them: C only, no Python object, no GIL.

Everything here but `post`, `collect` and the counters belongs to the one thread that calls `turn`.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from bits cimport _ws

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass

cdef enum:
    WHEEL = 512             # buckets of the timer wheel
    TICKS = 4               # a second; the wheel's grain
    FORMS = 6               # transports (below) x ways to write a timestamp
    READ_SIZE = 16384       # one read a client a turn, so that none can hold the others up

# A client's form is its transport plus 0 or 1 for the way to write a timestamp: the index of its frames.
cdef enum Transport:
    WEBSOCKET = 0
    EVENT_STREAM = 2        # server-sent events, delimited by the end of the connection
    LONG_POLL = 4           # a request that waits for its one answer

cdef struct Frame:          # finished bytes, shared by shards and clients; they follow the struct
    uint32_t references     # atomic
    uint32_t size

cdef enum MessageKind:
    ADD = 0                 # a client; frames[0] is what it is told first, or NULL
    PUBLISH = 1             # frames by form; NULL: nobody of that form is here
    OUTDATE = 2             # everybody has missed something: the newest snapshot for all
    NEWEST = 3              # the newest snapshot, frames by form, for the forms that were wanted
    CLOSE = 4               # say goodbye to all with `code`
    STOP = 5                # leave the loop

cdef struct Message:
    Message *next
    MessageKind kind
    int fd
    int code
    uint32_t wait           # ADD of a long poll: ticks until it is answered at the latest
    uint8_t form
    uint8_t last            # ADD of a long poll: close the connection behind the answer
    uint32_t early_size
    uint8_t *early          # owned: what the client sent behind its handshake, or NULL
    Frame *frames[FORMS]    # owned references

cdef struct Client:
    int fd                  # -1: a free place
    uint8_t form
    uint8_t flags
    uint16_t bucket         # of the wheel, or NOWHERE
    uint32_t next           # in its bucket, or in the list of free places
    uint32_t previous
    uint32_t since          # tick: it took the last bytes; it was told to close; a long poll must be answered
    uint32_t heard          # tick: it sent the last bytes
    uint32_t said           # cost of what it sent in that tick
    uint32_t missed         # bytes of the frames it could not take since it was last up to date
    uint32_t rest_at        # how much of `rest` has gone
    Frame *rest             # the frame that went out in part, or NULL
    _ws.Reader *reader      # only while a frame of the client's is under way

cdef struct Counters:       # since the start; written by the shard's thread, read by any
    int64_t joined
    int64_t left
    int64_t left_by_form[FORMS]
    int64_t sent            # frames that went out whole at once
    int64_t conflated       # times a client missed something and was caught up by a snapshot
    int64_t pings
    int64_t heartbeats      # comments on event streams
    int64_t returned        # long polls that were answered and went back to the door
    # Clients cut off
    int64_t stalled         # took nothing for too long
    int64_t slow            # missed too many bytes
    int64_t silent          # answered no ping
    int64_t flooded         # said too much
    int64_t broken          # broke the protocol

cdef struct Limits:         # times in ticks
    uint32_t ping           # silence after which a client is pinged; 0: never
    uint32_t stall          # taking nothing for so long ends it
    uint32_t backlog        # bytes missed that end it

cdef struct Shard:
    # Shared with the poster, under `lock`
    pthread_mutex_t lock
    Message *first
    Message *last_posted
    bint asleep             # the next post must write to `wake`
    uint32_t wanted         # forms (bits) whose newest snapshot somebody here waits for
    int *back               # descriptors on their way back to the door
    uint32_t back_count
    uint32_t back_room
    # The shard's own
    Client *clients
    uint32_t places         # of the array
    uint32_t used           # no client stands at this place or later
    uint32_t free           # first of the list of free places, or NOBODY
    uint32_t present        # clients, those that are closing too
    uint32_t tick
    bint manual             # the time is `clock`, for tests; else the system's
    uint32_t clock
    uint32_t wheel[WHEEL]
    Frame *newest[FORMS]
    uint32_t asked          # forms that were asked for and have not come yet
    Frame *nothing          # the answer to a long poll whose time is up
    Limits limits
    Counters counters
    int epfd
    int wake                # eventfd: something was posted
    int notice              # eventfd of the hub's: something is to be collected
    uint8_t inbox[READ_SIZE]

cdef Frame *make_frame(const char *data, size_t size) noexcept nogil
cdef void release(Frame *frame) noexcept nogil
cdef Frame *share(Frame *frame) noexcept nogil

cdef Shard *make_shard(int notice, Limits limits, Frame *nothing, bint manual) noexcept nogil
cdef void free_shard(Shard *shard) noexcept nogil

cdef Message *make_message(MessageKind kind) noexcept nogil
cdef void free_message(Message *message) noexcept nogil
cdef void post(Shard *shard, Message *message, bint at_once) noexcept nogil
cdef void wake_up(Shard *shard) noexcept nogil
cdef uint32_t collect(Shard *shard, int **back, uint32_t *count) noexcept nogil
cdef bint turn(Shard *shard, bint may_sleep) noexcept nogil
