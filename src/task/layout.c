/* layout.c - where tasks lie, and what they wait in: the task layer's part of src/loop/layout.h. */
#include "../loop/layout.h"

#include "group.h"
#include "task.h"

#include <casyncio/sync.h>

#define TASKS(member) offsetof(struct async__tasks, member)
#define TASK(member) offsetof(async_task, member)
#define WAIT(member) offsetof(async__wait, member)

_Static_assert(offsetof(async__waiter, wait) == 0, "as the layout says");
_Static_assert(TASKS(layout) == 0, "the one thing that is known without this description");

const struct async__task_layout async__task_layout = {
    .head = {ASYNC__TASK_LAYOUT_MAGIC, ASYNC__LAYOUT_VERSION, sizeof(struct async__task_layout)},
    .tasks =
        {
            .size = sizeof(struct async__tasks),
            .loop = TASKS(loop),
            .main = TASKS(main.sp),
            .stacks = TASKS(stacks),
            .first = TASKS(first),
            .last = TASKS(last),
            .count = TASKS(count),
            .numbers = TASKS(numbers),
            .closing = TASKS(closing),
        },
    .stacks =
        {
            .tops = offsetof(async__stack_pool, tops),
            .idle = offsetof(async__stack_pool, idle),
            .page_mask = offsetof(async__stack_pool, page_mask),
            .usable = offsetof(async__stack_pool, usable),
            .total = offsetof(async__stack_pool, total),
        },
    .task =
        {
            .size = sizeof(async_task),
            .room = ASYNC__TASK_ROOM,
            .step = TASK(step),
            .sp = TASK(fiber.sp),
            .wait = TASK(wait),
            .interrupt = TASK(interrupt),
            .result = TASK(result),
            .state = TASK(state),
            .cancelled = TASK(cancelled),
            .is_main = TASK(is_main),
            .tasks = TASK(tasks),
            .coroutine = TASK(coroutine),
            .argument = TASK(argument),
            .scope = TASK(scope),
            .groups = TASK(groups),
            .done = TASK(done),
            .owner = TASK(owner),
            .next = TASK(next),
            .previous = TASK(previous),
            .name = TASK(name),
            .coroutine_name = TASK(coroutine_name),
            .where = TASK(where),
            .number = TASK(number),
            .since = TASK(since),
            .ran = TASK(ran),
        },
    .wait =
        {
            .size = sizeof(async__wait),
            .task = WAIT(task),
            .interrupt = WAIT(interrupt),
            .what = WAIT(what),
            .awaited = WAIT(awaited),
            .fd = WAIT(fd),
        },
    .waiter =
        {
            .list = offsetof(async__waiter, list),
            .next = offsetof(async__waiter, next),
            .previous = offsetof(async__waiter, previous),
            .first = offsetof(struct async__wait_list, first),
        },
    .scope =
        {
            .parent = offsetof(async_scope, parent),
            .when = offsetof(async_scope, when),
            .code = offsetof(async_scope, code),
            .shield = offsetof(async_scope, shield),
        },
    .group =
        {
            .owner = offsetof(async_group, owner),
            .outer = offsetof(async_group, outer),
            .first = offsetof(async_group, first),
            .count = offsetof(async_group, count),
        },
    .lock_owner = offsetof(async_lock, owner) - offsetof(async_lock, waiters),
    .marks = {(uintptr_t)&async__mark_group, (uintptr_t)&async__mark_await,
              (uintptr_t)&async__mark_wait},
    .sleep = (uintptr_t)&async__mark_sleep,
};
