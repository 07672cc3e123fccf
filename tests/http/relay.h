/* relay.h - between a client and a server: passes on what either says, and breaks the connection
 * off when the server has said so many bytes. */
#ifndef TESTS_HTTP_RELAY_H
#define TESTS_HTTP_RELAY_H

#include "nginx.h"
#include "raw_server.h"

#include <poll.h>

struct relay {
    int port, to, listener;
    atomic_size_t limit; /* bytes from the server, of each connection; 0: none */
    atomic_bool reset;   /* break off with a reset, else with an end */
    pthread_t thread;
};

/* false: broken off, or ended. */
static bool relay_pass(int from, int to, size_t *passed, size_t limit)
{
    char data[4096];
    size_t most = limit && limit - *passed < sizeof data ? limit - *passed : sizeof data;
    ssize_t n = recv(from, data, most, 0);

    if (n <= 0 || !raw_send(to, data, (size_t)n)) return false;
    *passed += (size_t)n;
    return !limit || *passed < limit;
}

static void relay_one(struct relay *relay, int client)
{
    int server = nginx_connect(relay->to);
    struct pollfd ends[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    size_t said = 0, asked = 0, limit = atomic_load(&relay->limit);
    bool more = server >= 0;

    while (more && poll(ends, 2, -1) > 0) {
        if (ends[0].revents) more = relay_pass(client, server, &asked, 0);
        if (more && ends[1].revents) more = relay_pass(server, client, &said, limit);
    }
    if (relay->reset && said == limit)
        setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    else if (shutdown(client, SHUT_WR) == 0)
        raw_closed(client, 30); /* to close with something unread would be a reset */
    close(client);
    close(server);
}

/* One connection after another. */
static void *relay_run(void *argument)
{
    struct relay *relay = argument;

    for (;;) {
        int fd = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return NULL;
        relay_one(relay, fd);
    }
}

static bool relay_start(struct relay *relay, int to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    memset(relay, 0, sizeof *relay);
    relay->to = to;
    relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(relay->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(relay->listener, 16) < 0)
        return false;
    getsockname(relay->listener, (struct sockaddr *)&address, &length);
    relay->port = ntohs(address.sin_port);
    return pthread_create(&relay->thread, NULL, relay_run, relay) == 0;
}

static void relay_stop(struct relay *relay)
{
    shutdown(relay->listener, SHUT_RDWR);
    pthread_join(relay->thread, NULL);
    close(relay->listener);
}

#endif
