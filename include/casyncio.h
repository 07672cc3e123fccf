/* casyncio.h - asyncio, in C. One header a chapter of asyncio's documentation; this one has them all.
 * HTTP is a library of its own: <casyncio/http.h>.
 *
 * How names are made:
 *
 *   - asyncio's functions, and the loop's methods, have async_ before them: asyncio.sleep is async_sleep,
 *     loop.call_soon is async_call_soon. Other methods have the name of their type, too: Queue.put is
 *     async_queue_put. What nearly every coroutine uses is short: `await task` is async_await, Task.cancel
 *     is async_cancel. There is no get_ or is_, unless asyncio has it: async_task_name, async_event_is_set.
 *   - Blocks: async_with_lock (&lock) { ... }, async_with_group (name), async_timeout (seconds),
 *     async_shield (), async_for (type, name, iterator).
 *   - What lies in memory of yours (locks, events, futures, context variables, ...) is all zeros or
 *     ASYNC_..._INIT(...), and needs no end. What the library allocates has async_..._new, or the verb that
 *     asyncio has (create_task, open_connection, start_server), and ends by async_..._free, or, where that
 *     may wait or fail, by async_..._close.
 *   - Endings: _nowait or _try does not wait, _threadsafe is for other threads, _with takes a struct of
 *     options, _at a time of the loop's clock.
 *
 * docs/asyncio-map.md has every name of asyncio's; of names that one might guess instead the compiler says
 * what they are called (guesses.h). */
#ifndef CASYNCIO_H
#define CASYNCIO_H

#include <casyncio/errors.h>
#include <casyncio/runners.h>
#include <casyncio/tasks.h>
#include <casyncio/futures.h>
#include <casyncio/contexts.h>
#include <casyncio/contextvars.h>
#include <casyncio/iterators.h>
#include <casyncio/sync.h>
#include <casyncio/queues.h>
#include <casyncio/select.h>
#include <casyncio/sockets.h>
#include <casyncio/streams.h>
#include <casyncio/protocols.h>
#include <casyncio/datagrams.h>
#include <casyncio/files.h>
#include <casyncio/transfers.h>
#include <casyncio/subprocess.h>
#include <casyncio/threads.h>
#include <casyncio/loop.h>
#include <casyncio/debug.h>
#include <casyncio/metrics.h>
#include <casyncio/trace.h>
#include <casyncio/renamed.h>
#include <casyncio/guesses.h>

#endif
