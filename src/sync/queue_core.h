/* queue_core.h - what the two kinds of queues have in common: items, those that wait, and the hand-over
 * between them. The kinds differ in how a waiter is woken: `wake` takes the first one out of a list and
 * wakes it, or gives NULL; the waiter's item is good until the call of the queue returns. What is hot is
 * inlined by force, with `wake` a constant. */
#ifndef CASYNCIO_QUEUE_CORE_H
#define CASYNCIO_QUEUE_CORE_H

#include "items.h"

struct async__queue_core {
    struct async__items items;
    size_t limit; /* of the count for a put: maxsize, SIZE_MAX, or 0 once shut down */
    struct async__wait_list getters, putters, joiners;
    size_t unfinished; /* items that were put and not yet reported by task_done */
    bool shut;
};

/* A waiter's item: what a putter offers, or where a getter wants it. */
struct async__exchange {
    void *item;
    int code; /* ASYNC_ESHUTDOWN: nothing was exchanged */
};

/* What the calls that put and get say when it comes to nothing. */
struct async__refusals {
    const char *would_wait, *shut, *memory;
};
#define ASYNC__REFUSALS_OF(call, state)                                                            \
    {                                                                                              \
        call ": the queue is " state, call ": the queue has been shut down",                       \
            call ": no memory for the item"                                                        \
    }

/* Out of line, so that the calls that go through at once have fewer registers to save. */
__attribute__((cold, noinline)) static int async__core_refuse(int code,
                                                              const struct async__refusals *texts)
{
    return async__fail_text(code, code == -EAGAIN           ? texts->would_wait
                                  : code == ASYNC_ESHUTDOWN ? texts->shut
                                                            : texts->memory);
}

typedef async__waiter *async__wake_one(struct async__wait_list *list);

static inline void async__core_open(struct async__queue_core *core,
                                    const struct async__items *items)
{
    core->items = *items;
    core->limit = items->maxsize ? items->maxsize : SIZE_MAX;
}

static inline bool async__core_full(const struct async__queue_core *core)
{
    return core->items.maxsize != 0 && core->items.count >= core->items.maxsize;
}

/* 0, -EAGAIN, ASYNC_ESHUTDOWN, -ENOMEM. */
__attribute__((always_inline)) static inline int async__core_put(struct async__queue_core *core,
                                                                 const void *item,
                                                                 async__wake_one *wake)
{
    if (async__unlikely(core->items.count >= core->limit))
        return core->shut ? ASYNC_ESHUTDOWN : -EAGAIN;

    async__waiter *getter = wake(&core->getters);
    if (getter) {
        async__item_copy(((struct async__exchange *)getter->item)->item, item, core->items.size);
    } else {
        if (async__items_reserve(&core->items) < 0) return -ENOMEM;
        async__items_push(&core->items, item);
    }
    core->unfinished++;
    return 0;
}

/* 0, -EAGAIN, ASYNC_ESHUTDOWN. */
__attribute__((always_inline)) static inline int async__core_get(struct async__queue_core *core,
                                                                 void *item, async__wake_one *wake)
{
    if (core->items.count == 0) return core->shut ? ASYNC_ESHUTDOWN : -EAGAIN;

    async__items_pop(&core->items, item);
    async__waiter *putter = wake(&core->putters);
    if (putter) {
        async__items_push(&core->items, ((struct async__exchange *)putter->item)->item);
        core->unfinished++;
    }
    return 0;
}

/* 0, or -EINVAL. */
static inline int async__core_task_done(struct async__queue_core *core, async__wake_one *wake)
{
    if (core->unfinished == 0) return -EINVAL;
    if (--core->unfinished == 0)
        while (wake(&core->joiners))
            ;
    return 0;
}

static inline void async__core_turn_away(struct async__wait_list *list, async__wake_one *wake)
{
    async__waiter *waiter;
    while ((waiter = wake(list)))
        ((struct async__exchange *)waiter->item)->code = ASYNC_ESHUTDOWN;
}

static inline void async__core_shutdown(struct async__queue_core *core, bool now,
                                        async__wake_one *wake)
{
    size_t dropped = now ? core->items.count : 0;

    core->shut = true;
    core->limit = 0;
    async__core_turn_away(&core->putters, wake);
    async__core_turn_away(&core->getters, wake); /* they wait only while the queue is empty */
    core->items.count -= dropped;
    /* Fewer may be unfinished: task_done can have been called for items that were still here. */
    core->unfinished -= dropped < core->unfinished ? dropped : core->unfinished;
    if (core->unfinished == 0)
        while (wake(&core->joiners))
            ;
}

#endif
