/* The n-th allocation, system call, await, wait, wake-up or timeout of a server and a client of WebSockets
 * that talk fails, for every n that they reach: no crash, no leak, no hang; what comes is whole and in its
 * order; and the server goes on. Needs a build with the fault hook.
 *
 * ctest: labels=slow,fault timeout=300 */
#include "server_sweep.h"

#include <casyncio/websocket.h>

#ifdef ASYNC_FAULTS

static const async_websocket_options options = {.fragment = 300, .compress_from = 40};

static int echo(struct async_http_request *request)
{
    async_websocket *socket = async_websocket_accept(request, &options);
    async_for (async_websocket_message, message, async_websocket_messages(socket)) {
        int code = async_websocket_send(socket, message.type, message.data, message.size);
        if (code < 0) return code;
    }
    return async_block_error();
}

struct end {
    async_http_server *server;
    async_stream *stream;
};

static int end(struct end *self) { return async_http_serve_stream(self->server, self->stream); }

struct speak {
    async_websocket *socket;
};

static char text[1000];

/* The other task of the client's. */
static int speak(struct speak *self)
{
    int code = 0;
    for (int i = 0; i < 3 && code == 0; i++) {
        code = async_websocket_printf(self->socket, "%d %s", i, i == 1 ? text : "");
        if (code == 0) code = async_sleep(0.1);
    }
    return code;
}

static int hear(async_websocket *socket)
{
    async_websocket_message message;

    for (int i = 0; i < 3; i++) {
        int code = async_websocket_receive(socket, &message);
        if (code <= 0) return code < 0 ? code : -EPIPE;
        /* Whatever failed, a message is one that was sent. */
        assert_int_equal(message.size, message.data[0] == '1' ? 2 + strlen(text) : 2);
    }
    return async_websocket_close(socket, 1000, "done");
}

static int talk(async_stream *stream)
{
    async_websocket *socket = async_websocket_connect_stream(
        stream, "ws://a/", &(async_websocket_options){.compress_from = 40, .fragment = 300});
    if (!socket) return async_error_code();
    async_task *task = async_spawn(speak, .socket = socket);
    int code = task ? -ETIMEDOUT : async_error_code();
    if (task)
        async_timeout (
            60) /* the other task may have failed: what it did not send does not come back */
            code = hear(socket);
    if (task) {
        async_cancel(task, NULL);
        int spoken = async_await(task);
        if (code == 0 && spoken < 0 && spoken != -ECANCELED) code = spoken;
    }
    async_websocket_free(socket);
    return code;
}

static int exchange(async_http_server *server)
{
    async_stream *ends[2];
    int code = async_stream_pair_with(ends, &(async_pair_options){.max_read = 150});

    if (code < 0) return code;
    async_task *task = async_spawn(end, .server = server, .stream = ends[0]);
    if (!task) {
        code = async_error_code();
        async_stream_abort(ends[0]);
        async_stream_abort(ends[1]);
        return code;
    }
    code = talk(ends[1]);
    int served = async_await(task);
    return code < 0 ? code : served;
}

static int add_routes(async_http_server *server)
{
    return async_http_route(server, "GET", "/", echo);
}

/* A compressed message that could not be sent for want of memory is one that the next does not refer to. */
static int without_memory(void *unused)
{
    async_http_server *server = async_http_server_new(NULL);
    async_stream *ends[2];
    async_websocket_message message;
    static char data[9000]; /* too much for the buffer that is kept */
    unsigned random = 1;
    int failures = 0;

    async_http_route(server, "GET", "/", echo);
    assert_int_equal(async_stream_pair(ends), 0);
    async_task *task = async_spawn(end, .server = server, .stream = ends[0]);
    async_websocket *socket = async_websocket_connect_stream(
        ends[1], "ws://a/",
        &(async_websocket_options){.fragment = 100000, .client_max_window_bits = 15});
    for (int n = 1; n <= 8; n++) {
        for (size_t i = 0; i < sizeof data; i++) {
            random = random * 1103515245 + 12345;
            data[i] = (char)(random >> 16);
        }
        async__faults[ASYNC__FAULT_ALLOCATION] = (struct async__fault_counter){.at = n};
        int code = async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, sizeof data);
        async__faults[ASYNC__FAULT_ALLOCATION].at = 0;
        assert_true(code == 0 || code == -ENOMEM);
        failures += code < 0;
        if (code < 0)
            code = async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, sizeof data);
        assert_int_equal(code, 0);
        assert_int_equal(async_websocket_receive(socket, &message), 1);
        assert_int_equal(message.size, sizeof data);
        assert_memory_equal(message.data, data, sizeof data);
    }
    assert_true(failures >= 2);
    async_websocket_free(socket);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

static void test_without_memory(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(without_memory, NULL,
                       &(async_run_options){.no_signals = true, .loop = {.virtual_clock = true}}),
        0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_system_calls),   cmocka_unit_test(test_awaits),
        cmocka_unit_test(test_waits),          cmocka_unit_test(test_wakes),
        cmocka_unit_test(test_expiries),
    };
    memset(text, 'x', sizeof text - 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    puts("skipped: built without ASYNC_FAULTS");
    return 77;
}

#endif
