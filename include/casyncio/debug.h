/* debug.h - debug mode, and a watchdog            asyncio: Developing with asyncio, Debug Mode
 *
 * Debug mode finds mistakes while the program runs. It is on if async_loop_options.debug is set, and
 * in async_run also if $CASYNCIO_DEBUG is "1"; no other build of the library is needed. It tells of
 *
 *   - a callback, or a step of a task, that took longer than async_set_slow_callback_duration says;
 *   - a loop that is blocked for a second, while it is (async_watchdog_start);
 *   - a task that was neither awaited nor detached, also one that did not fail;
 *   - a call from another thread than the loop's, of a function that is not for "any thread";
 *   - a stream, server, file, datagram endpoint, process or HTTP session that was never closed, with
 *     the place that opened it;
 *   - a task's handle that is used after it has been released;
 *
 * besides what is told without it (async_set_exception_handler in loop.h). All of it goes to the
 * loop's exception handler (-ETIME for what was slow, -EINVAL for the rest); without one each is
 * written to standard error, as it happens. Places are as "program(+0x1234)", for addr2line.
 *
 * A switch between tasks takes some ten times as long (two looks at the clock), and an open some
 * microseconds more; an idle loop looks up ten times a second. */
#ifndef CASYNCIO_DEBUG_H
#define CASYNCIO_DEBUG_H

#include <casyncio/loop.h>

ASYNC_BEGIN

/* Switches debug mode on or off: 0, or -EBADF for NULL. Handles of tasks are watched only if it was on
 * when async_run began. Only in the loop's thread, or where it does not run. Does not block.
 * asyncio: loop.set_debug, loop.get_debug */
ASYNC_API int async_set_debug(async_loop *loop, bool on);
ASYNC_API bool async_get_debug(const async_loop *loop);

/* How long a callback or a step of a task may take in debug mode: seconds of the real clock, 0.1 by
 * default; 0 tells of each, infinity of none. 0; -EINVAL for NaN or a negative number; -EBADF for a
 * loop that is NULL. The second gives 0 for NULL. Only in the loop's thread. Does not block.
 * asyncio: loop.slow_callback_duration */
ASYNC_API int async_set_slow_callback_duration(async_loop *loop, double seconds);
ASYNC_API double async_slow_callback_duration(const async_loop *loop);

/* ---- the watchdog ---- */

/* A thread that looks whether the loop still gets from one callback to the next, and says so while it
 * does not. It costs the loop nothing: it reads what the loop counts anyway, four times in the time
 * after which a block is told of. When it has found one it sends the loop's thread a SIGURG, whose
 * handler (with SA_RESTART) notes the frames that are under way; a program that handles SIGURG itself
 * is not asked, and gets a report without frames. A system call that a signal interrupts in spite of
 * SA_RESTART (nanosleep, poll) gives EINTR then. */
typedef struct async_watchdog_options {
    double after; /* seconds of the real clock; 0: 1 */
    /* Called in the watchdog's thread, once a block: it must not call what belongs to the loop. `message`
     * says which task blocks, the chain of those that await it, and where, in several lines; it is good
     * during the call. NULL: it is written to standard error. */
    void (*handler)(async_loop *loop, double seconds, const char *message, void *data);
    void *data;
} async_watchdog_options;

/* Starts the loop's watchdog; options that are NULL are all 0. The loop's thread is the calling one. 0;
 * -EALREADY if it has one; -EINVAL for `after` that is NaN or negative, or options that are unknown;
 * -ENOMEM; -EAGAIN if there can be no thread; -EBADF for a loop that is NULL. Debug mode starts one, and
 * so does async_run if $CASYNCIO_WATCHDOG is a number, of seconds. Does not block.
 *
 * async_watchdog_stop ends it, and waits for its thread (and so for its handler); async_loop_close does
 * so too. NULL, and a loop without one, are left alone. */
ASYNC_API int async__watchdog_start(async_loop *loop, const async_watchdog_options *options,
                                    size_t size);
static inline int async_watchdog_start(async_loop *loop, const async_watchdog_options *options)
{
    return async__watchdog_start(loop, options, sizeof *options);
}
ASYNC_API void async_watchdog_stop(async_loop *loop);

/* ---- for libraries that have something to be closed ---- */

/* Says that `object` has been opened, by the caller of this function's caller, and that it has been
 * closed again. `what` is a word for it, "session", and is not copied. If debug mode is on in the loop
 * that runs here, it is told of when the loop is closed first. Any thread. Neither fails nor blocks. */
ASYNC_API void async_debug_opened(const void *object, const char *what);
ASYNC_API void async_debug_closed(const void *object);

ASYNC_END
#endif
