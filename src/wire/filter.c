/* filter.c - wires that change the bytes and pass them to the wire below: casyncio/filters.h.
 *
 * A filter has two directions to wait for and a wire below with two directions of its own, and one
 * does not always follow from the other: a handshake is sent, and waits to receive. So:
 *
 * - What a filter sends is always taken: what the wire below has no room for is kept here, sent by a
 *   watch of the filter's own, and meanwhile nothing more is taken from above. A filter never stands
 *   in the middle of a piece, and receiving never waits for sending.
 * - A watch for ASYNC__READ is handed to the wire below as it is. One for ASYNC__WRITE waits here
 *   until what is kept has gone out, unless the filter is `starved`: then it is handed to the wire
 *   below, too, but for ASYNC__READ. That is so at the start and at the end, when there is no
 *   reader.
 *
 * The type's functions run on the loop's own stack. They never wait, and what they need of a stack (some
 * KiB for OpenSSL's records, more for a handshake) is then one piece of memory for all connections, which
 * stays in the cache: on the stacks of the tasks it was two more pages for each of them. */
#include "wire.h"

#include "../base/buffer.h"

#include <string.h>

enum {
    MOST = 1 << 20,   /* bytes of answers that are kept for a peer that sends and does not read */
    DISCARDED = 4096, /* bytes that are read at once of what comes after the end was sent */
    READS = 64,       /* of that size, before others get a turn */
    GATHERED = 16,    /* pieces whose sizes are looked at */
};

struct async_filter {
    async__wire wire; /* wire.below carries what goes through */
    const async_filter_type *type;
    void *self;
    double start_limit, finish_limit; /* s */
    unsigned forks;                   /* async__forks when it was made */
    int error;                        /* of sending; it lasts */
    bool started, closed;
    bool held;     /* what is sent is gathered */
    bool starved;  /* the last call waits for something from below */
    bool received; /* the last call has had something from below */
    bool ended, end_below;
    bool below_finishes; /* all is done here, and the wire below has an end of its own */
    struct async__wire_watches watches; /* for ASYNC__WRITE: until `out` is empty */
    async_watch *passed[2];             /* handed to the wire below; by direction above */
    unsigned char passed_to[2];         /* the direction below */
    async_watch flush;                  /* sends `out` */
    struct async__buffer head;          /* what the stream had received before */
    struct async__buffer out;
};

static struct async_filter *self_of(const async__wire *wire)
{
    return async__container((async__wire *)wire, struct async_filter, wire);
}

/* ---- calls of the type's functions ---- */

struct call {
    struct async_filter *self;
    union {
        const struct iovec *pieces;
        void *buffer;
    };
    union {
        int count;
        size_t size;
    };
    ssize_t result;
};

static void call_recv(void *argument)
{
    struct call *call = argument;
    call->result = call->self->type->recv(call->self->self, call->buffer, call->size);
}

static void call_send(void *argument)
{
    struct call *call = argument;
    call->result = call->self->type->send(call->self->self, call->pieces, call->count);
}

static void call_send_end(void *argument)
{
    struct call *call = argument;
    call->result = call->self->type->send_end(call->self->self);
}

static void call_start(void *argument)
{
    struct call *call = argument;
    call->result = call->self->type->start(call->self->self);
}

static ssize_t call_type(void (*function)(void *), struct call call)
{
    const async_loop *loop = async__loop();

    if (loop && loop->aside)
        loop->aside(function, &call);
    else
        function(&call);
    return call.result;
}

/* ---- sending ---- */

static bool is_clear(const struct async_filter *self)
{
    return async__buffer_size(&self->out) == 0;
}

/* Nothing is kept any more, or ever will be. */
static void cleared(struct async_filter *self)
{
    async__wire *below = self->wire.below;

    if (self->flush.armed || self->flush.callback.next)
        below->type->unwatch(below, async__loop(), &self->flush);
    async__buffer_free(&self->out);
    async__wire_notify(&self->watches, ASYNC__WRITE);
}

static void fail(struct async_filter *self, int code)
{
    self->error = code;
    cleared(self);
}

static int send_below(struct async_filter *self, const void *data, size_t size)
{
    struct iovec piece = {(void *)data, size};
    ssize_t n = self->wire.below->type->send(self->wire.below, &piece, 1);
    return n == -EAGAIN ? 0 : (int)n;
}

/* Sends what is kept, as far as there is room. */
static void send_out(struct async_filter *self)
{
    int n;

    while (!is_clear(self)) {
        n = send_below(self, async__buffer_bytes(&self->out), async__buffer_size(&self->out));
        if (n < 0) {
            fail(self, n);
            return;
        }
        if (n == 0) return;
        async__buffer_consume(&self->out, (size_t)n);
    }
    cleared(self);
}

static void watch_room(struct async_filter *self);

static void on_room(async_callback *callback)
{
    struct async_filter *self = async__container(callback, struct async_filter, flush.callback);

    if (self->flush.error) {
        fail(self, self->flush.error);
        return;
    }
    send_out(self);
    if (!is_clear(self)) watch_room(self);
}

static void watch_room(struct async_filter *self)
{
    async_loop *loop = async__loop();
    async__wire *below = self->wire.below;

    self->flush.callback.run = on_room;
    int code = loop ? below->type->watch(below, loop, ASYNC__WRITE, &self->flush) : -EPERM;
    if (code < 0) fail(self, code);
}

/* After a call of the filter: what that has left behind is sent as room comes. */
static void settle(struct async_filter *self)
{
    bool held = self->held;

    self->held = false;
    if (async__likely(is_clear(self)) || self->flush.armed) return;
    if (held) send_out(self);
    if (!is_clear(self)) watch_room(self);
}

int async_filter_send(async_filter *self, const void *data, size_t size)
{
    if (self->error) return self->error;
    if (!self->held && is_clear(self)) {
        int n = send_below(self, data, size);
        if (n < 0) return self->error = n;
        data = (const char *)data + n;
        size -= (size_t)n;
        if (size == 0) {
            if (self->out.data) async__buffer_free(&self->out);
            return 0;
        }
    }
    int code = async__buffer_size(&self->out) + size > MOST
                   ? -ENOBUFS
                   : async__buffer_append(&self->out, data, size);
    if (code < 0) fail(self, code); /* the other side lacks a piece */
    return code;
}

void async_filter_hold(async_filter *self) { self->held = true; }

/* Whether the pieces have more than `size` bytes. */
static bool is_more(const struct iovec *pieces, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > size || i == GATHERED) return true;
        size -= pieces[i].iov_len;
    }
    return false;
}

static ssize_t filter_send(async__wire *wire, const struct iovec *pieces, int count)
{
    struct async_filter *self = self_of(wire);

    if (async__unlikely(self->forks != async__forks)) return -ECHILD;
    if (async__unlikely(!is_clear(self))) {
        send_out(self);
        if (!is_clear(self)) return -EAGAIN;
    }
    if (self->error) return self->error;
    self->starved = false;
    ssize_t n = call_type(call_send, (struct call){.self = self, .pieces = pieces, .count = count});
    settle(self);
    if (self->error) return self->error;
    if (n == -EAGAIN) self->starved = true;
    if (self->watches.watch[ASYNC__WRITE] && n > 0 && is_clear(self) &&
        is_more(pieces, count, (size_t)n))
        async__wire_notify(&self->watches, ASYNC__WRITE);
    return n;
}

static int filter_send_end(async__wire *wire)
{
    struct async_filter *self = self_of(wire);

    if (self->ended || self->forks != async__forks) return 0;
    self->ended = true;
    int code = (int)call_type(call_send_end, (struct call){.self = self});
    settle(self);
    return self->error ? self->error : code;
}

/* ---- receiving ---- */

ssize_t async_filter_recv(async_filter *self, void *buffer, size_t size)
{
    async__wire *below = self->wire.below;
    size_t there = async__buffer_size(&self->head);
    ssize_t n;

    if (async__unlikely(there > 0)) {
        if (size > there) size = there;
        memcpy(buffer, async__buffer_bytes(&self->head), size);
        async__buffer_consume(&self->head, size);
        if (size == there) async__buffer_free(&self->head);
        return (ssize_t)size;
    }
    do
        n = below->type->recv(below, buffer, size);
    while (n == -EINTR);
    if (n > 0) self->received = true;
    return n;
}

static ssize_t filter_recv(async__wire *wire, void *buffer, size_t size)
{
    struct async_filter *self = self_of(wire);

    if (async__unlikely(self->forks != async__forks)) return -ECHILD;
    self->received = false;
    ssize_t n = call_type(call_recv, (struct call){.self = self, .buffer = buffer, .size = size});
    settle(self);
    return n;
}

static bool filter_pending(const async__wire *wire)
{
    struct async_filter *self = self_of(wire);
    return async__buffer_size(&self->head) > 0 || self->type->pending(self->self);
}

/* ---- the start and the end ---- */

static int filter_start(async__wire *wire)
{
    struct async_filter *self = self_of(wire);

    self->received = false;
    int code = (int)call_type(call_start, (struct call){.self = self});
    settle(self);
    if (code == -EAGAIN && self->error) code = self->error;
    self->starved = code == -EAGAIN;
    self->started = code == 0;
    return code;
}

/* Reads until the other side's end, and throws it away: 0; -EAGAIN. After an error, too, there is
 * nothing to be waited for. */
static int discard(struct async_filter *self)
{
    char data[DISCARDED];
    ssize_t n = 1;

    for (int i = 0; i < READS && n > 0; i++)
        n = filter_recv(&self->wire, data, sizeof data);
    if (n > 0 || n == -EAGAIN) {
        self->starved = true;
        if (n > 0) self->received = false; /* there may be more below: look at it again */
        return -EAGAIN;
    }
    return 0;
}

static int finish_below(struct async_filter *self)
{
    async__wire *below = self->wire.below;

    if (!below->type->finish) return 0;
    self->below_finishes = self->starved = true;
    return below->type->finish(below);
}

/* Sends the end, waits until all that is kept has gone out, ends the wire below as far as it has ends
 * of directions, and waits for the other side's end: a connection that is closed with data unread is
 * reset, and what has been sent may be lost. */
static int filter_finish(async__wire *wire)
{
    struct async_filter *self = self_of(wire);
    bool can_end = false;

    if (!self->started || self->forks != async__forks) return 0;
    if (self->below_finishes) return finish_below(self);
    self->starved = false;
    int code = filter_send_end(wire);
    if (code == 0 && !is_clear(self)) {
        send_out(self);
        code = self->error;
        if (code == 0 && !is_clear(self)) return -EAGAIN;
    }
    if (code < 0) return code;
    if (!self->end_below) {
        self->end_below = true;
        if (async__wire_ask(wire->below, ASYNC__WIRE_CAN_END, &can_end) == 0 && can_end)
            (void)wire->below->type->send_end(wire->below);
    }
    code = discard(self);
    return code == 0 ? finish_below(self) : code;
}

/* ---- watches ---- */

/* A watch that was armed for the other wait of its direction. */
static void let_go(struct async_filter *self, async_loop *loop, async_watch *watch)
{
    async__wire *below = self->wire.below;

    if (self->passed[ASYNC__WRITE] == watch) {
        self->passed[ASYNC__WRITE] = NULL;
        below->type->unwatch(below, loop, watch);
    } else if (self->watches.watch[ASYNC__WRITE] == watch) {
        async__wire_disarm(&self->watches, watch);
    }
}

/* Hands the watch to the wire below. One that is there, and went off not in vain, is armed anew: to go
 * on with it would tell the wire below that there was nothing. */
static int pass(struct async_filter *self, async_loop *loop, unsigned direction, async_watch *watch)
{
    async__wire *below = self->wire.below;
    unsigned to = direction == ASYNC__WRITE && self->below_finishes ? ASYNC__WRITE : ASYNC__READ;

    if (self->passed[direction] && self->passed[direction] != watch) return -EBUSY;
    if (self->passed[direction] && (self->received || to != self->passed_to[direction]))
        below->type->unwatch(below, loop, watch);
    self->passed[direction] = NULL;
    int code = below->type->watch(below, loop, to, watch);
    if (code < 0) return code;
    self->passed[direction] = watch;
    self->passed_to[direction] = (unsigned char)to;
    if (to == ASYNC__READ && filter_pending(&self->wire)) async_call_soon(loop, &watch->callback);
    return 0;
}

static int wait_for_room(struct async_filter *self, async_loop *loop, async_watch *watch)
{
    if (self->watches.watch[ASYNC__WRITE] != watch) let_go(self, loop, watch);
    int code = async__wire_arm(&self->watches, ASYNC__WRITE, watch);
    if (code == 0 && is_clear(self)) async__wire_notify(&self->watches, ASYNC__WRITE);
    return code;
}

static int filter_watch(async__wire *wire, async_loop *loop, unsigned direction, async_watch *watch)
{
    struct async_filter *self = self_of(wire);

    if (self->closed) return -EBADF;
    if (watch == self->passed[ASYNC__WRITE])
        direction = ASYNC__WRITE; /* the wire below changes it */
    if (direction == ASYNC__READ) return pass(self, loop, ASYNC__READ, watch);
    if (!self->starved || !is_clear(self)) return wait_for_room(self, loop, watch);
    if (self->passed[ASYNC__WRITE] != watch) let_go(self, loop, watch);
    return pass(self, loop, ASYNC__WRITE, watch);
}

static bool filter_unwatch(async__wire *wire, async_loop *loop, async_watch *watch)
{
    struct async_filter *self = self_of(wire);

    for (unsigned direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        if (self->passed[direction] != watch) continue;
        self->passed[direction] = NULL;
        return wire->below->type->unwatch(wire->below, loop, watch);
    }
    return async__wire_disarm(&self->watches, watch);
}

/* ---- the rest ---- */

static int filter_query(const async__wire *wire, enum async__wire_query what, void *result)
{
    const struct async_filter *self = self_of(wire);
    struct async__wire_reason *reason = result;
    struct async__wire_state *state = result;

    switch (what) {
    case ASYNC__WIRE_FD:
    case ASYNC__WIRE_DIRECT: return -EOPNOTSUPP; /* the kernel must not go round the filter */
    case ASYNC__WIRE_CAN_END: *(bool *)result = true; return 0;
    case ASYNC__WIRE_FINISHED: *(bool *)result = self->end_below; return 0;
    case ASYNC__WIRE_REASON:
        reason->text = reason->code == -ECHILD
                           ? "it is the parent's: a forked child can only close it"
                           : self->type->reason(self->self, reason->code);
        return reason->text ? 0 : -EOPNOTSUPP;
    case ASYNC__WIRE_FINISH_LIMIT: *(double *)result = self->finish_limit; return 0;
    case ASYNC__WIRE_STATE:
        if (state->type != self->type) return -EOPNOTSUPP;
        state->self = self->self;
        return 0;
    case ASYNC__WIRE_PROTOCOL:
        if (self->type->size < sizeof *self->type || !self->type->protocol) return -EOPNOTSUPP;
        *(const char **)result = self->type->protocol(self->self);
        return 0;
    }
    return -EOPNOTSUPP;
}

static int filter_close(async__wire *wire)
{
    struct async_filter *self = self_of(wire);

    if (self->closed) return 0;
    self->closed = true;
    async__buffer_free(&self->head);
    async__buffer_free(&self->out);
    wire->below->type->unwatch(wire->below, async__loop(), &self->flush);
    return wire->below->type->close(wire->below);
}

static void filter_free(async__wire *wire)
{
    struct async_filter *self = self_of(wire);

    self->type->free(self->self);
    async__wire_free(wire->below);
    async__free(self);
}

static const struct async__wire_type filter_type = {
    .name = "filtered",
    .recv = filter_recv,
    .send = filter_send,
    .send_end = filter_send_end,
    .submit = async__wire_submit,
    .cancel = async__wire_cancel,
    .watch = filter_watch,
    .unwatch = filter_unwatch,
    .pending = filter_pending,
    .query = filter_query,
    .finish = filter_finish,
    .close = filter_close,
    .free = filter_free,
};

async_filter *async__filter_new(async__wire *below, const async_filter_options *options,
                                struct async__buffer *received)
{
    async_filter *self = async__alloc_zeroed(sizeof *self);
    if (!self) return NULL;
    self->wire = (async__wire){.type = &filter_type, .below = below};
    self->type = options->type;
    self->self = options->self;
    self->forks = async__forks;
    self->start_limit = options->start_timeout;
    self->finish_limit = options->close_timeout;
    self->head = *received;
    *received = (struct async__buffer){0};
    return self;
}

async__wire *async__filter_wire(async_filter *self) { return &self->wire; }

int async__filter_start(async__wire *wire)
{
    return self_of(wire)->started ? 0 : filter_start(wire);
}

double async__filter_start_limit(const async__wire *wire) { return self_of(wire)->start_limit; }
const char *async__filter_name(const async__wire *wire) { return self_of(wire)->type->name; }
