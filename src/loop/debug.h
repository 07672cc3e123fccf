/* debug.h - debug mode, from the inside: see casyncio/debug.h. What it costs a loop that has it not is
 * a look at loop->debug, and on no hot path. */
#ifndef CASYNCIO_DEBUG_INTERNAL_H
#define CASYNCIO_DEBUG_INTERNAL_H

#include "loop_internal.h"

#include <casyncio/debug.h>

/* Runs a callback that has been taken out of the ready queue, and notes how long it took. */
void async__run_timed(async_loop *loop, async_callback *callback);

/* The poller's wait, timed, and looked after in debug mode. */
int async__wait_watched(async_loop *loop, int64_t timeout);

/* In debug mode: whether the call was made in another thread than the one that the loop runs in. It is
 * reported then, by the loop, and is to be refused. */
bool async__debug_thread(async_loop *loop, const char *call);
static inline bool async__wrong_thread(async_loop *loop, const char *call)
{
    return async__unlikely(loop->debug) && async__debug_thread(loop, call);
}

/* Tells of what has not been closed (opened.c), when the loop is. */
void async__debug_unclosed(async_loop *loop);
void async__debug_forked(void); /* in the child */
void async__watchdog_forked(void);

/* One block on standard error, in one write. */
void async__print_report(const char *message);

#endif
