/* Pipes, terminals, and this process's own standard streams. */
#include "process_test.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>

/* ---- connect_read_pipe, connect_write_pipe ---- */

static int pipe_ends(void *unused)
{
    int ends[2];
    char text[8] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0); /* blocking, and they stay so */
    assert_null(async_connect_read_pipe(ends[1]));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_message("not open for reading");
    assert_null(async_connect_write_pipe(ends[0]));
    assert_int_equal(async_error_code(), -EINVAL);
    async_stream *in = async_connect_read_pipe(ends[0]), *out = async_connect_write_pipe(ends[1]);
    assert_non_null(in);
    assert_non_null(out);
    assert_int_equal(async_stream_write(out, "hello", 5), 0);
    assert_int_equal(async_stream_read(in, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(async_stream_close(out), 0);
    assert_int_equal(async_stream_read(in, text, sizeof text), 0);
    return async_stream_close(in);
}
PROCESS_TEST(pipe_ends)

static int no_pipes(void *unused)
{
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC), event = epoll_create1(EPOLL_CLOEXEC);
    assert_null(async_connect_read_pipe(file));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_message("no pipe");
    assert_null(async_connect_read_pipe(event));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_connect_write_pipe(-1));
    assert_int_equal(async_error_code(), -EBADF);
    assert_null(async_connect_read_pipe(999));
    assert_int_equal(async_error_code(), -EBADF);
    close(file);
    close(event);
    return 0;
}
PROCESS_TEST(no_pipes)

/* ---- terminals ---- */

static int open_pty(int *slave)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0) return -1;
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*slave >= 0);
    return master;
}

/* A program with a terminal of its own, which Ctrl-C reaches. */
static int on_a_terminal(void *unused)
{
    int slave, master = open_pty(&slave), returncode;
    char line[128];
    if (master < 0) return 0;
    async_process *process = async_create_subprocess_shell(
        "trap 'echo interrupted; exit 7' INT; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo ready; "
        "while :; do sleep 0.01; done",
        &(async_subprocess_options){.in = ASYNC_FD,
                                    .in_fd = slave,
                                    .out = ASYNC_FD,
                                    .out_fd = slave,
                                    .err = ASYNC_STDOUT,
                                    .new_session = true,
                                    .terminal = true});
    assert_non_null(process);
    close(slave);
    async_stream *terminal = async_connect_read_pipe(master);
    assert_true(async_stream_readline(terminal, line, sizeof line) > 0);
    assert_string_equal(line, "ready\r\n");
    assert_int_equal(async_stream_write(terminal, "\3", 1), 0);
    while (async_stream_readline(terminal, line, sizeof line) > 0 &&
           !strstr(line, "interrupted\r\n"))
        ;
    assert_non_null(strstr(line, "interrupted"));
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, 7);
    assert_int_equal(async_stream_read(terminal, line, sizeof line), -EIO); /* its end */
    async_stream_abort(terminal);
    return async_process_close(process);
}
PROCESS_TEST(on_a_terminal)

static int terminal_of_another(void *unused)
{
    async_subprocess_options options = {.in = ASYNC_DEVNULL, .new_session = true, .terminal = true};
    assert_null(async_create_subprocess_shell("true", &options));
    assert_int_equal(async_error_code(), -ENOTTY);
    assert_message("terminal");
    return 0;
}
PROCESS_TEST(terminal_of_another)

/* ---- standard streams ---- */

/* Puts `fd` in the place of a standard stream, and back. */
static int put_in_place(int number, int fd)
{
    int saved = fcntl(number, F_DUPFD_CLOEXEC, 20);
    assert_true(saved >= 0);
    if (fd >= 0)
        assert_int_equal(dup2(fd, number), number);
    else
        close(number);
    return saved;
}

static void put_back(int number, int saved)
{
    dup2(saved, number);
    close(saved);
}

/* Reads all lines of standard input, and writes them to standard output. */
static int echo_lines(void)
{
    int count = 0, code = 0;
    async_stream *out = async_stdout();
    if (!out) return async_error_code();
    async_with_stream(in, async_stdin()) async_for (char *, line, async_stream_lines(in))
    {
        code = async_stream_printf(out, "%d:%s\n", ++count, line);
        if (code < 0) break;
    }
    int closed = async_stream_close(out);
    if (code == 0) code = async_block_error();
    return code < 0 ? code : closed;
}

static int echoed(int in, int out)
{
    fflush(stdout);
    int saved_in = put_in_place(0, in), saved_out = put_in_place(1, out);
    int code = echo_lines();
    put_back(0, saved_in);
    put_back(1, saved_out);
    return code;
}

static int from_pipe_to_pipe(void *unused)
{
    int in[2], out[2];
    char text[32] = "";
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    put_text(in[1], "a\nb\nlast");
    close(in[1]);
    assert_int_equal(echoed(in[0], out[1]), 0);
    assert_int_equal(fcntl(in[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(read(out[0], text, sizeof text), 4 + 4 + 7);
    assert_string_equal(text, "1:a\n2:b\n3:last\n");
    close(in[0]);
    close(out[0]);
    close(out[1]);
    return 0;
}
PROCESS_TEST(from_pipe_to_pipe)

static int from_file_to_file(void *unused)
{
    char name[] = "/tmp/casyncio-in-XXXXXX", other[] = "/tmp/casyncio-out-XXXXXX";
    int in = mkstemp(name), out = mkstemp(other);
    char text[32] = "";
    unlink(name);
    unlink(other);
    put_text(in, "x\ny\n");
    lseek(in, 0, SEEK_SET);
    put_text(out, "before\n"); /* the offset is the process's, and its parent's */
    assert_int_equal(echoed(in, out), 0);
    put_text(out, "after\n");
    assert_int_equal(pread(out, text, sizeof text, 0), 7 + 8 + 6);
    assert_string_equal(text, "before\n1:x\n2:y\nafter\n");
    close(in);
    close(out);
    return 0;
}
PROCESS_TEST(from_file_to_file)

/* More than one read or write takes, and not in the kernel's cache. */
static int large_file(void *unused)
{
    enum { SIZE = 3 << 20 };
    char name[] = "/tmp/casyncio-large-XXXXXX";
    int file = mkstemp(name);
    unsigned char *data = malloc(SIZE), *back = malloc(SIZE);
    unlink(name);
    fill(data, SIZE, 0);
    assert_int_equal(write(file, data, SIZE), SIZE);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    lseek(file, 0, SEEK_SET);
    int saved = put_in_place(0, file);
    async_stream *in = async_stdin();
    assert_int_equal(async_stream_readexactly(in, back, SIZE), SIZE);
    assert_true(is_pattern(back, SIZE, 0));
    assert_int_equal(async_stream_read(in, back, 1), 0);
    assert_int_equal(async_stream_close(in), 0);
    put_back(0, saved);
    close(file);
    free(data);
    free(back);
    return 0;
}
PROCESS_TEST(large_file)

static int from_a_terminal(void *unused)
{
    int slave, master = open_pty(&slave);
    char text[64] = "";
    if (master < 0) return 0;
    put_text(master, "typed\n\4"); /* and Ctrl-D */
    assert_int_equal(echoed(slave, slave), 0);
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    assert_true(read(master, text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "typed\r\n"));
    if (!strstr(text, "1:typed\r\n")) {
        size_t used = strlen(text);
        assert_true(read(master, text + used, sizeof text - 1 - used) > 0);
    }
    assert_non_null(strstr(text, "1:typed\r\n"));
    close(slave);
    close(master);
    return 0;
}
PROCESS_TEST(from_a_terminal)

static int from_null(void *unused)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(echoed(null, null), 0);
    close(null);
    return 0;
}
PROCESS_TEST(from_null)

static int from_socket(void *unused)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    put_text(ends[1], "one\n");
    shutdown(ends[1], SHUT_WR);
    assert_int_equal(echoed(ends[0], ends[0]), 0);
    assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    assert_string_equal(got_text(ends[1]), "1:one\n");
    close(ends[0]);
    close(ends[1]);
    return 0;
}
PROCESS_TEST(from_socket)

static int without(void *unused)
{
    int event = epoll_create1(EPOLL_CLOEXEC), directory = open("/", O_RDONLY | O_CLOEXEC);
    int saved = put_in_place(0, -1);
    assert_null(async_stdin());
    assert_int_equal(async_error_code(), -EBADF);
    assert_message("standard input");
    put_back(0, saved);
    saved = put_in_place(0, event); /* as in a program that was started without it */
    assert_null(async_stdin());
    assert_int_equal(async_error_code(), -EBADF);
    put_back(0, saved);
    saved = put_in_place(0, directory);
    assert_null(async_stdin());
    assert_int_equal(async_error_code(), -EISDIR);
    put_back(0, saved);
    close(event);
    close(directory);
    async_stream *error = async_stderr();
    assert_non_null(error);
    assert_true(async_stream_fd(error) > 2);
    assert_int_equal(async_stream_close(error), 0);
    assert_true(fcntl(2, F_GETFD) >= 0);
    return 0;
}
PROCESS_TEST(without)

/* A reader that has gone away is an error, and no signal. */
static int broken_pipe(void *unused)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    fflush(stdout);
    int saved = put_in_place(1, ends[1]);
    async_stream *out = async_stdout();
    int code = async_stream_write(out, "x", 1);
    put_back(1, saved);
    assert_int_equal(code, -EPIPE);
    async_stream_abort(out);
    close(ends[1]);
    return 0;
}
PROCESS_TEST(broken_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe_ends),         cmocka_unit_test(test_no_pipes),
        cmocka_unit_test(test_on_a_terminal),     cmocka_unit_test(test_terminal_of_another),
        cmocka_unit_test(test_from_pipe_to_pipe), cmocka_unit_test(test_from_file_to_file),
        cmocka_unit_test(test_large_file),        cmocka_unit_test(test_from_a_terminal),
        cmocka_unit_test(test_from_null),         cmocka_unit_test(test_from_socket),
        cmocka_unit_test(test_without),           cmocka_unit_test(test_broken_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
