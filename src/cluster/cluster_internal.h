/* cluster_internal.h - libcasyncio-cluster from the inside.
 *
 *   connect.c     options become the client library's; connecting, closing
 *   adapter.c     how the client library's connection sits on the loop
 *   message.c     publish, subscribe
 *   request.c     requests, and their answers by way of one inbox
 *   store.c       JetStream: what is stored, and asked for again
 *   stream.c      streams and consumers are made, and compared with what is there
 *   bucket.c      keys and values
 *   jobs.c, ...   see jobs_internal.h
 *
 * The client library (libnats) has a way to be driven by an event loop: the loop reads and writes, in its own
 * thread, and what was read waits in subscriptions without threads ("sync" ones), from which it is taken
 * without waiting. So messages never change threads. What may block (connecting, closing, and making
 * streams, which is done once) runs in a thread of the loop's pool. */
#ifndef CASYNCIO_CLUSTER_INTERNAL_H
#define CASYNCIO_CLUSTER_INTERNAL_H

#include "../base/container.h"
#include "../base/faults.h"
#include "../base/memory.h"
#include "../base/options.h"

#include <casyncio/cluster.h>
#include <casyncio/futures.h>
#include <casyncio/loop.h>
#include <casyncio/sync.h>
#include <casyncio/threads.h>
#include <nats/nats.h>
#include <pthread.h>
#include <sys/types.h>

/* Seconds for a server that has just started to find its streams, and for several that have lost the one that led
 * to elect another one (4 to 9 s, and again if nothing is decided). */
#define ASYNC__CLUSTER_PATIENCE 20.0

/* Errors of the library itself have no place in its source. */
#define async__cluster_raise(...) async_raise_at(NULL, 0, NULL, __VA_ARGS__)

#define ASYNC__CLUSTER_SUBJECT_MAX 512

/* ---- the connection on the loop (adapter.c) ---- */

/* What the client library's threads tell the loop: bits, set under the mutex. */
enum {
    ASYNC__CLUSTER_STOP = 1,    /* the socket is about to be closed */
    ASYNC__CLUSTER_START = 2,   /* there is a new one, next_fd */
    ASYNC__CLUSTER_WRITE = 4,   /* there is something to be sent */
    ASYNC__CLUSTER_WRITTEN = 8, /* nothing is left to be sent */
    ASYNC__CLUSTER_CLOSED = 16, /* for good */
    ASYNC__CLUSTER_DETACHED = 32,
    /* These stay. Both have been told: nothing is told any more. They come from two threads, in any order. */
    ASYNC__CLUSTER_ENDED = ASYNC__CLUSTER_CLOSED | ASYNC__CLUSTER_DETACHED,
};

struct async__cluster_sub {
    natsSubscription *sub;
    /* There are messages in it, or the connection's state has changed. Must not remove one. */
    void (*ready)(struct async__cluster_sub *self);
    struct async__cluster_sub *next, *prev;
};

/* A place for the answer to a request; its number and its generation are in the answer's subject. */
struct async__cluster_slot {
    struct async__cluster_ask *ask; /* NULL: free */
    unsigned generation, next_free;
};

struct async_cluster {
    async_loop *loop; /* NULL once it has been closed, or the cluster in a forked child */
    async_callback loop_closed;
    pid_t process; /* the one that has the client library's threads */
    natsConnection *connection;
    natsOptions *options;

    pthread_mutex_t mutex; /* of told, next_fd, queued; and of loop, when it goes */
    pthread_cond_t ended;  /* signalled with ASYNC__CLUSTER_ENDED */
    unsigned told;
    int next_fd;
    bool queued;
    async_callback callback;

    int fd; /* a duplicate of the socket, our own; -1: none */
    async_watch reader, writer;
    bool is_reading, is_writing;
    bool connected, closing, closed;
    unsigned references; /* the cluster's own, iterators', buckets', and of calls under way */
    unsigned connects;
    async_event up;      /* set while it is connected, and once it is closed */
    async_event drained; /* set unless much waits to be sent */
    async_event down;    /* set once it is closed */

    struct async__cluster_sub *subs;
    struct async__cluster_sub inbox_sub;
    char inbox[64]; /* "_INBOX.<id>." */
    struct async__cluster_slot *slots;
    unsigned slot_count, free_slot; /* free_slot: number + 1 of the first free one; 0: none */
    jsCtx *js;
    struct async__cluster_caller *caller; /* jobs_internal.h */

    double reconnect_wait, reconnect_wait_max;
    char name[23];   /* this client's, unlike any other's */
    char error[256]; /* the last that the client library has told of; under the mutex */
};

natsStatus async__cluster_attach(void **data, void *loop, natsConnection *connection, natsSock fd);
natsStatus async__cluster_read(void *data, bool add);
natsStatus async__cluster_write(void *data, bool add);
natsStatus async__cluster_detach(void *data);
void async__cluster_tell(async_cluster *self, unsigned what);
void async__cluster_run(async_callback *callback);
/* Sends what the socket has room for; whether it is connected, and nothing is left. */
bool async__cluster_send_now(async_cluster *cluster);
void async__cluster_unwatch(async_cluster *self);
/* Nothing will be told any more: what waits ends. */
void async__cluster_set_closed(async_cluster *self);

/* ---- messages ---- */

int async__cluster_check(const async_cluster *cluster, const char *what);
/* A public call that waits has a reference meanwhile, since another task may close the cluster: after that
 * the connection and JetStream's context are closed, and say so, but are there. 0: it has one. leave() gives it
 * back, and the code that it is given. */
int async__cluster_enter(async_cluster *cluster, const char *what);
int async__cluster_leave(async_cluster *cluster, int code);
int async__cluster_check_subject(const char *what, const char *subject, bool wildcards);
/* A status of the client library's as a code, with a message: "publish to room.tea: ...". */
int async__cluster_fail(async_cluster *cluster, natsStatus status, const char *what,
                        const char *subject);
int async__cluster_add(async_cluster *cluster, struct async__cluster_sub *sub, const char *subject,
                       const char *group);
void async__cluster_remove(async_cluster *cluster, struct async__cluster_sub *sub);
void async__cluster_fill(async_cluster_message *message, natsMsg *msg);
void async__cluster_release(async_cluster *cluster);
void async__cluster_caller_close(async_cluster *cluster);
void async__cluster_caller_free(async_cluster *cluster);
/* Publishes without waiting: also from callbacks. */
natsStatus async__cluster_send(async_cluster *cluster, const char *subject, const char *reply,
                               const void *data, size_t size);
/* The next message of a subscription of the loop's, without waiting: 1; 0: there is none; -ESRCH: the server
 * says that nothing is subscribed to what was asked. The client library drops that message: so to whom it was
 * an answer is known only by the subscription. */
int async__cluster_take(struct async__cluster_sub *sub, natsMsg **msg);

/* ---- requests ---- */

struct async__cluster_ask {
    async_future future;
    natsMsg *answer;
    /* If it is set, it is called with the answer (or NULL, and a code) in place of the future. */
    void (*done)(struct async__cluster_ask *ask, int code);
    unsigned slot;
};

void async__cluster_inbox_ready(struct async__cluster_sub *sub);
void async__cluster_fail_asks(async_cluster *cluster, int code);
int async__cluster_ask_begin(async_cluster *cluster, struct async__cluster_ask *ask, char *reply,
                             size_t reply_size);
void async__cluster_ask_end(async_cluster *cluster, struct async__cluster_ask *ask);
/* Asks by way of the inbox, and waits for the answer for at most `timeout` seconds: 0; -ETIMEDOUT;
 * -ECONNRESET; -ESRCH: nothing is subscribed to this subject, or to that of another request under way: so
 * only what can be asked again goes this way. `headers`: name, value, ..., NULL; may be NULL. */
int async__cluster_ask(async_cluster *cluster, const char *subject, const char *const *headers,
                       const void *data, size_t size, double timeout, natsMsg **answer);
/* The same with a subscription of its own, so that -ESRCH is about this one; without a limit of time. */
int async__cluster_ask_alone(async_cluster *cluster, const char *subject, const void *data,
                             size_t size, natsMsg **answer);
/* The status of a message that is one ("404"), else 0. */
int async__cluster_status(natsMsg *msg);

/* ---- JetStream ---- */

/* Stores a message: waits until the server says that it has it, and sends it again where the connection is
 * lost; the headers make that safe. 0, and *sequence (may be NULL);
 * -EAGAIN: the stream is full; -ESTALE: not the expected revision; -ENODEV: no stream has the subject. */
int async__cluster_store(async_cluster *cluster, const char *subject, const char *const *headers,
                         const void *data, size_t size, uint64_t *sequence);
/* The last message that a stream has of a subject: *msg is NULL if there is none. */
int async__cluster_last(async_cluster *cluster, const char *stream, const char *subject,
                        natsMsg **msg);
/* Whether what STREAM.MSG.GET answers is a message with that Nats-Msg-Id. */
bool async__cluster_has_id(natsMsg *answer, const char *id);
/* The same of what is known to have been stored. */
int async__cluster_stored(async_cluster *cluster, const char *stream, const char *subject,
                          natsMsg **msg);
/* Asks a consumer for messages, which come to `inbox`, with a status (404, 408, 409, 503) at the end if not
 * all came. `wait` seconds, 0: only what is there now. */
natsStatus async__cluster_pull(async_cluster *cluster, const char *stream, const char *consumer,
                               const char *inbox, unsigned count, double wait);
/* What the reply of a message that came from a consumer says of it. */
struct async__cluster_delivery {
    uint64_t deliveries, sequence, pending;
};
bool async__cluster_delivery(natsMsg *msg, struct async__cluster_delivery *delivery);
uint64_t async__cluster_number(const char *text, const char *name);
const char *async__cluster_header(natsMsg *msg, const char *name);

/* Runs a function of the client library's that blocks in a thread, and makes its status a code. */
struct async__cluster_block {
    async_cluster *cluster;
    natsStatus (*run)(struct async__cluster_block *work, jsErrCode *error);
    const char *what, *name; /* for the message */
    natsStatus status;
    jsErrCode error;
    char text[200];
};
int async__cluster_block(struct async__cluster_block *work);
/* Makes a stream, or compares the one that is there with what it has to be. */
int async__cluster_stream(async_cluster *cluster, jsStreamConfig *config);
/* A consumer of a stream.
 *
 * A stream that was lost with a server's memory and made anew counts from 1 again: a number of before is then that of
 * another message. So what acknowledges has a name that no consumer had before, since the name is part of what an
 * acknowledgement is sent to; and what goes on from a number knows when the stream was made. */
struct async__cluster_consumer {
    char stream[72], name[64]; /* name "": none */
    int64_t created;           /* when the stream was made */
    uint64_t last;             /* the number of the last message that came, 0: none has */
    uint64_t pending;          /* messages that it had when it was made */
};
/* With a durable name in the configuration, the one whose name begins so, which all workers share; made if there is
 * none. Else a new one, for what comes after `last`, or for the last message of each subject. */
int async__cluster_consumer(async_cluster *cluster, struct async__cluster_consumer *consumer,
                            jsConsumerConfig *config);
int async__cluster_name_ok(const char *name);
int async__cluster_replicas_ok(const char *name, unsigned replicas);

#endif
