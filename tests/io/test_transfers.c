/* Sending files, copying streams, relays: bad input, what happens meanwhile, ends and errors. What
 * holds for every carrier is in stream_suite.h. */
#include "io_test.h"

#include <signal.h>
#include <sys/resource.h>

enum { SIZE = 3 << 20 };

static char path[64];

static void write_file(size_t size)
{
    unsigned char *data = malloc(size);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fill(data, size, 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
    free(data);
}

/* Reads all until the end, and gives how much it was; the pattern from `from` on. */
struct take_all {
    async_stream *stream;
    size_t from;
    double pause;
};
static int take_all(struct take_all *self)
{
    static unsigned char data[65536];
    size_t done = 0;
    ssize_t n;
    while ((n = async_stream_read(self->stream, data, sizeof data)) > 0) {
        if (!is_pattern(data, (size_t)n, self->from + done)) return -EBADMSG;
        done += (size_t)n;
        if (self->pause > 0) async_sleep(self->pause);
    }
    return n < 0 ? (int)n : (int)done;
}

static void tcp_ends(async_stream *ends[2])
{
    int fds[2], size = 64 * 1024;
    make_tcp_pair(fds);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        ends[i] = async_stream_from_fd(fds[i]);
    }
}

static void drop_ends(async_stream *ends[2])
{
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
}

/* ---- sendfile ---- */

static int refused(async_stream *to, int fd, int64_t offset, int64_t count, const char *message)
{
    int64_t sent = -1;
    int code = (int)async_sendfile_fd(to, fd, offset, count, &sent);
    assert_true(code < 0);
    assert_int_equal(sent, 0);
    assert_message(message);
    return code;
}

static int bad_input(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    int fds[2], file = open(path, O_RDONLY | O_CLOEXEC);
    char name[32];
    tcp_ends(ends);
    snprintf(name, sizeof name, "descriptor %d", file);
    assert_int_equal(refused(NULL, file, 0, -1, "NULL"), -EBADF);
    assert_int_equal(refused(ends[0], file, -1, -1, name), -EINVAL);
    assert_int_equal(refused(ends[0], file, 0, -2, "-2"), -EINVAL);
    assert_int_equal(refused(ends[0], -1, 0, -1, "descriptor -1"), -EBADF);
    assert_int_equal(refused(ends[0], 12345, 0, -1, "12345"), -EBADF);
    int directory = open("/", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    assert_int_equal(refused(ends[0], directory, 0, -1, "irectory"), -EISDIR);
    close(directory);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(refused(ends[0], fds[0], 0, -1, "offsets"), -ESPIPE);
    close(fds[0]);
    close(fds[1]);
    int other = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(refused(ends[0], other, 0, 10, "not open for reading"), -EBADF);
    close(other);
    other = open(path, O_PATH | O_CLOEXEC);
    assert_int_equal(refused(ends[0], other, 0, 10, "not open for reading"), -EBADF);
    close(other);
    assert_int_equal(async_sendfile(ends[0], NULL, 0, -1, NULL), -EBADF);
    assert_int_equal(async_sendfile_fd(ends[0], file, INT64_MAX, -1, NULL), 0);
    assert_int_equal(async_sendfile_fd(ends[0], file, SIZE - 3, INT64_MAX - 2, NULL), 3);
    assert_int_equal(async_stream_write_eof(ends[0]), 0);
    assert_int_equal(refused(ends[0], file, 0, -1, "end has been sent"), -EPIPE);
    drop_ends(ends);
    close(file);

    assert_int_equal(async_stream_copy(NULL, NULL, NULL), -EBADF);
    assert_int_equal(async_stream_relay(NULL, NULL, NULL), -EBADF);
    tcp_ends(ends);
    assert_int_equal(async_stream_copy(ends[0], NULL, NULL), -EBADF);
    assert_int_equal(async_stream_relay(ends[0], ends[0], NULL), -EINVAL);
    drop_ends(ends);
    return 0;
}

/* The position of the file is neither used nor moved, and it may be closed meanwhile. */
static int of_a_file(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char byte;
    write_file(SIZE);
    tcp_ends(ends);
    async_file *file = async_file_open(path, "r");
    assert_int_equal(async_file_read(file, &byte, 1), 1);
    async_task *reader = async_spawn(take_all, .stream = ends[1], .from = 7);
    assert_int_equal(async_sendfile(ends[0], file, 7, SIZE - 7, NULL), SIZE - 7);
    assert_int_equal(async_file_seek(file, 0, SEEK_CUR), 1);
    assert_int_equal(async_stream_close(ends[0]), 0);
    assert_int_equal(async_await(reader), SIZE - 7);
    async_stream_close(ends[1]);
    async_file_close(file);
    return 0;
}

struct send_path {
    async_stream *to;
    async_file *file;
    int64_t *sent;
};
static int send_path(struct send_path *self)
{
    return (int)async_sendfile(self->to, self->file, 0, -1, self->sent);
}

/* The file is closed, grows, shrinks while it is sent. */
static int meanwhile(void *unused)
{
    (void)unused;
    for (int what = 0; what < 3; what++) {
        async_stream *ends[2];
        int64_t sent = 0;
        write_file(SIZE);
        tcp_ends(ends);
        async_file *file = async_file_open(path, "r");
        async_task *task = async_spawn(send_path, .to = ends[0], .file = file, .sent = &sent);
        for (int i = 0; i < 10; i++)
            async_sleep(0.01);
        assert_false(async_task_done(task));
        int before = (int)sent, expected = SIZE;
        if (what == 0) assert_int_equal(async_file_close(file), 0);
        if (what == 1) write_file(expected = SIZE + 1234567);
        if (what == 2) assert_int_equal(truncate(path, expected = SIZE / 2), 0);
        assert_true(before < expected);
        async_task *reader = async_spawn(take_all, .stream = ends[1]);
        assert_int_equal(async_await(task), expected);
        assert_int_equal(sent, expected);
        async_stream_close(ends[0]);
        assert_int_equal(async_await(reader), expected);
        async_stream_close(ends[1]);
        if (what > 0) async_file_close(file);
    }
    return 0;
}

/* What the kernel has not in its cache is read by a thread; what has no size is read to its end. */
static int uncached(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    write_file(SIZE);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    fsync(fd);
    for (int i = 0; i < 2; i++) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (i == 0)
            tcp_ends(ends);
        else
            assert_int_equal(async_stream_pair(ends), 0);
        async_task *reader = async_spawn(take_all, .stream = ends[1]);
        assert_int_equal(async_sendfile_fd(ends[0], fd, 0, -1, NULL), SIZE);
        async_stream_close(ends[0]);
        assert_int_equal(async_await(reader), SIZE);
        async_stream_close(ends[1]);
    }
    close(fd);

    char text[4096], expected[4096];
    fd = open("/proc/version", O_RDONLY | O_CLOEXEC);
    ssize_t size = pread(fd, expected, sizeof expected, 0);
    assert_true(size > 0);
    tcp_ends(ends);
    assert_int_equal(async_sendfile_fd(ends[0], fd, 0, -1, NULL), size);
    assert_int_equal(async_stream_readexactly(ends[1], text, (size_t)size), size);
    assert_memory_equal(text, expected, (size_t)size);
    drop_ends(ends);
    close(fd);
    return 0;
}

/* ---- the other side is gone ---- */

static int signals;
static void on_sigpipe(int number)
{
    (void)number;
    signals++;
}

static int send_much(void *stream)
{
    static unsigned char much[SIZE];
    return async_stream_write(stream, much, SIZE);
}

static int is_gone(int64_t code) { return code == -EPIPE || code == -ECONNRESET; }

static int no_sigpipe(void *unused)
{
    (void)unused;
    signals = 0;
    signal(SIGPIPE, on_sigpipe);
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        async_stream *ends[2], *source[2];
        int64_t copied;
        int fds[2], file = open(path, O_RDONLY | O_CLOEXEC);
        tcp_ends(ends);
        if (unix_socket) {
            drop_ends(ends);
            make_pair(fds);
            for (int i = 0; i < 2; i++)
                ends[i] = async_stream_from_fd(fds[i]);
        }
        async_stream_abort(ends[1]);
        for (int i = 0; i < 3; i++) /* TCP learns of it by the answer to the first */
            if (is_gone(async_sendfile_fd(ends[0], file, 0, -1, NULL))) break;
        assert_true(is_gone(async_sendfile_fd(ends[0], file, 0, -1, NULL)));
        async_stream_abort(ends[0]);

        /* The same by splice. */
        tcp_ends(ends);
        tcp_ends(source);
        async_task *sender = async_create_task(send_much, source[0]);
        async_timeout (0.05)
            async_stream_copy(source[1], ends[0], &copied);
        async_stream_abort(ends[1]);
        int64_t code = 0;
        for (int i = 0; i < 3 && !is_gone(code); i++)
            async_timeout (1)
                code = async_stream_copy(source[1], ends[0], &copied);
        assert_true(is_gone(code));
        async_cancel(sender, NULL);
        async_await(sender);
        drop_ends(source);
        async_stream_abort(ends[0]);
        close(file);
    }
    assert_int_equal(signals, 0);
    signal(SIGPIPE, SIG_DFL);
    return 0;
}

struct copying {
    async_stream *from, *to;
    int64_t copied;
};
static int copying(struct copying *self)
{
    int64_t n = async_stream_copy(self->from, self->to, &self->copied);
    return n < 0 ? (int)n : 0;
}

/* What `to` keeps cannot be sent: the copy, which has nothing to copy, learns of it. */
static int kept_fails(void *unused)
{
    (void)unused;
    static char much[SIZE];
    async_stream *in[2], *out[2];
    int code = 0;
    assert_int_equal(async_stream_pair(in), 0);
    tcp_ends(out);
    async_stream_set_high_water(out[0], SIZE / 2);
    while (code == 0)
        code = async_stream_write_nowait(out[0], much, SIZE / 2);
    assert_int_equal(code, -EAGAIN);
    async_task *task = async_spawn(copying, .from = in[1], .to = out[0]);
    settle();
    setsockopt(async_stream_fd(out[1]), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
               sizeof(struct linger));
    async_stream_abort(out[1]);
    assert_true(is_gone(async_await(task)));
    async_stream_abort(out[0]);
    drop_ends(in);
    return 0;
}

/* ---- relays ---- */

struct relaying {
    async_stream *a, *b;
    int64_t *copied;
};
static int relaying(struct relaying *self)
{
    return async_stream_relay(self->a, self->b, self->copied);
}

/* One end fails, or is closed, or ends altogether: the other way does not wait for ever. */
static int relay_ends(void *unused)
{
    (void)unused;
    for (int way = 0; way < 6; way++) {
        async_stream *left[2], *right[2];
        int64_t copied[2];
        char text[8];
        tcp_ends(left);
        tcp_ends(right);
        async_task *task = async_spawn(relaying, .a = left[1], .b = right[0], .copied = copied);
        assert_int_equal(async_stream_write(left[0], "hello", 5), 0);
        assert_int_equal(async_stream_readexactly(right[1], text, 5), 5);
        async_stream **end = way & 1 ? &left[0] : &right[1];
        int expected = way < 2 ? -ECONNRESET : way < 4 ? -EBADF : -ETIMEDOUT;
        if (way < 2) {
            setsockopt(async_stream_fd(*end), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                       sizeof(struct linger));
            async_stream_abort(*end);
            *end = NULL;
        } else if (way < 4) {
            end = way & 1 ? &left[1] : &right[0];
            async_stream_close(*end);
            *end = NULL;
        }
        int code = way < 4 ? async_await(task) : async_wait_for(task, 1);
        assert_int_equal(code, expected);
        if (way < 4) assert_true(*async_error_message());
        assert_int_equal(copied[0], 5);
        drop_ends(left);
        drop_ends(right);
    }
    return 0;
}

/* Both are the same stream: an echo. */
static int echo(void *unused)
{
    (void)unused;
    for (int memory = 0; memory < 2; memory++) {
        async_stream *ends[2];
        unsigned char *data = malloc(SIZE);
        fill(data, SIZE, 0);
        if (memory)
            assert_int_equal(async_stream_pair(ends), 0);
        else
            tcp_ends(ends);
        async_task *task = async_spawn(copying, .from = ends[1], .to = ends[1]);
        async_task *reader = async_spawn(take_all, .stream = ends[0]);
        assert_int_equal(async_stream_write(ends[0], data, SIZE), 0);
        assert_int_equal(async_stream_write_eof(ends[0]), 0);
        assert_int_equal(async_await(task), 0);
        assert_int_equal(async_stream_write_eof(ends[1]), 0);
        assert_int_equal(async_await(reader), SIZE);
        drop_ends(ends);
        free(data);
    }
    return 0;
}

/* Without descriptors for a pipe it goes through a buffer. */
static int no_pipes(void *unused)
{
    (void)unused;
    async_stream *in[2], *out[2];
    struct rlimit before, none;
    int64_t sent = 0;
    write_file(SIZE);
    tcp_ends(in);
    tcp_ends(out);
    async_file *file = async_file_open(path, "r");
    async_task *copy = async_spawn(copying, .from = in[1], .to = out[0]);
    async_task *reader = async_spawn(take_all, .stream = out[1]);
    async_task *sender = async_spawn(send_path, .to = in[0], .file = file, .sent = &sent);
    while (sent == 0)
        async_sleep(0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    assert_int_equal(async_await(sender), SIZE);
    setrlimit(RLIMIT_NOFILE, &before);
    async_stream_close(in[0]);
    assert_int_equal(async_await(copy), 0);
    async_stream_close(out[0]);
    assert_int_equal(async_await(reader), SIZE);
    async_stream_close(in[1]);
    async_stream_close(out[1]);
    async_file_close(file);
    return 0;
}

/* Two to one, and a writer beside them; a second copy from the same stream is refused. */
static int two_copies(void *unused)
{
    (void)unused;
    async_stream *a[2], *b[2], *out[2];
    char text[16] = "";
    assert_int_equal(async_stream_pair(a), 0);
    tcp_ends(b);
    tcp_ends(out);
    async_task *one = async_spawn(copying, .from = a[1], .to = out[0]);
    async_task *two = async_spawn(copying, .from = b[1], .to = out[0]);
    settle();
    assert_int_equal(async_stream_copy(a[1], out[0], NULL), -EBUSY);
    async_stream_write(a[0], "one ", 4);
    assert_int_equal(async_stream_readexactly(out[1], text, 4), 4);
    async_stream_write(b[0], "two ", 4);
    assert_int_equal(async_stream_readexactly(out[1], text + 4, 4), 4);
    async_stream_write(out[0], "three", 5);
    assert_int_equal(async_stream_readexactly(out[1], text + 8, 5), 5);
    assert_string_equal(text, "one two three");
    async_stream_abort(out[0]);
    assert_int_equal(async_await(one), -EBADF);
    assert_int_equal(async_await(two), -EBADF);
    async_stream_abort(out[1]);
    drop_ends(a);
    drop_ends(b);
    return 0;
}

TEST(bad_input)
TEST(of_a_file)
TEST(meanwhile)
TEST(uncached)
TEST(no_sigpipe)
TEST(kept_fails)
TEST(relay_ends)
TEST(echo)
TEST(no_pipes)
TEST(two_copies)

static void test_all_closed(void **state) { assert_int_equal(open_fds(), *(int *)*state); }

int main(void)
{
    int fds = open_fds();
    snprintf(path, sizeof path, "transfers.%d", (int)getpid());
    write_file(SIZE);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_of_a_file),
        cmocka_unit_test(test_meanwhile),
        cmocka_unit_test(test_uncached),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_kept_fails),
        cmocka_unit_test(test_relay_ends),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_no_pipes),
        cmocka_unit_test(test_two_copies),
        cmocka_unit_test_prestate(test_all_closed, &fds),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
