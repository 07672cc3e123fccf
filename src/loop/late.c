/* late.c - a back end for tests, which ends every operation late and in a random order, as one of
 * completions may. It is there in builds with CASYNCIO_LATE, and CASYNCIO_BACKEND=late chooses it.
 *
 * Below it is epoll. An operation is not over when it is submitted, nor when it is cancelled. It waits
 * for some turns of the ready queue; makes its call, when the descriptor is ready; waits for some
 * turns again; and then tells its owner. A cancel may come too late: if the descriptor is ready, the
 * call is made in half of all cases, and if it gives something, that is the result.
 *
 * What waits for its turn is in the ready queue. So the loop does not sleep, a virtual clock stands
 * still, and no deadlock is reported. The numbers are drawn from the loop's seed, or from 1: a run on
 * the virtual clock can be repeated. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <poll.h>

#ifdef ASYNC_LATE

enum { MOST_TURNS = 5 };
/* Of op->back_end: the call has been made; readiness has been asked for; turns to wait. */
enum { CALLED = 0x80, WANTED = 0x40, TURNS = 0x3f };

/* One loop runs in a thread. */
static __thread uint64_t drawn;
static __thread async__op *first; /* of those that will get a turn, linked by watch.reserved */
static __thread unsigned forks;   /* async__forks, when the last loop was opened */

static unsigned draw(void) { return (unsigned)(async__draw(&drawn) >> 32); }

static int late_open(async_loop *loop)
{
    drawn = loop->seed ? loop->seed : 1;
    if (forks != async__forks) first = NULL; /* the parent's */
    forks = async__forks;
    return async__epoll.open(loop);
}

static void step(async_callback *callback);

static void hold(async__op *op)
{
    op->watch.callback.run = step;
    op->watch.reserved = first;
    first = op;
}

static void end(async_loop *loop, async__op *op)
{
    async__op **link = &first;

    while (*link != op)
        link = (async__op **)&(*link)->watch.reserved;
    *link = op->watch.reserved;
    if (op->watch.armed) async__disarm(loop, &op->watch);
    op->under_way = false;
    op->done(op);
}

/* ---- from the submission to the end ---- */

static void wait_for_turns(async_loop *loop, async__op *op, unsigned char state)
{
    op->back_end = (unsigned char)(state | draw() % (MOST_TURNS + 1));
    async_call_soon(loop, &op->watch.callback);
}

static void called(async_loop *loop, async__op *op, ssize_t result)
{
    op->result = result;
    wait_for_turns(loop, op, CALLED);
}

static bool make_call(async_loop *loop, async__op *op)
{
    ssize_t result = async__op_call(op);
    if (result == -EAGAIN) return false;
    called(loop, op, result);
    return true;
}

/* Waits until the descriptor is ready: that queues the callback again. */
static void wait_until_ready(async_loop *loop, async__op *op)
{
    int fd = op->watch.fd, code = 0;

    if (!(op->back_end & WANTED))
        code = async__fd_want(loop, fd, &op->watch, op->watch.direction);
    else if (loop->fds[fd].regular)
        async_call_soon(loop, &op->watch.callback);
    else
        async__fd_not_ready(loop, fd);
    op->back_end |= WANTED;
    if (code < 0) called(loop, op, code);
}

static void step(async_callback *callback)
{
    async__op *op = async__container(callback, async__op, watch.callback);
    async_loop *loop = async__loop();

    if (op->back_end & TURNS) {
        op->back_end--;
        async_call_soon(loop, callback);
    } else if (op->back_end & CALLED) {
        end(loop, op);
    } else if ((op->wait_first && !(op->back_end & WANTED)) || !make_call(loop, op)) {
        wait_until_ready(loop, op);
    }
}

static void on_worked(async_job *job)
{
    async__op *op = &async__container(job, struct async__work_op, job)->op;
    hold(op);
    called(async__loop(), op, op->result);
}

static int late_submit(async_loop *loop, async__op *op)
{
    int code;

    op->back_end = 0;
    if (op->opcode >= ASYNC__OP_WORK) {
        struct async__work_op *self = async__container(op, struct async__work_op, op);
        self->job.work = async__op_work;
        self->job.done = on_worked;
        code = async_run_in_executor(loop, &self->job);
    } else {
        op->watch.once = false;
        code = async__fd_hang(loop, op->watch.fd, &op->watch, op->watch.direction);
        if (code == 0) {
            hold(op);
            wait_for_turns(loop, op, 0);
        }
    }
    op->under_way = code == 0;
    if (code == 0) return 0;
    op->result = code;
    return 1;
}

/* ---- cancelling ---- */

/* A blocking descriptor must not be read otherwise. */
static bool is_ready(const async__op *op)
{
    struct pollfd now = {.fd = op->watch.fd,
                         .events = op->watch.direction == ASYNC__READ ? POLLIN : POLLOUT};
    return poll(&now, 1, 0) > 0;
}

static void late_cancel(async_loop *loop, async__op *op, int code)
{
    if (!op->under_way || op->back_end & CALLED) return;
    if (op->opcode >= ASYNC__OP_WORK) {
        if (!async_job_cancel(&async__container(op, struct async__work_op, op)->job)) return;
        hold(op);
    } else if (async__loop() == loop && draw() % 2 && async__watches(loop, &op->watch) &&
               is_ready(op) && make_call(loop, op)) {
        return; /* (between two runs of the loop there is no place for data) */
    }
    called(loop, op, code);
}

/* Ends what is under way: the end may free what waits for it. */
static void late_close(async_loop *loop)
{
    while (first) {
        async__op *op = first;
        async_callback_cancel(&op->watch.callback);
        if (!(op->back_end & CALLED)) op->result = -ECANCELED;
        end(loop, op);
    }
    async__epoll.close(loop);
}

static int late_interest(async_loop *loop, int fd, struct async__fd *entry, unsigned interest)
{
    return async__epoll.interest(loop, fd, entry, interest);
}

static int late_wait(async_loop *loop, int64_t timeout) { return async__epoll.wait(loop, timeout); }

static int late_fd(const async_loop *loop) { return async__epoll.fd(loop); }

const async__poller async__late = {
    .name = "late",
    .open = late_open,
    .close = late_close,
    .interest = late_interest,
    .wait = late_wait,
    .submit = late_submit,
    .cancel = late_cancel,
    .ready = step,
    .fd = late_fd,
};

#endif
