/* op.c - operations on a back end that knows readiness only: make the call; if the kernel has nothing,
 * wait until the descriptor is ready and make it again. What no readiness announces runs in a thread.
 *
 * The interface fits a back end of completions (io_uring) as well: submit, and later done, also after
 * a cancel. There a cancelled operation belongs to the kernel until its completion arrives; here done
 * is called at once. Callers must be correct for both: late.c shows whether they are. */
#include "../base/faults.h"
#include "loop_internal.h"

_Static_assert(EAGAIN == EWOULDBLOCK, "what a call gives that would have to wait");

static void end(async__op *op)
{
    op->under_way = false;
    op->done(op);
}

/* The watch is not removed before the operation has ended, so that a second one in the same direction
 * gets -EBUSY. */
void async__op_ready(async_callback *callback)
{
    async__op *op = async__container(callback, async__op, watch.callback);
    async_loop *loop = async__loop();

    op->result = async__op_call(op);
    if (op->result == -EAGAIN) {
        /* A regular file's readiness is reported once, by async__fd_watch: so try again. */
        if (loop->fds[op->watch.fd].regular)
            async__soon(loop, callback);
        else
            async__fd_not_ready(loop, op->watch.fd);
        return;
    }
    async__disarm(loop, &op->watch);
    end(op);
}

/* ---- in threads ---- */

void async__op_work(async_job *job)
{
    async__op *op = &async__container(job, struct async__work_op, job)->op;
    op->result = op->attempt(op);
}

static void on_worked(async_job *job)
{
    end(&async__container(job, struct async__work_op, job)->op);
}

static int submit_work(async_loop *loop, async__op *op)
{
    struct async__work_op *self = async__container(op, struct async__work_op, op);

    self->job.work = async__op_work;
    self->job.done = on_worked;
    int code = async_run_in_executor(loop, &self->job);
    if (code == 0) return 0;
    op->result = code;
    return 1;
}

/* ---- the poller's functions ---- */

int async__op_try(async_loop *loop, async__op *op)
{
    int code;

    if (async__unlikely(op->opcode >= ASYNC__OP_WORK)) {
        code = submit_work(loop, op);
        op->under_way = code == 0;
        return code;
    }
    if (!op->wait_first) {
        op->result = async__op_call(op);
        if (op->result != -EAGAIN) return 1;
    }
    op->watch.callback.run = loop->poller->ready;
    op->watch.once = false;
    code = async__fd_watch(loop, op->watch.fd, &op->watch, op->watch.direction);
    if (async__likely(code == 0)) {
        op->under_way = true;
        return 0;
    }
    op->result = code;
    return 1;
}

/* Work that has begun in a thread goes on. */
void async__op_abandon(async_loop *loop, async__op *op, int code)
{
    if (!op->under_way) return;
    if (op->opcode >= ASYNC__OP_WORK) {
        if (!async_job_cancel(&async__container(op, struct async__work_op, op)->job)) return;
    } else {
        async_remove_watch(loop, &op->watch);
    }
    op->result = code;
    end(op);
}
