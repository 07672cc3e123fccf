/* thread.c - functions that tasks run in other threads, and coroutines that other threads run in
 * the loop. */
#include "context.h"
#include "task.h"

#include <casyncio/threads.h>
#include <pthread.h>
#include <time.h>

/* ---- out: a function in a thread of the pool ---- */

struct call {
    async__wait wait;
    async_job job;
    int (*function)(void *);
    void *argument;
    struct async__context *context; /* the thread's copy of the task's context variables */
    int result;
    bool taken_back;
};

static void call_work(async_job *job)
{
    struct call *call = async__container(job, struct call, job);
    async__context_enter_thread(&call->context);
    call->result = call->function(call->argument);
    async__context_enter_thread(NULL);
    async__context_release(call->context);
    call->context = NULL;
}

static void call_done(async_job *job)
{
    async__unpark(&async__container(job, struct call, job)->wait);
}

/* A function that has begun cannot be stopped, and may use what lies in the caller's frames: the
 * task stays parked until call_done. */
static void call_interrupt(async__wait *wait)
{
    struct call *call = async__container(wait, struct call, wait);
    if (!async_job_cancel(&call->job)) return;
    call->taken_back = true;
    async__unpark(wait);
}

int async_to_thread(int (*function)(void *argument), void *argument)
{
    if (!function) return async__misuse(async__failf(-EINVAL, "async_to_thread: NULL to call"));
    int code = async__checkpoint();
    if (code < 0) return code;
    struct call call = {
        .wait = {.interrupt = call_interrupt, .what = "thread", .fd = -1},
        .job = {.work = call_work, .done = call_done},
        .function = function,
        .argument = argument,
        .context = async__context_share(async__current->context),
    };

    code = async_run_in_executor(async__loop(), &call.job);
    if (code == 0) async__park(&call.wait);
    async__context_release(call.context); /* if no thread has had it */
    if (code < 0) return async__failf(code, "async_to_thread: no thread can be made");
    if (call.taken_back) return async__interrupted(async__current);
    return call.result < 0 ? async__fail(call.result) : call.result;
}

/* ---- in: a coroutine that another thread asks for ---- */

/* Lies in the frame of the thread that waits in async_run_coroutine_threadsafe. */
struct request {
    async_callback callback;
    async_loop *loop;
    async_coroutine coroutine;
    void *argument;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
    bool done;
    int result;
};

/* The last that the loop's thread does with the request: its frame may be gone right after. */
static void answer(struct request *request, int result)
{
    pthread_mutex_lock(&request->mutex);
    request->result = result;
    request->done = true;
    pthread_cond_signal(&request->answered);
    pthread_mutex_unlock(&request->mutex);
}

static void on_task_done(async_task *task)
{
    async__bury(task);
    answer(task->owner, task->result);
}

/* In the loop's thread: makes the task. */
static void on_request(async_callback *callback)
{
    struct request *request = async__container(callback, struct request, callback);
    struct async__tasks *tasks = request->loop->client;

    if (!tasks || tasks->closing) {
        answer(request, -ECANCELED);
        return;
    }
    async_task *task =
        async__task_new(tasks, request->coroutine, request->argument, &(async_task_options){0});
    if (!task) {
        answer(request, -ENOMEM);
        return;
    }
    task->done = on_task_done;
    task->owner = request;
}

void async__requests_open(async_loop *loop) { atomic_store(&loop->takes_requests, true); }

void async__requests_end(async_loop *loop)
{
    struct async__tasks *tasks = loop->client;
    async_callback *callback, *next;

    if (async__is_forked(loop)) return; /* the threads that wait are the parent's */
    /* First no new request gets in: a thread counts itself before it looks at the flag, so once
     * the count is 0 each has either been refused or has pushed its request. Only then is the
     * queue taken, and nothing is left behind in it. */
    atomic_store(&loop->takes_requests, false);
    while (atomic_load(&loop->requesting) > 0) /* no longer than a push takes */
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);

    async__take_incoming(loop);
    for (callback = loop->ready.next; callback != &loop->ready; callback = next) {
        next = callback->next;
        if (callback->run != on_request) continue;
        async__ready_unlink(callback);
        answer(async__container(callback, struct request, callback), -ECANCELED);
    }
    /* Tasks are left only if the loop failed and will not run again. */
    for (async_task *task = tasks->first; task; task = task->next) {
        if (task->done != on_task_done) continue;
        task->done = NULL;
        answer(task->owner, -ECANCELED);
    }
}

/* Gives the request to the loop, unless that has ended. */
static int submit(struct request *request)
{
    async_loop *loop = request->loop;
    int code = 0;

    atomic_fetch_add(&loop->requesting, 1); /* before the look at the flag: async__requests_end */
    if (atomic_load(&loop->takes_requests))
        async_call_soon_threadsafe(loop, &request->callback);
    else
        code = -ECANCELED;
    atomic_fetch_sub(&loop->requesting, 1);
    return code;
}

int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine, void *argument)
{
    if (!loop) return async__failf(-EBADF, "async_run_coroutine_threadsafe: the loop is NULL");
    if (loop == async__loop()) return async__failf(-EDEADLK, "the loop cannot wait for itself");
    if (async__is_forked(loop)) return -ECHILD; /* no thread runs it here */
    struct request request = {
        .callback = {.run = on_request},
        .loop = loop,
        .coroutine = coroutine,
        .argument = argument,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .answered = PTHREAD_COND_INITIALIZER,
    };

    int code = submit(&request);
    if (code < 0) return code;
    pthread_mutex_lock(&request.mutex);
    while (!request.done)
        pthread_cond_wait(&request.answered, &request.mutex);
    pthread_mutex_unlock(&request.mutex);
    return request.result;
}
