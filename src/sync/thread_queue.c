/* thread_queue.c - a queue between threads, and between the tasks of several loops.
 *
 * What is exchanged and what waits is as in queue.c, under a mutex that is held for no longer than
 * that takes. A waiter is a task or a thread. One that is served has what it waited for: a thread by
 * its condition variable, a task by a callback in its loop, which wakes it; a cancellation that comes
 * in between finds it served, and leaves the wake-up to the callback. */
#include "queue_core.h"

#include <casyncio/queues.h>
#include <math.h>
#include <pthread.h>

struct async_thread_queue {
    pthread_mutex_t mutex;
    struct async__queue_core core; /* the waiters are parties */
    async_iterator iterator;
};

/* A task or a thread that waits; in its frame. */
struct party {
    async__waiter waiter;
    struct async__exchange exchange;
    bool served;
    async_loop *loop;         /* a task's, or NULL */
    async_callback callback;  /* in that loop */
    pthread_cond_t on_served; /* a thread's */
};

static int next_item(async_iterator *iterator, void *value);

async_thread_queue *async_thread_queue_new(size_t item_size, size_t maxsize)
{
    struct async__items items = {0};
    if (async__items_init(&items, item_size, maxsize, NULL, NULL, __func__) < 0) return NULL;
    async_thread_queue *queue = async__alloc_zeroed(sizeof *queue);
    if (!queue) {
        async__fail_text(-ENOMEM, "async_thread_queue_new: no memory");
        return NULL;
    }
    pthread_mutex_init(&queue->mutex, NULL);
    async__core_open(&queue->core, &items);
    queue->iterator.next = next_item;
    queue->iterator.size = item_size;
    return queue;
}

void async_thread_queue_free(async_thread_queue *queue)
{
    if (!queue) return;
    pthread_mutex_destroy(&queue->mutex);
    async__free(queue->core.items.block);
    async__free(queue);
}

__attribute__((cold, noinline)) static int misused(const async_thread_queue *queue,
                                                   const char *call)
{
    return async__misuse(queue ? async__failf(-EINVAL, "%s: the item is NULL", call)
                               : async__null_in(call, "thread queue"));
}

/* What a call does: for its messages. */
struct deed {
    const char *call, *what; /* for the call graph */
    const char *no;          /* what did not come about in time */
    struct async__refusals refusals;
};
#define DEED(name, state, no)                                                                      \
    {                                                                                              \
        "async_thread_queue_" name, "thread queue, to " name, no,                                  \
            ASYNC__REFUSALS_OF("async_thread_queue_" name, state)                                  \
    }
enum { PUT, GET, JOIN, PUT_NOWAIT, GET_NOWAIT, PUT_THREADSAFE, GET_THREADSAFE, JOIN_THREADSAFE };
static const struct deed deeds[] = {
    [PUT] = DEED("put", "full", NULL),
    [GET] = DEED("get", "empty", NULL),
    [JOIN] = DEED("join", "not done", NULL),
    [PUT_NOWAIT] = DEED("put_nowait", "full", NULL),
    [GET_NOWAIT] = DEED("get_nowait", "empty", NULL),
    [PUT_THREADSAFE] = DEED("put_threadsafe", "full", "no room"),
    [GET_THREADSAFE] = DEED("get_threadsafe", "empty", "no item"),
    [JOIN_THREADSAFE] = DEED("join_threadsafe", "not done", "not all items were processed"),
};

static void lock(const async_thread_queue *queue)
{
    pthread_mutex_lock((pthread_mutex_t *)&queue->mutex);
}

static void unlock(const async_thread_queue *queue)
{
    pthread_mutex_unlock((pthread_mutex_t *)&queue->mutex);
}

size_t async_thread_queue_size(const async_thread_queue *queue)
{
    if (!queue) return 0;
    lock(queue);
    size_t size = queue->core.items.count;
    unlock(queue);
    return size;
}

bool async_thread_queue_empty(const async_thread_queue *queue)
{
    return async_thread_queue_size(queue) == 0;
}

bool async_thread_queue_full(const async_thread_queue *queue)
{
    if (!queue) return false;
    lock(queue);
    bool full = async__core_full(&queue->core);
    unlock(queue);
    return full;
}

/* ---- waiting; all of it with the mutex held ---- */

static void on_served(async_callback *callback)
{
    async__unpark(&async__container(callback, struct party, callback)->waiter.wait);
}

static async__waiter *serve_first(struct async__wait_list *list)
{
    async__waiter *first = list->first;
    if (!first) return NULL;

    struct party *party = async__container(first, struct party, waiter);
    async__list_remove(first);
    party->served = true;
    if (!party->loop)
        pthread_cond_signal(&party->on_served);
    else if (party->loop == async__loop())
        async__unpark(&first->wait);
    else
        async_call_soon_threadsafe(party->loop, &party->callback);
    return first;
}

struct task_party {
    struct party party;
    async_thread_queue *queue;
};

static void interrupt(async__wait *wait)
{
    struct task_party *self = async__container(wait, struct task_party, party.waiter.wait);

    lock(self->queue);
    bool waits = !self->party.served;
    if (waits) async__list_remove(&self->party.waiter);
    unlock(self->queue);
    if (waits) async__unpark(wait);
}

/* In a task. Comes back without the mutex. */
static int wait_as_task(async_thread_queue *queue, struct async__wait_list *list,
                        const struct deed *deed, void *item)
{
    async_loop *loop = async__loop();
    struct task_party self = {
        .party = {.waiter = {.wait = {.task = async__current,
                                      .interrupt = interrupt,
                                      .what = deed->what,
                                      .fd = -1}},
                  .exchange = {.item = item},
                  .loop = loop,
                  .callback = {.run = on_served}},
        .queue = queue,
    };

    self.party.waiter.item = &self.party.exchange;
    async__list_append(list, &self.party.waiter);
    unlock(queue);
    loop->foreign++; /* another thread may end the wait: it is no deadlock */
    async__park(&self.party.waiter.wait);
    loop->foreign--;
    /* The thread that has served this task may still be about to wake the loop, which must not be
     * closed before it has: it has the mutex until then. */
    lock(queue);
    unlock(queue);
    if (!self.party.served) return async__interrupted(async__current);
    int code = self.party.exchange.code;
    return code < 0 ? async__core_refuse(code, &deed->refusals) : 0;
}

static void deadline_after(double seconds, struct timespec *deadline)
{
    int64_t ns;
    async__seconds_to_ns(seconds, &ns);
    ns = async__deadline(async__clock(), ns);
    deadline->tv_sec = ns / ASYNC__SECOND;
    deadline->tv_nsec = ns % ASYNC__SECOND;
}

/* In a thread. Comes back without the mutex. */
static int wait_as_thread(async_thread_queue *queue, struct async__wait_list *list, double timeout,
                          const struct deed *deed, void *item)
{
    struct party self = {.exchange = {.item = item}};
    struct timespec deadline;
    pthread_condattr_t attributes;

    deadline_after(timeout, &deadline);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self.on_served, &attributes);
    pthread_condattr_destroy(&attributes);
    self.waiter.item = &self.exchange;
    async__list_append(list, &self.waiter);

    int error = 0;
    while (!self.served && !error)
        error = isinf(timeout) ? pthread_cond_wait(&self.on_served, &queue->mutex)
                               : pthread_cond_timedwait(&self.on_served, &queue->mutex, &deadline);
    if (!self.served) async__list_remove(&self.waiter);
    unlock(queue);
    pthread_cond_destroy(&self.on_served);
    if (!self.served)
        return async__failf(-ETIMEDOUT, "%s: %s within %g s", deed->call, deed->no,
                            timeout > 0 ? timeout : 0);
    return self.exchange.code < 0 ? async__core_refuse(self.exchange.code, &deed->refusals) : 0;
}

/* ---- put and get ---- */

static int settle(async_thread_queue *queue, int code, const struct deed *deed)
{
    unlock(queue);
    return code < 0 ? async__core_refuse(code, &deed->refusals) : 0;
}

/* Each gives 0 or a code with the mutex held: -EAGAIN means to wait. */
static int put_now(async_thread_queue *queue, const void *item)
{
    lock(queue);
    return async__core_put(&queue->core, item, serve_first);
}

static int get_now(async_thread_queue *queue, void *item)
{
    lock(queue);
    return async__core_get(&queue->core, item, serve_first);
}

static int join_now(async_thread_queue *queue)
{
    lock(queue);
    return queue->core.unfinished > 0 ? -EAGAIN : 0;
}

int async_thread_queue_put(async_thread_queue *queue, const void *item)
{
    if (!queue || !item) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0) return code;
    code = put_now(queue, item);
    if (code != -EAGAIN) return settle(queue, code, &deeds[PUT]);
    return wait_as_task(queue, &queue->core.putters, &deeds[PUT], (void *)item);
}

int async_thread_queue_get(async_thread_queue *queue, void *item)
{
    if (!queue || !item) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0) return code;
    code = get_now(queue, item);
    if (code != -EAGAIN) return settle(queue, code, &deeds[GET]);
    return wait_as_task(queue, &queue->core.getters, &deeds[GET], item);
}

int async_thread_queue_join(async_thread_queue *queue)
{
    if (!queue) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0) return code;
    code = join_now(queue);
    if (code != -EAGAIN) return settle(queue, code, &deeds[JOIN]);
    return wait_as_task(queue, &queue->core.joiners, &deeds[JOIN], NULL);
}

int async_thread_queue_put_nowait(async_thread_queue *queue, const void *item)
{
    return queue && item ? settle(queue, put_now(queue, item), &deeds[PUT_NOWAIT])
                         : misused(queue, __func__);
}

int async_thread_queue_get_nowait(async_thread_queue *queue, void *item)
{
    return queue && item ? settle(queue, get_now(queue, item), &deeds[GET_NOWAIT])
                         : misused(queue, __func__);
}

/* Whether this thread may be blocked. */
static int check_thread(const async_thread_queue *queue, double timeout, const char *call)
{
    if (!queue) return misused(queue, call);
    if (isnan(timeout))
        return async__misuse(async__failf(-EINVAL, "%s: the timeout is not a number", call));
    if (async__loop())
        return async__misuse(
            async__failf(-EDEADLK, "%s: would block the thread of a loop that runs", call));
    return 0;
}

int async_thread_queue_put_threadsafe(async_thread_queue *queue, const void *item, double timeout)
{
    int code = check_thread(queue, timeout, __func__);
    if (code < 0) return code;
    if (!item) return misused(queue, __func__);
    code = put_now(queue, item);
    if (code != -EAGAIN) return settle(queue, code, &deeds[PUT_THREADSAFE]);
    return wait_as_thread(queue, &queue->core.putters, timeout, &deeds[PUT_THREADSAFE],
                          (void *)item);
}

int async_thread_queue_get_threadsafe(async_thread_queue *queue, void *item, double timeout)
{
    int code = check_thread(queue, timeout, __func__);
    if (code < 0) return code;
    if (!item) return misused(queue, __func__);
    code = get_now(queue, item);
    if (code != -EAGAIN) return settle(queue, code, &deeds[GET_THREADSAFE]);
    return wait_as_thread(queue, &queue->core.getters, timeout, &deeds[GET_THREADSAFE], item);
}

int async_thread_queue_join_threadsafe(async_thread_queue *queue, double timeout)
{
    int code = check_thread(queue, timeout, __func__);
    if (code < 0) return code;
    code = join_now(queue);
    if (code != -EAGAIN) return settle(queue, code, &deeds[JOIN_THREADSAFE]);
    return wait_as_thread(queue, &queue->core.joiners, timeout, &deeds[JOIN_THREADSAFE], NULL);
}

/* ---- task_done, shutdown, iteration ---- */

int async_thread_queue_task_done(async_thread_queue *queue)
{
    if (!queue) return misused(queue, __func__);
    lock(queue);
    int code = async__core_task_done(&queue->core, serve_first);
    unlock(queue);
    return code == 0 ? 0
                     : async__failf(code, "async_thread_queue_task_done: called more often than "
                                          "items were put");
}

void async_thread_queue_shutdown(async_thread_queue *queue, bool now)
{
    if (!queue) return;
    lock(queue);
    async__core_shutdown(&queue->core, now, serve_first);
    unlock(queue);
}

static int next_item(async_iterator *iterator, void *value)
{
    int code =
        async_thread_queue_get(async__container(iterator, async_thread_queue, iterator), value);
    return code == 0 ? 1 : code == ASYNC_ESHUTDOWN ? 0 : code;
}

async_iterator *async_thread_queue_items(async_thread_queue *queue)
{
    if (queue) return &queue->iterator;
    async__fail_null("async_thread_queue_items: the thread queue");
    return NULL;
}
