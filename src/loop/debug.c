/* debug.c - debug mode: what is slow, and what is called in a wrong thread. opened.c has what was not
 * closed, watchdog.c what blocks; the task layer has what becomes of handles (task.c).
 *
 * In a loop that is timed a task that gives way goes back to the loop (async__ready_special), so that
 * all that runs, runs in async__run_timed. Without debug mode nothing of this file is reached. */
#include "debug.h"
#include "trace.h"

#include "../base/backtrace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- reports ---- */

void async__print_report(const char *message)
{
    char text[4096];
    int size = snprintf(text, sizeof text, "casyncio: %s\n", message);

    if (size >= (int)sizeof text) size = (int)sizeof text - 1;
    if (size > 0) text[size - 1] = '\n';
    for (const char *at = text; size > 0;) {
        ssize_t written = write(STDERR_FILENO, at, (size_t)size);
        if (written <= 0) break;
        at += written;
        size -= (int)written;
    }
}

/* ---- slow steps ---- */

/* What has run may be gone: of a task that has ended the struct is still there (task.c), of another
 * callback only its function is asked for. */
static void report_slow(async_loop *loop, const async_callback *callback, void *function,
                        int64_t took)
{
    char what[512], message[640];

    if (loop->describe && callback->run == loop->shuffled && function == (void *)loop->shuffled)
        loop->describe(callback, false, what, sizeof what);
    else
        async__describe_frames(&function, 1, "", what, sizeof what);
    snprintf(message, sizeof message, "%s ran for %.3f s without giving way (the limit is %g s)",
             *what ? what : "a callback", (double)took * 1e-9, (double)loop->slow_callback * 1e-9);
    async__report(loop, -ETIME, message);
}

void async__run_timed(async_loop *loop, async_callback *callback)
{
    void (*run)(async_callback *) = callback->run;
    /* A trace looks at the clock once a step: where one ends, the next begins. */
    int64_t start = loop->trace && loop->trace->now ? loop->trace->now : async__clock();

    if (loop->trace && callback != &loop->turn_mark) async__trace_step(loop, callback, start);
    run(callback);
    int64_t end = async__clock(), took = end - start;
    if (loop->trace) async__trace_stepped(loop, end);
    if (loop->stepped && run == loop->shuffled) loop->stepped(callback, end, took);
    if (took > loop->stats.longest_step) loop->stats.longest_step = took;
    if (loop->debug && took >= loop->slow_callback && run != loop->turn_mark.run)
        report_slow(loop, callback, (void *)run, took);
}

/* ---- threads ---- */

static void report_thread(async_callback *callback)
{
    async_loop *loop = async__container(callback, async_loop, wrong_thread.callback);
    char message[256];

    snprintf(message, sizeof message,
             "%s was called in another thread than the loop's, and did nothing: other threads have "
             "async_call_soon_threadsafe and async_run_coroutine_threadsafe",
             loop->wrong_thread.call);
    atomic_store(&loop->wrong_thread.told, false);
    async__report(loop, -EINVAL, message);
}

/* One report is under way at a time: of more calls meanwhile nothing is told. */
bool async__debug_thread(async_loop *loop, const char *call)
{
    if (async__running_loop == loop || !loop->running) return false;
    if (!atomic_exchange(&loop->wrong_thread.told, true)) {
        loop->wrong_thread.call = call;
        loop->wrong_thread.callback.run = report_thread;
        async_call_soon_threadsafe(loop, &loop->wrong_thread.callback);
    }
    return true;
}

/* ---- sleeps ---- */

#define DEBUG_SLEEP (ASYNC__SECOND / 10) /* so that what another thread has done is found */

struct sleep {
    async_loop *loop;
    async_poll_hooks hooks; /* the user's */
};

/* Nothing was ready when the sleep began, and its events have not been looked at: what is ready now was
 * made so by another thread. That is how a lock or a queue is used from a wrong one; so such a call is
 * found without a look at each wake-up. */
static void find_foreign(async_loop *loop)
{
    char what[128], message[384];
    async_callback *first = loop->ready.next;

    if (first == &loop->ready) return;
    if (loop->describe && first->run == loop->shuffled)
        loop->describe(first, false, what, sizeof what);
    else
        snprintf(what, sizeof what, "a callback");
    snprintf(
        message, sizeof message,
        "%s was made ready by another thread while the loop slept: what wakes tasks is only for "
        "the loop's own (async_call_soon_threadsafe brings it there)",
        what);
    async__report(loop, -EINVAL, message);
}

static void before_sleep(void *data)
{
    struct sleep *sleep = data;
    if (sleep->hooks.before) sleep->hooks.before(sleep->hooks.data);
}

static void after_sleep(void *data)
{
    struct sleep *sleep = data;
    if (sleep->hooks.after) sleep->hooks.after(sleep->hooks.data);
    find_foreign(sleep->loop);
}

static int wait_in_debug(async_loop *loop, int64_t timeout)
{
    struct sleep sleep = {loop, loop->hooks};

    loop->hooks = (async_poll_hooks){before_sleep, after_sleep, &sleep};
    int code = loop->poller->wait(loop, timeout < DEBUG_SLEEP ? timeout : DEBUG_SLEEP);
    loop->hooks = sleep.hooks;
    return code;
}

int async__wait_watched(async_loop *loop, int64_t timeout)
{
    int64_t start = async__clock();
    int code = loop->debug ? wait_in_debug(loop, timeout) : loop->poller->wait(loop, timeout);
    loop->stats.asleep += async__clock() - start;
    return code;
}

/* ---- switching it on ---- */

int async_set_debug(async_loop *loop, bool on)
{
    if (!loop) return async__loop_fail(-EBADF, "async_set_debug: the loop is NULL");
    loop->debug = on;
    async__special_set(loop);
    return 0;
}

bool async_get_debug(const async_loop *loop) { return loop && loop->debug; }

int async_set_slow_callback_duration(async_loop *loop, double seconds)
{
    static const char call[] = "async_set_slow_callback_duration";
    if (!loop) return async__loop_fail(-EBADF, "%s: the loop is NULL", call);
    if (isnan(seconds) || seconds < 0)
        return async__loop_fail(-EINVAL, "%s: %g is no duration", call, seconds);
    return async__seconds_to_ns(seconds, &loop->slow_callback);
}

double async_slow_callback_duration(const async_loop *loop)
{
    if (!loop) return 0;
    return loop->slow_callback == ASYNC__NEVER ? INFINITY : (double)loop->slow_callback * 1e-9;
}
