/* layout.h - where things lie, for programs that look into this one from outside (src/inspect): a live
 * process, a wedged one, or its core. They need no help from the process, no symbols and no debug
 * information: a note in the ELF file (".note.casyncio") says how far away async__layout is, and that
 * leads to all the rest. A process may have several, one for each ELF file with the library in it.
 *
 * Included by programs of another version, too: what they read first (magic, version, size) stays as
 * it is, and any other change gets a new version. */
#ifndef CASYNCIO_LAYOUT_H
#define CASYNCIO_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define ASYNC__LAYOUT_NOTE "casyncio"
#define ASYNC__LAYOUT_NOTE_TYPE 1 /* 8 bytes: the distance from themselves to async__layout */
#define ASYNC__LAYOUT_VERSION 2
#define ASYNC__LAYOUT_MAGIC "casyncio-layout"
#define ASYNC__TASK_LAYOUT_MAGIC "casyncio-tasks "

struct async__layout_head {
    char magic[16];
    uint32_t version, size; /* of the whole struct */
};

/* The members are named like what they are the offset of; `size` is that of the struct itself. */
struct async__layout {
    struct async__layout_head head;
    char library[16]; /* "0.2.0" */
    uint64_t first;   /* the address of the pointer to the first loop */
    struct {
        uint32_t size, next, previous;
        uint32_t ready, running, virtual_clock, timed, debug, shared;
        uint32_t now, last_poll, credit, timers, poller, client;
        uint32_t watches, jobs, signals, foreign, forks;
        uint32_t looks, sleeps, callbacks, ran, run_since, asleep, longest_step, timer_lag;
        uint32_t fds, fds_length, wake_fd, executor, resolver, trace;
    } loop;
    struct {
        uint32_t size, interest; /* of an entry of fds; a byte, 0: the kernel is not asked */
    } fd;
    uint64_t pool; /* the address of an async__pool_layout */
    struct {
        uint32_t next, prev, run;
    } callback;
    struct {
        uint32_t heap, length, cancelled, slots_used; /* in the loop's timers */
        uint32_t entry_size, when, slot;              /* of an entry of the heap */
    } timers;
    struct {
        uint32_t events, capacity, count, asker, begin; /* at loop->trace, if that is not NULL */
        uint32_t event_size;
    } trace;
    uint64_t request; /* the address of the struct async__trace_request (trace_events.h) */
};

/* Of a thread pool, loop->executor or ->resolver, either of which may be NULL (pool.c). */
struct async__pool_layout {
    uint32_t size, queued, threads, max_threads, idle, begun, waited, waited_most;
};
extern const struct async__pool_layout async__pool_layout;

/* loop->client points at a struct whose first member is the address of this one. NULL: there are no
 * tasks of ours in that loop, as in Python's. */
struct async__task_layout {
    struct async__layout_head head;
    struct {
        uint32_t size, loop, main, stacks, first, last, count, numbers, closing;
    } tasks;
    struct {
        uint32_t tops, idle, page_mask, usable, total; /* of the pool: see async__stack_base */
    } stacks;
    struct {
        uint32_t size, room; /* it lies so far below the top of its stack */
        uint32_t step, sp, wait, interrupt, result, state, cancelled, is_main;
        uint32_t tasks, coroutine, argument, scope, groups, done, owner, next, previous;
        uint32_t name, coroutine_name, where, number, since, ran;
    } task;
    struct {
        uint32_t size, task, interrupt, what, awaited, fd;
    } wait;
    struct {
        uint32_t list, next,
            previous;   /* of an async__waiter, from its wait on, which is the first in it */
        uint32_t first; /* of a list */
    } waiter;
    struct {
        uint32_t parent, when, code, shield;
    } scope;
    struct {
        uint32_t owner, outer, first, count;
    } group;
    uint32_t lock_owner, unused; /* of an async_lock, from its list of waiters on */
    /* Addresses of pairs: a function, and where something lies in the one kind of struct that it belongs
     * to (async__mark in src/task/task.h). By task->done: in its `owner`, the task that awaits it; the
     * first is that of groups. By wait->interrupt: from the wait on, the slot of the timer that ends it. */
    uint64_t marks[4], sleep;
};

#endif
