/* op.c - operations on a back end that knows readiness only: try the call; if the kernel has nothing,
 * wait until the descriptor is ready and try again.
 *
 * The interface fits a back end of completions (io_uring) as well: start, and later done, also after
 * a cancel. There a cancelled operation belongs to the kernel until its completion arrives; here done
 * is called at once. Callers must be correct for both. */
#include "../base/faults.h"
#include "loop_internal.h"

static bool would_block(ssize_t result) { return result == -EAGAIN || result == -EWOULDBLOCK; }

static ssize_t attempt(async__op *op)
{
    ssize_t result;

    do
        result = op->attempt(op);
    while (result == -EINTR);
    return result;
}

static int watch(async_loop *loop, async__op *op)
{
    return op->watch.direction == ASYNC__READ ? async_add_reader(loop, op->watch.fd, &op->watch)
                                              : async_add_writer(loop, op->watch.fd, &op->watch);
}

/* The watch is not removed before the operation has ended. So a close between the event and this
 * callback sets watch.error (the number may be another file's by now), and a second operation in the
 * same direction gets -EBUSY. */
void async__op_ready(async_callback *callback)
{
    async__op *op = async__container(callback, async__op, watch.callback);
    async_loop *loop = async__loop();

    op->result = op->watch.error ? op->watch.error : attempt(op);
    if (would_block(op->result) && op->watch.armed) {
        /* A regular file's readiness is reported once, by async_add_reader: so try again. */
        if (loop->fds[op->watch.fd].regular)
            async_call_soon(loop, callback);
        else
            async__fd_not_ready(loop, op->watch.fd);
        return;
    }
    if (async__likely(op->watch.armed)) async__disarm(loop, &op->watch);
    op->done(op);
}

int async__op_try(async_loop *loop, async__op *op)
{
    if (!op->wait_first) {
        op->result = attempt(op);
        if (!would_block(op->result)) return 1;
    }
    op->watch.callback.run = async__op_ready;
    op->watch.once = false;
    int code = watch(loop, op);
    if (code < 0) {
        op->result = code;
        return 1;
    }
    return 0;
}

void async__op_abandon(async_loop *loop, async__op *op)
{
    if (!async_remove_watch(loop, &op->watch)) return;
    op->result = -ECANCELED;
    op->done(op);
}
