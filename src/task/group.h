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
    bool tolerant;       /* a task's failure is reported, and is no failure of the group */
    bool pending_before; /* the owner had an unreported block error when it entered the group */
    int code;            /* of the first failure */
    async__error *error; /* with a cause for each */
};

/* async_group_create_task, but a task that cannot be made is no failure of the group. */
async_task *async__group_add(async_group *group, async_coroutine coroutine, void *argument,
                             const async_task_options *options);

/* The coroutine has returned with groups open: cancels what is in them, waits for it, and closes
 * them. Gives the result that the task then has. */
int async__groups_abandoned(async_task *task, int result);

#endif
