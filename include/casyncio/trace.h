/* trace.h - a timeline of what a loop does            asyncio: none
 *
 * While a trace is on, the loop writes down what happens, each with its time, in a ring of its own in
 * memory: which task runs, from when to when; what it then waits for; which task has woken it, or made
 * it; its end; the jobs of the thread pools; the looks at descriptors. When it is stopped, a file is
 * written: JSON in the format of Chrome's traces, for Perfetto (ui.perfetto.dev) and chrome://tracing,
 * of which `casyncio trace --svg FILE` makes a picture.
 *
 * Without a line in the program: async_run begins one if $CASYNCIO_TRACE names a file, and `casyncio
 * trace PID` asks a process that runs for one.
 *
 * Cost: some 30 ns an event, and a switch between tasks goes by way of the loop; while no trace is on,
 * nothing. */
#ifndef CASYNCIO_TRACE_H
#define CASYNCIO_TRACE_H

#include <casyncio/loop.h>

ASYNC_BEGIN

typedef struct async_trace_options {
    const char *file; /* is made, or emptied, at the start. "%p" in it is the process's number */
    /* The size of the ring, 40 bytes each: a power of two, or it becomes one. When it is full the oldest
     * are overwritten, and the file tells how many. 0: 65536. At most 16777216. */
    size_t events;
} async_trace_options;

/* Starts a trace of the loop. 0; -EALREADY if one is on, also if another program has asked for it;
 * -EINVAL for a file that is NULL, too many events, or options that are unknown; -ENOMEM; or why the file
 * cannot be written (-ENOENT, -EACCES, ...). -EBADF for a loop that is NULL. Only in the loop's thread, or
 * where it does not run. Does not block, but for the opening of the file.
 *
 * async_trace_stop ends it and writes the file, as closing the loop does: 0, or why it could not be
 * written (-ENOSPC, -EIO, ...); -EINVAL if there is no trace of async_trace_start or $CASYNCIO_TRACE.
 * Blocks while it writes, some 100 bytes an event. */
ASYNC_API int async__trace_start(async_loop *loop, const async_trace_options *options, size_t size);
static inline int async_trace_start(async_loop *loop, const async_trace_options *options)
{
    return async__trace_start(loop, options, sizeof *options);
}
ASYNC_API int async_trace_stop(async_loop *loop);

ASYNC_END
#endif
