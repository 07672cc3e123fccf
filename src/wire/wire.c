/* wire.c - what all wires have in common: operations by way of a watch, and the watches of those
 * that are no descriptors. */
#include "wire.h"

#include <casyncio/errors.h>
#include <stdio.h>

int async__wire_ask(const async__wire *wire, enum async__wire_query what, void *result)
{
    for (; wire; wire = wire->below) {
        int code = wire->type->query(wire, what, result);
        if (code != -EOPNOTSUPP) return code;
    }
    return -EOPNOTSUPP;
}

int async__wire_fd(const async__wire *wire)
{
    int fd = -1;
    return async__wire_ask(wire, ASYNC__WIRE_FD, &fd) == 0 ? fd : -1;
}

/* A wire that transforms the bytes need not know of the question: it does not answer. */
int async__wire_direct(const async__wire *wire)
{
    int fd = -1;
    return wire->type->query(wire, ASYNC__WIRE_DIRECT, &fd) == 0 ? fd : -1;
}

static const async__wire *lowest(const async__wire *wire)
{
    while (wire->below)
        wire = wire->below;
    return wire;
}

const char *async__wire_label(const async__wire *wire, char *text, size_t size)
{
    int fd;
    if (async__wire_ask(wire, ASYNC__WIRE_FD, &fd) == 0)
        snprintf(text, size, "descriptor %d", fd);
    else
        snprintf(text, size, "a %s stream", lowest(wire)->type->name);
    return text;
}

const char *async__wire_strerror(const async__wire *wire, int code)
{
    struct async__wire_reason reason = {.code = code};
    return async__wire_ask(wire, ASYNC__WIRE_REASON, &reason) == 0 ? reason.text
                                                                   : async_strerror(code);
}

void async__wire_free(async__wire *wire)
{
    if (wire && wire->type->free) wire->type->free(wire);
}

/* ---- operations: as op.c does it for descriptors ---- */

static ssize_t receive(async__op *op)
{
    async__wire *wire = op->wire;
    void *data = op->buffer ? op->buffer : async__scratch_of(async__loop());

    if (!data) return -ENOMEM;
    ssize_t n = wire->type->recv(wire, data, op->buffer ? op->length : ASYNC__SCRATCH);
    return op->then && n != -EINTR ? op->then(op, data, n) : n;
}

static ssize_t call(async__op *op)
{
    ssize_t result;

    do
        result = op->opcode == ASYNC__OP_RECV ? receive(op) : op->attempt(op);
    while (result == -EINTR);
    return result;
}

static void end(async__op *op)
{
    op->under_way = false;
    op->done(op);
}

static void on_watch(async_callback *callback)
{
    async__op *op = async__container(callback, async__op, watch.callback);
    async__wire *wire = op->wire;
    async_loop *loop = async__loop();

    op->result = op->watch.error ? op->watch.error : call(op);
    if (op->result == -EAGAIN && op->watch.armed) {
        int code = wire->type->watch(wire, loop, op->watch.direction, &op->watch);
        if (code == 0) return;
        op->result = code;
    }
    if (op->watch.armed) wire->type->unwatch(wire, loop, &op->watch);
    end(op);
}

int async__wire_submit(async__wire *wire, async_loop *loop, async__op *op)
{
    op->watch.fd = -1;
    if (!op->wait_first || (wire->type->pending && wire->type->pending(wire))) {
        op->result = call(op);
        if (op->result != -EAGAIN) return 1;
    }
    op->watch.callback.run = on_watch;
    op->watch.once = false;
    int code = wire->type->watch(wire, loop, op->watch.direction, &op->watch);
    op->under_way = code == 0;
    if (code == 0) return 0;
    op->result = code;
    return 1;
}

void async__wire_cancel(async__wire *wire, async_loop *loop, async__op *op, int code)
{
    if (!op->under_way) return;
    wire->type->unwatch(wire, loop, &op->watch);
    op->result = code;
    end(op);
}

/* ---- watches ---- */

int async__wire_arm(struct async__wire_watches *watches, unsigned direction, async_watch *watch)
{
    if (watches->watch[direction] == watch) return 0;
    if (watches->watch[direction] || watch->armed) return -EBUSY;
    watch->fd = -1;
    watch->direction = (unsigned char)direction;
    watch->error = 0;
    watch->armed = true;
    watches->watch[direction] = watch;
    return 0;
}

bool async__wire_disarm(struct async__wire_watches *watches, async_watch *watch)
{
    bool was_queued = async_callback_cancel(&watch->callback), was_armed = watch->armed;

    if (watches->watch[watch->direction] == watch) watches->watch[watch->direction] = NULL;
    watch->armed = false;
    return was_queued || was_armed;
}

void async__wire_notify(struct async__wire_watches *watches, unsigned direction)
{
    async_loop *loop = async__loop();
    async_watch *watch = watches->watch[direction];

    if (!loop || !watch) return;
    if (watch->once) {
        watches->watch[direction] = NULL;
        watch->armed = false;
    }
    async_call_soon(loop, &watch->callback);
}
