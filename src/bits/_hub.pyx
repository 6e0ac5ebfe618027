"""Every open push connection of this process, and one way to reach them all.

The hub owns the sockets' descriptors: a client is a few dozen bytes of C, not a Python object, and a broadcast
is one C loop of `send`. It belongs to the loop's thread; a call from another raises.

Falling behind is handled by conflation, so that memory per client is bounded whatever a client does: one that
cannot take a frame whole keeps the unsent rest of that one frame (a reference, not a copy), takes no others, and
gets the newest snapshot when it can read again. One that takes nothing for too long is cut off.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EINTR, errno  # EWOULDBLOCK is EAGAIN on Linux
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from bits cimport _ws

import os

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    enum: EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

# Close codes, RFC 6455 section 7.4.1.
GOING_AWAY = 1001    # the server stops; come back, perhaps to another node
TRY_LATER = 1013     # you took nothing for too long; come back with your last seq

cdef enum:
    READ_SIZE = 16384      # one read a client a turn, so that none can hold the others up
    READY_AT_ONCE = 256    # events taken a turn, for the same reason
    CLOSING_SECONDS = 5    # how long a client may take to close after it was told to

cdef enum Flag:
    BEHIND = 1     # missed a frame: wants the newest snapshot once writable
    WAITING = 2    # EPOLLOUT is armed
    CLOSING = 4    # was sent a close frame: only its end of stream matters

cdef struct Client:
    int fd                  # -1: a free slot
    uint32_t flags
    PyObject *rest          # owned: the frame that went out in part, or NULL
    size_t rest_at          # how much of it has gone
    _ws.Reader *reader      # only while a frame of the client's is under way
    double since            # when it stopped taking bytes, or was told to close


@cython.final
cdef class Hub:
    """Every client of one wire form.

    Args:
        newest: gives the finished frame of the newest snapshot, for a client that missed something.
    Raises:
        RuntimeError: a method was called from another thread than the one that made the hub.
    """

    cdef:
        Client *clients
        Py_ssize_t slots        # of the array
        Py_ssize_t used         # no client stands at this slot or later
        Py_ssize_t open_count
        list free_slots
        int epfd
        unsigned long owner
        object newest
        uint8_t inbox[READ_SIZE]
        # Counters, all of them since the start
        readonly long long joined
        readonly long long left
        readonly long long sent           # frames that went out whole at once
        readonly long long conflated      # times a client missed a frame and was caught up by a snapshot
        readonly long long stalled        # clients cut off: took nothing for too long
        readonly long long broken         # clients cut off: broke the protocol

    def __cinit__(self, newest):
        self.epfd = -1
        self.newest = newest
        self.free_slots = []
        self.owner = PyThread_get_thread_ident()
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.used):
            if self.clients[i].fd >= 0:
                self.drop(&self.clients[i])
        free(self.clients)
        if self.epfd >= 0:
            c_close(self.epfd)

    def __len__(self):
        return self.open_count

    def fileno(self):
        """Return the descriptor to watch for reading; call on_ready whenever it is."""
        return self.epfd

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.owner:
            raise RuntimeError("the hub belongs to the thread that made it")
        return 0

    # --- joining and leaving

    def add(self, int fd, bytes first not None, double now, bytes early=b""):
        """Take over a connected socket; send it `first` (handshake, snapshot: anything), then every frame.

        Args:
            fd: a non-blocking stream socket of the caller's, from here on the hub's to close.
            now: seconds on any steady clock, the same in every call.
            early: what the client has already sent behind its handshake.
        Raises:
            OSError: the descriptor cannot be watched; it is closed.
        """
        self.check_thread()
        cdef Py_ssize_t slot
        cdef Client *client
        cdef epoll_event event
        try:
            slot = self.take_slot()
        except MemoryError:
            c_close(fd)
            raise
        client = &self.clients[slot]
        event.events = EPOLLIN
        event.data.u64 = slot
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, &event) < 0:
            error = errno
            self.free_slots.append(slot)
            c_close(fd)
            raise OSError(error, os.strerror(error))
        client.fd = fd
        self.joined += 1
        self.open_count += 1
        self.write(client, first, now)
        if early and client.fd >= 0:
            self.take(client, <const uint8_t *> PyBytes_AS_STRING(early), PyBytes_GET_SIZE(early), now)

    cdef Py_ssize_t take_slot(self) except -1:
        cdef Py_ssize_t size
        cdef Client *grown
        cdef Client *client
        if self.free_slots:
            return self.free_slots.pop()
        if self.used == self.slots:
            size = max(64, self.slots * 2)
            grown = <Client *> realloc(self.clients, size * sizeof(Client))
            if grown == NULL:
                raise MemoryError
            self.clients = grown
            self.slots = size
        client = &self.clients[self.used]
        client.fd = -1
        client.flags = 0
        client.rest = NULL
        client.rest_at = 0
        client.reader = NULL
        client.since = 0
        self.used += 1
        return self.used - 1

    cdef void drop(self, Client *client) noexcept:
        """Forget a client at once; closing the descriptor also takes it out of the epoll set."""
        c_close(client.fd)
        client.fd = -1
        if not client.flags & CLOSING:
            self.open_count -= 1
        client.flags = 0
        if client.rest != NULL:
            Py_DECREF(<object> client.rest)
            client.rest = NULL
        free(client.reader)
        client.reader = NULL
        self.left += 1
        if self.free_slots is not None:  # it is gone already when the whole hub goes
            self.free_slots.append(client - self.clients)

    cdef void say_goodbye(self, Client *client, int code, double now) noexcept:
        """Send a close frame, end our side, and wait for the client's; drop it where that cannot be."""
        cdef uint8_t frame[4]
        cdef bint clean = client.rest == NULL  # else it would stand in the middle of another frame
        _ws.write_header(frame, 0x8, 2)
        frame[2] = <uint8_t> (code >> 8)
        frame[3] = <uint8_t> code
        if not clean or c_send(client.fd, frame, 4, MSG_DONTWAIT | MSG_NOSIGNAL) != 4:
            self.drop(client)
            return
        c_shutdown(client.fd, SHUT_WR)
        self.watch(client, False)
        client.flags = CLOSING
        client.since = now
        self.open_count -= 1

    # --- writing

    def publish(self, bytes frame not None, double now):
        """Send one finished frame, or several joined, to every client: one `send` each, no waiting.

        Returns:
            (sent, behind): how many took it whole, and how many did not and will get the newest snapshot.
        """
        self.check_thread()
        cdef const char *data = PyBytes_AS_STRING(frame)
        cdef size_t size = PyBytes_GET_SIZE(frame)
        cdef Py_ssize_t i, sent = 0, behind = 0, references = 0
        cdef Client *client
        cdef ssize_t taken
        dead = []
        # Without the GIL: nothing else runs in this thread, and no other thread touches the hub.
        with nogil:
            for i in range(self.used):
                client = &self.clients[i]
                if client.fd < 0 or client.flags & CLOSING:
                    continue
                if client.flags & WAITING:
                    client.flags |= BEHIND
                    behind += 1
                    continue
                taken = c_send(client.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                if taken == <ssize_t> size:
                    sent += 1
                    continue
                if taken >= 0:
                    client.rest = <PyObject *> frame
                    client.rest_at = taken
                    references += 1
                elif errno == EAGAIN or errno == EINTR:
                    client.flags |= BEHIND
                else:
                    with gil:
                        dead.append(i)
                    continue
                behind += 1
                client.since = now
                self.watch(client, True)
        for _ in range(references):
            Py_INCREF(frame)
        for i in dead:
            self.drop(&self.clients[i])
        self.sent += sent
        return sent, behind

    cdef void write(self, Client *client, bytes frame, double now) noexcept:
        """Send to one client that has nothing waiting; keep what it does not take."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        cdef ssize_t taken = c_send(
            client.fd, PyBytes_AS_STRING(frame), size, MSG_DONTWAIT | MSG_NOSIGNAL
        )
        if taken == size:
            return
        if taken < 0:
            if errno != EAGAIN and errno != EINTR:
                self.drop(client)
                return
            taken = 0
        Py_INCREF(frame)
        client.rest = <PyObject *> frame
        client.rest_at = taken
        client.since = now
        self.watch(client, True)

    cdef void watch(self, Client *client, bint for_writing) noexcept nogil:
        cdef epoll_event event
        if ((client.flags & WAITING) != 0) == for_writing:
            return
        event.events = EPOLLIN | (EPOLLOUT if for_writing else 0)
        event.data.u64 = client - self.clients
        epoll_ctl(self.epfd, EPOLL_CTL_MOD, client.fd, &event)
        client.flags ^= WAITING

    cdef int catch_up(self, Client *client, double now) except -1:
        """Go on with a client that can take bytes again: first the rest, then the newest snapshot."""
        cdef object frame
        cdef ssize_t taken
        cdef size_t left
        if client.rest != NULL:
            frame = <object> client.rest
            left = PyBytes_GET_SIZE(frame) - client.rest_at
            taken = c_send(
                client.fd, PyBytes_AS_STRING(frame) + client.rest_at, left, MSG_DONTWAIT | MSG_NOSIGNAL
            )
            if taken < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.drop(client)
                return 0
            if taken > 0:
                client.since = now
            client.rest_at += taken
            if taken < <ssize_t> left:
                return 0
            Py_DECREF(frame)
            client.rest = NULL
        self.watch(client, False)
        if client.flags & BEHIND:
            client.flags &= ~<uint32_t> BEHIND
            self.conflated += 1
            self.write(client, self.newest(), now)
        return 0

    # --- reading

    def on_ready(self, double now):
        """Deal with what the clients' sockets report: bytes, room for bytes, ends of stream."""
        self.check_thread()
        cdef epoll_event ready[READY_AT_ONCE]
        cdef int i, count
        cdef uint32_t events
        cdef Client *client
        count = epoll_wait(self.epfd, ready, READY_AT_ONCE, 0)
        for i in range(count):
            client = &self.clients[ready[i].data.u64]
            events = ready[i].events
            if client.fd < 0:
                continue
            if events & EPOLLOUT and not client.flags & CLOSING:
                self.catch_up(client, now)
            if client.fd >= 0 and events & (EPOLLIN | EPOLLERR | EPOLLHUP):
                self.read(client, now)

    cdef void read(self, Client *client, double now) noexcept:
        cdef ssize_t size = c_recv(client.fd, self.inbox, READ_SIZE, MSG_DONTWAIT)
        if size < 0 and (errno == EAGAIN or errno == EINTR):
            return
        if size <= 0:
            self.drop(client)
            return
        if not client.flags & CLOSING:
            self.take(client, self.inbox, size, now)

    cdef void take(self, Client *client, const uint8_t *cursor, size_t size, double now) noexcept:
        """Understand bytes from a client, and answer what wants an answer."""
        cdef const uint8_t *end = cursor + size
        cdef int seen
        if client.reader == NULL:
            client.reader = <_ws.Reader *> malloc(sizeof(_ws.Reader))
            if client.reader == NULL:
                self.drop(client)
                return
            _ws.reset(client.reader)
        while True:
            seen = _ws.feed(client.reader, &cursor, end)
            if seen == _ws.GOT_PING:
                if not self.pong(client, now):
                    return
            elif seen == _ws.GOT_CLOSE:
                self.say_goodbye(client, client.reader.close_code, now)
                return
            elif seen == _ws.BROKEN:
                self.broken += 1
                self.say_goodbye(client, client.reader.close_code, now)
                return
            else:
                break
        if _ws.is_idle(client.reader):
            free(client.reader)
            client.reader = NULL

    cdef bint pong(self, Client *client, double now) noexcept:
        """Answer a ping. Returns whether the client is still there."""
        cdef uint8_t frame[2 + 125]
        cdef size_t size
        cdef uint8_t i
        if client.flags & WAITING:
            return True  # section 5.5.3 lets us answer a later one instead, and nothing may pile up
        size = _ws.write_header(frame, 0xA, client.reader.control_length)
        for i in range(client.reader.control_length):
            frame[size + i] = client.reader.control[i]
        size += client.reader.control_length
        self.write(client, PyBytes_FromStringAndSize(<char *> frame, size), now)
        return client.fd >= 0

    # --- ending

    def sweep(self, double now, double stall):
        """Cut off clients that have taken nothing for `stall` seconds; call every second or so."""
        self.check_thread()
        cdef Py_ssize_t i
        cdef Client *client
        for i in range(self.used):
            client = &self.clients[i]
            if client.fd < 0:
                continue
            if client.flags & CLOSING:
                if now - client.since > CLOSING_SECONDS:
                    self.drop(client)
            elif client.flags & WAITING and now - client.since > stall:
                self.stalled += 1
                self.say_goodbye(client, TRY_LATER, now)

    def close(self, int code, double now):
        """Say goodbye to everyone with a close code and let go of every socket; the hub stays usable."""
        self.check_thread()
        cdef Py_ssize_t i
        cdef Client *client
        for i in range(self.used):
            client = &self.clients[i]
            if client.fd >= 0 and not client.flags & CLOSING:
                self.say_goodbye(client, code, now)
            if client.fd >= 0:
                self.drop(client)
