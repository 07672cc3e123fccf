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
    bool handle_sigterm; /* SIGTERM cancels the main task as SIGINT does */
} async_run_options;

/* The same, with options; NULL is none. They are read before main begins. With no exception
 * handler, errors that no call has returned are counted, and reported in one line on standard error
 * before it returns. Besides that line the library prints only that of a stack overflow (tasks.h).
 * asyncio: asyncio.run(..., debug=, loop_factory=) */
ASYNC_API int async__run(async_coroutine main, void *argument, const char *coroutine,
                         const async_run_options *options, size_t options_size);
static inline int async_run_with(async_coroutine main, void *argument,
                                 const async_run_options *options)
{
    return async__run(main, argument, NULL, options, sizeof *options);
}

/* The message of this thread's last async_run, async_runner_run or async_runner_close, if that failed:
 * the main task's message, or the deadlock's tree, which is several lines; "" if it did not fail.
 * Never NULL. Good until this thread's next one. */
ASYNC_API const char *async_run_error_message(void);

/* async_run is a macro in C so that the call graph can call the coroutine by its function's
 * name. */
ASYNC_API int async_run_named(async_coroutine main, void *argument, const char *coroutine);
#ifndef __cplusplus
#define async_run_with(main, ...) (async_run_with)(ASYNC__CALLABLE(main), __VA_ARGS__)
#define async_run(...) ASYNC__RUN(__VA_ARGS__, NULL)
#define ASYNC__RUN(main, ...)                                                                      \
    async_run_named(ASYNC__CALLABLE(main), ASYNC__ARGUMENT(main, __VA_ARGS__), #main)
#endif

/* ---- several coroutines, one after another, in one loop ---- */

/* A loop that stays between runs, with the tasks that are not done: those wait for the next run. It
 * belongs to the thread that made it: the calls below give -EPERM in another one.
 * asyncio: Runner */
typedef struct async_runner async_runner;

/* Makes one, with the options of async_run_with (NULL: none); `name` is that of each main task. To be
 * closed with async_runner_close. NULL: -EBUSY inside a running loop, -EINVAL, -ENOMEM, -EMFILE, as
 * async_run gives them (async_error_code). Does not block. asyncio: Runner(debug=,
 * loop_factory=) */
ASYNC_API async_runner *async__runner_new(const async_run_options *options, size_t options_size);
static inline async_runner *async_runner_new(const async_run_options *options)
{
    return async__runner_new(options, sizeof *options);
}

/* Runs main(argument) in the loop as the main task, and gives its return value, as async_run does; the
 * signals are handled meanwhile. The other tasks stay as they are when the main task has ended. Context
 * variables that it has set are there for the next one. Blocks the thread. Errors of its own: those
 * of async_run; -EBUSY inside a running loop, -EBADF for NULL, -EPERM in another thread, -ECHILD in a
 * process forked from the runner's. After -EDEADLK, for which every task has been cancelled and has
 * ended, it can run again. In C `argument` may be left out. asyncio: Runner.run */
ASYNC_API int async_runner_run_named(async_runner *runner, async_coroutine main, void *argument,
                                     const char *coroutine);
ASYNC_API int async_runner_run(async_runner *runner, async_coroutine main,
                               void *argument ASYNC__NULL);
#ifndef __cplusplus
#define async_runner_run(...) ASYNC__RUNNER_RUN(__VA_ARGS__, NULL)
#define ASYNC__RUNNER_RUN(runner, main, ...)                                                       \
    async_runner_run_named(runner, ASYNC__CALLABLE(main), ASYNC__ARGUMENT(main, __VA_ARGS__), #main)
#endif

/* Its loop, good until the runner is closed: for async_loop_create_task, async_loop_share before
 * another thread has the pointer, or to be run inside of another main loop (loop.h). NULL for NULL.
 * asyncio: Runner.get_loop */
ASYNC_API async_loop *async_runner_get_loop(const async_runner *runner);

/* Cancels and awaits every task that is left, closes generators, ends the threads, closes the loop and
 * frees the runner; NULL is fine. 0; -EBUSY while it or another loop runs in this thread, and -EPERM in
 * another thread: then nothing has happened; or a failure of the loop on the way (-EDEADLK). Blocks
 * the thread. asyncio: Runner.close, loop.shutdown_asyncgens, loop.shutdown_default_executor */
ASYNC_API int async_runner_close(async_runner *runner);

ASYNC_END

#ifdef __cplusplus
inline int async_runner_run(async_runner *runner, int (*main)(void))
{
    return async_runner_run(runner, (async_coroutine)(void (*)(void))main, nullptr);
}
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
