/* stream_write.c - writing to a stream.
 *
 * What the kernel has no room for is kept in a send queue (`unsent`), which has memory only while
 * there is something in it, and which a watch in the loop sends as room comes: no task is needed
 * for it. A writer that leaves more there than the high-water mark waits until it has come down to
 * the low one.
 *
 * A message whose rest is larger than the mark is not copied: its writer waits until the queue is
 * empty, and then sends it from the caller's own buffer. Meanwhile it has the turn (`writing`), and
 * other writers queue up, so that messages are not interleaved. */
#include "io.h"

#include <casyncio/streams.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

static size_t low_water(const async_stream *stream) { return stream->high / 4; }

/* ---- to the kernel ---- */

static ssize_t put_into_file(const async_stream *stream, const void *data, size_t size)
{
    struct pollfd room = {.fd = stream->fd, .events = POLLOUT};
    ssize_t n;

    /* 0, or EINTR if a signal is pending, which poll reports even with no time to wait. */
    if (stream->blocking && ASYNC__CALL(poll(&room, 1, 0)) <= 0) return -EAGAIN;
    do
        n = async__try_write(stream->fd, data, size, stream->blocking);
    while (n == -EINTR);
    return n;
}

static ssize_t put(async_stream *stream, const void *data, size_t size)
{
    ssize_t n;

    if (async__unlikely(!stream->socket)) return put_into_file(stream, data, size);
    do
        n = ASYNC__CALL(send(stream->fd, data, ASYNC__SIZE(size), MSG_DONTWAIT | MSG_NOSIGNAL));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int broken(async_stream *stream)
{
    if (stream->torn)
        return async__failf(stream->write_error,
                            "an earlier write to the stream was cancelled half-way");
    if (stream->write_error < 0)
        return async__failf(stream->write_error, "write on descriptor %d: %s", stream->fd,
                            async_strerror(stream->write_error));
    return async__failf(-EPIPE, "the stream's end has been sent already");
}

static int may_write(async_stream *stream)
{
    return async__unlikely(stream->write_error < 0 || stream->eof_wanted) ? broken(stream) : 0;
}

static int failed(async_stream *stream, ssize_t code)
{
    stream->write_error = (int)code;
    return broken(stream);
}

/* ---- the end ---- */

/* A pipe's end is sent by closing it: the stream has no descriptor from then on. */
static int send_end(async_stream *stream)
{
    if (stream->socket) return ASYNC__CALL(shutdown(stream->fd, SHUT_WR)) < 0 ? -errno : 0;
    int code = async_close(stream->fd);
    stream->fd = -1;
    return code;
}

static void send_end_if_due(async_stream *stream)
{
    if (!stream->eof_wanted || stream->eof_sent || stream->writing || stream->closed) return;
    if (async__stream_kept(stream) > 0 || stream->write_error < 0) return;
    stream->eof_sent = true;
    int code = send_end(stream);
    if (code < 0) stream->write_error = code;
}

static bool can_end(const async_stream *stream)
{
    struct stat status;
    if (stream->socket) return true;
    return ASYNC__CALL(fstat(stream->fd, &status)) == 0 && S_ISFIFO(status.st_mode) &&
           (fcntl(stream->fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

int async_stream_write_eof(async_stream *stream)
{
    if (!stream) return async__stream_null();
    if (stream->closed) return async__stream_closed();
    if (stream->eof_wanted) return 0;
    if (stream->write_error < 0) return broken(stream);
    if (!can_end(stream))
        return async__failf(-EOPNOTSUPP, "descriptor %d cannot send an end", stream->fd);
    stream->eof_wanted = true;
    send_end_if_due(stream);
    return stream->write_error < 0 ? broken(stream) : 0;
}

/* ---- the send queue ---- */

static void free_outgoing(async_stream *stream)
{
    async_loop *loop = async__loop();
    if (loop) async_remove_watch(loop, &stream->flush);
    async__buffer_free(&stream->unsent);
}

void async__stream_drop_kept(async_stream *stream)
{
    free_outgoing(stream);
    async__wake_all(&stream->drained);
    async__wake_all(&stream->emptied);
}

/* The descriptor has room; or, with an error, the loop has been told to forget it. */
static void on_room(async_callback *callback)
{
    async_stream *stream = async__container(callback, async_stream, flush.callback);
    ssize_t n = stream->flush.error;

    if (n == 0) n = put(stream, async__buffer_bytes(&stream->unsent), async__stream_kept(stream));
    if (n == -EAGAIN) return;
    if (n < 0) {
        stream->write_error = (int)n;
        async__stream_drop_kept(stream);
        return;
    }
    async__buffer_consume(&stream->unsent, (size_t)n);
    if (async__stream_kept(stream) == 0) {
        async__stream_drop_kept(stream);
        send_end_if_due(stream);
    } else if (async__stream_kept(stream) <= low_water(stream)) {
        async__wake_all(&stream->drained);
    }
}

int async__stream_watch_room(async_stream *stream)
{
    async_loop *loop = async__loop();
    if (!loop) return async__no_task(); /* nothing could send it later */
    stream->flush.callback.run = on_room;
    return async_add_writer(loop, stream->fd, &stream->flush);
}

/* Appends to the send queue: 0, or a code and nothing has changed. */
static int enqueue(async_stream *stream, const char *data, size_t size)
{
    bool first = async__stream_kept(stream) == 0;
    int code = async__buffer_reserve(&stream->unsent, size);
    if (code < 0) return code;
    /* All that may fail comes before the copy. */
    if (first && (code = async__stream_watch_room(stream)) < 0) {
        free_outgoing(stream);
        return code;
    }
    return async__buffer_append(&stream->unsent, data, size);
}

/* ---- turns ---- */

static void give_turn(async_stream *stream)
{
    if (async__wake_first(&stream->writers)) return; /* that writer has the turn now */
    stream->writing = false;
    send_end_if_due(stream);
}

/* A writer that gets the turn of a closed stream does not pass it on: the close has woken all. */
static int take_turn(async_stream *stream)
{
    if (stream->writing) {
        int code = async__wait_in(&stream->writers, "write", NULL);
        if (code < 0) return code;
        if (stream->closed) return async__stream_closed();
        if (stream->write_error < 0) {
            give_turn(stream);
            return broken(stream);
        }
    }
    stream->writing = true;
    return 0;
}

/* ---- writing ---- */

static ssize_t try_send(async__op *op) { return put(op->address, op->buffer, op->length); }

static ssize_t send_waiting(async_stream *stream, const char *data, size_t size)
{
    async__op op = {
        .watch = {.fd = stream->fd, .direction = ASYNC__WRITE},
        .attempt = try_send,
        .buffer = (void *)data,
        .length = size,
        .address = stream,
        .wait_first = true,
    };
    ssize_t n = async__op_run(&op, "write");
    /* An error that the operation itself ended with is the stream's, for all later writes; a
     * cancellation or a lack of memory is this call's alone. */
    if (n < 0 && op.result == n && n != -ECANCELED && n != -ENOMEM && !stream->closed)
        stream->write_error = (int)n;
    return n;
}

static int wait_until_empty(async_stream *stream)
{
    while (async__stream_kept(stream) > 0) {
        int code = async__wait_in(&stream->emptied, "write", NULL);
        if (code < 0) return code;
        if (stream->closed) return async__stream_closed();
    }
    return stream->write_error < 0 ? broken(stream) : 0;
}

/* The caller has the turn. Sends from the caller's buffer until no more is left than may be kept;
 * *sent counts what has gone out. */
static int send_large(async_stream *stream, const char *data, size_t size, size_t *sent)
{
    int code = wait_until_empty(stream);
    while (code == 0 && *sent < size) {
        size_t rest = size - *sent;
        if (rest <= stream->high && enqueue(stream, data + *sent, rest) == 0) break;
        code = async__stream_again(stream);
        if (code < 0) return code;
        ssize_t n = send_waiting(stream, data + *sent, rest);
        if (n < 0) return stream->closed ? async__stream_closed() : (int)n;
        *sent += (size_t)n;
    }
    return code;
}

static int write_large(async_stream *stream, const char *data, size_t size, size_t sent)
{
    stream->writing = true; /* the turn is free, or this task's */
    int code = send_large(stream, data, size, &sent);
    if (code < 0 && sent > 0 && stream->write_error == 0 && !stream->closed) {
        stream->torn = true;
        stream->write_error = -EPIPE;
    }
    return code;
}

static int wait_drained(async_stream *stream)
{
    int code = async__wait_in(&stream->drained, "drain", NULL);
    if (code < 0) return code;
    if (stream->closed) return async__stream_closed();
    return stream->write_error < 0 ? broken(stream) : 0;
}

/* Puts the rest of a message into the send queue, or sends it if it is too large for that. */
static int write_rest(async_stream *stream, const char *data, size_t size, size_t sent)
{
    bool turn = stream->writing;
    int code = 0;

    if (size - sent > stream->high || enqueue(stream, data + sent, size - sent) < 0) {
        turn = true;
        code = write_large(stream, data, size, sent);
    }
    /* The turn goes on before this task waits for the queue to drain. */
    if (turn && !stream->closed) give_turn(stream);
    if (code == 0 && async__stream_kept(stream) > stream->high) code = wait_drained(stream);
    return code;
}

static int write_all(async_stream *stream, const char *data, size_t size)
{
    int code = may_write(stream);
    if (async__unlikely(code < 0) || size == 0) return code;
    bool turn = false;
    if (async__unlikely(stream->writing)) {
        code = take_turn(stream);
        if (code < 0) return code;
        turn = true;
    }
    size_t sent = 0;
    if (async__likely(!stream->unsent.data)) {
        ssize_t n = put(stream, data, size);
        if (async__unlikely(n < 0 && n != -EAGAIN)) {
            code = failed(stream, n);
            if (turn) give_turn(stream);
            return code;
        }
        sent = n > 0 ? (size_t)n : 0;
    }
    if (async__unlikely(sent < size)) return write_rest(stream, data, size, sent);
    if (turn) give_turn(stream);
    return 0;
}

int async_stream_write(async_stream *stream, const void *data, size_t size)
{
    int code = async__stream_enter(stream);
    if (async__likely(code == 0)) code = write_all(stream, data, size);
    return (int)async__stream_leave(stream, code);
}

/* Cannot wait: if the kernel has taken a part and there is no memory for the rest, the stream is
 * broken. */
static int write_now(async_stream *stream, const char *data, size_t size)
{
    size_t sent = 0;
    if (async__stream_kept(stream) == 0) {
        ssize_t n = put(stream, data, size);
        if (n < 0 && n != -EAGAIN) return failed(stream, n);
        sent = n > 0 ? (size_t)n : 0;
    }
    if (sent == size) return 0;
    int code = enqueue(stream, data + sent, size - sent);
    if (code < 0 && sent > 0) return failed(stream, code);
    return code < 0 ? async__failf(code, "no memory to keep %zu bytes to be sent", size) : 0;
}

int async_stream_write_nowait(async_stream *stream, const void *data, size_t size)
{
    if (!stream) return async__stream_null();
    if (stream->closed) return async__stream_closed();
    int code = may_write(stream);
    if (code < 0 || size == 0) return code;
    if (stream->writing || async__stream_kept(stream) > stream->high) return async__fail(-EAGAIN);
    return write_now(stream, data, size);
}

int async_stream_printf(async_stream *stream, const char *format, ...)
{
    struct async__text text;
    va_list arguments;

    va_start(arguments, format);
    int code = async__format(&text, format, arguments);
    va_end(arguments);
    if (code < 0) return code;
    code = async_stream_write(stream, text.data, text.size);
    async__format_free(&text);
    return code;
}

int async_stream_drain(async_stream *stream)
{
    int code = async__stream_enter(stream);
    if (code == 0 && stream->write_error < 0) code = broken(stream);
    if (code == 0 && async__stream_kept(stream) > low_water(stream)) code = wait_drained(stream);
    return (int)async__stream_leave(stream, code);
}

void async_stream_set_high_water(async_stream *stream, size_t high)
{
    if (!stream) return;
    stream->high = high;
    if (async__stream_kept(stream) <= low_water(stream)) async__wake_all(&stream->drained);
}

size_t async_stream_unsent(const async_stream *stream)
{
    return stream ? async__stream_kept(stream) : 0;
}
