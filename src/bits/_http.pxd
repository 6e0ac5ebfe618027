"""Request heads, judged sans I/O, for the front door to use without touching a Python object."""

from libc.stdint cimport int64_t, uint8_t

cdef enum:
    MOST_HEAD = 8192        # bytes of a head, the blank line included
    MOST_REQUEST_LINE = 4096
    MOST_HEADERS = 64       # of a plain request

cdef enum Verdict:
    HEAD_MORE = 0           # the head is not complete yet
    HEAD_FAST = 1           # plainly one of ours: see Head
    HEAD_OTHER = 2          # for whoever stands behind the door
    HEAD_BAD = 3            # refuse with 400 and close: see Head.reason
    HEAD_LONG = 4           # refuse with 431 and close

cdef enum Route:
    ROUTE_STATUS = 0
    ROUTE_DATA = 1
    ROUTE_WS = 2
    ROUTE_EVENTS = 3

cdef struct Head:
    size_t size                     # bytes of the head, the blank line included
    int route
    bint is_head                    # HEAD, not GET
    bint close                      # Connection: close
    bint iso                        # timestamps=iso
    bint gzip                       # Accept-Encoding allows it
    int64_t since                   # the client has everything up to there; -1: not given
    double wait                     # seconds, of a long poll; -1: not one
    int stale                       # of a long poll: what the client believes; -1: it does not say
    const char *if_none_match       # into the given bytes, or NULL
    size_t if_none_match_length
    const char *key                 # Sec-WebSocket-Key, 24 bytes into the given ones, or NULL
    int reason                      # of HEAD_BAD: an index into REASONS

cdef int read_head(const char *at, size_t length, size_t *seen, Head *head) noexcept nogil
