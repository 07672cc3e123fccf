/* stream.c - streams and consumers are made, by functions of the client library's that block, in a thread. */
#include "cluster_internal.h"

#include <stdio.h>
#include <string.h>

#define REPLICAS_MAX 5   /* the server's limit */
#define LEADER_WAIT 0.25 /* seconds between two attempts where there is no leader */

/* ---- blocking calls in a thread ---- */

static int in_thread(void *data)
{
    struct async__cluster_block *work = data;
    natsStatus ignored;

    work->status = work->run(work, &work->error);
    const char *text = work->status == NATS_OK ? NULL : nats_GetLastError(&ignored);
    snprintf(work->text, sizeof work->text, "%s", text ? text : "");
    nats_ReleaseThreadMemory();
    return 0;
}

static int code_of_error(jsErrCode error)
{
    switch (error) {
    case JSNotEnabledErr:
    case JSNotEnabledForAccountErr:
    case JSStreamReplicasNotSupportedErr: return -EOPNOTSUPP;
    case JSClusterNoPeersErr:
    case JSInsufficientResourcesErr:
    case JSStorageResourcesExceededErr:
    case JSMemoryResourcesExceededErr:
    case JSNoLimitsErr:
    case JSMaximumStreamsLimitErr:
    case JSMaximumConsumersLimitErr: return -ENOSPC;
    default: return 0;
    }
}

/* What was asked has no answer, since the connection was lost meanwhile: it is to be asked again. */
static bool lost(const struct async__cluster_block *work, unsigned connects)
{
    const async_cluster *cluster = work->cluster;

    if (work->status != NATS_TIMEOUT && work->status != NATS_CONNECTION_DISCONNECTED) return false;
    return connects > 0 && !cluster->closed &&
           (!cluster->connected || cluster->connects != connects);
}

/* Several servers that have no leader say so, or say nothing. */
static bool leaderless(const struct async__cluster_block *work, unsigned connects,
                       double patient_until)
{
    if (connects == 0 || work->cluster->closing || async_now() >= patient_until) return false;
    return work->status == NATS_TIMEOUT || work->error == JSClusterNotAvailErr;
}

int async__cluster_block(struct async__cluster_block *work)
{
    async_cluster *cluster = work->cluster;
    double patient_until = async_now() + ASYNC__CLUSTER_PATIENCE;
    unsigned connects;
    int code;

    do {
        connects = cluster->connects;
        code = connects > 0 ? async_event_wait(&cluster->up) : 0;
        if (code == 0 && work->error) code = async_sleep(LEADER_WAIT);
        work->error = 0;
        if (code == 0) code = async_to_thread(in_thread, work);
        if (code < 0) return code;
    } while (lost(work, connects) || leaderless(work, connects, patient_until));
    if (work->status == NATS_OK) return 0;
    /* While it closes nothing is read any more: it was not the answer that was late, or the server that left. */
    if (cluster->closing &&
        (work->status == NATS_TIMEOUT || work->status == NATS_CONNECTION_DISCONNECTED)) {
        work->status = NATS_CONNECTION_CLOSED;
        work->text[0] = 0;
    }
    code = code_of_error(work->error);
    if (code < 0)
        return async__cluster_raise(code, "%s %s: %s", work->what, work->name, work->text);
    pthread_mutex_lock(&cluster->mutex);
    snprintf(cluster->error, sizeof cluster->error, "%s", work->text);
    pthread_mutex_unlock(&cluster->mutex);
    return async__cluster_fail(cluster, work->status, work->what, work->name);
}

int async__cluster_name_ok(const char *name)
{
    size_t length = name ? strlen(name) : 0;

    if (length > 0 && length <= 64 &&
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == length)
        return 0;
    return async__cluster_raise(-EINVAL, "\"%s\" is no name: up to 64 letters, digits, - and _ are",
                                name ? name : "");
}

int async__cluster_replicas_ok(const char *name, unsigned replicas)
{
    if (replicas <= REPLICAS_MAX) return 0;
    return async__cluster_raise(-EINVAL, "%s: %u replicas, where 1 to %d can be", name, replicas,
                                REPLICAS_MAX);
}

/* ---- streams ---- */

struct stream_work {
    struct async__cluster_block work;
    jsStreamConfig *config;
    jsStreamInfo *found;
};

static natsStatus add_stream(struct async__cluster_block *work, jsErrCode *error)
{
    struct stream_work *self = async__container(work, struct stream_work, work);
    jsErrCode ignored = 0;
    natsStatus status = js_AddStream(NULL, work->cluster->js, self->config, NULL, error);

    if (status == NATS_OK || *error != JSStreamNameExistErr) return status;
    *error = 0;
    return js_GetStreamInfo(&self->found, work->cluster->js, self->config->Name, NULL, &ignored);
}

static bool same_subjects(const jsStreamConfig *a, const jsStreamConfig *b)
{
    if (a->SubjectsLen != b->SubjectsLen) return false;
    for (int i = 0; i < a->SubjectsLen; i++)
        if (strcmp(a->Subjects[i], b->Subjects[i]) != 0) return false;
    return true;
}

/* Limits and times may differ: the stream keeps those with which it was made. What the code relies on must
 * be the same. */
static int compare(const jsStreamConfig *wanted, const jsStreamConfig *found)
{
    const char *what =
        !same_subjects(wanted, found)                ? "its subjects"
        : wanted->Retention != found->Retention      ? "its retention"
        : wanted->Discard != found->Discard          ? "what it discards"
        : wanted->AllowDirect && !found->AllowDirect ? "direct access"
        : wanted->MaxMsgsPerSubject > 0 && found->MaxMsgsPerSubject != wanted->MaxMsgsPerSubject
            ? "its limit for each subject"
        : found->Replicas < wanted->Replicas ? "it has fewer replicas"
                                             : NULL;

    if (!what) return 0;
    return async__cluster_raise(-EEXIST, "stream %s is there, but configured otherwise: %s",
                                wanted->Name, what);
}

int async__cluster_stream(async_cluster *cluster, jsStreamConfig *config)
{
    char name[96];
    struct stream_work self = {.work = {cluster, add_stream, "make stream", name, 0, 0, ""},
                               .config = config};

    snprintf(name, sizeof name, "%s", config->Name);
    if (config->Replicas > 1)
        snprintf(name, sizeof name, "%s with %d replicas", config->Name, (int)config->Replicas);
    int code = async__cluster_block(&self.work);

    if (code == 0 && self.found) code = compare(config, self.found->Config);
    jsStreamInfo_Destroy(self.found);
    return code;
}

/* ---- consumers ---- */

struct consumer_work {
    struct async__cluster_block work;
    jsConsumerConfig *config;
    struct async__cluster_consumer *consumer;
};

/* The first of the stream's consumers whose name begins so; "": there is none. */
static natsStatus find_consumer(struct consumer_work *self, const char *prefix, jsErrCode *error)
{
    struct async__cluster_consumer *consumer = self->consumer;
    jsConsumerNamesList *names = NULL;
    natsStatus status =
        js_ConsumerNames(&names, self->work.cluster->js, consumer->stream, NULL, error);

    consumer->name[0] = 0;
    if (status == NATS_NOT_FOUND && *error == 0) return NATS_OK; /* it has none */
    for (int i = 0; status == NATS_OK && i < names->Count && !consumer->name[0]; i++)
        if (strncmp(names->List[i], prefix, strlen(prefix)) == 0)
            snprintf(consumer->name, sizeof consumer->name, "%s", names->List[i]);
    jsConsumerNamesList_Destroy(names);
    return status;
}

static natsStatus new_name(struct consumer_work *self, const char *prefix)
{
    natsInbox *inbox = NULL;
    natsStatus status = natsInbox_Create(&inbox);

    if (status != NATS_OK) return status;
    snprintf(self->consumer->name, sizeof self->consumer->name, "%s-%s", prefix,
             strrchr(inbox, '.') + 1);
    natsInbox_Destroy(inbox);
    return NATS_OK;
}

/* Of two workers that make one at the same time the server refuses the second, which then finds the first one's. */
static natsStatus share_consumer(struct async__cluster_block *work, jsErrCode *error)
{
    struct consumer_work *self = async__container(work, struct consumer_work, work);
    const char *prefix = self->config->Durable;
    natsStatus status = find_consumer(self, prefix, error);

    if (status == NATS_OK && !self->consumer->name[0]) status = new_name(self, prefix);
    if (status != NATS_OK) return status;
    self->config->Durable = self->consumer->name;
    status =
        js_AddConsumer(NULL, work->cluster->js, self->consumer->stream, self->config, NULL, error);
    self->config->Durable = prefix;
    if (*error != JSConsumerWQConsumerNotUniqueErr) return status;
    *error = 0;
    status = find_consumer(self, prefix, error);
    return status == NATS_OK && !self->consumer->name[0] ? NATS_NOT_FOUND : status;
}

static natsStatus add_consumer(struct async__cluster_block *work, jsErrCode *error)
{
    struct consumer_work *self = async__container(work, struct consumer_work, work);
    struct async__cluster_consumer *consumer = self->consumer;
    jsStreamInfo *stream = NULL;
    jsConsumerInfo *info = NULL;
    natsStatus status = js_GetStreamInfo(&stream, work->cluster->js, consumer->stream, NULL, error);

    if (status != NATS_OK) return status;
    if (consumer->created != stream->Created) consumer->last = 0;
    consumer->created = stream->Created;
    jsStreamInfo_Destroy(stream);
    self->config->DeliverPolicy =
        consumer->last ? js_DeliverByStartSequence : js_DeliverLastPerSubject;
    self->config->OptStartSeq = consumer->last ? consumer->last + 1 : 0;
    status = js_AddConsumer(&info, work->cluster->js, consumer->stream, self->config, NULL, error);
    if (status != NATS_OK) return status;
    snprintf(consumer->name, sizeof consumer->name, "%s", info->Name);
    consumer->pending = info->NumPending;
    jsConsumerInfo_Destroy(info);
    return NATS_OK;
}

int async__cluster_consumer(async_cluster *cluster, struct async__cluster_consumer *consumer,
                            jsConsumerConfig *config)
{
    struct consumer_work self = {.work = {cluster, config->Durable ? share_consumer : add_consumer,
                                          "make a consumer of", consumer->stream, 0, 0, ""},
                                 .config = config,
                                 .consumer = consumer};

    return async__cluster_block(&self.work);
}
