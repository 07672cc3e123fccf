/* call.c - the caller's side of one job: it is put into its queue, waited for, or cancelled. */
#include "jobs_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define UNSERVED_TIMEOUT 10.0
#define FULL_WAIT 0.005 /* seconds before a full queue is tried again; doubles up to the next */
#define FULL_WAIT_MAX 0.25

/* ---- making one ---- */

static int set_id(async_cluster_future *self, const void *in, const char *key)
{
    struct async__cluster_caller *caller = self->cluster->caller;
    const async_cluster_job *job = &self->job;
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];

    if (!key) {
        uint64_t hash = async__cluster_hash(job->name, strlen(job->name), ++caller->calls);
        hash = async__cluster_hash(in, job->in_size, hash);
        /* The number in front keeps two calls apart, whatever the hashes are. */
        snprintf(self->id, sizeof self->id, "%s.%llx-%016llx", self->cluster->name,
                 (unsigned long long)caller->calls, (unsigned long long)hash);
        async_cluster_future **slot =
            &caller
                 ->table[async__cluster_hash(self->id, strlen(self->id), 0) % ASYNC__CLUSTER_TABLE];
        self->next = *slot;
        if (self->next) self->next->link = &self->next;
        self->link = slot;
        *slot = self;
        return 0;
    }
    snprintf(self->id, sizeof self->id, "k.%016llx%016llx",
             (unsigned long long)async__cluster_hash(key, strlen(key), 0),
             (unsigned long long)async__cluster_hash(key, strlen(key), 0x9e3779b97f4a7c15u));
    async__cluster_to(subject, job->name, "to", self->id, ".>");
    self->sub.ready = async__cluster_future_ready;
    return async__cluster_add(self->cluster, &self->sub, subject, NULL);
}

static void release(async_cluster_future *self)
{
    if (self->link) {
        *self->link = self->next;
        if (self->next) self->next->link = self->link;
    }
    async__cluster_remove(self->cluster, &self->sub);
    natsMsg_Destroy(self->result);
    async__cluster_list_free(&self->items);
    async__cluster_list_free(&self->notes);
    async__cluster_release(self->cluster);
    async__free(self);
}

static int check_options(const char *name, async_cluster_call_options *options)
{
    if (isnan(options->unserved_timeout) || options->unserved_timeout < 0 ||
        !(options->delay >= 0) || options->delay > 1e8)
        return async__cluster_raise(-EINVAL, "job %s: a time makes no sense", name);
    if (options->priority > ASYNC_CLUSTER_LOW)
        return async__cluster_raise(-EINVAL, "job %s: no priority is %d", name,
                                    (int)options->priority);
    if (options->unserved_timeout == 0) options->unserved_timeout = UNSERVED_TIMEOUT;
    return 0;
}

/* ---- into the queue ---- */

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The queue is full: wait for room. */
static int store_job(async_cluster_future *self, enum async_cluster_priority priority,
                     const void *data, size_t size)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], word[] = {async__cluster_priority_words[priority], 0};
    const char *const headers[] = {"Nats-Msg-Id", self->id, NULL};
    double wait = FULL_WAIT;
    bool duplicate = false;
    int code;

    async__cluster_to(subject, self->job.name, "run", word, "");
    while ((code = async__cluster_store(self->cluster, subject, headers, data, size,
                                        &self->sequence, &duplicate)) == -EAGAIN) {
        code = async_sleep(wait);
        if (code < 0) return code;
        wait = wait * 2 < FULL_WAIT_MAX ? wait * 2 : FULL_WAIT_MAX;
    }
    if (duplicate) self->sequence = 0;
    return code;
}

static int put(async_cluster_future *self, const void *in,
               const async_cluster_call_options *options)
{
    const async_cluster_job *job = &self->job;
    struct async__job_head head = {.version = job->version,
                                   .in_size = job->in_size,
                                   .out_size = job->out_size,
                                   .max_deliver = job->max_deliver,
                                   .time_limit = job->time_limit};
    bool large = job->in_size + sizeof head > async__cluster_room(self->cluster);
    size_t size = sizeof head + (large ? 0 : job->in_size);

    memcpy(head.magic, "cjr1", 4);
    memcpy(head.id, self->id, sizeof head.id);
    if (options->delay > 0) head.not_before = now_ns() + (int64_t)(options->delay * 1e9);
    if (large) {
        int code = async__cluster_store_pieces(self->cluster, job->name, self->id, 'i', in,
                                               job->in_size, &head.pieces);
        if (code < 0) return code;
    }
    char *data = async__alloc(size);
    if (!data) return async__cluster_raise(-ENOMEM, "no memory for job %s", job->name);
    memcpy(data, &head, sizeof head);
    if (!large && job->in_size > 0) memcpy(data + sizeof head, in, job->in_size);
    int code = store_job(self, options->priority, data, size);
    async__free(data);
    return code;
}

static async_cluster_future *create(async_cluster *cluster, const async_cluster_job *given,
                                    const void *in, async_cluster_call_options *options)
{
    async_cluster_job job;
    int code = async__cluster_job_check("job", given, &job);

    if (code == 0) code = check_options(job.name, options);
    if (code == 0 && !in && job.in_size > 0)
        code = async__cluster_raise(-EINVAL, "job %s: no input", job.name);
    if (code < 0) return NULL;
    struct async__cluster_known *known = async__cluster_queue(cluster, &job);
    if (!known) return NULL;
    async_cluster_future *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for job %s", job.name);
        return NULL;
    }
    self->cluster = cluster;
    self->job = job;
    self->known = known;
    self->unserved_timeout = options->unserved_timeout;
    cluster->references++;
    if (set_id(self, in, options->key) == 0) return self;
    release(self);
    return NULL;
}

async_cluster_future *async__cluster_submit(async_cluster *cluster, const async_cluster_job *job,
                                            const void *in, const async_cluster_call_options *given,
                                            size_t size)
{
    async_cluster_call_options options;

    if (async__options(&options, sizeof options, given, size) < 0) {
        async__cluster_raise(-EINVAL, "job: an option of a newer version");
        return NULL;
    }
    if (async__cluster_enter(cluster, "job") < 0) return NULL;
    async_cluster_future *self = create(cluster, job, in, &options);
    async__cluster_release(cluster); /* the future has a reference of its own */
    if (!self) return NULL;
    /* Another caller may have had the result, longer ago than the queue remembers the key. */
    int code = options.key ? async__cluster_look(self) : 0;
    if (code == 0 && !self->result) code = put(self, in, &options);
    if (code == 0) return self;
    /* It may be in the queue all the same. */
    async_cluster_cancel(self);
    return NULL;
}

/* ---- waiting ---- */

int async_cluster_wait(async_cluster_future *self, void *out)
{
    int code = 0;

    if (!self) return async_error_code() < 0 ? async_error_code() : -EBADF;
    if (!out && self->job.out_size > 0)
        code = async__cluster_raise(-EINVAL, "job %s: no place for the result", self->job.name);
    if (code == 0) code = async__cluster_check(self->cluster, "job");
    while (code == 0 && !self->result)
        code = async__cluster_step(self);
    if (code < 0) {
        async_cluster_cancel(self);
        return code;
    }
    self->sequence = 0; /* there is nothing left to be cancelled */
    code = async__cluster_result(self, out);
    release(self);
    return code;
}

int async__cluster_call(async_cluster *cluster, const async_cluster_job *job, const void *in,
                        void *out, const async_cluster_call_options *options, size_t size)
{
    async_cluster_future *future = async__cluster_submit(cluster, job, in, options, size);
    return future ? async_cluster_wait(future, out) : async_error_code();
}

/* ---- cancelling ---- */

struct cancelling {
    struct async__cluster_ask ask;
    async_cluster *cluster;
    char subject[64], id[ASYNC__CLUSTER_ID_MAX];
};

/* When the server has taken it out of the queue, or has not: if a worker has it, it has it by now. */
static void taken_out(struct async__cluster_ask *ask, int code)
{
    struct cancelling *self = async__container(ask, struct cancelling, ask);

    natsMsg_Destroy(ask->answer);
    if (code == 0)
        async__cluster_send(self->cluster, self->subject, NULL, self->id, strlen(self->id));
    async__free(self);
}

/* Without waiting, since the task that does it has been cancelled. If the connection is lost on the way the job
 * runs to its end, and its result is kept for a while. */
static void take_out(const async_cluster_future *self)
{
    char subject[128], text[48], reply[ASYNC__CLUSTER_SUBJECT_MAX];
    struct cancelling *cancelling = async__alloc_zeroed(sizeof *cancelling);

    if (!cancelling) return;
    cancelling->ask.done = taken_out;
    cancelling->cluster = self->cluster;
    snprintf(cancelling->subject, sizeof cancelling->subject, "casyncio.%s.cancel", self->job.name);
    memcpy(cancelling->id, self->id, sizeof self->id);
    if (async__cluster_ask_begin(self->cluster, &cancelling->ask, reply, sizeof reply) < 0) {
        async__free(cancelling);
        return;
    }
    snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.DELETE.CASYNCIO_RUN_%s", self->job.name);
    snprintf(text, sizeof text, "{\"seq\":%llu,\"no_erase\":true}",
             (unsigned long long)self->sequence);
    async__cluster_send(self->cluster, subject, reply, text, strlen(text));
}

void async_cluster_cancel(async_cluster_future *self)
{
    if (!self) return;
    if (self->sequence && !self->result && !self->cluster->closed) take_out(self);
    release(self);
}
