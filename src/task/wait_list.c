/* wait_list.c - tasks that wait in a row, each by a struct in its own frame: what locks, events,
 * queues and futures are made of. */
#include "task.h"

void async__list_remove(async__waiter *waiter)
{
    struct async__wait_list *list = waiter->list;

    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        list->first = waiter->next;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    else
        list->last = waiter->previous;
}

static void interrupt(async__wait *wait)
{
    async__list_remove(async__container(wait, async__waiter, wait));
    async__unpark(wait);
}

const async__mark async__mark_list = {
    ASYNC__FUNCTION(interrupt), offsetof(async__waiter, list) - offsetof(async__waiter, wait)};

static inline int wait_in(struct async__wait_list *list, async__waiter *waiter, const char *what,
                          void *item, void (*on_interrupt)(async__wait *))
{
    /* What async__park sets need not be set here. */
    waiter->wait.interrupt = on_interrupt;
    waiter->wait.what = what;
    waiter->wait.awaited = NULL;
    waiter->wait.fd = -1;
    waiter->item = item;
    async__list_append(list, waiter);
    async__park(&waiter->wait);
    return waiter->wait.interrupted ? async__interrupted(async__current) : 0;
}

int async__wait_in(struct async__wait_list *list, const char *what, void *item)
{
    async__waiter waiter;
    return wait_in(list, &waiter, what, item, interrupt);
}

int async__wait_with(struct async__wait_list *list, async__waiter *waiter, const char *what,
                     void *item, void (*on_interrupt)(async__wait *))
{
    return wait_in(list, waiter, what, item, on_interrupt);
}

async__waiter *async__wake_one_of(async__waiter *waiter)
{
    async__list_remove(waiter);
    waiter->woken(waiter);
    return waiter;
}

void async__wake_all(struct async__wait_list *list)
{
    /* Ends: a task that is woken runs later, so that none joins the list meanwhile. */
    while (async__wake_first(list))
        ;
}
