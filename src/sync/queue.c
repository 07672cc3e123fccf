/* queue.c - a queue of items of one size.
 *
 * The items lie in a ring that grows by doubling. An item that is put while a getter waits goes
 * straight to where that getter wants it, and the item of a putter that waits for room goes
 * straight into the ring as a place comes free: so a task that is woken has what it waited for, and
 * a cancellation can lose nothing. */
#include "../task/task.h"

#include <casyncio/queues.h>
#include <string.h>

#define FIRST_CAPACITY 8

struct async_queue {
    char *ring;
    size_t item_size, maxsize, capacity, head, count;
    size_t limit; /* of count for a put: maxsize, SIZE_MAX, or 0 once shut down */
    struct async__wait_list getters, putters, joiners;
    size_t unfinished; /* items that were put and not yet reported by task_done */
    bool shut;
    async_iterator items;
};

/* A waiter's item: what a putter offers, or where a getter wants it. */
struct exchange {
    void *item;
    bool shut; /* the queue was shut down: nothing was exchanged */
};

async_queue *async_queue_new(size_t item_size, size_t maxsize)
{
    if (item_size == 0) {
        async__failf(-EINVAL, "async_queue_new: items of 0 bytes");
        return NULL;
    }
    async_queue *queue = async__alloc_zeroed(sizeof *queue);
    if (!queue) {
        async__fail(-ENOMEM);
        return NULL;
    }
    queue->item_size = item_size;
    queue->maxsize = maxsize;
    queue->limit = maxsize ? maxsize : SIZE_MAX;
    return queue;
}

void async_queue_free(async_queue *queue)
{
    if (!queue) return;
    async__free(queue->ring);
    async__free(queue);
}

__attribute__((cold, noinline)) static int no_queue(void)
{
    return async__misuse(async__failf(-EBADF, "the queue is NULL"));
}

size_t async_queue_size(const async_queue *queue) { return queue ? queue->count : 0; }

bool async_queue_empty(const async_queue *queue) { return async_queue_size(queue) == 0; }

bool async_queue_full(const async_queue *queue)
{
    return queue && queue->maxsize != 0 && queue->count >= queue->maxsize;
}

/* ---- the ring ---- */

/* Most items are a number or a pointer, for which a call of memcpy costs more than the rest. */
static inline void copy(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else if (size == sizeof(uint32_t))
        memcpy(to, from, sizeof(uint32_t));
    else
        memcpy(to, from, size);
}

static int grow(async_queue *queue)
{
    size_t capacity = queue->capacity ? queue->capacity * 2 : FIRST_CAPACITY, bytes;
    if (queue->maxsize && capacity > queue->maxsize) capacity = queue->maxsize;
    if (__builtin_mul_overflow(capacity, queue->item_size, &bytes)) return -ENOMEM;
    char *ring = async__alloc(bytes);
    if (!ring) return -ENOMEM;

    size_t to_end = queue->capacity - queue->head, size = queue->item_size;
    if (to_end > queue->count) to_end = queue->count;
    if (queue->count) {
        memcpy(ring, queue->ring + queue->head * size, to_end * size);
        memcpy(ring + to_end * size, queue->ring, (queue->count - to_end) * size);
    }
    async__free(queue->ring);
    queue->ring = ring;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

static void push(async_queue *queue, const void *item)
{
    size_t at = queue->head + queue->count++;
    if (at >= queue->capacity) at -= queue->capacity;
    copy(queue->ring + at * queue->item_size, item, queue->item_size);
}

static void pop(async_queue *queue, void *item)
{
    copy(item, queue->ring + queue->head * queue->item_size, queue->item_size);
    if (++queue->head == queue->capacity) queue->head = 0;
    queue->count--;
}

/* ---- put and get ---- */

static inline int put_now(async_queue *queue, const void *item)
{
    if (async__unlikely(queue->count >= queue->limit))
        return queue->shut ? ASYNC_ESHUTDOWN : -EAGAIN;

    /* The getter's frame is there until its task runs, which is after this call. */
    async__waiter *getter = async__wake_first(&queue->getters);
    if (getter) {
        copy(((struct exchange *)getter->item)->item, item, queue->item_size);
    } else {
        if (queue->count == queue->capacity && grow(queue) < 0) return -ENOMEM;
        push(queue, item);
    }
    queue->unfinished++;
    return 0;
}

static inline int get_now(async_queue *queue, void *item)
{
    if (queue->count == 0) return queue->shut ? ASYNC_ESHUTDOWN : -EAGAIN;

    pop(queue, item);
    async__waiter *putter = async__wake_first(&queue->putters);
    if (putter) {
        push(queue, ((struct exchange *)putter->item)->item);
        queue->unfinished++;
    }
    return 0;
}

static int exchange(struct async__wait_list *list, void *item, const char *what)
{
    struct exchange exchange = {.item = item};
    int code = async__wait_in(list, what, &exchange);
    if (code < 0) return code;
    return exchange.shut ? async__fail(ASYNC_ESHUTDOWN) : 0;
}

int async_queue_put(async_queue *queue, const void *item)
{
    if (async__unlikely(!queue)) return no_queue();
    int code = async__checkpoint();
    if (code < 0) return code;
    code = put_now(queue, item);
    if (code == -EAGAIN) return exchange(&queue->putters, (void *)item, "queue, to put");
    return code < 0 ? async__fail(code) : 0;
}

int async_queue_get(async_queue *queue, void *item)
{
    if (async__unlikely(!queue)) return no_queue();
    int code = async__checkpoint();
    if (code < 0) return code;
    code = get_now(queue, item);
    if (code == -EAGAIN) return exchange(&queue->getters, item, "queue, to get");
    return code < 0 ? async__fail(code) : 0;
}

int async_queue_put_nowait(async_queue *queue, const void *item)
{
    if (!queue) return no_queue();
    int code = put_now(queue, item);
    return code < 0 ? async__fail(code) : 0;
}

int async_queue_get_nowait(async_queue *queue, void *item)
{
    if (!queue) return no_queue();
    int code = get_now(queue, item);
    return code < 0 ? async__fail(code) : 0;
}

/* ---- join and shutdown ---- */

int async_queue_task_done(async_queue *queue)
{
    if (!queue) return no_queue();
    if (queue->unfinished == 0)
        return async__failf(-EINVAL,
                            "async_queue_task_done: called more often than items were put");
    if (--queue->unfinished == 0) async__wake_all(&queue->joiners);
    return 0;
}

int async_queue_join(async_queue *queue)
{
    if (!queue) return no_queue();
    int code = async__checkpoint();
    if (code < 0 || queue->unfinished == 0) return code;
    return async__wait_in(&queue->joiners, "queue, to join", NULL);
}

static void turn_away(struct async__wait_list *list)
{
    async__waiter *waiter;
    while ((waiter = async__wake_first(list)))
        ((struct exchange *)waiter->item)->shut = true;
}

void async_queue_shutdown(async_queue *queue, bool now)
{
    if (!queue) return;
    queue->shut = true;
    queue->limit = 0;
    turn_away(&queue->putters);
    if (now) {
        queue->unfinished -= queue->count;
        queue->count = 0;
        if (queue->unfinished == 0) async__wake_all(&queue->joiners);
    }
    turn_away(&queue->getters); /* getters wait only while the queue is empty */
}

static int next_item(async_iterator *iterator, void *value)
{
    int code = async_queue_get(async__container(iterator, async_queue, items), value);
    return code == 0 ? 1 : code == ASYNC_ESHUTDOWN ? 0 : code;
}

async_iterator *async_queue_items(async_queue *queue)
{
    if (!queue) {
        async__fail_null("the queue");
        return NULL;
    }
    queue->items.next = next_item;
    queue->items.size = queue->item_size;
    return &queue->items;
}
