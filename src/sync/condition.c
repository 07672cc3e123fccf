/* condition.c - tasks that wait, with a lock held, to be told to look again.
 *
 * A task that is notified is not woken: its waiter moves from the condition's list to the end of the
 * lock's, and the release of the lock wakes it, as any task that waits for the lock. So it is woken
 * once, and not in vain, and between its notification and its wake-up nothing can be lost.
 *
 * The wait can only end with the lock in hand. A cancellation moves the waiter to the lock's list as
 * well, and `notified` tells the two apart. */
#include "sync.h"

struct notice {
    async__waiter waiter;
    async_lock *lock;
    bool notified;
    bool forced; /* given up without the lock */
};

static async_lock *lock_of(async_condition *condition)
{
    return condition->lock ? condition->lock : &condition->own;
}

static int acquire(async_condition *condition, const char *call)
{
    if (async__unlikely(!condition)) return async__misuse(async__null_in(call, "condition"));
    return async__lock_acquire(lock_of(condition), call);
}

int async_condition_acquire(async_condition *condition) { return acquire(condition, __func__); }

int async_condition_try(async_condition *condition)
{
    if (!condition) return async__null("condition");
    if (!async__current) return async__no_task();
    if (lock_of(condition)->owner)
        return async__fail_text(-EBUSY, "async_condition_try: the lock is held");
    return async_lock_try(lock_of(condition));
}

int async_condition_release(async_condition *condition)
{
    if (async__unlikely(!condition)) return async__null("condition");
    if (async__unlikely(!lock_of(condition)->owner))
        return async__failf(-EPERM, "async_condition_release: the lock is not held");
    return async_lock_release(lock_of(condition));
}

bool async_condition_locked(const async_condition *condition)
{
    return condition && async_lock_locked(lock_of((async_condition *)condition));
}

/* ---- waiting ---- */

/* Queues for the lock; it is free only if the one that holds it has released it meanwhile. */
static void want_lock(struct notice *notice)
{
    async_lock *lock = notice->lock;

    async__list_remove(&notice->waiter);
    notice->waiter.wait.what = "condition, its lock";
    if (lock->owner) {
        async__list_append(&lock->waiters, &notice->waiter);
        return;
    }
    lock->owner = notice->waiter.wait.task;
    async__unpark(&notice->waiter.wait);
}

static void interrupt(async__wait *wait)
{
    struct notice *notice = async__container(wait, struct notice, waiter.wait);

    if (wait->task->forced) { /* the task that holds the lock may never release it */
        notice->forced = true;
        async__list_remove(&notice->waiter);
        async__unpark(wait);
        return;
    }
    wait->interrupted = false; /* it goes on, and has to hear of the loop's end too */
    if (notice->waiter.list != &notice->lock->waiters) want_lock(notice);
}

/* The lock is held by this task. */
static int wait_for_notice(async_condition *condition)
{
    struct notice notice = {.lock = lock_of(condition)};

    async_lock_release(notice.lock); /* its next owner runs when this task has parked */
    async__wait_with(&condition->waiters, &notice.waiter, "condition", NULL, interrupt);
    return notice.notified && !notice.forced ? 0 : async__interrupted(async__current);
}

static bool holds_lock(async_condition *condition)
{
    return async__current && lock_of(condition)->owner == async__current;
}

static int not_held(const char *call)
{
    return async__failf(-EPERM, "%s: this task does not hold the condition's lock", call);
}

int async_condition_wait(async_condition *condition)
{
    if (async__unlikely(!condition)) return async__null_wait("condition");
    if (async__unlikely(!holds_lock(condition))) return async__misuse(not_held(__func__));
    int code = async__checkpoint();
    return code < 0 ? code : wait_for_notice(condition);
}

int async_condition_wait_for(async_condition *condition, bool (*predicate)(void *argument),
                             void *argument)
{
    if (async__unlikely(!condition)) return async__null_wait("condition");
    if (!predicate)
        return async__misuse(
            async__failf(-EINVAL, "async_condition_wait_for: the predicate is NULL"));
    if (async__unlikely(!holds_lock(condition))) return async__misuse(not_held(__func__));
    int code = async__checkpoint();
    while (code == 0 && !predicate(argument))
        code = wait_for_notice(condition);
    return code;
}

/* ---- notifying ---- */

static int notify(async_condition *condition, size_t count, const char *call)
{
    if (async__unlikely(!condition)) return async__null_in(call, "condition");
    if (async__unlikely(!holds_lock(condition))) return not_held(call);
    for (; count > 0 && condition->waiters.first; count--) {
        struct notice *notice = async__container(condition->waiters.first, struct notice, waiter);
        notice->notified = true;
        want_lock(notice);
    }
    return 0;
}

int async_condition_notify(async_condition *condition, size_t count)
{
    return notify(condition, count, __func__);
}

int async_condition_notify_all(async_condition *condition)
{
    return notify(condition, SIZE_MAX, __func__);
}

/* A wait that was forced to its end has come back without the lock. */
static void leave_condition(void *context)
{
    async_condition *condition = context;
    if (holds_lock(condition)) async_condition_release(condition);
}

bool async__condition_enter(async__guard *guard, async_condition *condition)
{
    int code = acquire(condition, "async_with_condition");
    return async__hold(guard, code, leave_condition, condition);
}
