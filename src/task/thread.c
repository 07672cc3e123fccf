/* thread.c - functions that tasks run in other threads, and coroutines that other threads run in
 * the loop. */
#include "context.h"
#include "task.h"

#include <casyncio/threads.h>
#include <math.h>
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
    async__error *error; /* the detail of the result */
    bool taken_back;
};

static void call_work(async_job *job)
{
    struct call *call = async__container(job, struct call, job);
    struct async__record *record = async__record(); /* the thread's, which has had other calls */
    unsigned before = record->failures;

    async__context_enter_thread(&call->context);
    call->result = call->function(call->argument);
    if (call->result < 0 && record->failures != before) {
        async__error *error = async__detail(record);
        if (error && error->code == call->result) {
            call->error = error;
            record->error = NULL;
        }
    }
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
    if (!function)
        return async__misuse(async__failf(-EINVAL, "async_to_thread: the function is NULL"));
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
    return call.result < 0 ? async__fail_with(call.result, call.error) : call.result;
}

/* ---- in: a coroutine that another thread asks for ---- */

/* Shared by the thread that has the handle, by the loop until it has answered, and by a cancellation
 * on its way. What the mutex covers: done, result, error. While `done` is false, and the mutex held,
 * the loop exists: it answers all requests before it goes. */
struct async_concurrent_future {
    async_callback request, cancel; /* queued in the loop */
    async_loop *loop;
    async_coroutine coroutine;
    void *argument;
    async_task *task; /* the loop's thread alone looks at it */
    atomic_uint references;
    atomic_bool cancelled;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
    bool done;
    int result;
    async__error *error; /* the detail of the result */
};

static void release(async_concurrent_future *future)
{
    if (atomic_fetch_sub(&future->references, 1) > 1) return;
    pthread_cond_destroy(&future->answered);
    pthread_mutex_destroy(&future->mutex);
    async__error_free(future->error);
    async__free(future);
}

/* The last that the loop's thread does with it. */
static void answer(async_concurrent_future *future, int result, async__error *error)
{
    pthread_mutex_lock(&future->mutex);
    future->result = result;
    future->error = error;
    future->done = true;
    pthread_cond_broadcast(&future->answered);
    pthread_mutex_unlock(&future->mutex);
    release(future);
}

static const char detached[] = "was given up by the thread that had asked for it, and failed";

static void on_task_done(async_task *task)
{
    async_concurrent_future *future = task->owner;
    async__error *error = task->record.error;

    if (atomic_load(&future->references) == 1) async__task_report(task, detached);
    task->record.error = NULL;
    if (error) async__error_passed(error, task);
    async__bury(task);
    future->task = NULL;
    answer(future, task->result, error);
}

const async__claim async__claim_thread = {ASYNC__FUNCTION(on_task_done),
                                          "was asked for by another thread"};

/* In the loop's thread: makes the task. */
static void on_request(async_callback *callback)
{
    async_concurrent_future *future = async__container(callback, async_concurrent_future, request);
    struct async__tasks *tasks = future->loop->client;

    if (!tasks || tasks->closing) {
        answer(future, -ECANCELED, NULL);
        return;
    }
    async_task *task =
        async__task_new(tasks, future->coroutine, future->argument, &(async_task_options){0});
    if (!task) {
        answer(future, -ENOMEM, NULL);
        return;
    }
    task->done = on_task_done;
    task->owner = future;
    future->task = task;
}

static void on_cancel(async_callback *callback)
{
    async_concurrent_future *future = async__container(callback, async_concurrent_future, cancel);

    if (future->task) async_cancel(future->task, "cancelled by another thread");
    release(future);
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
        if (callback->run == on_request) {
            async__ready_unlink(callback);
            answer(async__container(callback, async_concurrent_future, request), -ECANCELED, NULL);
        } else if (callback->run == on_cancel) {
            async__ready_unlink(callback);
            release(async__container(callback, async_concurrent_future, cancel));
        }
    }
    /* Tasks are left only if the loop failed and will not run again. */
    for (async_task *task = tasks->first; task; task = task->next) {
        if (task->done != on_task_done) continue;
        task->done = NULL;
        answer(task->owner, -ECANCELED, NULL);
    }
}

/* Gives the callback to the loop, unless that takes no more. */
static int submit(async_loop *loop, async_callback *callback)
{
    int code = 0;

    atomic_fetch_add(&loop->requesting, 1); /* before the look at the flag: async__requests_end */
    if (atomic_load(&loop->takes_requests))
        async_call_soon_threadsafe(loop, callback);
    else
        code = -ECANCELED;
    atomic_fetch_sub(&loop->requesting, 1);
    return code;
}

static async_concurrent_future *new_future(async_loop *loop, async_coroutine coroutine,
                                           void *argument)
{
    async_concurrent_future *future = async__alloc_zeroed(sizeof *future);
    pthread_condattr_t attributes;

    if (!future) return NULL;
    pthread_mutex_init(&future->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&future->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    future->request.run = on_request;
    future->cancel.run = on_cancel;
    future->loop = loop;
    future->coroutine = coroutine;
    future->argument = argument;
    return future;
}

/* Whether the loop can be asked from here: 0 or a code. */
static int check_loop(async_loop *loop, async_coroutine coroutine, const char *call)
{
    if (!loop) return async__null_in(call, "loop");
    if (!coroutine) return async__failf(-EINVAL, "%s: the coroutine is NULL", call);
    if (async__is_forked(loop)) /* no thread runs it here */
        return async__failf(-ECHILD, "%s: the loop is the parent process's", call);
    return 0;
}

static async_concurrent_future *start_future(async_loop *loop, async_coroutine coroutine,
                                             void *argument, const char *call)
{
    async_concurrent_future *future = new_future(loop, coroutine, argument);
    if (!future) {
        async__failf(-ENOMEM, "%s: no memory", call);
        return NULL;
    }
    atomic_init(&future->references, 2); /* the caller's and the loop's */
    int code = submit(loop, &future->request);
    if (code == 0) return future;
    answer(future, code, NULL);
    release(future);
    async__failf(code, "%s: the loop is at its end, or runs no tasks", call);
    return NULL;
}

async_concurrent_future *async_submit_coroutine_threadsafe(async_loop *loop,
                                                           async_coroutine coroutine,
                                                           void *argument)
{
    int code = check_loop(loop, coroutine, __func__);
    return code < 0 ? NULL : start_future(loop, coroutine, argument, __func__);
}

/* With the mutex held: whether an answer may be waited for. */
static int check_wait(const async_concurrent_future *future, const char *call)
{
    if (future->loop == async__loop())
        return async__failf(-EDEADLK, "%s: the loop cannot wait for itself", call);
    if (!async__is_forked(future->loop)) return 0;
    return async__failf(-ECHILD, "%s: the loop is the parent process's", call);
}

/* With the mutex held. -ETIMEDOUT. */
static int wait_for_answer(async_concurrent_future *future, int64_t timeout, const char *call)
{
    int64_t when = async__deadline(async__clock(), timeout);
    struct timespec until = {.tv_sec = (time_t)(when / ASYNC__SECOND),
                             .tv_nsec = (long)(when % ASYNC__SECOND)};
    int error = 0;

    while (!future->done && error != ETIMEDOUT)
        error = when == ASYNC__NEVER
                    ? pthread_cond_wait(&future->answered, &future->mutex)
                    : pthread_cond_timedwait(&future->answered, &future->mutex, &until);
    if (future->done) return 0;
    return async__failf(-ETIMEDOUT, "%s: no result within %g s", call,
                        timeout > 0 ? (double)timeout / ASYNC__SECOND : 0);
}

/* The detail goes to the first that asks for the result. */
static int take_answer(async_concurrent_future *future)
{
    async__error *error = future->error;

    if (future->result >= 0) return future->result;
    future->error = NULL;
    return error ? async__fail_with(future->result, error) : async__fail(future->result);
}

int async_concurrent_future_result(async_concurrent_future *future, double timeout)
{
    static const char call[] = "async_concurrent_future_result";
    int64_t ns;

    if (!future) return async__null_in(call, "future");
    if (async__seconds_to_ns(timeout, &ns) < 0)
        return async__failf(-EINVAL, "%s: the timeout is not a number", call);
    pthread_mutex_lock(&future->mutex);
    int code = future->done || ns <= 0 ? 0 : check_wait(future, call);
    if (code == 0) code = wait_for_answer(future, ns, call);
    if (code == 0) code = take_answer(future);
    pthread_mutex_unlock(&future->mutex);
    return code;
}

bool async_concurrent_future_done(async_concurrent_future *future)
{
    if (!future) return true;
    pthread_mutex_lock(&future->mutex);
    bool done = future->done;
    pthread_mutex_unlock(&future->mutex);
    return done;
}

bool async_concurrent_future_cancel(async_concurrent_future *future)
{
    bool sent = false;

    if (!future || atomic_exchange(&future->cancelled, true)) return false;
    atomic_fetch_add(&future->references, 1);
    pthread_mutex_lock(&future->mutex); /* so that the loop does not go meanwhile */
    if (!future->done && !async__is_forked(future->loop))
        sent = submit(future->loop, &future->cancel) == 0;
    pthread_mutex_unlock(&future->mutex);
    if (!sent) release(future);
    return sent;
}

void async_concurrent_future_free(async_concurrent_future *future)
{
    if (future) release(future);
}

int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine, void *argument)
{
    int code = check_loop(loop, coroutine, __func__);
    if (code < 0) return code;
    if (loop == async__loop())
        return async__failf(-EDEADLK,
                            "async_run_coroutine_threadsafe: the loop cannot wait for itself");
    async_concurrent_future *future = start_future(loop, coroutine, argument, __func__);
    if (!future) return async_error_code();
    code = async_concurrent_future_result(future, INFINITY);
    async_concurrent_future_free(future);
    return code;
}
