/* select.h - waiting for one of several things           asyncio: wait(FIRST_COMPLETED); Go: select
 *
 *     async_case cases[] = {
 *         async_case_get(jobs, &job),
 *         async_case_event(&stop),
 *         async_case_after(5),
 *     };
 *     switch (async_select(cases, 3)) {
 *     case 0: ... there is a job
 *     case 1: ... the event is set
 *     case 2: ... 5 seconds have gone
 *     default: ... the code of a cancellation, or the queue has been shut down
 *     }
 *
 * Exactly one case is carried out: its item is put or taken, its lock or place is taken; of all the
 * others nothing has happened. */
#ifndef CASYNCIO_SELECT_H
#define CASYNCIO_SELECT_H

#include <casyncio/queues.h>
#include <casyncio/sync.h>

ASYNC_BEGIN

/* One thing to wait for. All zeros is a case that is never ready: so one of an array is switched off.
 * An array of cases can be used again, also while what they are about is in use elsewhere. */
typedef struct async_case {
    const struct async__case_type *type; /* the library's */
    void *object, *item;
    double seconds;
    int code; /* of the case that failed, else 0: set by async_select */
    void *reserved;
} async_case;

/* Gets an item, puts one: as async_queue_get and async_queue_put. A queue that is shut down is a case
 * that fails, with ASYNC_ESHUTDOWN. */
ASYNC_API async_case async_case_get(async_queue *queue, void *item);
ASYNC_API async_case async_case_put(async_queue *queue, const void *item);

/* The task has ended. Its handle is not released: async_await then gives the result, without waiting.
 * While async_select waits, the task counts as awaited: -EBUSY for a task that is awaited elsewhere or
 * owned by a group, and for others that would await it. It is not cancelled, whatever becomes of
 * async_select. -EINVAL for the calling task itself. */
ASYNC_API async_case async_case_task(async_task *task);

/* The event is set; the future is done, whatever its code; the latch is open. */
ASYNC_API async_case async_case_event(async_event *event);
ASYNC_API async_case async_case_future(async_future *future);
ASYNC_API async_case async_case_latch(async_latch *latch);

/* Takes the lock, a place of the semaphore. -EDEADLK for a lock that this task holds. */
ASYNC_API async_case async_case_lock(async_lock *lock);
ASYNC_API async_case async_case_semaphore(async_semaphore *semaphore);

/* So many seconds have gone since async_select was called; infinity is never. 0 or less: at once, if
 * no other case is ready (Go's `default`). -EINVAL for NaN. Go: time.After */
ASYNC_API async_case async_case_after(double seconds);

/* Waits until one of the cases can be carried out, does so, and gives its index. If several are ready
 * the search begins at one that is drawn at random, from the loop's seed if it has one, so that none
 * that stays ready is passed over for ever; a task that waits stands in line at all of them. A case
 * that fails gives its code, and cases[i].code is that code; the code of a cancellation: then no case
 * was carried out. If one has been by the time of the cancellation its index is given, as any call
 * would.
 *
 * Errors that concern the call and not a case: -EINVAL without cases, or if none can ever be ready;
 * -EBADF for an object that is NULL (for a task that, and for an item, -EINVAL); what is said above
 * of the cases; -ENOMEM (more than 8 cases need memory, a timer may); -EPERM outside a task. Nothing
 * has happened then. */
ASYNC_API int async_select(async_case *cases, size_t count);

ASYNC_END
#endif
