/* wait_list.c - tasks that wait in a row, each by a struct in its own frame: what locks, events,
 * queues and futures are made of. */
#include "task.h"

static void unlink_waiter(async__waiter *waiter)
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
    unlink_waiter(async__container(wait, async__waiter, wait));
    async__unpark(wait);
}

int async__wait_in(struct async__wait_list *list, const char *what, void *item)
{
    async__waiter waiter; /* what async__park sets need not be set here */
    waiter.wait.interrupt = interrupt;
    waiter.wait.what = what;
    waiter.wait.awaited = NULL;
    waiter.wait.fd = -1;
    waiter.list = list;
    waiter.next = NULL;
    waiter.previous = list->last;
    waiter.item = item;
    if (list->last)
        list->last->next = &waiter;
    else
        list->first = &waiter;
    list->last = &waiter;
    async__park(&waiter.wait);
    return waiter.wait.interrupted ? async__interrupted(async__current) : 0;
}

void async__wake_all(struct async__wait_list *list)
{
    /* Ends: a task that is woken runs later, so that none joins the list meanwhile. */
    while (async__wake_first(list))
        ;
}
