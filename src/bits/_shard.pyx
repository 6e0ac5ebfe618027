"""A share of the open push connections, and the loop that serves them: C only, no Python object, no GIL.

A client is a few dozen bytes in one array. Its thread owns all of it; others hand in messages (`post`) and take
out what concerns them (`collect`). Messages are dealt with in the order they were posted: a client that was added
before a frame was published gets the frame, one added after does not. That is the whole of "no gap, no double".

Falling behind is handled by conflation, so that memory per client is bounded whatever a client does: one that
cannot take a frame whole keeps the unsent rest of that one frame (a reference, not a copy), takes no others, and
gets the newest snapshot when it can read again. One that takes nothing for too long, or misses too much, is cut off.

Everything that happens by the clock hangs on one timer wheel; a client always stands in exactly one bucket.
"""

from libc.errno cimport EAGAIN, EINTR, errno  # EWOULDBLOCK is EAGAIN on Linux
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from bits cimport _ws
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
    EPOLLERR,
    EPOLLHUP,
    EPOLLRDHUP,
)

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    enum: CLOCK_MONOTONIC_COARSE

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t c_read "read"(int fd, void *data, size_t size)
    ssize_t c_write "write"(int fd, const void *data, size_t size)

cdef extern from * nogil:
    """
    static inline unsigned bits_add(unsigned *at, unsigned by) { return __atomic_add_fetch(at, by, __ATOMIC_ACQ_REL); }
    """
    uint32_t bits_add(uint32_t *at, uint32_t by)
    void bits_prefetch "__builtin_prefetch"(const void *at)

cdef enum:
    READY_AT_ONCE = 256         # events taken a turn, so that messages never wait for long
    CLOSING_TICKS = 5 * TICKS   # how long a client may take to close after it was told to
    # What a client may send in one tick: bytes, and for each answer it makes us send, as many as this. A client has
    # nothing to say; this leaves room for a library's hello and for some 450 pings a second.
    MOST_SAID = 8192
    COST_OF_ANSWER = 64
    # Frames published while the shard was busy are joined up to this; then everybody is given the newest snapshot.
    MOST_JOINED = 256 * 1024
    NOWHERE = 0xFFFF

cdef uint32_t NOBODY = 0xFFFFFFFF
cdef uint64_t THE_WAKE = 0xFFFFFFFFFFFFFFFF

cdef enum Flag:
    BEHIND = 1      # missed a frame: gets the newest snapshot
    WAITING = 2     # EPOLLOUT is armed
    CLOSING = 4     # was told to close: only its end of stream matters
    WANTS = 8       # waits for the newest snapshot, which the hub was asked for
    PINGED = 16     # has not been heard since it was pinged
    LAST = 32       # a long poll whose answer is the connection's last

cdef enum:
    GOING_AWAY = 1001
    POLICY = 1008
    TRY_LATER = 1013


# --- frames and messages

cdef Frame *make_frame(const char *data, size_t size) noexcept nogil:
    """Copy finished bytes. NULL: no memory, or more than 2^31 of them."""
    cdef Frame *frame
    if size > 0x7FFFFFFF:
        return NULL
    frame = <Frame *> malloc(sizeof(Frame) + size)
    if frame != NULL:
        frame.references = 1
        frame.size = <uint32_t> size
        memcpy(frame + 1, data, size)
    return frame


cdef inline const char *bytes_of(const Frame *frame) noexcept nogil:
    return <const char *> (frame + 1)


cdef Frame *share(Frame *frame) noexcept nogil:
    if frame != NULL:
        bits_add(&frame.references, 1)
    return frame


cdef void release(Frame *frame) noexcept nogil:
    if frame != NULL and bits_add(&frame.references, <uint32_t> -1) == 0:
        free(frame)


cdef Message *make_message(MessageKind kind) noexcept nogil:
    cdef Message *message = <Message *> calloc(1, sizeof(Message))
    if message != NULL:
        message.kind = kind
        message.fd = -1
    return message


cdef void free_message(Message *message) noexcept nogil:
    """Let go of a message and of everything it still owns."""
    cdef int form
    for form in range(FORMS):
        release(message.frames[form])
    if message.fd >= 0:
        c_close(message.fd)
    free(message.early)
    free(message)


# --- the shard and its post box

cdef Shard *make_shard(int notice, Limits limits, Frame *nothing, bint manual) noexcept nogil:
    """Return a shard without clients, or NULL with errno set."""
    cdef Shard *shard = <Shard *> calloc(1, sizeof(Shard))
    cdef epoll_event event
    if shard == NULL:
        return NULL
    pthread_mutex_init(&shard.lock, NULL)
    memset(shard.wheel, 0xFF, sizeof(shard.wheel))
    shard.free = NOBODY
    shard.limits = limits
    shard.nothing = share(nothing)
    shard.notice = notice
    shard.manual = manual
    shard.tick = tick_now(shard)
    shard.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    shard.epfd = epoll_create1(EPOLL_CLOEXEC)
    event.events = EPOLLIN
    event.data.u64 = THE_WAKE
    if shard.wake < 0 or shard.epfd < 0 or epoll_ctl(shard.epfd, EPOLL_CTL_ADD, shard.wake, &event) < 0:
        free_shard(shard)
        return NULL
    return shard


cdef void free_shard(Shard *shard) noexcept nogil:
    """Close everything; the shard's thread must have ended."""
    cdef uint32_t i
    cdef Message *message
    for i in range(shard.used):
        if shard.clients[i].fd >= 0:
            drop(shard, &shard.clients[i])
    while shard.first != NULL:
        message = shard.first
        shard.first = message.next
        free_message(message)
    for i in range(shard.back_count):
        c_close(shard.back[i])
    for i in range(FORMS):
        release(shard.newest[i])
    release(shard.nothing)
    free(shard.back)
    free(shard.clients)
    if shard.wake >= 0:
        c_close(shard.wake)
    if shard.epfd >= 0:
        c_close(shard.epfd)
    pthread_mutex_destroy(&shard.lock)
    free(shard)


cdef bint join_frames(Message *onto, const Message *message) noexcept nogil:
    """Put the frames of one publication behind those of another that nobody has seen yet.

    A long poll gets one answer: it keeps the first and comes back for the next. Returns False where that makes too
    much, and `onto` is to become OUTDATE.
    """
    cdef int form
    cdef Frame *joined
    cdef const Frame *one
    cdef const Frame *two
    for form in range(FORMS):
        one = onto.frames[form]
        two = message.frames[form]
        if two == NULL or (one != NULL and form >= LONG_POLL):
            continue
        if one == NULL:
            onto.frames[form] = share(<Frame *> two)
            continue
        if one.size + two.size > MOST_JOINED:
            return False
        joined = <Frame *> malloc(sizeof(Frame) + one.size + two.size)
        if joined == NULL:
            return False
        joined.references = 1
        joined.size = one.size + two.size
        memcpy(joined + 1, bytes_of(one), one.size)
        memcpy(<char *> (joined + 1) + one.size, bytes_of(two), two.size)
        release(onto.frames[form])
        onto.frames[form] = joined
    return True


cdef void outdate(Message *message) noexcept nogil:
    cdef int form
    for form in range(FORMS):
        release(message.frames[form])
        message.frames[form] = NULL
    message.kind = OUTDATE


cdef void post(Shard *shard, Message *message, bint at_once) noexcept nogil:
    """Hand in a message; it is the shard's from here on. Any thread may.

    What waits is bounded: publications behind one another become one, and there is at most one addition a client.

    Args:
        at_once: wake the shard; else the caller does, with wake_up, when it has no more messages for now.
    """
    cdef Message *before
    pthread_mutex_lock(&shard.lock)
    before = shard.last_posted if shard.first != NULL else NULL
    if before != NULL and message.kind == PUBLISH and before.kind == PUBLISH:
        if not join_frames(before, message):
            outdate(before)
        free_message(message)
    elif before != NULL and message.kind in (PUBLISH, OUTDATE) and before.kind == OUTDATE:
        free_message(message)
    else:
        if before == NULL:
            shard.first = message
        else:
            before.next = message
        shard.last_posted = message
    pthread_mutex_unlock(&shard.lock)
    if at_once:
        wake_up(shard)


cdef void wake_up(Shard *shard) noexcept nogil:
    """Wake a shard that sleeps beside messages. Any thread may."""
    cdef bint wake
    cdef uint64_t one = 1
    pthread_mutex_lock(&shard.lock)
    wake = shard.asleep and shard.first != NULL
    if wake:
        shard.asleep = False
    pthread_mutex_unlock(&shard.lock)
    if wake:
        c_write(shard.wake, &one, sizeof(one))


cdef uint32_t collect(Shard *shard, int **back, uint32_t *count) noexcept nogil:
    """Take out what concerns others, after a notice. Any thread may.

    Returns:
        The forms (bits) whose newest snapshot is wanted; and in back (to be freed) and count, the descriptors of
        answered long polls.
    """
    cdef uint32_t wanted
    pthread_mutex_lock(&shard.lock)
    wanted = shard.wanted
    shard.wanted = 0
    back[0] = shard.back
    count[0] = shard.back_count
    shard.back = NULL
    shard.back_count = shard.back_room = 0
    pthread_mutex_unlock(&shard.lock)
    return wanted


cdef void notify(Shard *shard) noexcept nogil:
    cdef uint64_t one = 1
    c_write(shard.notice, &one, sizeof(one))


# --- the timer wheel

cdef void unlink(Shard *shard, Client *client) noexcept nogil:
    if client.bucket == NOWHERE:
        return
    if client.previous == NOBODY:
        shard.wheel[client.bucket] = client.next
    else:
        shard.clients[client.previous].next = client.next
    if client.next != NOBODY:
        shard.clients[client.next].previous = client.previous
    client.bucket = NOWHERE


cdef void arm(Shard *shard, Client *client, uint32_t ticks) noexcept nogil:
    """Look at the client in so many ticks, or earlier if that is further than the wheel reaches."""
    cdef uint32_t self = <uint32_t> (client - shard.clients)
    cdef uint32_t head
    unlink(shard, client)
    ticks = min(max(ticks, <uint32_t> 1), <uint32_t> (WHEEL - 1))
    client.bucket = <uint16_t> ((shard.tick + ticks) % WHEEL)
    head = shard.wheel[client.bucket]
    client.next = head
    client.previous = NOBODY
    if head != NOBODY:
        shard.clients[head].previous = self
    shard.wheel[client.bucket] = self


cdef void advance(Shard *shard, uint32_t tick) noexcept nogil:
    """Turn the wheel up to a tick and deal with every client that hangs there."""
    cdef uint32_t place, following
    cdef Client *client
    if tick - shard.tick > WHEEL:
        shard.tick = tick - WHEEL  # every bucket once is enough
    while shard.tick != tick:
        shard.tick += 1
        place = shard.wheel[shard.tick % WHEEL]
        shard.wheel[shard.tick % WHEEL] = NOBODY
        while place != NOBODY:
            client = &shard.clients[place]
            following = client.next
            client.bucket = NOWHERE
            expire(shard, client)
            place = following


cdef int sleep_ms(const Shard *shard) noexcept nogil:
    """Return for how long there is nothing to do by the clock; -1: for ever."""
    cdef uint32_t ticks
    if shard.present == 0:
        return -1
    for ticks in range(1, WHEEL):
        if shard.wheel[(shard.tick + ticks) % WHEEL] != NOBODY:
            break
    return <int> ticks * 1000 // TICKS


cdef void expire(Shard *shard, Client *client) noexcept nogil:
    """Do what is due for one client now, and arm it again."""
    cdef uint32_t age
    if client.flags & CLOSING:
        age = shard.tick - client.since
        if age >= CLOSING_TICKS:
            drop(shard, client)
        else:
            arm(shard, client, CLOSING_TICKS - age)
    elif client.flags & WAITING:
        age = shard.tick - client.since
        if age >= shard.limits.stall:
            shard.counters.stalled += 1
            say_goodbye(shard, client, TRY_LATER)
        else:
            arm(shard, client, shard.limits.stall - age)
    elif client.form >= LONG_POLL:
        if <int> (shard.tick - client.since) >= 0 and not client.flags & WANTS:
            deliver(shard, client, shard.nothing)
        else:
            arm(shard, client, client.since - shard.tick if not client.flags & WANTS else TICKS)
    elif shard.limits.ping == 0:
        arm(shard, client, WHEEL)
    elif client.form >= EVENT_STREAM:
        arm(shard, client, shard.limits.ping)
        shard.counters.heartbeats += 1
        send_small(shard, client, <const uint8_t *> b":\n\n", 3)
    else:
        age = shard.tick - client.heard
        if age < shard.limits.ping:
            arm(shard, client, shard.limits.ping - age)
        elif client.flags & PINGED:
            shard.counters.silent += 1
            drop(shard, client)
        else:
            client.flags |= PINGED
            arm(shard, client, shard.limits.ping)
            shard.counters.pings += 1
            send_small(shard, client, <const uint8_t *> b"\x89\x00", 2)


# --- coming and going

cdef Client *take_place(Shard *shard) noexcept nogil:
    cdef uint32_t places
    cdef Client *grown
    cdef Client *client
    if shard.free != NOBODY:
        client = &shard.clients[shard.free]
        shard.free = client.next
        return client
    if shard.used == shard.places:
        # The part of the array that nobody has used yet is not in memory: the kernel gives pages when touched.
        places = max(<uint32_t> 64, shard.places * 2)
        grown = <Client *> realloc(shard.clients, places * sizeof(Client))
        if grown == NULL:
            return NULL
        shard.clients = grown
        shard.places = places
    shard.used += 1
    return &shard.clients[shard.used - 1]


cdef void add(Shard *shard, Message *message) noexcept nogil:
    """Take a client in; send what it is to be told first."""
    cdef Client *client = take_place(shard)
    cdef epoll_event event
    cdef uint32_t spread
    shard.counters.joined += 1
    if client == NULL:
        shard.counters.left += 1
        shard.counters.left_by_form[message.form] += 1
        return
    memset(client, 0, sizeof(Client))
    client.fd = message.fd
    message.fd = -1
    client.form = message.form
    client.bucket = NOWHERE
    client.heard = shard.tick
    shard.present += 1
    # A long poll may have its next request behind it already: that is for the door to read, later.
    event.events = EPOLLRDHUP if client.form >= LONG_POLL else EPOLLIN
    event.data.u64 = client - shard.clients
    if epoll_ctl(shard.epfd, EPOLL_CTL_ADD, client.fd, &event) < 0:
        drop(shard, client)
        return
    if client.form >= LONG_POLL:
        client.flags = LAST if message.last else 0
        client.since = shard.tick + message.wait
        arm(shard, client, message.wait)
    else:
        # Those that come together are not to be pinged together.
        spread = (<uint32_t> (client - shard.clients) * <uint32_t> 2654435761) >> 16
        arm(shard, client, shard.limits.ping - spread % (shard.limits.ping // 2 + 1))
    if message.frames[0] != NULL:
        deliver(shard, client, message.frames[0])
    if message.early != NULL and client.fd >= 0 and client.form < EVENT_STREAM:
        take(shard, client, message.early, message.early_size)


cdef void forget(Shard *shard, Client *client) noexcept nogil:
    """Free a client's place; its descriptor is somebody else's from here on, or closed."""
    unlink(shard, client)
    client.fd = -1
    client.flags = 0
    release(client.rest)
    client.rest = NULL
    free(client.reader)
    client.reader = NULL
    client.next = shard.free
    shard.free = <uint32_t> (client - shard.clients)
    shard.present -= 1
    shard.counters.left_by_form[client.form] += 1
    shard.counters.left += 1


cdef void drop(Shard *shard, Client *client) noexcept nogil:
    """Let go of a client at once; closing the descriptor also takes it out of the epoll set."""
    c_close(client.fd)
    forget(shard, client)


cdef void give_back(Shard *shard, Client *client) noexcept nogil:
    """Send an answered long poll back to the door, where its next request will be read."""
    cdef uint32_t room
    cdef int *grown
    cdef bint first
    if client.flags & LAST or epoll_ctl(shard.epfd, EPOLL_CTL_DEL, client.fd, NULL) < 0:
        drop(shard, client)
        return
    pthread_mutex_lock(&shard.lock)
    first = shard.back_count == 0
    if shard.back_count == shard.back_room:
        room = max(<uint32_t> 16, shard.back_room * 2)
        grown = <int *> realloc(shard.back, room * sizeof(int))
        if grown == NULL:
            pthread_mutex_unlock(&shard.lock)
            drop(shard, client)
            return
        shard.back = grown
        shard.back_room = room
    shard.back[shard.back_count] = client.fd
    shard.back_count += 1
    pthread_mutex_unlock(&shard.lock)
    shard.counters.returned += 1
    forget(shard, client)
    if first:
        notify(shard)


cdef void say_goodbye(Shard *shard, Client *client, int code) noexcept nogil:
    """Tell a client why, end our side, and wait for its end; let go of it where that cannot be."""
    cdef uint8_t frame[4]
    if client.rest != NULL:  # it would stand in the middle of another frame
        drop(shard, client)
        return
    if client.form < EVENT_STREAM:
        _ws.write_header(frame, 0x8, 2)
        frame[2] = <uint8_t> (code >> 8)
        frame[3] = <uint8_t> code
        if c_send(client.fd, frame, 4, MSG_DONTWAIT | MSG_NOSIGNAL) != 4:
            drop(shard, client)
            return
    elif client.form >= LONG_POLL:
        c_send(client.fd, bytes_of(shard.nothing), shard.nothing.size, MSG_DONTWAIT | MSG_NOSIGNAL)
    c_shutdown(client.fd, SHUT_WR)
    watch(shard, client, False)
    client.flags = CLOSING
    client.since = shard.tick
    arm(shard, client, CLOSING_TICKS)


# --- writing

cdef void watch(Shard *shard, Client *client, bint for_writing) noexcept nogil:
    cdef epoll_event event
    if ((client.flags & WAITING) != 0) == for_writing:
        return
    event.events = EPOLLRDHUP if client.form >= LONG_POLL else EPOLLIN
    if for_writing:
        event.events |= EPOLLOUT
    event.data.u64 = client - shard.clients
    epoll_ctl(shard.epfd, EPOLL_CTL_MOD, client.fd, &event)
    client.flags ^= WAITING


cdef void hold(Shard *shard, Client *client, Frame *frame, uint32_t gone) noexcept nogil:
    """Keep what a client did not take until its socket has room."""
    client.rest = share(frame)
    client.rest_at = gone
    client.since = shard.tick
    watch(shard, client, True)
    arm(shard, client, shard.limits.stall)


cdef void deliver(Shard *shard, Client *client, Frame *frame) noexcept nogil:
    """Send a frame to a client that has nothing waiting; keep what it does not take."""
    cdef ssize_t taken = c_send(client.fd, bytes_of(frame), frame.size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if taken == <ssize_t> frame.size:
        if client.form >= LONG_POLL:
            give_back(shard, client)
    elif taken >= 0 or errno == EAGAIN or errno == EINTR:
        hold(shard, client, frame, <uint32_t> max(taken, <ssize_t> 0))
    else:
        drop(shard, client)


cdef void send_small(Shard *shard, Client *client, const uint8_t *data, size_t size) noexcept nogil:
    """Send a few bytes of our own, keeping to whole ones: what is begun is finished."""
    cdef Frame *frame
    cdef ssize_t taken = c_send(client.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if taken == <ssize_t> size:
        return
    if taken < 0 and (errno == EAGAIN or errno == EINTR):
        return  # it has enough to read; there will be another
    frame = make_frame(<const char *> data, size) if taken >= 0 else NULL
    if frame == NULL:
        drop(shard, client)
        return
    hold(shard, client, frame, <uint32_t> taken)
    release(frame)


cdef inline void fall_behind(Shard *shard, Client *client, uint32_t size) noexcept nogil:
    """Note that a client misses a frame."""
    client.flags |= BEHIND
    client.missed += size
    if client.missed > shard.limits.backlog and client.flags & WAITING:
        shard.counters.slow += 1
        say_goodbye(shard, client, TRY_LATER)


cdef void publish(Shard *shard, Message *message) noexcept nogil:
    """Send one finished frame, or several joined, to every client: one `send` each, no waiting."""
    cdef uint32_t i
    cdef Client *client
    cdef Frame *frame
    cdef ssize_t taken
    cdef int64_t sent = 0
    for i in range(FORMS):
        release(shard.newest[i])
        shard.newest[i] = NULL
    for i in range(shard.used):
        client = &shard.clients[i]
        if client.fd < 0 or client.flags & CLOSING:
            continue
        # A send walks through so much of the kernel's memory that the next client is out of the cache by then.
        bits_prefetch(client + 2)
        frame = message.frames[client.form]
        if frame == NULL:
            continue
        if client.flags & (WAITING | WANTS):
            fall_behind(shard, client, frame.size)
            continue
        taken = c_send(client.fd, bytes_of(frame), frame.size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if taken == <ssize_t> frame.size:
            sent += 1
            if client.form >= LONG_POLL:
                give_back(shard, client)
        elif taken >= 0:
            hold(shard, client, frame, <uint32_t> taken)
        elif errno == EAGAIN or errno == EINTR:
            client.since = shard.tick
            watch(shard, client, True)
            arm(shard, client, shard.limits.stall)
            fall_behind(shard, client, frame.size)
        else:
            drop(shard, client)
    shard.counters.sent += sent


cdef void want(Shard *shard, Client *client) noexcept nogil:
    """Give a client that missed something the newest snapshot, or ask the hub for it."""
    cdef Frame *newest = shard.newest[client.form]
    if newest != NULL:
        client.flags &= <uint8_t> ~(BEHIND | WANTS)
        client.missed = 0
        shard.counters.conflated += 1
        deliver(shard, client, newest)
        return
    client.flags |= WANTS
    if not shard.asked & (1 << client.form):
        shard.asked |= 1 << client.form
        pthread_mutex_lock(&shard.lock)
        shard.wanted |= 1 << client.form
        pthread_mutex_unlock(&shard.lock)
        notify(shard)


cdef void all_behind(Shard *shard) noexcept nogil:
    """Everybody missed something."""
    cdef uint32_t i
    cdef Client *client
    for i in range(FORMS):
        release(shard.newest[i])
        shard.newest[i] = NULL
    for i in range(shard.used):
        client = &shard.clients[i]
        if client.fd < 0 or client.flags & CLOSING:
            continue
        client.flags |= BEHIND
        if not client.flags & (WAITING | WANTS):
            want(shard, client)


cdef void hand_out(Shard *shard, Message *message) noexcept nogil:
    """Give the newest snapshot to those that wait for it."""
    cdef uint32_t i
    cdef Client *client
    for i in range(FORMS):
        if message.frames[i] != NULL:
            release(shard.newest[i])
            shard.newest[i] = share(message.frames[i])
            shard.asked &= ~(<uint32_t> 1 << i)
    for i in range(shard.used):
        client = &shard.clients[i]
        if client.fd >= 0 and client.flags & WANTS and shard.newest[client.form] != NULL:
            want(shard, client)


cdef void catch_up(Shard *shard, Client *client) noexcept nogil:
    """Go on with a client that can take bytes again: first the rest, then the newest snapshot."""
    cdef ssize_t taken
    cdef uint32_t left
    if client.rest != NULL:
        left = client.rest.size - client.rest_at
        taken = c_send(client.fd, bytes_of(client.rest) + client.rest_at, left, MSG_DONTWAIT | MSG_NOSIGNAL)
        if taken < 0:
            if errno != EAGAIN and errno != EINTR:
                drop(shard, client)
            return
        if taken > 0:
            client.since = shard.tick
        client.rest_at += <uint32_t> taken
        if taken < <ssize_t> left:
            return
        release(client.rest)
        client.rest = NULL
        if client.form >= LONG_POLL:
            give_back(shard, client)
            return
    watch(shard, client, False)
    client.heard = shard.tick  # it reads: a sign of life, and no ping was sent while it did not
    arm(shard, client, shard.limits.ping)
    if client.flags & BEHIND:
        want(shard, client)


# --- reading

cdef void read(Shard *shard, Client *client) noexcept nogil:
    cdef ssize_t size = c_recv(client.fd, shard.inbox, READ_SIZE, MSG_DONTWAIT)
    if size < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if size <= 0:
        drop(shard, client)
        return
    take(shard, client, shard.inbox, <uint32_t> size)


cdef bint is_talkative(Shard *shard, Client *client, uint32_t cost) noexcept nogil:
    """Count what a client says; tell whether it is more than it may."""
    if client.heard != shard.tick:
        client.heard = shard.tick
        client.said = 0
    client.said += cost
    return client.said > MOST_SAID


cdef void cut_off_talker(Shard *shard, Client *client) noexcept nogil:
    if client.flags & CLOSING:
        drop(shard, client)
        return
    shard.counters.flooded += 1
    say_goodbye(shard, client, POLICY)


cdef void take(Shard *shard, Client *client, const uint8_t *cursor, uint32_t size) noexcept nogil:
    """Understand bytes from a client, and answer what wants an answer."""
    cdef const uint8_t *end = cursor + size
    cdef int seen
    cdef bint talkative = is_talkative(shard, client, size)
    client.flags &= <uint8_t> ~PINGED
    if client.flags & CLOSING or client.form >= EVENT_STREAM:
        if talkative:
            cut_off_talker(shard, client)
        return
    if client.reader == NULL:
        client.reader = <_ws.Reader *> malloc(sizeof(_ws.Reader))
        if client.reader == NULL:
            drop(shard, client)
            return
        _ws.reset(client.reader)
    while True:
        seen = _ws.feed(client.reader, &cursor, end)
        if seen == _ws.GOT_PING:
            if is_talkative(shard, client, COST_OF_ANSWER):
                cut_off_talker(shard, client)
                return
            if not pong(shard, client):
                return
        elif seen == _ws.GOT_CLOSE:
            say_goodbye(shard, client, client.reader.close_code)
            return
        elif seen == _ws.BROKEN:
            shard.counters.broken += 1
            say_goodbye(shard, client, client.reader.close_code)
            return
        else:
            break
    if talkative:
        cut_off_talker(shard, client)
    elif _ws.is_idle(client.reader):
        free(client.reader)
        client.reader = NULL


cdef bint pong(Shard *shard, Client *client) noexcept nogil:
    """Answer a ping. Returns whether the client is still there."""
    cdef uint8_t frame[2 + 125]
    cdef size_t size
    if client.flags & WAITING:
        return True  # section 5.5.3 lets us answer a later one instead, and nothing may pile up
    size = _ws.write_header(frame, 0xA, client.reader.control_length)
    memcpy(frame + size, client.reader.control, client.reader.control_length)
    send_small(shard, client, frame, size + client.reader.control_length)
    return client.fd >= 0


# --- the loop

cdef void say_goodbye_to_all(Shard *shard, int code) noexcept nogil:
    """Say goodbye to everyone and let go of every socket; the shard stays usable."""
    cdef uint32_t i
    cdef Client *client
    for i in range(shard.used):
        client = &shard.clients[i]
        if client.fd >= 0 and not client.flags & CLOSING:
            say_goodbye(shard, client, code)
        if client.fd >= 0:
            drop(shard, client)


cdef bint handle(Shard *shard, Message *message) noexcept nogil:
    """Do what a message says. Returns False at STOP."""
    if message.kind == ADD:
        add(shard, message)
    elif message.kind == PUBLISH:
        publish(shard, message)
    elif message.kind == OUTDATE:
        all_behind(shard)
    elif message.kind == NEWEST:
        hand_out(shard, message)
    elif message.kind == CLOSE:
        say_goodbye_to_all(shard, message.code)
    return message.kind != STOP


cdef uint32_t tick_now(const Shard *shard) noexcept nogil:
    cdef timespec now
    if shard.manual:
        return shard.clock
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <uint32_t> (now.tv_sec * TICKS + now.tv_nsec // (1000000000 // TICKS))


cdef bint turn(Shard *shard, bint may_sleep) noexcept nogil:
    """Deal with what the sockets report, with what is due by the clock and with what was posted.

    Args:
        may_sleep: wait where there is nothing to do; else return at once.
    Returns:
        False once a STOP was among the messages.
    """
    cdef epoll_event ready[READY_AT_ONCE]
    cdef Message *message
    cdef Message *following
    cdef Client *client
    cdef int i, count, timeout = 0
    cdef bint go_on = True
    cdef uint64_t times
    pthread_mutex_lock(&shard.lock)
    message = shard.first
    shard.first = NULL
    if message == NULL and may_sleep:
        shard.asleep = True
        timeout = sleep_ms(shard)
    pthread_mutex_unlock(&shard.lock)
    count = epoll_wait(shard.epfd, ready, READY_AT_ONCE, timeout)
    advance(shard, tick_now(shard))
    # Before the messages: an addition could give a place to another client than the event is about.
    for i in range(count):
        if ready[i].data.u64 == THE_WAKE:
            c_read(shard.wake, &times, sizeof(times))
            continue
        client = &shard.clients[ready[i].data.u64]
        if client.fd >= 0 and ready[i].events & EPOLLOUT and not client.flags & CLOSING:
            catch_up(shard, client)
        if client.fd >= 0 and ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP):
            if client.form >= LONG_POLL:
                drop(shard, client)  # gone: it may say nothing until it is answered
            else:
                read(shard, client)
    while message != NULL:
        following = message.next
        go_on = handle(shard, message) and go_on
        free_message(message)
        message = following
    return go_on
