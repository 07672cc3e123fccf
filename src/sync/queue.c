/* queue.c - a queue of items of one size, between the tasks of one loop.
 *
 * An item that is put while a getter waits goes straight to where that getter wants it, and the item
 * of a putter that waits for room goes among the others as a place comes free: so a task that is
 * woken has what it waited for, and a cancellation can lose nothing. Getters wait only while the
 * queue is empty, so that this is right for every order. */
#include "select.h"

struct async_queue {
    struct async__queue_core core;
    async_iterator iterator;
};

static async_queue *new_queue(size_t item_size, size_t maxsize, const struct async__order *order,
                              int (*compare)(const void *, const void *), const char *call)
{
    struct async__items items = {0};
    if (async__items_init(&items, item_size, maxsize, order, compare, call) < 0) return NULL;
    async_queue *queue = async__alloc_zeroed(sizeof *queue);
    if (!queue) {
        async__failf(-ENOMEM, "%s: no memory", call);
        return NULL;
    }
    async__core_open(&queue->core, &items);
    return queue;
}

async_queue *async_queue_new(size_t item_size, size_t maxsize)
{
    return new_queue(item_size, maxsize, NULL, NULL, __func__);
}

async_queue *async_lifo_queue_new(size_t item_size, size_t maxsize)
{
    return new_queue(item_size, maxsize, &async__lifo, NULL, __func__);
}

async_queue *async_priority_queue_new(size_t item_size, size_t maxsize,
                                      int (*compare)(const void *a, const void *b))
{
    return new_queue(item_size, maxsize, &async__priority, compare, __func__);
}

void async_queue_free(async_queue *queue)
{
    if (!queue) return;
    async__free(queue->core.items.block);
    async__free(queue);
}

__attribute__((cold, noinline)) static int misused(const async_queue *queue, const char *call)
{
    return async__misuse(queue ? async__failf(-EINVAL, "%s: the item is NULL", call)
                               : async__null_in(call, "queue"));
}

size_t async_queue_size(const async_queue *queue) { return queue ? queue->core.items.count : 0; }

bool async_queue_empty(const async_queue *queue) { return async_queue_size(queue) == 0; }

bool async_queue_full(const async_queue *queue) { return queue && async__core_full(&queue->core); }

/* ---- put and get ---- */

static inline int put_now(async_queue *queue, const void *item)
{
    return async__core_put(&queue->core, item, async__wake_first);
}

static inline int get_now(async_queue *queue, void *item)
{
    return async__core_get(&queue->core, item, async__wake_first);
}

static const struct async__refusals put_refusals = ASYNC__REFUSALS_OF("async_queue_put", "full");
static const struct async__refusals get_refusals = ASYNC__REFUSALS_OF("async_queue_get", "empty");
static const struct async__refusals put_nowait_refusals =
    ASYNC__REFUSALS_OF("async_queue_put_nowait", "full");
static const struct async__refusals get_nowait_refusals =
    ASYNC__REFUSALS_OF("async_queue_get_nowait", "empty");

static int exchange(struct async__wait_list *list, void *item, const char *what,
                    const struct async__refusals *refusals)
{
    struct async__exchange exchange = {.item = item};
    int code = async__wait_in(list, what, &exchange);
    if (code < 0) return code;
    return async__unlikely(exchange.code < 0) ? async__core_refuse(exchange.code, refusals) : 0;
}

int async_queue_put(async_queue *queue, const void *item)
{
    if (async__unlikely(!queue || !item)) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0) return code;
    code = put_now(queue, item);
    if (code == -EAGAIN)
        return exchange(&queue->core.putters, (void *)item, "queue, to put", &put_refusals);
    return async__unlikely(code < 0) ? async__core_refuse(code, &put_refusals) : 0;
}

int async_queue_get(async_queue *queue, void *item)
{
    if (async__unlikely(!queue || !item)) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0) return code;
    code = get_now(queue, item);
    if (code == -EAGAIN)
        return exchange(&queue->core.getters, item, "queue, to get", &get_refusals);
    return async__unlikely(code < 0) ? async__core_refuse(code, &get_refusals) : 0;
}

int async_queue_put_nowait(async_queue *queue, const void *item)
{
    if (async__unlikely(!queue || !item)) return misused(queue, __func__);
    int code = put_now(queue, item);
    return async__unlikely(code < 0) ? async__core_refuse(code, &put_nowait_refusals) : 0;
}

int async_queue_get_nowait(async_queue *queue, void *item)
{
    if (async__unlikely(!queue || !item)) return misused(queue, __func__);
    int code = get_now(queue, item);
    return async__unlikely(code < 0) ? async__core_refuse(code, &get_nowait_refusals) : 0;
}

/* ---- cases of async_select ---- */

static int case_check(const async_case *self)
{
    if (self->object && self->item) return 0;
    return self->object ? async__failf(-EINVAL, "async_select: the item is NULL")
                        : async__failf(-EBADF, "async_select: the queue is NULL");
}

static int done(int code) { return code == -EAGAIN ? 0 : code < 0 ? code : 1; }

static int get_attempt(const async_case *self) { return done(get_now(self->object, self->item)); }
static int put_attempt(const async_case *self) { return done(put_now(self->object, self->item)); }
static struct async__wait_list *get_list(const async_case *self)
{
    return &((async_queue *)self->object)->core.getters;
}
static struct async__wait_list *put_list(const async_case *self)
{
    return &((async_queue *)self->object)->core.putters;
}
static const struct async__case_type get_case = {case_check, get_attempt, get_list, NULL, NULL};
static const struct async__case_type put_case = {case_check, put_attempt, put_list, NULL, NULL};

async_case async_case_get(async_queue *queue, void *item)
{
    return (async_case){.type = &get_case, .object = queue, .item = item};
}

async_case async_case_put(async_queue *queue, const void *item)
{
    return (async_case){.type = &put_case, .object = queue, .item = (void *)item};
}

/* ---- join and shutdown ---- */

int async_queue_task_done(async_queue *queue)
{
    if (!queue) return misused(queue, __func__);
    if (async__core_task_done(&queue->core, async__wake_first) == 0) return 0;
    return async__failf(-EINVAL, "async_queue_task_done: called more often than items were put");
}

int async_queue_join(async_queue *queue)
{
    if (!queue) return misused(queue, __func__);
    int code = async__checkpoint();
    if (code < 0 || queue->core.unfinished == 0) return code;
    return async__wait_in(&queue->core.joiners, "queue, to join", NULL);
}

void async_queue_shutdown(async_queue *queue, bool now)
{
    if (queue) async__core_shutdown(&queue->core, now, async__wake_first);
}

static int next_item(async_iterator *iterator, void *value)
{
    int code = async_queue_get(async__container(iterator, async_queue, iterator), value);
    return code == 0 ? 1 : code == ASYNC_ESHUTDOWN ? 0 : code;
}

async_iterator *async_queue_items(async_queue *queue)
{
    if (!queue) {
        async__fail_null("async_queue_items: the queue");
        return NULL;
    }
    queue->iterator.next = next_item;
    queue->iterator.size = queue->core.items.size;
    return &queue->iterator;
}
