"""Thousands of push clients in one process, for load tests: sockets, parsers and clocks in C, without the GIL.

A client is one cache line; nothing is allocated per message. Messages are known by a marker anywhere in what a server
pushes, so that any server which repeats a text can be measured, in any framing that is understood here.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

from bits._epoll cimport (
    epoll_event,
    epoll_create1,
    epoll_ctl,
    epoll_wait,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
)

import ipaddress
import os

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <string.h>
    #include <strings.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <arpa/inet.h>
    """
    void *memmem(const void *haystack, size_t length, const void *needle, size_t needle_length)
    void bits_prefetch "__builtin_prefetch"(const void *at)
    int strncasecmp(const char *one, const char *two, size_t size)

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct linger:
        int l_onoff
        int l_linger
    int c_socket "socket"(int domain, int kind, int protocol)
    int c_connect "connect"(int fd, const void *address, uint32_t size)
    int c_bind "bind"(int fd, const void *address, uint32_t size)
    int setsockopt(int fd, int level, int name, const void *value, uint32_t size)
    int getsockopt(int fd, int level, int name, void *value, uint32_t *size)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    enum: AF_INET, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_LINGER, SO_ERROR, MSG_NOSIGNAL
    enum: IPPROTO_TCP, TCP_NODELAY, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    enum: CLOCK_MONOTONIC

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

WEBSOCKET = 0
EVENT_STREAM = 1
LONG_POLL = 2
POLL = 3
TRANSPORTS = ("websocket", "sse", "longpoll", "poll")

cdef enum:
    IS_WEBSOCKET = 0
    IS_EVENT_STREAM = 1
    IS_LONG_POLL = 2
    IS_POLL = 3
    KINDS = 4
    READY_AT_ONCE = 512
    INBOX = 256 * 1024
    CACHE_LINE = 64
    MOST_TAG = 64
    WINDOW = 64             # so many of the newest numbers are told apart when they come late or twice
    NOBODY = 0xFFFFFFFF

cdef enum State:
    CONNECTING = 0
    ASKED = 1       # the request is out
    OPEN = 2        # the stream's head came: it counts as a client
    RESTING = 3     # a poller between two requests
    DEAD = 4

cdef enum Chunking:
    NOT_CHUNKED = 0
    CHUNK_SIZE = 1
    CHUNK_REST = 2      # what follows the size in its line
    CHUNK_DATA = 3
    CHUNK_END = 4       # the line's end after the data
    CHUNK_LAST = 5

cdef struct Asker:      # what only long polls and pollers need
    int64_t seq         # highest "seq" seen, of a long poll
    double due          # of a resting poller
    uint32_t next       # the poller that is due after this one
    char tag[MOST_TAG]  # a poller's ETag, with a NUL

cdef struct Client:
    int fd
    uint8_t kind
    uint8_t state
    uint8_t chunking        # of an event stream
    uint8_t was_ready
    uint8_t greeted         # its first object came
    uint32_t chunk_left     # bytes of the chunk that have not come
    uint32_t kept           # bytes of `pending`
    uint32_t joined         # bytes of `message`
    int64_t last            # highest number that came; -1: none
    uint64_t window         # bit i: number `last - i` came
    char *pending           # an incomplete piece of the stream, or NULL
    char *message           # fragments of a WebSocket message, or NULL
    Asker *asker            # of long polls and pollers

cdef struct Times:
    uint32_t *at            # microseconds since the epoch
    uint32_t count
    uint32_t room


def address_number(address):
    return int(ipaddress.IPv4Address(address))


cdef double seconds_now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec / 1e9


cdef const char *header_of(const char *at, const char *end, const char *name) noexcept nogil:
    """Return where a header's value begins in a complete head, or NULL."""
    cdef size_t length = strlen(name)
    cdef const char *line
    while True:
        line = <const char *> memchr(at, c"\n", end - at)
        if line == NULL or line + 1 + length >= end:
            return NULL
        at = line + 1
        if at[length] == c":" and strncasecmp(at, name, length) == 0:
            at += length + 1
            while at < end and at[0] == c" ":
                at += 1
            return at


cdef bint has_status(const char *at, const char *end, const char *status) noexcept nogil:
    """Return whether an answer begins with a status, of HTTP/1.1 or, as some streams do, 1.0."""
    return end - at >= 12 and memcmp(at, b"HTTP/1.", 7) == 0 and memcmp(at + 9, status, 3) == 0


cdef bint may_repeat(const char *at, const char *end) noexcept nogil:
    """Return whether an object may tell what came before: a snapshot, or a mere change of freshness."""
    return (
        memmem(at, end - at, b'"version":', 10) != NULL
        or memmem(at, end - at, b'"stale":', 8) != NULL
    )


cdef int64_t number_at(const char *at, const char *end) noexcept nogil:
    """Return the decimal number there, -1 where there is none."""
    cdef int64_t number = -1
    while at < end and c"0" <= at[0] <= c"9" and number < 1000000000000000LL:
        number = (0 if number < 0 else number) * 10 + (at[0] - c"0")
        at += 1
    return number


@cython.final
cdef class Swarm:
    """Push clients of one process.

    Args:
        host, port: of the server; host as four numbers.
        sources: addresses to connect from, in turn; empty: whatever the kernel chooses.
        counts: how many clients of each of TRANSPORTS.
        requests: for each transport the whole request to send; a long poll's and a poller's is the first.
        again: what a long poll sends next, with one %lld for the seq; a poller's with one %s for the ETag.
        marker: what precedes a message's number in the stream; empty: every "seq" is a message's number.
        ramp: connects a second; 0: as fast as it goes.
        in_flight: connects under way at once, at most.
        poll: seconds between two requests of a poller.
        epoch: what times are counted from, seconds of the monotonic clock.
    """

    cdef:
        Client *clients
        uint32_t size
        uint32_t opened
        uint32_t under_way
        readonly uint32_t ready         # clients that are there now
        readonly uint32_t ever_ready
        readonly uint32_t failed        # could not connect, or were refused
        readonly uint32_t dropped       # were there and are gone
        readonly int64_t received       # messages
        readonly int64_t bytes_received
        readonly int64_t doubled
        readonly int64_t disordered     # came after a higher number
        readonly int64_t pings
        readonly int64_t broken         # what could not be understood
        readonly double begun           # when the first connect was made
        readonly double complete        # when the last client was ready
        int epfd
        sockaddr_in server
        uint32_t *sources
        uint32_t source_count
        object owned                    # the bytes that the pointers point into
        const char *requests[KINDS]
        Py_ssize_t request_sizes[KINDS]
        const char *again_long
        const char *again_poll
        const char *marker
        size_t marker_size
        double ramp, poll, epoch
        uint32_t in_flight
        Times times[KINDS]              # of all messages, in order of arrival: pairs of number and time
        char inbox[INBOX]
        char refusal[256]
        int refusal_error               # errno of the first refusal, 0: none
        uint32_t here[KINDS]            # clients that are there now, of each transport
        double now
        uint32_t resting                # the poller that is due first, and the last one
        uint32_t resting_last

    def __cinit__(
        self, host, int port, sources, counts, list requests, bytes again_long, bytes again_poll, bytes marker,
        *, double ramp, uint32_t in_flight, double poll, double epoch,
    ):
        cdef uint32_t i
        assert sizeof(Client) == CACHE_LINE
        self.epfd = -1
        self.resting = self.resting_last = NOBODY
        self.size = sum(counts)
        self.clients = <Client *> aligned_alloc(CACHE_LINE, max(self.size, <size_t> 1) * sizeof(Client))
        self.sources = <uint32_t *> calloc(max(len(sources), 1), sizeof(uint32_t))
        if self.clients == NULL or self.sources == NULL:
            raise MemoryError
        memset(self.clients, 0, self.size * sizeof(Client))
        for i, source in enumerate(sources):
            self.sources[i] = htonl(address_number(source))
        self.source_count = len(sources)
        self.server.sin_family = AF_INET
        self.server.sin_port = htons(port)
        self.server.sin_addr.s_addr = htonl(address_number(host))
        self.owned = (*requests, again_long, again_poll, marker)
        for i in range(KINDS):
            self.requests[i] = PyBytes_AS_STRING(requests[i])
            self.request_sizes[i] = PyBytes_GET_SIZE(requests[i])
        self.again_long = PyBytes_AS_STRING(again_long)
        self.again_poll = PyBytes_AS_STRING(again_poll)
        self.marker = PyBytes_AS_STRING(marker)
        self.marker_size = PyBytes_GET_SIZE(marker)
        self.ramp, self.in_flight, self.poll, self.epoch = ramp, in_flight, poll, epoch
        # The transports are mixed as they come, so that none is told first.
        shares = sorted(((n + 0.5) / count, kind) for kind, count in enumerate(counts) for n in range(count))
        for i in range(self.size):
            self.clients[i].fd = -1
            self.clients[i].kind = shares[i][1]
            self.clients[i].last = -1
            if self.clients[i].kind >= IS_LONG_POLL:
                self.clients[i].asker = <Asker *> calloc(1, sizeof(Asker))
                if self.clients[i].asker == NULL:
                    raise MemoryError
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        cdef uint32_t i
        if self.clients != NULL:
            for i in range(self.size):
                if self.clients[i].fd >= 0:
                    c_close(self.clients[i].fd)
                free(self.clients[i].pending)
                free(self.clients[i].message)
                free(self.clients[i].asker)
        for i in range(KINDS):
            free(self.times[i].at)
        free(self.clients)
        free(self.sources)
        if self.epfd >= 0:
            c_close(self.epfd)

    @property
    def trouble(self):
        """The first refusal, for people; empty: there was none."""
        why = self.refusal.decode(errors="replace")
        return f"{why}: {os.strerror(self.refusal_error)}" if self.refusal_error else why

    def ready_of(self, int kind):
        """Return how many clients of a transport are there now."""
        return self.here[kind]

    def arrivals(self, int kind):
        """Return (number, microseconds since the epoch) of every message, as pairs of native uint32."""
        cdef Times *times = &self.times[kind]
        return PyBytes_FromStringAndSize(<char *> times.at, times.count * sizeof(uint32_t)) if times.count else b""

    # --- the loop

    def run(self, double until):
        """Connect, receive and answer until a moment of the monotonic clock."""
        cdef double left
        with nogil:
            while True:
                self.now = seconds_now()
                if self.now >= until:
                    break
                self.connect_more()
                left = until - self.now
                if self.opened < self.size and self.ramp:
                    left = min(left, 1 / self.ramp)
                self.step(<int> min(left * 1000 + 1, 50.0))
                while self.resting != NOBODY and self.clients[self.resting].asker.due <= self.now:
                    self.ask_again(&self.clients[self.resting])
                if self.complete == 0 and self.ever_ready + self.failed == self.size:
                    self.complete = seconds_now()
                    break

    cdef void connect_more(self) noexcept nogil:
        if self.opened < self.size and self.begun == 0:
            self.begun = self.now
        while self.opened < self.size and self.under_way < self.in_flight:
            if self.ramp and self.opened > (self.now - self.begun) * self.ramp:
                break
            self.open(&self.clients[self.opened])
            self.opened += 1

    cdef void open(self, Client *client) noexcept nogil:
        cdef epoll_event event
        cdef sockaddr_in source
        cdef linger gone
        cdef int one = 1
        client.fd = c_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        self.under_way += 1
        client.state = CONNECTING
        if client.fd < 0:
            self.fail_with(client, b"no descriptor is left", errno)
            return
        setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        gone.l_onoff, gone.l_linger = 1, 0  # leave at once, and leave no port in TIME_WAIT
        setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &gone, sizeof(gone))
        if self.source_count:
            memset(&source, 0, sizeof(source))
            source.sin_family = AF_INET
            source.sin_addr.s_addr = self.sources[self.opened % self.source_count]
            setsockopt(client.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one))
            if c_bind(client.fd, &source, sizeof(source)) < 0:
                self.fail_with(client, b"a source address cannot be used", errno)
                return
        if c_connect(client.fd, &self.server, sizeof(self.server)) < 0 and errno != EINPROGRESS:
            self.fail_with(client, b"cannot connect", errno)
            return
        event.events = EPOLLOUT
        event.data.u64 = client - self.clients
        epoll_ctl(self.epfd, EPOLL_CTL_ADD, client.fd, &event)

    cdef void step(self, int timeout) noexcept nogil:
        cdef epoll_event ready[READY_AT_ONCE]
        cdef int i, count
        cdef Client *client
        count = epoll_wait(self.epfd, ready, READY_AT_ONCE, timeout)
        for i in range(count):
            if i + 4 < count:
                bits_prefetch(&self.clients[ready[i + 4].data.u64])
            client = &self.clients[ready[i].data.u64]
            if client.fd < 0:
                continue
            if client.state == CONNECTING:
                self.connected(client)
            else:
                self.receive(client)

    cdef void connected(self, Client *client) noexcept nogil:
        cdef epoll_event event
        cdef int error = 0
        cdef uint32_t size = sizeof(error)
        getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error:
            self.fail_with(client, b"cannot connect", error)
            return
        size = <uint32_t> self.request_sizes[client.kind]
        if c_send(client.fd, self.requests[client.kind], size, MSG_NOSIGNAL) != <ssize_t> size:
            self.fail(client, b"the request could not be sent")
            return
        client.state = ASKED
        event.events = EPOLLIN
        event.data.u64 = client - self.clients
        epoll_ctl(self.epfd, EPOLL_CTL_MOD, client.fd, &event)

    cdef void fail_with(self, Client *client, const char *why, int error) noexcept nogil:
        if self.refusal[0] == 0:
            self.refusal_error = error
        self.fail(client, why)

    cdef void fail(self, Client *client, const char *why) noexcept nogil:
        """Let go of a client that will not be one, or is none any more."""
        if self.refusal[0] == 0:
            snprintf(self.refusal, sizeof(self.refusal), b"%s", why)
        if client.was_ready:
            self.dropped += 1
            self.ready -= 1
            self.here[client.kind] -= 1
        else:
            self.failed += 1
            self.under_way -= 1
        client.state = DEAD
        c_close(client.fd)
        client.fd = -1
        free(client.pending)
        client.pending = NULL
        free(client.message)
        client.message = NULL

    cdef void refuse(self, Client *client, const char *at, const char *end) noexcept nogil:
        """Let go of a client whose answer's first line says that it is not wanted."""
        cdef const char *line = <const char *> memchr(at, c"\r", end - at)
        if self.refusal[0] == 0:
            snprintf(self.refusal, sizeof(self.refusal), b"the server answered %.*s", <int> min(line - at, 128), at)
        self.fail(client, b"")

    cdef void now_ready(self, Client *client) noexcept nogil:
        if client.was_ready:
            return
        client.was_ready = True
        self.ready += 1
        self.here[client.kind] += 1
        self.ever_ready += 1
        self.under_way -= 1

    # --- receiving

    cdef void receive(self, Client *client) noexcept nogil:
        cdef size_t kept = client.kept
        cdef ssize_t size, used
        cdef char *grown
        if kept >= INBOX - 4096:
            self.broken += 1
            self.fail(client, b"a message is too long")
            return
        size = c_recv(client.fd, self.inbox + kept, INBOX - kept, 0)
        if size < 0 and (errno == EAGAIN or errno == EINTR):
            return
        if size <= 0:
            self.fail(client, b"the server closed the connection")
            return
        self.bytes_received += size
        self.now = seconds_now()
        if kept:
            memcpy(self.inbox, client.pending, kept)
        size += kept
        used = self.understand(client, self.inbox, self.inbox + kept, &size)
        if client.fd < 0:
            return
        if used < 0:
            self.broken += 1
            self.fail(client, b"the server's answer could not be understood")
            return
        if used < size:
            grown = <char *> realloc(client.pending, size - used)
            if grown == NULL:
                self.fail(client, b"no memory")
                return
            memcpy(grown, self.inbox + used, size - used)
            client.pending = grown
            client.kept = <uint32_t> (size - used)
        elif client.pending != NULL:
            free(client.pending)
            client.pending = NULL
            client.kept = 0

    cdef ssize_t understand(self, Client *client, char *at, char *fresh, ssize_t *size) noexcept nogil:
        """Take whole pieces of a stream.

        Args:
            at: the stream from the first byte that is not used yet; fresh: from the first that has just come.
            size: of all of it; less when it returns, where chunks' sizes stood between.
        Returns: the bytes used; -1: nonsense.
        """
        cdef char *begin = at
        cdef char *end = at + size[0]
        cdef ssize_t used
        if client.state == ASKED and client.kind <= IS_EVENT_STREAM:
            used = self.take_head(client, at, end)
            if used <= 0:
                return used
            at += used
            fresh = at
            client.state = OPEN
            self.now_ready(client)
        if client.chunking:
            end = self.join_chunks(client, fresh, end)
            if end == NULL:
                return -1
            size[0] = end - begin
        while at < end and client.fd >= 0:
            if client.kind == IS_WEBSOCKET:
                used = self.take_frame(client, at, end)
            elif client.kind == IS_EVENT_STREAM:
                used = self.take_block(client, at, end)
            else:
                used = self.take_answer(client, at, end)
            if used < 0:
                return -1
            if used == 0:
                break
            at += used
        if client.chunking == CHUNK_LAST and client.fd >= 0:
            self.fail(client, b"the server ended the stream")
        return at - begin

    cdef ssize_t take_head(self, Client *client, const char *at, const char *end) noexcept nogil:
        """Take the head of an answer that begins a stream."""
        cdef const char *blank = <const char *> memmem(at, end - at, b"\r\n\r\n", 4)
        cdef const char *coding
        if blank == NULL:
            return 0
        if not has_status(at, end, b"101" if client.kind == IS_WEBSOCKET else b"200"):
            self.refuse(client, at, blank + 1)
            return 0
        if client.kind == IS_EVENT_STREAM:
            coding = header_of(at, blank + 2, b"transfer-encoding")
            if coding != NULL and strncasecmp(coding, b"chunked", 7) == 0:
                client.chunking = CHUNK_SIZE
        return blank + 4 - at

    cdef char *join_chunks(self, Client *client, char *at, char *end) noexcept nogil:
        """Take the chunks' sizes out of what has come. Returns the new end; NULL: nonsense."""
        cdef char *to = at
        cdef uint32_t size
        cdef char byte
        while at < end:
            if client.chunking == CHUNK_DATA:
                size = <uint32_t> min(<ssize_t> client.chunk_left, end - at)
                memmove(to, at, size)
                to += size
                at += size
                client.chunk_left -= size
                if client.chunk_left == 0:
                    client.chunking = CHUNK_END
                continue
            byte = at[0]
            at += 1
            if client.chunking == CHUNK_END:
                if byte == c"\n":
                    client.chunking = CHUNK_SIZE
                elif byte != c"\r":
                    return NULL
            elif client.chunking == CHUNK_LAST:
                break
            elif byte == c"\n":
                client.chunking = CHUNK_DATA if client.chunk_left else CHUNK_LAST
            elif client.chunking == CHUNK_REST:
                continue
            elif byte == c"\r" or byte == c";" or byte == c" ":
                client.chunking = CHUNK_REST
            elif client.chunk_left > INBOX:
                return NULL
            elif c"0" <= byte <= c"9":
                client.chunk_left = client.chunk_left * 16 + (byte - c"0")
            elif c"a" <= (byte | 0x20) <= c"f":
                client.chunk_left = client.chunk_left * 16 + ((byte | 0x20) - c"a" + 10)
            else:
                return NULL
        return to

    cdef ssize_t take_frame(self, Client *client, char *at, const char *end) noexcept nogil:
        """Take one WebSocket frame."""
        cdef size_t left = end - at
        cdef size_t header = 2
        cdef uint64_t length
        cdef uint8_t opcode
        cdef int i
        cdef char *grown
        cdef char answer[6 + 125]
        if left < 2:
            return 0
        opcode = at[0] & 0x0F
        if at[0] & 0x70 or at[1] & 0x80:
            return -1
        length = at[1] & 0x7F
        if length == 126:
            header = 4
            if left < 4:
                return 0
            length = (<uint64_t> <uint8_t> at[2] << 8) | <uint8_t> at[3]
        elif length == 127:
            header = 10
            if left < 10:
                return 0
            length = 0
            for i in range(8):
                length = (length << 8) | <uint8_t> at[2 + i]
            if length > INBOX:
                return -1
        if opcode > 2 and (opcode < 8 or opcode > 10 or length > 125 or not at[0] & <char> 0x80):
            return -1
        if left < header + length:
            return 0
        if opcode == 8:
            self.fail(client, b"the server closed the connection")
        elif opcode == 9:
            self.pings += 1
            answer[0] = <char> 0x8A
            answer[1] = <char> (0x80 | length)
            memset(answer + 2, 0, 4)  # a mask of zeros leaves the bytes as they are
            memcpy(answer + 6, at + header, length)
            c_send(client.fd, answer, 6 + length, MSG_NOSIGNAL)
        elif opcode <= 2:
            if (opcode == 0) != (client.message != NULL):
                return -1
            if at[0] & <char> 0x80 and client.message == NULL:
                self.take_payload(client, at + header, at + header + length)
            else:
                grown = NULL
                if client.joined + length < INBOX:
                    grown = <char *> realloc(client.message, client.joined + length + 1)
                if grown == NULL:
                    return -1
                memcpy(grown + client.joined, at + header, length)
                client.message = grown
                client.joined += <uint32_t> length
                if at[0] & <char> 0x80:
                    self.take_payload(client, client.message, client.message + client.joined)
                    free(client.message)
                    client.message = NULL
                    client.joined = 0
        return header + length

    cdef ssize_t take_block(self, Client *client, const char *at, const char *end) noexcept nogil:
        """Take one block of an event stream; those of comments only are heartbeats."""
        cdef const char *line = at
        cdef const char *feed
        cdef bint told = False
        while True:
            feed = <const char *> memchr(line, c"\n", end - line)
            if feed == NULL:
                return 0
            if feed == line or (feed == line + 1 and line[0] == c"\r"):
                break
            told = told or line[0] != c":"
            line = feed + 1
        if told:
            self.take_payload(client, at, line)
        elif line != at:
            self.pings += 1
        return feed + 1 - at

    cdef ssize_t take_answer(self, Client *client, const char *at, const char *end) noexcept nogil:
        """Take one whole answer to a long poll or a poll, and ask again, at once or later."""
        cdef const char *blank = <const char *> memmem(at, end - at, b"\r\n\r\n", 4)
        cdef const char *value
        cdef const char *line
        cdef int64_t length = 0
        cdef bint unchanged
        if blank == NULL:
            return 0
        unchanged = has_status(at, end, b"304")
        if not unchanged and not has_status(at, end, b"200"):
            self.refuse(client, at, blank + 1)
            return 0
        if not unchanged:
            value = header_of(at, blank + 2, b"content-length")
            length = number_at(value, blank) if value != NULL else -1
            if length < 0 or length > INBOX:
                return -1
            if end - (blank + 4) < length:
                return 0
        if client.kind == IS_POLL:
            value = header_of(at, blank + 2, b"etag")
            if value != NULL:
                line = <const char *> memchr(value, c"\r", blank + 1 - value)
                if line != NULL and line - value < MOST_TAG:
                    memcpy(client.asker.tag, value, line - value)
                    client.asker.tag[line - value] = 0
        self.now_ready(client)
        if not unchanged:
            self.take_payload(client, blank + 4, blank + 4 + length)
        if client.kind == IS_LONG_POLL:
            self.ask(client)
        else:
            self.rest(client)
        return blank + 4 + length - at

    cdef void ask(self, Client *client) noexcept nogil:
        """Send the next request of a long poll or a poller."""
        cdef char request[1024]
        cdef int size
        if client.kind == IS_LONG_POLL:
            size = snprintf(request, sizeof(request), self.again_long, <long long> client.asker.seq)
        else:
            size = snprintf(request, sizeof(request), self.again_poll, client.asker.tag)
        client.state = ASKED
        if size >= <int> sizeof(request) or c_send(client.fd, request, size, MSG_NOSIGNAL) != size:
            self.fail(client, b"the request could not be sent")

    cdef void rest(self, Client *client) noexcept nogil:
        """Let a poller wait for its turn. All wait equally long, so that who came first is due first."""
        cdef uint32_t index = <uint32_t> (client - self.clients)
        client.state = RESTING
        client.asker.due = self.now + self.poll
        client.asker.next = NOBODY
        if self.resting == NOBODY:
            self.resting = index
        else:
            self.clients[self.resting_last].asker.next = index
        self.resting_last = index

    cdef void ask_again(self, Client *client) noexcept nogil:
        """Send the request of the poller that is due, unless it has been let go meanwhile."""
        self.resting = client.asker.next
        if client.state == RESTING:
            self.ask(client)

    # --- messages

    cdef void take_payload(self, Client *client, const char *at, const char *end) noexcept nogil:
        """Look through one object of the stream, or several, for messages."""
        cdef const char *found = at
        cdef int64_t number
        # What the first snapshot tells has happened before.
        cdef bint past = not client.greeted and self.marker_size == 0 and may_repeat(at, end)
        client.greeted = True
        if client.kind == IS_LONG_POLL or self.marker_size == 0:
            while True:
                found = <const char *> memmem(found, end - found, b'"seq":', 6)
                if found == NULL:
                    break
                found += 6
                number = number_at(found, end)
                if client.kind == IS_LONG_POLL:
                    client.asker.seq = max(client.asker.seq, number)
                if past:
                    client.last = max(client.last, number)
                    client.window = ~<uint64_t> 0
                elif self.marker_size == 0 and number >= 0:
                    self.note(client, number, at, end)
        found = at if self.marker_size else NULL
        while found != NULL:
            found = <const char *> memmem(found, end - found, self.marker, self.marker_size)
            if found == NULL:
                return
            found += self.marker_size
            number = number_at(found, end)
            if number >= 0:
                self.note(client, number, at, end)

    cdef void note(self, Client *client, int64_t number, const char *at, const char *end) noexcept nogil:
        """Count a message that stood between `at` and `end`, and keep when it came."""
        cdef Times *times = &self.times[client.kind]
        cdef uint32_t *grown
        cdef int64_t ahead = number - client.last
        if ahead > 0:
            client.window = 1 if ahead >= WINDOW or client.last < 0 else (client.window << ahead) | 1
            client.last = number
        elif -ahead < WINDOW and not (client.window >> -ahead) & 1:
            client.window |= <uint64_t> 1 << -ahead
            self.disordered += 1
        else:
            if client.kind != IS_POLL and not may_repeat(at, end):
                self.doubled += 1
            return
        self.received += 1
        if times.count + 2 > times.room:
            grown = <uint32_t *> realloc(times.at, max(<size_t> 4096, <size_t> times.room * 2) * sizeof(uint32_t))
            if grown == NULL:
                return
            times.at = grown
            times.room = max(<uint32_t> 4096, times.room * 2)
        times.at[times.count] = <uint32_t> number
        times.at[times.count + 1] = <uint32_t> ((self.now - self.epoch) * 1e6)
        times.count += 2
