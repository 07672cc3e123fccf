/* raw_server.h - an HTTP server for what nginx will not do: it cuts short, breaks rules, is
 * slow, never answers. A thread for each connection, blocking; the test's function answers,
 * given the request's head and the socket. */
#ifndef TESTS_HTTP_RAW_SERVER_H
#define TESTS_HTTP_RAW_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* false ends the connection. `body` is what came with the head already. */
typedef bool raw_answer(int fd, const char *head, const char *body, size_t body_size);

struct raw_server {
    int port, listener;
    raw_answer *answer;
    pthread_t thread;
    atomic_int live, accepted; /* connections */
    atomic_bool stopping;
};

struct raw_connection {
    struct raw_server *server;
    int fd;
};

/* false if the peer has gone. */
__attribute__((unused)) static bool raw_send(int fd, const void *data, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, (const char *)data + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0) return false;
        sent += (size_t)n;
    }
    return true;
}

__attribute__((unused, format(printf, 2, 3))) static bool raw_printf(int fd, const char *format,
                                                                     ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return raw_send(fd, text, (size_t)length);
}

__attribute__((unused)) static void raw_sleep(int milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
}

/* Whether the peer closes within so many seconds; what it sends is dropped. */
__attribute__((unused)) static bool raw_closed(int fd, int seconds)
{
    char buffer[4096];
    struct timeval limit = {.tv_sec = seconds};
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

/* Takes a permit, which the test has posted or will post. false if the peer closes before. */
__attribute__((unused)) static bool raw_permitted(int fd, sem_t *permits)
{
    struct pollfd peer = {.fd = fd, .events = POLLRDHUP};

    while (sem_trywait(permits) < 0)
        if (poll(&peer, 1, 1) > 0) return false;
    return true;
}

/* Reads what is left of a body whose length the head tells, and drops it. false if the peer has
 * gone. */
__attribute__((unused)) static bool raw_skip_body(int fd, const char *head, size_t size)
{
    char buffer[65536];
    const char *field = strcasestr(head, "content-length:");
    size_t left = field ? strtoull(field + 15, NULL, 10) : 0;

    for (left -= size; left > 0; left -= size) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0) return false;
        size = (size_t)n;
    }
    return true;
}

static void *raw_serve(void *argument)
{
    struct raw_connection connection = *(struct raw_connection *)argument;
    char head[65536];
    size_t length = 0;
    bool more = true;
    free(argument);

    while (more) {
        ssize_t n = recv(connection.fd, head + length, sizeof head - 1 - length, 0);
        if (n <= 0) break;
        length += (size_t)n;
        head[length] = 0;
        char *end = strstr(head, "\r\n\r\n");
        if (!end) continue;
        end[2] = 0;
        more = connection.server->answer(connection.fd, head, end + 4,
                                         length - (size_t)(end + 4 - head));
        length = 0;
    }
    close(connection.fd);
    atomic_fetch_sub(&connection.server->live, 1);
    return NULL;
}

static void *raw_listen(void *argument)
{
    struct raw_server *server = argument;

    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || atomic_load(&server->stopping)) {
            if (fd >= 0) close(fd);
            return NULL;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct raw_connection *connection = malloc(sizeof *connection);
        *connection = (struct raw_connection){server, fd};
        atomic_fetch_add(&server->live, 1);
        atomic_fetch_add(&server->accepted, 1);
        pthread_t thread;
        pthread_create(&thread, NULL, raw_serve, connection);
        pthread_detach(thread);
    }
}

__attribute__((unused)) static bool raw_start(struct raw_server *server, raw_answer *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    memset(server, 0, sizeof *server);
    server->answer = answer;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(server->listener, 512) < 0)
        return false;
    getsockname(server->listener, (struct sockaddr *)&address, &length);
    server->port = ntohs(address.sin_port);
    return pthread_create(&server->thread, NULL, raw_listen, server) == 0;
}

/* Whether all connections end; a minute is for ever. */
__attribute__((unused)) static bool raw_idle(struct raw_server *server)
{
    for (int i = 0; i < 6000 && atomic_load(&server->live); i++)
        raw_sleep(10);
    return atomic_load(&server->live) == 0;
}

__attribute__((unused)) static void raw_stop(struct raw_server *server)
{
    raw_idle(server);
    atomic_store(&server->stopping, true);
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
}

/* "http://127.0.0.1:PORT<path>", in a buffer that the next eight calls leave alone. */
__attribute__((unused)) static const char *raw_url(const struct raw_server *server,
                                                   const char *path)
{
    static __thread char urls[8][512];
    static __thread unsigned next;
    char *url = urls[next++ % 8];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", server->port, path);
    return url;
}

#endif
