/* debug.h - debug mode, and a watchdog            asyncio: Developing with asyncio, Debug Mode
 *
 * Debug mode finds mistakes while the program runs. It is on if async_loop_options.debug is set, and
 * in async_run also if $CASYNCIO_DEBUG is "1"; no other build of the library is needed. It reports
 *
 *   - a callback, or a step of a task, that took longer than async_set_slow_callback_duration says;
 *   - a loop that is blocked for a second, while it is (async_watchdog_start);
 *   - a task that was neither awaited nor detached, also one that did not fail;
 *   - a call from another thread than the loop's, of a function that is not for "any thread";
 *   - a stream, server, file, datagram endpoint, process or HTTP session that was never closed, with
 *     the place that opened it;
 *   - a task's handle that is used after it has been released;
 *
 * besides what is reported without it (async_set_exception_handler in loop.h). Each report goes to
 * the loop's exception handler, with the code -ETIME for a slow step and -EINVAL for all others;
 * without a handler it is written to standard error at once. Places have the form
 * "program(+0x1234)", for addr2line.
 *
 * Cost: a switch between tasks takes some ten times as long (it reads the clock twice), to open
 * something takes some microseconds more, and an idle loop wakes up ten times a second. */
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
 * default; 0 reports every step, infinity none. 0; -EINVAL for NaN or a negative number; -EBADF for
 * a loop that is NULL. The second gives 0 for NULL. Only in the loop's thread. Does not block.
 * asyncio: loop.slow_callback_duration */
ASYNC_API int async_set_slow_callback_duration(async_loop *loop, double seconds);
ASYNC_API double async_slow_callback_duration(const async_loop *loop);

/* ---- the watchdog ---- */

/* The watchdog is a thread that checks that the loop still gets from one callback to the next, and
 * reports a block while it lasts. It costs the loop nothing: it reads the loop's count of
 * callbacks, four times in each period of `after` seconds. When it finds a block it sends SIGURG to
 * the loop's thread, whose handler (with SA_RESTART) records the frames of the call stack. If the
 * program handles SIGURG itself no signal is sent, and the report has no frames. A system call that
 * a signal interrupts in spite of SA_RESTART (nanosleep, poll) gives EINTR then. */
typedef struct async_watchdog_options {
    double after; /* seconds of the real clock; 0: 1 */
    /* Called in the watchdog's thread, once a block: it must not call what belongs to the loop. `message`
     * says which task blocks, the chain of those that await it, and where, in several lines; it is good
     * during the call. NULL: it is written to standard error. */
    void (*handler)(async_loop *loop, double seconds, const char *message, void *data);
    void *data;
    /* For an interpreter of another language, whose stack the library does not know. Called in the watchdog's
     * thread right after the signal's handlers have run in the loop's thread, one watchdog at a time: writes
     * what is put at the end of `message`, ended by 0, and at most `size` bytes. NULL: nothing is. */
    void (*frames)(char *text, size_t size, void *data);
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

/* Records that `object` has been opened, by the caller of this function's caller, and that it has
 * been closed. `what` is a word for it, "session", and is not copied. If debug mode is on in the
 * loop that runs here, an object that is still open when the loop is closed is reported. Any
 * thread. Neither fails nor blocks. */
ASYNC_API void async_debug_opened(const void *object, const char *what);
ASYNC_API void async_debug_closed(const void *object);

ASYNC_END
#endif
