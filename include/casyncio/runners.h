/* runners.h - running a program            asyncio: Runners */
#ifndef CASYNCIO_RUNNERS_H
#define CASYNCIO_RUNNERS_H

#include <casyncio/loop.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Makes a loop, runs main(argument) in it as the main task, and gives its return value. At the end,
 * however it came, every task that is left is cancelled and awaited, generators are closed, threads
 * are ended, and the loop is closed. Blocks the thread. Meanwhile Ctrl-C (SIGINT, unless the
 * program handles it) cancels the main task, and if that ends with -ECANCELED async_run gives
 * -EINTR; a second one ends the program.
 *
 * Errors of its own: -EBUSY inside a running loop; -EDEADLK if every task waits for what can never
 * come (async_run_error_message then has the tree of who waits for what); -ENOMEM; -EMFILE; -EINVAL
 * for options that make no sense, and for a main that is NULL.
 * asyncio: asyncio.run */
ASYNC_API int async_run(async_coroutine main, void *argument);

typedef struct async_run_options {
    async_loop_options loop; /* virtual_clock, seed, backend, stack_size, executor_threads */
    const char *name;        /* of the main task; NULL: "Task-1" */
    bool no_signals;         /* leave SIGINT alone */
    async_exception_handler *exception_handler; /* see loop.h */
    void *exception_data;
} async_run_options;

/* The same, with options; NULL is none. They are not needed any more once it runs.
 * asyncio: asyncio.Runner */
ASYNC_API int async_run_with(async_coroutine main, void *argument,
                             const async_run_options *options);

/* What this thread's last async_run failed with, in words: the main task's message, or the
 * deadlock's tree, which is several lines; "" if it did not fail. Good until this thread's next
 * async_run. */
ASYNC_API const char *async_run_error_message(void);

/* async_run is a macro only so that the call graph can call the coroutine by its function's
 * name. */
ASYNC_API int async_run_named(async_coroutine main, void *argument, const char *coroutine);
#define async_run(main, ...) async_run_named(main, __VA_ARGS__, #main)

ASYNC_END
#endif
