/* top.h - casyncio top: what a process does now, again and again.
 *
 * A picture of all tasks is taken each interval (snapshot.h), and what has changed since the one before is
 * the rates. In between the two words that tell what the loop does are looked at some hundred times a
 * second: so it is known how busy it is, and for how long a callback has kept it, where the process itself
 * does not count that. */
#ifndef CASYNCIO_INSPECT_TOP_H
#define CASYNCIO_INSPECT_TOP_H

#include "show.h"

enum sort { SORT_BEST, SORT_WAIT, SORT_CPU, SORT_TOTAL, SORT_ID, SORT_NAME, SORT_STACK };

struct top_options {
    double interval; /* seconds */
    unsigned count;  /* pictures; 0: until it is ended */
    unsigned rows;   /* of one picture that goes to no terminal; 0: all */
    bool once, json;
    enum sort sort;
    bool reverse;
    char filter[64]; /* a part of the name, the coroutine, or what is waited for; "": all */
};

/* False: there is no order of that name. */
bool top_sort_named(const char *name, enum sort *sort);

/* Of a task, from one picture to the next. */
struct seen {
    uint64_t number, place; /* place: a mark of where it is parked */
    int64_t since, ran;     /* since: that it was first seen there, by this program */
    double share;           /* of the interval that it ran; less than 0: not known */
};

struct top_loop {
    uint64_t address;
    struct beat beat;     /* as it was seen last */
    unsigned looks, busy; /* in this interval: of so many looks at it, in so many it was busy */
    int64_t since;        /* that one callback keeps it, as far as was seen, or 0 */
    int64_t longest;      /* in this interval */
    struct seen *seen;    /* a task each, as in the picture */
    size_t seen_count;
    uint64_t callbacks, polls, made, begun; /* as they were counted in the picture before */
    int64_t waited;
    /* In the last interval, a second; less than 0: not known. */
    double busy_share, callbacks_rate, polls_rate, made_rate, begun_rate;
    double job_wait, longest_step; /* seconds; a job's mean */
};

struct top {
    int pid;
    const struct top_options *options;
    struct snapshot *snapshot; /* of this process, as it is now; its image is alive */
    struct top_loop *loops;    /* as in the snapshot */
    size_t loop_count;
    int64_t taken;   /* CLOCK_MONOTONIC, ns */
    double interval; /* in fact, in seconds; 0: this is the first picture */
    uint64_t descriptors_open, descriptors_limit; /* of the process; 0: not known */
};

/* 0, or an exit status. */
int top_run(int pid, struct top_options *options);

/* ---- top_view.c ---- */

/* At most `rows` tasks from the one at *offset on, which is brought into its range; as text in so many
 * columns. How many there are. */
size_t top_show(FILE *out, const struct top *top, int columns, unsigned rows, size_t *offset);
void top_show_json(FILE *out, const struct top *top);

#endif
