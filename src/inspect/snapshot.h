/* snapshot.h - the loops and tasks of an image, read once. A process that goes on changes them meanwhile:
 * what is read is checked against what it is linked to, and read again where it has changed. */
#ifndef CASYNCIO_INSPECT_SNAPSHOT_H
#define CASYNCIO_INSPECT_SNAPSHOT_H

#include "image.h"

#include "loop/layout.h"
#include "task/tree.h"

struct task {
    uint64_t address, number;
    uint64_t sp, base, top; /* of its stack: saved, the lowest address, the highest */
    uint64_t tasks, scope, coroutine;
    uint64_t wait, interrupt, awaited, list;          /* what it waits for; addresses, or 0 */
    uint64_t done, owner, group;                      /* group: its address, or 0 */
    uint64_t awaiter, holder;                         /* of the lock that it waits for */
    const char *name, *coroutine_name, *where, *what; /* NULL: none */
    int64_t left;                                     /* ns until its timer is due, or INT64_MIN */
    int64_t since, ran;                               /* ns, where steps are timed; else 0 */
    int fd;
    unsigned char state;
    bool cancelled, is_main;
    bool moved; /* it ran while it was being read: its wait and its frames are not known */
};

enum { AWAITERS = 4, IN_SLEEP = AWAITERS, MARKS };

struct loop {
    uint64_t address, client;
    uint64_t pool, page_mask, usable; /* of its stacks */
    struct {
        uint64_t function, offset;
    } marks[MARKS]; /* see async__mark */
    const struct async__layout *layout;
    struct async__task_layout tasks_layout;
    bool has_tasks; /* else the client's part is not ours, or not known */
    bool running, sleeping, virtual_clock, timed, debug, shared;
    uint64_t looks, sleeps, callbacks, watches, jobs, signals, foreign, count;
    uint32_t timers, forks;
    uint64_t trace; /* the address of its struct async__trace, or 0 */
    int wake_fd;
    int64_t ran, run_since, asleep, longest_step, timer_lag, clock;
    uint64_t descriptors, tasks_made, stacks_used, stacks_pooled;
    struct pool_counts {
        uint64_t threads, max_threads, working,
            queued;     /* now: threads in a job, jobs without one */
        uint64_t begun; /* jobs, and how long they waited, in ns */
        int64_t waited, waited_most;
    } pools;            /* both together */
    struct task *tasks; /* in the order in which they were made */
    size_t task_count;
    bool incomplete; /* it changed too fast */
    /* The slots of timers, and when they are due. */
    int64_t *due;
    size_t due_count;
    struct async__node *nodes; /* of the tasks: snapshot_nodes */
};

struct snapshot {
    struct image *image;
    struct async__layout *layouts; /* those that this program knows */
    size_t layout_count;
    struct loop *loops;
    size_t loop_count;
    struct texts *texts;
    char *problem; /* why a layout could not be used, or NULL */
};

/* What a loop does at a moment, which is two words of its memory. */
struct beat {
    uint64_t callbacks; /* that have run */
    bool runs;          /* a callback, or looks outside; false: it sleeps, or does not run */
};
/* False: the loop could not be read. */
bool loop_beat(const struct image *image, const struct loop *loop, struct beat *beat);

/* NULL: *error has a line, to be freed. */
struct snapshot *snapshot_take(struct image *image, char **error);
void snapshot_free(struct snapshot *snapshot); /* not the image */

/* The text at an address, cleaned; NULL for 0. The snapshot's. */
const char *snapshot_text(struct snapshot *snapshot, uint64_t address);

/* The nodes of the tree, loop->nodes; the names are the snapshot's. */
void snapshot_nodes(struct loop *loop);
/* The index of the task at an address, or ASYNC__NO_NODE. */
size_t loop_find(const struct loop *loop, uint64_t address);

/* Reads the stack of a task that is parked or ready, from its saved pointer on, into `to`: how many
 * bytes; 0: the task has moved. */
size_t task_stack(const struct snapshot *snapshot, const struct loop *loop, const struct task *task,
                  void *to, size_t size);

#endif
