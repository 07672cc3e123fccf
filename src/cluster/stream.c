/* stream.c - streams and consumers are made, by functions of the client library's that block, in a thread. */
#include "cluster_internal.h"

#include <stdio.h>
#include <string.h>

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
    case JSNotEnabledForAccountErr: return -EOPNOTSUPP;
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

int async__cluster_block(struct async__cluster_block *work)
{
    async_cluster *cluster = work->cluster;
    unsigned connects;
    int code;

    do {
        connects = cluster->connects;
        code = connects > 0 ? async_event_wait(&cluster->up) : 0;
        work->error = 0;
        if (code == 0) code = async_to_thread(in_thread, work);
        if (code < 0) return code;
    } while (lost(work, connects));
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
            : NULL;

    if (!what) return 0;
    return async__cluster_raise(-EEXIST, "stream %s is there, but configured otherwise: %s",
                                wanted->Name, what);
}

int async__cluster_stream(async_cluster *cluster, jsStreamConfig *config)
{
    struct stream_work self = {.work = {cluster, add_stream, "make stream", config->Name, 0, 0, ""},
                               .config = config};
    int code = async__cluster_block(&self.work);

    if (code == 0 && self.found) code = compare(config, self.found->Config);
    jsStreamInfo_Destroy(self.found);
    return code;
}

/* ---- consumers ---- */

struct consumer_work {
    struct async__cluster_block work;
    const char *stream;
    jsConsumerConfig *config;
    char *name;
    size_t name_size;
    uint64_t *pending;
};

static natsStatus add_consumer(struct async__cluster_block *work, jsErrCode *error)
{
    struct consumer_work *self = async__container(work, struct consumer_work, work);
    jsConsumerInfo *info = NULL;
    natsStatus status =
        js_AddConsumer(&info, work->cluster->js, self->stream, self->config, NULL, error);

    if (status == NATS_OK && self->name) snprintf(self->name, self->name_size, "%s", info->Name);
    if (status == NATS_OK && self->pending) *self->pending = info->NumPending;
    jsConsumerInfo_Destroy(info);
    return status;
}

int async__cluster_consumer(async_cluster *cluster, const char *stream, jsConsumerConfig *config,
                            char *name, size_t name_size, uint64_t *pending)
{
    struct consumer_work self = {
        .work = {cluster, add_consumer, "make a consumer of", stream, 0, 0, ""},
        .stream = stream,
        .config = config,
        .name = name,
        .name_size = name_size,
        .pending = pending};

    return async__cluster_block(&self.work);
}
