/* streams.h: serving. */
#include "io/io.h"

#include "io_test.h"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>

/* ---- a server of lines, as in the design ---- */

struct serve {
    async_stream *client;
};
static int serve(struct serve *self)
{
    char line[512];
    ssize_t n;
    while ((n = async_stream_readline(self->client, line, sizeof line)) > 0)
        if (async_stream_write(self->client, line, (size_t)n) < 0) break;
    async_stream_close(self->client);
    return n < 0 ? (int)n : 0;
}

struct serve_all {
    async_server *server;
};
static int serve_all(struct serve_all *self)
{
    async_with_group (group)
        async_for (async_stream *, client, async_server_clients(self->server))
            async_group_spawn(group, serve, .client = client);
    return 0;
}

struct talk {
    int port, number;
};
static int talk(struct talk *self)
{
    char line[64], expected[64];
    async_stream *stream = async_open_connection("127.0.0.1", self->port);
    if (!stream) return async_error_code();
    for (int i = 0; i < 10; i++) {
        snprintf(expected, sizeof expected, "%d says %d\n", self->number, i);
        int code = async_stream_printf(stream, "%s", expected);
        if (code < 0) return code;
        if (async_stream_readline(stream, line, sizeof line) < 0) return async_error_code();
        if (strcmp(line, expected) != 0) return -EBADMSG;
    }
    return async_stream_close(stream);
}

static int echo(void *unused)
{
    (void)unused;
    async_task *tasks[50];
    int before = open_fds();
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    assert_non_null(server);
    int port = async_server_port(server);
    assert_true(port > 0);
    async_task *all = async_spawn(serve_all, .server = server);
    for (int i = 0; i < 50; i++)
        tasks[i] = async_spawn(talk, .port = port, .number = i);
    for (int i = 0; i < 50; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    async_server_close(server); /* ends the loop, not with an error */
    assert_int_equal(async_await(all), 0);
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(echo)

static int clients_of_many_addresses(void *unused)
{
    (void)unused;
    int before = open_fds();
    for (int i = 0; i < 3; i++) {
        async_server *server = async_start_server(i == 0   ? NULL
                                                  : i == 1 ? ""
                                                           : "localhost",
                                                  0, NULL);
        assert_non_null(server);
        int port = async_server_port(server), nodelay = 0;
        socklen_t size = sizeof nodelay;
        for (int j = 0; j < 6; j++) {
            async_stream *client = async_open_connection(j % 2 ? "localhost" : "127.0.0.1", port);
            assert_non_null(client);
            async_stream *accepted = async_server_accept(server);
            assert_non_null(accepted);
            assert_int_equal(async_error_code(), 0);
            getsockopt(async_stream_fd(accepted), IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
            assert_true(nodelay);
            assert_true(fcntl(async_stream_fd(accepted), F_GETFD) & FD_CLOEXEC);
            async_stream_close(client);
            async_stream_close(accepted);
        }
        async_server_close(server);
    }
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(clients_of_many_addresses)

static int left_loop_closes(void *unused)
{
    (void)unused;
    int before = open_fds();
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    int port = async_server_port(server);
    async_stream *stream = async_open_connection("127.0.0.1", port);
    async_for (async_stream *, client, async_server_clients(server)) {
        assert_null(async_server_clients(server));
        assert_int_equal(async_error_code(), -EBUSY);
        async_stream_close(client);
        break;
    }
    assert_null(async_open_connection("127.0.0.1", port));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    async_stream_close(stream);
    assert_int_equal(open_fds(), before);

    /* A server that could not be started: its error is the loop's. */
    async_for (async_stream *, client, async_server_clients(async_start_server("", -1, NULL)))
        async_stream_close(client);
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}
TEST(left_loop_closes)

struct accept_one {
    async_server *server;
};
static int accept_one(struct accept_one *self)
{
    async_stream *stream = async_server_accept(self->server);
    if (!stream) return async_error_code();
    return async_stream_close(stream);
}

static int accepting(void *unused)
{
    (void)unused;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    int port = async_server_port(server);
    assert_null(async_server_accept(NULL));
    assert_int_equal(async_error_code(), -EBADF);

    async_task *task = async_spawn(accept_one, .server = server);
    settle();
    assert_null(async_server_accept(server));
    assert_int_equal(async_error_code(), -EBUSY);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);

    /* A connection that comes just then is not lost. */
    task = async_spawn(accept_one, .server = server);
    settle();
    async_stream *client = async_open_connection("127.0.0.1", port);
    async_cancel(task, NULL);
    int code = async_await(task);
    if (code < 0) {
        assert_int_equal(code, -ECANCELED);
        async_stream *stream = async_server_accept(server);
        assert_non_null(stream);
        async_stream_close(stream);
    }
    async_stream_close(client);
    async_timeout (5)
        assert_null(async_server_accept(server));
    assert_int_equal(async_error_code(), -ETIMEDOUT);
    assert_int_equal(tenths(), 50);

    task = async_spawn(accept_one, .server = server);
    settle();
    async_server_close(server);
    assert_int_equal(async_await(task), -EBADF);
    assert_string_equal(async_error_message(), "the server has been closed");
    async_server_close(NULL);
    assert_int_equal(async_server_port(NULL), -EBADF);
    return 0;
}
TEST(accepting)

static int bad_addresses(void *unused)
{
    (void)unused;
    int before = open_fds();
    char text[96];
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    int port = async_server_port(server);
    assert_null(async_start_server("127.0.0.1", port, NULL));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    snprintf(text, sizeof text, "listen on 127.0.0.1:%d: %s", port, async_strerror(-EADDRINUSE));
    assert_string_equal(async_error_message(), text);
    async_server_close(server);
    /* At once again: SO_REUSEADDR. */
    server = async_start_server("127.0.0.1", port, NULL);
    assert_non_null(server);
    async_server_close(server);
    for (int i = 0; i < 2; i++) {
        assert_null(async_start_server("127.0.0.1", i ? 65536 : -1, NULL));
        assert_int_equal(async_error_code(), -EINVAL);
    }
    assert_null(async_start_server("192.0.2.1", 0, NULL)); /* an address for documentation */
    assert_int_equal(async_error_code(), -EADDRNOTAVAIL);
    assert_message("listen on 192.0.2.1:");
    assert_int_equal(open_fds(), before);

    async_server_options options = {.reuse_port = true, .backlog = 3};
    async_server *servers[2] = {async_start_server("127.0.0.1", 0, &options)};
    port = async_server_port(servers[0]);
    servers[1] = async_start_server("127.0.0.1", port, &options);
    assert_non_null(servers[1]);
    async_server_close(servers[0]);
    async_server_close(servers[1]);
    return 0;
}
TEST(bad_addresses)

/* ---- no descriptors left ---- */

static double cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
}

static void forbid_descriptors(struct rlimit *before)
{
    getrlimit(RLIMIT_NOFILE, before);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, before->rlim_max});
}

static int no_descriptors(void *unused)
{
    (void)unused;
    struct rlimit before;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    async_stream *client = async_open_connection("127.0.0.1", async_server_port(server));
    double start = async_now();
    async_task *task = async_spawn(accept_one, .server = server);
    forbid_descriptors(&before);
    async_sleep(3.5);
    assert_false(async_task_done(task));
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(async_await(task), 0);
    assert_true(async_now() - start > 3.99 && async_now() - start < 4.01);
    async_stream_close(client);

    /* While it waits for better times it can be cancelled, and closed. */
    client = async_open_connection("127.0.0.1", async_server_port(server));
    forbid_descriptors(&before);
    task = async_spawn(accept_one, .server = server);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    task = async_spawn(accept_one, .server = server);
    settle();
    async_server_close(server);
    assert_int_equal(async_await(task), -EBADF);
    setrlimit(RLIMIT_NOFILE, &before);
    async_stream_close(client);
    return 0;
}

/* valgrind has limits of its own on descriptors: it accepts the connection and then drops it. */
static void test_no_descriptors(void **state)
{
    (void)state;
    if (on_valgrind()) skip();
    assert_int_equal(run(no_descriptors, NULL), 0);
}

/* In real time, to see that it does not spin: it tries once, and sleeps. */
static int no_spinning(void *unused)
{
    (void)unused;
    struct rlimit before;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    async_stream *client = async_open_connection("127.0.0.1", async_server_port(server));
    async_task *task = async_spawn(accept_one, .server = server);
    forbid_descriptors(&before);
    double start = cpu();
    async_sleep(0.2);
    assert_true(cpu() - start < 0.05);
    setrlimit(RLIMIT_NOFILE, &before);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    async_stream_close(client);
    async_server_close(server);
    return 0;
}

static void test_no_spinning(void **state)
{
    (void)state;
    if (on_valgrind()) skip();
    assert_int_equal(async_run(no_spinning, NULL), 0);
}

/* A connection that is over before it is accepted does no harm. */
static int short_visits(void *unused)
{
    (void)unused;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    int port = async_server_port(server);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 10; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        reset(fd);
    }
    async_stream *client = async_open_connection("127.0.0.1", port);
    assert_int_equal(async_stream_write(client, "x", 1), 0);
    for (bool found = false; !found;) {
        char byte = 0;
        async_stream *stream = async_server_accept(server);
        assert_non_null(stream);
        found = async_stream_read(stream, &byte, 1) == 1;
        async_stream_close(stream);
    }
    async_stream_close(client);
    async_server_close(server);
    return 0;
}
TEST(short_visits)

/* ---- Unix sockets ---- */

static char directory[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int unix_server(void *unused)
{
    (void)unused;
    char path[128], text[128];
    struct stat status;
    strcpy(path, path_of("socket"));
    async_server *server = async_start_unix_server(path, &(async_server_options){.mode = 0600});
    assert_non_null(server);
    assert_int_equal(async_server_port(server), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    async_stream *client = async_open_unix_connection(path);
    assert_non_null(client);
    async_stream *accepted = async_server_accept(server);
    assert_int_equal(async_stream_peername(client, text, sizeof text), 0);
    assert_string_equal(text, path);
    assert_int_equal(async_stream_write(client, "hi\n", 3), 0);
    assert_int_equal(async_stream_readline(accepted, text, sizeof text), 3);
    async_stream_close(client);
    async_stream_close(accepted);

    /* One that lives is not replaced. */
    assert_null(async_start_unix_server(path, NULL));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    assert_message("listen on ");
    async_server_close(server);
    assert_int_equal(stat(path, &status), -1);
    return 0;
}
TEST(unix_server)

static int stale_files(void *unused)
{
    (void)unused;
    char path[128];
    struct stat status;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(path, path_of("stale"));
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    async_server *server = async_start_unix_server(path, NULL);
    assert_non_null(server);

    /* Somebody else's file in its place stays. */
    unlink(path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    async_server_close(server);
    assert_int_equal(stat(path, &status), 0);
    assert_null(async_start_unix_server(path, NULL));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    assert_int_equal(stat(path, &status), 0);
    unlink(path);

    assert_null(async_start_unix_server("/nonexistent/socket", NULL));
    assert_int_equal(async_error_code(), -ENOENT);
    char name[200];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_null(async_start_unix_server(name, NULL));
    assert_int_equal(async_error_code(), -ENAMETOOLONG);
    return 0;
}
TEST(stale_files)

static int abstract(void *unused)
{
    (void)unused;
    char name[64], text[64];
    snprintf(name, sizeof name, "@casyncio-test-%d", getpid());
    async_server *server = async_start_unix_server(name, NULL);
    assert_non_null(server);
    async_stream *client = async_open_unix_connection(name);
    assert_non_null(client);
    assert_int_equal(async_stream_peername(client, text, sizeof text), 0);
    assert_string_equal(text, name);
    assert_null(async_start_unix_server(name, NULL));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    async_stream_close(client);
    async_server_close(server);
    assert_null(async_open_unix_connection(name));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    return 0;
}
TEST(abstract)

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/casyncio-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_clients_of_many_addresses),
        cmocka_unit_test(test_left_loop_closes),
        cmocka_unit_test(test_accepting),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_no_spinning),
        cmocka_unit_test(test_short_visits),
        cmocka_unit_test(test_unix_server),
        cmocka_unit_test(test_stale_files),
        cmocka_unit_test(test_abstract),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
