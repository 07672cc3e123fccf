/* file_work.c - jobs of files, which run in the loop's threads.
 *
 * A thread that reads cannot be interrupted, yet a task that is cancelled goes on at once. So a job
 * works on memory of its own. When its call is cancelled the job takes over the call's turn and a
 * reference to the file: later calls wait for it, and the descriptor stays open until it has ended.
 * At its end it does to the file what its call would have done (sets the offset after a write),
 * passes the turn on, and frees itself. */
#include "file.h"

#include <unistd.h>

struct hold {
    async__wait wait;
    struct async__work *work;
    bool taken_back;
};

/* Frees the work and what it owns; in any thread. The descriptor that an open has given is its result. */
static void discard(struct async__work *work)
{
    const async__op *op = &work->call.op;

    if (op->opcode == ASYNC__OP_OPEN && op->result >= 0) close((int)op->result);
    if (work->owned_fd >= 0) close(work->owned_fd);
    async__free(work);
}

/* The end of a job whose call was cancelled. A loop that is closed ends its operations when it does
 * not run any more: then nothing can be handed to it. */
static void settle(struct async__work *work)
{
    async_file *file = work->file;
    async_loop *loop = async__loop();
    ssize_t result = work->call.op.result;
    if (file) {
        file->left_to_job = false;
        if (work->moves)
            file->offset = work->call.offset;
        else if (!work->positioned && result > 0 && !file->closed)
            async__file_keep(file, work->data, (size_t)result);
        if (loop)
            async__file_end_turn(file);
        else
            async__file_end_turn_outside(file);
        async__file_unref(file);
    } else if (loop && work->must_run && result < 0) {
        async__report(loop, (int)result, work->data);
    }
    discard(work);
}

static void on_done(async__op *op)
{
    struct async__work *work = async__work_of(op);
    if (op->opcode == ASYNC__OP_CLOSE) work->owned_fd = -1;
    if (work->waiter)
        async__unpark(work->waiter);
    else
        settle(work);
}

/* The loop ends. This may be a thread of the pool: the loop's own waits for it meanwhile, and no
 * task is left that could use the file. */
static void on_drop(async_job *job)
{
    struct async__work *work = async__container(job, struct async__work, call.job);
    async_file *file = work->waiter ? NULL : work->file;
    if (file) {
        file->left_to_job = false;
        async__file_end_turn_outside(file);
        async__file_unref(file);
    }
    discard(work);
}

/* A job that has not begun is taken back, which may end it, and wake the task, at once. */
static void interrupt(async__wait *wait)
{
    struct hold *hold = async__container(wait, struct hold, wait);
    struct async__work *work = hold->work;
    async_loop *loop = async__loop_of(wait->task);

    if (!work->must_run) loop->poller->cancel(loop, &work->call.op, -ECANCELED);
    if (!work->call.op.under_way) {
        hold->taken_back = true;
        return;
    }
    work->waiter = NULL;
    if (work->file) {
        work->file->references++;
        work->file->left_to_job = true;
    }
    async__unpark(wait);
}

struct async__work *async__work_new(async_file *file, enum async__opcode opcode,
                                    ssize_t (*run)(async__op *), size_t size)
{
    struct async__work *work = async__alloc(sizeof *work + size);
    if (!work) {
        async__failf(-ENOMEM, "no memory for a job of %zu bytes", size);
        return NULL;
    }
    *work = (struct async__work){
        .call = {.op = {.watch = {.fd = file ? file->fd : -1},
                        .opcode = (unsigned char)opcode,
                        .attempt = run,
                        .done = on_done,
                        .result = -ECANCELED,
                        .buffer = work->data,
                        .length = size},
                 .offset = !file              ? 0
                           : file->positioned ? file->offset
                                              : -1,
                 .job = {.drop = on_drop}},
        .file = file,
        .owned_fd = -1,
        .positioned = file && file->positioned,
        .append = file && file->append,
    };
    return work;
}

static void run_here(struct async__work *work)
{
    work->call.op.result = work->call.op.attempt(&work->call.op);
}

int async__work_await(struct async__work *work, const char *what)
{
    async_loop *loop = async__loop();
    async__op *op = &work->call.op;
    struct hold hold = {
        .wait = {.interrupt = interrupt, .what = what, .fd = op->watch.fd},
        .work = work,
    };

    work->waiter = &hold.wait;
    if (loop->poller->submit(loop, op)) {
        if (work->must_run) {
            run_here(work);
            return 0;
        }
        int code = (int)op->result;
        discard(work);
        return async__failf(code, "%s: no thread can be made", what);
    }
    async__park(&hold.wait);
    if (!hold.wait.interrupted) return 0;
    /* A job that was taken back has ended; one that was left behind frees itself. */
    if (hold.taken_back) discard(work);
    return async__interrupted(async__current);
}

void async__work_detach(struct async__work *work)
{
    async_loop *loop = async__loop();

    work->waiter = NULL;
    if (loop->poller->submit(loop, &work->call.op) == 0) return;
    if (work->must_run) run_here(work);
    settle(work);
}
