/* items.h - the items in a queue: of one size, in one block that grows by doubling, in the order in
 * which they are to come out.
 *
 * First in, first out is a ring, and is inline, since nearly all queues are so. For another order
 * there is a table of what to do instead: last in, first out takes from the end, and a priority
 * queue is a binary heap, whose entries have a number behind the item, so that equals come out in
 * the order in which they were put. */
#ifndef CASYNCIO_ITEMS_H
#define CASYNCIO_ITEMS_H

#include "../task/task.h"

#include <string.h>

struct async__items;

struct async__order {
    void (*push)(struct async__items *items, const void *item);
    void (*pop)(struct async__items *items, void *item);
};

struct async__items {
    char *block;
    size_t size, stride; /* of an item; from one to the next */
    size_t capacity, head, count;
    size_t maxsize;                   /* 0: no limit */
    const struct async__order *order; /* NULL: first in, first out */
    int (*compare)(const void *a, const void *b);
    uint64_t numbers; /* of a heap's entries */
};

extern const struct async__order async__lifo, async__priority;

/* 0; -EINVAL for a size of 0, or a priority queue without a comparison. `call` is for the message. */
int async__items_init(struct async__items *items, size_t size, size_t maxsize,
                      const struct async__order *order, int (*compare)(const void *, const void *),
                      const char *call);
int async__items_grow(struct async__items *items); /* 0, -ENOMEM */

/* Most items are a number or a pointer, for which a call of memcpy costs more than the rest. */
static inline void async__item_copy(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else if (size == sizeof(uint32_t))
        memcpy(to, from, sizeof(uint32_t));
    else
        memcpy(to, from, size);
}

/* Whether there is memory for one more. 0, -ENOMEM. */
static inline int async__items_reserve(struct async__items *items)
{
    return items->count == items->capacity ? async__items_grow(items) : 0;
}

/* There must be room. */
static inline void async__items_push(struct async__items *items, const void *item)
{
    if (async__unlikely(items->order != NULL)) {
        items->order->push(items, item);
        return;
    }
    size_t at = items->head + items->count++;
    if (at >= items->capacity) at -= items->capacity;
    async__item_copy(items->block + at * items->size, item, items->size);
}

/* There must be one. */
static inline void async__items_pop(struct async__items *items, void *item)
{
    if (async__unlikely(items->order != NULL)) {
        items->order->pop(items, item);
        return;
    }
    async__item_copy(item, items->block + items->head * items->size, items->size);
    if (++items->head == items->capacity) items->head = 0;
    items->count--;
}

#endif
