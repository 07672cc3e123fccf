/* metrics.h - what a loop has done, in numbers            asyncio: none (loop.slow_callback_duration is in debug.h)
 *
 * Counters are kept in any case, at no cost. Times, and the depth of stacks, are measured only if
 * async_loop_options.measure asks for them. */
#ifndef CASYNCIO_METRICS_H
#define CASYNCIO_METRICS_H

#include <casyncio/loop.h>

ASYNC_BEGIN

/* What async_loop_options.measure asks for, or'ed. */
enum async_measures {
    /* `busy`, `asleep`: reads the clock twice a sleep. */
    ASYNC_MEASURE_SLEEPS = 1,
    /* `longest_step`: reads it twice a callback, and a switch from task to task goes by way of the loop. */
    ASYNC_MEASURE_STEPS = 2,
    /* async_loop_stack_depths: looks through a task's stack at its end, and clears what it used. */
    ASYNC_MEASURE_STACKS = 4
};

/* Times are seconds of the real clock, also where the loop's is virtual. Counts are since the loop was
 * made. */
typedef struct async_metrics {
    uint64_t looks;  /* at descriptors, timers and other threads: what asyncio calls an iteration */
    uint64_t sleeps; /* looks that had to wait, or could have */
    uint64_t
        callbacks; /* that have run: steps of tasks (each is one), timers, descriptors, the loop's own */
    double busy;   /* while the loop ran, and did not wait; with ASYNC_MEASURE_SLEEPS, else 0 */
    double asleep; /* waiting in the kernel; with ASYNC_MEASURE_SLEEPS, else 0 */
    double longest_step; /* of one callback; with ASYNC_MEASURE_STEPS or in debug mode, else 0 */
    double
        timer_lag; /* the longest from a timer's time until it was found due; 0 with a virtual clock */
    size_t timers; /* set now */
    size_t ready;  /* callbacks that wait to run */

    uint64_t tasks_made;
    size_t tasks; /* that have not ended */

    size_t watches;     /* armed now: for reading and for writing are two */
    size_t descriptors; /* that the kernel reports to the loop */

    size_t jobs_queued;      /* in the thread pools, waiting for a thread */
    size_t jobs_running;     /* in a thread */
    uint64_t jobs_begun;     /* since the pools were made */
    double jobs_waited;      /* for a thread, those begun, together */
    double jobs_waited_most; /* the longest of them */
    size_t threads;          /* of the pools */

    size_t stacks_used;   /* by tasks, and by handles that have not been released */
    size_t stacks_pooled; /* ready for the next task */
} async_metrics;

/* Fills in *metrics: 0, or -EBADF if either is NULL. Only in the loop's thread, or where it does not
 * run. O(descriptors + ready callbacks). Does not block. A binding for another language passes the
 * struct's size to the function with the two underscores. */
ASYNC_API int async__loop_metrics(async_loop *loop, async_metrics *metrics, size_t size);
static inline int async_loop_metrics(async_loop *loop, async_metrics *metrics)
{
    return async__loop_metrics(loop, metrics, sizeof *metrics);
}

/* How deep the stacks of the tasks that were made at one place have been: with ASYNC_MEASURE_STACKS. */
typedef struct async_stack_depth {
    const char
        *coroutine; /* the function's name; "" if not known. Good as long as the program's code */
    const char
        *where;     /* "file.c:12", where the macro stands that makes the task; "" if not known */
    size_t deepest; /* bytes, with what the library has on the stack */
    size_t size;    /* bytes that a stack has (async_loop_options.stack_size less the guard) */
    uint64_t tasks; /* that have ended */
} async_stack_depth;

/* Puts up to `capacity` of them into depths[], the deepest first, and gives the number of all; 0
 * without ASYNC_MEASURE_STACKS, or where async_run does not run. What a frame has reserved, and never
 * written to, does not count. Only in the loop's thread. Does not block. */
ASYNC_API size_t async_loop_stack_depths(async_loop *loop, async_stack_depth *depths,
                                         size_t capacity);

ASYNC_END
#endif
