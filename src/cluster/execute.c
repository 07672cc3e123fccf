/* execute.c - one job on the worker: from the message to its acknowledgement, which comes last. */
#include "jobs_internal.h"

#include <casyncio/contextvars.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_WAIT 0.1 /* seconds until a job that has failed is tried again; doubles each time */
#define RETRY_WAIT_MAX 30.0
#define MESSAGE_MAX 1024

/* ---- what the job's function can ask ---- */

static async_context_var current = ASYNC_CONTEXT_VAR_INIT("casyncio job", NULL);

static struct async__cluster_running *here(void)
{
    void *running = NULL;
    async_context_var_get(&current, &running);
    return running;
}

const char *async_cluster_job_key(void)
{
    const struct async__cluster_running *self = here();
    return self ? self->head.id : "";
}

unsigned async_cluster_job_attempt(void)
{
    const struct async__cluster_running *self = here();
    return self ? self->attempt : 0;
}

int async_cluster_job_progress(const void *data, size_t size)
{
    struct async__cluster_running *self = here();
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];

    if (!self) return async__cluster_raise(-EPERM, "async_cluster_job_progress outside of a job");
    if (!data && size > 0)
        return async__cluster_raise(-EINVAL, "async_cluster_job_progress: no data");
    async_cluster *cluster = self->worker->cluster;
    if (size > async_cluster_max_payload(cluster))
        return async__cluster_raise(-EMSGSIZE, "a report of %zu bytes", size);
    async__cluster_to(subject, self->job->name, "to", self->head.id, ".n");
    natsStatus status = async__cluster_send(cluster, subject, NULL, data, size);
    return status == NATS_OK ? 0 : async__cluster_fail(cluster, status, "report to", subject);
}

struct yielding {
    struct async__cluster_running *running;
    const void *data;
    size_t size;
};

static int yield_it(void *argument)
{
    struct yielding *yielding = argument;
    struct async__cluster_running *self = yielding->running;
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], rest[24];

    snprintf(rest, sizeof rest, ".i.%u", self->items + 1);
    async__cluster_to(subject, self->job->name, "to", self->head.id, rest);
    int code = async__cluster_store(self->worker->cluster, subject, NULL, yielding->data,
                                    yielding->size, NULL);
    if (code == 0) self->items++;
    return code;
}

int async_cluster_job_yield(const void *data, size_t size)
{
    struct yielding yielding = {here(), data, size};

    if (!yielding.running)
        return async__cluster_raise(-EPERM, "async_cluster_job_yield outside of a job");
    if (!data && size > 0) return async__cluster_raise(-EINVAL, "async_cluster_job_yield: no data");
    async_loop *loop = yielding.running->worker->cluster->loop;
    if (async_get_running_loop() == loop) return yield_it(&yielding);
    return async_run_coroutine_threadsafe(loop, yield_it, &yielding);
}

/* ---- the end of a job ---- */

static int store_result(struct async__cluster_running *self, int code, const char *message,
                        const void *out)
{
    async_cluster *cluster = self->worker->cluster;
    size_t out_size = code < 0 ? 0 : self->job->out_size, message_size = strlen(message);
    struct async__result_head head = {.code = code,
                                      .out_size = out_size,
                                      .items = self->items,
                                      .message_size = (uint32_t)message_size};
    bool large = sizeof head + message_size + out_size > async__cluster_room(cluster);
    size_t size = sizeof head + message_size + (large ? 0 : out_size);
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];

    memcpy(head.magic, "cjd1", 4);
    if (large) {
        int stored = async__cluster_store_pieces(cluster, self->job->name, self->head.id, 'o', out,
                                                 out_size, &head.pieces);
        if (stored < 0) return stored;
    }
    char *data = async__alloc(size);
    if (!data) return async__cluster_raise(-ENOMEM, "no memory for a result");
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, message, message_size);
    if (!large && out_size > 0) memcpy(data + sizeof head + message_size, out, out_size);
    async__cluster_to(subject, self->job->name, "to", self->head.id, ".r");
    int stored = async__cluster_store(cluster, subject, NULL, data, size, NULL);
    async__free(data);
    return stored;
}

/* The whole job, behind what became of it. */
static int bury(struct async__cluster_running *self, int code, const char *message)
{
    size_t message_size = strlen(message), job_size = (size_t)natsMsg_GetDataLength(self->msg);
    struct async__result_head head = {
        .code = code, .message_size = (uint32_t)message_size, .out_size = job_size};
    size_t size = sizeof head + message_size + job_size;
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], *data = async__alloc(size);

    if (!data) return async__cluster_raise(-ENOMEM, "no memory for a dead job");
    memcpy(head.magic, "cjd1", 4);
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, message, message_size);
    memcpy(data + sizeof head + message_size, natsMsg_GetData(self->msg), job_size);
    snprintf(subject, sizeof subject, "casyncio.%s.dead", self->job->name);
    int stored = async__cluster_store(self->worker->cluster, subject, NULL, data, size, NULL);
    async__free(data);
    return stored;
}

/* The result is stored before the job is acknowledged: if this worker dies between, another one finds it. If
 * it cannot be stored the job is not acknowledged. */
static void settle(struct async__cluster_running *self, int code, const char *message,
                   const void *out, bool dead)
{
    int stored = dead ? bury(self, code, message) : 0;

    if (stored == 0) stored = store_result(self, code, message, out);
    if (stored == 0) async__cluster_acknowledge(self->worker->cluster, self->msg, "+ACK");
}

static void try_later(struct async__cluster_running *self, double seconds)
{
    char text[48];
    snprintf(text, sizeof text, "-NAK {\"delay\": %lld}", (long long)(seconds * 1e9));
    async__cluster_acknowledge(self->worker->cluster, self->msg, text);
}

/* ---- before it runs ---- */

/* Why this worker cannot do it: a message in `text`, and true. */
static bool unfit(const struct async__cluster_running *self, char *text)
{
    const struct async__job_head *head = &self->head;
    const async_cluster_job *job = self->job;

    if (head->version != job->version)
        return snprintf(text, MESSAGE_MAX, "the caller has version %u of it, the worker %u",
                        head->version, job->version) > 0;
    if (head->in_size != job->in_size || head->out_size != job->out_size)
        return snprintf(text, MESSAGE_MAX,
                        "the caller's structs have %llu and %llu bytes, the worker's %zu and %zu",
                        (unsigned long long)head->in_size, (unsigned long long)head->out_size,
                        job->in_size, job->out_size) > 0;
    return false;
}

static bool read_head(struct async__cluster_running *self)
{
    size_t size = (size_t)natsMsg_GetDataLength(self->msg);

    if (size < sizeof self->head) return false;
    memcpy(&self->head, natsMsg_GetData(self->msg), sizeof self->head);
    if (memcmp(self->head.magic, "cjr1", 4) != 0) return false;
    if (!memchr(self->head.id, 0, sizeof self->head.id)) return false;
    if (async__cluster_check_subject("job", self->head.id, false) < 0) return false;
    return self->head.pieces > 0 || size - sizeof self->head == self->head.in_size;
}

/* Seconds until it may begin. */
static double delay_of(const struct async__cluster_running *self)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    double now = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
    return self->head.not_before ? (double)self->head.not_before / 1e9 - now : 0;
}

static int stored(struct async__cluster_running *self, const char *kind, const char *rest,
                  natsMsg **msg)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], stream[64];

    snprintf(stream, sizeof stream, "CASYNCIO_DATA_%s", self->job->name);
    async__cluster_to(subject, self->job->name, kind, self->head.id, rest);
    return async__cluster_last(self->worker->cluster, stream, subject, msg);
}

/* The server's count of deliveries grows without any as well (when a request ends while a job becomes due),
 * and with those that found a job too early. So from the second one on the attempts are counted here: a
 * number is stored before each. 0; 1: there is a result already, of a worker that did not acknowledge. */
static int count_attempt(struct async__cluster_running *self)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], text[24];
    natsMsg *msg;

    self->attempt = 1;
    if (self->deliveries == 1) return 0;
    int code = stored(self, "to", ".r", &msg);
    if (code == 0 && msg) {
        natsMsg_Destroy(msg);
        return 1;
    }
    if (code == 0) code = stored(self, "piece", ".a", &msg);
    if (code < 0) return code;
    self->attempt = msg ? (unsigned)atoi(natsMsg_GetData(msg)) + 1 : self->head.not_before ? 1 : 2;
    natsMsg_Destroy(msg);
    int size = snprintf(text, sizeof text, "%u", self->attempt);
    async__cluster_to(subject, self->job->name, "piece", self->head.id, ".a");
    return async__cluster_store(self->worker->cluster, subject, NULL, text, (size_t)size, NULL);
}

/* ---- running ---- */

struct running_call {
    const async_cluster_job *job;
    const void *in;
    void *out;
    char message[MESSAGE_MAX];
};

static int run_here(void *argument)
{
    struct running_call *call = argument;
    int code = call->job->run(call->in, call->out);

    if (code < 0)
        snprintf(call->message, sizeof call->message, "%s",
                 async_error_code() == code ? async_error_message() : async_strerror(code));
    return code;
}

static int run(struct async__cluster_running *self, struct running_call *call)
{
    double limit = self->head.time_limit;
    bool expired = false;
    int code = 0;

    async_timeout_scope (scope, limit > 0 ? limit : (double)__builtin_inf()) {
        code = self->worker->options.threads ? async_to_thread(run_here, call) : run_here(call);
        expired = async_scope_expired(&scope);
    }
    if (code == -ETIMEDOUT && expired)
        snprintf(call->message, sizeof call->message, "it has run for %g seconds, its limit",
                 limit);
    else if (code < 0 && !call->message[0])
        snprintf(call->message, sizeof call->message, "%s", async_strerror(code));
    return code;
}

static int run_with_data(struct async__cluster_running *self, struct running_call *call)
{
    const async_cluster_job *job = self->job;
    const char *data = natsMsg_GetData(self->msg);
    char *in = async__alloc(job->in_size + 1);
    int code = 0;

    call->out = async__alloc_zeroed(job->out_size + 1);
    if (!in || !call->out)
        code = async__cluster_raise(-ENOMEM, "no memory for the job's data");
    else if (self->head.pieces > 0)
        code = async__cluster_fetch_pieces(self->worker->cluster, job->name, self->head.id, 'i', in,
                                           job->in_size, self->head.pieces);
    else
        memcpy(in, data + sizeof self->head, job->in_size); /* aligned for any struct */
    call->in = in;
    if (code == 0)
        code = run(self, call);
    else
        snprintf(call->message, sizeof call->message, "%s", async_error_message());
    async__free(in);
    return code;
}

static void finish(struct async__cluster_running *self, int code, struct running_call *call)
{
    double wait = RETRY_WAIT;
    char text[MESSAGE_MAX + 160], host[64] = "";

    if (code >= 0) {
        settle(self, code, "", call->out, false);
        return;
    }
    if (self->cancelled) {
        settle(self, -ECANCELED, "cancelled by its caller", NULL, false);
        return;
    }
    if (async_task_cancelling(self->task)) { /* this worker ends: another one has it, at once */
        self->given_back = true;
        return;
    }
    if (self->attempt < self->head.max_deliver) {
        for (unsigned i = 1; i < self->attempt && wait < RETRY_WAIT_MAX; i++)
            wait *= 2;
        try_later(self, wait);
        return;
    }
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%s (tried %llu times, the last by process %d on %s)",
             call->message, (unsigned long long)self->deliveries, (int)getpid(), host);
    settle(self, code, text, NULL, true);
}

static void execute(struct async__cluster_running *self)
{
    char text[MESSAGE_MAX];
    struct running_call call = {.job = self->job};

    if (!read_head(self)) {
        /* It has no caller that could be told. */
        if (bury(self, -EPROTO, "this is no job") == 0)
            async__cluster_acknowledge(self->worker->cluster, self->msg, "+ACK");
        return;
    }
    double delay = delay_of(self);
    if (delay > 0) {
        try_later(self, delay);
        return;
    }
    if (unfit(self, text)) {
        settle(self, -EPROTO, text, NULL, false);
        return;
    }
    int counted = count_attempt(self);
    if (counted > 0) async__cluster_acknowledge(self->worker->cluster, self->msg, "+ACK");
    if (counted != 0) return;
    if (self->attempt > self->head.max_deliver) {
        snprintf(text, sizeof text, "%u workers have had it, and none has come to an end",
                 self->head.max_deliver);
        settle(self, -EOWNERDEAD, text, NULL, true);
        return;
    }
    int code = run_with_data(self, &call);
    /* What has been done is told, although the task may have been cancelled meanwhile. */
    async_shield ()
        finish(self, code, &call);
    async__free(call.out);
}

int async__cluster_execute(void *argument)
{
    struct async__cluster_running *self = argument;

    if (async_context_var_set(&current, self, NULL) == 0)
        execute(self);
    else
        try_later(self, 1);
    async__cluster_ended(self);
    return 0;
}
