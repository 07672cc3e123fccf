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

/* Frees the work and what it owns; in any thread. */
static void discard(struct async__work *work)
{
    if (work->owned_fd >= 0) close(work->owned_fd);
    async__free(work);
}

/* In the loop: the end of a job whose call was cancelled. */
static void settle(struct async__work *work)
{
    async_file *file = work->file;
    if (file) {
        file->left_to_job = false;
        if (work->moves)
            file->offset = work->offset;
        else if (!work->positioned && work->result > 0 && !file->closed)
            async__file_keep(file, work->data, (size_t)work->result);
        async__file_end_turn(file);
        async__file_unref(file);
    } else if (work->must_run && work->result < 0) {
        async__report(async__loop(), (int)work->result, work->data);
    }
    discard(work);
}

static void in_thread(async_job *job)
{
    struct async__work *work = async__container(job, struct async__work, job);
    work->run(work);
}

static void on_done(async_job *job)
{
    struct async__work *work = async__container(job, struct async__work, job);
    if (work->waiter)
        async__unpark(work->waiter);
    else
        settle(work);
}

/* The loop ends. This may be a thread of the pool: the loop's own waits for it meanwhile, and no
 * task is left that could use the file. */
static void on_drop(async_job *job)
{
    struct async__work *work = async__container(job, struct async__work, job);
    async_file *file = work->waiter ? NULL : work->file;
    if (file) {
        file->left_to_job = false;
        async__file_end_turn_outside(file);
        async__file_unref(file);
    }
    discard(work);
}

static void interrupt(async__wait *wait)
{
    struct hold *hold = async__container(wait, struct hold, wait);
    struct async__work *work = hold->work;

    work->waiter = NULL;
    if (!work->must_run && async_job_cancel(&work->job)) {
        hold->taken_back = true;
    } else if (work->file) {
        work->file->references++;
        work->file->left_to_job = true;
    }
    async__unpark(wait);
}

struct async__work *async__work_new(async_file *file, void (*run)(struct async__work *),
                                    size_t size)
{
    struct async__work *work = async__alloc(sizeof *work + size);
    if (!work) {
        async__failf(-ENOMEM, "no memory for a job of %zu bytes", size);
        return NULL;
    }
    *work = (struct async__work){
        .job = {.work = in_thread, .done = on_done, .drop = on_drop},
        .run = run,
        .file = file,
        .fd = file ? file->fd : -1,
        .owned_fd = -1,
        .positioned = file && file->positioned,
        .append = file && file->append,
        .offset = file ? file->offset : 0,
        .size = size,
    };
    return work;
}

int async__work_await(struct async__work *work, const char *what)
{
    struct hold hold = {
        .wait = {.interrupt = interrupt, .what = what, .fd = work->fd},
        .work = work,
    };

    work->waiter = &hold.wait;
    int code = async_run_in_executor(async__loop(), &work->job);
    if (code < 0 && work->must_run) {
        work->run(work);
        return 0;
    }
    if (code < 0) {
        discard(work);
        return async__failf(code, "%s: no thread can be made", what);
    }
    async__park(&hold.wait);
    if (!hold.wait.interrupted) return 0;
    if (hold.taken_back) discard(work);
    return async__interrupted(async__current);
}

void async__work_detach(struct async__work *work)
{
    work->waiter = NULL;
    if (async_run_in_executor(async__loop(), &work->job) == 0) return;
    if (work->must_run) work->run(work);
    settle(work);
}
