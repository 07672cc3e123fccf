/* iterator.c - what async_for expands to. The loop's guard closes the iterator however it is left;
 * an iteration that ends with an error leaves that with the task (async__pend). */
#include "task.h"

#include <casyncio/iterators.h>

void async__unclosed_add(struct async__tasks *tasks, async__unclosed *item,
                         void (*free)(async__unclosed *))
{
    *item = (async__unclosed){.next = tasks->unclosed, .free = free};
    if (item->next) item->next->previous = item;
    tasks->unclosed = item;
}

void async__unclosed_remove(struct async__tasks *tasks, async__unclosed *item)
{
    if (item->previous)
        item->previous->next = item->next;
    else
        tasks->unclosed = item->next;
    if (item->next) item->next->previous = item->previous;
}

void async__unclosed_free(struct async__tasks *tasks)
{
    while (tasks->unclosed)
        tasks->unclosed->free(tasks->unclosed);
}

/* ---- async_for ---- */

async__for async__for_mark(void)
{
    return (async__for){.live = 2, .failures = async__record()->failures};
}

static void close_iterator(async_iterator *iterator)
{
    if (!iterator || !iterator->close) return;
    struct async__record before = async__record_save();
    async_scope shield = {0};
    async__exit_shield_enter(&shield);
    iterator->close(iterator);
    async_scope_leave(&shield);
    async__record_restore(&before, true);
}

/* A value of another size would be written over what lies beside the loop's variable. */
static int check_iterator(const async__for *loop, const async_iterator *iterator, size_t size)
{
    const struct async__record *record = async__record();

    if (!iterator)
        return record->failures != loop->failures && record->code < 0
                   ? record->code
                   : async__failf(-EINVAL, "async_for: the iterator is NULL");
    if (!iterator->next) return async__failf(-EINVAL, "async_for: the iterator has no `next`");
    if (iterator->size != size)
        return async__failf(-EINVAL,
                            "async_for: the iterator's values are %zu bytes, the variable has %zu",
                            iterator->size, size);
    return 0;
}

bool async__for_begin(async__for *loop, async_iterator *iterator, size_t size)
{
    int code = check_iterator(loop, iterator, size);

    if (code < 0) {
        async__pend(async__misuse(code));
        close_iterator(iterator);
        loop->live = 0;
        return false;
    }
    loop->iterator = iterator;
    loop->live = 1;
    return true;
}

void async__for_leave(async__for *loop)
{
    async_iterator *iterator = loop->iterator;
    loop->iterator = NULL; /* the guard calls this once more */
    close_iterator(iterator);
}

bool async__for_next(async__for *loop, void *value)
{
    int code = loop->iterator->next(loop->iterator, value);
    if (code > 0) return true;

    if (code < 0) async__pend(code);
    async__for_leave(loop);
    loop->live = 0;
    return false;
}
