/* call.c - the caller's side of one job: it is put into its queue, waited for, or cancelled. */
#include "jobs_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define UNSERVED_TIMEOUT 10.0
#define QUEUED_TIMEOUT 5.0
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
    async__free(self->input);
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

/* If the queue is full, waits for room; if it has gone, with the memory of a server, makes it anew. */
static int store_job(async_cluster_future *self, const void *data, size_t size)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];
    const char word[] = {async__cluster_priority_words[self->priority], 0};
    const char *const headers[] = {"Nats-Msg-Id", self->id, NULL};
    double wait = FULL_WAIT;
    bool remade = false;
    int code;

    async__cluster_to(subject, self->job.name, "run", word, "");
    while ((code = async__cluster_store(self->cluster, subject, headers, data, size,
                                        &self->sequence)) == -EAGAIN ||
           (code == -ENODEV && !remade)) {
        remade |= code == -ENODEV;
        code =
            code == -ENODEV ? async__cluster_remake(self->cluster, &self->job) : async_sleep(wait);
        if (code < 0) return code;
        wait = wait * 2 < FULL_WAIT_MAX ? wait * 2 : FULL_WAIT_MAX;
    }
    return code;
}

static int put(async_cluster_future *self, const void *in)
{
    const async_cluster_job *job = &self->job;
    struct async__job_head head = {.version = job->version,
                                   .in_size = job->in_size,
                                   .out_size = job->out_size,
                                   .max_deliver = job->max_deliver,
                                   .time_limit = job->time_limit,
                                   .not_before = self->not_before};
    bool large = job->in_size + sizeof head > async__cluster_room(self->cluster);
    size_t size = sizeof head + (large ? 0 : job->in_size);

    memcpy(head.magic, "cjr1", 4);
    memcpy(head.id, self->id, sizeof head.id);
    if (large) {
        int code = async__cluster_store_pieces(self->cluster, job->name, self->id, 'i', in,
                                               job->in_size, &head.pieces);
        if (code < 0) return code;
    }
    char *data = async__alloc(size);
    if (!data) return async__cluster_raise(-ENOMEM, "no memory for job %s", job->name);
    memcpy(data, &head, sizeof head);
    if (!large && job->in_size > 0) memcpy(data + sizeof head, in, job->in_size);
    self->put_on = self->cluster->connects;
    int code = store_job(self, data, size);
    async__free(data);
    return code;
}

/* Of a queue in memory the input is kept, so that a job that was lost with it can be put there again. */
static int keep_input(async_cluster_future *self, const void *in)
{
    self->input = async__alloc(self->job.in_size + 1);
    if (!self->input) return async__cluster_raise(-ENOMEM, "no memory for job %s", self->job.name);
    if (in) memcpy(self->input, in, self->job.in_size);
    return 0;
}

/* What is asked of a queue's stream about the message of a number: "GET" it, "DELETE" it. */
struct request {
    char subject[128], text[64];
};

static struct request request_for(const char *what, const char *job, uint64_t sequence,
                                  const char *options)
{
    struct request self;

    snprintf(self.subject, sizeof self.subject, "$JS.API.STREAM.MSG.%s.CASYNCIO_RUN_%s", what, job);
    snprintf(self.text, sizeof self.text, "{\"seq\":%llu%s}", (unsigned long long)sequence,
             options);
    return self;
}

/* Whether the queue has it, or a worker that has not acknowledged it. -ETIMEDOUT: it is not known yet. */
static int is_queued(const async_cluster_future *self, bool *queued)
{
    struct request request = request_for("GET", self->job.name, self->sequence, "");
    natsMsg *answer;
    int code = async__cluster_ask(self->cluster, request.subject, NULL, request.text,
                                  strlen(request.text), QUEUED_TIMEOUT, &answer);

    if (code == -ECONNRESET || code == -ESRCH) return -ETIMEDOUT;
    if (code < 0) return code;
    *queued = async__cluster_has_id(answer, self->id);
    natsMsg_Destroy(answer);
    return 0;
}

int async__cluster_put_again(async_cluster_future *self)
{
    unsigned connects = self->cluster->connects;
    bool queued = false;

    if (!async__cluster_queue(self->cluster, &self->job)) return async_error_code();
    int code = async__cluster_look(self);
    if (code == 0 && !self->result) code = is_queued(self, &queued);
    if (code == -ETIMEDOUT)
        return async_checkpoint(); /* it may be a scope's; else the next look asks again */
    if (code < 0) return code;
    self->put_on = connects;
    if (self->result || queued) return 0;
    if (self->input) return put(self, self->input);
    return async__cluster_raise(
        -EOWNERDEAD,
        "job %s: its queue was lost with the memory of the server, and with "
        "its key it is not done twice",
        self->job.name);
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
    self->shared = options->key != NULL;
    self->unserved_timeout = options->unserved_timeout;
    self->priority = options->priority;
    if (options->delay > 0) self->not_before = now_ns() + (int64_t)(options->delay * 1e9);
    cluster->references++;
    code = set_id(self, in, options->key);
    if (code == 0 && job.memory && !options->key) code = keep_input(self, in);
    if (code == 0) return self;
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
    if (code == 0 && !self->result) code = put(self, in);
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
    if (code == -EPERM) return code;
    while (code == 0 && !self->result)
        code = async__cluster_step(self);
    if (code < 0) {
        async_cluster_cancel(self);
        return code;
    }
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

/* A queue that was lost with a server's memory and made anew counts from 1 again, so what has the job's number is
 * looked at, deleted if it is the job, and then the workers are told: if one has it, it has it by now. All that
 * without waiting, since the task that does it has been cancelled. If the connection is lost on the way the job runs
 * to its end, and its result is kept for a while. */
struct cancelling {
    struct async__cluster_ask ask;
    async_cluster *cluster;
    char job[ASYNC__CLUSTER_NAME_MAX + 1], id[ASYNC__CLUSTER_ID_MAX];
    uint64_t sequence;
};

/* Asks the stream for the message of that number, or has it deleted. */
static void ask_stream(struct cancelling *self, const char *what, const char *options,
                       void (*done)(struct async__cluster_ask *ask, int code))
{
    struct request request = request_for(what, self->job, self->sequence, options);
    char reply[ASYNC__CLUSTER_SUBJECT_MAX];

    self->ask = (struct async__cluster_ask){.done = done};
    if (async__cluster_ask_begin(self->cluster, &self->ask, reply, sizeof reply) < 0) {
        async__free(self);
        return;
    }
    async__cluster_send(self->cluster, request.subject, reply, request.text, strlen(request.text));
}

static void tell_workers(struct async__cluster_ask *ask, int code)
{
    struct cancelling *self = async__container(ask, struct cancelling, ask);
    char subject[64];

    natsMsg_Destroy(ask->answer);
    snprintf(subject, sizeof subject, "casyncio.%s.cancel", self->job);
    if (code == 0) async__cluster_send(self->cluster, subject, NULL, self->id, strlen(self->id));
    async__free(self);
}

static void delete_it(struct async__cluster_ask *ask, int code)
{
    struct cancelling *self = async__container(ask, struct cancelling, ask);

    if (code == 0 && async__cluster_has_id(ask->answer, self->id)) {
        natsMsg_Destroy(ask->answer);
        ask_stream(self, "DELETE", ",\"no_erase\":true", tell_workers);
    } else {
        tell_workers(ask, code);
    }
}

static void take_out(const async_cluster_future *self)
{
    struct cancelling *cancelling = async__alloc_zeroed(sizeof *cancelling);

    if (!cancelling) return;
    cancelling->cluster = self->cluster;
    cancelling->sequence = self->sequence;
    snprintf(cancelling->job, sizeof cancelling->job, "%s", self->job.name);
    memcpy(cancelling->id, self->id, sizeof self->id);
    ask_stream(cancelling, "GET", "", delete_it);
}

void async_cluster_cancel(async_cluster_future *self)
{
    if (!self) return;
    /* With a key others may wait for it, or come back. */
    if (self->sequence && !self->shared && !self->result && !self->cluster->closed) take_out(self);
    release(self);
}
