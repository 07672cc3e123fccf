/* outbox.c - what a stream has been given to send, and its wire has no room for.
 *
 * It has two parts. First what is kept, a copy. Then the pieces of at most one message, in its writer's
 * own memory: a message whose rest is larger than the high-water mark is not copied, and its writer
 * waits until no more of it is left than may be kept. Both parts go out in one call, if there is
 * room.
 *
 * They are sent by an operation in the loop, the flush, as room comes; no task is needed for it. A
 * stream has an outbox while its flush is under way, and so long the flush has a reference to the
 * stream: on a back end of completions it may end some time after it was cancelled, and after the
 * stream was closed. */
#include "io.h"

enum { GATHERED = 32 }; /* pieces that one call sends */

struct async__outbox {
    async__op flush;
    async_stream *stream;
    struct async__buffer kept;
    struct async__pieces *pieces; /* in their writer's frame; or NULL */
    async_callback *told;         /* see async__outbox_tell; or NULL */
    unsigned forks;               /* async__forks when the flush began */
};

/* ---- pieces ---- */

void async__pieces_advance(struct async__pieces *pieces, size_t size)
{
    pieces->size -= size;
    pieces->skip += size;
    while (pieces->count > 0 && pieces->skip >= pieces->at->iov_len) {
        pieces->skip -= pieces->at->iov_len;
        pieces->at++;
        pieces->count--;
    }
}

/* Describes what is left of the pieces, as far as there is room in `iov`: how many it takes. */
static int list(const struct async__pieces *pieces, struct iovec *iov, int room)
{
    size_t skip = pieces->skip;
    int count = 0;

    for (int i = 0; i < pieces->count && count < room; i++) {
        const struct iovec *piece = &pieces->at[i];
        if (piece->iov_len > skip)
            iov[count++] = (struct iovec){(char *)piece->iov_base + skip, piece->iov_len - skip};
        skip = 0;
    }
    return count;
}

ssize_t async__pieces_send(async_stream *stream, struct async__pieces *pieces)
{
    struct iovec iov[GATHERED];
    int count = list(pieces, iov, GATHERED);
    ssize_t n = stream->wire->type->send(stream->wire, iov, count);

    if (n > 0) async__pieces_advance(pieces, (size_t)n);
    return n;
}

/* ---- what is in it ---- */

size_t async__outbox_size(const struct async__outbox *self)
{
    return async__buffer_size(&self->kept);
}

static bool is_empty(const struct async__outbox *self)
{
    return async__outbox_size(self) == 0 && !self->pieces;
}

/* Copies the pieces behind what is kept: 0, or -ENOMEM and nothing has changed. */
static int keep(struct async__outbox *self, const struct async__pieces *pieces)
{
    size_t skip = pieces->skip;

    if (async__buffer_reserve(&self->kept, pieces->size) < 0) return -ENOMEM;
    for (int i = 0; i < pieces->count; i++) {
        const struct iovec *piece = &pieces->at[i];
        if (piece->iov_len > skip)
            (void)async__buffer_append(&self->kept, (const char *)piece->iov_base + skip,
                                       piece->iov_len - skip);
        skip = 0;
    }
    return 0;
}

/* Once no more of the pieces is left than may be kept, their writer can go on. */
static void settle_pieces(struct async__outbox *self)
{
    async_stream *stream = self->stream;
    struct async__pieces *pieces = self->pieces;

    if (!pieces || async__outbox_size(self) > 0 || pieces->size > stream->high) return;
    if (pieces->size > 0 && keep(self, pieces) < 0) return; /* then they are sent from there */
    pieces->size = 0;
    self->pieces = NULL;
    async__wake_all(&stream->settled);
}

static void tell(struct async__outbox *self)
{
    async_callback *told = self->told;
    async_loop *loop = async__loop();

    self->told = NULL;
    if (told && loop) async_call_soon(loop, told);
}

/* ---- the flush ---- */

static ssize_t send_all(struct async__outbox *self)
{
    struct iovec iov[GATHERED];
    int count = 0;

    if (async__outbox_size(self) > 0)
        iov[count++] = (struct iovec){async__buffer_bytes(&self->kept), async__outbox_size(self)};
    if (self->pieces) count += list(self->pieces, iov + count, GATHERED - count);
    return self->stream->wire->type->send(self->stream->wire, iov, count);
}

static void sent(struct async__outbox *self, size_t size)
{
    size_t kept = async__outbox_size(self);

    async__buffer_consume(&self->kept, size < kept ? size : kept);
    if (size > kept) async__pieces_advance(self->pieces, size - kept);
}

/* Sends once, since a blocking descriptor's readiness is good for one write. What has been sent is
 * taken off here and not when the operation ends: other tasks may run in between. */
static ssize_t try_flush(async__op *op)
{
    struct async__outbox *self = async__container(op, struct async__outbox, flush);

    if (is_empty(self)) return 0;
    ssize_t n = send_all(self);
    if (n < 0) return n;
    sent(self, (size_t)n);
    settle_pieces(self);
    if (!self->pieces && async__outbox_size(self) <= async__stream_low_water(self->stream)) {
        async__wake_all(&self->stream->drained);
        tell(self);
    }
    return 0;
}

static void on_flushed(async__op *op);

/* 0: it is under way; 1: all has been sent; or a code. */
static int submit(struct async__outbox *self, async_loop *loop)
{
    async__wire *wire = self->stream->wire;
    async__op *op = &self->flush;

    do {
        async__op_init(op, wire, ASYNC__WRITE, ASYNC__OP_CALL);
        op->attempt = try_flush;
        op->done = on_flushed;
        op->wait_first = true;
        if (wire->type->submit(wire, loop, op) == 0) return 0;
        if (op->result < 0) return (int)op->result;
    } while (!is_empty(self));
    return 1;
}

/* The tasks that wait find an outbox that is empty, or gone. */
static void wake(async_stream *stream)
{
    async__wake_all(&stream->drained);
    async__wake_all(&stream->settled);
}

static void free_outbox(struct async__outbox *self)
{
    tell(self);
    self->stream->outbox = NULL;
    async__buffer_free(&self->kept);
    async__free(self);
}

static void on_flushed(async__op *op)
{
    struct async__outbox *self = async__container(op, struct async__outbox, flush);
    async_stream *stream = self->stream;
    async_loop *loop = async__loop();
    int code = op->result == -ECANCELED ? 0 : (int)op->result;

    /* More may have come meanwhile, also after it was cancelled. */
    if (code == 0 && !is_empty(self)) {
        code = loop ? submit(self, loop) : -ECANCELED;
        if (code == 0) return;
    }
    free_outbox(self);
    if (code < 0) stream->write_error = code;
    wake(stream);
    if (code < 0)
        async__cancel_copies(stream);
    else
        async__stream_end_if_due(stream);
    async__stream_unref(stream);
}

/* It has become empty otherwise than by being sent: there is nothing to wait for. In a forked child the
 * operation is the parent's, and here it ends without its loop. */
static void stop(struct async__outbox *self)
{
    async_loop *loop = async__loop();
    async__op *op = &self->flush;

    if (loop && self->forks == async__forks) {
        op->wire->type->cancel(op->wire, loop, op, -ECANCELED);
        return;
    }
    async_callback_cancel(&op->watch.callback);
    op->under_way = false;
    op->result = -ECANCELED;
    op->done(op);
}

/* ---- the calls ---- */

/* The stream's outbox, which may be new, and then has no flush yet; NULL: no memory. */
static struct async__outbox *open_outbox(async_stream *stream)
{
    if (stream->outbox) return stream->outbox;
    struct async__outbox *self = async__alloc(sizeof *self);
    if (!self) return NULL;
    self->flush.under_way = false;
    self->stream = stream;
    self->kept = (struct async__buffer){0};
    self->pieces = NULL;
    self->told = NULL;
    self->forks = async__forks;
    return stream->outbox = self;
}

/* Something is in it: 0, or a code, and it is as before. */
static int start(struct async__outbox *self)
{
    async_stream *stream = self->stream;
    async_loop *loop = async__loop();

    if (self->flush.under_way) return 0;
    /* Without a loop nothing could send it later. */
    int code = loop ? submit(self, loop) : async__no_task_in("async_stream_write");
    if (code == 0) {
        stream->references++;
        return 0;
    }
    free_outbox(self);
    if (code > 0) wake(stream);
    return code > 0 ? 0 : code;
}

int async__outbox_keep(async_stream *stream, const struct async__pieces *pieces)
{
    struct async__outbox *self = open_outbox(stream);

    if (!self) return -ENOMEM;
    int code = keep(self, pieces);
    if (code == 0) return start(self);
    if (!self->flush.under_way) free_outbox(self);
    return code;
}

int async__outbox_lend(async_stream *stream, struct async__pieces *pieces)
{
    struct async__outbox *self = open_outbox(stream);

    if (!self) return -ENOMEM;
    self->pieces = pieces;
    return start(self);
}

void async__outbox_tell(async_stream *stream, async_callback *callback)
{
    if (stream->outbox) stream->outbox->told = callback;
}

bool async__outbox_has_pieces(const async_stream *stream)
{
    return stream->outbox && stream->outbox->pieces;
}

void async__outbox_take_back(async_stream *stream)
{
    struct async__outbox *self = stream->outbox;

    if (!self) return;
    self->pieces = NULL;
    if (is_empty(self)) stop(self);
}

void async__outbox_drop(async_stream *stream)
{
    struct async__outbox *self = stream->outbox;

    if (!self) return;
    self->pieces = NULL;
    async__buffer_free(&self->kept);
    wake(stream);
    stop(self);
}

bool async__outbox_is_of_parent(const async_stream *stream)
{
    return stream->outbox && stream->outbox->forks != async__forks;
}
