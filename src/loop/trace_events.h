/* trace_events.h - what a trace is made of, and the file that is made of it: for the loop that records
 * (trace.c), and for the program that reads another process's ring (src/inspect). Knows no loop. */
#ifndef CASYNCIO_TRACE_EVENTS_H
#define CASYNCIO_TRACE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* `task` is the task's number, and 0 is the loop itself: a callback that is no task's step. */
enum async__trace_kind {
    ASYNC__TRACE_RUN = 1, /* task; text: without a task the callback's function */
    ASYNC__TRACE_PARK, /* it does not run any more: text: what it waits for, value: a descriptor or -1,
                           * other: the task whose end it waits for, or 0 */
    ASYNC__TRACE_YIELD, /* it does not run any more, and is ready; of the loop: the callback is over */
    ASYNC__TRACE_END, /* value: its result; text: its coroutine's name, or 0 */
    ASYNC__TRACE_NAME, /* of a task that has a name, after its END: 20 bytes, from `other` on, of it */
    ASYNC__TRACE_BEGIN,  /* task has been made, by `other`; text: its coroutine's name */
    ASYNC__TRACE_WAKE,   /* task has been woken, by `other` */
    ASYNC__TRACE_LOOK,   /* the loop looks at its descriptors; value: 1 if it may sleep */
    ASYNC__TRACE_LOOKED, /* value: how many callbacks that has made ready */
    ASYNC__TRACE_QUEUED, /* task has a job done in a thread; other: the job, text: its function */
    ASYNC__TRACE_JOB, /* it is over, since `time`; other: the job, text: the time it began (ns) */
    ASYNC__TRACE_DROPPED, /* the job will not be done, or nothing waits for it; other: the job */
};

enum { ASYNC__TRACE_NAME_PART = 20, ASYNC__TRACE_NAME_MAX = 3 * ASYNC__TRACE_NAME_PART };

struct async__trace_event {
    int64_t time; /* CLOCK_MONOTONIC, in ns */
    uint64_t task, other, text;
    int32_t value;
    uint32_t kind;
};
/* Where a part of a name is. */
#define ASYNC__TRACE_NAME_AT offsetof(struct async__trace_event, other)

/* A ring, as far as another process has to know it. Event i is at i % capacity. The last that is told of
 * (count - 1) is whole; the one after it may be about to be written over the oldest. */
#define ASYNC__TRACE_MAGIC "casyncio-trace "
#define ASYNC__TRACE_MOST (1u << 24)

/* A process's one request, in its static memory, where another process writes to it (and then wakes each
 * loop by its eventfd): a trace until `until`, or until `asker` is another. */
struct async__trace_request {
    char magic[16];
    uint64_t asker; /* the process that asks; 0: none */
    int64_t until;  /* CLOCK_MONOTONIC */
    uint64_t capacity;
};

/* ---- the file ---- */

/* A task that has not ended. */
struct async__trace_task {
    uint64_t number;
    const char *name, *coroutine, *what; /* each may be NULL; what: it waits for */
    bool parked;
};

struct async__trace_record {
    struct async__trace_event *events; /* sorted by the writer, as to their times */
    size_t count;
    uint64_t lost; /* before the first */
    int64_t begin, end;
    int loop;    /* its number in the process, from 1 on */
    bool others; /* there are more loops: lanes say which they are of */
    struct async__trace_task *tasks;
    size_t task_count;
};

struct async__trace_writer {
    FILE *out;
    int process;
    const char *title; /* of the process */
    /* What is at an address of the traced process: a text, or NULL; a function's name. */
    const char *(*text)(void *data, uint64_t address);
    void (*function)(void *data, uint64_t address, char *name, size_t size);
    void *data;
    /* its own */
    int64_t zero;
    uint64_t lost;
    int lanes, flows;
    bool some;
};

/* Begins a file, adds a loop to it, ends it. False: no memory was left (the file is valid all the same). */
void async__trace_file_begin(struct async__trace_writer *writer, int64_t zero);
bool async__trace_file_add(struct async__trace_writer *writer, struct async__trace_record *record);
void async__trace_file_end(struct async__trace_writer *writer);

#endif
