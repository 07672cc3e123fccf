/* queues.c - looking at queues, and at the dead. */
#include "jobs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char run_prefix[] = "CASYNCIO_RUN_";

/* ---- queues ---- */

struct look {
    struct async__cluster_block block;
    async_cluster_queue *queues;
    size_t capacity, count;
};

static double age_of(int64_t when)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    double age = (double)time.tv_sec + (double)time.tv_nsec / 1e9 - (double)when / 1e9;
    return age > 0 ? age : 0;
}

static uint64_t messages_in(jsCtx *js, const char *kind, const char *name)
{
    char stream[96];
    jsStreamInfo *info = NULL;
    jsErrCode ignored = 0;

    snprintf(stream, sizeof stream, "CASYNCIO_%s_%s", kind, name);
    uint64_t count = js_GetStreamInfo(&info, js, stream, NULL, &ignored) == NATS_OK
                         ? info->State.Msgs
                         : 0; /* it has not been made yet */
    jsStreamInfo_Destroy(info);
    return count;
}

static natsStatus look_at(jsCtx *js, const jsStreamInfo *stream, async_cluster_queue *queue)
{
    jsConsumerInfoList *consumers = NULL;
    jsErrCode ignored = 0;
    const char *name = stream->Config->Name + strlen(run_prefix);
    natsStatus status = js_Consumers(&consumers, js, stream->Config->Name, NULL, &ignored);

    memset(queue, 0, sizeof *queue);
    snprintf(queue->name, sizeof queue->name, "%s", name);
    for (int i = 0; status == NATS_OK && i < consumers->Count; i++) {
        queue->in_flight += (size_t)consumers->List[i]->NumAckPending;
        queue->redelivered += (size_t)consumers->List[i]->NumRedelivered;
    }
    jsConsumerInfoList_Destroy(consumers);
    if (status == NATS_NOT_FOUND) status = NATS_OK;
    size_t all = (size_t)stream->State.Msgs;
    if (queue->in_flight > all) queue->in_flight = all;
    queue->waiting = all - queue->in_flight;
    queue->oldest = all > 0 ? age_of(stream->State.FirstTime) : 0;
    queue->dead = (size_t)messages_in(js, "DEAD", name);
    queue->results = (size_t)messages_in(js, "DATA", name);
    return status;
}

static natsStatus look_at_all(struct async__cluster_block *block, jsErrCode *error)
{
    struct look *self = async__container(block, struct look, block);
    jsStreamInfoList *streams = NULL;
    natsStatus status = js_Streams(&streams, block->cluster->js, NULL, error);

    if (status == NATS_NOT_FOUND) return NATS_OK;
    for (int i = 0; status == NATS_OK && i < streams->Count; i++) {
        const jsStreamInfo *stream = streams->List[i];
        if (strncmp(stream->Config->Name, run_prefix, strlen(run_prefix)) != 0) continue;
        if (self->count < self->capacity)
            status = look_at(block->cluster->js, stream, &self->queues[self->count]);
        self->count++;
    }
    jsStreamInfoList_Destroy(streams);
    return status;
}

ssize_t async_cluster_queues(async_cluster *cluster, async_cluster_queue *queues, size_t capacity)
{
    struct look self = {.block = {cluster, look_at_all, "look at", "the queues", 0, 0, ""},
                        .queues = queues,
                        .capacity = capacity};

    if (!queues && capacity > 0)
        return async__cluster_raise(-EINVAL, "async_cluster_queues: no place for them");
    int code = async__cluster_enter(cluster, "async_cluster_queues");
    if (code == 0) code = async__cluster_leave(cluster, async__cluster_block(&self.block));
    return code < 0 ? code : (ssize_t)self.count;
}

/* ---- the dead ---- */

struct fetch {
    struct async__cluster_block block;
    char stream[96];
    uint64_t first, last; /* of the stream */
    uint64_t number;
    natsMsg *msg;
};

static natsStatus bounds(struct async__cluster_block *block, jsErrCode *error)
{
    struct fetch *self = async__container(block, struct fetch, block);
    jsStreamInfo *info = NULL;
    natsStatus status = js_GetStreamInfo(&info, block->cluster->js, self->stream, NULL, error);

    if (status == NATS_OK) {
        self->first = info->State.FirstSeq;
        self->last = info->State.LastSeq;
    }
    jsStreamInfo_Destroy(info);
    return status;
}

/* The message of that number, or of none. */
static natsStatus get(struct async__cluster_block *block, jsErrCode *error)
{
    struct fetch *self = async__container(block, struct fetch, block);
    natsStatus status =
        js_GetMsg(&self->msg, block->cluster->js, self->stream, self->number, NULL, error);

    if (*error != JSNoMessageFoundErr && status != NATS_NOT_FOUND) return status;
    *error = 0;
    return NATS_OK;
}

/* The message that get() got; not another one that has its number since the stream was lost and made anew. */
static natsStatus forget(struct async__cluster_block *block, jsErrCode *error)
{
    struct fetch *self = async__container(block, struct fetch, block);
    natsMsg *msg = self->msg;

    self->msg = NULL;
    natsStatus status = get(block, error);
    if (status == NATS_OK && self->msg && natsMsg_GetTime(self->msg) == natsMsg_GetTime(msg))
        status = js_DeleteMsg(block->cluster->js, self->stream, self->number, NULL, error);
    natsMsg_Destroy(self->msg);
    self->msg = msg;
    return status;
}

static int run(struct fetch *self,
               natsStatus (*function)(struct async__cluster_block *, jsErrCode *))
{
    self->block.run = function;
    self->block.error = 0;
    return async__cluster_block(&self->block);
}

/* 0: it has a reference to the cluster. */
static int open_dead(struct fetch *self, async_cluster *cluster, const char *queue,
                     const char *what)
{
    int code = async__cluster_name_ok(queue);

    if (code == 0) code = async__cluster_enter(cluster, what);
    if (code < 0) return code;
    snprintf(self->stream, sizeof self->stream, "CASYNCIO_DEAD_%s", queue);
    self->block = (struct async__cluster_block){
        .cluster = cluster, .what = "look at the dead of", .name = self->stream};
    code = run(self, bounds);
    return code < 0 ? async__cluster_leave(cluster, code) : code;
}

/* What is buried in a message: 0, or it is none of ours. */
static int dig(natsMsg *msg, struct async__result_head *head, struct async__job_head *job,
               const char **message, const char **whole)
{
    const char *data = natsMsg_GetData(msg);
    size_t size = (size_t)natsMsg_GetDataLength(msg);

    memset(job, 0, sizeof *job);
    if (size < sizeof *head) return -EPROTO;
    memcpy(head, data, sizeof *head);
    size -= sizeof *head;
    if (memcmp(head->magic, "cjd1", 4) != 0 || head->message_size > size ||
        head->out_size != size - head->message_size)
        return -EPROTO;
    *message = data + sizeof *head;
    *whole = *message + head->message_size;
    if (head->out_size >= sizeof *job) memcpy(job, *whole, sizeof *job);
    job->id[sizeof job->id - 1] = 0;
    return 0;
}

struct dead_jobs {
    async_iterator iterator;
    struct fetch fetch;
    char key[ASYNC__CLUSTER_ID_MAX], message[1200];
};

static int dead_next(async_iterator *iterator, void *value)
{
    struct dead_jobs *self = async__container(iterator, struct dead_jobs, iterator);
    struct fetch *fetch = &self->fetch;
    async_cluster_dead *dead = value;

    while (fetch->number < fetch->last) {
        struct async__result_head head;
        struct async__job_head job;
        const char *message, *whole;
        fetch->number++;
        int code = run(fetch, get);
        if (code < 0) return code;
        if (!fetch->msg) continue;
        int64_t time = natsMsg_GetTime(fetch->msg);
        code = dig(fetch->msg, &head, &job, &message, &whole);
        if (code == 0) {
            snprintf(self->key, sizeof self->key, "%s", job.id);
            snprintf(self->message, sizeof self->message, "%.*s", (int)head.message_size, message);
        }
        natsMsg_Destroy(fetch->msg);
        fetch->msg = NULL;
        if (code < 0) continue;
        *dead = (async_cluster_dead){.number = fetch->number,
                                     .key = self->key,
                                     .code = head.code,
                                     .message = self->message,
                                     .age = age_of(time)};
        return 1;
    }
    return 0;
}

static void dead_close(async_iterator *iterator)
{
    struct dead_jobs *self = async__container(iterator, struct dead_jobs, iterator);

    async__cluster_release(self->fetch.block.cluster);
    async__free(self);
}

async_iterator *async_cluster_dead_jobs(async_cluster *cluster, const char *queue)
{
    struct dead_jobs *self = async__alloc_zeroed(sizeof *self);

    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for the dead");
        return NULL;
    }
    if (open_dead(&self->fetch, cluster, queue, "async_cluster_dead_jobs") < 0) {
        async__free(self);
        return NULL;
    }
    self->iterator = (async_iterator){
        .next = dead_next, .close = dead_close, .size = sizeof(async_cluster_dead)};
    self->fetch.number = self->fetch.first > 0 ? self->fetch.first - 1 : 0;
    return &self->iterator;
}

/* Takes what is stored of a job under one subject away. */
static int purge(async_cluster *cluster, const char *queue, const char *kind, const char *id,
                 const char *rest)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], request[128], text[ASYNC__CLUSTER_SUBJECT_MAX + 32];
    natsMsg *answer = NULL;

    async__cluster_to(subject, queue, kind, id, rest);
    snprintf(request, sizeof request, "$JS.API.STREAM.PURGE.CASYNCIO_DATA_%s", queue);
    snprintf(text, sizeof text, "{\"filter\":\"%s\"}", subject);
    int code = async__cluster_ask(cluster, request, NULL, text, strlen(text), 5, &answer);
    natsMsg_Destroy(answer);
    return code;
}

/* Into the queue again, under an id of the message's own, so that it is no duplicate. The result that says
 * that it is dead, and the number of its attempts, go first. */
static int revive(struct fetch *self, const char *queue)
{
    struct async__result_head head;
    struct async__job_head job;
    const char *message, *whole;
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], id[160];
    async_cluster *cluster = self->block.cluster;

    if (dig(self->msg, &head, &job, &message, &whole) < 0 || !job.id[0])
        return async__cluster_raise(-EPROTO, "dead job %llu of %s is no job",
                                    (unsigned long long)self->number, queue);
    int code = purge(cluster, queue, "to", job.id, ".r");
    if (code == 0) code = purge(cluster, queue, "piece", job.id, ".a");
    if (code < 0) return code;
    snprintf(id, sizeof id, "%s.dead.%llu", job.id, (unsigned long long)self->number);
    const char *const headers[] = {"Nats-Msg-Id", id, NULL};
    snprintf(subject, sizeof subject, "casyncio.%s.run.%c", queue,
             async__cluster_priority_words[ASYNC_CLUSTER_NORMAL]);
    code = async__cluster_store(cluster, subject, headers, whole, (size_t)head.out_size, NULL);
    return code < 0 ? code : run(self, forget);
}

static ssize_t requeue(struct fetch *self, const char *queue, uint64_t number)
{
    ssize_t count = 0;
    int code = 0;

    uint64_t first = number ? number : self->first, last = number ? number : self->last;
    for (self->number = first; self->number <= last && code == 0; self->number++) {
        if (self->number == 0) continue;
        code = run(self, get);
        if (code < 0 || !self->msg) continue;
        code = revive(self, queue);
        count += code == 0;
        natsMsg_Destroy(self->msg);
        self->msg = NULL;
    }
    if (code == 0 && number && count == 0)
        code = async__cluster_raise(-ENOENT, "queue %s has no dead job %llu", queue,
                                    (unsigned long long)number);
    return code < 0 ? code : count;
}

ssize_t async_cluster_requeue(async_cluster *cluster, const char *queue, uint64_t number)
{
    struct fetch self = {.number = 0};
    int code = open_dead(&self, cluster, queue, "async_cluster_requeue");

    if (code < 0) return code;
    ssize_t count = requeue(&self, queue, number);
    async__cluster_release(cluster);
    return count;
}
