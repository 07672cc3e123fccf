/* streams.h: writing and closing. */
#include "io/io.h"

#include "io_test.h"

struct write_text {
    async_stream *stream;
    const void *data;
    size_t size;
};
static int write_text(struct write_text *self)
{
    return async_stream_write(self->stream, self->data, self->size);
}

struct close_stream {
    async_stream *stream;
};
static int close_stream(struct close_stream *self) { return async_stream_close(self->stream); }
struct drain {
    async_stream *stream;
};
static int drain(struct drain *self) { return async_stream_drain(self->stream); }

/* A stream over a connection with little room in the kernel, and its other end. */
static async_stream *narrow(int *fd)
{
    async_stream *stream = stream_and_fd(fd);
    small_buffers(async_stream_fd(stream));
    return stream;
}

/* Reads all that comes from fd until `size` bytes have, and checks the pattern. */
static void expect_pattern(int fd, size_t size, size_t from)
{
    static unsigned char piece[65536];
    while (size > 0) {
        ssize_t n = async_recv(fd, piece, size < sizeof piece ? size : sizeof piece, 0);
        assert_true(n > 0);
        assert_true(is_pattern(piece, (size_t)n, from));
        from += (size_t)n;
        size -= (size_t)n;
    }
}

static int simple(void *unused)
{
    (void)unused;
    int fd;
    async_stream *stream = stream_and_fd(&fd);
    assert_int_equal(async_stream_write(stream, "hello ", 6), 0);
    assert_int_equal(async_stream_write(stream, "", 0), 0);
    assert_int_equal(async_stream_write(stream, NULL, 0), 0);
    assert_int_equal(async_stream_printf(stream, "%s %d\n", "world", 42), 0);
    assert_int_equal(async_stream_write_nowait(stream, "!", 1), 0);
    assert_string_equal(got_text(fd), "hello world 42\n!");
    assert_int_equal(async_stream_printf(stream, "%*d", 2000, 7), 0);
    assert_int_equal(strlen(got_text(fd)), 2000);
    assert_int_equal(async_stream_unsent(stream), 0);
    assert_int_equal(async_stream_drain(stream), 0);
    assert_int_equal(async_stream_close(stream), 0);
    assert_int_equal(recv(fd, &(char){0}, 1, 0), 0);
    async_close(fd);
    return 0;
}
TEST(simple)

static int kept_and_sent(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[60000];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);
    /* Less than the mark: taken at once, though the kernel has no room, and sent without any
     * task. */
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    size_t unsent = async_stream_unsent(stream);
    assert_true(unsent > 0 && unsent < sizeof data);
    expect_pattern(fd, sizeof data, 0);
    assert_int_equal(async_stream_unsent(stream), 0);
    assert_null(stream->outbox);
    async_stream_close(stream);
    async_close(fd);
    return 0;
}
TEST(kept_and_sent)

/* A reader that stops: the writer waits as soon as more than the mark is kept, until it is down to
 * a quarter of it. */
static int back_pressure(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[50000];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_task *task = async_spawn(write_text, .stream = stream, .data = data, .size = sizeof data);
    settle();
    assert_false(async_task_done(task));
    assert_true(async_stream_unsent(stream) > 65536);
    assert_int_equal(async_stream_write_nowait(stream, "x", 1), -EAGAIN);
    async_task *drainer = async_spawn(drain, .stream = stream);
    while (!async_task_done(task)) {
        assert_true(async_stream_unsent(stream) > 16384);
        drain_fd(fd);
        settle();
    }
    assert_true(async_stream_unsent(stream) <= 16384);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_await(drainer), 0);
    drain_fd(fd);
    settle();
    drain_fd(fd);

    /* Timed out while it waited because of the mark: all of the data was taken. */
    int code = 0;
    assert_int_equal(async_stream_drain(stream), 0);
    while (async_stream_unsent(stream) > 0)
        drain_fd(fd), settle();
    drain_fd(fd);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_timeout (1)
        code = async_stream_write(stream, data, sizeof data);
    assert_int_equal(code, -ETIMEDOUT);
    async_timeout (1)
        code = async_stream_drain(stream);
    assert_int_equal(code, -ETIMEDOUT);
    expect_pattern(fd, sizeof data, 0);
    expect_pattern(fd, sizeof data, 0);
    assert_int_equal(async_stream_write(stream, "x", 1), 0);
    async_stream_close(stream);
    async_close(fd);
    return 0;
}
TEST(back_pressure)

static int limits(void *unused)
{
    (void)unused;
    int fd, code = 0;
    static unsigned char data[100000];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);
    async_stream_set_high_water(stream, 1000000);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_task *task = async_spawn(drain, .stream = stream);
    assert_int_equal(async_await(task), 0); /* 250000 is the low mark */
    async_stream_set_high_water(stream, 4000);
    task = async_spawn(drain, .stream = stream);
    settle();
    assert_false(async_task_done(task));
    async_stream_set_high_water(stream, 1000000);
    assert_int_equal(async_await(task), 0);
    expect_pattern(fd, sizeof data, 0);

    /* 0: nothing is ever kept. */
    async_stream_set_high_water(stream, 0);
    async_timeout (1)
        code = async_stream_write(stream, data, sizeof data);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(async_stream_unsent(stream), 0);
    async_stream_abort(stream);
    async_close(fd);
    return 0;
}
TEST(limits)

/* ---- large messages ---- */

static int huge(void *unused)
{
    (void)unused;
    int fd;
    size_t size = 5000000;
    unsigned char *data = malloc(size);
    async_stream *stream = narrow(&fd);
    fill(data, size, 0);
    async_task *task = async_spawn(write_text, .stream = stream, .data = data, .size = size);
    settle();
    assert_false(async_task_done(task));
    assert_true(async_stream_unsent(stream) <= 65536); /* not copied */
    expect_pattern(fd, size, 0);
    assert_int_equal(async_await(task), 0);
    async_stream_close(stream);
    async_close(fd);
    free(data);
    return 0;
}
TEST(huge)

static int not_mixed(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char large[4][200000], small[4][30000];
    async_stream *stream = narrow(&fd);
    async_task *tasks[8];
    for (int i = 0; i < 4; i++) {
        memset(large[i], 'A' + i, sizeof large[i]);
        memset(small[i], 'a' + i, sizeof small[i]);
        tasks[2 * i] =
            async_spawn(write_text, .stream = stream, .data = small[i], .size = sizeof small[i]);
        tasks[2 * i + 1] =
            async_spawn(write_text, .stream = stream, .data = large[i], .size = sizeof large[i]);
    }
    settle();
    assert_int_equal(async_stream_write_nowait(stream, "x", 1), -EAGAIN);
    for (int i = 0; i < 4; i++) {
        static unsigned char back[200000];
        for (int part = 0; part < 2; part++) {
            size_t size = part ? sizeof large[i] : sizeof small[i];
            for (size_t got = 0; got < size;) {
                ssize_t n = async_recv(fd, back + got, size - got, 0);
                assert_true(n > 0);
                got += (size_t)n;
            }
            assert_memory_equal(back, part ? large[i] : small[i], size);
        }
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    assert_int_equal(async_stream_write_nowait(stream, "x", 1), 0);
    async_stream_close(stream);
    async_close(fd);
    return 0;
}
TEST(not_mixed)

static int cancelled_writers(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[200000];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);

    /* Behind another one, and before it began: nothing of it was taken. */
    assert_int_equal(async_stream_write_nowait(stream, data, 60000), 0);
    async_task *first = async_spawn(write_text, .stream = stream, .data = data, .size = 100000);
    async_task *second = async_spawn(write_text, .stream = stream, .data = "second", .size = 6);
    async_task *third = async_spawn(write_text, .stream = stream, .data = "third", .size = 5);
    settle();
    async_cancel(second, NULL);
    assert_int_equal(async_await(second), -ECANCELED);
    async_cancel(first, NULL); /* it waits until nothing is kept */
    assert_int_equal(async_await(first), -ECANCELED);
    expect_pattern(fd, 60000, 0);
    assert_int_equal(async_await(third), 0);
    settle();
    assert_string_equal(got_text(fd), "third");

    /* Half-way: the stream is broken. */
    first = async_spawn(write_text, .stream = stream, .data = data, .size = sizeof data);
    second = async_spawn(write_text, .stream = stream, .data = "second", .size = 6);
    settle();
    async_cancel(first, NULL);
    assert_int_equal(async_await(first), -ECANCELED);
    assert_int_equal(async_await(second), -EPIPE);
    assert_message("cancelled half-way");
    assert_int_equal(async_stream_write(stream, "x", 1), -EPIPE);
    assert_int_equal(async_stream_write_nowait(stream, "x", 1), -EPIPE);
    assert_int_equal(async_stream_drain(stream), -EPIPE);
    assert_int_equal(async_stream_write_eof(stream), -EPIPE);
    put_text(fd, "reading goes on");
    char buffer[32];
    assert_int_equal(async_stream_read(stream, buffer, sizeof buffer), 15);
    assert_int_equal(async_stream_close(stream), -EPIPE);
    assert_message("cancelled half-way");
    async_close(fd);
    return 0;
}
TEST(cancelled_writers)

static int cancelled_before(void *unused)
{
    (void)unused;
    int fd, code = 0;
    async_stream *stream = stream_and_fd(&fd);
    async_timeout (0) {
        code = async_stream_write(stream, "x", 1);
        assert_int_equal(async_stream_write_nowait(stream, "y", 1), 0); /* no checkpoint */
    }
    assert_int_equal(code, -ETIMEDOUT);
    assert_string_equal(got_text(fd), "y");
    async_stream_close(stream);
    async_close(fd);
    return 0;
}
TEST(cancelled_before)

/* ---- the end ---- */

static int half_close(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[100000];
    char buffer[8];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);
    assert_int_equal(async_stream_write_nowait(stream, data, sizeof data), 0);
    assert_int_equal(async_stream_write_eof(stream), 0);
    assert_int_equal(async_stream_write_eof(stream), 0);
    assert_int_equal(async_stream_write(stream, "x", 1), -EPIPE);
    assert_message("end has been sent");
    expect_pattern(fd, sizeof data, 0);
    assert_int_equal(async_recv(fd, buffer, 1, 0), 0);
    put_text(fd, "reply");
    assert_int_equal(async_stream_read(stream, buffer, 8), 5);
    assert_int_equal(async_stream_close(stream), 0);
    async_close(fd);

    /* After those who wait to write. */
    stream = narrow(&fd);
    async_task *first = async_spawn(write_text, .stream = stream, .data = data, .size = 100000);
    async_task *second = async_spawn(write_text, .stream = stream, .data = "end", .size = 3);
    settle();
    assert_int_equal(async_stream_write_eof(stream), 0);
    expect_pattern(fd, 100000, 0);
    assert_int_equal(async_recv(fd, buffer, 8, 0), 3);
    assert_int_equal(async_recv(fd, buffer, 8, 0), 0);
    assert_int_equal(async_await(first), 0);
    assert_int_equal(async_await(second), 0);
    assert_int_equal(async_stream_close(stream), 0);
    async_close(fd);
    return 0;
}
TEST(half_close)

static int close_flushes(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[60000];
    async_stream *stream = narrow(&fd);
    fill(data, sizeof data, 0);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_task *task = async_spawn(close_stream, .stream = stream);
    settle();
    assert_false(async_task_done(task));
    expect_pattern(fd, sizeof data, 0);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_recv(fd, data, 1, 0), 0);
    async_close(fd);

    /* Cancelled: it is closed all the same. */
    stream = narrow(&fd);
    int number = async_stream_fd(stream);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    task = async_spawn(close_stream, .stream = stream);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_int_equal(fcntl(number, F_GETFD), -1);
    async_close(fd);

    /* In a task that is cancelled already, with nothing kept: a success. */
    int code = 1;
    stream = stream_and_fd(&fd);
    async_timeout (0)
        code = async_stream_close(stream);
    assert_int_equal(code, 0);
    async_close(fd);

    stream = narrow(&fd);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_stream_abort(stream);
    assert_true(drain_fd(fd) < sizeof data);
    async_close(fd);
    return 0;
}
TEST(close_flushes)

/* Readers, writers and drainers that wait while the stream is closed. */
struct read_one {
    async_stream *stream;
};
static int read_one(struct read_one *self)
{
    char buffer[8];
    return (int)async_stream_read(self->stream, buffer, sizeof buffer);
}

static int close_wakes_all(void *unused)
{
    (void)unused;
    static unsigned char data[100000];
    for (int how = 0; how < 4; how++) {
        int fd;
        bool large = how & 1, abort = how & 2;
        async_stream *stream = narrow(&fd);
        async_task *tasks[4], *closer = NULL;
        assert_int_equal(async_stream_write_nowait(stream, data, 50000), 0);
        tasks[0] = async_spawn(read_one, .stream = stream);
        tasks[1] = async_spawn(write_text, .stream = stream, .data = data,
                               .size = large ? sizeof data : 60000);
        tasks[2] = async_spawn(write_text, .stream = stream, .data = data, .size = sizeof data);
        tasks[3] = async_spawn(drain, .stream = stream);
        settle();
        for (int i = 0; i < 4; i++)
            assert_false(async_task_done(tasks[i]));
        if (abort)
            async_stream_abort(stream);
        else
            closer = async_spawn(close_stream, .stream = stream);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(async_await(tasks[i]), -EBADF);
            assert_string_equal(async_error_message(), "the stream has been closed");
        }
        if (closer) {
            while (!async_task_done(closer))
                drain_fd(fd), settle();
            assert_int_equal(async_await(closer), 0);
        }
        async_close(fd);
    }
    return 0;
}
TEST(close_wakes_all)

/* In the middle of a large message, which waits on the descriptor itself. */
static int close_cuts_large(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[300000];
    async_stream *stream = narrow(&fd);
    async_task *task = async_spawn(write_text, .stream = stream, .data = data, .size = sizeof data);
    settle();
    drain_fd(fd);
    settle();
    assert_int_equal(async_stream_close(stream), 0);
    assert_int_equal(async_await(task), -EBADF);
    async_close(fd);
    return 0;
}
TEST(close_cuts_large)

static int close_twice(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char data[60000];
    async_stream *stream = narrow(&fd);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_task *task = async_spawn(close_stream, .stream = stream);
    settle();
    assert_int_equal(async_stream_close(stream), -EBADF);
    assert_int_equal(async_stream_write(stream, "x", 1), -EBADF);
    async_stream_abort(stream);
    drain_fd(fd);
    async_close(fd);
    assert_int_equal(async_await(task), -EPIPE);
    return 0;
}
TEST(close_twice)

/* ---- a peer that goes ---- */

static int peer_gone(void *unused)
{
    (void)unused;
    int fd;
    async_stream *stream = stream_and_fd(&fd);
    async_close(fd);
    assert_int_equal(async_stream_write(stream, "x", 1), -EPIPE);
    assert_message("Broken pipe");
    assert_int_equal(async_stream_write(stream, "x", 1), -EPIPE);
    assert_int_equal(async_stream_close(stream), -EPIPE);

    /* While something is kept: known to later writes, to waiters, and to close. */
    int fds[2];
    static unsigned char data[10000000];
    make_tcp_pair(fds);
    stream = async_stream_from_fd(fds[0]);
    async_stream_set_high_water(stream, sizeof data);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    assert_true(async_stream_unsent(stream) > 0);
    async_stream_set_high_water(stream, 1000);
    async_task *drainer = async_spawn(drain, .stream = stream);
    async_task *writer = async_spawn(write_text, .stream = stream, .data = data, .size = 5000);
    settle();
    reset(fds[1]);
    assert_int_equal(async_await(drainer), -ECONNRESET);
    assert_int_equal(async_await(writer), -ECONNRESET);
    assert_int_equal(async_stream_unsent(stream), 0);
    assert_int_equal(async_stream_write(stream, "x", 1), -ECONNRESET);
    assert_message("Connection reset by peer");
    char buffer[8]; /* the kernel tells it once, and an end after that */
    assert_int_equal(async_stream_read(stream, buffer, 8), -ECONNRESET);
    assert_int_equal(async_stream_close(stream), -ECONNRESET);
    assert_message("could not be sent");

    /* While close waits. */
    make_tcp_pair(fds);
    stream = async_stream_from_fd(fds[0]);
    async_stream_set_high_water(stream, sizeof data);
    assert_int_equal(async_stream_write(stream, data, sizeof data), 0);
    async_task *closer = async_spawn(close_stream, .stream = stream);
    settle();
    reset(fds[1]);
    assert_int_equal(async_await(closer), -ECONNRESET);
    return 0;
}
TEST(peer_gone)

/* Each of 200 tasks writes messages of all sizes to one stream; each message comes out whole. */
struct talk {
    async_stream *stream;
    int number;
};
static int talk(struct talk *self)
{
    static char filler[100000];
    memset(filler, '.', sizeof filler - 1);
    for (int i = 0; i < 4; i++) {
        int code = async_stream_printf(
            self->stream, "<%d:%d%.*s>", self->number, i,
            (self->number * 37 + i * 1001) % 2000 * (self->number % 16 ? 1 : 40), filler);
        if (code < 0) return code;
    }
    return 0;
}

static int many_writers(void *unused)
{
    (void)unused;
    int fd, next[200] = {0}, messages = 0, number = 0, index = 0, colon = 0;
    async_stream *stream = narrow(&fd);
    async_task *tasks[200];
    for (int i = 0; i < 200; i++)
        tasks[i] = async_spawn(talk, .stream = stream, .number = i);
    while (messages < 800) {
        static char piece[65536];
        ssize_t n = async_recv(fd, piece, sizeof piece, 0);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            char c = piece[i];
            if (c == '<')
                number = index = colon = 0;
            else if (c == ':')
                colon = 1;
            else if (c >= '0' && c <= '9' && !colon)
                number = number * 10 + c - '0';
            else if (c >= '0' && c <= '9')
                index = index * 10 + c - '0';
            else if (c == '>') {
                assert_int_equal(next[number]++, index);
                messages++;
            }
        }
    }
    for (int i = 0; i < 200; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    async_stream_close(stream);
    async_close(fd);
    return 0;
}
TEST(many_writers)

/* A writer that gets its turn and is cancelled, or timed out, before it runs: its second wait, for room,
 * hears of that. */
static int second_writer(void *stream)
{
    static const char block[200 * 1000];
    return async_stream_write(stream, block, sizeof block);
}

static int first_writer(void *stream)
{
    static const char block[4 << 20];
    return async_stream_write(stream, block, sizeof block);
}

static int cancelled_between(void *unused)
{
    char sink[65536];
    (void)unused;
    int fd;
    async_stream *stream = stream_and_fd(&fd);
    async_task *first = async_create_task(first_writer, stream);
    async_task *second = async_create_task(second_writer, stream);
    settle();
    while (!async_task_done(first)) {
        while (read(fd, sink, sizeof sink) > 0)
            continue;
        async_sleep(0);
    }
    async_cancel(second, NULL);
    assert_int_equal(async_await(first), 0);
    assert_int_equal(async_await(second), -ECANCELED);
    async_stream_abort(stream);
    close(fd);
    return 0;
}
TEST(cancelled_between)

static void test_seeds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_int_equal(run_seeded(many_writers, NULL, seed), 0);
        assert_int_equal(run_seeded(close_wakes_all, NULL, seed), 0);
        assert_int_equal(run_seeded(close_flushes, NULL, seed), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_kept_and_sent),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_not_mixed),
        cmocka_unit_test(test_cancelled_writers),
        cmocka_unit_test(test_cancelled_before),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_close_flushes),
        cmocka_unit_test(test_close_wakes_all),
        cmocka_unit_test(test_close_cuts_large),
        cmocka_unit_test(test_close_twice),
        cmocka_unit_test(test_peer_gone),
        cmocka_unit_test(test_many_writers),
        cmocka_unit_test(test_cancelled_between),
        cmocka_unit_test(test_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
