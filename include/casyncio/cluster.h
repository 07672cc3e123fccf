/* cluster.h - work on other machines            asyncio: none; dask.distributed, nats-py (libcasyncio-cluster)
 *
 *     async_with_cluster (cluster, "nats://127.0.0.1:4222", NULL)
 *         code = async_cluster_publish(cluster, "room.tea", "hello", 5);
 *
 * A cluster is a connection to a NATS server, which carries messages between processes. Over it there
 * are messages (publish and subscribe, request and reply), buckets of keys and values, and jobs.
 *
 * A connection that is lost is made again, to the same server or another one that was named, with
 * growing pauses. Meanwhile what is published is kept, up to 8 MiB, and requests to the server wait.
 *
 * A cluster belongs to the loop in which it was made; any number of its tasks may use it at once.
 * What still waits in its calls when it is closed ends with -ECONNABORTED. If its loop is closed before it, the
 * connection ends with the loop, and later calls give -ECONNABORTED too; it has to be closed all the same.
 *
 * Subjects are words with dots between them, without blanks: "room.tea". In a subscription `*` stands
 * for one word and `>` for one or more at the end.
 *
 * Errors of all calls that talk to the server, each with a message; those of connecting and of jobs stand there:
 *   -EBADF, -EINVAL   a handle or an argument that is NULL; a subject that is none
 *   -EMSGSIZE         the message is larger than the server takes
 *   -ECONNABORTED     the connection was closed for good: by async_cluster_close, by the server (the
 *                     credentials are no longer valid), or max_reconnects are used up
 *   -ENOBUFS          the connection is lost, and what is kept for it is full
 *   -EOPNOTSUPP       the server has no JetStream (nats-server -js), or is alone, where replicas are asked for
 *   -ENOSPC           the server's limits are reached; there are fewer servers than replicas are asked for
 *   -EACCES           the server does not allow it
 *   -EIO              any other answer of the server
 *   -ENOMEM, -EPERM   no memory; outside of a task, or in a task of another loop
 * and the code of a cancellation. */
#ifndef CASYNCIO_CLUSTER_H
#define CASYNCIO_CLUSTER_H

#include <casyncio/contexts.h>
#include <casyncio/iterators.h>

ASYNC_BEGIN

typedef struct async_cluster async_cluster;

/* ---- connecting ---- */

/* 0, NULL and false are the defaults. Files are in PEM. */
typedef struct async_cluster_options {
    const char *const *servers; /* more of them, NULL at the end; one that answers is taken */
    const char *name;           /* of this client, for the server's lists; NULL: "casyncio" */

    const char *token;
    const char *user, *password;
    const char *credentials; /* a .creds file: a JWT and a seed */

    /* TLS, if the URL says tls:// or one of these is given. */
    const char *ca_file;           /* whom to trust; NULL: as OpenSSL does by default */
    const char *certificate, *key; /* our own */
    bool insecure_skip_verify;     /* trust any certificate: for tests */

    double connect_timeout;    /* seconds, to each server; 0: 5 */
    double reconnect_wait;     /* seconds before the second attempt; it doubles each time; 0: 0.1 */
    double reconnect_wait_max; /* its limit; 0: 5 */
    int max_reconnects; /* attempts in a row at each server; 0: no limit; -1: a lost connection is the end */
    double ping_interval; /* seconds; a connection without an answer to two pings is lost; 0: 20 */
} async_cluster_options;

/* Connects to `url` ("nats://host:port", "tls://host", several with commas), and waits until the
 * server has answered; `options` may be NULL. The cluster is closed with async_cluster_close.
 *
 * NULL: -EINVAL for a URL or an option that makes no sense; -ECONNREFUSED if none of the servers can
 * be reached; -EACCES for wrong credentials; ASYNC_ETLS; -ETIMEDOUT; -ENOENT, ... for a file that
 * cannot be read; -ENOMEM; -EPERM. A cancellation is waited for: until the attempt at a server, which
 * is in a thread, has ended.
 * nats-py: nats.connect */
ASYNC_API async_cluster *async__cluster_connect(const char *url,
                                                const async_cluster_options *options,
                                                size_t options_size);
static inline async_cluster *async_cluster_connect(const char *url,
                                                   const async_cluster_options *options)
{
    return async__cluster_connect(url, options, sizeof *options);
}

/* Sends what has been published, for as long as a scope and the connection allow, closes the connection,
 * and frees the cluster; NULL is fine. What still waits in calls and iterators of it gets -ECONNABORTED;
 * iterators and buckets are closed by themselves, also after this. A job that runs on a worker of the
 * cluster may close it. A second call while the first is under way waits for it. 0; -ETIMEDOUT or the code
 * of a cancellation if not all could be sent: it is closed all the same; -EPERM outside of a task, or in a task
 * of another loop: it is not. Blocks. Once the cluster's loop is closed it is freed anywhere, and so is a forked
 * child's copy, which leaves the parent's connection alone: nothing blocks then.
 * nats-py: drain, close */
ASYNC_API int async_cluster_close(async_cluster *cluster);

/* async_with_cluster (cluster, url, options) { ... }: declares `async_cluster *cluster`. */
#define ASYNC_WITH_CLUSTER(cluster, url, ...)                                                      \
    ASYNC_WITH(async_cluster *, cluster, async_cluster_connect(url, __VA_ARGS__),                  \
               async_cluster_close)
#ifndef __cplusplus
#define async_with_cluster(cluster, url, ...) ASYNC_WITH_CLUSTER(cluster, url, __VA_ARGS__)
#endif

/* Waits until all that was published has come to the server: 0, or an error. nats-py: flush */
ASYNC_API int async_cluster_flush(async_cluster *cluster);

/* Whether it is connected now; how often the connection was made anew; false and 0 for NULL. */
ASYNC_API bool async_cluster_is_connected(const async_cluster *cluster);
ASYNC_API unsigned async_cluster_reconnects(const async_cluster *cluster);

/* The most bytes of a message that the server takes; 0 for NULL. */
ASYNC_API size_t async_cluster_max_payload(const async_cluster *cluster);

/* ---- publish and subscribe, request and reply ----
 *
 * At most once: a subscriber that is not connected when a message is published does not get it. */

typedef struct async_cluster_message {
    const char *subject;
    const char *reply; /* where an answer is expected; NULL: nowhere */
    const void *data;  /* with a 0 behind it */
    size_t size;
    void *reserved[2];
} async_cluster_message;

/* Publishes a message; the data may be changed when it returns. Blocks only while more than 1 MiB
 * waits to be sent. A message that was published before the connection was lost may be lost.
 * nats-py: publish */
ASYNC_API int async_cluster_publish(async_cluster *cluster, const char *subject, const void *data,
                                    size_t size);

/* The messages to a subject as they come:
 *
 *     async_for (async_cluster_message *, message, async_cluster_subscribe(cluster, "room.*", NULL))
 *         puts(message->data);
 *
 * A message is good until the next one is asked for. Of the subscribers that name the same `group` one
 * gets each message; NULL: no group. The subscription begins with this call. Up to 65,536 messages wait
 * for the iterator; what comes beyond is lost, and then the iteration ends with -ENOBUFS. NULL: an
 * error. Does not block; the iteration does.
 * nats-py: subscribe, Subscription.messages */
ASYNC_API async_iterator *async_cluster_subscribe(async_cluster *cluster, const char *subject,
                                                  const char *group);

/* Sends a request and waits for the first answer: a message that the caller frees with
 * async_cluster_message_free. NULL: an error; -ESRCH at once if nothing is subscribed to the subject;
 * -ECONNRESET if the connection is lost meanwhile (the request may have been acted on). How long it
 * waits is for async_timeout to say.
 * nats-py: request */
ASYNC_API async_cluster_message *async_cluster_request(async_cluster *cluster, const char *subject,
                                                       const void *data, size_t size);

/* NULL is fine. */
ASYNC_API void async_cluster_message_free(async_cluster_message *message);

/* Answers a request: as async_cluster_publish, to message->reply; -EINVAL if that is NULL.
 * nats-py: Msg.respond */
ASYNC_API int async_cluster_respond(async_cluster *cluster, const async_cluster_message *message,
                                    const void *data, size_t size);

/* ---- buckets of keys and values ---- */

/* A bucket keeps the last values of keys on the server (JetStream's key-value store, which nats-py and the
 * nats program know as well). Keys are as subjects are, of letters, digits and -/_=. */
typedef struct async_cluster_bucket async_cluster_bucket;

typedef struct async_cluster_bucket_options {
    unsigned history;  /* values of each key that are kept, at most 64; 0: 1 */
    double ttl;        /* seconds that a value is kept; 0: for ever */
    bool memory;       /* keep them in the server's memory, not in files */
    unsigned replicas; /* servers of a cluster that have a copy, 1 to 5; 0: 1 */
} async_cluster_bucket_options;

/* Opens a bucket, which is made if there is none. To be closed with async_cluster_bucket_close. NULL: an
 * error; -EINVAL for a name that is not of letters, digits, - and _. Blocks.
 * nats-py: create_key_value, key_value */
ASYNC_API async_cluster_bucket *async__cluster_bucket_open(
    async_cluster *cluster, const char *name, const async_cluster_bucket_options *options,
    size_t options_size);
static inline async_cluster_bucket *async_cluster_bucket_open(
    async_cluster *cluster, const char *name, const async_cluster_bucket_options *options)
{
    return async__cluster_bucket_open(cluster, name, options, sizeof *options);
}

/* Frees the handle; the bucket stays. NULL is fine. Does not block. */
ASYNC_API void async_cluster_bucket_close(async_cluster_bucket *bucket);

typedef struct async_cluster_entry {
    const char *key;
    const void *value; /* with a 0 behind it; NULL if the key was deleted */
    size_t size;
    uint64_t revision; /* counts the changes of the bucket */
    void *reserved[3];
} async_cluster_entry;

/* Sets a key: 0, and its revision in *revision (may be NULL). Blocks until the server has it; if the
 * connection is lost meanwhile it is sent again.
 * nats-py: KeyValue.put */
ASYNC_API int async_cluster_put(async_cluster_bucket *bucket, const char *key, const void *value,
                                size_t size, uint64_t *revision);

/* The same if the key's last revision is `expected`, 0: if there is none; -ESTALE otherwise.
 * nats-py: KeyValue.update, create */
ASYNC_API int async_cluster_put_if(async_cluster_bucket *bucket, const char *key, const void *value,
                                   size_t size, uint64_t expected, uint64_t *revision);

/* The value of a key, to be freed with async_cluster_entry_free. NULL: an error; -ENOENT if there is
 * none, or it was deleted. Blocks.
 * nats-py: KeyValue.get */
ASYNC_API async_cluster_entry *async_cluster_get(async_cluster_bucket *bucket, const char *key);
ASYNC_API void async_cluster_entry_free(async_cluster_entry *entry);

/* Deletes a key, whether it is there or not. Blocks. nats-py: KeyValue.delete */
ASYNC_API int async_cluster_delete(async_cluster_bucket *bucket, const char *key);

/* The values of the keys that match (as a subscription does; NULL: all), and then each change as it comes:
 * async_for (async_cluster_entry *, entry, async_cluster_watch(bucket, "user.*")). An entry is good until
 * the next one is asked for. Where the present values end an entry with the key "" comes, once. No
 * change is missed when the connection is lost, but one that is overwritten meanwhile. NULL: an error.
 * Blocks.
 * nats-py: KeyValue.watch */
ASYNC_API async_iterator *async_cluster_watch(async_cluster_bucket *bucket, const char *keys);

/* ---- jobs ----
 *
 *     struct resize_in  { char path[200]; int width; };
 *     struct resize_out { int bytes; };
 *     static int resize(const struct resize_in *in, struct resize_out *out) { ... }
 *     ASYNC_JOB(resize, struct resize_in, struct resize_out)
 *
 * A worker, of which there may be any number, on any machine:
 *
 *     int main(void) { return async_cluster_work("nats://127.0.0.1:4222", NULL, &resize_job); }
 *
 * A caller, which awaits the job as it would await a task:
 *
 *     code = async_cluster_call(cluster, resize, &in, &out);
 *
 * A job is done at least once: it is in a queue on the server (JetStream) until a worker has stored its
 * result there. A worker that dies, hangs for ack_wait seconds or loses its connection has its job given to
 * another one. So a job may run twice; async_cluster_job_key() is the same both times. What crosses the
 * network are the bytes of the two structs: workers and callers are compiled for machines of one byte order
 * and layout, and pointers mean nothing. */

typedef struct async_cluster_job {
    size_t size;      /* of this struct */
    const char *name; /* of its queue as well: up to 40 letters, digits, - and _ */
    int (*run)(const void *in, void *out); /* NULL in a program that only calls it */
    size_t in_size, out_size;
    unsigned version;     /* of the two structs: a worker refuses another one than its own */
    unsigned max_deliver; /* attempts before it is dead; 0: 5 */
    double ack_wait;   /* seconds without a sign of life after which a worker has lost it; 0: 30 */
    double time_limit; /* seconds that it may run; 0: none */
    size_t max_jobs;   /* that wait or run; what comes beyond has to wait outside; 0: 10,000 */
    double keep;       /* seconds that results are kept for callers that come back; 0: 600 */
    double window;     /* seconds in which a key is known again; 0: 120 */
    /* The queue is in the server's memory, and gone with it. A job that is still waited for is put into the new
     * queue, where it may be done a second time; one with a key gives -EOWNERDEAD instead. */
    bool memory;
    /* Servers of a cluster that have a copy of the queue, the results and the dead: 1 to 5; 0: 1. With three, one of
     * them may be lost, and nothing is. A queue that is there with fewer is refused. */
    unsigned replicas;
    void *reserved[4];
} async_cluster_job;

#ifndef __cplusplus
/* Declares function##_job, an async_cluster_job of that function's name; further arguments are members:
 * ASYNC_JOB(resize, struct resize_in, struct resize_out, .version = 2, .max_deliver = 3). The function is
 * an int function(const IN *, OUT *): 0 or more is success, anything else a failure, whose code and
 * message come to the caller when the job has failed max_deliver times. It runs as a task, or, by an
 * option of the worker, in a thread. ASYNC_JOB_ELSEWHERE is for programs that only call it. */
#define ASYNC_JOB(function, in_type, out_type, ...)                                                \
    static int function##_job_run(const void *in, void *out)                                       \
    {                                                                                              \
        return function((const in_type *)in, (out_type *)out);                                     \
    }                                                                                              \
    ASYNC__JOB(function, function##_job_run, in_type, out_type, __VA_ARGS__)
#define ASYNC_JOB_ELSEWHERE(function, in_type, out_type, ...)                                      \
    ASYNC__JOB(function, NULL, in_type, out_type, __VA_ARGS__)
#define ASYNC__JOB(function, entry, in_type, out_type, ...)                                        \
    typedef in_type function##_job_in;                                                             \
    typedef out_type function##_job_out;                                                           \
    __attribute__((unused)) static const async_cluster_job function##_job = {                      \
        .size = sizeof(async_cluster_job),                                                         \
        .name = #function,                                                                         \
        .run = entry,                                                                              \
        .in_size = sizeof(in_type),                                                                \
        .out_size = sizeof(out_type),                                                              \
        __VA_ARGS__};
#endif

enum async_cluster_priority {
    ASYNC_CLUSTER_NORMAL,
    ASYNC_CLUSTER_HIGH, /* before all others that wait */
    ASYNC_CLUSTER_LOW,  /* after them */
};

/* 0, NULL and false are the defaults. */
typedef struct async_cluster_call_options {
    /* Calls with the same key are one job: the second one gets the result of the first, also after its
     * caller has died, for as long as results are kept. NULL: each call is a job of its own. */
    const char *key;
    enum async_cluster_priority priority;
    double delay; /* seconds before it may begin */
    double
        unserved_timeout; /* seconds without any worker after which the call fails; 0: 10; INFINITY */
    /* For async_cluster_map and async_cluster_as_completed: */
    size_t limit; /* calls at once; 0: 100 */
    bool all;     /* go on after an error: all calls are made */
    int *codes;   /* of each call; may be NULL */
} async_cluster_call_options;

/* Has a worker do the job and waits for its result: 0 or more, what the function returned. If the queue is
 * full it waits for room; how long it waits for anything is for async_timeout to say. In C the types are
 * checked, and options are further arguments: async_cluster_call(cluster, resize, &in, &out, .key = "a").
 *
 * A failure of the job gives the function's code, with its message. Errors of its own, besides those above:
 *   -ESRCH        no worker serves it, for unserved_timeout seconds
 *   -EPROTO       the worker has another version of the job
 *   -EOWNERDEAD   max_deliver workers have had it, and none has come to an end
 *   -EEXIST       a stream of the server's has the queue's name, and is configured otherwise, or has fewer replicas
 * A cancellation takes a job that waits out of the queue, and cancels the task of one that runs, without
 * waiting for that. A job with a key is left alone: other calls may wait for it, or come back with the key.
 * dask.distributed: await client.submit(...) */
ASYNC_API int async__cluster_call(async_cluster *cluster, const async_cluster_job *job,
                                  const void *in, void *out,
                                  const async_cluster_call_options *options, size_t options_size);
static inline int async_cluster_call_job(async_cluster *cluster, const async_cluster_job *job,
                                         const void *in, void *out,
                                         const async_cluster_call_options *options)
{
    return async__cluster_call(cluster, job, in, out, options, sizeof *options);
}

/* Calls a job for each of `count` inputs, `limit` at once, and puts the results in their places. 0; the first
 * error, and then the other calls are cancelled; with .all an error is the first in the order of the
 * arrays, and all calls have been made.
 * dask.distributed: client.map, client.gather */
ASYNC_API int async__cluster_map(async_cluster *cluster, const async_cluster_job *job,
                                 const void *inputs, void *outputs, size_t count,
                                 const async_cluster_call_options *options, size_t options_size);

/* What the iteration below gives. */
typedef struct async_cluster_completed {
    size_t index; /* in the arrays */
    int code;
    const char *message; /* of an error; good until the next one is asked for */
} async_cluster_completed;

/* The same as an iterator over the calls in the order in which they end: async_for
 * (async_cluster_completed, done, async_cluster_as_completed(cluster, resize, inputs, outputs, n)). An error
 * of one call is a value, and the others go on. The arrays must outlive the iteration; leaving it cancels
 * the calls that are left. NULL: an error.
 * dask.distributed: as_completed */
ASYNC_API async_iterator *async__cluster_as_completed(
    async_cluster *cluster, const async_cluster_job *job, const void *inputs, void *outputs,
    size_t count, const async_cluster_call_options *options, size_t options_size);

/* ---- a call in two steps: progress, and results piece by piece ---- */

typedef struct async_cluster_future async_cluster_future;

/* Puts a job into its queue, and waits until it is there. The handle is released by async_cluster_wait or
 * async_cluster_cancel. NULL: an error. dask.distributed: client.submit */
ASYNC_API async_cluster_future *async__cluster_submit(async_cluster *cluster,
                                                      const async_cluster_job *job, const void *in,
                                                      const async_cluster_call_options *options,
                                                      size_t options_size);

/* Waits for the result, and releases the handle: as async_cluster_call. NULL: -EBADF. -EPERM outside of a
 * task, or in a task of another loop: then the handle stays. */
ASYNC_API int async_cluster_wait(async_cluster_future *future, void *out);

/* Cancels the job as a cancellation of async_cluster_call does, and releases the handle; NULL is fine. */
ASYNC_API void async_cluster_cancel(async_cluster_future *future);

/* What the job reports by async_cluster_job_progress, until it has ended; and what it yields by
 * async_cluster_job_yield, each once and in their order, also if another worker has to begin again. A message
 * is good until the next one is asked for. For a job without room for its messages the oldest reports are
 * dropped, and what was yielded is fetched again. One iteration of each kind at a time; it is closed before
 * the handle is released. Iterating over what is yielded ends with the job's code if it fails. */
ASYNC_API async_iterator *async_cluster_progress(async_cluster_future *future);
ASYNC_API async_iterator *async_cluster_items(async_cluster_future *future);

#ifndef __cplusplus
#define async_cluster_call(cluster, function, in, out, ...)                                        \
    async__cluster_call(cluster, &function##_job, 1 ? (in) : (const function##_job_in *)0,         \
                        1 ? (out) : (function##_job_out *)0, ASYNC__CLUSTER_OPTIONS(__VA_ARGS__))
#define async_cluster_map(cluster, function, inputs, outputs, count, ...)                          \
    async__cluster_map(cluster, &function##_job, 1 ? (inputs) : (const function##_job_in *)0,      \
                       1 ? (outputs) : (function##_job_out *)0, count,                             \
                       ASYNC__CLUSTER_OPTIONS(__VA_ARGS__))
#define async_cluster_as_completed(cluster, function, inputs, outputs, count, ...)                 \
    async__cluster_as_completed(                                                                   \
        cluster, &function##_job, 1 ? (inputs) : (const function##_job_in *)0,                     \
        1 ? (outputs) : (function##_job_out *)0, count, ASYNC__CLUSTER_OPTIONS(__VA_ARGS__))
#define async_cluster_submit(cluster, function, in, ...)                                           \
    async__cluster_submit(cluster, &function##_job, 1 ? (in) : (const function##_job_in *)0,       \
                          ASYNC__CLUSTER_OPTIONS(__VA_ARGS__))
#define ASYNC__CLUSTER_OPTIONS(...)                                                                \
    &(async_cluster_call_options){__VA_ARGS__}, sizeof(async_cluster_call_options)
#endif

/* ---- workers ---- */

typedef struct async_cluster_worker_options {
    unsigned concurrency; /* jobs at once; 0: as many as there are processors */
    bool
        threads; /* run them in threads of the loop's pool: for jobs that compute and do not await */
    double drain_timeout; /* seconds that running jobs get when it is to end; 0: 30; INFINITY */
    const async_cluster_options *cluster; /* for async_cluster_work */
} async_cluster_worker_options;

/* Serves the jobs until the task is cancelled: takes no more of them than it can run, and a job's function
 * may await anything. Then it lets what runs come to its end, for drain_timeout, cancels what is left (which
 * another worker will do again), and gives the code of the cancellation. -ECONNABORTED if
 * the cluster is closed meanwhile. Or an error, at the beginning: -EINVAL for a job that has no function, -EEXIST, ... */
ASYNC_API int async__cluster_serve(async_cluster *cluster,
                                   const async_cluster_worker_options *options, size_t options_size,
                                   const async_cluster_job *const *jobs, size_t count);

/* A worker as a program: connects, and serves until SIGTERM or Ctrl-C. Blocks the thread, in which no loop may
 * run; for main(): 0 after a signal, else 1, after a message on standard error. */
ASYNC_API int async__cluster_work(const char *url, const async_cluster_worker_options *options,
                                  size_t options_size, const async_cluster_job *const *jobs,
                                  size_t count);
#ifndef __cplusplus
#define async_cluster_serve(cluster, options, ...)                                                 \
    async__cluster_serve(cluster, options, sizeof(async_cluster_worker_options),                   \
                         (const async_cluster_job *const[]){__VA_ARGS__},                          \
                         sizeof((const async_cluster_job *const[]){__VA_ARGS__}) / sizeof(void *))
#define async_cluster_work(url, options, ...)                                                      \
    async__cluster_work(url, options, sizeof(async_cluster_worker_options),                        \
                        (const async_cluster_job *const[]){__VA_ARGS__},                           \
                        sizeof((const async_cluster_job *const[]){__VA_ARGS__}) / sizeof(void *))
#endif

/* In a job's function, on the worker; also in its thread. Outside of one: -EPERM, "" and 0. */

/* Tells the caller something, at most once: a report that is lost is lost. Does not block. */
ASYNC_API int async_cluster_job_progress(const void *data, size_t size);
/* Hands a part of the result over: waits until it is stored. Results that a caller does not fetch are kept
 * as long as others. */
ASYNC_API int async_cluster_job_yield(const void *data, size_t size);
/* What names this job, however often it is tried: for effects that are to happen once. */
ASYNC_API const char *async_cluster_job_key(void);
/* Which attempt this is, counted from 1. */
ASYNC_API unsigned async_cluster_job_attempt(void);

/* ---- looking at queues ---- */

typedef struct async_cluster_queue {
    char name[65];
    size_t waiting;     /* jobs that no worker has */
    size_t in_flight;   /* that a worker has, or that wait for another attempt */
    double oldest;      /* seconds since the oldest of both was put there; 0: there is none */
    size_t redelivered; /* of those in flight: more than once */
    size_t dead;
    size_t results; /* that are kept, parts of them too */
    void *reserved[4];
} async_cluster_queue;

/* Puts up to `capacity` queues into queues[] and gives the number of all, or an error. Blocks. */
ASYNC_API ssize_t async_cluster_queues(async_cluster *cluster, async_cluster_queue *queues,
                                       size_t capacity);

/* Dead jobs of a queue: async_for (async_cluster_dead *, dead, async_cluster_dead_jobs(cluster, "resize")). */
typedef struct async_cluster_dead {
    uint64_t number;
    const char *key;
    int code;
    const char *message;
    double age; /* seconds */
    void *reserved[2];
} async_cluster_dead;
ASYNC_API async_iterator *async_cluster_dead_jobs(async_cluster *cluster, const char *queue);

/* Puts a dead job into its queue again, and takes it from the dead; number 0: all. The number of jobs, or an
 * error; -ENOENT for one that is not there. Blocks. */
ASYNC_API ssize_t async_cluster_requeue(async_cluster *cluster, const char *queue, uint64_t number);

ASYNC_END
#endif
