/* group.h - task groups from the inside. */
#ifndef CASYNCIO_GROUP_H
#define CASYNCIO_GROUP_H

#include "task.h"

struct async_group {
    async_scope scope; /* the block that owns the group: cancelled when a task fails */
    async_task *owner;
    async_group *outer; /* the next group that the owner has open */
    async_task *first;  /* tasks that have not ended */
    size_t count;
    async__wait wait; /* the owner's, while it waits for the tasks */
    bool waiting, cancelling;
    bool pending_before; /* the owner had an unreported block error when it entered the group */
    int code;            /* of the first failure */
    async__error *error; /* with a cause for each */
};

/* The coroutine has returned with groups open: cancels what is in them, waits for it, and closes
 * them. Gives the result that the task then has. */
int async__groups_abandoned(async_task *task, int result);

#endif
