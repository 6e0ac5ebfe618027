/* Small requests over connections that stay open, for the cost of one to the server.
 *
 *     gets PORT CONNECTIONS REQUESTS PATH [ETAG]
 *
 * Prints requests a second. Each connection has one request under way.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int connections = atoi(argv[2]), done = 0, one = 1;
    long wanted = atol(argv[3]);
    char request[1024], buffer[65536], condition[256] = "";
    if (argc > 5) snprintf(condition, sizeof condition, "If-None-Match: %s\r\n", argv[5]);
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", argv[4], condition);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int epfd = epoll_create1(0);
    struct timespec begin, end;
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, (struct sockaddr *)&at, sizeof at)) {
            perror("gets: connect");
            return 1;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
        if (send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    struct epoll_event ready[256];
    while (done < wanted) {
        int found = epoll_wait(epfd, ready, 256, 5000);
        if (found <= 0) {
            fprintf(stderr, "gets: no answer after %d\n", done);
            return 1;
        }
        for (int i = 0; i < found; i++) {
            ssize_t got = recv(ready[i].data.fd, buffer, sizeof buffer, 0);
            if (got < 12 || (memcmp(buffer, "HTTP/1.1 200", 12) && memcmp(buffer, "HTTP/1.1 304", 12))) {
                fprintf(stderr, "gets: unexpected answer %.*s\n", got > 40 ? 40 : (int)got, buffer);
                return 1;
            }
            done++;
            if (send(ready[i].data.fd, request, (size_t)size, MSG_NOSIGNAL) != size) return 1;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%.0f\n", done / seconds);
    return 0;
}
