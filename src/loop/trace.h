/* trace.h - a trace, from the inside: see casyncio/trace.h. A loop without one is not asked whether it
 * has one: it is special (loop.c) while a trace is on, and its poller is another one. */
#ifndef CASYNCIO_TRACE_INTERNAL_H
#define CASYNCIO_TRACE_INTERNAL_H

#include "loop_internal.h"
#include "trace_events.h"

#include <casyncio/trace.h>

struct async__trace {
    struct async__trace_event *events;
    uint64_t capacity; /* a power of two */
    /* How many there have been. Written by the loop's thread, after the event. */
    atomic_uint_least64_t count;
    uint64_t asker; /* of the request that this trace is for; 0: it is the program's own */
    /* The end of the ready queue before what runs now; queued while something does. */
    async_callback mark;
    uint64_t running;           /* the number of the task that runs, or 0 */
    const async_callback *step; /* and its callback; NULL: that of another client, or nothing */
    uint64_t newest;            /* task */
    char name[ASYNC__TRACE_NAME_MAX]; /* its name, if it has one: gone when it has ended */
    int64_t begin;
    int64_t now; /* the end of the last step or look; 0: the next has to look at the clock */
    async__poller poller; /* the loop's, but for `wait` */
    const async__poller *real;
    int fd;
    char file[];
};

/* What a task layer tells of its tasks: loop->views. */
struct async__trace_view {
    uint64_t number, newest; /* newest: the highest number that there has been */
    const async_callback *step;
    enum { ASYNC__VIEW_READY, ASYNC__VIEW_PARKED, ASYNC__VIEW_ENDED } state;
    const char *name, *coroutine, *what;
    uint64_t awaited;
    int fd, result;
};
struct async__trace_views {
    /* The task whose step the callback is; for NULL the one that runs: false, if there is none. */
    bool (*of)(const async_loop *loop, const async_callback *step, struct async__trace_view *view);
    /* Tasks that have not ended. */
    size_t (*count)(const async_loop *loop);
    void (*list)(const async_loop *loop, struct async__trace_task *tasks);
};

extern struct async__trace_request async__trace_request; /* see layout.c */

/* A callback begins to run; the one before is over. For NULL: the callback goes on that a step of a task
 * has interrupted. Only while a trace is on, as the next two. */
void async__trace_step(async_loop *loop, async_callback *callback, int64_t now);
void async__trace_stepped(async_loop *loop, int64_t now);
void async__trace_job(async_loop *loop, enum async__trace_kind kind, const async_job *job);

/* The loop has been woken, or begins: does what another program asks for. */
void async__trace_asked(async_loop *loop);
static inline void async__trace_look_for_request(async_loop *loop)
{
    const volatile uint64_t *asker = &async__trace_request.asker;
    if (async__unlikely(*asker != 0)) async__trace_asked(loop);
}

/* Begins the trace that $CASYNCIO_TRACE asks for; says so where that cannot be had. */
void async__trace_environment(async_loop *loop);
void async__trace_close(async_loop *loop);
void async__trace_forked(void); /* in the child */

#endif
