/* op_await.c - a task waits for an operation: one system call that may have to wait.
 *
 * The back end decides what that means. epoll tries the call, and if the kernel has nothing waits
 * for readiness and tries again; io_uring will hand the call to the kernel. In both an operation
 * that was started ends exactly once, by op->done, also after a cancel, and then with its real
 * result if there is one. The task stays parked until then, since the kernel may use its buffer.
 *
 * An operation on a wire (src/wire) is started and cancelled by that. */
#include "../wire/wire.h"
#include "task.h"

#include <stdio.h>

struct waiting {
    async__wait wait;
    async__op *op;
};

static void on_done(async__op *op)
{
    struct waiting *waiting = op->owner;
    async__unpark(&waiting->wait);
}

/* Does not unpark: on_done does, perhaps before cancel returns. */
static void interrupt(async__wait *wait)
{
    struct waiting *waiting = async__container(wait, struct waiting, wait);
    async_loop *loop = async__loop_of(wait->task);
    async__op *op = waiting->op;

    if (op->wire)
        op->wire->type->cancel(op->wire, loop, op, -ECANCELED);
    else
        loop->poller->cancel(loop, op, -ECANCELED);
}

static int submit(async_loop *loop, async__op *op)
{
    return op->wire ? op->wire->type->submit(op->wire, loop, op) : loop->poller->submit(loop, op);
}

__attribute__((cold)) static ssize_t op_failed(const async__op *op, const char *what)
{
    char on[64];
    int code = (int)op->result;

    if (op->wire && op->watch.fd < 0)
        async__wire_label(op->wire, on, sizeof on);
    else
        snprintf(on, sizeof on, "descriptor %d", op->watch.fd);
    if (code == -EBUSY)
        return async__failf(code, "%s on %s: another task waits for it already", what, on);
    return async__failf(code, "%s on %s: %s", what, on,
                        op->wire ? async__wire_strerror(op->wire, code) : async_strerror(code));
}

ssize_t async__op_run(async__op *op, const char *what)
{
    async_task *self = async__current;
    struct waiting waiting = {.wait = {.interrupt = interrupt, .what = what}, .op = op};

    op->owner = &waiting;
    op->done = on_done;
    if (!submit(async__loop_of(self), op)) {
        waiting.wait.fd = op->watch.fd;
        async__park(&waiting.wait);
    }
    /* A result that has come about is given although the task may have been interrupted. */
    if (async__likely(op->result >= 0)) return op->result;
    if (op->result == -ECANCELED && waiting.wait.interrupted) return async__interrupted(self);
    return op_failed(op, what);
}

/* The descriptor was closed while the call let other tasks run; the number may be another's now. */
int async__op_closed(int fd, const char *what)
{
    return async__failf(-EBADF, "%s on descriptor %d: it has been closed meanwhile", what, fd);
}

static ssize_t await_with_turn(async__op *op, const char *what)
{
    async_loop *loop = async__loop();
    if (!loop) return async__no_task_in(what);
    uint32_t generation = async__fd_generation(loop, op->watch.fd);
    int code = async__checkpoint_in(what);

    if (code < 0) return code;
    if (async__fd_generation(loop, op->watch.fd) != generation)
        return async__op_closed(op->watch.fd, what);
    return async__op_run(op, what);
}

ssize_t async__op_await(async__op *op, const char *what)
{
#ifndef ASYNC_FAULTS /* where a checkpoint may let other tasks run at any time */
    async_task *self = async__current;
    if (async__likely(self && self->tasks->budget > 1)) {
        int code = async__checkpoint_in(what);
        return async__unlikely(code < 0) ? code : async__op_run(op, what);
    }
#endif
    return await_with_turn(op, what);
}
