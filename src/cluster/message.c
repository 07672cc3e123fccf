/* message.c - messages, and what subscribes to them. */
#include "cluster_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

int async__cluster_check(const async_cluster *cluster, const char *what)
{
    if (!cluster) return async__cluster_raise(-EBADF, "%s: no cluster", what);
    if (!async_current_task()) return async__cluster_raise(-EPERM, "%s outside of a task", what);
    if (!cluster->loop)
        return async__cluster_raise(-ECONNABORTED, "%s: the cluster's loop has been closed", what);
    if (async_get_running_loop() != cluster->loop)
        return async__cluster_raise(-EPERM, "%s: the cluster is another loop's", what);
    if (cluster->closed)
        return async__cluster_raise(-ECONNABORTED, "%s: the connection is closed", what);
    return 0;
}

int async__cluster_enter(async_cluster *cluster, const char *what)
{
    int code = async__cluster_check(cluster, what);

    if (code == 0) cluster->references++;
    return code;
}

int async__cluster_leave(async_cluster *cluster, int code)
{
    async__cluster_release(cluster);
    return code;
}

static int code_of(natsStatus status)
{
    switch (status) {
    case NATS_OK: return 0;
    case NATS_NO_MEMORY: return -ENOMEM;
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT: return -EINVAL;
    case NATS_MAX_PAYLOAD: return -EMSGSIZE;
    case NATS_NO_SERVER:
    case NATS_ADDRESS_MISSING: return -ECONNREFUSED;
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED: return -EACCES;
    case NATS_SSL_ERROR:
    case NATS_SECURE_CONNECTION_REQUIRED:
    case NATS_SECURE_CONNECTION_WANTED: return ASYNC_ETLS;
    case NATS_TIMEOUT: return -ETIMEDOUT;
    case NATS_CONNECTION_CLOSED:
    case NATS_INVALID_SUBSCRIPTION: return -ECONNABORTED;
    case NATS_CONNECTION_DISCONNECTED: return -ECONNRESET;
    case NATS_INSUFFICIENT_BUFFER: return -ENOBUFS;
    case NATS_NO_RESPONDERS: return -EOPNOTSUPP;
    case NATS_NOT_FOUND: return -ENOENT;
    default: return -EIO;
    }
}

int async__cluster_fail(async_cluster *cluster, natsStatus status, const char *what,
                        const char *subject)
{
    char text[256] = "";

    pthread_mutex_lock(&cluster->mutex);
    memcpy(text, cluster->error, sizeof text);
    cluster->error[0] = 0;
    pthread_mutex_unlock(&cluster->mutex);
    return async__cluster_raise(code_of(status), "%s %s: %s", what, subject ? subject : "a server",
                                *text ? text : natsStatus_GetText(status));
}

int async__cluster_check_subject(const char *what, const char *subject, bool wildcards)
{
    bool at_word = true;

    if (!subject) return async__cluster_raise(-EINVAL, "%s: no subject", what);
    if (strlen(subject) >= ASYNC__CLUSTER_SUBJECT_MAX - 128)
        return async__cluster_raise(-EINVAL, "%s: a subject of %zu bytes", what, strlen(subject));
    for (const char *at = subject; *at; at++) {
        if ((unsigned char)*at <= ' ' || *at == 127 || (*at == '.' && at_word) ||
            (!wildcards && (*at == '*' || *at == '>')))
            return async__cluster_raise(-EINVAL, "%s: \"%s\" is no subject", what, subject);
        at_word = *at == '.';
    }
    return at_word ? async__cluster_raise(-EINVAL, "%s: \"%s\" is no subject", what, subject) : 0;
}

/* ---- subscriptions of the loop ---- */

int async__cluster_add(async_cluster *cluster, struct async__cluster_sub *sub, const char *subject,
                       const char *group)
{
    natsStatus status =
        group ? natsConnection_QueueSubscribeSync(&sub->sub, cluster->connection, subject, group)
              : natsConnection_SubscribeSync(&sub->sub, cluster->connection, subject);

    if (status != NATS_OK) {
        sub->sub = NULL;
        return async__cluster_fail(cluster, status, "subscribe to", subject);
    }
    sub->next = cluster->subs;
    sub->prev = NULL;
    if (sub->next) sub->next->prev = sub;
    cluster->subs = sub;
    return 0;
}

void async__cluster_remove(async_cluster *cluster, struct async__cluster_sub *sub)
{
    if (!sub->sub) return;
    if (sub->next) sub->next->prev = sub->prev;
    *(sub->prev ? &sub->prev->next : &cluster->subs) = sub->next;
    natsSubscription_Destroy(sub->sub);
    sub->sub = NULL;
}

int async__cluster_take(struct async__cluster_sub *sub, natsMsg **msg)
{
    uint64_t count = 0;

    *msg = NULL;
    if (natsSubscription_QueuedMsgs(sub->sub, &count) != NATS_OK || count == 0) return 0;
    natsStatus status = natsSubscription_NextMsg(msg, sub->sub, 1);
    return status == NATS_OK ? 1 : status == NATS_NO_RESPONDERS ? -ESRCH : 0;
}

/* ---- messages ---- */

void async__cluster_fill(async_cluster_message *message, natsMsg *msg)
{
    message->subject = natsMsg_GetSubject(msg);
    message->reply = natsMsg_GetReply(msg);
    message->data = natsMsg_GetData(msg);
    message->size = (size_t)natsMsg_GetDataLength(msg);
    message->reserved[0] = msg;
}

void async_cluster_message_free(async_cluster_message *message)
{
    if (!message) return;
    natsMsg_Destroy(message->reserved[0]);
    async__free(message);
}

async_cluster_message *async_cluster_request(async_cluster *cluster, const char *subject,
                                             const void *data, size_t size)
{
    natsMsg *answer = NULL;
    int code = async__cluster_check_subject("async_cluster_request", subject, false);

    if (code == 0 && !data && size > 0)
        code = async__cluster_raise(-EINVAL, "request to %s: no data", subject);
    if (code == 0) code = async__cluster_enter(cluster, "async_cluster_request");
    if (code < 0) return NULL;
    async_cluster_message *message = async__alloc_zeroed(sizeof *message);
    if (message)
        code = async__cluster_ask_alone(cluster, subject, data, size, &answer);
    else
        code = async__cluster_raise(-ENOMEM, "no memory for the answer of %s", subject);
    if (async__cluster_leave(cluster, code) < 0 || !message) {
        async__free(message);
        return NULL;
    }
    async__cluster_fill(message, answer);
    return message;
}

int async_cluster_respond(async_cluster *cluster, const async_cluster_message *message,
                          const void *data, size_t size)
{
    if (!message || !message->reply)
        return async__cluster_raise(-EINVAL, "async_cluster_respond: there is no request");
    return async_cluster_publish(cluster, message->reply, data, size);
}

/* ---- iterators over a subscription ---- */

struct subscription {
    async_iterator iterator;
    struct async__cluster_sub sub;
    async_cluster *cluster;
    async_event event;
    async_cluster_message message;
};

static void subscription_ready(struct async__cluster_sub *sub)
{
    async_event_set(&async__container(sub, struct subscription, sub)->event);
}

static int lost_messages(struct subscription *self)
{
    int64_t dropped = 0;

    if (natsSubscription_GetDropped(self->sub.sub, &dropped) != NATS_OK || dropped == 0) return 0;
    return async__cluster_raise(-ENOBUFS, "%s: %lld messages were lost: the iteration is too slow",
                                natsSubscription_GetSubject(self->sub.sub), (long long)dropped);
}

static int subscription_next(async_iterator *iterator, void *value)
{
    struct subscription *self = async__container(iterator, struct subscription, iterator);
    natsMsg *msg = NULL;
    int code = async_checkpoint();

    natsMsg_Destroy(self->message.reserved[0]);
    self->message.reserved[0] = NULL;
    while (code == 0 && async__cluster_take(&self->sub, &msg) != 1) {
        code = lost_messages(self);
        if (code == 0) code = async__cluster_check(self->cluster, "subscription");
        if (code < 0) break;
        async_event_clear(&self->event);
        code = async_event_wait(&self->event);
    }
    if (code < 0) return code;
    async__cluster_fill(&self->message, msg);
    *(async_cluster_message **)value = &self->message;
    return 1;
}

static void subscription_close(async_iterator *iterator)
{
    struct subscription *self = async__container(iterator, struct subscription, iterator);

    natsMsg_Destroy(self->message.reserved[0]);
    async__cluster_remove(self->cluster, &self->sub);
    async__cluster_release(self->cluster);
    async__free(self);
}

async_iterator *async_cluster_subscribe(async_cluster *cluster, const char *subject,
                                        const char *group)
{
    int code = async__cluster_check(cluster, "async_cluster_subscribe");

    if (code == 0) code = async__cluster_check_subject("async_cluster_subscribe", subject, true);
    if (code == 0 && group)
        code = async__cluster_check_subject("async_cluster_subscribe: group", group, false);
    if (code < 0) return NULL;
    struct subscription *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for a subscription");
        return NULL;
    }
    self->iterator = (async_iterator){.next = subscription_next,
                                      .close = subscription_close,
                                      .size = sizeof(async_cluster_message *)};
    self->cluster = cluster;
    self->sub.ready = subscription_ready;
    if (async__cluster_add(cluster, &self->sub, subject, group) < 0) {
        async__free(self);
        return NULL;
    }
    cluster->references++;
    return &self->iterator;
}
