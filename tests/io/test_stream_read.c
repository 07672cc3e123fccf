/* streams.h: reading. */
#include "io/io.h"

#include "io_test.h"

struct read_into {
    async_stream *stream;
    char *buffer;
    size_t size;
};
static int read_into(struct read_into *self)
{
    return (int)async_stream_read(self->stream, self->buffer, self->size);
}

struct exactly {
    async_stream *stream;
    void *buffer;
    size_t size;
};
static int exactly(struct exactly *self)
{
    return (int)async_stream_readexactly(self->stream, self->buffer, self->size);
}

struct line {
    async_stream *stream;
    char *buffer;
    size_t size;
};
static int line(struct line *self)
{
    return (int)async_stream_readline(self->stream, self->buffer, self->size);
}

static int read_some(void *unused)
{
    (void)unused;
    int fd;
    char buffer[16] = "";
    async_stream *stream = stream_and_fd(&fd);
    async_task *task = async_spawn(read_into, .stream = stream, .buffer = buffer, .size = 16);
    settle();
    assert_false(async_task_done(task));
    put_text(fd, "hello world");
    assert_int_equal(async_await(task), 11);
    assert_string_equal(buffer, "hello world");

    put_text(fd, "hello world");
    assert_int_equal(async_stream_read(stream, buffer, 0), 0);
    assert_int_equal(async_stream_read(stream, buffer, 6), 6);
    assert_memory_equal(buffer, "hello ", 6);
    assert_int_equal(async_stream_read(stream, buffer, 16), 5);
    assert_memory_equal(buffer, "world", 5);
    assert_null(stream->received.data);
    assert_false(async_stream_at_eof(stream));

    put_text(fd, "end");
    async_close(fd);
    assert_int_equal(async_stream_read(stream, buffer, 2), 2);
    assert_false(async_stream_at_eof(stream));
    assert_int_equal(async_stream_read(stream, buffer, 2), 1);
    assert_int_equal(async_stream_read(stream, buffer, 2), 0);
    assert_true(async_stream_at_eof(stream));
    assert_int_equal(async_stream_read(stream, buffer, 2), 0);
    assert_int_equal(async_stream_close(stream), 0);
    return 0;
}
TEST(read_some)

static int two_gigabytes(void *unused)
{
    (void)unused;
    int fd;
    size_t size;
    async_stream *stream = stream_and_fd(&fd);
    char *buffer = much_space(&size), text[64];
    put_text(fd, "abc");
    assert_int_equal(async_stream_read(stream, buffer, size), 3);
    put_text(fd, "a\nb");
    assert_int_equal(async_stream_readline(stream, buffer, size), 2);
    async_close(fd);
    assert_int_equal(async_stream_readexactly(stream, buffer, size), ASYNC_EINCOMPLETE);
    snprintf(text, sizeof text, "after 1 of %zu bytes", size);
    assert_message(text);
    assert_int_equal(async_stream_readuntil(stream, buffer, size, "\n", 1), ASYNC_EINCOMPLETE);
    assert_int_equal(async_stream_read(stream, buffer, size), 1);
    assert_int_equal(buffer[0], 'b');
    munmap(buffer, size);
    async_stream_close(stream);
    return 0;
}
TEST(two_gigabytes)

static int no_stream(void *unused)
{
    (void)unused;
    char buffer[4];
    assert_int_equal(async_stream_read(NULL, buffer, 4), -EBADF);
    assert_message("NULL");
    assert_int_equal(async_stream_readexactly(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_stream_readuntil(NULL, buffer, 4, "x", 1), -EBADF);
    assert_int_equal(async_stream_readline(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_stream_write(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_stream_write_nowait(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_stream_printf(NULL, "%d", 4), -EBADF);
    assert_int_equal(async_stream_drain(NULL), -EBADF);
    assert_int_equal(async_stream_write_eof(NULL), -EBADF);
    assert_int_equal(async_stream_fd(NULL), -EBADF);
    assert_int_equal(async_stream_peername(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_stream_close(NULL), 0);
    async_stream_abort(NULL);
    async_stream_set_high_water(NULL, 1);
    assert_int_equal(async_stream_unsent(NULL), 0);
    assert_true(async_stream_at_eof(NULL));
    assert_null(async_stream_lines(NULL));
    assert_int_equal(async_error_code(), -EBADF);

    assert_null(async_stream_from_fd(-1));
    assert_int_equal(async_error_code(), -EBADF);
    int fd = async_socket(AF_INET, SOCK_DGRAM, 0);
    assert_null(async_stream_from_fd(fd));
    assert_int_equal(async_error_code(), -EPROTOTYPE);
    assert_int_equal(async_close(fd), 0);
    return 0;
}
TEST(no_stream)

static int second_reader(void *unused)
{
    (void)unused;
    int fd;
    char a[8], b[8];
    async_stream *stream = stream_and_fd(&fd);
    async_task *task = async_spawn(read_into, .stream = stream, .buffer = a, .size = 8);
    settle();
    assert_int_equal(async_stream_read(stream, b, 8), -EBUSY);
    assert_int_equal(async_stream_readline(stream, b, 8), -EBUSY);
    put_text(fd, "x");
    assert_int_equal(async_await(task), 1);
    put_text(fd, "y");
    assert_int_equal(async_stream_read(stream, b, 8), 1);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(second_reader)

/* ---- cancellation ---- */

static int cancelled_read(void *unused)
{
    (void)unused;
    int fd;
    static char buffer[8192];
    async_stream *stream = stream_and_fd(&fd);
    for (size_t size = 8; size <= sizeof buffer;
         size *= 1024) { /* through the scratch, and straight */
        async_task *task = async_spawn(read_into, .stream = stream, .buffer = buffer, .size = size);
        settle();
        put_text(fd, "abc"); /* it has come, but the task has not been told */
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
        assert_int_equal(async_stream_read(stream, buffer, size), 3);
        ssize_t n = 0;
        async_timeout (1)
            n = async_stream_read(stream, buffer, size);
        assert_int_equal(n, -ETIMEDOUT);
        async_timeout (0)
            n = async_stream_read(stream, buffer, size);
        assert_int_equal(n, -ETIMEDOUT);
    }
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(cancelled_read)

static int cancelled_exactly(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char buffer[100000], data[70000];
    async_stream *stream = stream_and_fd(&fd);
    fill(data, sizeof data, 0);
    for (size_t part = 1; part <= sizeof data; part = part * 40 + 7) {
        async_task *task =
            async_spawn(exactly, .stream = stream, .buffer = buffer, .size = sizeof buffer);
        settle();
        assert_int_equal(send(fd, data, part, 0), part);
        settle();
        assert_int_equal(recv(async_stream_fd(stream), buffer, 1, MSG_DONTWAIT),
                         -1); /* it has it */
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
        memset(buffer, 0, sizeof buffer);
        assert_int_equal(async_stream_readexactly(stream, buffer, part), part);
        assert_true(is_pattern(buffer, part, 0));
    }
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(cancelled_exactly)

static int cancelled_line(void *unused)
{
    (void)unused;
    int fd;
    char buffer[64];
    async_stream *stream = stream_and_fd(&fd);
    for (int i = 0; i < 3; i++) {
        async_task *task =
            async_spawn(line, .stream = stream, .buffer = buffer, .size = sizeof buffer);
        put_text(fd, "part ");
        settle();
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
    }
    put_text(fd, "end\nnext");
    assert_int_equal(async_stream_readline(stream, buffer, sizeof buffer), 19);
    assert_string_equal(buffer, "part part part end\n");
    assert_int_equal(async_stream_read(stream, buffer, 4), 4);
    assert_memory_equal(buffer, "next", 4);
    assert_null(stream->received.data);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(cancelled_line)

/* ---- exactly ---- */

static int exact_sizes(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char buffer[100000];
    async_stream *stream = stream_and_fd(&fd);
    assert_int_equal(async_stream_readexactly(stream, buffer, 0), 0);
    async_task *task = async_spawn(exactly, .stream = stream, .buffer = buffer, .size = 10000);
    for (size_t sent = 0; sent < 20000; sent += 1000) {
        unsigned char piece[1000];
        fill(piece, sizeof piece, sent);
        assert_int_equal(send(fd, piece, sizeof piece, 0), sizeof piece);
        settle();
    }
    assert_int_equal(async_await(task), 10000);
    assert_true(is_pattern(buffer, 10000, 0));
    for (size_t got = 10000; got < 20000; got += 8) {
        assert_int_equal(async_stream_readexactly(stream, buffer, 8), 8);
        assert_true(is_pattern(buffer, 8, got));
    }
    assert_null(stream->received.data);
    put_text(fd, "abc");
    shutdown(fd, SHUT_WR);
    assert_int_equal(async_stream_readexactly(stream, buffer, 4), ASYNC_EINCOMPLETE);
    assert_string_equal(async_error_message(),
                        "the stream ended after 3 of 4 bytes, which can still be read");
    assert_int_equal(async_stream_readexactly(stream, buffer, 3), 3);
    assert_int_equal(async_stream_readexactly(stream, buffer, 1), ASYNC_EINCOMPLETE);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(exact_sizes)

static int long_and_incomplete(void *unused)
{
    (void)unused;
    int fd;
    static unsigned char buffer[200000], data[70000];
    async_stream *stream = stream_and_fd(&fd);
    fill(data, sizeof data, 0);
    async_task *task =
        async_spawn(exactly, .stream = stream, .buffer = buffer, .size = sizeof buffer);
    assert_int_equal(send(fd, data, sizeof data, 0), sizeof data);
    async_close(fd);
    assert_int_equal(async_await(task), ASYNC_EINCOMPLETE);
    assert_message("after 70000 of 200000 bytes, which are in the buffer");
    assert_true(is_pattern(buffer, sizeof data, 0));
    assert_int_equal(async_stream_read(stream, buffer, 1), 0);
    async_stream_close(stream);
    return 0;
}
TEST(long_and_incomplete)

/* ---- lines and separators ---- */

static int lines_and_limits(void *unused)
{
    (void)unused;
    int fd;
    char buffer[16];
    async_stream *stream = stream_and_fd(&fd);
    put_text(fd, "one\ntwo\n\n1234567\n12345678\nlast");
    assert_int_equal(async_stream_readline(stream, buffer, sizeof buffer), 4);
    assert_string_equal(buffer, "one\n");
    assert_int_equal(async_stream_readline(stream, buffer, sizeof buffer), 4);
    assert_int_equal(async_stream_readline(stream, buffer, sizeof buffer), 1);
    assert_string_equal(buffer, "\n");
    assert_int_equal(async_stream_readline(stream, buffer, 8), ASYNC_ELIMIT);
    assert_message("no separator within 7 bytes");
    assert_int_equal(async_stream_readline(stream, buffer, 8), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readline(stream, buffer, 9), 8);
    assert_string_equal(buffer, "1234567\n");
    assert_int_equal(async_stream_readline(stream, buffer, 9), ASYNC_ELIMIT);
    assert_int_equal(async_stream_read(stream, buffer, 9), 9);
    assert_memory_equal(buffer, "12345678\n", 9);
    shutdown(fd, SHUT_WR);
    assert_int_equal(async_stream_readline(stream, buffer, 0), -EINVAL);
    assert_int_equal(async_stream_readline(stream, buffer, 4), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readuntil(stream, buffer, 16, "\n", 1), ASYNC_EINCOMPLETE);
    assert_message("after 4 bytes");
    assert_int_equal(async_stream_readline(stream, buffer, 5), 4);
    assert_string_equal(buffer, "last");
    assert_int_equal(async_stream_readline(stream, buffer, 5), 0);
    assert_int_equal(async_stream_readline(stream, buffer, 1), 0);
    assert_int_equal(async_stream_readuntil(stream, buffer, 16, "\n", 1), ASYNC_EINCOMPLETE);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(lines_and_limits)

static int separators(void *unused)
{
    (void)unused;
    int fd;
    char buffer[64];
    async_stream *stream = stream_and_fd(&fd);
    put_text(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\nbody");
    assert_int_equal(async_stream_readuntil(stream, buffer, sizeof buffer, "\r\n\r\n", 4), 27);
    assert_string_equal(buffer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(async_stream_readuntil(stream, buffer, sizeof buffer, "", 0), -EINVAL);
    assert_int_equal(async_stream_readuntil(stream, buffer, 0, "x", 1), -EINVAL);
    assert_int_equal(async_stream_readexactly(stream, buffer, 4), 4);

    /* A separator that comes in pieces, bytes that look like its beginning, 0 bytes. */
    struct line;
    const char *text = "a\r\r\n\rb\r\n\r";
    for (const char *c = text; *c; c++) {
        ssize_t n = 0;
        assert_int_equal(write(fd, c, 1), 1);
        async_timeout (1)
            n = async_stream_readuntil(stream, buffer, sizeof buffer, "\r\n\r\n", 4);
        assert_int_equal(n, -ETIMEDOUT);
    }
    assert_int_equal(write(fd, "\n\0z\0", 4), 4);
    assert_int_equal(async_stream_readuntil(stream, buffer, sizeof buffer, "\r\n\r\n", 4), 10);
    assert_string_equal(buffer, "a\r\r\n\rb\r\n\r\n");
    assert_int_equal(async_stream_readuntil(stream, buffer, sizeof buffer, "\0", 1), 1);
    assert_int_equal(async_stream_readuntil(stream, buffer, sizeof buffer, "\0", 1), 2);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(separators)

/* What readuntil_any is to give: the shortest beginning that has a separator as its end. */
static size_t shortest(const char *text, size_t size, const struct iovec *separators, int count)
{
    for (size_t end = 1; end <= size; end++)
        for (int i = 0; i < count; i++) {
            size_t length = separators[i].iov_len;
            if (length <= end && !memcmp(text + end - length, separators[i].iov_base, length))
                return end;
        }
    return 0;
}

static void write_pieces(int fd, const char *text, size_t size, unsigned *seed)
{
    while (size > 0) {
        size_t piece = 1 + (size_t)rand_r(seed) % size;
        assert_int_equal(write(fd, text, piece), piece);
        text += piece;
        size -= piece;
        async_sleep(0.001);
    }
}

struct feeder {
    int fd;
    const char *text;
    size_t size;
    unsigned seed;
};
static int feeder(struct feeder *self)
{
    write_pieces(self->fd, self->text, self->size, &self->seed);
    return 0;
}

static int several_separators(void *unused)
{
    (void)unused;
    static const struct iovec separators[] = {{"\r\n", 2}, {"\n\n\n", 3}, {";", 1}, {"ab;", 3}};
    for (unsigned seed = 1; seed <= 200; seed++) {
        int fd, count = 1 + (int)(seed % 4);
        char text[60], buffer[sizeof text + 2];
        unsigned random = seed;
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = "\r\n;ab"[rand_r(&random) % 5];
        async_stream *stream = stream_and_fd(&fd);
        async_task *task =
            async_spawn(feeder, .fd = fd, .text = text, .size = sizeof text, .seed = seed);
        size_t place = 0, length;
        while ((length = shortest(text + place, sizeof text - place, separators, count)) > 0) {
            ssize_t n =
                async_stream_readuntil_any(stream, buffer, sizeof buffer, separators, count);
            assert_int_equal(n, length);
            assert_memory_equal(buffer, text + place, length);
            assert_int_equal(buffer[n], 0);
            place += length;
        }
        assert_int_equal(async_await(task), 0);
        async_close(fd);
        assert_int_equal(
            async_stream_readuntil_any(stream, buffer, sizeof buffer, separators, count),
            ASYNC_EINCOMPLETE);
        assert_int_equal(async_stream_read(stream, buffer, sizeof buffer), sizeof text - place);
        async_stream_close(stream);
    }
    return 0;
}
TEST(several_separators)

static int no_separators(void *unused)
{
    (void)unused;
    static const struct iovec empty[] = {{"x", 1}, {"", 0}}, good[] = {{"yz", 2}, {"x", 1}};
    int fd;
    char buffer[8];
    async_stream *stream = stream_and_fd(&fd);
    put_text(fd, "12345x");
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 8, empty, 2), -EINVAL);
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 8, empty, 0), -EINVAL);
    assert_message("0 separators");
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 8, empty, -1), -EINVAL);
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 8, NULL, 1), -EINVAL);
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 0, good, 2), -EINVAL);
    assert_int_equal(async_stream_readuntil_any(NULL, buffer, 8, good, 2), -EBADF);
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 6, good, 2), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readuntil_any(stream, buffer, 7, good, 2), 6);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(no_separators)

struct feed {
    int fd;
    const char *data;
    size_t size;
};
static int feed(struct feed *self)
{
    int code = async_sendall(self->fd, self->data, self->size, NULL);
    async_close(self->fd);
    return code;
}

static int long_lines(void *unused)
{
    (void)unused;
    int fd;
    size_t size = 1000000; /* more than the socket holds */
    char *data = malloc(size + 1), *back = malloc(size + 2);
    memset(data, 'x', size);
    data[size] = '\n';
    async_stream *stream = stream_and_fd(&fd);
    async_task *task = async_spawn(feed, .fd = fd, .data = data, .size = size + 1);
    assert_int_equal(async_stream_readline(stream, back, size + 1), ASYNC_ELIMIT);
    assert_int_equal(async_stream_readline(stream, back, size + 2), size + 1);
    assert_memory_equal(data, back, size + 1);
    assert_int_equal(async_stream_readline(stream, back, size), 0);
    assert_int_equal(async_await(task), 0);
    async_stream_close(stream);

    /* Through the iterator: up to 64 KiB. */
    stream = stream_and_fd(&fd);
    data[65535] = '\n';
    task = async_spawn(feed, .fd = fd, .data = data, .size = size + 1);
    size_t count = 0;
    async_for (char *, text, async_stream_lines(stream)) {
        assert_int_equal(strlen(text), 65535);
        count++;
    }
    assert_int_equal(count, 1);
    assert_int_equal(async_block_error(), ASYNC_ELIMIT);
    async_stream_close(stream);
    assert_int_equal(async_await(task), -EPIPE);
    free(data);
    free(back);
    return 0;
}
TEST(long_lines)

static int iterate_lines(void *unused)
{
    (void)unused;
    int fd;
    async_stream *stream = stream_and_fd(&fd);
    put_text(fd, "a\nbb\r\n\n\r\nlast\r");
    async_close(fd);
    async_for (char *, text, async_stream_lines(stream))
        note("<%s>", text);
    assert_int_equal(async_block_error(), 0);
    assert_notes("<a> <bb> <> <> <last\r> ");
    async_for (char *, text, async_stream_lines(stream))
        note("<%s>", text);
    assert_notes("");
    async_stream_close(stream);

    stream = stream_and_fd(&fd);
    put_text(fd, "a\nb\nc\n");
    async_for (char *, text, async_stream_lines(stream)) {
        note("%s", text);
        if (*text == 'b') break;
    }
    char rest[8];
    assert_int_equal(async_stream_read(stream, rest, sizeof rest), 2);
    /* The loop's body may close the stream. */
    put_text(fd, "d\ne\n");
    async_for (char *, text, async_stream_lines(stream)) {
        note("%s", text);
        async_stream_close(stream);
    }
    assert_int_equal(async_block_error(), -EBADF);
    assert_notes("a b d ");
    async_close(fd);
    return 0;
}
TEST(iterate_lines)

/* ---- closing under a reader, errors ---- */

static int closed_under_reader(void *unused)
{
    (void)unused;
    int fd;
    static char buffer[8192];
    for (int i = 0; i < 6; i++) {
        async_stream *stream = stream_and_fd(&fd);
        async_task *task =
            i % 3 == 0   ? async_spawn(read_into, .stream = stream, .buffer = buffer, .size = 10)
            : i % 3 == 1 ? async_spawn(read_into, .stream = stream, .buffer = buffer, .size = 8192)
                         : async_spawn(line, .stream = stream, .buffer = buffer, .size = 8192);
        settle();
        put_text(fd, "some");
        if (i < 3)
            assert_int_equal(async_stream_close(stream), 0);
        else
            async_stream_abort(stream);
        int code = async_await(task);
        /* Where operations end late, one may have got the data before it was cancelled. */
        if (code != 4 || strcmp(async_loop_backend(async_get_running_loop()), "late") != 0) {
            assert_int_equal(code, -EBADF);
            assert_string_equal(async_error_message(), "the stream has been closed");
        }
        async_close(fd);
    }
    return 0;
}
TEST(closed_under_reader)

static int reset_by_peer(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[8];
    make_tcp_pair(fds);
    async_stream *stream = async_stream_from_fd(fds[0]);
    async_task *task = async_spawn(read_into, .stream = stream, .buffer = buffer, .size = 8);
    settle();
    reset(fds[1]);
    assert_int_equal(async_await(task), -ECONNRESET);
    assert_message("Connection reset by peer");
    /* Not an end: it fails again. */
    assert_int_equal(async_stream_read(stream, buffer, 8), -ECONNRESET);
    assert_int_equal(async_stream_readexactly(stream, buffer, 8), -ECONNRESET);
    assert_int_equal(async_stream_readline(stream, buffer, 8), -ECONNRESET);
    assert_false(async_stream_at_eof(stream));
    assert_int_equal(async_stream_close(stream), 0);

    /* What came before it can still be read. */
    make_tcp_pair(fds);
    stream = async_stream_from_fd(fds[0]);
    task = async_spawn(exactly, .stream = stream, .buffer = buffer, .size = 8);
    put_text(fds[1], "abc");
    settle();
    reset(fds[1]);
    assert_int_equal(async_await(task), -ECONNRESET);
    assert_int_equal(async_stream_read(stream, buffer, 8), 3);
    assert_int_equal(async_stream_read(stream, buffer, 8), -ECONNRESET);
    async_stream_close(stream);
    return 0;
}
TEST(reset_by_peer)

static int other_kinds(void *unused)
{
    (void)unused;
    int pipes[2];
    char buffer[8] = "";
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        assert_int_equal(pipe2(pipes, flags), 0);
        async_stream *in = async_stream_from_fd(pipes[0]), *out = async_stream_from_fd(pipes[1]);
        async_task *task = async_spawn(read_into, .stream = in, .buffer = buffer, .size = 8);
        settle();
        assert_int_equal(async_stream_write(out, "abc", 3), 0);
        assert_int_equal(async_await(task), 3);
        assert_int_equal(async_stream_peername(in, buffer, 8), -ENOTSOCK);
        static char much[300000];
        assert_int_equal(async_stream_write_nowait(out, much, sizeof much), 0);
        assert_true(async_stream_unsent(out) > 0);
        assert_int_equal(async_stream_write_eof(out), 0);
        static char back[sizeof much];
        assert_int_equal(async_stream_readexactly(in, back, sizeof back), sizeof back);
        assert_int_equal(async_stream_read(in, back, 1), 0);
        assert_int_equal(async_stream_write(out, "x", 1), -EPIPE);
        assert_int_equal(async_stream_write_eof(in), -EOPNOTSUPP);
        assert_int_equal(async_stream_close(in), 0);
        assert_int_equal(async_stream_close(out), 0);
    }
    return 0;
}
TEST(other_kinds)

static int names(void *unused)
{
    (void)unused;
    int fds[2];
    char text[64], expected[64];
    make_tcp_pair(fds);
    async_stream *a = async_stream_from_fd(fds[0]), *b = async_stream_from_fd(fds[1]);
    assert_int_equal(async_stream_fd(a), fds[0]);
    assert_int_equal(async_stream_peername(a, text, sizeof text), 0);
    assert_int_equal(async_stream_sockname(b, expected, sizeof expected), 0);
    assert_string_equal(text, expected);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_int_equal(async_stream_peername(a, text, 6), 0);
    assert_string_equal(text, "127.0");
    assert_int_equal(async_stream_peername(a, text, 0), 0);
    async_stream_close(a);
    async_stream_close(b);

    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(8888)};
    inet_pton(AF_INET6, "::1", &ipv6.sin6_addr);
    async__address_text((struct sockaddr *)&ipv6, sizeof ipv6, text, sizeof text);
    assert_string_equal(text, "[::1]:8888");
    inet_pton(AF_INET6, "fe80::1", &ipv6.sin6_addr);
    ipv6.sin6_scope_id = 1;
    async__address_text((struct sockaddr *)&ipv6, sizeof ipv6, text, sizeof text);
    assert_string_equal(text, "[fe80::1%lo]:8888");
    make_pair(fds);
    a = async_stream_from_fd(fds[0]);
    assert_int_equal(async_stream_peername(a, text, sizeof text), 0);
    assert_string_equal(text, "");
    async_stream_close(a);
    async_close(fds[1]);
    return 0;
}
TEST(names)

/* An always-ready stream lets others run. */
static int tick(void *count)
{
    for (;;) {
        int code = async_sleep(0);
        if (code < 0) return code;
        ++*(int *)count;
    }
}

static int gives_way(void *unused)
{
    (void)unused;
    int fds[2], count = 0;
    make_pair(fds);
    static char data[100000], back[8];
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
    assert_int_equal(send(fds[1], data, sizeof data, 0), sizeof data);
    async_stream *stream = async_stream_from_fd(fds[0]);
    async_task *task = async_create_task(tick, &count);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(async_stream_read(stream, back, 8), 8);
    assert_true(count > 20);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    async_stream_close(stream);
    async_close(fds[1]);
    return 0;
}
TEST(gives_way)

static int sizes_of_things(void *unused)
{
    (void)unused;
    assert_true(sizeof(async_stream) <= 220);
    int fd;
    char buffer[8];
    async_stream *stream = stream_and_fd(&fd);
    async_task *task = async_spawn(line, .stream = stream, .buffer = buffer, .size = 8);
    settle();
    assert_null(stream->received.data); /* idle: no buffer */
    put_text(fd, "a\n");
    assert_int_equal(async_await(task), 2);
    assert_null(stream->received.data);
    async_close(fd);
    async_stream_close(stream);
    return 0;
}
TEST(sizes_of_things)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_some),
        cmocka_unit_test(test_two_gigabytes),
        cmocka_unit_test(test_no_stream),
        cmocka_unit_test(test_second_reader),
        cmocka_unit_test(test_cancelled_read),
        cmocka_unit_test(test_cancelled_exactly),
        cmocka_unit_test(test_cancelled_line),
        cmocka_unit_test(test_exact_sizes),
        cmocka_unit_test(test_long_and_incomplete),
        cmocka_unit_test(test_lines_and_limits),
        cmocka_unit_test(test_separators),
        cmocka_unit_test(test_several_separators),
        cmocka_unit_test(test_no_separators),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_iterate_lines),
        cmocka_unit_test(test_closed_under_reader),
        cmocka_unit_test(test_reset_by_peer),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_gives_way),
        cmocka_unit_test(test_sizes_of_things),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
