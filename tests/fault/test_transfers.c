/* Sweeps of what moves bytes: files to streams, copies, relays, and servers with a task for each
 * client.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { MUCH = 160 * 1000 };

static unsigned char pattern(size_t place) { return (unsigned char)(place * 31 + (place >> 8)); }

static int failed(void)
{
    int code = async_error_code();
    assert_true(code < 0);
    return code;
}

/* Both ends of a connection: 0 or a code. */
static int open_sockets(async_stream *ends[2])
{
    int fds[2], size = 16 * 1024;
    ends[0] = ends[1] = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    for (int i = 0; i < 2; i++) {
        ends[i] = async_stream_from_fd(fds[i]);
        if (ends[i]) continue;
        int code = failed();
        close(fds[i]);
        if (i == 0) close(fds[1]);
        if (i == 1) async_stream_abort(ends[0]);
        ends[0] = NULL;
        return code;
    }
    return 0;
}

static int open_memory(async_stream *ends[2]) { return async_stream_pair(ends); }

static int (*open_ends)(async_stream *ends[2]);

static void drop(async_stream *ends[2])
{
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
}

/* Reads from `from` on, all but the last `left` bytes, then the end. */
struct take {
    async_stream *stream;
    size_t from, size;
};
static int take(struct take *self)
{
    unsigned char data[5000];
    size_t done = 0;
    while (done < self->size) {
        size_t left = self->size - done;
        ssize_t n = async_stream_read(self->stream, data, left < sizeof data ? left : sizeof data);
        if (n < 0) return (int)n;
        if (n == 0) return ASYNC_EINCOMPLETE;
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(data[i], pattern(self->from + done + (size_t)i));
        done += (size_t)n;
    }
    return 0;
}

/* ---- sendfile ---- */

static int pattern_fd;

static int send_all(async_stream *ends[2])
{
    async_with_group (group) {
        int64_t sent = 0;
        async_group_spawn(group, take, .stream = ends[1], .from = 3, .size = MUCH - 3);
        int64_t n = async_sendfile_fd(ends[0], pattern_fd, 3, -1, &sent);
        if (n < 0) async_group_fail(group, (int)n);
        if (n >= 0) assert_true(n == MUCH - 3 && sent == n);
        assert_true(sent >= 0 && sent <= MUCH - 3);
    }
    return async_block_error();
}

static int sendfile_scenario(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    int code = open_ends(ends);
    if (code < 0) return code;
    async_timeout (100) /* a task that is cancelled is no failure of its group */
        code = send_all(ends);
    if (code == 0) code = async_block_error();
    drop(ends);
    return code;
}

static int sendfile_to_socket(void *unused)
{
    open_ends = open_sockets;
    return sendfile_scenario(unused);
}

static int sendfile_to_memory(void *unused)
{
    open_ends = open_memory;
    return sendfile_scenario(unused);
}

/* ---- copies: whatever happens, no byte is lost or there twice ---- */

struct copying {
    async_stream *from, *to;
    int64_t *copied;
};
static int copying(struct copying *self)
{
    int64_t n = async_stream_copy(self->from, self->to, self->copied);
    return n < 0 ? (int)n : 0;
}

/* Sends the pattern and the end. */
static int send_pattern(void *stream)
{
    static unsigned char data[MUCH];
    for (size_t i = 0; i < MUCH; i++)
        data[i] = pattern(i);
    int code = async_stream_write(stream, data, MUCH);
    return code < 0 ? code : async_stream_write_eof(stream);
}

/* In the middle, and with the pipe full as a rule, the copy is cancelled. The rest is read by hand: what
 * has been copied is there, and what has not can be read. */
static int copy_a_part(async_group *group, async_stream *in[2], async_stream *out[2])
{
    int64_t copied = 0;
    int code = 0;
    async_group_create_task(group, send_pattern, in[0]);
    async_task *copy = async_spawn(copying, .from = in[1], .to = out[0], .copied = &copied);
    async_timeout (10)
        code = take(&(struct take){.stream = out[1], .size = 70000});
    if (code == 0) code = async_sleep(0.01);
    async_cancel(copy, NULL);
    int result = async_await(copy);
    if (code == 0 && result != -ECANCELED) code = result;
    if (code < 0) return code;
    assert_true(copied >= 70000 && copied <= MUCH);
    async_group_spawn(group, take, .stream = in[1], .from = (size_t)copied,
                      .size = MUCH - (size_t)copied);
    return take(&(struct take){.stream = out[1], .from = 70000, .size = (size_t)copied - 70000});
}

static int copy_between(async_stream *in[2], async_stream *out[2])
{
    async_with_group (group) {
        int code = copy_a_part(group, in, out);
        if (code < 0) async_group_fail(group, code);
    }
    return async_block_error();
}

static int copy_scenario(void *unused)
{
    (void)unused;
    async_stream *in[2], *out[2];
    int code = open_ends(in);
    if (code < 0) return code;
    code = open_ends(out);
    if (code == 0) {
        async_timeout (100)
            code = copy_between(in, out);
        if (code == 0) code = async_block_error();
        drop(out);
    }
    drop(in);
    return code;
}

static int copy_sockets(void *unused)
{
    open_ends = open_sockets;
    return copy_scenario(unused);
}

static int copy_memory(void *unused)
{
    open_ends = open_memory;
    return copy_scenario(unused);
}

/* ---- relays ---- */

struct relaying {
    async_stream *a, *b;
};
static int relaying(struct relaying *self) { return async_stream_relay(self->a, self->b, NULL); }

static int both_ways(async_stream *left[2], async_stream *right[2])
{
    async_with_group (group) {
        async_group_spawn(group, relaying, .a = left[1], .b = right[0]);
        async_group_create_task(group, send_pattern, left[0]);
        async_group_create_task(group, send_pattern, right[1]);
        async_group_spawn(group, take, .stream = right[1], .size = MUCH);
        async_group_spawn(group, take, .stream = left[0], .size = MUCH);
    }
    return async_block_error();
}

static int relay_sockets(void *unused)
{
    (void)unused;
    async_stream *left[2], *right[2];
    int code = open_sockets(left);
    if (code < 0) return code;
    code = open_sockets(right);
    if (code == 0) {
        async_timeout (100)
            code = both_ways(left, right);
        if (code == 0) code = async_block_error();
        drop(right);
    }
    drop(left);
    return code;
}

/* ---- a server ---- */

static int echo(async_stream *client) { return (int)async_stream_copy(client, client, NULL); }

static int serve(void *server) { return async_server_serve(server, echo); }

static int talk(int port)
{
    char text[16] = "";
    async_stream *stream = async_open_connection("127.0.0.1", port);
    if (!stream) return failed();
    int code = async_stream_printf(stream, "hello");
    ssize_t n = code < 0 ? code : async_stream_readexactly(stream, text, 5);
    if (n >= 0) assert_string_equal(text, "hello");
    int closed = async_stream_close(stream);
    return n < 0 ? (int)n : closed;
}

static void ignore(async_loop *loop, int code, const char *message, void *unused)
{
    (void)loop;
    (void)unused;
    assert_true(code < 0 && *message);
}

static int serving(void *unused)
{
    (void)unused;
    async_set_exception_handler(async_get_running_loop(), ignore, NULL);
    int code = 0;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    if (!server) return failed();
    int port = async_server_port(server);
    async_task *task = async_create_task(serve, server);
    if (!task) {
        code = failed();
        async_server_close(server);
        return code;
    }
    async_timeout (100)
        code = talk(port);
    if (code == 0) code = async_block_error();
    async_timeout (100)
        if (code == 0) code = talk(port);
    if (code == 0) code = async_block_error();
    /* The call has closed the server already if it has failed. */
    async_cancel(task, NULL);
    int result = async_await(task);
    return code < 0 || result == -ECANCELED ? code : result;
}

SWEEP(sendfile_to_socket, MUCH_DATA | PEERS)
SWEEP(sendfile_to_memory, MUCH_DATA | PEERS)
SWEEP(copy_sockets, MUCH_DATA | PEERS)
SWEEP(copy_memory, MUCH_DATA | PEERS)
SWEEP(relay_sockets, MUCH_DATA | PEERS)
SWEEP(serving, MUCH_DATA | PEERS)

int main(void)
{
    unsigned char *data = malloc(MUCH);
    for (size_t i = 0; i < MUCH; i++)
        data[i] = pattern(i);
    pattern_fd = memfd_create("pattern", MFD_CLOEXEC);
    if (write(pattern_fd, data, MUCH) != MUCH) return 1;
    free(data);
    signal(SIGPIPE, SIG_DFL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sendfile_to_socket), cmocka_unit_test(test_sendfile_to_memory),
        cmocka_unit_test(test_copy_sockets),       cmocka_unit_test(test_copy_memory),
        cmocka_unit_test(test_relay_sockets),      cmocka_unit_test(test_serving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
