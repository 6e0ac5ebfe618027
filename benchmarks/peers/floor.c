/* The floor: as little as a push server can do, in C. One thread, one loop, plain send() to every client.
 *
 *     floor PORT CONTROL_PORT [uring]
 *
 * It answers any request for /ws with one fixed handshake, GET /status with one byte and any other GET with a 304; a
 * line `message <base64>` on the control port is pushed to all clients as BITS would frame it. No limits, no
 * time-outs, no parsing worth the name: whatever else a server does, it does on top of this.
 * With `uring`, broadcasts go out in batches over io_uring with registered files.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 1 << 20, BATCH = 1024, ACCEPT_AT_ONCE = 64, READY = 256 };

static int *clients, count;
static int *place; /* by descriptor: its index in clients, plus 1; 0: not a push client */

static const char HANDSHAKE[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x0d{\"version\":3}";
static const char STATUS[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\nCache-Control: no-cache\r\n"
    "Access-Control-Allow-Origin: *\r\n\r\n0";
static const char UNCHANGED[] = "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nCache-Control: no-cache\r\n\r\n";

/* --- io_uring, without a library */

static struct {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} ring = {.fd = -1};

static int ring_open(void) {
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
    ring.fd = (int)syscall(__NR_io_uring_setup, BATCH, &p);
    if (ring.fd < 0) return -1;
    size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
    ring.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || ring.sqes == MAP_FAILED) return -1;
    ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
    ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    ring.sq_array = (unsigned *)(sq + p.sq_off.array);
    ring.cq_head = (unsigned *)(cq + p.cq_off.head);
    ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
    ring.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    int *none = malloc(20000 * sizeof(int));
    memset(none, 0xFF, 20000 * sizeof(int));
    return (int)syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_FILES, none, 20000);
}

static void ring_register(int index, int fd) {
    struct io_uring_files_update update = {.offset = (unsigned)index, .fds = (unsigned long)&fd};
    syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_FILES_UPDATE, &update, 1);
}

static void ring_broadcast(const char *frame, size_t size) {
    for (int done = 0; done < count;) {
        int batch = count - done < BATCH ? count - done : BATCH;
        unsigned tail = *ring.sq_tail;
        for (int i = 0; i < batch; i++, tail++) {
            unsigned at = tail & *ring.sq_mask;
            struct io_uring_sqe *sqe = &ring.sqes[at];
            memset(sqe, 0, sizeof *sqe);
            sqe->opcode = IORING_OP_SEND;
            sqe->flags = IOSQE_FIXED_FILE;
            sqe->fd = done + i;
            sqe->addr = (unsigned long)frame;
            sqe->len = (unsigned)size;
            sqe->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
            ring.sq_array[at] = at;
        }
        __atomic_store_n(ring.sq_tail, tail, __ATOMIC_RELEASE);
        syscall(__NR_io_uring_enter, ring.fd, batch, batch, IORING_ENTER_GETEVENTS, NULL, 0);
        __atomic_store_n(ring.cq_head, __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
        done += batch;
    }
}

/* --- the server */

static int listen_on(int port, int for_clients) {
    int one = 1, defer = 5, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (for_clients) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof defer);
    }
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 65535)) {
        perror("floor: listen");
        exit(1);
    }
    return fd;
}

static void watch(int epfd, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
}

static void forget(int fd) {
    if (place[fd]) {
        int at = place[fd] - 1, last = clients[--count];
        clients[at] = last;
        place[last] = at + 1;
        place[fd] = 0;
        if (ring.fd >= 0) ring_register(at, last);
    }
    close(fd);
}

static size_t decode(const char *text, char *out) {
    static signed char value[256];
    const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = 0;
    unsigned bits = 0, have = 0;
    if (!value['B'])
        for (int i = 0; i < 64; i++) value[(int)digits[i]] = (signed char)i;
    for (; *text && *text != '=' && *text != '\n'; text++) {
        bits = bits << 6 | (unsigned)value[(int)*text];
        have += 6;
        if (have >= 8) out[size++] = (char)(bits >> (have -= 8));
    }
    out[size] = 0;
    return size;
}

static void broadcast(const char *line) {
    static long seq;
    char text[4096], frame[8192];
    const char *base64 = strchr(line, ' ');
    if (!base64) return;
    decode(base64 + 1, text);
    int size = sprintf(frame + 4,
                       "{\"message\":{\"timestamp\":1384100716000,\"user\":\"BITS\",\"value\":\"%s\"},"
                       "\"heard\":1384100716000,\"seq\":%ld}",
                       text, ++seq);
    char *begin = frame + 4;
    if (size < 126) {
        *--begin = (char)size;
    } else {
        *--begin = (char)size;
        *--begin = (char)(size >> 8);
        *--begin = 126;
    }
    *--begin = (char)0x81;
    size_t whole = (size_t)(frame + 4 + size - begin);
    if (ring.fd >= 0)
        ring_broadcast(begin, whole);
    else
        for (int i = 0; i < count; i++) send(clients[i], begin, whole, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void serve(int fd, const char *request, ssize_t size) {
    if (size > 8 && !memcmp(request, "GET /ws ", 8)) {
        send(fd, HANDSHAKE, sizeof HANDSHAKE - 1, MSG_NOSIGNAL);
        if (ring.fd >= 0) ring_register(count, fd);
        clients[count++] = fd;
        place[fd] = count;
    } else if (size > 12 && !memcmp(request, "GET /status ", 12)) {
        send(fd, STATUS, sizeof STATUS - 1, MSG_NOSIGNAL);
    } else {
        send(fd, UNCHANGED, sizeof UNCHANGED - 1, MSG_NOSIGNAL);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: floor PORT CONTROL_PORT [uring]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    clients = calloc(MOST, sizeof *clients);
    place = calloc(MOST, sizeof *place);
    if (argc > 3 && ring_open() < 0) {
        perror("floor: io_uring");
        return 1;
    }
    int web = listen_on(atoi(argv[1]), 1), control = listen_on(atoi(argv[2]), 0), bridge = -1;
    int epfd = epoll_create1(0);
    watch(epfd, web);
    watch(epfd, control);
    printf("ready\n");
    fflush(stdout);
    struct epoll_event ready[READY];
    char buffer[16384];
    for (;;) {
        int found = epoll_wait(epfd, ready, READY, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            if (fd == web) {
                for (int n = 0; n < ACCEPT_AT_ONCE; n++) {
                    int client = accept4(web, NULL, NULL, SOCK_NONBLOCK);
                    if (client < 0) break;
                    ssize_t size = recv(client, buffer, sizeof buffer, 0);
                    if (size > 0) serve(client, buffer, size);
                    watch(epfd, client);
                }
            } else if (fd == control) {
                bridge = accept4(control, NULL, NULL, SOCK_NONBLOCK);
                watch(epfd, bridge);
            } else {
                ssize_t size = recv(fd, buffer, sizeof buffer - 1, 0);
                if (size < 0 && errno == EAGAIN) continue;
                if (size <= 0) {
                    if (fd == bridge) bridge = -1;
                    forget(fd);
                } else if (fd == bridge) {
                    buffer[size] = 0;
                    broadcast(buffer);
                } else if (!place[fd]) {
                    serve(fd, buffer, size);
                }
            }
        }
    }
}
