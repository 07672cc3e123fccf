/* queues.h - queues            asyncio: Queues */
#ifndef CASYNCIO_QUEUES_H
#define CASYNCIO_QUEUES_H

#include <casyncio/iterators.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

typedef struct async_queue async_queue;

/* A queue, first in, first out, of items of item_size bytes, which are copied in and out. maxsize
 * items at most; 0 is no limit. NULL: -ENOMEM, or -EINVAL for an item_size of 0. Does not block.
 * In place of a queue NULL is -EBADF in all calls below (0, true for empty, false for full), in
 * place of an item -EINVAL.
 * asyncio: Queue(maxsize) */
ASYNC_API async_queue *async_queue_new(size_t item_size, size_t maxsize);

/* The same in another order: the item that was put last comes first; or the least of them, by
 * `compare`, which gives a number below 0, 0 or above 0 as qsort's does, and must not block or use
 * the queue: those that compare as equal come in the order in which they were put. All calls below
 * are as for any queue. -EINVAL also for a comparison that is NULL.
 * asyncio: LifoQueue, PriorityQueue, which asks the items themselves */
ASYNC_API async_queue *async_lifo_queue_new(size_t item_size, size_t maxsize);
ASYNC_API async_queue *async_priority_queue_new(size_t item_size, size_t maxsize,
                                                int (*compare)(const void *a, const void *b));

/* Frees the queue and the items in it (not what they point to); NULL is fine. No task may still
 * wait on it: shut it down and await those tasks first. Does not block. */
ASYNC_API void async_queue_free(async_queue *queue);

/* Waits for room and puts a copy of *item. 0; the code of a cancellation (nothing was put);
 * ASYNC_ESHUTDOWN; -ENOMEM. asyncio: Queue.put */
ASYNC_API int async_queue_put(async_queue *queue, const void *item);

/* Waits for an item and moves it into *item. 0; the code of a cancellation (nothing was taken);
 * ASYNC_ESHUTDOWN once the queue is shut down and empty. asyncio: Queue.get */
ASYNC_API int async_queue_get(async_queue *queue, void *item);

/* The same without waiting: -EAGAIN where those would wait. No checkpoint; also from a callback of
 * the loop. asyncio: put_nowait, QueueFull, get_nowait, QueueEmpty */
ASYNC_API int async_queue_put_nowait(async_queue *queue, const void *item);
ASYNC_API int async_queue_get_nowait(async_queue *queue, void *item);

/* The number of items in the queue; whether it has none; whether it has maxsize of them (never
 * without a limit). asyncio: qsize, empty, full */
ASYNC_API size_t async_queue_size(const async_queue *queue);
ASYNC_API bool async_queue_empty(const async_queue *queue);
ASYNC_API bool async_queue_full(const async_queue *queue);

/* Marks an item that was taken as processed: 0; -EINVAL if called more often than items were
 * put. Does not block. asyncio: task_done */
ASYNC_API int async_queue_task_done(async_queue *queue);

/* Waits until every item that was put has been processed: 0, or the code of a cancellation.
 * asyncio: join */
ASYNC_API int async_queue_join(async_queue *queue);

/* No more may be put, and putters that wait get ASYNC_ESHUTDOWN; getters get what is left, and then
 * ASYNC_ESHUTDOWN. `now` drops what is left, and counts it as processed. NULL is left alone. Does
 * not block. asyncio: shutdown(immediate) */
ASYNC_API void async_queue_shutdown(async_queue *queue, bool now);

/* The items as they come, until the queue is shut down: async_for (int, item,
 * async_queue_items(queue)). The type must be of item_size bytes, or the error is -EINVAL. Several
 * tasks may iterate at once: each item goes to one of them. The queue must outlive the iteration.
 * For a queue that is NULL: NULL, with the last error (why it could not be made), else -EBADF. */
ASYNC_API async_iterator *async_queue_items(async_queue *queue);

/* ---- queues between threads ---- */

/* The same between any threads, and between the tasks of any loops: putters and getters may be tasks,
 * which wait as above, and threads, which are blocked. A full queue holds up either, an empty one too.
 * All of them are served in the order in which they came. While a task waits here its loop is not
 * found in a deadlock; with a virtual clock time goes on without the other threads.
 * asyncio has none; janus: Queue.async_q, sync_q */
typedef struct async_thread_queue async_thread_queue;

/* As async_queue_new. Any thread. */
ASYNC_API async_thread_queue *async_thread_queue_new(size_t item_size, size_t maxsize);

/* As async_queue_free: no task and no thread may still use the queue. Any thread. */
ASYNC_API void async_thread_queue_free(async_thread_queue *queue);

/* For tasks: as async_queue_put, async_queue_get, async_queue_join. */
ASYNC_API int async_thread_queue_put(async_thread_queue *queue, const void *item);
ASYNC_API int async_thread_queue_get(async_thread_queue *queue, void *item);
ASYNC_API int async_thread_queue_join(async_thread_queue *queue);

/* For threads: the same, but they block the thread, for `timeout` seconds at most (0 or less: not at
 * all; infinity: for ever): 0; -ETIMEDOUT: nothing was put, taken or waited out; ASYNC_ESHUTDOWN;
 * -ENOMEM; -EINVAL for NaN; -EDEADLK in a thread in which a loop runs. */
ASYNC_API int async_thread_queue_put_threadsafe(async_thread_queue *queue, const void *item,
                                                double timeout);
ASYNC_API int async_thread_queue_get_threadsafe(async_thread_queue *queue, void *item,
                                                double timeout);
ASYNC_API int async_thread_queue_join_threadsafe(async_thread_queue *queue, double timeout);

/* Any thread, and a callback of a loop; never wait: as the functions of async_queue. The numbers may
 * have changed by the time they are looked at. */
ASYNC_API int async_thread_queue_put_nowait(async_thread_queue *queue, const void *item);
ASYNC_API int async_thread_queue_get_nowait(async_thread_queue *queue, void *item);
ASYNC_API int async_thread_queue_task_done(async_thread_queue *queue);
ASYNC_API void async_thread_queue_shutdown(async_thread_queue *queue, bool now);
ASYNC_API size_t async_thread_queue_size(const async_thread_queue *queue);
ASYNC_API bool async_thread_queue_empty(const async_thread_queue *queue);
ASYNC_API bool async_thread_queue_full(const async_thread_queue *queue);

/* For tasks: as async_queue_items. */
ASYNC_API async_iterator *async_thread_queue_items(async_thread_queue *queue);

ASYNC_END
#endif
