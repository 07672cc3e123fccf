/* pool.c - threads for what cannot be done without blocking.
 *
 * A loop has up to two pools: the executor, for the user's work, and the resolver, for getaddrinfo
 * (so that slow work cannot starve name look-ups, nor a dead name server the work). A pool serves
 * one loop, and all its functions are called in that loop's thread.
 *
 * The life of a job is its state, which the pool's mutex protects:
 *
 *     IDLE -> QUEUED -> RUNNING -> FINISHED -> IDLE, done()
 *                          |           |
 *                          +-----------+-> ABANDONED -> IDLE, drop()
 *
 * A worker sets FINISHED and passes job->callback to the loop in one step under the mutex. So the
 * loop's thread never sees a finished job whose callback is not queued, and once async__pool_close
 * has marked a job ABANDONED, its worker does not access the loop again. Abandoning a job only sets
 * its state: the worker at the end of the work, or the loop when it runs the callback, then calls
 * drop.
 *
 * The pool is reference-counted: the loop has one reference, and each worker one. A worker that is
 * in a job when the loop closes and is not to be waited for (a name server that does not answer
 * takes half a minute) is detached; the last reference frees the pool. */
#include "debug.h"
#include "layout.h"
#include "trace.h"

#include <casyncio/metrics.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "../base/faults.h"
#include "../base/probes.h"

enum { IDLE, QUEUED, RUNNING, FINISHED, ABANDONED };

/* gcc's libtsan keeps 780 KiB of each thread's stack for itself. */
#ifdef __SANITIZE_THREAD__
#define SANITIZER_SHARE (1024 * 1024)
#else
#define SANITIZER_SHARE 0
#endif

enum {
    /* Address space, committed page by page. getaddrinfo needs 12 KiB of it on its own, and some
     * of the modules that nsswitch.conf may bring in need some hundred. */
    STACK_SIZE = 1024 * 1024 + SANITIZER_SHARE,
    MAX_THREADS = 32,
    NAME_SIZE = 16, /* the kernel's limit, TASK_COMM_LEN */
};

struct worker {
    struct worker *next; /* of pool->workers */
    struct async__pool *pool;
    pthread_t thread;
    async_job *job; /* whose work runs; NULL before and after */
    bool busy;      /* in a job's work or drop, which may block */
    bool detached;  /* frees itself */
    unsigned number;
};

struct async__pool {
    pthread_mutex_t mutex;
    pthread_cond_t wanted; /* there is a job, or the pool closes */
    atomic_uint references;
    async_loop *loop;
    async_job *first, *last;
    struct worker *workers;
    unsigned queued, threads, max_threads, kept_threads;
    unsigned idle; /* workers that wait for a job or are about to; a new one from its creation on */
    unsigned numbers; /* workers ever made */
    uint64_t begun;   /* jobs, and how long they waited for a thread */
    int64_t waited, waited_most;
    bool closing;
    pid_t process;
    char name[NAME_SIZE];
};

#define POOL(member) offsetof(struct async__pool, member)

const struct async__pool_layout async__pool_layout = {
    .size = sizeof(struct async__pool),
    .queued = POOL(queued),
    .threads = POOL(threads),
    .max_threads = POOL(max_threads),
    .idle = POOL(idle),
    .begun = POOL(begun),
    .waited = POOL(waited),
    .waited_most = POOL(waited_most),
};

static void release(struct async__pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) > 1) return;
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->mutex);
    async__free(pool);
}

/* ---- the queue; the mutex is held ---- */

static void enqueue(struct async__pool *pool, async_job *job)
{
    job->state = QUEUED;
    job->next = NULL;
    job->prev = pool->last;
    if (pool->last)
        pool->last->next = job;
    else
        pool->first = job;
    pool->last = job;
    pool->queued++;
}

static void dequeue(struct async__pool *pool, async_job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        pool->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        pool->last = job->prev;
    job->next = job->prev = NULL;
    pool->queued--;
}

/* ---- the end of a job, the mutex not held ---- */

static void drop(async_job *job)
{
    job->state = IDLE;
    job->pool = NULL;
    if (job->drop) job->drop(job);
}

/* job->callback, in the loop. No lock is needed: the worker does not access the job any more, and
 * passing the callback to the loop has made its writes visible here. */
static void deliver(async_callback *callback)
{
    async_job *job = async__container(callback, async_job, callback);
    if (job->state == ABANDONED) {
        drop(job);
        return;
    }
    job->state = IDLE;
    job->pool = NULL;
    job->loop->jobs--;
    if (async__unlikely(job->begun_at != 0) && job->loop->trace)
        async__trace_job(job->loop, ASYNC__TRACE_JOB, job);
    job->done(job);
}

/* ---- workers ---- */

static void count_begun(struct async__pool *pool, async_job *job)
{
    int64_t now = async__clock(), waited = now - job->queued_at;
    if (async__unlikely(job->begun_at != 0)) job->begun_at = now;
    pool->begun++;
    pool->waited += waited;
    if (waited > pool->waited_most) pool->waited_most = waited;
}

static void run_first(struct async__pool *pool, struct worker *self)
{
    async_job *job = pool->first;
    dequeue(pool, job);
    count_begun(pool, job);
    pool->idle--;
    job->state = RUNNING;
    self->job = job;
    self->busy = true;
    pthread_mutex_unlock(&pool->mutex);

    ASYNC__PROBE(job__begun, job);
    job->work(job);
    ASYNC__PROBE(job__ended, job);
    if (async__unlikely(job->begun_at != 0)) job->queued_at = async__clock(); /* its end */

    pthread_mutex_lock(&pool->mutex);
    self->job = NULL;
    if (job->state == ABANDONED) {
        pthread_mutex_unlock(&pool->mutex);
        drop(job);
        pthread_mutex_lock(&pool->mutex);
    } else {
        job->state = FINISHED;
        async_call_soon_threadsafe(job->loop, &job->callback);
    }
    self->busy = false;
    pool->idle++;
}

/* The mutex is held. Threads beyond those that are kept were made because the others were stuck:
 * once there is nothing to do they end. */
static void leave(struct async__pool *pool, struct worker *self)
{
    struct worker **place = &pool->workers;
    while (*place != self)
        place = &(*place)->next;
    *place = self->next;
    pool->idle--;
    pool->threads--;
    self->detached = true;
    pthread_detach(self->thread);
}

/* The mutex is held. False: the worker is to end. */
static bool wait_for_job(struct async__pool *pool, struct worker *self)
{
    while (!pool->first && !pool->closing) {
        if (pool->idle > pool->kept_threads) {
            leave(pool, self);
            return false;
        }
        pthread_cond_wait(&pool->wanted, &pool->mutex);
    }
    return !pool->closing;
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct async__pool *pool = self->pool;
    char name[NAME_SIZE];
#ifdef ASYNC_FAULTS
    async__fault_worker = true;
#endif
    if (snprintf(name, sizeof name, "%s-%u", pool->name, self->number) > 0)
        pthread_setname_np(pthread_self(), name);

    pthread_mutex_lock(&pool->mutex);
    while (wait_for_job(pool, self))
        run_first(pool, self);
    bool detached = self->detached;
    pthread_mutex_unlock(&pool->mutex);

    if (detached) async__free(self);
    release(pool);
    return NULL;
}

/* Signals go to the program's own threads, so that its handlers do not run on a worker's stack.
 * Those of faults stay unblocked: the kernel kills a process whose thread faults with the signal
 * blocked, and no handler could report it. */
void async__block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&set, faults[i]);
    pthread_sigmask(SIG_SETMASK, &set, before);
}

static bool add_worker(struct async__pool *pool)
{
    pthread_attr_t attributes;
    sigset_t before;
    struct worker *worker = async__alloc_zeroed(sizeof *worker);
    if (!worker) return false;
    worker->pool = pool;
    worker->number = pool->numbers++;
    if (pthread_attr_init(&attributes) != 0) {
        async__free(worker);
        return false;
    }
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
    async__block_signals(&before);
    int error = EAGAIN;
    if (!async__fault(ASYNC__FAULT_SYSTEM_CALL))
        error = pthread_create(&worker->thread, &attributes, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) {
        atomic_fetch_sub_explicit(&pool->references, 1, memory_order_relaxed);
        async__free(worker);
        return false;
    }
    worker->next = pool->workers;
    pool->workers = worker;
    pool->threads++;
    pool->idle++;
    return true;
}

/* ---- the pool ---- */

/* Python's default: work that blocks on input and output needs more threads than processors. */
static unsigned default_threads(void)
{
    cpu_set_t set;
    long processors;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        processors = CPU_COUNT(&set);
    else
        processors = sysconf(_SC_NPROCESSORS_ONLN); /* there are more than the set has bits */
    if (processors < 1) processors = 1;
    return processors + 4 < MAX_THREADS ? (unsigned)processors + 4 : MAX_THREADS;
}

struct async__pool *async__pool_new(unsigned max_threads, unsigned kept_threads, const char *name)
{
    struct async__pool *pool = async__alloc_zeroed(sizeof *pool);
    if (!pool) return NULL;
    if (pthread_mutex_init(&pool->mutex, NULL) != 0) {
        async__free(pool);
        return NULL;
    }
    if (pthread_cond_init(&pool->wanted, NULL) != 0) {
        pthread_mutex_destroy(&pool->mutex);
        async__free(pool);
        return NULL;
    }
    atomic_init(&pool->references, 1);
    pool->max_threads = max_threads ? max_threads : default_threads();
    pool->kept_threads = kept_threads ? kept_threads : pool->max_threads;
    pool->process = getpid();
    snprintf(pool->name, sizeof pool->name, "%.*s", NAME_SIZE - 5, name);
    return pool;
}

int async__pool_submit(struct async__pool *pool, async_loop *loop, async_job *job)
{
    /* The threads are the parent's, and one of them may have held the mutex as it forked. */
    if (async__is_forked(loop)) return -ECHILD;
    job->pool = pool;
    job->loop = loop;
    job->callback = (async_callback){.run = deliver};
    job->queued_at = async__clock();
    job->begun_at = loop->trace != NULL; /* not 0: to be noted */

    if (async__unlikely(loop->trace != NULL)) async__trace_job(loop, ASYNC__TRACE_QUEUED, job);
    ASYNC__PROBE2(job__queued, job, job->work);
    pthread_mutex_lock(&pool->mutex);
    pool->loop = loop;
    enqueue(pool, job);
    if (pool->queued > pool->idle && pool->threads < pool->max_threads) add_worker(pool);
    if (pool->threads == 0) {
        dequeue(pool, job);
        job->state = IDLE;
        job->pool = NULL;
        pthread_mutex_unlock(&pool->mutex);
        if (loop->trace) async__trace_job(loop, ASYNC__TRACE_DROPPED, job);
        return -EAGAIN;
    }
    pthread_cond_signal(&pool->wanted);
    pthread_mutex_unlock(&pool->mutex);
    loop->jobs++;
    return 0;
}

/* Drops the finished jobs whose callbacks the loop has not run: they are in its incoming stack or in
 * its ready queue. All are taken out before the first is dropped, since a drop may change the queue. */
static void drop_finished(struct async__pool *pool)
{
    async_loop *loop = pool->loop;
    async_job *found = NULL, *next_job;
    async_callback *callback, *next;
    if (!loop) return;
    async__take_incoming(loop);
    for (callback = loop->ready.next; callback != &loop->ready; callback = next) {
        next = callback->next;
        if (callback->run != deliver) continue;
        async_job *job = async__container(callback, async_job, callback);
        if (job->pool != pool) continue;
        async__ready_unlink(callback);
        if (job->state == FINISHED) loop->jobs--;
        job->next = found;
        found = job;
    }
    for (; found; found = next_job) {
        next_job = found->next;
        drop(found);
    }
}

/* Marks running jobs as abandoned, and gives the workers that are to be joined: with `wait` all,
 * else those that are not in a job. The others are detached. The mutex is held. */
static struct worker *take_workers(struct async__pool *pool, bool wait)
{
    struct worker *joined = NULL, *worker, *next;
    for (worker = pool->workers; worker; worker = next) {
        next = worker->next;
        if (worker->job && worker->job->state == RUNNING) {
            worker->job->state = ABANDONED;
            worker->job->loop->jobs--;
        }
        if (worker->busy && !wait) {
            worker->detached = true;
            pthread_detach(worker->thread);
        } else {
            worker->next = joined;
            joined = worker;
        }
    }
    pool->workers = NULL;
    return joined;
}

/* In a child after fork the workers do not exist, one of them may have held the mutex as it forked,
 * and their jobs are the parent's: only the pool's own memory is freed. */
static void free_in_child(struct async__pool *pool)
{
    struct worker *worker, *next;
    for (worker = pool->workers; worker; worker = next) {
        next = worker->next;
        async__free(worker);
    }
    async__free(pool);
}

void async__pool_close(struct async__pool *pool, bool wait)
{
    if (!pool) return;
    if (pool->process != getpid()) {
        free_in_child(pool);
        return;
    }

    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    if (pool->loop) pool->loop->jobs -= pool->queued;
    async_job *job = pool->first, *next_job;
    pool->first = pool->last = NULL;
    pool->queued = 0;
    struct worker *worker = take_workers(pool, wait), *next;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->mutex);

    for (; job; job = next_job) {
        next_job = job->next;
        drop(job);
    }
    for (; worker; worker = next) {
        next = worker->next;
        pthread_join(worker->thread, NULL);
        async__free(worker);
    }
    drop_finished(pool);
    release(pool);
}

void async__pool_metrics(struct async__pool *pool, async_metrics *metrics)
{
    if (!pool || pool->process != getpid())
        return; /* a worker may have held the mutex as it forked */
    pthread_mutex_lock(&pool->mutex);
    metrics->jobs_queued += pool->queued;
    metrics->threads += pool->threads;
    for (const struct worker *worker = pool->workers; worker; worker = worker->next)
        if (worker->job) metrics->jobs_running++;
    metrics->jobs_begun += pool->begun;
    metrics->jobs_waited += (double)pool->waited * 1e-9;
    double most = (double)pool->waited_most * 1e-9;
    if (most > metrics->jobs_waited_most) metrics->jobs_waited_most = most;
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- jobs ---- */

int async_run_in_executor(async_loop *loop, async_job *job)
{
    if (async__wrong_thread(loop, "async_run_in_executor")) return -EPERM;
    if (!loop->executor) {
        loop->executor = async__pool_new(loop->executor_threads, 0, "async-work");
        if (!loop->executor) return -ENOMEM;
    }
    return async__pool_submit(loop->executor, loop, job);
}

bool async_job_cancel(async_job *job)
{
    struct async__pool *pool = job->pool;
    if (!pool || async__is_forked(job->loop)) return false;
    pthread_mutex_lock(&pool->mutex);
    bool queued = job->state == QUEUED;
    if (queued) {
        dequeue(pool, job);
        job->state = IDLE;
        job->pool = NULL;
        job->loop->jobs--;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (queued && job->loop->trace) async__trace_job(job->loop, ASYNC__TRACE_DROPPED, job);
    return queued;
}

void async_job_abandon(async_job *job)
{
    if (async_job_cancel(job)) {
        drop(job);
        return;
    }
    struct async__pool *pool = job->pool;
    if (!pool || async__is_forked(job->loop)) return;
    if (job->loop->trace) async__trace_job(job->loop, ASYNC__TRACE_DROPPED, job);
    pthread_mutex_lock(&pool->mutex);
    if (job->state == RUNNING || job->state == FINISHED) {
        job->state = ABANDONED;
        job->loop->jobs--;
    }
    pthread_mutex_unlock(&pool->mutex);
}
