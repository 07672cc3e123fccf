/* runners.h - running a program            asyncio: Runners */
#ifndef CASYNCIO_RUNNERS_H
#define CASYNCIO_RUNNERS_H

#include <casyncio/loop.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Makes a loop, runs main(argument) in it as the main task, and gives its return value. At the end,
 * however it came, every task that is left is cancelled and awaited, generators are closed, threads
 * are ended, and the loop is closed. Blocks the thread. In C the argument may be left out, and main
 * may be an int main_task(void).
 *
 * Meanwhile Ctrl-C (SIGINT, unless the program handles or ignores it) cancels the main task, and if
 * that ends with -ECANCELED async_run gives -EINTR. A second one ends the program as if there were
 * no handler, whatever it is doing then.
 *
 * Errors of its own: -EBUSY inside a running loop (an error of the caller's task: its message is
 * async_error_message's); -EDEADLK if every task waits for what can never come
 * (async_run_error_message then has the tree of what waits for what); -ENOMEM; -EMFILE; -EINVAL for
 * options that are out of range or unknown, and for a main that is NULL.
 * asyncio: asyncio.run */
ASYNC_API int async_run(async_coroutine main, void *argument ASYNC__NULL);

typedef struct async_run_options {
    async_loop_options loop; /* virtual_clock, seed, backend, stack_size, executor_threads */
    const char *name;        /* of the main task; NULL: "Task-1" */
    bool no_signals;         /* leave SIGINT alone */
    bool no_report; /* do not print the line about lost errors: see async_set_exception_handler */
    async_exception_handler *exception_handler; /* see loop.h */
    void *exception_data;
    double exit_timeout; /* seconds that an exit of async_with or async_for may go on once a
                          * cancellation or a timeout is due; 0: 10; infinity: no limit */
} async_run_options;

/* The same, with options; NULL is none. They are read before main begins. With no exception
 * handler, errors that no call has returned are counted, and reported in one line on standard error
 * before it returns. Besides that line the library prints only that of a stack overflow (tasks.h).
 * asyncio: asyncio.Runner */
ASYNC_API int async__run(async_coroutine main, void *argument, const char *coroutine,
                         const async_run_options *options, size_t options_size);
static inline int async_run_with(async_coroutine main, void *argument,
                                 const async_run_options *options)
{
    return async__run(main, argument, NULL, options, sizeof *options);
}

/* The message of this thread's last async_run, if that failed: the main task's message, or the
 * deadlock's tree, which is several lines; "" if it did not fail. Never NULL. Good until this
 * thread's next async_run. */
ASYNC_API const char *async_run_error_message(void);

/* async_run is a macro in C so that the call graph can call the coroutine by its function's
 * name. */
ASYNC_API int async_run_named(async_coroutine main, void *argument, const char *coroutine);
#ifndef __cplusplus
#define async_run_with(main, ...) (async_run_with)(ASYNC__CALLABLE(main), __VA_ARGS__)
#define async_run(...) ASYNC__RUN(__VA_ARGS__, NULL)
#define ASYNC__RUN(main, ...)                                                                      \
    async_run_named(ASYNC__CALLABLE(main), ASYNC__ARGUMENT(__VA_ARGS__), #main)
#endif

ASYNC_END

#ifdef __cplusplus
inline int async_run(int (*main)(void))
{
    return async_run((async_coroutine)(void (*)(void))main, nullptr);
}
inline int async_run_with(int (*main)(void), void *, const async_run_options *options)
{
    return async_run_with((async_coroutine)(void (*)(void))main, nullptr, options);
}
#endif
#endif
