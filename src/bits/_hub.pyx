"""Every open push connection of this process, and one way to reach them all.

The hub belongs to the loop's thread; a call from another raises. It deals its clients out to shards, each with a
thread of its own that never needs the GIL: to publish is to hand each shard one message, however many listen, so
the loop is never held up by them. See `_shard` for what happens there.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from bits cimport _shard
from bits._shard cimport Frame, Limits, Message, Shard

import os

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_attr_t:
        pass
    int pthread_attr_init(pthread_attr_t *attributes)
    int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
    int pthread_attr_destroy(pthread_attr_t *attributes)
    int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t *signals)
    int pthread_sigmask(int how, const sigset_t *signals, sigset_t *before)
    enum: SIG_SETMASK

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t c_read "read"(int fd, void *data, size_t size)

# A client's form: its transport, plus 1 for the second way to write a timestamp.
WEBSOCKET = _shard.WEBSOCKET
EVENT_STREAM = _shard.EVENT_STREAM
LONG_POLL = _shard.LONG_POLL
FORMS = _shard.FORMS

# Close codes, RFC 6455 section 7.4.1.
GOING_AWAY = 1001    # the server stops; come back, perhaps to another node
POLICY = 1008        # you say too much
TRY_LATER = 1013     # you took nothing for too long; come back with your last seq

TICK = 1 / _shard.TICKS

cdef enum:
    MOST_SHARDS = 64
    STACK = 256 * 1024


cdef void *run(void *argument) noexcept nogil:
    """Be a shard's thread."""
    while _shard.turn(<Shard *> argument, True):
        pass
    return NULL


cdef Frame *frame_of(bytes data) except? NULL:
    """Copy bytes to where threads can share them; NULL for None."""
    cdef Frame *frame
    if data is None:
        return NULL
    frame = _shard.make_frame(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if frame == NULL:
        raise MemoryError
    return frame


cdef uint32_t ticks(double seconds) noexcept:
    return <uint32_t> max(1.0, seconds * _shard.TICKS + 0.5)


@cython.final
cdef class Hub:
    """Every client of every form.

    Args:
        newest: gives, for a form, the finished frame of the newest snapshot, for clients that missed something.
        back: takes the descriptor of a long poll that was answered, to read its next request.
        threads: shards with a thread of their own, 1 to 64; 0: one shard and no thread, the caller calls turn.
        ping: seconds of a WebSocket client's silence until it is pinged, and again until it is dropped; event
            streams get a comment as often; 0: never.
        stall: seconds without taking a byte that end a client that has something to take.
        backlog: bytes missed that end it.
        nothing: the whole answer to a long poll that nothing happened for.
    Raises:
        OSError: no descriptors are left.
        RuntimeError: a method was called from another thread than the one that made the hub.
    """

    cdef:
        Shard *shards[MOST_SHARDS]
        pthread_t threads[MOST_SHARDS]
        int64_t added[MOST_SHARDS]
        int64_t added_by_form[_shard.FORMS]
        int count               # of shards
        bint threaded
        bint running
        int notice
        unsigned long owner
        object newest
        object back

    def __cinit__(
        self, newest, back, *, int threads=1, double ping=30, double stall=30, uint32_t backlog=1 << 20, bytes nothing=b""
    ):
        cdef Limits limits
        cdef Frame *frame
        self.notice = -1
        self.newest = newest
        self.back = back
        self.owner = PyThread_get_thread_ident()
        if not 0 <= threads <= MOST_SHARDS:
            raise ValueError(f"threads is {threads}, expected 0 to {MOST_SHARDS}")
        self.notice = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.notice < 0:
            raise OSError(errno, os.strerror(errno))
        limits.ping = ticks(ping) if ping else 0
        limits.stall = ticks(stall)
        limits.backlog = backlog
        self.threaded = threads > 0
        frame = frame_of(nothing)
        try:
            while self.count < max(threads, 1):
                self.shards[self.count] = _shard.make_shard(self.notice, limits, frame, not self.threaded)
                if self.shards[self.count] == NULL:
                    raise OSError(errno, os.strerror(errno))
                self.count += 1
        finally:
            _shard.release(frame)

    def __dealloc__(self):
        cdef int i
        self.join_threads()
        for i in range(self.count):
            _shard.free_shard(self.shards[i])
        if self.notice >= 0:
            c_close(self.notice)

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.owner:
            raise RuntimeError("the hub belongs to the thread that made it")
        return 0

    def __len__(self):
        cdef int64_t there = 0
        cdef int i
        for i in range(self.count):
            there += self.added[i] - self.shards[i].counters.left
        return there

    def of_form(self, int form):
        """Return how many clients of a form there are; one too many rather than one too few."""
        cdef int64_t there = self.added_by_form[form]
        cdef int i
        for i in range(self.count):
            there -= self.shards[i].counters.left_by_form[form]
        return there

    # --- starting and ending

    def start(self):
        """Start the shards' threads."""
        cdef pthread_attr_t attributes
        cdef sigset_t every, before
        cdef int i, error = 0
        self.check_thread()
        if self.running or not self.threaded:
            return
        self.running = True
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, STACK)
        # Signals are for the loop's thread.
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)
        for i in range(self.count):
            error = pthread_create(&self.threads[i], &attributes, run, self.shards[i])
            if error:
                self.threads[i] = 0
                break
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        pthread_attr_destroy(&attributes)
        if error:
            raise OSError(error, os.strerror(error))

    cdef void join_threads(self) noexcept:
        cdef int i
        cdef Message *message
        if not self.running:
            return
        self.running = False
        for i in range(self.count):
            if self.threads[i]:
                message = _shard.make_message(_shard.STOP)
                if message != NULL:
                    _shard.post(self.shards[i], message, True)
        with nogil:
            for i in range(self.count):
                if self.threads[i]:
                    pthread_join(self.threads[i], NULL)

    def close(self, int code):
        """Say goodbye to everyone with a close code, let go of every socket, and end the threads."""
        cdef int i
        cdef Message *message
        self.check_thread()
        for i in range(self.count):
            message = self.message(_shard.CLOSE)
            message.code = code
            _shard.post(self.shards[i], message, True)
        if self.threaded:
            self.join_threads()
        else:
            self.turn()

    # --- to the shards

    cdef Message *message(self, _shard.MessageKind kind) except NULL:
        cdef Message *message = _shard.make_message(kind)
        if message == NULL:
            raise MemoryError
        return message

    cdef int least(self) noexcept:
        """Return the shard with the fewest clients."""
        cdef int i, best = 0
        for i in range(1, self.count):
            if self.added[i] - self.shards[i].counters.left < self.added[best] - self.shards[best].counters.left:
                best = i
        return best

    def add(self, int fd, int form, bytes first not None, bytes early=b""):
        """Take over a connected socket; send it `first` (handshake, snapshot: anything), then every frame.

        It may be a while until a shard sees to it: see wake.

        Args:
            fd: a non-blocking stream socket of the caller's, from here on the hub's to close.
            early: what a WebSocket client has already sent behind its handshake.
        """
        self.check_thread()
        cdef Message *message
        cdef Py_ssize_t size = PyBytes_GET_SIZE(early)
        try:
            message = self.message(_shard.ADD)
        except MemoryError:
            c_close(fd)
            raise
        message.fd = fd
        message.form = <uint8_t> form
        try:
            message.frames[0] = frame_of(first)
            if size:
                message.early = <uint8_t *> malloc(size)
                if message.early == NULL:
                    raise MemoryError
                memcpy(message.early, PyBytes_AS_STRING(early), size)
                message.early_size = <uint32_t> size
        except MemoryError:
            _shard.free_message(message)
            raise
        self.hand_over(message)

    def wait(self, int fd, int form, double seconds, bint last, bytes answer=None):
        """Take over a long poll: it is answered by the next frame of its form, or with `nothing` in time.

        Args:
            last: close the connection behind the answer; else it goes to `back`.
            answer: what it is answered at once; None: it waits.
        """
        self.check_thread()
        cdef Message *message
        try:
            message = self.message(_shard.ADD)
        except MemoryError:
            c_close(fd)
            raise
        message.fd = fd
        message.form = <uint8_t> form
        message.wait = ticks(seconds)
        message.last = last
        try:
            message.frames[0] = frame_of(answer)
        except MemoryError:
            _shard.free_message(message)
            raise
        self.hand_over(message)

    cdef void hand_over(self, Message *message) noexcept:
        cdef int shard = self.least()
        self.added[shard] += 1
        self.added_by_form[message.form] += 1
        _shard.post(self.shards[shard], message, False)

    def wake(self):
        """Let the shards see to the clients that were handed over; once for many of them is enough."""
        cdef int i
        for i in range(self.count):
            _shard.wake_up(self.shards[i])

    cdef int post_frames(self, int shard, _shard.MessageKind kind, Frame **frames) except -1:
        cdef int form
        cdef Message *message = self.message(kind)
        for form in range(_shard.FORMS):
            message.frames[form] = _shard.share(frames[form])
        _shard.post(self.shards[shard], message, True)
        return 0

    def publish(self, tuple frames not None):
        """Send finished frames, one a form, to every client; return at once.

        Args:
            frames: by form; None where nobody of that form is here (of_form).
        """
        self.check_thread()
        cdef Frame *made[_shard.FORMS]
        cdef int form, shard
        if len(frames) != _shard.FORMS:
            raise ValueError(f"{len(frames)} frames, expected {_shard.FORMS}")
        for form in range(_shard.FORMS):
            made[form] = NULL
        try:
            for form in range(_shard.FORMS):
                made[form] = frame_of(frames[form])
            for shard in range(self.count):
                self.post_frames(shard, _shard.PUBLISH, made)
        finally:
            for form in range(_shard.FORMS):
                _shard.release(made[form])

    # --- from the shards

    def fileno(self):
        """Return the descriptor to watch for reading; call on_notice whenever it is."""
        return self.notice

    def on_notice(self):
        """Give the shards the snapshots they ask for, and take back what is not theirs any more."""
        cdef uint64_t times
        cdef uint32_t wanted, count, i
        cdef int *back = NULL
        cdef Frame *made[_shard.FORMS]
        cdef int form, shard
        self.check_thread()
        c_read(self.notice, &times, sizeof(times))
        for form in range(_shard.FORMS):
            made[form] = NULL
        try:
            for shard in range(self.count):
                wanted = _shard.collect(self.shards[shard], &back, &count)
                try:
                    for i in range(count):
                        self.back(back[i])
                finally:
                    free(back)
                if wanted:
                    for form in range(_shard.FORMS):
                        if wanted & (1 << form) and made[form] == NULL:
                            made[form] = frame_of(self.newest(form))
                    self.post_frames(shard, _shard.NEWEST, made)
        finally:
            for form in range(_shard.FORMS):
                _shard.release(made[form])

    def turn(self, now=None):
        """Do what a thread would do now; only for a hub without threads.

        Args:
            now: seconds on any steady clock; None: no time has passed.
        """
        self.check_thread()
        if self.threaded:
            raise RuntimeError("this hub has threads of its own")
        if now is not None:
            self.shards[0].clock = <uint32_t> (now * _shard.TICKS)
        cdef Shard *shard = self.shards[0]
        with nogil:
            _shard.turn(shard, False)

    def counters(self):
        """Return what happened how often, by name."""
        cdef _shard.Counters one
        cdef dict counted = {}
        cdef int i
        for i in range(self.count):
            one = self.shards[i].counters
            for name, value in (
                ("joined", one.joined),
                ("left", one.left),
                ("sent", one.sent),
                ("conflated", one.conflated),
                ("pings", one.pings),
                ("heartbeats", one.heartbeats),
                ("returned", one.returned),
                ("stalled", one.stalled),
                ("slow", one.slow),
                ("silent", one.silent),
                ("flooded", one.flooded),
                ("protocol", one.broken),
            ):
                counted[name] = counted.get(name, 0) + value
        return counted
