/* connect.c - a connection: from options to its end. */
#include "cluster_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT 5.0
#define RECONNECT_WAIT 0.1
#define RECONNECT_WAIT_MAX 5.0
#define PING_INTERVAL 20.0
#define PATIENCE 5000      /* ms for an answer of JetStream's */
#define MUCH (1024 * 1024) /* bytes that wait to be sent before a publisher has to wait, too */

/* ---- what the client library tells ---- */

static void on_closed(natsConnection *connection, void *data)
{
    (void)connection;
    async__cluster_tell(data, ASYNC__CLUSTER_CLOSED);
}

/* Errors that no call gives: a permission that is lacking, messages that were dropped. */
static void on_error(natsConnection *connection, natsSubscription *sub, natsStatus status,
                     void *data)
{
    async_cluster *self = data;
    const char *text = NULL;
    (void)sub;

    if (natsConnection_GetLastError(connection, &text) == NATS_OK || !text || !*text)
        text = natsStatus_GetText(status);
    pthread_mutex_lock(&self->mutex);
    snprintf(self->error, sizeof self->error, "%s", text);
    pthread_mutex_unlock(&self->mutex);
}

/* Pauses double up to the limit; up to a third of each is drawn, so that clients do not come back together. */
static int64_t on_delay(natsConnection *connection, int attempts, void *data)
{
    const async_cluster *self = data;
    double wait = ldexp(self->reconnect_wait, attempts < 30 ? attempts - 1 : 30);
    (void)connection;

    if (wait > self->reconnect_wait_max) wait = self->reconnect_wait_max;
    return (int64_t)(wait * 1e3 * (1 - (double)(nats_NowInNanoSeconds() / 1000 % 1000) / 3000)) + 1;
}

/* ---- options ---- */

static int seconds(const char *what, double given, double otherwise, double *result)
{
    if (isnan(given) || given < 0)
        return async__cluster_raise(-EINVAL, "cluster: a %s of %g seconds", what, given);
    *result = given > 0 ? given : otherwise;
    return 0;
}

static int64_t milliseconds(double value)
{
    return value < 1e9 ? (int64_t)ceil(value * 1e3) : (int64_t)1e12;
}

static int readable(const char *what, const char *path)
{
    if (!path || access(path, R_OK) == 0) return 0;
    int code = -errno;
    return async__cluster_raise(code, "cluster: %s %s: %s", what, path, async_strerror(code));
}

static natsStatus set_servers(natsOptions *to, const char *url, const char *const *more)
{
    natsStatus status = natsOptions_SetURL(to, url); /* which takes several with commas, too */
    size_t count = 0;

    if (status != NATS_OK || !more || !*more) return status;
    while (more[count])
        count++;
    const char **all = async__alloc((count + 1) * sizeof *all);
    if (!all) return NATS_NO_MEMORY;
    all[0] = url;
    memcpy(all + 1, more, count * sizeof *all);
    status = natsOptions_SetURL(to, NULL);
    if (status == NATS_OK) status = natsOptions_SetServers(to, all, (int)count + 1);
    async__free(all);
    return status;
}

static natsStatus set_credentials(natsOptions *to, const async_cluster_options *options)
{
    natsStatus status = NATS_OK;

    if (options->token) status = natsOptions_SetToken(to, options->token);
    if (status == NATS_OK && options->user)
        status =
            natsOptions_SetUserInfo(to, options->user, options->password ? options->password : "");
    if (status == NATS_OK && options->credentials)
        status = natsOptions_SetUserCredentialsFromFiles(to, options->credentials, NULL);
    return status;
}

static natsStatus set_tls(natsOptions *to, const char *url, const async_cluster_options *options)
{
    natsStatus status = NATS_OK;

    if (options->ca_file || options->certificate || options->insecure_skip_verify ||
        strncmp(url, "tls://", 6) == 0)
        status = natsOptions_SetSecure(to, true);
    if (status == NATS_OK && options->ca_file)
        status = natsOptions_LoadCATrustedCertificates(to, options->ca_file);
    if (status == NATS_OK && options->certificate)
        status = natsOptions_LoadCertificatesChain(
            to, options->certificate, options->key ? options->key : options->certificate);
    if (status == NATS_OK && options->insecure_skip_verify)
        status = natsOptions_SkipServerVerification(to, true);
    return status;
}

static natsStatus set_times(async_cluster *self, double connect_timeout, double ping_interval,
                            int max_reconnects)
{
    natsOptions *to = self->options;
    natsStatus status = natsOptions_SetTimeout(to, milliseconds(connect_timeout));

    if (status == NATS_OK) status = natsOptions_SetPingInterval(to, milliseconds(ping_interval));
    if (status == NATS_OK) status = natsOptions_SetAllowReconnect(to, max_reconnects >= 0);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(to, max_reconnects ? max_reconnects : -1);
    if (status == NATS_OK) status = natsOptions_SetCustomReconnectDelay(to, on_delay, self);
    return status;
}

/* SendAsap: without it the library has a thread that flushes. */
static natsStatus set_callbacks(async_cluster *self)
{
    natsOptions *to = self->options;
    natsStatus status = natsOptions_SetSendAsap(to, true);

    if (status == NATS_OK)
        status = natsOptions_SetEventLoop(to, self, async__cluster_attach, async__cluster_read,
                                          async__cluster_write, async__cluster_detach);
    if (status == NATS_OK) status = natsOptions_SetFailRequestsOnDisconnect(to, true);
    if (status == NATS_OK) status = natsOptions_SetClosedCB(to, on_closed, self);
    if (status == NATS_OK) status = natsOptions_SetErrorHandler(to, on_error, self);
    return status;
}

static int set_options(async_cluster *self, const char *url, const async_cluster_options *options)
{
    double connect_timeout = 0, ping_interval = 0;
    int code =
        seconds("connect_timeout", options->connect_timeout, CONNECT_TIMEOUT, &connect_timeout);

    if (code == 0)
        code = seconds("ping_interval", options->ping_interval, PING_INTERVAL, &ping_interval);
    if (code == 0)
        code = seconds("reconnect_wait", options->reconnect_wait, RECONNECT_WAIT,
                       &self->reconnect_wait);
    if (code == 0)
        code = seconds("reconnect_wait_max", options->reconnect_wait_max, RECONNECT_WAIT_MAX,
                       &self->reconnect_wait_max);
    if (code == 0) code = readable("ca_file", options->ca_file);
    if (code == 0) code = readable("certificate", options->certificate);
    if (code == 0) code = readable("key", options->key);
    if (code == 0) code = readable("credentials", options->credentials);
    if (code < 0) return code;

    natsStatus status = natsOptions_Create(&self->options);
    if (status == NATS_OK) status = set_servers(self->options, url, options->servers);
    if (status == NATS_OK)
        status = natsOptions_SetName(self->options, options->name ? options->name : "casyncio");
    if (status == NATS_OK) status = set_credentials(self->options, options);
    if (status == NATS_OK) status = set_tls(self->options, url, options);
    if (status == NATS_OK)
        status = set_times(self, connect_timeout, ping_interval, options->max_reconnects);
    if (status == NATS_OK) status = set_callbacks(self);
    if (status == NATS_OK) return 0;
    return async__cluster_fail(self, status, "cluster options for", url);
}

/* ---- connecting ---- */

static natsStatus connect_in_thread(struct async__cluster_block *work, jsErrCode *error)
{
    (void)error;
    natsConnection *connection; /* attach has it already */
    return natsConnection_Connect(&connection, work->cluster->options);
}

static int open_inbox(async_cluster *self)
{
    natsInbox *inbox = NULL;
    natsStatus status = natsInbox_Create(&inbox);
    char subject[80];

    if (status != NATS_OK) return async__cluster_fail(self, status, "connect", NULL);
    snprintf(self->inbox, sizeof self->inbox, "%s.", inbox);
    /* "_INBOX." and 22 characters that no other client has. */
    snprintf(self->name, sizeof self->name, "%s", strrchr(inbox, '.') + 1);
    natsInbox_Destroy(inbox);
    snprintf(subject, sizeof subject, "%s*", self->inbox);
    self->inbox_sub.ready = async__cluster_inbox_ready;
    return async__cluster_add(self, &self->inbox_sub, subject, NULL);
}

/* Made here, since the calls that need it run in threads, several at a time. The server is not asked. */
static int open_jetstream(async_cluster *self)
{
    jsOptions options;
    natsStatus status = jsOptions_Init(&options);

    options.Wait = PATIENCE;
    if (status == NATS_OK) status = natsConnection_JetStream(&self->js, self->connection, &options);
    return status == NATS_OK ? 0 : async__cluster_fail(self, status, "connect", NULL);
}

static void on_loop_closed(async_callback *callback);

static async_cluster *create(void)
{
    async_cluster *self = async__alloc_zeroed(sizeof *self);

    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for a cluster");
        return NULL;
    }
    self->loop = async_get_running_loop();
    self->process = getpid();
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->ended, NULL);
    self->callback.run = async__cluster_run;
    self->loop_closed.run = on_loop_closed;
    self->fd = self->next_fd = -1;
    self->references = 1;
    async_event_set(&self->drained);
    async_loop_share(self->loop);
    async_loop_at_close(self->loop, &self->loop_closed);
    return self;
}

static int connect_it(async_cluster *self, const char *url, const async_cluster_options *options)
{
    int code = set_options(self, url, options);
    if (code < 0) return code;
    struct async__cluster_block work = {self, connect_in_thread, "connect to", url, 0, 0, ""};
    code = async__cluster_block(&work);
    if (code < 0) return code;
    code = async_event_wait(&self->up);
    if (code == 0 && !self->is_reading)
        code = async__cluster_raise(-ENOMEM, "connect to %s: the loop cannot watch it", url);
    if (code == 0) code = open_jetstream(self);
    if (code == 0) code = open_inbox(self);
    return code;
}

async_cluster *async__cluster_connect(const char *url, const async_cluster_options *given,
                                      size_t size)
{
    async_cluster_options options;

    if (!async_current_task()) {
        async__cluster_raise(-EPERM, "async_cluster_connect outside of a task");
        return NULL;
    }
    if (!url || !*url) {
        async__cluster_raise(-EINVAL, "async_cluster_connect: no URL");
        return NULL;
    }
    if (async__options(&options, sizeof options, given, size) < 0) {
        async__cluster_raise(-EINVAL, "async_cluster_connect: an option of a newer version");
        return NULL;
    }
    async_cluster *self = create();
    if (!self) return NULL;
    int code = connect_it(self, url, &options);
    if (code == 0) return self;
    /* What is told of the failure must outlive the end of what there is already. */
    char text[512];
    snprintf(text, sizeof text, "%s", async_error_message());
    async_cluster_close(self);
    async__cluster_raise(code, "%s", text);
    return NULL;
}

/* ---- the end ---- */

static int close_in_thread(void *data)
{
    natsConnection_Close(((async_cluster *)data)->connection);
    return 0;
}

/* While the library closes it frees its subscriptions, and must not be asked to read: its own thread that reads
 * would have ended by then. So it closes in the loop's thread where that takes no time: it is connected, and nothing
 * is left to be sent, for which it would wait. Else it closes in a thread, and the loop reads no more. That it has
 * closed it says from another thread, and nothing after that. */
static void close_connection(async_cluster *self)
{
    bool at_once = async__cluster_send_now(self);

    if (!at_once) async__cluster_unwatch(self);
    async_shield () {
        if (at_once || async_to_thread(close_in_thread, self) < 0) close_in_thread(self);
        async_event_wait(&self->down);
    }
}

/* A forked child has neither the library's threads nor, perhaps, its locks: what is the library's is left there. */
static bool is_forked(const async_cluster *self) { return getpid() != self->process; }

void async__cluster_release(async_cluster *self)
{
    if (--self->references > 0) return;
    if (self->loop) async_callback_cancel(&self->loop_closed);
    async__cluster_caller_free(self);
    if (!is_forked(self)) {
        jsCtx_Destroy(self->js);
        natsConnection_Destroy(self->connection);
        natsOptions_Destroy(self->options);
        pthread_cond_destroy(&self->ended);
        pthread_mutex_destroy(&self->mutex);
    }
    async__free(self->slots);
    async__free(self);
}

/* The library sends what is left for half a second. A thread of its own may be closing the connection already. */
static void end_connection(async_cluster *self)
{
    if (!self->connection) return;
    natsConnection_Close(self->connection);
    pthread_mutex_lock(&self->mutex);
    while ((self->told & ASYNC__CLUSTER_ENDED) != ASYNC__CLUSTER_ENDED)
        pthread_cond_wait(&self->ended, &self->mutex);
    if (self->told & ASYNC__CLUSTER_START) close(self->next_fd);
    self->told = 0;
    pthread_mutex_unlock(&self->mutex);
}

/* Without a task: the loop ends before the cluster is closed, or a forked child closes it. From here on neither this
 * nor the library's threads use the loop. */
static void leave_loop(async_cluster *self)
{
    bool forked = is_forked(self);

    async_callback_cancel(&self->loop_closed);
    if (!forked) async__cluster_send_now(self);
    async__cluster_unwatch(self);
    if (!forked) pthread_mutex_lock(&self->mutex);
    self->loop = NULL;
    if (!forked) pthread_mutex_unlock(&self->mutex);
    self->connected = false;
    if (forked) {
        self->closed = true;
        return;
    }
    end_connection(self);
    async__cluster_set_closed(self);
    async__cluster_remove(self, &self->inbox_sub);
    async__cluster_caller_close(self);
}

static void on_loop_closed(async_callback *callback)
{
    leave_loop(async__container(callback, async_cluster, loop_closed));
}

static int close_without_loop(async_cluster *self)
{
    if (self->loop) leave_loop(self);
    if (!self->closing) {
        self->closing = true;
        async__cluster_release(self);
    }
    return 0;
}

/* It is closed, or another task is about it. */
static int wait_until_closed(async_cluster *self)
{
    self->references++;
    return async__cluster_leave(self, async_event_wait(&self->down));
}

int async_cluster_close(async_cluster *self)
{
    int code = 0;

    if (!self) return 0;
    if (!self->loop || is_forked(self)) return close_without_loop(self);
    if (!async_current_task())
        return async__cluster_raise(-EPERM, "async_cluster_close outside of a task");
    if (async_get_running_loop() != self->loop)
        return async__cluster_raise(-EPERM, "async_cluster_close: the cluster is another loop's");
    if (self->closing) return wait_until_closed(self);
    self->closing = true;
    if (self->connected && self->inbox_sub.sub) code = async_cluster_flush(self);
    /* What waits is told before its subscription is taken away. */
    if (self->connection) close_connection(self);
    async__cluster_remove(self, &self->inbox_sub);
    async__cluster_caller_close(self);
    async__cluster_unwatch(self);
    self->closed = true;
    async__cluster_release(self);
    return code == -ECONNABORTED || code == -ECONNRESET ? 0 : code;
}

bool async_cluster_is_connected(const async_cluster *self) { return self && self->connected; }

unsigned async_cluster_reconnects(const async_cluster *self)
{
    return self && self->connects > 0 ? self->connects - 1 : 0;
}

size_t async_cluster_max_payload(const async_cluster *self)
{
    if (!self || !self->connection || self->closed) return 0;
    return (size_t)natsConnection_GetMaxPayload(self->connection);
}

static int flush(async_cluster *self)
{
    char reply[ASYNC__CLUSTER_SUBJECT_MAX];
    struct async__cluster_ask ask = {.done = NULL};

    /* A message to ourselves comes back when the server has taken all before it. */
    int code = async__cluster_ask_begin(self, &ask, reply, sizeof reply);
    if (code < 0) return code;
    natsStatus status = async__cluster_send(self, reply, NULL, NULL, 0);
    if (status == NATS_OK) code = async_future_wait(&ask.future, NULL);
    async__cluster_ask_end(self, &ask);
    natsMsg_Destroy(ask.answer);
    if (status != NATS_OK) return async__cluster_fail(self, status, "flush", NULL);
    if (code == -ECONNRESET || code == -ECONNABORTED)
        return async__cluster_raise(code, "flush: the connection was lost");
    return code;
}

int async_cluster_flush(async_cluster *self)
{
    int code = async__cluster_enter(self, "async_cluster_flush");
    return code < 0 ? code : async__cluster_leave(self, flush(self));
}

/* ---- publish ---- */

natsStatus async__cluster_send(async_cluster *self, const char *subject, const char *reply,
                               const void *data, size_t size)
{
    if (reply)
        return natsConnection_PublishRequest(self->connection, subject, reply, data, (int)size);
    return natsConnection_Publish(self->connection, subject, data, (int)size);
}

static int publish(async_cluster *self, const char *subject, const void *data, size_t size)
{
    int code = async__cluster_check_subject("async_cluster_publish", subject, false);

    if (code == 0 && !data && size > 0)
        code = async__cluster_raise(-EINVAL, "publish to %s: no data", subject);
    if (code == 0 && size > async_cluster_max_payload(self))
        code = async__cluster_raise(-EMSGSIZE, "publish to %s: %zu bytes, and the server takes %zu",
                                    subject, size, async_cluster_max_payload(self));
    if (code == 0) code = async_checkpoint();
    if (code < 0) return code;
    if (self->connected && natsConnection_Buffered(self->connection) > MUCH) {
        async_event_clear(&self->drained);
        code = async_event_wait(&self->drained);
        if (code == 0) code = async__cluster_check(self, "async_cluster_publish");
        if (code < 0) return code;
    }
    natsStatus status = async__cluster_send(self, subject, NULL, data, size);
    return status == NATS_OK ? 0 : async__cluster_fail(self, status, "publish to", subject);
}

int async_cluster_publish(async_cluster *self, const char *subject, const void *data, size_t size)
{
    int code = async__cluster_enter(self, "async_cluster_publish");
    return code < 0 ? code : async__cluster_leave(self, publish(self, subject, data, size));
}
