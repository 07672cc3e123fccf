/* jobs_internal.h - jobs from the inside.
 *
 *   jobs.c      what callers and workers agree on: names, heads, the streams of a queue
 *   call.c      the caller's side of one job
 *   results.c   what comes back: progress, pieces, the result
 *   map.c       many at once
 *   worker.c    the worker: asks for jobs, tells the server that it lives
 *   execute.c   one job on the worker
 *   queues.c    looking at queues, and at the dead
 *
 * A queue has three streams:
 *
 *   CASYNCIO_RUN_<job>    a work queue of casyncio.<job>.run.<priority>: a job is removed when it is acknowledged.
 *                         Full, it refuses. Its window of message ids is what knows a key again.
 *   CASYNCIO_DATA_<job>   casyncio.<job>.to.<id>.r, the result; .i.<n>, what was yielded; and
 *                         casyncio.<job>.piece.<id>.<i|o>.<n>, inputs and outputs that do not fit into a message;
 *                         .a, the number of the attempt.
 *                         The last message of each subject is kept, for a time.
 *   CASYNCIO_DEAD_<job>   casyncio.<job>.dead: jobs that have failed for good, whole
 *
 * and subjects that are not stored: .to.<id>.n (progress), .cancel, .worker (whether there is any).
 *
 * An <id> is two words: the caller's name and a number of its own; or "k" and a hash of the key that it gave. So
 * a caller gets all its results by one subscription to casyncio.*.to.<caller>.>, from the stream's own
 * input: what is published is both stored and delivered. What was not delivered, since the connection was
 * lost, is asked of the stream. */
#ifndef CASYNCIO_JOBS_INTERNAL_H
#define CASYNCIO_JOBS_INTERNAL_H

#include "cluster_internal.h"

#define ASYNC__CLUSTER_ID_MAX 64
#define ASYNC__CLUSTER_NAME_MAX 40
#define ASYNC__CLUSTER_HEADROOM 2048 /* bytes of a message that are not pieces of data */

/* In front of a job. All numbers are little-endian, as the machines are that casyncio runs on. */
struct async__job_head {
    char magic[4]; /* "cjr1" */
    uint32_t version;
    uint64_t in_size, out_size;
    uint32_t max_deliver, pieces; /* 0 pieces: the input is behind the head */
    double time_limit;
    int64_t not_before; /* ns since 1970 */
    char id[ASYNC__CLUSTER_ID_MAX];
};

/* In front of a result, and of a dead job: the message and then the data (the whole job). */
struct async__result_head {
    char magic[4]; /* "cjd1" */
    int32_t code;
    uint64_t out_size;
    uint32_t pieces, items, message_size, reserved;
};

enum { ASYNC__CLUSTER_PRIORITIES = 3 };
extern const char async__cluster_priority_words[ASYNC__CLUSTER_PRIORITIES];

/* A queue whose streams are known to be there. */
struct async__cluster_known {
    struct async__cluster_known *next;
    double seen_at;    /* when a worker was seen, or the queue was first used */
    double asked_at;   /* when that was last asked */
    unsigned connects; /* the cluster's, when they were seen to be there */
    char name[ASYNC__CLUSTER_NAME_MAX + 1];
};

enum { ASYNC__CLUSTER_TABLE = 1024 };

/* What a cluster has once it calls jobs. */
struct async__cluster_caller {
    struct async__cluster_sub sub; /* casyncio.*.to.<caller>.> */
    async_cluster *cluster;
    struct async__cluster_known *known;
    uint64_t calls;
    async_cluster_future *table[ASYNC__CLUSTER_TABLE]; /* by a hash of the id */
};

struct async__cluster_inbox_list {
    natsMsg **messages;
    size_t start, count, capacity;
};

struct async_cluster_future {
    async_cluster *cluster;
    async_cluster_job job; /* a copy */
    struct async__cluster_known *known;
    async_cluster_future *next, **link; /* in the table */
    struct async__cluster_sub sub;      /* of a call with a key */
    async_event event; /* something has come, or the connection's state has changed */
    natsMsg *result;
    struct async__cluster_inbox_list items, notes;
    uint64_t sequence; /* in the queue; 0: not there */
    bool shared;       /* it has a key */
    void *input; /* a copy, of a job that can be put into a queue in memory again; NULL: none */
    enum async_cluster_priority priority;
    int64_t not_before; /* ns since 1970, or 0 */
    unsigned put_on;    /* the cluster's connects, when it was put there, or seen there */
    double unserved_timeout;
    double look_at; /* when the stream is asked for the result, if the connection stays */
    unsigned looks, connects;
    char id[ASYNC__CLUSTER_ID_MAX];
};

int async__cluster_job_check(const char *what, const async_cluster_job *given,
                             async_cluster_job *job);
struct async__cluster_caller *async__cluster_caller(async_cluster *cluster);
/* The queue's streams are there: NULL is an error. */
struct async__cluster_known *async__cluster_queue(async_cluster *cluster,
                                                  const async_cluster_job *job);
int async__cluster_remake(async_cluster *cluster, const async_cluster_job *job);
void async__cluster_to(char *subject, const char *job, const char *kind, const char *id,
                       const char *rest);
uint64_t async__cluster_hash(const void *data, size_t size, uint64_t from);

/* Stores data in pieces: 0, and their number, or an error. `which` is 'i' or 'o'. */
int async__cluster_store_pieces(async_cluster *cluster, const char *job, const char *id, char which,
                                const void *data, size_t size, uint32_t *pieces);
int async__cluster_fetch_pieces(async_cluster *cluster, const char *job, const char *id, char which,
                                void *data, size_t size, uint32_t pieces);
size_t async__cluster_room(async_cluster *cluster);

/* results.c */
void async__cluster_future_ready(struct async__cluster_sub *sub);
void async__cluster_caller_ready(struct async__cluster_sub *sub);
int async__cluster_look(async_cluster_future *future);
/* Asks for the result after a connection was lost, and puts a job that has gone with a server's memory into the queue
 * again. */
int async__cluster_put_again(async_cluster_future *future);
int async__cluster_result(async_cluster_future *future, void *out);
natsMsg *async__cluster_list_take(struct async__cluster_inbox_list *list);
void async__cluster_list_free(struct async__cluster_inbox_list *list);
/* Waits until something has come, or for a while, with an eye on whether any worker serves the job. */
int async__cluster_step(async_cluster_future *future);

/* worker.c */
struct async__cluster_worker;
struct async__cluster_source {
    struct async__cluster_sub sub;
    struct async__cluster_worker *worker;
    const async_cluster_job *job;
    struct async__cluster_consumer consumer;
    char priority, inbox[64];
    unsigned asked;     /* jobs that may still come */
    double until;       /* when it is forgotten that it was asked */
    double empty_until; /* it was seen empty: it is not asked again before */
    double gone_until;  /* its consumer was not there: the same, whatever it is asked for */
    bool sweep;         /* it was asked for what is there, not for what comes */
};

struct async__cluster_running {
    struct async__cluster_running *next, **link;
    struct async__cluster_worker *worker;
    const async_cluster_job *job;
    natsMsg *msg;
    async_task *task;
    uint64_t deliveries; /* as the server counts them */
    unsigned attempt;
    uint32_t items;
    bool cancelled;  /* by its caller */
    bool given_back; /* to other workers, when this one ends */
    struct async__job_head head;
};

struct async__cluster_worker {
    async_cluster *cluster;
    async_cluster_worker_options options;
    async_cluster_job *jobs;
    size_t job_count, source_count;
    struct async__cluster_source *sources;
    void *others; /* of each job two: cancels, questions whether it is there */
    struct async__cluster_running *running, *given_back;
    unsigned running_count;
    async_event changed;
    async_group *group;
    unsigned connects;
    double beat_at, beat_every;
    bool repairing;
};

int async__cluster_execute(void *running);
void async__cluster_ended(struct async__cluster_running *running);
/* "+ACK", "+WPI", "-NAK", without waiting. */
void async__cluster_acknowledge(async_cluster *cluster, natsMsg *msg, const char *word);

#endif
