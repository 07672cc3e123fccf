/* memory.c - a pair of wires that exist in memory alone, for tests of what talks over a stream.
 *
 * What one end sends lies with the other one until that reads it; `capacity` bounds it. With a
 * latency each piece bears a mark that tells from when on it can be read, and an end whose reader
 * waits has a timer for the next mark. Neither descriptors nor threads are involved, so that with a
 * virtual clock a run repeats exactly, and a reader that waits for ever is a deadlock that the loop
 * sees.
 *
 * The faults that the options ask for are faults of ends[0], the end under test. */
#include "wire.h"

#include "../base/buffer.h"

#include <string.h>

enum { CAPACITY = 64 * 1024 };

/* Bytes that can be read from `due` on: those before the `upto`-th of all. */
struct mark {
    int64_t due;
    uint64_t upto;
};

struct pair;

struct end {
    async__wire wire;
    struct pair *pair;
    struct async__wire_watches watches;
    async_timer timer; /* for the next mark, while a reader waits */

    /* What the other end has sent. */
    struct async__buffer incoming;
    struct async__buffer marks; /* of struct mark */
    uint64_t sent, taken, arrived;
    bool ended; /* no more will be sent; the end can be read from end_due on */
    int64_t end_due;

    int error; /* both directions have failed; what has come can still be read */
    bool closed;
    uint64_t calls;
};

struct pair {
    struct end ends[2];
    async_pair_options options;
    int64_t latency; /* ns */
    bool cut;
    int open; /* ends whose memory is in use */
};

static struct end *self_of(const async__wire *wire)
{
    return async__container((async__wire *)wire, struct end, wire);
}

static struct end *other(const struct end *self)
{
    struct pair *pair = self->pair;
    return &pair->ends[self == &pair->ends[0]];
}

static bool is_tested(const struct end *self) { return self == &self->pair->ends[0]; }

static int64_t now(void)
{
    async_loop *loop = async__loop();
    return loop ? async_loop_time_ns(loop) : INT64_MAX;
}

/* ---- what has arrived ---- */

static struct mark *next_mark(const struct end *self)
{
    const struct async__buffer *marks = &self->marks;
    return async__buffer_size(marks) ? (struct mark *)(void *)async__buffer_bytes(marks) : NULL;
}

/* How many bytes can be read now. */
static size_t readable(struct end *self)
{
    struct mark *mark;

    if (self->pair->latency == 0) return async__buffer_size(&self->incoming);
    while ((mark = next_mark(self)) && mark->due <= now()) {
        self->arrived = mark->upto;
        async__buffer_consume(&self->marks, sizeof *mark);
    }
    return (size_t)(self->arrived - self->taken);
}

static bool at_end(const struct end *self)
{
    return self->ended && async__buffer_size(&self->incoming) == 0 &&
           (self->pair->latency == 0 || self->end_due <= now());
}

static bool is_cut(const struct end *self) { return is_tested(self) && self->pair->cut; }

static bool can_recv(struct end *self)
{
    return readable(self) > 0 || self->error || is_cut(self) || at_end(self);
}

static size_t room(const struct end *receiver)
{
    size_t there = async__buffer_size(&receiver->incoming);
    size_t capacity = receiver->pair->options.capacity;
    return there < capacity ? capacity - there : 0;
}

static bool can_send(const struct end *self)
{
    const struct end *receiver = other(self);
    return self->error || receiver->closed || is_cut(receiver) || room(receiver) > 0;
}

/* ---- faults ---- */

static void fail_both(struct pair *pair, int error)
{
    for (int i = 0; i < 2; i++) {
        if (!pair->ends[i].error) pair->ends[i].error = error;
        async__wire_notify(&pair->ends[i].watches, ASYNC__READ);
        async__wire_notify(&pair->ends[i].watches, ASYNC__WRITE);
    }
}

/* Counts the call; whether it is the one that fails. */
static bool fails_now(struct end *self)
{
    const async_pair_options *options = &self->pair->options;

    if (!is_tested(self) || options->fail_at == 0 || ++self->calls != options->fail_at)
        return false;
    fail_both(self->pair, options->fail_error);
    return true;
}

/* Of `size` bytes that could be read: how many come before the cut. */
static size_t before_cut(const struct end *self, size_t size)
{
    size_t after = self->pair->options.cut_after;
    if (!is_tested(self) || after == 0) return size;
    uint64_t left = after - self->taken;
    return size < left ? size : (size_t)left;
}

/* Past the cut all is lost, whether it was sent before or is sent later. */
static void cut_if_due(struct end *self)
{
    struct pair *pair = self->pair;

    if (!is_tested(self) || pair->options.cut_after == 0 || self->taken < pair->options.cut_after)
        return;
    pair->cut = true;
    async__buffer_free(&self->incoming);
    async__buffer_free(&self->marks);
    self->arrived = self->taken;
    if (pair->options.cut_error) fail_both(pair, pair->options.cut_error);
}

/* ---- receiving ---- */

static ssize_t memory_recv(async__wire *wire, void *buffer, size_t size)
{
    struct end *self = self_of(wire);
    size_t most = self->pair->options.max_read;

    if (fails_now(self)) return self->error;
    size_t n = readable(self);
    if (n == 0) {
        if (self->error) return self->error;
        return is_cut(self) || at_end(self) ? 0 : -EAGAIN;
    }
    if (n > size) n = size;
    if (most > 0 && n > most) n = most;
    n = ASYNC__SIZE(before_cut(self, n));
    memcpy(buffer, async__buffer_bytes(&self->incoming), n);
    async__buffer_consume(&self->incoming, n);
    self->taken += n;
    cut_if_due(self);
    async__wire_notify(&other(self)->watches, ASYNC__WRITE);
    return (ssize_t)n;
}

static bool memory_pending(const async__wire *wire) { return can_recv(self_of(wire)); }

/* ---- sending ---- */

static int set_timer(struct end *self)
{
    const struct mark *mark = next_mark(self);
    int64_t when = mark ? mark->due : self->ended ? self->end_due : ASYNC__NEVER;

    if (when == ASYNC__NEVER || !self->watches.watch[ASYNC__READ]) return 0;
    return async_call_at_ns(async__loop(), &self->timer, when);
}

static void on_time(async_callback *callback)
{
    struct end *self = async__container(callback, struct end, timer.callback);
    async__wire_notify(&self->watches, ASYNC__READ);
}

/* Makes all that may fail happen before a byte is taken. */
static int prepare(struct end *receiver, size_t size)
{
    int code = async__buffer_reserve(&receiver->incoming, size);
    if (code == 0 && receiver->pair->latency > 0)
        code = async__buffer_reserve(&receiver->marks, sizeof(struct mark));
    return code;
}

/* The bytes lie with the receiver: now, or from when on they can be read. */
static int arrive(struct end *receiver)
{
    if (receiver->pair->latency == 0) {
        async__wire_notify(&receiver->watches, ASYNC__READ);
        return 0;
    }
    struct mark mark = {async__deadline(now(), receiver->pair->latency), receiver->sent};
    bool first = !next_mark(receiver);
    (void)async__buffer_append(&receiver->marks, &mark, sizeof mark);
    return first ? set_timer(receiver) : 0;
}

static size_t copy(struct end *receiver, const struct iovec *pieces, int count, size_t size)
{
    size_t left = size;

    for (int i = 0; i < count && left > 0; i++) {
        size_t n = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        (void)async__buffer_append(&receiver->incoming, pieces[i].iov_base, n);
        left -= n;
    }
    receiver->sent += size;
    return size;
}

static ssize_t memory_send(async__wire *wire, const struct iovec *pieces, int count)
{
    struct end *self = self_of(wire), *receiver = other(self);
    size_t size = 0, free = room(receiver);

    if (fails_now(self) || self->error) return self->error;
    if (receiver->closed) return -EPIPE;
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    if (is_cut(receiver)) return (ssize_t)size;
    if (free == 0) return -EAGAIN;

    size_t n = ASYNC__SIZE(size < free ? size : free);
    int code = prepare(receiver, n);
    if (code < 0) return code;
    copy(receiver, pieces, count, n);
    code = arrive(receiver);
    if (code < 0) { /* the receiver will not be woken */
        fail_both(self->pair, code);
        return code;
    }
    if (n < size && n < free) async__wire_notify(&self->watches, ASYNC__WRITE);
    return (ssize_t)n;
}

static int memory_send_end(async__wire *wire)
{
    struct end *receiver = other(self_of(wire));
    if (receiver->ended) return 0;
    receiver->ended = true;
    if (receiver->pair->latency == 0) {
        async__wire_notify(&receiver->watches, ASYNC__READ);
        return 0;
    }
    receiver->end_due = async__deadline(now(), receiver->pair->latency);
    if (async__loop() && !next_mark(receiver) && set_timer(receiver) < 0) {
        receiver->end_due = now(); /* sooner than it should, rather than never */
        async__wire_notify(&receiver->watches, ASYNC__READ);
    }
    return 0;
}

/* ---- watches ---- */

static int memory_watch(async__wire *wire, async_loop *loop, unsigned direction, async_watch *watch)
{
    struct end *self = self_of(wire);
    (void)loop;
    if (self->closed) return -EBADF;
    int code = async__wire_arm(&self->watches, direction, watch);
    if (code < 0) return code;
    if (direction == ASYNC__WRITE ? can_send(self) : can_recv(self)) {
        async__wire_notify(&self->watches, direction);
        return 0;
    }
    if (direction == ASYNC__READ && (code = set_timer(self)) < 0)
        async__wire_disarm(&self->watches, watch);
    return code;
}

static bool memory_unwatch(async__wire *wire, async_loop *loop, async_watch *watch)
{
    struct end *self = self_of(wire);
    if (loop && self->watches.watch[ASYNC__READ] == watch) async_timer_cancel(loop, &self->timer);
    return async__wire_disarm(&self->watches, watch);
}

/* ---- the rest ---- */

static int memory_query(const async__wire *wire, enum async__wire_query what, void *result)
{
    (void)wire;
    if (what != ASYNC__WIRE_CAN_END) return -EOPNOTSUPP;
    *(bool *)result = true;
    return 0;
}

static int memory_close(async__wire *wire)
{
    struct end *self = self_of(wire);
    async_loop *loop = async__loop();

    if (self->closed) return 0;
    if (loop) async_timer_cancel(loop, &self->timer);
    int code = memory_send_end(wire);
    self->closed = true;
    async__buffer_free(&self->incoming);
    async__buffer_free(&self->marks);
    async__wire_notify(&other(self)->watches, ASYNC__WRITE);
    return code;
}

static void memory_free(async__wire *wire)
{
    struct pair *pair = self_of(wire)->pair;
    if (--pair->open == 0) async__free(pair);
}

static const struct async__wire_type memory_type = {
    .name = "memory",
    .recv = memory_recv,
    .send = memory_send,
    .send_end = memory_send_end,
    .submit = async__wire_submit,
    .cancel = async__wire_cancel,
    .watch = memory_watch,
    .unwatch = memory_unwatch,
    .pending = memory_pending,
    .query = memory_query,
    .close = memory_close,
    .free = memory_free,
};

int async__memory_pair(async__wire *ends[2], const async_pair_options *options)
{
    struct pair *pair = async__alloc_zeroed(sizeof *pair);
    if (!pair) return -ENOMEM;
    pair->options = *options;
    if (pair->options.capacity == 0) pair->options.capacity = CAPACITY;
    if (pair->options.fail_error == 0) pair->options.fail_error = -ECONNRESET;
    (void)async__seconds_to_ns(options->latency, &pair->latency);
    pair->open = 2;
    for (int i = 0; i < 2; i++) {
        pair->ends[i].wire.type = &memory_type;
        pair->ends[i].pair = pair;
        pair->ends[i].timer.callback.run = on_time;
        ends[i] = &pair->ends[i].wire;
    }
    return 0;
}
