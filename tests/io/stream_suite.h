/* stream_suite.h - what every stream does, whatever carries its bytes: one suite for all carriers.
 *
 * A program that has carriers of its own defines them, and runs the suite over each:
 *
 *     #include "io/stream_suite.h"
 *
 *     static int open_pair(async_stream *ends[2]) { return async_stream_pair(ends); }
 *     static const struct carrier carriers[] = {
 *         {.name = "memory", .open = open_pair, .two_way = true, .half_close = true},
 *     };
 *     SUITE(carriers)
 *
 * Each test is a coroutine, in virtual time if both ends are in this process. Most of them write to ends[0] and read from ends[1]. */
#ifndef STREAM_SUITE_H
#define STREAM_SUITE_H

#include "io_test.h"

struct carrier {
    const char *name;
    /* Opens a new connection: 0. Runs in a task. What can be under way in a direction must be less
     * than 1 MiB. */
    int (*open)(async_stream *ends[2]);
    bool two_way;    /* both ends read and write; else ends[0] writes and ends[1] reads */
    bool half_close; /* async_stream_write_eof works, and the other direction goes on */
    int end_error;   /* what a reader may get in place of the end (a pty: -EIO); or 0 */
    bool real_time;  /* another process carries the bytes, and takes its time */
    bool (*is_full)(
        void);          /* then: whether that process takes nothing more until something is read */
    void (*done)(void); /* at the end of each test, in its task; or NULL */
};

static const struct carrier *carrier;

enum { HUGE_MESSAGE = 2 << 20, PIECES = 3000 };

static void open_ends(async_stream *ends[2]) { assert_int_equal(carrier->open(ends), 0); }

UNUSED void close_ends(async_stream *ends[2])
{
    async_stream_close(ends[0]);
    async_stream_close(ends[1]);
}

static bool is_end(ssize_t n) { return n == 0 || (n < 0 && n == carrier->end_error); }

static void expect_end(async_stream *stream)
{
    char byte;
    assert_true(is_end(async_stream_read(stream, &byte, 1)));
    assert_true(is_end(async_stream_read(stream, &byte, 1)));
}

static double shortened(double seconds) { return carrier->real_time ? seconds / 50 : seconds; }

/* ---- helpers that are tasks ---- */

/* Writes `size` bytes of the pattern from `from` on, in messages of at most `step`; 0: of all sizes
 * from 1 to 5000. */
struct send_pattern {
    async_stream *stream;
    size_t from, size, step;
    double pause;
};
static int send_pattern(struct send_pattern *self)
{
    unsigned char *data = malloc(self->size);
    size_t done = 0, step = self->step;
    int code = 0;

    fill(data, self->size, self->from);
    while (code == 0 && done < self->size) {
        if (self->step == 0) step = step * 7 % 4999 + 1;
        size_t n = step < self->size - done ? step : self->size - done;
        code = async_stream_write(self->stream, data + done, n);
        done += n;
        if (code == 0 && self->pause > 0) code = async_sleep(shortened(self->pause));
    }
    free(data);
    return code;
}

/* Reads that much and checks it, with buffers of `step` bytes. */
struct expect_from {
    async_stream *stream;
    size_t from, size, step;
    double pause;
};
static int expect_from(struct expect_from *self)
{
    unsigned char *data = malloc(self->step);
    size_t done = 0;
    ssize_t n = 0;

    while (done < self->size) {
        size_t left = self->size - done;
        n = async_stream_read(self->stream, data, left < self->step ? left : self->step);
        if (n <= 0) break;
        assert_true(is_pattern(data, (size_t)n, self->from + done));
        done += (size_t)n;
        if (self->pause > 0) async_sleep(shortened(self->pause));
    }
    free(data);
    return done == self->size ? 0 : n < 0 ? (int)n : ASYNC_EINCOMPLETE;
}

struct write_message {
    async_stream *stream;
    const void *data;
    size_t size;
};
static int write_message(struct write_message *self)
{
    return async_stream_write(self->stream, self->data, self->size);
}

struct read_byte {
    async_stream *stream;
};
static int read_byte(struct read_byte *self)
{
    char byte;
    return (int)async_stream_read(self->stream, &byte, 1);
}

static int receive_pattern(async_stream *stream, size_t from, size_t size, size_t step)
{
    return expect_from(
        &(struct expect_from){.stream = stream, .from = from, .size = size, .step = step});
}

/* ---- order, sizes, boundaries ---- */

static int suite_order(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    size_t steps[] = {1, 3, 100, 4095, 4096, 65536};
    open_ends(ends);
    for (size_t i = 0, from = 0, size; i < COUNT(steps); i++, from += size) {
        size = steps[i] < 10 ? 3000 : 100000;
        async_task *task = async_spawn(send_pattern, .stream = ends[0], .from = from, .size = size);
        assert_int_equal(receive_pattern(ends[1], from, size, steps[i]), 0);
        assert_int_equal(async_await(task), 0);
    }
    close_ends(ends);
    return 0;
}

static int suite_single_bytes(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    open_ends(ends);
    async_task *task = async_spawn(send_pattern, .stream = ends[0], .size = 2000, .step = 1);
    assert_int_equal(receive_pattern(ends[1], 0, 2000, 1), 0);
    assert_int_equal(async_await(task), 0);
    close_ends(ends);
    return 0;
}

static int suite_large(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    unsigned char *data = malloc(HUGE_MESSAGE);
    open_ends(ends);
    async_task *task =
        async_spawn(send_pattern, .stream = ends[0], .size = HUGE_MESSAGE, .step = HUGE_MESSAGE);
    assert_int_equal(async_stream_readexactly(ends[1], data, HUGE_MESSAGE), HUGE_MESSAGE);
    assert_true(is_pattern(data, HUGE_MESSAGE, 0));
    assert_int_equal(async_await(task), 0);
    close_ends(ends);
    free(data);
    return 0;
}

static int suite_lines(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char line[64];
    open_ends(ends);
    assert_int_equal(async_stream_printf(ends[0], "one\ntwo\r\n\nabc--def--rest"), 0);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 4);
    assert_string_equal(line, "one\n");
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 5);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 1);
    assert_int_equal(async_stream_readuntil(ends[1], line, 4, "--", 2), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readuntil(ends[1], line, sizeof line, "--", 2), 5);
    assert_string_equal(line, "abc--");
    assert_int_equal(async_stream_readexactly(ends[1], line, 3), 3);
    assert_int_equal(async_stream_readexactly(ends[1], line, 2), 2);
    assert_int_equal(async_stream_close(ends[0]), 0);
    if (!carrier->end_error) {
        assert_int_equal(async_stream_readexactly(ends[1], line, 5), ASYNC_EINCOMPLETE);
        assert_int_equal(async_stream_readuntil(ends[1], line, sizeof line, "--", 2),
                         ASYNC_EINCOMPLETE);
        assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 4);
        assert_string_equal(line, "rest");
        assert_true(async_stream_at_eof(ends[1]));
    }
    async_stream_close(ends[1]);
    return 0;
}

/* A separator and a line that come in two parts; a line that is as long as it may be. */
static int suite_boundaries(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char line[16];
    open_ends(ends);
    for (size_t cut = 1; cut < 7; cut++) {
        const char *text = "abcde\r\n";
        assert_int_equal(async_stream_write(ends[0], text, cut), 0);
        async_timeout (0.01)
            assert_true(async_stream_readuntil(ends[1], line, sizeof line, "\r\n", 2) < 0);
        assert_int_equal(async_stream_write(ends[0], text + cut, 7 - cut), 0);
        assert_int_equal(async_stream_readuntil(ends[1], line, sizeof line, "\r\n", 2), 7);
        assert_string_equal(line, text);
    }
    assert_int_equal(async_stream_printf(ends[0], "123456789012345678\nnext\n"), 0);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readexactly(ends[1], line, 4), 4);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 15);
    assert_string_equal(line, "56789012345678\n");
    async_stream_close(ends[0]);
    int lines = 0;
    async_for (char *, text, async_stream_lines(ends[1])) {
        assert_string_equal(text, "next");
        lines++;
    }
    int code = async_block_error();
    assert_true(lines == 1 && (code == 0 || code == carrier->end_error));
    async_stream_close(ends[1]);
    return 0;
}

static int suite_pieces(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    static struct iovec pieces[PIECES];
    unsigned char *data = malloc(HUGE_MESSAGE);
    char text[32] = "";
    open_ends(ends);
    struct iovec message[] = {{"", 0}, {"head ", 5}, {NULL, 0}, {"body", 4}, {"", 0}};
    assert_int_equal(async_stream_writev(ends[0], message, 5), 0);
    assert_int_equal(async_stream_readexactly(ends[1], text, 9), 9);
    assert_string_equal(text, "head body");
    assert_int_equal(async_stream_writev(ends[0], NULL, 0), 0);
    assert_int_equal(async_stream_writev(ends[0], message, -1), -EINVAL);

    /* Many pieces of different sizes, more than the wire takes at once. */
    size_t size = 0;
    fill(data, HUGE_MESSAGE, 0);
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = (struct iovec){data + size, i % 700};
        size += i % 700;
    }
    async_task *task = async_spawn(expect_from, .stream = ends[1], .size = size, .step = 30000);
    assert_int_equal(async_stream_writev(ends[0], pieces, PIECES), 0);
    assert_int_equal(async_await(task), 0);
    close_ends(ends);
    free(data);
    return 0;
}

/* ---- ends ---- */

static int suite_end(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    open_ends(ends);
    assert_false(async_stream_at_eof(ends[1]));
    async_task *task = async_spawn(expect_from, .stream = ends[1], .size = 50000, .step = 999);
    assert_int_equal(send_pattern(&(struct send_pattern){.stream = ends[0], .size = 50000}), 0);
    assert_int_equal(async_stream_close(ends[0]), 0);
    assert_int_equal(async_await(task), 0);
    expect_end(ends[1]);
    async_stream_close(ends[1]);

    /* A reader that waits already. */
    open_ends(ends);
    task = async_spawn(read_byte, .stream = ends[1]);
    settle();
    assert_false(async_task_done(task));
    assert_int_equal(async_stream_close(ends[0]), 0);
    assert_true(is_end(async_await(task)));
    async_stream_close(ends[1]);
    return 0;
}

static int suite_half_close(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    if (!carrier->half_close) return 0;
    open_ends(ends);
    async_task *task = async_spawn(send_pattern, .stream = ends[0], .size = 300000, .step = 300000);
    settle();
    assert_int_equal(async_stream_write_eof(ends[0]), 0);
    assert_int_equal(async_stream_write_eof(ends[0]), 0);
    assert_int_equal(async_stream_write(ends[0], "x", 1), -EPIPE);
    assert_int_equal(receive_pattern(ends[1], 0, 300000, 30000), 0);
    assert_int_equal(async_await(task), 0);
    expect_end(ends[1]);
    if (carrier->two_way) {
        task = async_spawn(send_pattern, .stream = ends[1], .size = 300000);
        assert_int_equal(receive_pattern(ends[0], 0, 300000, 30000), 0);
        assert_int_equal(async_await(task), 0);
        assert_int_equal(async_stream_write_eof(ends[1]), 0);
        expect_end(ends[0]);
    }
    close_ends(ends);
    return 0;
}

static int suite_abort(void *unused)
{
    (void)unused;
    async_stream *ends[2];

    /* The reader has an end or an error, and does not wait for ever. */
    open_ends(ends);
    async_task *task = async_spawn(read_byte, .stream = ends[1]);
    settle();
    async_stream_abort(ends[0]);
    assert_true(async_await(task) <= 0);
    async_stream_abort(ends[1]);

    /* So has a writer. */
    open_ends(ends);
    task = async_spawn(send_pattern, .stream = ends[0], .size = HUGE_MESSAGE, .step = HUGE_MESSAGE);
    settle();
    assert_false(async_task_done(task));
    async_stream_abort(ends[1]);
    assert_true(async_await(task) < 0);
    assert_true(async_stream_write(ends[0], "x", 1) < 0);
    async_stream_abort(ends[0]);
    return 0;
}

/* ---- back-pressure ---- */

static void back_pressure(async_stream *from, async_stream *to)
{
    async_task *task =
        async_spawn(send_pattern, .stream = from, .size = HUGE_MESSAGE, .step = 20000);
    for (int i = 0; i < 20; i++)
        settle();
    assert_false(async_task_done(task));
    /* Not more than the mark and a message; and more than the low mark, or it would go on. */
    size_t unsent = async_stream_unsent(from);
    assert_true(unsent > 16384 && unsent <= 65536 + 20000);
    if (unsent > 65536) assert_int_equal(async_stream_write_nowait(from, "x", 1), -EAGAIN);
    assert_int_equal(receive_pattern(to, 0, HUGE_MESSAGE, 65536), 0);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_stream_drain(from), 0);
}

static int suite_back_pressure(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    open_ends(ends);
    back_pressure(ends[0], ends[1]);
    if (carrier->two_way) back_pressure(ends[1], ends[0]);
    close_ends(ends);
    return 0;
}

/* One direction is full, and the other one goes on. */
static int suite_full_one_way(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    if (!carrier->two_way) return 0;
    open_ends(ends);
    async_task *full =
        async_spawn(send_pattern, .stream = ends[0], .size = HUGE_MESSAGE, .step = HUGE_MESSAGE);
    settle();
    async_task *task = async_spawn(send_pattern, .stream = ends[1], .size = 200000);
    assert_int_equal(receive_pattern(ends[0], 0, 200000, 5000), 0);
    assert_int_equal(async_await(task), 0);
    assert_false(async_task_done(full));
    assert_int_equal(receive_pattern(ends[1], 0, HUGE_MESSAGE, 65536), 0);
    assert_int_equal(async_await(full), 0);
    close_ends(ends);
    return 0;
}

static int suite_slow_peer(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    open_ends(ends);
    async_task *task =
        async_spawn(expect_from, .stream = ends[1], .size = 400000, .step = 3000, .pause = 0.1);
    assert_int_equal(
        send_pattern(&(struct send_pattern){.stream = ends[0], .size = 400000, .step = 90000}), 0);
    assert_int_equal(async_await(task), 0);
    task = async_spawn(expect_from, .stream = ends[1], .size = 2000, .step = 4096);
    assert_int_equal(send_pattern(&(struct send_pattern){
                         .stream = ends[0], .size = 2000, .step = 10, .pause = 0.1}),
                     0);
    assert_int_equal(async_await(task), 0);
    close_ends(ends);
    return 0;
}

static int suite_both_ways(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    async_task *tasks[4];
    if (!carrier->two_way) return 0;
    open_ends(ends);
    for (int i = 0; i < 2; i++) {
        tasks[2 * i] = async_spawn(send_pattern, .stream = ends[i], .size = HUGE_MESSAGE);
        tasks[2 * i + 1] =
            async_spawn(expect_from, .stream = ends[!i], .size = HUGE_MESSAGE, .step = 7000);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    close_ends(ends);
    return 0;
}

/* ---- cancellation ---- */

/* Reads that time out again and again, at all sorts of moments: nothing is lost. */
static int suite_cancelled_reads(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    unsigned char data[64];
    size_t done = 0, size = 4000;
    int timeouts = 0;
    open_ends(ends);
    async_task *task =
        async_spawn(send_pattern, .stream = ends[0], .size = size, .step = 7, .pause = 0.01);
    while (done < size) {
        size_t want = done % 50 + 1 < size - done ? done % 50 + 1 : size - done;
        ssize_t n = 0;
        async_timeout (0.003 * (double)(done % 11 + timeouts % 5))
            n = done % 2 ? async_stream_readexactly(ends[1], data, want)
                         : async_stream_read(ends[1], data, want);
        if (n == -ETIMEDOUT) {
            timeouts++;
            continue;
        }
        assert_true(n > 0);
        assert_true(is_pattern(data, (size_t)n, done));
        done += (size_t)n;
    }
    assert_true(timeouts > 0);
    assert_int_equal(async_await(task), 0);
    close_ends(ends);
    return 0;
}

/* A task that is cancelled while it reads; the next reader has all that comes. */
static int suite_cancelled_reader(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char text[16] = "";
    open_ends(ends);
    for (int i = 0; i < 3; i++) {
        async_task *task = async_spawn(read_byte, .stream = ends[1]);
        settle();
        if (i == 1) assert_int_equal(async_stream_write(ends[0], "abc", 3), 0);
        async_cancel(task, NULL);
        if (i == 2) assert_int_equal(async_stream_write(ends[0], "def", 3), 0);
        int code = async_await(task);
        assert_true(code == -ECANCELED || (i > 0 && code == 1));
        size_t taken = code == 1;
        if (i > 0) assert_int_equal(async_stream_readexactly(ends[1], text, 3 - taken), 3 - taken);
        if (i > 0) assert_string_equal(text, (i == 1 ? "abc" : "def") + taken);
        memset(text, 0, sizeof text);
    }
    close_ends(ends);
    return 0;
}

static int suite_cancelled_writes(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    static unsigned char data[50000];
    size_t taken = 0;
    int code = 0;
    open_ends(ends);
    /* Because of the mark: all of the data has been taken. Another process may be slow to take what it
     * has room for: then there is more to be written. */
    do {
        while (code == 0) {
            fill(data, sizeof data, taken);
            async_timeout (0.01)
                code = async_stream_write(ends[0], data, sizeof data);
            taken += sizeof data;
        }
        assert_int_equal(code, -ETIMEDOUT);
        async_timeout (0.01)
            code = async_stream_drain(ends[0]);
    } while (code == 0 || (carrier->is_full && !carrier->is_full()));
    assert_int_equal(code, -ETIMEDOUT);

    /* A large message behind it, of which nothing has gone out: nothing has been taken. */
    unsigned char *large = calloc(1, HUGE_MESSAGE);
    async_task *task =
        async_spawn(write_message, .stream = ends[0], .data = large, .size = HUGE_MESSAGE);
    settle();
    async_task *behind = async_spawn(write_message, .stream = ends[0], .data = "never", .size = 5);
    settle();
    async_cancel(behind, NULL);
    assert_int_equal(async_await(behind), -ECANCELED);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    free(large);
    task = async_spawn(send_pattern, .stream = ends[0], .from = taken, .size = 1000);
    assert_int_equal(receive_pattern(ends[1], 0, taken + 1000, 65536), 0);
    assert_int_equal(async_await(task), 0);

    /* One of which a part has gone out: the stream is broken. */
    large = calloc(1, HUGE_MESSAGE);
    task = async_spawn(write_message, .stream = ends[0], .data = large, .size = HUGE_MESSAGE);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    free(large);
    assert_int_equal(async_stream_write(ends[0], "x", 1), -EPIPE);
    assert_int_equal(async_stream_close(ends[0]), -EPIPE);
    async_stream_abort(ends[1]);
    return 0;
}

/* ---- several tasks on one stream ---- */

struct close_one {
    async_stream *stream;
};
static int close_one(struct close_one *self) { return async_stream_close(self->stream); }

static int suite_close_under(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    open_ends(ends);
    async_task *task = async_spawn(read_byte, .stream = ends[1]);
    settle();
    assert_int_equal(async_stream_close(ends[1]), 0);
    assert_int_equal(async_await(task), -EBADF);
    async_stream_abort(ends[0]);

    /* Under a writer with a message half-way, one that queues, and one that drains. */
    open_ends(ends);
    async_task *first =
        async_spawn(send_pattern, .stream = ends[0], .size = HUGE_MESSAGE, .step = HUGE_MESSAGE);
    settle();
    async_task *second = async_spawn(write_message, .stream = ends[0], .data = "x", .size = 1);
    settle();
    assert_false(async_task_done(first) || async_task_done(second));
    async_task *closer = async_spawn(close_one, .stream = ends[0]);
    assert_int_equal(async_await(first), -EBADF);
    assert_int_equal(async_await(second), -EBADF);
    async_stream_abort(ends[1]);
    async_await(closer);
    return 0;
}

static int suite_two_readers(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char byte;
    open_ends(ends);
    async_task *task = async_spawn(read_byte, .stream = ends[1]);
    settle();
    assert_int_equal(async_stream_read(ends[1], &byte, 1), -EBUSY);
    assert_int_equal(async_stream_readline(ends[1], &byte, 1), -EBUSY);
    assert_int_equal(async_stream_write(ends[0], "ab", 2), 0);
    assert_int_equal(async_await(task), 1);
    assert_int_equal(async_stream_read(ends[1], &byte, 1), 1);
    assert_int_equal(byte, 'b');
    close_ends(ends);
    return 0;
}

struct write_block {
    async_stream *stream;
    char letter;
    size_t size;
};
static int write_block(struct write_block *self)
{
    char *block = malloc(self->size), size[16];
    memset(block, self->letter, self->size);
    snprintf(size, sizeof size, "%c%09zu", self->letter, self->size);
    struct iovec pieces[] = {{size, 10}, {block, self->size}};
    int code = async_stream_writev(self->stream, pieces, 2);
    free(block);
    return code;
}

/* Messages of many writers, some of them large, are not interleaved. */
static int suite_many_writers(void *unused)
{
    (void)unused;
    enum { WRITERS = 20 };
    async_stream *ends[2];
    async_task *tasks[WRITERS];
    char head[16] = "", *block = malloc(300000);
    open_ends(ends);
    for (int i = 0; i < WRITERS; i++)
        tasks[i] = async_spawn(write_block, .stream = ends[0], .letter = (char)('a' + i),
                               .size = i % 3 ? 2000 * (size_t)i + 1 : 200000);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(async_stream_readexactly(ends[1], head, 10), 10);
        size_t size = (size_t)atol(head + 1);
        assert_true(size > 0 && size <= 300000);
        assert_int_equal(async_stream_readexactly(ends[1], block, size), size);
        for (size_t k = 0; k < size; k++)
            if (block[k] != head[0]) fail_msg("message %c has a %c", head[0], block[k]);
    }
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    close_ends(ends);
    free(block);
    return 0;
}

/* ---- copying ---- */

struct copy_stream {
    async_stream *from, *to;
    int64_t *copied;
};
static int copy_stream(struct copy_stream *self)
{
    int64_t n = async_stream_copy(self->from, self->to, self->copied);
    if (n >= 0) assert_true(n == *self->copied);
    return n < 0 ? (int)n : 0;
}

/* What had been read already goes first; and the end is not passed on. */
static int suite_copy(void *unused)
{
    (void)unused;
    async_stream *in[2], *out[2];
    int64_t copied = -1;
    char line[16];
    open_ends(in);
    open_ends(out);
    assert_int_equal(async_stream_printf(in[0], "one\ntwo\n"), 0);
    assert_int_equal(async_stream_readline(in[1], line, sizeof line), 4);
    async_task *task = async_spawn(copy_stream, .from = in[1], .to = out[0], .copied = &copied);
    async_task *reader = async_spawn(read_byte, .stream = out[1]);
    assert_int_equal(async_await(reader), 1);
    assert_int_equal(async_stream_readline(out[1], line, sizeof line), 3);
    assert_string_equal(line, "wo\n");
    assert_int_equal(async_stream_read(in[1], line, 1), -EBUSY);

    async_task *sender = async_spawn(send_pattern, .stream = in[0], .size = HUGE_MESSAGE);
    assert_int_equal(receive_pattern(out[1], 0, HUGE_MESSAGE, 60000), 0);
    assert_int_equal(async_await(sender), 0);
    /* Little by little, after much. */
    sender = async_spawn(send_pattern, .stream = in[0], .size = 500, .step = 10, .pause = 0.01);
    assert_int_equal(receive_pattern(out[1], 0, 500, 100), 0);
    assert_int_equal(async_await(sender), 0);
    assert_int_equal(copied, 4 + HUGE_MESSAGE + 500);
    /* Others may write meanwhile. */
    assert_int_equal(async_stream_write(out[0], "other", 5), 0);
    assert_int_equal(async_stream_readexactly(out[1], line, 5), 5);
    async_stream_close(in[0]);
    assert_true(is_end(async_await(task)));
    assert_int_equal(async_stream_write(out[0], "last", 4), 0);
    assert_int_equal(async_stream_readexactly(out[1], line, 4), 4);
    async_stream_close(in[1]);
    close_ends(out);
    return 0;
}

/* A copy that times out again and again, while the other side has room now and then: what has been
 * read and not written is the next to be read. */
static int suite_cancelled_copies(void *unused)
{
    (void)unused;
    async_stream *in[2], *out[2];
    int64_t done = 0, copied = 0;
    int timeouts = 0;
    open_ends(in);
    open_ends(out);
    async_task *sender = async_spawn(send_pattern, .stream = in[0], .size = HUGE_MESSAGE);
    async_task *receiver = async_spawn(expect_from, .stream = out[1], .size = HUGE_MESSAGE,
                                       .step = 50000, .pause = 0.01);
    while (done < HUGE_MESSAGE) {
        int64_t n = 0;
        async_timeout (0.003 * (double)(timeouts % 7))
            n = async_stream_copy(in[1], out[0], &copied);
        assert_int_equal(n, -ETIMEDOUT);
        assert_true(copied >= 0);
        done += copied;
        timeouts++;
    }
    assert_int_equal(done, HUGE_MESSAGE);
    assert_true(timeouts > 5 || carrier->real_time);
    assert_int_equal(async_await(sender), 0);
    assert_int_equal(async_await(receiver), 0);
    close_ends(in);
    close_ends(out);
    return 0;
}

/* Where the copy has been cancelled a plain read goes on. */
static int suite_read_after_copy(void *unused)
{
    (void)unused;
    async_stream *in[2], *out[2];
    int64_t copied = 0;
    open_ends(in);
    open_ends(out);
    async_task *sender = async_spawn(send_pattern, .stream = in[0], .size = HUGE_MESSAGE);
    async_task *task = async_spawn(copy_stream, .from = in[1], .to = out[0], .copied = &copied);
    for (int i = 0; i < 20; i++)
        async_sleep(0.01); /* until both are full */
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_true(copied > 0 && copied < HUGE_MESSAGE);
    async_task *rest = async_spawn(expect_from, .stream = in[1], .from = (size_t)copied,
                                   .size = HUGE_MESSAGE - (size_t)copied, .step = 60000);
    assert_int_equal(receive_pattern(out[1], 0, (size_t)copied, 60000), 0);
    assert_int_equal(async_await(rest), 0);
    assert_int_equal(async_await(sender), 0);
    close_ends(in);
    close_ends(out);
    return 0;
}

/* A close of either stream ends the copy, also while there is nothing to copy. */
static int suite_close_under_copy(void *unused)
{
    (void)unused;
    for (int way = 0; way < 4; way++) {
        async_stream *in[2], *out[2];
        int64_t copied;
        open_ends(in);
        open_ends(out);
        async_task *task = async_spawn(copy_stream, .from = in[1], .to = out[0], .copied = &copied);
        async_task *sender = NULL;
        if (way & 1)
            sender = async_spawn(send_pattern, .stream = in[0], .size = HUGE_MESSAGE,
                                 .step = HUGE_MESSAGE);
        for (int i = 0; i < 20; i++)
            async_sleep(0.01);
        async_stream **stream = way & 2 ? &in[1] : &out[0];
        async_stream_abort(*stream);
        *stream = NULL;
        assert_int_equal(async_await(task), -EBADF);
        for (int i = 0; i < 2; i++) {
            async_stream_abort(in[i]);
            async_stream_abort(out[i]);
        }
        if (sender) async_await(sender);
    }
    return 0;
}

struct relay_streams {
    async_stream *a, *b;
    int64_t *copied;
};
static int relay_streams(struct relay_streams *self)
{
    return async_stream_relay(self->a, self->b, self->copied);
}

static int suite_relay(void *unused)
{
    (void)unused;
    async_stream *left[2], *right[2];
    int64_t copied[2];
    async_task *tasks[4];
    if (!carrier->two_way) return 0;
    open_ends(left);
    open_ends(right);
    async_task *task = async_spawn(relay_streams, .a = left[1], .b = right[0], .copied = copied);
    async_stream *outer[] = {left[0], right[1]};
    for (int i = 0; i < 2; i++) {
        tasks[2 * i] = async_spawn(send_pattern, .stream = outer[i], .size = HUGE_MESSAGE);
        tasks[2 * i + 1] =
            async_spawn(expect_from, .stream = outer[!i], .size = HUGE_MESSAGE, .step = 50000);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    assert_true(copied[0] == HUGE_MESSAGE && copied[1] == HUGE_MESSAGE);
    if (carrier->half_close) {
        assert_int_equal(async_stream_write_eof(left[0]), 0);
        expect_end(right[1]);
        assert_false(async_task_done(task));
        assert_int_equal(
            send_pattern(&(struct send_pattern){.stream = right[1], .size = 1000, .step = 1000}),
            0);
        assert_int_equal(receive_pattern(left[0], 0, 1000, 1000), 0);
        assert_int_equal(async_stream_write_eof(right[1]), 0);
        expect_end(left[0]);
        assert_int_equal(async_await(task), 0);
        assert_true(copied[1] == HUGE_MESSAGE + 1000);
    } else {
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
    }
    close_ends(left);
    close_ends(right);
    return 0;
}

/* ---- files ---- */

UNUSED int pattern_file(size_t size)
{
    int fd = memfd_create("pattern", MFD_CLOEXEC);
    unsigned char *data = malloc(size);
    fill(data, size, 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    free(data);
    return fd;
}

struct send_file {
    async_stream *stream;
    int fd;
    int64_t offset, count, *sent;
};
static int send_file(struct send_file *self)
{
    return (int)async_sendfile_fd(self->stream, self->fd, self->offset, self->count, self->sent);
}

static int suite_sendfile(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char text[8] = "";
    int64_t sent = 0, done = 0;
    int fd = pattern_file(HUGE_MESSAGE);
    open_ends(ends);
    async_task *reader = async_spawn(expect_from, .stream = ends[1], .from = 5,
                                     .size = HUGE_MESSAGE - 5, .step = 50000);
    assert_int_equal(async_sendfile_fd(ends[0], fd, 5, -1, &sent), HUGE_MESSAGE - 5);
    assert_int_equal(sent, HUGE_MESSAGE - 5);
    assert_int_equal(async_await(reader), 0);
    /* Between writes, and behind what is kept. */
    async_task *task = async_spawn(write_message, .stream = ends[0], .data = "head ", .size = 5);
    settle();
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_sendfile_fd(ends[0], fd, 100, 10, NULL), 10);
    assert_int_equal(async_stream_write(ends[0], "tail", 4), 0);
    assert_int_equal(async_stream_readexactly(ends[1], text, 5), 5);
    assert_int_equal(receive_pattern(ends[1], 100, 10, 10), 0);
    assert_int_equal(async_stream_readexactly(ends[1], text, 4), 4);
    assert_memory_equal(text, "tail", 4);
    /* The file ends before; there is nothing to be sent. */
    assert_int_equal(async_sendfile_fd(ends[0], fd, HUGE_MESSAGE - 3, 10, &sent), 3);
    assert_int_equal(receive_pattern(ends[1], HUGE_MESSAGE - 3, 3, 10), 0);
    assert_int_equal(async_sendfile_fd(ends[0], fd, HUGE_MESSAGE + 3, 10, &sent), 0);
    assert_int_equal(async_sendfile_fd(ends[0], fd, 0, 0, &sent), 0);

    /* Cancelled again and again, and gone on with. */
    reader = async_spawn(expect_from, .stream = ends[1], .size = HUGE_MESSAGE, .step = 50000,
                         .pause = 0.01);
    for (int i = 0; done < HUGE_MESSAGE; i++) {
        int64_t n = 0;
        async_timeout (0.004 * (double)(i % 5))
            n = async_sendfile_fd(ends[0], fd, done, HUGE_MESSAGE - done, &sent);
        assert_true(n == -ETIMEDOUT || done + n == HUGE_MESSAGE);
        done += sent;
    }
    assert_int_equal(async_await(reader), 0);

    /* Cancelled, and nobody knows how far it has come. */
    task = async_spawn(send_file, .stream = ends[0], .fd = fd, .count = -1);
    for (int i = 0; i < 20; i++)
        async_sleep(0.01);
    async_task *behind = async_spawn(write_message, .stream = ends[0], .data = "x", .size = 1);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_int_equal(async_await(behind), -EPIPE);
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
    close(fd);
    return 0;
}

/* ---- running it ---- */

static const struct suite_test {
    const char *name;
    async_coroutine coroutine;
} suite[] = {
    {"order", suite_order},
    {"single bytes", suite_single_bytes},
    {"large", suite_large},
    {"lines", suite_lines},
    {"boundaries", suite_boundaries},
    {"pieces", suite_pieces},
    {"end", suite_end},
    {"half close", suite_half_close},
    {"abort", suite_abort},
    {"back-pressure", suite_back_pressure},
    {"full one way", suite_full_one_way},
    {"slow peer", suite_slow_peer},
    {"both ways", suite_both_ways},
    {"cancelled reads", suite_cancelled_reads},
    {"cancelled reader", suite_cancelled_reader},
    {"cancelled writes", suite_cancelled_writes},
    {"close under", suite_close_under},
    {"two readers", suite_two_readers},
    {"many writers", suite_many_writers},
    {"copy", suite_copy},
    {"cancelled copies", suite_cancelled_copies},
    {"read after copy", suite_read_after_copy},
    {"close under copy", suite_close_under_copy},
    {"relay", suite_relay},
    {"sendfile", suite_sendfile},
};

static int run_one(void *argument)
{
    const struct suite_test *test = argument;
    int code = test->coroutine(NULL);
    if (carrier->done) carrier->done();
    return code;
}

/* Every test over the carrier; no descriptor is left. */
UNUSED void run_suite(const struct carrier *over)
{
    carrier = over;
    for (size_t i = 0; i < COUNT(suite); i++) {
        int before = open_fds();
        printf("    %s: %s\n", carrier->name, suite[i].name);
        fflush(stdout);
        async_run_options options = {.loop = {.virtual_clock = !carrier->real_time}};
        assert_int_equal(async_run_with(run_one, (void *)&suite[i], &options), 0);
        assert_int_equal(open_fds(), before);
    }
}

#define SUITE(carriers)                                                                            \
    static void test_suite(void **state)                                                           \
    {                                                                                              \
        (void)state;                                                                               \
        for (size_t i = 0; i < COUNT(carriers); i++)                                               \
            run_suite(&(carriers)[i]);                                                             \
    }                                                                                              \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_suite)};                          \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }

#endif
