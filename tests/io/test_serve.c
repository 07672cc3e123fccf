/* A task for each client: async_server_serve, and what ends it and its clients. */
#include "io_test.h"

#include <sys/resource.h>

static int port;

static async_server *start(void)
{
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    assert_non_null(server);
    port = async_server_port(server);
    return server;
}

static async_stream *join(void)
{
    async_stream *stream = async_open_connection("127.0.0.1", port);
    assert_non_null(stream);
    return stream;
}

/* Lines back; "fail" fails, "block" fails in a block, "close" closes, "long" sleeps, "much" writes
 * more than goes out. */
static int echo(async_stream *client)
{
    static char much[1 << 24];
    char line[64];
    ssize_t n;
    while ((n = async_stream_readline(client, line, sizeof line)) > 0) {
        if (strcmp(line, "fail\n") == 0) return async_raise(-EDOM, "as it was told");
        if (strcmp(line, "block\n") == 0) {
            async_with_file(file, async_file_open("/nowhere/at/all", "r"));
            return 0;
        }
        if (strcmp(line, "close\n") == 0) return async_stream_close(client);
        if (strcmp(line, "long\n") == 0) return async_sleep(1e6);
        if (strcmp(line, "much\n") == 0) return async_stream_write(client, much, sizeof much);
        int code = async_stream_write(client, line, (size_t)n);
        if (code < 0) return code;
    }
    note("end");
    return (int)n;
}

static void ask(async_stream *stream, const char *line)
{
    assert_int_equal(async_stream_printf(stream, "%s\n", line), 0);
}

static void expect_line(async_stream *stream, const char *expected)
{
    char line[64];
    assert_true(async_stream_readline(stream, line, sizeof line) > 0);
    assert_string_equal(line, expected);
}

static void expect_end(async_stream *stream)
{
    char byte;
    assert_int_equal(async_stream_read(stream, &byte, 1), 0);
    async_stream_close(stream);
}

static char reported[1024];
static void on_error(async_loop *loop, int code, const char *message, void *unused)
{
    (void)loop;
    (void)unused;
    snprintf(reported, sizeof reported, "%s: %s", async_error_name(code), message);
}

static int wait_closed(void *server) { return async_server_wait_closed(server); }
static int serve_echo(void *server) { return async_server_serve(server, echo); }

static int failures(void *unused)
{
    (void)unused;
    async_set_exception_handler(async_get_running_loop(), on_error, NULL);
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    async_stream *other = join();
    ask(other, "one");
    expect_line(other, "one\n");
    static const struct {
        const char *line, *report;
    } rows[] = {{"fail", "as it was told"}, {"block", "/nowhere/at/all"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        async_stream *stream = join();
        reported[0] = 0;
        ask(stream, rows[i].line);
        expect_end(stream);
        settle();
        if (!strstr(reported, rows[i].report) || !strstr(reported, "echo"))
            fail_msg("\"%s\" instead of \"%s\"", reported, rows[i].report);
    }
    reported[0] = 0;
    async_stream *stream = join();
    ask(stream, "close");
    expect_end(stream);
    ask(other, "two");
    expect_line(other, "two\n");
    assert_false(async_task_done(task));
    assert_int_equal(async_server_close(server), 0);
    settle();
    assert_false(async_task_done(task));
    ask(other, "three");
    expect_line(other, "three\n");
    async_stream_close(other);
    assert_int_equal(async_await(task), 0);
    assert_notes("end ");
    assert_string_equal(reported, "");
    return 0;
}

struct state {
    int clients;
    async_stream *last;
};
static int count_clients(async_stream *client, struct state *state)
{
    state->clients++;
    state->last = client;
    return 0;
}
struct serve_count {
    async_server *server;
    struct state *state;
};
static int serve_count(struct serve_count *self)
{
    return async_server_serve(self->server, count_clients, self->state);
}

static int with_data(void *unused)
{
    (void)unused;
    struct state state = {0};
    async_server *server = start();
    async_task *task = async_spawn(serve_count, .server = server, .state = &state);
    for (int i = 0; i < 3; i++)
        expect_end(join());
    assert_int_equal(state.clients, 3);
    async_server_close(server);
    assert_int_equal(async_await(task), 0);
    return 0;
}

/* A cancellation closes the server, and ends the clients. */
static int cancelled(void *unused)
{
    (void)unused;
    async_set_exception_handler(async_get_running_loop(), on_error, NULL);
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    async_stream *idle = join(), *busy = join(), *full = join();
    ask(busy, "long");
    ask(full, "much");
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    expect_end(idle);
    expect_end(busy);
    async_stream_abort(full);
    assert_null(async_open_connection("127.0.0.1", port));
    assert_string_equal(reported, "");

    int code = 0;
    async_timeout (1)
        code = async_server_serve(start(), echo);
    assert_int_equal(code, -ETIMEDOUT);
    return 0;
}

/* What reads sees the end; what is being written goes out. */
static int closed_clients(void *unused)
{
    (void)unused;
    static char much[1 << 24];
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    async_stream *reader = join(), *writer = join();
    ask(reader, "one");
    expect_line(reader, "one\n");
    ask(writer, "much");
    settle();
    async_stream *new_one = join();
    assert_int_equal(async_server_close(server), 0);
    assert_int_equal(async_server_close_clients(server), 0);
    async_task *waiter = async_create_task(wait_closed, server);
    expect_end(reader);
    assert_false(async_task_done(waiter));
    assert_int_equal(async_stream_readexactly(writer, much, sizeof much), (ssize_t)sizeof much);
    expect_end(writer);
    assert_int_equal(async_await(waiter), 0);
    assert_true(async_task_done(task));
    notes[0] = 0; /* the new one may have been accepted */
    assert_int_equal(async_await(task), 0);
    async_stream_abort(new_one);
    return 0;
}

static int aborted_clients(void *unused)
{
    (void)unused;
    async_set_exception_handler(async_get_running_loop(), on_error, NULL);
    reported[0] = 0;
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    async_stream *reader = join(), *writer = join();
    char byte;
    ask(writer, "much");
    settle();
    assert_int_equal(async_server_abort_clients(server), 0);
    assert_true(async_stream_read(reader, &byte, 1) <= 0);
    async_stream_abort(reader);
    async_stream_abort(writer);
    /* It goes on. */
    async_stream *stream = join();
    ask(stream, "one");
    expect_line(stream, "one\n");
    async_stream_close(stream);
    assert_int_equal(async_server_close(server), 0);
    assert_int_equal(async_await(task), 0);
    assert_string_equal(reported, "");
    notes[0] = 0;
    return 0;
}

/* Clients whose tasks have not begun when all are ended. */
static int ended_before_begun(void *unused)
{
    (void)unused;
    for (int abort = 0; abort < 2; abort++) {
        async_stream *streams[3];
        async_server *server = start();
        async_task *task = async_create_task(serve_echo, server);
        for (int i = 0; i < 3; i++)
            streams[i] = join();
        async_sleep(0);
        async_server_close(server);
        if (abort)
            async_server_abort_clients(server);
        else
            async_server_close_clients(server);
        assert_int_equal(async_await(task), 0);
        for (int i = 0; i < 3; i++)
            async_stream_abort(streams[i]);
    }
    notes[0] = 0;
    return 0;
}

static int wait_for_itself(async_stream *client, async_server *server)
{
    (void)client;
    assert_int_equal(async_server_wait_closed(server), -EDEADLK);
    return async_server_close(server);
}

static int waiting(void *unused)
{
    (void)unused;
    /* Of a server that nothing serves. */
    async_server *server = start();
    assert_int_equal(async_server_wait_closed(server), 0);
    /* As programs of asyncio's do it, and calls that come too late. */
    server = start();
    assert_int_equal(async_server_close(server), 0);
    assert_int_equal(async_server_close(server), -EBADF);
    assert_int_equal(async_server_wait_closed(server), 0);
    server = start();
    async_task *late = async_create_task(serve_echo, server);
    assert_int_equal(async_server_close(server), 0);
    assert_int_equal(async_await(late), -EBADF);
    assert_message("the server has been closed");

    server = start();
    async_task *serving = async_create_task(serve_echo, server);
    async_stream *stream = join();
    ask(stream, "one");
    expect_line(stream, "one\n");
    async_task *task = async_create_task(wait_closed, server);
    async_task *other = async_create_task(wait_closed, server);
    settle();
    async_cancel(other, NULL);
    assert_int_equal(async_await(other), -ECANCELED);
    assert_false(async_task_done(task) || async_task_done(serving));
    assert_null(async_open_connection("127.0.0.1", port));
    async_stream_close(stream);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_await(serving), 0);

    server = start();
    stream = join();
    assert_int_equal(async_server_serve(server, wait_for_itself, server), 0);
    async_stream_close(stream);
    notes[0] = 0;
    return 0;
}

static int misuse(void *unused)
{
    (void)unused;
    int held;
    int taken = refused_port(&held);
    assert_int_equal(async_server_serve(async_start_server("127.0.0.1", 70000, NULL), echo),
                     -EINVAL);
    assert_message("70000");
    (void)taken;
    close(held);
    assert_int_equal(async_server_close_clients(NULL), -EBADF);
    assert_int_equal(async_server_abort_clients(NULL), -EBADF);
    assert_int_equal(async_server_wait_closed(NULL), -EBADF);
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    settle();
    assert_int_equal(async_server_serve(server, echo), -EBUSY);
    assert_null(async_server_accept(server));
    assert_int_equal(async_error_code(), -EBUSY);
    assert_null(async_server_clients(server));
    assert_int_equal(async_error_code(), -EBUSY);
    async_server_close(server);
    assert_int_equal(async_await(task), 0);
    return 0;
}

/* No descriptors for a while: the connection waits in the kernel's queue, and is not lost. */
static int shortage(void *unused)
{
    (void)unused;
    if (on_valgrind()) return 0; /* it accepts the connection, and then drops it */
    struct rlimit before, none;
    async_server *server = start();
    async_task *task = async_create_task(serve_echo, server);
    async_stream *one = join();
    ask(one, "one");
    expect_line(one, "one\n");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)port)};
    int spare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int two = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){(rlim_t)two + 1, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    /* An accept that io_uring has already goes by the limit of its beginning. */
    if (strcmp(async_loop_backend(async_get_running_loop()), "io_uring") == 0) {
        assert_int_equal(connect(spare, (struct sockaddr *)&address, sizeof address), 0);
        settle();
    }
    assert_int_equal(connect(two, (struct sockaddr *)&address, sizeof address), 0);
    put_text(two, "two\n");
    async_sleep(0.5);
    assert_string_equal(got_text(two), "");
    ask(one, "one");
    expect_line(one, "one\n");
    setrlimit(RLIMIT_NOFILE, &before);
    async_sleep(1);
    assert_int_equal(async_wait_readable(two), 0);
    assert_string_equal(got_text(two), "two\n");
    async_close(two);
    close(spare);
    async_server_close(server);
    async_stream_close(one);
    assert_int_equal(async_await(task), 0);
    notes[0] = 0;
    return 0;
}

static int options(void *unused)
{
    (void)unused;
    for (int on = 0; on < 2; on++) {
        async_server *server = async_start_server(
            "127.0.0.1", 0, &(async_server_options){.keep_alive = on, .backlog = 7});
        assert_non_null(server);
        port = async_server_port(server);
        async_stream *stream = join(), *client = async_server_accept(server);
        int value = -1;
        socklen_t size = sizeof value;
        getsockopt(async_stream_fd(client), SOL_SOCKET, SO_KEEPALIVE, &value, &size);
        assert_int_equal(value, on);
        async_stream_close(stream);
        async_stream_close(client);
        async_server_close(server);
    }
    return 0;
}

TEST(failures)
TEST(with_data)
TEST(cancelled)
TEST(closed_clients)
TEST(aborted_clients)
TEST(ended_before_begun)
TEST(waiting)
TEST(misuse)
TEST(shortage)
TEST(options)

static void test_all_closed(void **state) { assert_int_equal(open_fds(), *(int *)*state); }

int main(void)
{
    int fds = open_fds();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_with_data),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_closed_clients),
        cmocka_unit_test(test_aborted_clients),
        cmocka_unit_test(test_ended_before_begun),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_shortage),
        cmocka_unit_test(test_options),
        cmocka_unit_test_prestate(test_all_closed, &fds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
