/* Sweeps in which nothing fails, but another task closes the file, the socket, the stream or the
 * server: at the n-th system call, await or wait of the task that uses it, for every n. The call that
 * is under way then ends, with what it has done or with -EBADF, and nothing reaches the file that is
 * opened right after, often under the same number.
 *
 * ctest: timeout=600 */
#include "task/task.h"

#include "sweep.h"

#include <casyncio/files.h>
#include <casyncio/sockets.h>
#include <casyncio/streams.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>

static char scratch[64], other[80], fifo[80];

/* ---- the task that closes ---- */

static struct {
    bool armed, closed;
    async_event asked;
    async_task *task;
    void (*close)(void *victim);
    void *victim;
    int canary; /* opened after the close: must stay as it is */
} closer;

/* Instead of a fault: has the other task run as soon as the one that is here gives way, and has that
 * do so at this very checkpoint. */
static void ask(void)
{
    if (!closer.armed) return;
    async_event_set(&closer.asked);
    if (async__current) async__current->tasks->budget = 0;
}

static int close_when_asked(void *unused)
{
    (void)unused;
    int code = async_event_wait(&closer.asked);
    if (code < 0) return code;
    closer.closed = true;
    closer.close(closer.victim);
    closer.canary = open(other, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(closer.canary, "precious", 8), 8);
    return 0;
}

static void arm(void (*close_it)(void *), void *victim)
{
    memset(&closer, 0, sizeof closer);
    closer.canary = -1;
    closer.close = close_it;
    closer.victim = victim;
    closer.task = async_create_task(close_when_asked, NULL);
    assert_non_null(closer.task);
    async_sleep(0);
    closer.armed = true;
}

/* Ends the closer, and closes the victim if that has not happened. */
static void disarm(void)
{
    char text[16];
    closer.armed = false;
    if (!closer.closed) {
        async_cancel(closer.task, NULL);
        int code = async_await(closer.task);
        assert_true(code == -ECANCELED || code == 0);
        if (!closer.closed) closer.close(closer.victim);
    } else {
        assert_int_equal(async_await(closer.task), 0);
    }
    if (closer.canary < 0) return;
    assert_int_equal(lseek(closer.canary, 0, SEEK_CUR), 8); /* neither read nor written */
    assert_int_equal(pread(closer.canary, text, sizeof text, 0), 8);
    assert_memory_equal(text, "precious", 8);
    close(closer.canary);
}

/* Whether to go on after a call with this result. */
static bool goes_on(ssize_t result)
{
    if (result < 0 && !(result == -EBADF && closer.closed) && result != -ETIMEDOUT)
        print_error("%s\n", async_error_message());
    assert_true(result >= 0 || (result == -EBADF && closer.closed) || result == -ETIMEDOUT);
    return !closer.closed;
}

/* ---- files ---- */

static void close_file(void *file)
{
    int code = async_file_close(file);
    assert_true(code == 0 || code == -ECANCELED); /* disarm was quicker */
}

static bool write_file(async_file *file)
{
    static char much[300 * 1024]; /* more than one job takes */
    memset(much, 'x', sizeof much);
    return goes_on(async_file_write(file, much, sizeof much)) &&
           goes_on(async_file_printf(file, "\nline\nline\nlast")) && goes_on(async_file_sync(file));
}

static bool read_file(async_file *file)
{
    struct stat status;
    static char line[400 * 1024];
    if (!goes_on(async_file_seek(file, 0, SEEK_SET)) ||
        !goes_on(async_file_read(file, line, sizeof line)) ||
        !goes_on(async_file_readline(file, line, sizeof line)) ||
        !goes_on(async_file_stat(file, &status)))
        return false;
    async_for (char *, text, async_file_lines(file))
        if (!goes_on((ssize_t)strlen(text))) break;
    return goes_on(async_block_error()) && goes_on(async_file_truncate(file, 3));
}

/* A second task, which waits for its turn. */
static int use_too(void *file)
{
    char byte;
    if (!closer.closed) goes_on(async_file_read(file, &byte, 1));
    return 0;
}

static int regular_file(void *unused)
{
    (void)unused;
    async_file *file = async_file_open(scratch, "w+");
    assert_non_null(file);
    arm(close_file, file);
    async_task *second = async_create_task(use_too, file);
    if (!closer.closed && write_file(file)) read_file(file);
    assert_int_equal(async_await(second), 0);
    disarm();
    return 0;
}

static int polled_file(void *unused)
{
    (void)unused;
    char line[64];
    async_file *file = async_file_open(fifo, "r+");
    assert_non_null(file);
    arm(close_file, file);
    for (int i = 0; i < 3; i++)
        if (closer.closed || !goes_on(async_file_write(file, "line\nrest", 9)) ||
            !goes_on(async_file_readline(file, line, sizeof line)) ||
            !goes_on(async_file_read(file, line, sizeof line)))
            break;
    if (!closer.closed) /* its job is in a thread, and fails */
        assert_true(async_file_truncate(file, 0) < 0);
    if (!closer.closed) {
        int code = 0;
        async_timeout (1)
            code = (int)async_file_read(file, line, sizeof line);
        goes_on(code);
    }
    disarm();
    return 0;
}

/* ---- sockets ---- */

static int fds[2];

static void close_fd(void *fd) { assert_int_equal(async_close(*(int *)fd), 0); }

static int answer_all(void *unused)
{
    (void)unused;
    char buffer[8192];
    ssize_t n;
    while ((n = async_recv(fds[1], buffer, sizeof buffer, 0)) > 0)
        (void)send(fds[1], buffer, n > 100 ? 100 : (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n == -ECONNRESET ? 0 : (int)n;
}

static int raw_socket(void *unused)
{
    (void)unused;
    static char much[200000];
    char buffer[256];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    int fd = fds[0], size = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    async_task *peer = async_create_task(answer_all, NULL);
    arm(close_fd, &fd);
    for (int i = 0; i < 2; i++)
        if (closer.closed || !goes_on(async_sendall(fd, much, sizeof much, NULL)) ||
            !goes_on(async_wait_readable(fd)) ||
            !goes_on(async_recv(fd, buffer, sizeof buffer, 0)) ||
            !goes_on(async_read(fd, buffer, 1)) || !goes_on(async_write(fd, "x", 1)))
            break;
    disarm();
    assert_int_equal(async_await(peer), 0);
    async_close(fds[1]);
    return 0;
}

static int connecting(void *unused)
{
    (void)unused;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), code = 0;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    arm(close_fd, &fd);
    if (goes_on(async_connect(fd, (struct sockaddr *)&address, length)))
        goes_on(async_send(fd, "x", 1, 0));
    disarm();

    arm(close_fd, &listener);
    async_timeout (1)
        code = async_accept(listener, NULL, NULL);
    if (code > 0) async_close(code);
    if (goes_on(code))
        async_timeout (1)
            goes_on(code = async_accept(listener, NULL, NULL));
    if (code > 0) async_close(code);
    disarm();
    return 0;
}

/* ---- streams and servers ---- */

static void close_stream(void *stream) { async_stream_abort(stream); }

static int stream(void *unused)
{
    (void)unused;
    static char much[200000];
    char line[512];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    async_stream *victim = async_stream_from_fd(fds[0]);
    assert_non_null(victim);
    async_task *peer = async_create_task(answer_all, NULL);
    arm(close_stream, victim);
    much[sizeof much - 1] = '\n';
    for (int i = 0; i < 2; i++)
        if (closer.closed || !goes_on(async_stream_write(victim, much, sizeof much)) ||
            !goes_on(async_stream_drain(victim)) ||
            !goes_on(async_stream_readexactly(victim, line, 50)) ||
            !goes_on(async_stream_read(victim, line, sizeof line)))
            break;
    disarm();
    assert_int_equal(async_await(peer), 0);
    async_close(fds[1]);
    return 0;
}

static int read_all(void *stream)
{
    static char bin[4096];
    ssize_t n;
    async_stream_write_nowait(stream, bin, sizeof bin);
    while ((n = async_stream_read(stream, bin, sizeof bin)) > 0)
        ;
    async_stream_abort(stream);
    return 0;
}

static int memory_stream(void *unused)
{
    (void)unused;
    static char much[200000];
    char line[512];
    async_stream *ends[2];
    assert_int_equal(async_stream_pair_with(ends, &(async_pair_options){.latency = 0.001}), 0);
    async_task *peer = async_create_task(read_all, ends[1]);
    arm(close_stream, ends[0]);
    struct iovec pieces[] = {{much, 100}, {much, sizeof much}};
    for (int i = 0; i < 2; i++)
        if (closer.closed || !goes_on(async_stream_writev(ends[0], pieces, 2)) ||
            !goes_on(async_stream_drain(ends[0])) ||
            !goes_on(async_stream_readexactly(ends[0], line, 50)) ||
            !goes_on(async_stream_read(ends[0], line, sizeof line)))
            break;
    disarm();
    assert_int_equal(async_await(peer), 0);
    return 0;
}

static void close_server(void *server) { async_server_close(server); }

static int server(void *unused)
{
    (void)unused;
    async_server *victim = async_start_server("127.0.0.1", 0, NULL);
    assert_non_null(victim);
    int port = async_server_port(victim);
    async_stream *client = async_open_connection("127.0.0.1", port), *accepted = NULL;
    assert_non_null(client);
    arm(close_server, victim);
    accepted = async_server_accept(victim);
    goes_on(accepted ? 0 : async_error_code());
    if (accepted) async_stream_abort(accepted);
    if (!closer.closed) {
        async_timeout (1)
            accepted = async_server_accept(victim);
        assert_null(accepted);
        goes_on(async_error_code());
    }
    disarm();
    async_stream_abort(client);
    return 0;
}

static void sweep_closes(const char *name, async_coroutine scenario)
{
    static const enum async__fault_kind kinds[] = {ASYNC__FAULT_SYSTEM_CALL, ASYNC__FAULT_AWAIT,
                                                   ASYNC__FAULT_WAIT};
    async_test_options options = {.name = name};

    for (size_t i = 0; i < COUNT(kinds); i++)
        options.kinds |= 1u << kinds[i];
    printf("%s\n", name);
    async__fault_action = ask;
    assert_true(async_test_faults(scenario, NULL, &options));
    async__fault_action = NULL;
}

#define CLOSES(scenario)                                                                           \
    static void test_##scenario(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        sweep_closes(#scenario, scenario);                                                         \
    }

CLOSES(regular_file)
CLOSES(polled_file)
CLOSES(raw_socket)
CLOSES(connecting)
CLOSES(stream)
CLOSES(memory_stream)
CLOSES(server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular_file), cmocka_unit_test(test_polled_file),
        cmocka_unit_test(test_raw_socket),   cmocka_unit_test(test_connecting),
        cmocka_unit_test(test_stream),       cmocka_unit_test(test_memory_stream),
        cmocka_unit_test(test_server),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(scratch, sizeof scratch, "/tmp/casyncio-close-%d", (int)getpid());
    snprintf(other, sizeof other, "%s.other", scratch);
    snprintf(fifo, sizeof fifo, "%s.fifo", scratch);
    if (mkfifo(fifo, 0600) < 0) return 1;
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(scratch);
    unlink(other);
    unlink(fifo);
    return bad;
}
