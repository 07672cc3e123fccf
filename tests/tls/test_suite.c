/* ctest: timeout=600
 * The suite of streams (io/stream_suite.h) over TLS: over TCP, over memory, and in TLS. */
#include "tls_test.h"

#include "io/stream_suite.h"

#include <netinet/tcp.h>

static async_tls_context *client, *server, *old_client;

static int secure(async_stream *ends[2], async_tls_context *context)
{
    int code = secure_pair(ends, context, server);
    if (code < 0) fail_msg("%s", async_error_message());
    return code;
}

static int open_tcp_with(async_stream *ends[2], async_tls_context *context)
{
    int fds[2], size = 64 * 1024;
    make_tcp_pair(fds);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        /* A handshake has limits, and the virtual clock would not wait for an acknowledgement. */
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        assert_non_null(ends[i] = async_stream_from_fd(fds[i]));
    }
    return secure(ends, context);
}

static int open_tcp(async_stream *ends[2]) { return open_tcp_with(ends, client); }
static int open_old(async_stream *ends[2]) { return open_tcp_with(ends, old_client); }

/* The other way round: the server's end is the one that writes in most tests. */
static int open_tcp_reversed(async_stream *ends[2])
{
    async_stream *other[2];
    int code = open_tcp(other);
    ends[0] = other[1];
    ends[1] = other[0];
    return code;
}

static int open_memory(async_stream *ends[2])
{
    assert_int_equal(async_stream_pair(ends), 0);
    return secure(ends, client);
}

static int open_narrow_memory(async_stream *ends[2])
{
    async_pair_options options = {.capacity = 1000, .max_read = 77};
    assert_int_equal(async_stream_pair_with(ends, &options), 0);
    return secure(ends, client);
}

static int open_late_memory(async_stream *ends[2])
{
    async_pair_options options = {.latency = 0.004};
    assert_int_equal(async_stream_pair_with(ends, &options), 0);
    return secure(ends, client);
}

static int open_tls_in_tls(async_stream *ends[2])
{
    open_tcp(ends);
    return secure(ends, client);
}

static int open_thrice_in_memory(async_stream *ends[2])
{
    open_memory(ends);
    secure(ends, client);
    return secure(ends, client);
}

static const struct carrier carriers[] = {
    {.name = "TLS over TCP", .open = open_tcp, .two_way = true, .half_close = true},
    {.name = "TLS reversed", .open = open_tcp_reversed, .two_way = true, .half_close = true},
    {.name = "TLS 1.2 over TCP", .open = open_old, .two_way = true, .half_close = true},
    {.name = "TLS over memory", .open = open_memory, .two_way = true, .half_close = true},
    {.name = "TLS over narrow memory",
     .open = open_narrow_memory,
     .two_way = true,
     .half_close = true},
    {.name = "TLS over late memory", .open = open_late_memory, .two_way = true, .half_close = true},
    {.name = "TLS in TLS", .open = open_tls_in_tls, .two_way = true, .half_close = true},
    {.name = "TLS in TLS in TLS",
     .open = open_thrice_in_memory,
     .two_way = true,
     .half_close = true},
};

static void test_suite(void **state)
{
    (void)state;
    pki_make();
    client = client_context(.handshake_timeout = INFINITY);
    server = server_context(.handshake_timeout = INFINITY);
    old_client = client_context(.handshake_timeout = INFINITY, .ciphers = "ECDHE+AESGCM",
                                .greatest_version = ASYNC_TLS_1_2);
    /* Each takes valgrind a minute: the first and the last. */
    for (size_t i = 0; i < COUNT(carriers); i += on_valgrind() ? COUNT(carriers) - 1 : 1)
        run_suite(&carriers[i]);
    async_tls_context_free(client);
    async_tls_context_free(server);
    async_tls_context_free(old_client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_suite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
