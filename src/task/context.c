/* context.c - what the block macros of contexts.h and the scopes' macros expand to.
 *
 * A block's exit runs by the compiler's cleanup attribute, in a shield of its own. A block cannot
 * return a code to the function that it stands in, so one that fails leaves its error with the task
 * (async__pend). */
#include "task.h"

#include <casyncio/contexts.h>
#include <string.h>

static bool entered(int code)
{
    if (code < 0)
        async__pend(code);
    else
        async__succeed();
    return code == 0;
}

async__guard async__guard_enter(void *name, bool pointer, void (*leave)(void *))
{
    void *context = name;
    if (pointer) memcpy(&context, name, sizeof context);
    if (context) {
        async__succeed();
        return (async__guard){.leave = leave, .context = context, .live = 1};
    }

    int code = async__current ? async__current->last_code : -EPERM;
    async__pend(code < 0 ? code : -EINVAL);
    return (async__guard){.live = 0};
}

void async__guard_leave(async__guard *guard)
{
    if (!guard->leave) return;
    if (guard->unshielded || !async__current) {
        guard->leave(guard->context);
        return;
    }
    async_scope shield;
    async_shield_enter(&shield);
    guard->leave(guard->context);
    async_scope_leave(&shield);
}

static void leave_lock(void *lock) { async_lock_release(lock); }

bool async__lock_enter(async__guard *guard, async_lock *lock)
{
    if (!entered(async_lock_acquire(lock))) return false;
    guard->leave = leave_lock;
    guard->context = lock;
    guard->unshielded = true; /* it never blocks */
    return true;
}

static void leave_group(void *group)
{
    int code = async_group_leave(group);
    if (code < 0) async__pend(code);
}

bool async__group_enter(async__guard *guard, async_group *group)
{
    if (guard->leave) return false;
    if (!group) {
        async__pend(async__current ? async__current->last_code : -EPERM);
        return false;
    }
    guard->leave = leave_group;
    guard->context = group;
    guard->unshielded = true; /* who is cancelled hastens its end */
    return true;
}

bool async__timeout_once(async_scope *scope, double delay)
{
    if (scope->task) return false;
    return entered(async_timeout_enter(scope, delay));
}

bool async__shield_once(async_scope *scope)
{
    if (scope->task) return false;
    return entered(async_shield_enter(scope));
}
