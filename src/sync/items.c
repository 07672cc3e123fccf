/* items.c - growing, and the orders other than first in, first out. */
#include "items.h"

#define FIRST_CAPACITY 8

int async__items_grow(struct async__items *items)
{
    size_t capacity = items->capacity ? items->capacity * 2 : FIRST_CAPACITY, bytes;
    if (items->maxsize && capacity > items->maxsize) capacity = items->maxsize;
    if (__builtin_mul_overflow(capacity, items->stride, &bytes)) return -ENOMEM;
    char *block = async__alloc(bytes);
    if (!block) return -ENOMEM;

    size_t to_end = items->capacity - items->head, stride = items->stride;
    if (to_end > items->count) to_end = items->count;
    if (items->count) {
        memcpy(block, items->block + items->head * stride, to_end * stride);
        memcpy(block + to_end * stride, items->block, (items->count - to_end) * stride);
    }
    async__free(items->block);
    items->block = block;
    items->capacity = capacity;
    items->head = 0;
    return 0;
}

static char *entry(const struct async__items *items, size_t at)
{
    return items->block + at * items->stride;
}

/* ---- last in, first out: head stays 0 ---- */

static void push_last(struct async__items *items, const void *item)
{
    async__item_copy(entry(items, items->count++), item, items->size);
}

static void pop_last(struct async__items *items, void *item)
{
    async__item_copy(item, entry(items, --items->count), items->size);
}

const struct async__order async__lifo = {push_last, pop_last};

/* ---- by priority: the least comes first ---- */

static size_t number_offset(size_t size)
{
    return (size + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
}

static uint64_t number_of(const struct async__items *items, const char *at)
{
    uint64_t number;
    memcpy(&number, at + number_offset(items->size), sizeof number);
    return number;
}

static bool precedes(const struct async__items *items, const char *a, const char *b)
{
    int order = items->compare(a, b);
    return order < 0 || (order == 0 && number_of(items, a) < number_of(items, b));
}

/* The place is sought with the item still where its owner has it: no entry is moved twice. */
static void push_by_priority(struct async__items *items, const void *item)
{
    size_t at = items->count++;
    uint64_t number = items->numbers++;

    /* The new one has the highest number, so that it passes only those that it precedes. */
    for (size_t parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (items->compare(item, entry(items, parent)) >= 0) break;
        memcpy(entry(items, at), entry(items, parent), items->stride);
    }
    async__item_copy(entry(items, at), item, items->size);
    memcpy(entry(items, at) + number_offset(items->size), &number, sizeof number);
}

/* The last entry, which is behind the end then, takes the place of the first, or one below it. */
static void pop_by_priority(struct async__items *items, void *item)
{
    size_t at = 0, count = --items->count;
    const char *last = entry(items, count);

    async__item_copy(item, entry(items, 0), items->size);
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= count) break;
        if (child + 1 < count && precedes(items, entry(items, child + 1), entry(items, child)))
            child++;
        if (precedes(items, last, entry(items, child))) break;
        memcpy(entry(items, at), entry(items, child), items->stride);
        at = child;
    }
    if (at != count) memcpy(entry(items, at), last, items->stride);
}

const struct async__order async__priority = {push_by_priority, pop_by_priority};

/* ---- making ---- */

/* An entry of a heap is a multiple of what an item may be aligned to. */
static size_t heap_stride(size_t size)
{
    size_t align = size & -size, unit = sizeof(uint64_t);
    if (align > unit) unit = align < 16 ? align : 16;
    return (number_offset(size) + sizeof(uint64_t) + unit - 1) & ~(unit - 1);
}

int async__items_init(struct async__items *items, size_t size, size_t maxsize,
                      const struct async__order *order, int (*compare)(const void *, const void *),
                      const char *call)
{
    if (size == 0) return async__failf(-EINVAL, "%s: items of 0 bytes", call);
    if (size > SIZE_MAX / 2) return async__failf(-ENOMEM, "%s: items of %zu bytes", call, size);
    if (order == &async__priority && !compare)
        return async__failf(-EINVAL, "%s: no function that compares items", call);
    items->size = size;
    items->stride = order == &async__priority ? heap_stride(size) : size;
    items->maxsize = maxsize;
    items->order = order;
    items->compare = compare;
    return 0;
}
