/* iterator.c - what async_for expands to. The loop's guard closes the iterator however it is left; an
 * iteration that ends with an error leaves that with the task (async__pend). */
#include "task.h"

#include <casyncio/iterators.h>

async__for async__for_begin(async_iterator *iterator)
{
    if (!iterator)
        async__pend(async__current && async__current->last_code < 0 ? async__current->last_code
                                                                    : -EINVAL);
    return (async__for){.iterator = iterator, .live = iterator != NULL};
}

static void close_iterator(async__for *loop)
{
    async_iterator *iterator = loop->iterator;
    if (!iterator) return;
    loop->iterator = NULL;
    if (!iterator->close) return;

    async_scope shield = {0};
    async_shield_enter(&shield);
    iterator->close(iterator);
    async_scope_leave(&shield);
}

bool async__for_next(async__for *loop, void *value)
{
    int code = loop->iterator->next(loop->iterator, value);
    if (code > 0) return true;

    close_iterator(loop);
    loop->live = 0;
    if (code < 0)
        async__pend(code);
    else
        async__succeed();
    return false;
}

void async__for_leave(async__for *loop) { close_iterator(loop); }
