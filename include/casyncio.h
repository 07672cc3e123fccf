/* casyncio.h - asyncio, in C. One header a chapter of asyncio's documentation; this one has them all.
 * HTTP is a library of its own: <casyncio/http.h>. */
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

#endif
