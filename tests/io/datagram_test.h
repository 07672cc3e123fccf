/* datagram_test.h - what the tests of datagram endpoints have in common. */
#ifndef DATAGRAM_TEST_H
#define DATAGRAM_TEST_H

#include "io_test.h"

#include <casyncio/datagrams.h>

/* An endpoint at a free port of 127.0.0.1, which anything may write to. */
UNUSED async_datagram_endpoint *bound(void)
{
    async_datagram_endpoint *endpoint =
        async_create_datagram_endpoint(&(async_datagram_options){.local_addr = {"127.0.0.1", 0}});
    assert_non_null(endpoint);
    return endpoint;
}

/* One that is connected to a port of 127.0.0.1. */
UNUSED async_datagram_endpoint *connected(int port)
{
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
        &(async_datagram_options){.remote_addr = {"127.0.0.1", port}});
    assert_non_null(endpoint);
    return endpoint;
}

UNUSED async_address address_of(const async_datagram_endpoint *endpoint)
{
    async_address address;
    assert_int_equal(async_datagram_sockname(endpoint, &address), 0);
    return address;
}

/* A connected pair of Unix datagram sockets. */
UNUSED void make_datagram_pair(async_datagram_endpoint *ends[2])
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        assert_non_null(ends[i] = async_datagram_from_fd(fds[i]));
}

UNUSED void send_text(async_datagram_endpoint *endpoint, const char *text, const async_address *to)
{
    assert_int_equal(async_datagram_sendto(endpoint, text, strlen(text), to), 0);
}

/* The next datagram, as a string; good until the next call. */
UNUSED const char *received(async_datagram_endpoint *endpoint, async_address *from)
{
    static char text[2048];
    ssize_t n = async_datagram_recvfrom(endpoint, text, sizeof text - 1, from);
    assert_true(n >= 0);
    text[n] = 0;
    return text;
}

struct receive_call {
    async_datagram_endpoint *endpoint;
    char *buffer;
    size_t size;
    async_address *from;
};

UNUSED int receive_call(struct receive_call *self)
{
    return (int)async_datagram_recvfrom(self->endpoint, self->buffer, self->size, self->from);
}

UNUSED bool have_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) close(fd);
    return have;
}

/* A port of 127.0.0.1 that no socket has: it was one's a moment ago. */
UNUSED int dead_port(void)
{
    async_datagram_endpoint *endpoint = bound();
    int port = async_datagram_port(endpoint);
    assert_int_equal(async_datagram_close(endpoint), 0);
    return port;
}

#endif
