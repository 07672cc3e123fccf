/* jobs.c - what callers and workers agree on. */
#include "jobs_internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_DELIVER 5
#define ACK_WAIT 30.0
#define MAX_JOBS 10000
#define KEEP 600.0
#define WINDOW 120.0
#define DEAD_KEPT 100000

const char async__cluster_priority_words[ASYNC__CLUSTER_PRIORITIES] = {'1', '0', '2'};

uint64_t async__cluster_hash(const void *data, size_t size, uint64_t from)
{
    const unsigned char *bytes = data;
    uint64_t hash = from ^ 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

/* The server counts nanoseconds, in 64 bits. */
static bool bad(double seconds) { return !(seconds >= 0 && seconds < 1e9); }

int async__cluster_job_check(const char *what, const async_cluster_job *given,
                             async_cluster_job *job)
{
    if (!given) return async__cluster_raise(-EINVAL, "%s: no job", what);
    if (!given->size) return async__cluster_raise(-EINVAL, "%s: the size of the job is 0", what);
    if (async__options(job, sizeof *job, given, given->size) < 0)
        return async__cluster_raise(-EINVAL, "%s: a job of a newer version", what);
    int code = async__cluster_name_ok(job->name);
    if (code < 0) return code;
    if (strlen(job->name) > ASYNC__CLUSTER_NAME_MAX)
        return async__cluster_raise(-EINVAL, "%s: the name %s is longer than %d", what, job->name,
                                    ASYNC__CLUSTER_NAME_MAX);
    if (bad(job->ack_wait) || bad(job->time_limit) || bad(job->keep) || bad(job->window))
        return async__cluster_raise(-EINVAL, "job %s: a time makes no sense", job->name);
    code = async__cluster_replicas_ok(job->name, job->replicas);
    if (code < 0) return code;
    if (!job->max_deliver) job->max_deliver = MAX_DELIVER;
    if (job->ack_wait == 0) job->ack_wait = ACK_WAIT;
    if (!job->max_jobs) job->max_jobs = MAX_JOBS;
    if (job->keep == 0) job->keep = KEEP;
    if (job->window == 0) job->window = WINDOW;
    if (!job->replicas) job->replicas = 1;
    return 0;
}

/* casyncio.<job>.<kind>.<id><rest> */
void async__cluster_to(char *subject, const char *job, const char *kind, const char *id,
                       const char *rest)
{
    snprintf(subject, ASYNC__CLUSTER_SUBJECT_MAX, "casyncio.%s.%s.%s%s", job, kind, id, rest);
}

/* ---- the streams of a queue ---- */

static int make_stream(async_cluster *cluster, const async_cluster_job *job, const char *kind,
                       const char **subjects, int count, jsStreamConfig *config)
{
    char name[64];

    snprintf(name, sizeof name, "CASYNCIO_%s_%s", kind, job->name);
    config->Name = name;
    config->Subjects = subjects;
    config->SubjectsLen = count;
    config->Storage = job->memory ? js_MemoryStorage : js_FileStorage;
    config->Replicas = job->replicas;
    config->AllowDirect = true;
    return async__cluster_stream(cluster, config);
}

int async__cluster_remake(async_cluster *cluster, const async_cluster_job *job)
{
    char text[4][96];
    const char *run[] = {text[0]}, *data[] = {text[1], text[2], text[3]}, *dead[] = {text[0]};
    jsStreamConfig config;

    snprintf(text[0], sizeof text[0], "casyncio.%s.run.*", job->name);
    jsStreamConfig_Init(&config);
    config.Retention = js_WorkQueuePolicy;
    config.Discard = js_DiscardNew;
    config.MaxMsgs = (int64_t)job->max_jobs;
    config.Duplicates = (int64_t)(job->window * 1e9);
    int code = make_stream(cluster, job, "RUN", run, 1, &config);
    if (code < 0) return code;

    snprintf(text[1], sizeof text[1], "casyncio.%s.to.*.*.r", job->name);
    snprintf(text[2], sizeof text[2], "casyncio.%s.to.*.*.i.*", job->name);
    snprintf(text[3], sizeof text[3], "casyncio.%s.piece.>", job->name);
    jsStreamConfig_Init(&config);
    config.MaxMsgsPerSubject = 1;
    config.MaxAge = (int64_t)(job->keep * 1e9);
    code = make_stream(cluster, job, "DATA", data, 3, &config);
    if (code < 0) return code;

    snprintf(text[0], sizeof text[0], "casyncio.%s.dead", job->name);
    jsStreamConfig_Init(&config);
    config.MaxMsgs = DEAD_KEPT;
    return make_stream(cluster, job, "DEAD", dead, 1, &config);
}

static struct async__cluster_known *find_known(const async_cluster *cluster, const char *name)
{
    struct async__cluster_known *known = cluster->caller->known;

    while (known && strcmp(known->name, name) != 0)
        known = known->next;
    return known;
}

static struct async__cluster_known *add_known(async_cluster *cluster, const async_cluster_job *job)
{
    struct async__cluster_known *known = async__alloc_zeroed(sizeof *known);

    if (!known) {
        async__cluster_raise(-ENOMEM, "no memory for job %s", job->name);
        return NULL;
    }
    snprintf(known->name, sizeof known->name, "%s", job->name);
    known->seen_at = async_now();
    known->next = cluster->caller->known;
    cluster->caller->known = known;
    return known;
}

struct async__cluster_known *async__cluster_queue(async_cluster *cluster,
                                                  const async_cluster_job *job)
{
    if (!async__cluster_caller(cluster)) return NULL;
    struct async__cluster_known *known = find_known(cluster, job->name);
    /* A server that comes back has lost what it had in memory. */
    if (known && (!job->memory || known->connects == cluster->connects)) return known;
    unsigned connects = cluster->connects;
    if (async__cluster_remake(cluster, job) < 0) return NULL;
    known = find_known(cluster, job->name);
    if (!known) known = add_known(cluster, job);
    if (known) known->connects = connects;
    return known;
}

/* ---- what a cluster has for its calls ---- */

struct async__cluster_caller *async__cluster_caller(async_cluster *cluster)
{
    char subject[96];

    if (cluster->caller) return cluster->caller;
    struct async__cluster_caller *caller = async__alloc_zeroed(sizeof *caller);
    if (!caller) {
        async__cluster_raise(-ENOMEM, "no memory for jobs");
        return NULL;
    }
    caller->cluster = cluster;
    caller->sub.ready = async__cluster_caller_ready;
    snprintf(subject, sizeof subject, "casyncio.*.to.%s.>", cluster->name);
    if (async__cluster_add(cluster, &caller->sub, subject, NULL) < 0) {
        async__free(caller);
        return NULL;
    }
    cluster->caller = caller;
    return caller;
}

void async__cluster_caller_close(async_cluster *cluster)
{
    if (cluster->caller) async__cluster_remove(cluster, &cluster->caller->sub);
}

void async__cluster_caller_free(async_cluster *cluster)
{
    struct async__cluster_caller *caller = cluster->caller;
    struct async__cluster_known *next;

    if (!caller) return;
    for (struct async__cluster_known *known = caller->known; known; known = next) {
        next = known->next;
        async__free(known);
    }
    async__free(caller);
    cluster->caller = NULL;
}

/* ---- pieces ---- */

size_t async__cluster_room(async_cluster *cluster)
{
    size_t most = async_cluster_max_payload(cluster);
    return most > 2 * ASYNC__CLUSTER_HEADROOM ? most - ASYNC__CLUSTER_HEADROOM
                                              : ASYNC__CLUSTER_HEADROOM;
}

static void piece(char *subject, const char *job, const char *id, char which, uint32_t number)
{
    snprintf(subject, ASYNC__CLUSTER_SUBJECT_MAX, "casyncio.%s.piece.%s.%c.%u", job, id, which,
             number);
}

int async__cluster_store_pieces(async_cluster *cluster, const char *job, const char *id, char which,
                                const void *data, size_t size, uint32_t *pieces)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];
    size_t room = async__cluster_room(cluster);
    uint32_t number = 0;

    for (size_t at = 0; at < size; at += room) {
        size_t part = size - at < room ? size - at : room;
        piece(subject, job, id, which, ++number);
        int code =
            async__cluster_store(cluster, subject, NULL, (const char *)data + at, part, NULL);
        if (code < 0) return code;
    }
    *pieces = number;
    return 0;
}

int async__cluster_fetch_pieces(async_cluster *cluster, const char *job, const char *id, char which,
                                void *data, size_t size, uint32_t pieces)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], stream[64];
    size_t at = 0;

    snprintf(stream, sizeof stream, "CASYNCIO_DATA_%s", job);
    for (uint32_t number = 1; number <= pieces; number++) {
        natsMsg *msg;
        piece(subject, job, id, which, number);
        int code = async__cluster_stored(cluster, stream, subject, &msg);
        if (code < 0) return code;
        size_t part = msg ? (size_t)natsMsg_GetDataLength(msg) : 0;
        if (part > 0 && part <= size - at) memcpy((char *)data + at, natsMsg_GetData(msg), part);
        natsMsg_Destroy(msg);
        if (part == 0 || part > size - at)
            return async__cluster_raise(-EPROTO, "job %s: piece %u of its data is not there", job,
                                        number);
        at += part;
    }
    if (at == size) return 0;
    return async__cluster_raise(-EPROTO, "job %s: %zu bytes of data, where %zu should be", job, at,
                                size);
}
