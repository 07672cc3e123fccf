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
 * It is closed when nothing uses it any more.
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
 *   -EOPNOTSUPP       the server has no JetStream (nats-server -js)
 *   -ENOSPC           the server's limits are reached
 *   -EACCES           the server does not allow it
 *   -EIO              any other answer of the server
 *   -ENOMEM, -EPERM   no memory; outside of a task
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
 * iterators and buckets are closed by themselves, also after this. 0; -ETIMEDOUT or the code of a
 * cancellation if not all could be sent. Blocks; it is closed in any case.
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
    unsigned replicas; /* servers of a cluster that have a copy; 0: 1 */
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

ASYNC_END
#endif
