"""The front door: every HTTP connection comes in here, and most need nobody behind it.

It accepts in small portions, so that a storm of clients starves nothing else; waits for a complete request head;
answers what is plainly one of the few requests that come by the thousand from finished bytes; gives push clients to
the hub; refuses what is malformed; and hands everything else on, untouched. A waiting connection is a few dozen
bytes of C. It runs on the loop's thread; none of its methods waits.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memset

from bits cimport _http
from bits._epoll cimport (
    epoll_event,
    epoll_create1,
    epoll_ctl,
    epoll_wait,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
)
from bits._http import REASONS as _REASONS

import os

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <string.h>
    #include <sys/socket.h>
    """
    void *memmem(const void *haystack, size_t length, const void *needle, size_t needle_length)

cdef extern from "<sys/socket.h>" nogil:
    int accept4(int fd, void *address, void *size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef enum:
    ACCEPT_AT_ONCE = 64         # connections taken a turn: what else waits, waits for these at most
    READY_AT_ONCE = 64
    MOST_HEAD = 8192            # as in _http
    INBOX = 2 * MOST_HEAD       # what is left of an incomplete head, and a read behind it
    OUTBOX = 32768
    LINGER_SECONDS = 2          # for a refused client to read why

# Two queues, each in order of `since`.
cdef enum:
    AWAITED = 0                 # a head, the taking of an answer, or an end is due
    IDLE = 1                    # between requests
    QUEUES = 2

cdef uint32_t NOBODY = 0xFFFFFFFF

cdef struct Connection:
    int fd                      # -1: a free place
    uint8_t queue
    uint8_t lingering           # was refused: wait for its end of stream
    uint8_t closing             # close when everything was taken
    uint8_t watched             # by the epoll set
    uint32_t next
    uint32_t previous
    uint32_t seen               # of the kept bytes: searched for the end of the head
    uint32_t kept               # bytes of a request that is not complete, or must wait for `out`
    uint32_t out_at
    uint32_t out_size
    double since                # when it entered its queue
    char *buffer                # the kept bytes, or NULL
    char *out                   # answers the client has not taken yet, or NULL: meanwhile it is not read




def refusal(status, sentence):
    """Return a whole answer that refuses and closes."""
    body = f"{sentence}\n".encode()
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


BAD = refusal("400 Bad Request", "This is not a request of HTTP/1.1, or a dangerous one.")
LONG = refusal("431 Request Header Fields Too Large", f"Expected a head of at most {MOST_HEAD} bytes.")
LATE = refusal("408 Request Timeout", "The request did not come in time.")


@cython.final
cdef class Answer:
    """Finished bytes for one fast route.

    Args:
        plain: the whole answer to a GET.
        packed: the same with a compressed body, or None where that is not worth it.
        unchanged: the whole 304, or None where the route has no ETag.
        tag: the opaque tag with its quotes, without W/.
    """

    cdef bytes plain, packed, unchanged, tag

    def __init__(self, bytes plain not None, bytes packed=None, bytes unchanged=None, bytes tag=None):
        for answer in (plain, packed, unchanged):
            if answer is not None and (b"\r\n\r\n" not in answer or not answer.startswith(b"HTTP/1.1 ")):
                raise ValueError(f"not a whole answer: {answer[:40]!r}")
        self.plain, self.packed, self.unchanged, self.tag = plain, packed, unchanged, tag


@cython.final
cdef class Door:
    """Accept, answer, refuse, hand on.

    Args:
        listener: descriptor of the listening socket, non-blocking; stays the caller's.
        answer: (route, iso) -> Answer, asked once after each outdate() for what is wanted.
        join: (fd, route, iso, since, wait, stale, last, key, early): takes a push client's descriptor, for good.
        hand_on: (fd, received) takes any other connection's descriptor, for good, with what was received.
        most: connections at the door at once.
        head_seconds: for a request head to come, or an answer to be taken.
        idle_seconds: between requests.
        fast: False hands every request on that is not refused.
    """

    cdef:
        Connection *places
        uint32_t room, used, free
        uint32_t heads[QUEUES]
        uint32_t tails[QUEUES]
        uint32_t present
        uint32_t most
        int epfd
        int listener
        bint fast
        double head_seconds, idle_seconds
        double now
        object answer, join, hand_on
        list answers            # by route and iso: Answer or None
        char inbox[INBOX]
        char outbox[OUTBOX]
        size_t boxed            # bytes in outbox
        readonly int64_t accepted
        readonly int64_t answered
        readonly int64_t unchanged
        readonly int64_t handed_on
        readonly int64_t evicted    # dropped to make room for newer ones
        readonly int64_t late       # no complete head in time
        readonly int64_t stalled    # did not take the answer in time
        readonly int64_t long
        readonly int64_t full       # times accept found no descriptor left
        int64_t bad[32]

    def __cinit__(
        self, int listener, answer, join, hand_on, *, uint32_t most, double head_seconds=10, double idle_seconds=75,
        bint fast=True,
    ):
        cdef int queue
        self.epfd = -1
        self.listener = listener
        self.answer, self.join, self.hand_on = answer, join, hand_on
        self.most, self.head_seconds, self.idle_seconds, self.fast = most, head_seconds, idle_seconds, fast
        self.answers = [None] * 4
        self.free = NOBODY
        for queue in range(QUEUES):
            self.heads[queue] = self.tails[queue] = NOBODY
        assert len(_REASONS) <= 32
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.used):
            if self.places[i].fd >= 0:
                c_close(self.places[i].fd)
                free(self.places[i].buffer)
                free(self.places[i].out)
        free(self.places)
        if self.epfd >= 0:
            c_close(self.epfd)

    def __len__(self):
        return self.present

    def fileno(self):
        """Return the descriptor to watch for reading; call on_ready whenever it is."""
        return self.epfd

    def outdate(self):
        """Forget the finished answers: the state has changed."""
        self.answers = [None] * 4

    def refused(self):
        """Return how often a request was refused, by the reason's name."""
        counted = {name: self.bad[index] for index, name in enumerate(_REASONS)}
        counted["head-too-long"] = self.long
        counted["head-too-late"] = self.late
        counted["answer-not-taken"] = self.stalled
        counted["evicted"] = self.evicted
        counted["no-descriptors"] = self.full
        return counted

    # --- queues

    cdef void leave_queue(self, Connection *connection) noexcept:
        cdef uint8_t queue = connection.queue
        if connection.previous == NOBODY:
            self.heads[queue] = connection.next
        else:
            self.places[connection.previous].next = connection.next
        if connection.next == NOBODY:
            self.tails[queue] = connection.previous
        else:
            self.places[connection.next].previous = connection.previous

    cdef void enter_queue(self, Connection *connection, uint8_t queue) noexcept:
        cdef uint32_t self_ = <uint32_t> (connection - self.places)
        connection.queue = queue
        connection.since = self.now
        connection.next = NOBODY
        connection.previous = self.tails[queue]
        if self.tails[queue] == NOBODY:
            self.heads[queue] = self_
        else:
            self.places[self.tails[queue]].next = self_
        self.tails[queue] = self_

    cdef void requeue(self, Connection *connection, uint8_t queue) noexcept:
        self.leave_queue(connection)
        self.enter_queue(connection, queue)

    # --- coming and going

    cdef Connection *take_place(self, int fd) except NULL:
        cdef Connection *grown
        cdef Connection *connection
        cdef uint32_t room
        if self.free != NOBODY:
            connection = &self.places[self.free]
            self.free = connection.next
        else:
            if self.used == self.room:
                room = max(<uint32_t> 64, self.room * 2)
                grown = <Connection *> realloc(self.places, room * sizeof(Connection))
                if grown == NULL:
                    c_close(fd)
                    raise MemoryError
                self.places = grown
                self.room = room
            connection = &self.places[self.used]
            self.used += 1
        memset(connection, 0, sizeof(Connection))
        connection.fd = fd
        self.present += 1
        self.enter_queue(connection, AWAITED)
        return connection

    cdef int give_away(self, Connection *connection) noexcept:
        """Return a connection's descriptor, now the caller's, and free its place."""
        if connection.watched:
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, connection.fd, NULL)
        return self.forget(connection)

    cdef int forget(self, Connection *connection) noexcept:
        """Free a connection's place. Returns its descriptor."""
        cdef int fd = connection.fd
        self.leave_queue(connection)
        connection.fd = -1
        free(connection.buffer)
        free(connection.out)
        connection.buffer = connection.out = NULL
        connection.next = self.free
        self.free = <uint32_t> (connection - self.places)
        self.present -= 1
        return fd

    cdef void drop(self, Connection *connection) noexcept:
        c_close(self.forget(connection))

    cdef bint evict(self) noexcept:
        """Drop the connection that has kept us waiting the longest, or the one idle for longest."""
        cdef int queue
        for queue in range(QUEUES):
            if self.heads[queue] != NOBODY:
                self.drop(&self.places[self.heads[queue]])
                self.evicted += 1
                return True
        return False

    cdef void watch(self, Connection *connection, int operation, uint32_t events) noexcept:
        cdef epoll_event event
        event.events = events
        event.data.u64 = connection - self.places
        connection.watched = True
        if epoll_ctl(self.epfd, operation, connection.fd, &event) < 0:
            self.drop(connection)

    def on_connect(self, double now):
        """Accept a portion of the connections that wait; call when the listening socket is readable.

        Returns:
            False: there are no descriptors left, not even to be gained here; try again in a while.
        """
        cdef int fd, i
        cdef Connection *connection
        self.now = now
        for i in range(ACCEPT_AT_ONCE):
            fd = accept4(self.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno == EAGAIN:
                    break
                if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                    self.full += 1
                    if not self.evict():
                        return False
                continue  # else the client's own doing: it is gone already
            self.accepted += 1
            if self.present >= self.most:
                self.evict()
            connection = self.take_place(fd)
            # The request is often here already (TCP_DEFER_ACCEPT): many a connection is never watched by us.
            if self.receive(connection):
                self.watch(connection, EPOLL_CTL_ADD, EPOLLOUT if connection.out != NULL else EPOLLIN)
        return True

    def adopt(self, int fd, double now):
        """Take back a connection whose long poll was answered."""
        self.now = now
        cdef Connection *connection = self.take_place(fd)
        self.requeue(connection, IDLE)
        self.watch(connection, EPOLL_CTL_ADD, EPOLLIN)

    def on_ready(self, double now):
        """Deal with what the connections report."""
        cdef epoll_event ready[READY_AT_ONCE]
        cdef int i, count
        cdef Connection *connection
        cdef bint there
        self.now = now
        count = epoll_wait(self.epfd, ready, READY_AT_ONCE, 0)
        for i in range(count):
            connection = &self.places[ready[i].data.u64]
            if connection.fd < 0:
                continue
            if connection.out != NULL:
                if self.flush_out(connection) and connection.out == NULL:
                    self.watch(connection, EPOLL_CTL_MOD, EPOLLIN)
                    if connection.fd >= 0:
                        self.go_on(connection)
            elif self.receive(connection) and connection.out != NULL:
                self.watch(connection, EPOLL_CTL_MOD, EPOLLOUT)

    cdef void go_on(self, Connection *connection) except *:
        """Read on in what came while an answer was not taken."""
        cdef size_t kept = connection.kept
        if not kept:
            return
        memcpy(self.inbox, connection.buffer, kept)
        connection.kept = 0
        connection.seen = 0
        if self.understand(connection, kept) and connection.out != NULL:
            self.watch(connection, EPOLL_CTL_MOD, EPOLLOUT)

    # --- reading

    cdef bint receive(self, Connection *connection) except? -1:
        """Read once and deal with it. Returns whether the connection is still ours."""
        cdef size_t kept = connection.kept
        cdef ssize_t size = c_recv(connection.fd, self.inbox + kept, INBOX - kept, MSG_DONTWAIT)
        if size < 0 and (errno == EAGAIN or errno == EINTR):
            return True
        if size <= 0:
            self.drop(connection)
            return False
        if connection.lingering:
            return True
        if kept:
            memcpy(self.inbox, connection.buffer, kept)
        connection.kept = 0
        return self.understand(connection, kept + size)

    cdef bint understand(self, Connection *connection, size_t size) except? -1:
        """Deal with the requests at the start of inbox. Returns whether the connection is still ours."""
        cdef const char *at = self.inbox
        cdef const char *end = at + size
        cdef _http.Head head
        cdef size_t seen = connection.seen
        cdef int verdict
        self.boxed = 0
        while at < end:
            verdict = _http.read_head(at, end - at, &seen, &head)
            if verdict == _http.HEAD_MORE:
                break
            if verdict == _http.HEAD_FAST and self.fast:
                seen = 0
                if head.route == _http.ROUTE_WS or head.route == _http.ROUTE_EVENTS or head.wait >= 0:
                    if not self.flush_box(connection):
                        return False
                    if connection.out != NULL:
                        break
                    self.give_to_hub(connection, &head, at + head.size, end)
                    return False
                at += head.size
                self.emit(connection, &head, at == end)
                if connection.fd < 0:
                    return False
                if head.close:
                    return self.finish(connection, at < end)
                if connection.out != NULL:
                    break
                continue
            if not self.flush_box(connection):
                return False
            if connection.out != NULL:
                break
            if verdict == _http.HEAD_BAD:
                self.bad[head.reason] += 1
                return self.refuse(connection, BAD)
            if verdict == _http.HEAD_LONG:
                self.long += 1
                return self.refuse(connection, LONG)
            self.handed_on += 1
            received = PyBytes_FromStringAndSize(at, end - at)
            self.hand_on(self.give_away(connection), received)
            return False
        if not self.flush_box(connection):
            return False
        if at < end:
            return self.keep(connection, at, end - at, seen)
        connection.seen = 0
        free(connection.buffer)
        connection.buffer = NULL
        if connection.out == NULL:
            self.requeue(connection, IDLE)
        return True

    cdef bint keep(self, Connection *connection, const char *at, size_t size, size_t seen) except? -1:
        """Put an incomplete request aside."""
        cdef char *grown = <char *> realloc(connection.buffer, size)
        if grown == NULL:
            self.drop(connection)
            return False
        connection.buffer = grown
        memcpy(grown, at, size)
        connection.kept = <uint32_t> size
        connection.seen = <uint32_t> seen
        if connection.queue == IDLE:
            self.requeue(connection, AWAITED)  # from the first byte on, the head is due
        return True

    cdef int give_to_hub(self, Connection *connection, _http.Head *head, const char *at, const char *end) except -1:
        cdef bytes early = PyBytes_FromStringAndSize(at, end - at)
        cdef bytes key = PyBytes_FromStringAndSize(head.key, 24) if head.key != NULL else None
        since = head.since if head.since >= 0 else None
        stale = head.stale == 1 if head.stale >= 0 else None
        # A request sent behind one that waits would be lost in the hub: closing tells the client to send it again.
        last = head.close or (head.wait >= 0 and at < end)
        self.join(self.give_away(connection), head.route, head.iso, since, head.wait, stale, last, key, early)
        return 0

    # --- answering

    cdef int emit(self, Connection *connection, _http.Head *head, bint alone) except -1:
        """Put the answer to a plain request into the outbox, or send it at once where it is the only one."""
        cdef int index = head.route * 2 + head.iso
        cdef Answer answer = self.answers[index]
        cdef bytes whole
        cdef const char *data
        cdef const char *line
        cdef size_t size
        if answer is None:
            answer = self.answers[index] = self.answer(head.route, head.iso)
        self.answered += 1
        if (
            head.if_none_match != NULL and answer.unchanged is not None
            and memmem(head.if_none_match, head.if_none_match_length, PyBytes_AS_STRING(answer.tag), PyBytes_GET_SIZE(answer.tag)) != NULL
        ):
            self.unchanged += 1
            whole = answer.unchanged
        elif head.gzip and answer.packed is not None:
            whole = answer.packed
        else:
            whole = answer.plain
        data = PyBytes_AS_STRING(whole)
        size = PyBytes_GET_SIZE(whole)
        if head.is_head:
            size = <const char *> memmem(data, size, b"\r\n\r\n", 4) + 4 - data
        if head.close:
            line = <const char *> memchr(data, c"\n", size) + 1
            self.box(connection, data, line - data)
            self.box(connection, b"Connection: close\r\n", 19)
            return self.box(connection, line, size - (line - data))
        if alone and self.boxed == 0 and connection.out == NULL:
            self.send(connection, data, size)
            return 0
        return self.box(connection, data, size)

    cdef int box(self, Connection *connection, const char *data, size_t size) except -1:
        if self.boxed + size > OUTBOX or connection.out != NULL:
            self.flush_box(connection)
            if connection.fd >= 0:
                self.send(connection, data, size)
            return 0
        memcpy(self.outbox + self.boxed, data, size)
        self.boxed += size
        return 0

    cdef bint flush_box(self, Connection *connection) except? -1:
        """Send what is in the outbox. Returns whether the connection is still there."""
        cdef size_t size = self.boxed
        self.boxed = 0
        if size and connection.fd >= 0:
            self.send(connection, self.outbox, size)
        return connection.fd >= 0

    cdef void send(self, Connection *connection, const char *data, size_t size) except *:
        """Send; keep what the client does not take, and read nothing more of it until it has."""
        cdef ssize_t taken = 0
        cdef char *grown
        if connection.out == NULL:
            taken = c_send(connection.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if taken == <ssize_t> size:
                return
            if taken < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.drop(connection)
                    return
                taken = 0
        grown = <char *> realloc(connection.out, connection.out_size + size - taken)
        if grown == NULL:
            self.drop(connection)
            return
        memcpy(grown + connection.out_size, data + taken, size - taken)
        connection.out = grown
        connection.out_size += <uint32_t> (size - taken)
        self.requeue(connection, AWAITED)

    cdef bint flush_out(self, Connection *connection) except? -1:
        """Send more of what a client did not take. Returns whether the connection is still there."""
        cdef size_t left = connection.out_size - connection.out_at
        cdef ssize_t taken = c_send(
            connection.fd, connection.out + connection.out_at, left, MSG_DONTWAIT | MSG_NOSIGNAL
        )
        if taken < 0:
            if errno == EAGAIN or errno == EINTR:
                return True
            self.drop(connection)
            return False
        connection.out_at += <uint32_t> taken
        if taken == <ssize_t> left:
            free(connection.out)
            connection.out = NULL
            connection.out_at = connection.out_size = 0
            if connection.closing:
                return self.finish(connection, connection.kept > 0)
            self.requeue(connection, AWAITED if connection.kept else IDLE)
        return True

    cdef bint finish(self, Connection *connection, bint more_came) except? -1:
        """End a connection behind its last answer. Returns whether it is still ours."""
        if not self.flush_box(connection):
            return False
        if connection.out != NULL:
            connection.closing = True
            return True
        if more_came:  # a plain close would make the kernel reset it, and the answer might be lost
            return self.linger(connection)
        self.drop(connection)
        return False

    cdef bint refuse(self, Connection *connection, bytes why) except? -1:
        """Say why, and wait a moment for the client to read it."""
        c_send(connection.fd, PyBytes_AS_STRING(why), PyBytes_GET_SIZE(why), MSG_DONTWAIT | MSG_NOSIGNAL)
        return self.linger(connection)

    cdef bint linger(self, Connection *connection) except? -1:
        c_shutdown(connection.fd, SHUT_WR)
        connection.lingering = True
        connection.kept = 0
        self.requeue(connection, AWAITED)
        return True

    # --- the clock

    def sweep(self, double now):
        """End what takes too long; call every second or so."""
        cdef uint32_t place, following
        cdef Connection *connection
        self.now = now
        place = self.heads[AWAITED]
        while place != NOBODY:
            connection = &self.places[place]
            following = connection.next
            if connection.lingering:
                if now - connection.since > LINGER_SECONDS:
                    self.drop(connection)
            elif now - connection.since > self.head_seconds:
                if connection.out != NULL:
                    self.stalled += 1
                    self.drop(connection)
                else:
                    self.late += 1
                    self.refuse(connection, LATE)
            elif now - connection.since <= LINGER_SECONDS:
                break  # the rest came later still
            place = following
        while self.heads[IDLE] != NOBODY and now - self.places[self.heads[IDLE]].since > self.idle_seconds:
            self.drop(&self.places[self.heads[IDLE]])

    def close(self):
        """Let go of every connection."""
        cdef uint32_t i
        for i in range(self.used):
            if self.places[i].fd >= 0:
                self.drop(&self.places[i])
