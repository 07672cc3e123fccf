/* thread.c - work in other threads, and other threads' work in the loop. */
#include "task.h"

#include <casyncio/threads.h>
#include <pthread.h>

/* ---- out: a function in a thread of the pool ---- */

struct call {
    async__wait wait;
    async_job job;
    int (*function)(void *);
    void *argument;
    int result;
    bool taken_back;
};

static void call_work(async_job *job)
{
    struct call *call = async__container(job, struct call, job);
    call->result = call->function(call->argument);
}

static void call_done(async_job *job)
{
    async__unpark(&async__container(job, struct call, job)->wait);
}

/* Once the function runs it cannot be stopped, and it may use what lies in the caller's frames. */
static void call_interrupt(async__wait *wait)
{
    struct call *call = async__container(wait, struct call, wait);
    if (!async_job_cancel(&call->job)) return;
    call->taken_back = true;
    async__unpark(wait);
}

int async_to_thread(int (*function)(void *argument), void *argument)
{
    int code = async__checkpoint();
    if (code < 0) return code;
    struct call call = {
        .wait = {.interrupt = call_interrupt, .what = "thread", .fd = -1},
        .job = {.work = call_work, .done = call_done},
        .function = function,
        .argument = argument,
    };

    code = async_run_in_executor(async__loop(), &call.job);
    if (code < 0) return async__failf(code, "async_to_thread: no thread can be made");
    async__park(&call.wait);
    if (call.taken_back) return async__interrupted(async__current);
    return call.result < 0 ? async__fail(call.result) : call.result;
}

/* ---- in: a coroutine for a thread that waits ---- */

struct visit {
    async_callback callback;
    async_loop *loop;
    async_coroutine coroutine;
    void *argument;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool done;
    int result;
};

static void visit_end(struct visit *visit, int result)
{
    pthread_mutex_lock(&visit->mutex);
    visit->result = result;
    visit->done = true;
    pthread_cond_signal(&visit->ended);
    pthread_mutex_unlock(&visit->mutex);
}

static void visit_done(async_task *task)
{
    async__bury(task);
    visit_end(task->owner, task->result);
}

static void visit_begin(async_callback *callback)
{
    struct visit *visit = async__container(callback, struct visit, callback);
    struct async__tasks *tasks = visit->loop->client;

    if (!tasks || tasks->closing) {
        visit_end(visit, -ECANCELED);
        return;
    }
    async_task *task =
        async__task_new(tasks, visit->coroutine, visit->argument, &(async_task_options){0});
    if (!task) {
        visit_end(visit, -ENOMEM);
        return;
    }
    task->done = visit_done;
    task->owner = visit;
}

/* The loop ends: threads that have come too late are told so. */
void async__visits_end(async_loop *loop)
{
    async_callback *callback, *next;

    async__take_incoming(loop);
    for (callback = loop->ready.next; callback != &loop->ready; callback = next) {
        next = callback->next;
        if (callback->run != visit_begin) continue;
        async__ready_unlink(callback);
        visit_end(async__container(callback, struct visit, callback), -ECANCELED);
    }
}

int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine, void *argument)
{
    if (loop == async__loop()) return async__failf(-EDEADLK, "the loop cannot wait for itself");
    struct visit visit = {
        .callback = {.run = visit_begin},
        .loop = loop,
        .coroutine = coroutine,
        .argument = argument,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .ended = PTHREAD_COND_INITIALIZER,
    };

    async_call_soon_threadsafe(loop, &visit.callback);
    pthread_mutex_lock(&visit.mutex);
    while (!visit.done)
        pthread_cond_wait(&visit.ended, &visit.mutex);
    pthread_mutex_unlock(&visit.mutex);
    return visit.result;
}
