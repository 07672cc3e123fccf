/* loop.h - the engine, to build on            asyncio: Event loop
 *
 * C programs that are written as coroutines hardly need this page: async_run (runners.h) makes a
 * loop and runs it. It is for callbacks, for calls from other threads, and for bindings to other
 * languages.
 *
 * Everything here is intrusive: a callback, a timer, a watch or a job is a struct that lives in its
 * owner, so that the loop allocates nothing to take it. The owner keeps it alive until it has run
 * or been cancelled. A struct that is all zeros but for `run` is ready for use.
 *
 * A loop belongs to the thread that runs it. Only the functions that say "any thread" may be called
 * from another one. None of these functions is a coroutine; async_loop_run and async_loop_close
 * block the thread, the others do not block. They do not check for NULL, except where they say
 * so. */
#ifndef CASYNCIO_LOOP_H
#define CASYNCIO_LOOP_H

#include <casyncio/base.h>

ASYNC_BEGIN

typedef struct async_loop async_loop;

/* ---- making and running a loop ---- */

typedef struct async_loop_options {
    bool virtual_clock; /* time stands still while anything can run, then jumps to the next timer */
    uint64_t seed;      /* not 0: ready tasks run in an order drawn from it, the same every time */
    const char *backend; /* "epoll", "io_uring", "auto" (the library chooses: epoll today); NULL:
                          * $CASYNCIO_BACKEND, else "epoll" */
    size_t stack_size;   /* bytes of address space of a task's stack, with its guard; 0: 256 KiB */
    unsigned executor_threads; /* the most of run_in_executor; 0: processors + 4, at most 32 */
    bool turns; /* async_loop_stop ends the turn: what that has made ready waits for another run */
    bool debug; /* debug mode (debug.h); also without it if $CASYNCIO_DEBUG is 1 */
    unsigned measure; /* ASYNC_MEASURE_... (metrics.h), or'ed: what async_loop_metrics is to know */
    void *reserved[5]; /* this struct lies in async_run_options: it cannot grow */
} async_loop_options;

/* A new loop, to be closed with async_loop_close; it runs callbacks, but no tasks: those need
 * async_run. `options` may be NULL. NULL: no memory or no descriptor for it (errno ENOMEM, EMFILE),
 * or a back end of an unknown name (EINVAL). If a known back end is not available the loop
 * uses epoll.
 * asyncio: new_event_loop */
ASYNC_API async_loop *async__loop_new(const async_loop_options *options, size_t options_size);
static inline async_loop *async_loop_new(const async_loop_options *options)
{
    return async__loop_new(options, sizeof *options);
}

/* Closes the loop and frees it: runs no more callbacks, ends its threads (work that a thread has
 * begun is waited for; a name look-up is not), closes its own descriptors. 0; -EBUSY while it runs.
 * Blocks the thread for that work.
 * asyncio: loop.close */
ASYNC_API int async_loop_close(async_loop *loop);

/* Runs callbacks until async_loop_stop, and then 0; it may be run again. -EDEADLK when there is
 * nothing left that could ever make a callback ready: no timer (one that is set for infinity is
 * none), watch, job or signal handler, and no other thread (see async_loop_share). -EBUSY if this
 * loop runs already, -EALREADY if another one runs in this thread. -ECHILD in a process forked from
 * the one that made the loop: there it can only be closed, which changes nothing of what the
 * parent's loop waits for. Blocks the thread.
 * asyncio: loop.run_forever */
ASYNC_API int async_loop_run(async_loop *loop);

/* Lets what is ready now run, and then ends async_loop_run. Of a loop with `turns`: lets what was
 * ready after the last look at descriptors and timers, or after the turn before, run; if the loop
 * does not run, the next async_loop_run looks once, without waiting, and runs one turn.
 * asyncio: loop.stop */
ASYNC_API void async_loop_stop(async_loop *loop);

/* ---- a loop inside of another one ----
 *
 * A program that has a main loop already (GLib, libuv, Qt) runs this one in it: it watches
 * async_loop_fd for reading, and once that is readable, or after async_loop_timeout, which it asks
 * anew before each time that it waits, it calls async_loop_run_once(loop, 0). All in one thread. */

/* Looks at descriptors and timers, for at most `timeout` seconds if nothing is ready (0 or less: does
 * not wait; infinity: no limit), and runs what is ready then, once: what that makes ready waits for the
 * next call. 0; -EINVAL for NaN; -EBUSY, -EALREADY and -ECHILD as async_loop_run; -EDEADLK only for a
 * wait without a limit. Blocks the thread for the timeout.
 * asyncio: loop.stop(); loop.run_forever() */
ASYNC_API int async_loop_run_once(async_loop *loop, double timeout);

/* A descriptor that is readable while an event, a signal or another thread waits for the loop to run;
 * timers and what is ready do not make it so. It is the loop's: to be watched, and not to be read or
 * closed. */
ASYNC_API int async_loop_fd(const async_loop *loop);

/* The seconds after which the loop has to run even if its descriptor is not readable: 0 if
 * something is ready now, infinity if no timer is set. */
ASYNC_API double async_loop_timeout(async_loop *loop);

/* For a loop with `turns`: what runs now gives way without anything to wait for, as a program does that
 * polls. After a few of these the loop looks at descriptors and timers at the end of the turn, however
 * soon that is. */
ASYNC_API void async_loop_yielded(async_loop *loop);

/* Ends async_loop_run as soon as the callback that runs now, or the hook of a poll, returns. What
 * is ready waits for another run. */
ASYNC_API void async_loop_interrupt(async_loop *loop);

/* asyncio: loop.is_running */
ASYNC_API bool async_loop_is_running(const async_loop *loop);

/* The loop that runs in the calling thread (any thread), or NULL.
 * asyncio: get_running_loop */
ASYNC_API async_loop *async_get_running_loop(void);

/* Declares that another thread may queue callbacks (async_call_soon_threadsafe) or coroutines
 * (async_run_coroutine_threadsafe), so that a loop with nothing else to wait for waits for those,
 * and does not end with -EDEADLK. Call it in the loop's thread before another thread gets the
 * loop's pointer. NULL is left alone. */
ASYNC_API void async_loop_share(async_loop *loop);

/* For languages with a lock of their own: `before` is called right before each system call that
 * waits for events, `after` right after it, not around those that only look. NULL: none (the
 * default). */
typedef struct async_poll_hooks {
    void (*before)(void *data);
    void (*after)(void *data);
    void *data;
} async_poll_hooks;
ASYNC_API void async_set_poll_hooks(async_loop *loop, const async_poll_hooks *hooks);

/* The name of the back end that the loop has: "epoll" or "io_uring" (Linux 5.19, and a library that was
 * built with liburing). A loop on io_uring stays in the thread that has run it while it has operations
 * under way: in another one async_loop_run is -EPERM then. */
ASYNC_API const char *async_loop_backend(const async_loop *loop);

/* The loop's clock, monotonic: nanoseconds, and seconds. With a virtual clock it starts at 0.
 * asyncio: loop.time */
ASYNC_API int64_t async_loop_time_ns(const async_loop *loop);
ASYNC_API double async_loop_time(const async_loop *loop);

/* The clock of the loop that runs here, in seconds: monotonic, from no point in particular (with a
 * virtual clock, from 0). 0 outside a loop.
 * asyncio: loop.time */
ASYNC_API double async_now(void);

/* ---- callbacks ---- */

typedef struct async_callback {
    struct async_callback *next, *prev; /* the loop's; next is NULL while it is not queued */
    void (*run)(struct async_callback *self);
} async_callback;

/* Puts the callback at the end of the ready queue; one that is queued already stays where it is.
 * asyncio: loop.call_soon */
ASYNC_API void async_call_soon(async_loop *loop, async_callback *callback);

/* The same, from any thread while the loop is not closed. The callback must not be queued already,
 * and cannot be cancelled until it runs. Callbacks of one thread run in their order; one that comes
 * when the loop does not run again never runs.
 * asyncio: loop.call_soon_threadsafe */
ASYNC_API void async_call_soon_threadsafe(async_loop *loop, async_callback *callback);

/* Takes the callback out of the ready queue; true if it was there.
 * asyncio: Handle.cancel */
ASYNC_API bool async_callback_cancel(async_callback *callback);

/* Has `callback` run once, by async_loop_close, before anything of the loop is closed, in the reverse
 * order of these calls: for what has watches or timers in the loop, and may be freed after it.
 * async_callback_cancel takes it back. The callback can block nothing; it may take others back, and is
 * not queued any more. Does not fail, and does not block. Also in a forked child that closes the loop.
 * asyncio: none */
ASYNC_API void async_loop_at_close(async_loop *loop, async_callback *callback);

/* ---- timers ---- */

typedef struct async_timer {
    async_callback callback; /* set callback.run */
    uint32_t slot;           /* the loop's; 0 while the timer is not set */
} async_timer;

/* Sets the timer: its callback joins the ready queue once the loop's clock (async_loop_time) has
 * reached `when`, in seconds, in order of time and then of setting; a time in the past is as soon
 * as possible, infinity is never. A timer that is set already is set anew. 0; -ENOMEM: then it is
 * not set; -EINVAL for NaN: then it is as it was. The second takes nanoseconds of
 * async_loop_time_ns; INT64_MAX is never.
 * asyncio: loop.call_at */
ASYNC_API int async_call_at(async_loop *loop, async_timer *timer, double when);
ASYNC_API int async_call_at_ns(async_loop *loop, async_timer *timer, int64_t when);

/* The same, `delay` seconds from now: 0 or less is as soon as possible, infinity is never.
 * asyncio: loop.call_later */
ASYNC_API int async_call_later(async_loop *loop, async_timer *timer, double delay);

/* Unsets the timer; if it has gone off and its callback waits in the ready queue, takes that out.
 * true if the timer was set or its callback queued.
 * asyncio: TimerHandle.cancel */
ASYNC_API bool async_timer_cancel(async_loop *loop, async_timer *timer);

/* ---- callbacks that are still to run, to be counted or freed ---- */

/* Calls `visit` for each callback of the ready queue, and that of each timer that is set, until one
 * call returns another number than 0, and gives that number, else 0. `visit` must not change them.
 * Among them are callbacks of the loop's own: tell yours by their `run`. */
ASYNC_API int async_loop_visit(const async_loop *loop,
                               int (*visit)(async_callback *callback, void *data), void *data);

/* Takes one callback out of the ready queue (which what other threads have queued joins first), or
 * if that is empty unsets a timer, so that it will not run; NULL when there is none left. For a
 * loop that is about to be closed. */
ASYNC_API async_callback *async_loop_take(async_loop *loop);

/* ---- descriptors ---- */

typedef struct async_watch {
    async_callback callback; /* set callback.run: runs while the descriptor is ready, once a turn */
    int fd;                  /* the loop's; the descriptor */
    unsigned char direction; /* the loop's */
    bool once;               /* set it for a watch that is removed as it goes off */
    bool foreign; /* set it if the descriptor may be closed without the loop being told */
    bool armed;   /* the loop's */
    bool edge;    /* the loop's: async_watch_not_ready */
    int error;    /* 0, or -EBADF once async_close or async_forget_fd has ended the watch */
    void *reserved;
} async_watch;

/* Watches a descriptor, until the watch is removed: 0. One watch a direction: a second is -EBUSY. A
 * regular file is always ready: its callback is queued once for each call. -EBADF for what is no
 * descriptor; -ENOMEM; -ENOSPC (fs.epoll.max_user_watches). An error or a hang-up makes both
 * directions ready; one that comes without data runs the callback once for each time that it
 * happens, and not for as long as it lasts. A descriptor that has been watched must be closed with
 * async_close (sockets.h), or async_forget_fd told of it before it is closed: the loop's interest
 * outlives the watch. Not so for a `foreign` watch: it ends with the watch, at the price of two
 * system calls for each; of one for each event, if it is `once` as well.
 * asyncio: loop.add_reader, loop.add_writer */
ASYNC_API int async_add_reader(async_loop *loop, int fd, async_watch *watch);
ASYNC_API int async_add_writer(async_loop *loop, int fd, async_watch *watch);

/* Removes the watch, and its callback from the ready queue; true if either was there.
 * asyncio: loop.remove_reader, loop.remove_writer */
ASYNC_API bool async_remove_watch(async_loop *loop, async_watch *watch);

/* Says that the system call for which the watch waits has found nothing (EAGAIN), although the
 * descriptor was ready: a datagram socket that was shut down for reading stays so. From then on the
 * callback runs once for each new event, and not for as long as there is data: one that leaves some
 * has to be queued again (async_call_soon). This ends with the watch. A watch that is not there any
 * more is left alone. */
ASYNC_API void async_watch_not_ready(async_loop *loop, async_watch *watch);

/* Forgets everything that the loop knows of a descriptor, which may then be closed or given away;
 * watches that are still there go off with `error` -EBADF. */
ASYNC_API void async_forget_fd(async_loop *loop, int fd);

/* ---- signals ---- */

/* Has `callback` run in the loop, soon after each arrival (several at once may be taken for one) of
 * a signal, until it is removed, which restores the previous disposition. 0. One callback a signal
 * in the whole process: a second is -EBUSY. -EINVAL for SIGKILL, SIGSTOP and what is no signal;
 * -ENOMEM. Removing gives true if there was one. While it is there it displaces async_run's own
 * handling of SIGINT in the same loop.
 * asyncio: loop.add_signal_handler, loop.remove_signal_handler */
ASYNC_API int async_add_signal_handler(async_loop *loop, int signal, async_callback *callback);
ASYNC_API bool async_remove_signal_handler(async_loop *loop, int signal);

/* ---- threads ---- */

typedef struct async_job async_job;
struct async_job {
    void (*work)(async_job *self); /* runs in a thread of the pool */
    void (*done)(async_job *self); /* then runs in the loop, unless the job was abandoned */
    void (*drop)(async_job *self); /* runs instead, in any thread, for an abandoned job: frees it */
    async_callback callback;       /* the rest is the loop's */
    async_loop *loop;
    struct async__pool *pool;
    async_job *next, *prev;
    int state;
    int64_t queued_at, begun_at;
};

/* Has a thread of the loop's pool run job->work, and then the loop job->done. The job is the loop's
 * until done or drop runs (drop may be NULL). The pool makes its threads as they are needed, and
 * blocks signals in them. 0; -EAGAIN if not even one thread can be made; -ENOMEM; -ECHILD in a
 * process forked from the loop's.
 * asyncio: loop.run_in_executor */
ASYNC_API int async_run_in_executor(async_loop *loop, async_job *job);

/* Takes back a job whose work has not begun: true, and neither done nor drop will run. false if it
 * has begun, or if the job is not in a pool. asyncio: Future.cancel of concurrent.futures */
ASYNC_API bool async_job_cancel(async_job *job);

/* Abandons a job whose done has not run: done will not run; job->drop runs as soon as no thread
 * uses the job any more, maybe before this returns. */
ASYNC_API void async_job_abandon(async_job *job);

/* ---- names ---- */

struct addrinfo;
typedef struct async__lookup async_lookup;

/* Has getaddrinfo (netdb.h) run in a thread of the loop's resolver, and then done(lookup) in the loop.
 * `host` and `service` are copied, and may be NULL; of `hints` family, socktype, protocol and flags
 * count. It does not block. NULL, and *code: -ENOMEM, or -EAGAIN if not even one thread can be made.
 * If the loop is closed first, done does not run and the look-up is freed.
 * asyncio: loop.getaddrinfo */
ASYNC_API async_lookup *async_lookup_start(async_loop *loop, const char *host, const char *service,
                                           const struct addrinfo *hints,
                                           void (*done)(async_lookup *lookup), void *data,
                                           int *code);
ASYNC_API void *async_lookup_data(const async_lookup *lookup);

/* For done: 0, or the EAI_ code that getaddrinfo has returned; *system_error is errno for EAI_SYSTEM.
 * *list stays the look-up's. */
ASYNC_API int async_lookup_result(const async_lookup *lookup, int *system_error,
                                  struct addrinfo **list);

/* From done on the look-up is the caller's, which ends it with the first. Before, the second gives it
 * up: done does not run, and the look-up is freed when its thread comes back. */
ASYNC_API void async_lookup_free(async_lookup *lookup);
ASYNC_API void async_lookup_abandon(async_lookup *lookup);

/* Whether a callback that async_loop_take has returned is a look-up's own: then it has to be queued
 * again before the loop is closed, which frees the look-up. */
ASYNC_API bool async_is_lookup(const async_callback *callback);

/* ---- errors that no code will ever give ---- */

/* What the loop calls for an error that no call returns: a detached task that failed, a task that
 * failed and was never awaited, a task that goes on calling although each call is refused, and
 * all that debug mode tells of (debug.h). With NULL (the default) they are counted, and
 * async_run reports them at its end, in one line on standard error, unless
 * async_run_options.no_report is set; in debug mode each is written there as it comes. `message` says what happened, and is good during the call.
 * The handler must not block.
 * asyncio: loop.set_exception_handler */
typedef void async_exception_handler(async_loop *loop, int code, const char *message, void *data);
ASYNC_API void async_set_exception_handler(async_loop *loop, async_exception_handler *handler,
                                           void *data);

ASYNC_END
#endif
