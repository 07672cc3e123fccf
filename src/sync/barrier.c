/* barrier.c - where tasks meet.
 *
 * The last to arrive gives each of the others its number and wakes them: from then on they have
 * passed, whatever becomes of them, and the barrier is empty. So a round need not be waited out
 * before the next begins. */
#include "sync.h"

/* A waiter's item is its result: a number, or a code. */
static void let_go(async_barrier *barrier, int first, int step)
{
    async__waiter *waiter;

    barrier->count = 0;
    for (int result = first; (waiter = async__wake_first(&barrier->waiters)); result += step)
        *(int *)waiter->item = result;
}

/* At once, and not when the task runs: the next to arrive must not count it. */
static void interrupt(async__wait *wait)
{
    async__waiter *waiter = async__container(wait, async__waiter, wait);

    async__container(waiter->list, async_barrier, waiters)->count--;
    async__list_remove(waiter);
    async__unpark(wait);
}

static int broken(void)
{
    return async__fail_text(ASYNC_EBROKENBARRIER, "async_barrier_wait: the barrier is broken");
}

int async_barrier_wait(async_barrier *barrier)
{
    if (!barrier) return async__null_wait("barrier");
    if (barrier->parties < 1)
        return async__misuse(
            async__failf(-EINVAL, "async_barrier_wait: a barrier of %d parties", barrier->parties));
    int code = async__checkpoint(), result = 0;
    if (code < 0) return code;
    if (barrier->broken) return broken();
    if (barrier->count == barrier->parties - 1) {
        let_go(barrier, 0, 1);
        return barrier->parties - 1;
    }
    async__waiter waiter;
    barrier->count++;
    code = async__wait_with(&barrier->waiters, &waiter, "barrier", &result, interrupt);
    if (code < 0) return code;
    return result < 0 ? broken() : result;
}

static int break_up(async_barrier *barrier, bool broken)
{
    barrier->broken = broken;
    let_go(barrier, ASYNC_EBROKENBARRIER, 0);
    return 0;
}

int async_barrier_reset(async_barrier *barrier)
{
    return barrier ? break_up(barrier, false) : async__null("barrier");
}

int async_barrier_abort(async_barrier *barrier)
{
    return barrier ? break_up(barrier, true) : async__null("barrier");
}
