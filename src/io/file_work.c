/* file_work.c - the work of files in the loop's threads.
 *
 * A thread that reads cannot be interrupted, and a task that is cancelled is to go on at once. So a
 * job reads into memory of its own, and if its task is cancelled it is detached: it keeps the
 * file's turn, so that whoever comes next waits for it, and at its end does to the file what its
 * caller would have done (where it stands after a write), and frees itself. */
#include "file.h"

#include <unistd.h>

struct hold {
    async__wait wait;
    struct async__work *work;
    bool taken_back;
};

/* The end of one whose result nobody takes; in any thread. */
static void discard(struct async__work *work)
{
    if (work->owned_fd >= 0) close(work->owned_fd);
    async__free(work);
}

static void settle(struct async__work *work)
{
    async_file *file = work->file;
    if (file) {
        file->detached = NULL;
        if (work->moves)
            file->offset = work->offset;
        else if (!work->positioned && work->result > 0)
            async__file_keep(file, work->data, (size_t)work->result);
        async__file_give_turn(file);
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

static void on_drop(async_job *job) { discard(async__container(job, struct async__work, job)); }

static void interrupt(async__wait *wait)
{
    struct hold *hold = async__container(wait, struct hold, wait);
    struct async__work *work = hold->work;

    work->waiter = NULL;
    if (async_job_cancel(&work->job))
        hold->taken_back = true;
    else if (work->file)
        work->file->detached = work;
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
    if (async_run_in_executor(async__loop(), &work->job) < 0) discard(work);
}
