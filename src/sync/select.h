/* select.h - what a kind of case is, and a case that async_select waits for. */
#ifndef CASYNCIO_SELECT_INTERNAL_H
#define CASYNCIO_SELECT_INTERNAL_H

#include "queue_core.h"
#include "sync.h"

#include <casyncio/select.h>

/* One case, in the frame of async_select. */
struct async__choice {
    async__waiter waiter; /* in the list of the case's object */
    async_case about;     /* a copy: the caller's array may be changed by another task meanwhile */
    struct selection *selection;
    struct async__exchange exchange; /* the waiter's item; code: the case's */
    async_timer timer;
};

struct async__case_type {
    /* 0, or the code of a mistake. */
    int (*check)(const async_case *self);
    /* Carries the case out if that needs no waiting: 1; 0; or the code with which it fails. */
    int (*attempt)(const async_case *self);
    /* Begins to wait: 0 or a code. A case that waits in a list only has that list. */
    struct async__wait_list *(*list)(const async_case *self);
    int (*begin)(struct async__choice *choice);
    /* Ends the wait, before the case has been chosen. */
    void (*end)(struct async__choice *choice);
};

/* What the case waited for has come about, and is the task's from now on: ends all its other waits.
 * A waiter that is woken from a list comes here by itself. */
void async__choose(struct async__choice *choice);

#endif
