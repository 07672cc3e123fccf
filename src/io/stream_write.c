/* stream_write.c - writing to a stream.
 *
 * What the wire has no room for goes to the outbox (outbox.c). A writer that leaves more there than the
 * high-water mark waits until it has come down to the low one. A message whose rest is larger than the
 * mark is lent to the outbox, and not copied: its writer waits until that needs it no more. Meanwhile
 * it has the turn (`writing`), and other writers queue up, so that messages are not interleaved. */
#include "io.h"

#include <casyncio/streams.h>
#include <string.h>

static inline ssize_t put(async_stream *stream, const struct iovec *pieces, int count)
{
    return stream->wire->type->send(stream->wire, pieces, count);
}

static int broken(const async_stream *stream)
{
    char on[64];

    if (stream->torn)
        return async__failf(stream->write_error,
                            "an earlier write to the stream was cancelled half-way");
    if (stream->write_error < 0)
        return async__failf(stream->write_error, "write on %s: %s",
                            async__wire_label(stream->wire, on, sizeof on),
                            async__wire_strerror(stream->wire, stream->write_error));
    return async__failf(-EPIPE, "the stream's end has been sent already");
}

static int failed(async_stream *stream, ssize_t code)
{
    stream->write_error = (int)code;
    return broken(stream);
}

int async__write_check(async_stream *stream)
{
    return stream->write_error < 0 || stream->eof_wanted ? broken(stream) : 0;
}

void async__cancel_copies(async_stream *stream)
{
    if (stream->copy) async_scope_cancel(&stream->copy->scope);
    for (struct async__copying *copy = stream->copies; copy; copy = copy->next)
        async_scope_cancel(&copy->scope);
}

/* ---- the end ---- */

void async__stream_end_if_due(async_stream *stream)
{
    if (!stream->eof_wanted || stream->eof_sent || stream->writing || stream->closed) return;
    if (stream->unready || async__stream_queued(stream) > 0 || stream->write_error < 0) return;
    stream->eof_sent = true;
    int code = stream->wire->type->send_end(stream->wire);
    if (code < 0) stream->write_error = code;
}

int async_stream_write_eof(async_stream *stream)
{
    char on[64];
    bool can_end = false;

    if (!stream) return async__stream_null();
    if (stream->closed) return async__stream_closed();
    if (stream->eof_wanted) return 0;
    if (stream->write_error < 0) return broken(stream);
    if (async__wire_ask(stream->wire, ASYNC__WIRE_CAN_END, &can_end) < 0 || !can_end)
        return async__failf(-EOPNOTSUPP, "%s cannot send an end",
                            async__wire_label(stream->wire, on, sizeof on));
    stream->eof_wanted = true;
    async__stream_end_if_due(stream);
    return stream->write_error < 0 ? broken(stream) : 0;
}

/* ---- turns ---- */

void async__stream_give_turn(async_stream *stream)
{
    if (async__wake_first(&stream->writers)) return; /* that writer has the turn now */
    stream->writing = false;
    async__stream_end_if_due(stream);
}

/* A writer that gets the turn of a closed stream does not pass it on: the close has woken all. */
static int take_turn(async_stream *stream)
{
    if (stream->writing) {
        int code = async__wait_in(&stream->writers, "write", NULL);
        if (code < 0) return code;
        if (stream->closed) return async__stream_closed();
        stream->writing = true;
        if (stream->unready) code = async__stream_not_ready(stream); /* a filter is new on it */
        if (code == 0 && stream->write_error < 0) code = broken(stream);
        if (code < 0 && !stream->closed) async__stream_give_turn(stream);
        return code;
    }
    stream->writing = true;
    return 0;
}

/* ---- writing ---- */

struct direct {
    async__op op;
    async_stream *stream;
    struct async__pieces *pieces;
};

static ssize_t try_pieces(async__op *op)
{
    struct direct *self = async__container(op, struct direct, op);
    return async__pieces_send(self->stream, self->pieces);
}

/* Without memory for an outbox, which so is not there: this task waits for room itself. */
static int send_pieces(async_stream *stream, struct async__pieces *pieces)
{
    struct direct self = {.stream = stream, .pieces = pieces};
    ssize_t n = 0;

    while (pieces->size > 0 && n >= 0) {
        async__op_init(&self.op, stream->wire, ASYNC__WRITE, ASYNC__OP_CALL);
        self.op.attempt = try_pieces;
        self.op.wait_first = true;
        n = async__write_run(stream, &self.op, "write");
    }
    return n < 0 ? (int)n : 0;
}

/* The caller has the turn. Lends the pieces to the outbox, and waits until it needs them no more. */
static int lend(async_stream *stream, struct async__pieces *pieces)
{
    int code = async__outbox_lend(stream, pieces);
    if (code == -ENOMEM) return send_pieces(stream, pieces);
    if (code < 0) return async__failf(code, "write: cannot wait: %s", async_strerror(code));
    if (async__outbox_has_pieces(stream)) code = async__wait_in(&stream->settled, "write", NULL);
    if (stream->closed) return code < 0 ? code : async__stream_closed();
    if (async__outbox_has_pieces(stream)) async__outbox_take_back(stream);
    if (code < 0) return code;
    return stream->write_error < 0 ? broken(stream) : 0;
}

/* `size`: of the whole message. */
static int write_large(async_stream *stream, struct async__pieces *pieces, size_t size)
{
    stream->writing = true; /* the turn is free, or this task's */
    int code = lend(stream, pieces);
    if (code < 0 && pieces->size < size && stream->write_error == 0 && !stream->closed) {
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

/* Puts the rest of a message into the outbox: keeps it, or lends it if it is too large for that. */
static int write_rest(async_stream *stream, struct async__pieces *pieces, size_t size)
{
    bool turn = stream->writing;
    int code = 0;

    if (pieces->size > stream->high || async__outbox_keep(stream, pieces) < 0) {
        turn = true;
        code = write_large(stream, pieces, size);
    }
    /* The turn goes on before this task waits for the outbox to drain. */
    if (turn && !stream->closed) async__stream_give_turn(stream);
    if (code == 0 && async__stream_queued(stream) > stream->high) code = wait_drained(stream);
    return code;
}

/* The stream is quiet: no writer has the turn, and the outbox is empty. */
static inline bool is_quiet(const async_stream *stream)
{
    return !stream->writing && !stream->outbox;
}

/* What put() gave for a message of that size is not all of it. */
static int write_on(async_stream *stream, const struct iovec *at, int count, size_t size, ssize_t n)
{
    struct async__pieces pieces = {at, count, 0, size};

    if (n < 0 && n != -EAGAIN) return failed(stream, n);
    if (n > 0) async__pieces_advance(&pieces, (size_t)n);
    return write_rest(stream, &pieces, size);
}

/* Behind what is in the way. */
static int write_behind(async_stream *stream, const struct iovec *at, int count, size_t size)
{
    bool turn = stream->writing;
    ssize_t n = -EAGAIN;
    int code = turn ? take_turn(stream) : 0;

    if (code < 0) return code;
    if (!stream->outbox) n = put(stream, at, count);
    if (n == -EAGAIN || (n >= 0 && (size_t)n < size)) return write_on(stream, at, count, size, n);
    if (n < 0) code = failed(stream, n);
    if (turn) async__stream_give_turn(stream);
    return code;
}

static inline int write_all(async_stream *stream, const struct iovec *at, int count, size_t size)
{
    if (async__unlikely(stream->write_error < 0 || stream->eof_wanted)) return broken(stream);
    if (async__unlikely(size == 0)) return 0;
    if (async__unlikely(!is_quiet(stream))) return write_behind(stream, at, count, size);
    ssize_t n = put(stream, at, count);
    return async__likely(n == (ssize_t)size) ? 0 : write_on(stream, at, count, size, n);
}

/* ---- copying: what is written is no message (stream_copy.c, sendfile.c) ---- */

int async__write_begin(async_stream *stream)
{
    int code = stream->unready ? async__stream_not_ready(stream) : 0;
    if (code == 0) code = async__write_check(stream);
    return code < 0 ? code : take_turn(stream);
}

void async__write_end(async_stream *stream)
{
    if (!stream->closed) async__stream_give_turn(stream);
}

int async__write_bytes(async_stream *stream, const void *data, size_t size, size_t *left)
{
    struct iovec piece = {(void *)data, size};
    struct async__pieces pieces = {&piece, 1, 0, size};
    int code = 0;

    ssize_t n = stream->outbox ? -EAGAIN : put(stream, &piece, 1);
    if (n < 0 && n != -EAGAIN) return failed(stream, n);
    if (n > 0) async__pieces_advance(&pieces, (size_t)n);
    if (pieces.size > stream->high || (pieces.size > 0 && async__outbox_keep(stream, &pieces) < 0))
        code = lend(stream, &pieces);
    else
        pieces.size = 0;
    *left = pieces.size;
    if (code == 0 && async__stream_queued(stream) > stream->high) code = wait_drained(stream);
    return code;
}

int async__write_settled(async_stream *stream)
{
    while (stream->outbox) {
        int code = async__wait_in(&stream->settled, "write", NULL);
        if (code < 0) return code;
        if (stream->closed) return async__stream_closed();
        if (stream->write_error < 0) return broken(stream);
    }
    return 0;
}

/* Errors of the socket; others are of what is read. */
static bool is_of_socket(ssize_t code)
{
    return code == -EPIPE || code == -ECONNRESET || code == -ETIMEDOUT || code == -EHOSTUNREACH ||
           code == -ENETUNREACH;
}

ssize_t async__write_run(async_stream *stream, async__op *op, const char *what)
{
    stream->sender = op;
    ssize_t n = async__op_run(op, what);
    stream->sender = NULL;
    if (n >= 0) return n;
    if (stream->closed) return op->result == -ECANCELED ? n : async__stream_closed();
    return is_of_socket(op->result) ? failed(stream, op->result) : n;
}

size_t async__write_at_once(async_stream *stream, const void *data, size_t size)
{
    struct iovec piece = {(void *)data, size};

    if (stream->closed || stream->write_error < 0 || stream->eof_wanted || !is_quiet(stream))
        return 0;
    ssize_t n = put(stream, &piece, 1);
    if (n < 0 && n != -EAGAIN) stream->write_error = (int)n;
    return n > 0 ? (size_t)n : 0;
}

/* ---- the calls ---- */

int async_stream_write(async_stream *stream, const void *data, size_t size)
{
    struct iovec piece = {(void *)data, size};
    int code = async__stream_enter(stream);
    if (async__unlikely(code == 0 && !async__buffer_ok(data, size)))
        code = async__bad_buffer("async_stream_write", data, size);
    if (async__likely(code == 0)) code = write_all(stream, &piece, 1, size);
    return (int)async__stream_leave(stream, code);
}

/* The size of the pieces together, or -EINVAL. */
static ssize_t size_of(const struct iovec *pieces, int count)
{
    size_t size = 0;

    if (count < 0 || (count > 0 && !pieces))
        return async__failf(-EINVAL, "writev: %d pieces at %p", count, (const void *)pieces);
    for (int i = 0; i < count; i++)
        if (__builtin_add_overflow(size, pieces[i].iov_len, &size) || size > SSIZE_MAX)
            return async__failf(-EINVAL, "writev: the pieces are larger than the address space");
    return (ssize_t)size;
}

int async_stream_writev(async_stream *stream, const struct iovec *pieces, int count)
{
    int code = async__stream_enter(stream);
    ssize_t size = code == 0 ? size_of(pieces, count) : code;
    if (size >= 0) code = write_all(stream, pieces, count, (size_t)size);
    return (int)async__stream_leave(stream, size < 0 ? size : code);
}

/* Cannot wait: if the wire has taken a part and there is no memory for the rest, the stream is
 * broken. */
static int write_now(async_stream *stream, const void *data, size_t size)
{
    struct iovec piece = {(void *)data, size};
    struct async__pieces rest = {&piece, 1, 0, size};

    if (async__stream_queued(stream) == 0) {
        ssize_t n = put(stream, &piece, 1);
        if (n < 0 && n != -EAGAIN) return failed(stream, n);
        async__pieces_advance(&rest, n > 0 ? (size_t)n : 0);
    }
    if (rest.size == 0) return 0;
    int code = async__outbox_keep(stream, &rest);
    if (code < 0 && rest.size < size) return failed(stream, code);
    return code < 0 ? async__failf(code, "no memory to keep %zu bytes to be sent", size) : 0;
}

/* Unless more than `most` is kept already. */
static int write_nowait(async_stream *stream, const void *data, size_t size, size_t most)
{
    if (!stream) return async__stream_null_in("async_stream_write_nowait");
    if (stream->closed) return async__stream_closed();
    if (stream->write_error < 0 || stream->eof_wanted) return broken(stream);
    if (size == 0) return 0;
    if (async__unlikely(!async__buffer_ok(data, size)))
        return async__bad_buffer("async_stream_write_nowait", data, size);
    if (stream->writing || stream->unready || async__stream_queued(stream) > most)
        return async__fail_text(-EAGAIN, "async_stream_write_nowait: there is no room");
    return write_now(stream, data, size);
}

int async_stream_write_nowait(async_stream *stream, const void *data, size_t size)
{
    return write_nowait(stream, data, size, stream ? stream->high : 0);
}

int async__write_all_now(async_stream *stream, const void *data, size_t size)
{
    return write_nowait(stream, data, size, SIZE_MAX);
}

int async_stream_printf(async_stream *stream, const char *format, ...)
{
    struct async__text text;
    va_list arguments;

    if (!stream) return async__stream_null();
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
    if (code == 0 && async__stream_queued(stream) > async__stream_low_water(stream))
        code = wait_drained(stream);
    return (int)async__stream_leave(stream, code);
}

void async_stream_set_high_water(async_stream *stream, size_t high)
{
    if (!stream) return;
    stream->high = high;
    if (async__stream_queued(stream) <= async__stream_low_water(stream))
        async__wake_all(&stream->drained);
}

size_t async_stream_unsent(const async_stream *stream)
{
    return stream ? async__stream_queued(stream) : 0;
}
