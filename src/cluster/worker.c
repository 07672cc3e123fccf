/* worker.c - a worker: asks for jobs, has them run, and tells the server that it lives.
 *
 * All is done by one task, which is woken by whatever comes, and a task for each job that runs. A source is a
 * consumer of a queue: one for each job and priority. The sum of what runs and of what the sources have been
 * asked for is never more than the worker can run, so that no job waits here that another worker could do.
 *
 * Sources are asked in turn, those of high priority first, for what is there ("no_wait"); when all were empty,
 * they are asked together for what comes. With fewer places than sources a few are asked at a time, and the
 * others soon. */
#include "jobs_internal.h"

#include <casyncio/runners.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define SWEEP_WAIT 0.5 /* seconds for the answer of a source that is asked for what is there */
#define LONG_WAIT 5.0  /* for what comes, of the only source of normal priority */
#define SHORT_WAIT                                                                                 \
    0.2 /* of others: the places that they were promised are soon free for those that have jobs */
#define GRACE 2.0       /* for the answer that nothing has come */
#define EMPTY_WAIT 0.02 /* before a source of another priority that was empty is asked again */
#define GONE_WAIT 0.1   /* before one whose consumer was not there is */
#define DRAIN_TIMEOUT 30.0

struct other {
    struct async__cluster_sub sub;
    struct async__cluster_worker *worker;
};

/* ---- consumers ---- */

static int make_consumers(struct async__cluster_worker *self)
{
    for (size_t i = 0; i < self->source_count; i++) {
        struct async__cluster_source *source = &self->sources[i];
        char filter[96], prefix[] = {'p', source->priority, 0};
        jsConsumerConfig config;
        snprintf(filter, sizeof filter, "casyncio.%s.run.%c", source->job->name, source->priority);
        jsConsumerConfig_Init(&config);
        config.Durable = prefix;
        config.FilterSubject = filter;
        config.AckPolicy = js_AckExplicit;
        config.AckWait = (int64_t)(source->job->ack_wait * 1e9);
        config.MaxDeliver = -1; /* the worker counts, so that the caller hears of it */
        config.MaxAckPending = -1;
        config.MaxWaiting = 4096;
        int code = async__cluster_consumer(self->cluster, &source->consumer, &config);
        if (code < 0) return code;
    }
    return 0;
}

/* A source that does not answer may have lost its consumer, or its stream. */
static int repair(void *argument)
{
    struct async__cluster_worker *self = argument;

    for (size_t i = 0; i < self->job_count; i++)
        async__cluster_remake(self->cluster, &self->jobs[i]);
    make_consumers(self);
    self->repairing = false;
    return 0;
}

static void start_repair(struct async__cluster_worker *self)
{
    if (self->repairing || !self->cluster->connected) return;
    self->repairing = true;
    async_task_options options = {.coroutine = "repair"};
    if (!async_group_create_task_with(self->group, repair, self, &options)) self->repairing = false;
}

/* ---- what comes ---- */

static void wake(struct async__cluster_worker *self) { async_event_set(&self->changed); }

static void source_ready(struct async__cluster_sub *sub)
{
    wake(async__container(sub, struct async__cluster_source, sub)->worker);
}

static void cancel_ready(struct async__cluster_sub *sub)
{
    struct other *other = async__container(sub, struct other, sub);
    natsMsg *msg;

    while (async__cluster_take(sub, &msg) == 1) {
        struct async__cluster_running *running = other->worker->running;
        while (running && strcmp(running->head.id, natsMsg_GetData(msg)) != 0)
            running = running->next;
        if (running) {
            running->cancelled = true;
            async_cancel(running->task, "cancelled by its caller");
        }
        natsMsg_Destroy(msg);
    }
}

/* "Is there a worker?" That there is an answer is the answer. */
static void question_ready(struct async__cluster_sub *sub)
{
    struct other *other = async__container(sub, struct other, sub);
    natsMsg *msg;
    char text[128], host[64] = "";

    while (async__cluster_take(sub, &msg) == 1) {
        gethostname(host, sizeof host - 1);
        int size = snprintf(text, sizeof text, "%s %d %u %u", host, (int)getpid(),
                            other->worker->running_count, other->worker->options.concurrency);
        if (natsMsg_GetReply(msg))
            async__cluster_send(other->worker->cluster, natsMsg_GetReply(msg), NULL, text,
                                (size_t)size);
        natsMsg_Destroy(msg);
    }
}

void async__cluster_acknowledge(async_cluster *cluster, natsMsg *msg, const char *word)
{
    if (cluster->closed) return;
    async__cluster_send(cluster, natsMsg_GetReply(msg), NULL, word, strlen(word));
}

/* Takes the message over. */
static void begin_job(struct async__cluster_worker *self, struct async__cluster_source *source,
                      natsMsg *msg, uint64_t deliveries)
{
    struct async__cluster_running *running = async__alloc_zeroed(sizeof *running);
    async_task_options options = {.name = source->job->name, .coroutine = source->job->name};

    if (!running) {
        async__cluster_acknowledge(self->cluster, msg, "-NAK {\"delay\": 1000000000}");
        natsMsg_Destroy(msg);
        return;
    }
    running->worker = self;
    running->job = source->job;
    running->msg = msg;
    running->deliveries = deliveries;
    running->next = self->running;
    running->link = &self->running;
    if (running->next) running->next->link = &running->next;
    self->running = running;
    self->running_count++;
    running->task =
        async_group_create_task_with(self->group, async__cluster_execute, running, &options);
    if (running->task) return;
    async__cluster_acknowledge(self->cluster, msg, "-NAK {\"delay\": 1000000000}");
    async__cluster_ended(running);
}

void async__cluster_ended(struct async__cluster_running *running)
{
    struct async__cluster_worker *self = running->worker;

    *running->link = running->next;
    if (running->next) running->next->link = running->link;
    self->running_count--;
    if (running->given_back) {
        running->next = self->given_back;
        self->given_back = running;
    } else {
        natsMsg_Destroy(running->msg);
        async__free(running);
    }
    wake(self);
}

/* The request is over: 404 and 408 say that there was nothing (more). */
static void source_done(struct async__cluster_source *source, bool empty)
{
    source->asked = 0;
    if (empty && source->priority != '1') source->empty_until = async_now() + EMPTY_WAIT;
}

/* Its consumer has gone, with the memory of a server, or for as long as several servers elect one that leads it. */
static void source_gone(struct async__cluster_source *source)
{
    source->asked = 0;
    source->gone_until = async_now() + GONE_WAIT;
    start_repair(source->worker);
}

static void take_from(struct async__cluster_worker *self, struct async__cluster_source *source,
                      bool draining)
{
    struct async__cluster_delivery delivery;
    natsMsg *msg;
    int got;

    while ((got = async__cluster_take(&source->sub, &msg)) != 0) {
        if (got < 0) {
            source_gone(source);
            continue;
        }
        if (!async__cluster_delivery(msg, &delivery)) {
            natsMsg_Destroy(msg);
            source_done(source, true);
            continue;
        }
        if (source->asked > 0) source->asked--;
        if (source->sweep && delivery.pending == 0) source_done(source, false);
        if (draining || self->running_count >= self->options.concurrency) {
            async__cluster_acknowledge(self->cluster, msg, "-NAK");
            natsMsg_Destroy(msg);
        } else {
            begin_job(self, source, msg, delivery.deliveries);
        }
    }
}

/* ---- asking ---- */

static unsigned promised(const struct async__cluster_worker *self)
{
    unsigned sum = self->running_count;
    for (size_t i = 0; i < self->source_count; i++)
        sum += self->sources[i].asked;
    return sum;
}

static bool sweeping(const struct async__cluster_worker *self)
{
    for (size_t i = 0; i < self->source_count; i++)
        if (self->sources[i].asked > 0 && self->sources[i].sweep) return true;
    return false;
}

static bool ask(struct async__cluster_worker *self, struct async__cluster_source *source,
                unsigned count, double wait)
{
    if (async__cluster_pull(self->cluster, source->consumer.stream, source->consumer.name,
                            source->inbox, count, wait) != NATS_OK)
        return false;
    source->asked = count;
    source->sweep = wait <= 0;
    source->until = async_now() + (wait > 0 ? wait + GRACE : SWEEP_WAIT);
    return true;
}

/* The turn of the next source that is asked for what is there; source_count: all have been. */
static size_t next_source(const struct async__cluster_worker *self, size_t turn)
{
    double now = async_now();
    while (turn < self->source_count &&
           (self->sources[turn].asked > 0 || self->sources[turn].empty_until > now ||
            self->sources[turn].gone_until > now))
        turn++;
    return turn;
}

/* All were empty: for what comes. Sources of normal priority are first, and get what the others leave. */
static void ask_for_more(struct async__cluster_worker *self, unsigned free)
{
    double now = async_now();
    unsigned left = 0;

    for (size_t i = 0; i < self->source_count; i++)
        left += self->sources[i].asked == 0 && self->sources[i].gone_until <= now;
    for (int normal = 1; normal >= 0; normal--)
        for (size_t i = 0; i < self->source_count && free > 0; i++) {
            struct async__cluster_source *source = &self->sources[i];
            if (source->asked > 0 || source->gone_until > now) continue;
            if ((source->priority == '1') != normal) continue;
            unsigned share = normal && free > left ? free - left + 1 : 1;
            bool only = normal && self->job_count == 1 && free >= left;
            if (!ask(self, source, share, only ? LONG_WAIT : SHORT_WAIT)) return;
            free -= share;
            left--;
        }
}

static void forget_silent(struct async__cluster_worker *self)
{
    double now = async_now();
    bool silent = false;

    for (size_t i = 0; i < self->source_count; i++) {
        struct async__cluster_source *source = &self->sources[i];
        if (source->asked == 0 || source->until > now) continue;
        silent |= !source->sweep;
        source->asked = 0;
    }
    if (silent) start_repair(self);
}

/* ---- signs of life ---- */

static void beat(struct async__cluster_worker *self)
{
    if (async_now() < self->beat_at) return;
    self->beat_at = async_now() + self->beat_every;
    for (struct async__cluster_running *running = self->running; running; running = running->next)
        async__cluster_acknowledge(self->cluster, running->msg, "+WPI");
}

/* ---- serving ---- */

static double next_time(const struct async__cluster_worker *self)
{
    double when = self->beat_at, now = async_now();
    for (size_t i = 0; i < self->source_count; i++) {
        const struct async__cluster_source *source = &self->sources[i];
        double next = source->asked > 0 ? source->until : source->gone_until;
        if (next < when && (source->asked > 0 || next > now)) when = next;
    }
    return when - now;
}

static int wait_a_while(struct async__cluster_worker *self, double most)
{
    double time = next_time(self);
    int code = 0;

    if (time > most) time = most;
    async_timeout_scope (scope, time > 0 ? time : 0) {
        code = async_event_wait(&self->changed);
        if (code == -ETIMEDOUT && async_scope_expired(&scope)) code = 0;
    }
    async_event_clear(&self->changed);
    return code < 0 ? code : async_checkpoint();
}

static void receive(struct async__cluster_worker *self, bool draining)
{
    if (self->connects != self->cluster->connects) {
        self->connects = self->cluster->connects; /* the server has forgotten what was asked */
        for (size_t i = 0; i < self->source_count; i++) {
            self->sources[i].asked = 0;
            if (self->sources[i].job->memory) start_repair(self); /* and what it had in memory */
        }
    }
    for (size_t i = 0; i < self->source_count; i++)
        take_from(self, &self->sources[i], draining);
    beat(self);
    forget_silent(self);
}

static int serve(struct async__cluster_worker *self)
{
    size_t turn = 0; /* of the sweep */
    int code = 0;

    while (code == 0) {
        unsigned before = self->running_count;
        receive(self, false);
        if (self->running_count > before) turn = 0;
        unsigned used = promised(self), most = self->options.concurrency;
        if (self->cluster->closed) {
            code = async__cluster_check(self->cluster, "worker");
        } else if (used < most && self->cluster->connected && !sweeping(self)) {
            turn = next_source(self, turn);
            if (turn < self->source_count)
                ask(self, &self->sources[turn++], most - used, 0);
            else {
                ask_for_more(self, most - used);
                turn = 0;
            }
        }
        if (code == 0) code = wait_a_while(self, 1);
    }
    return code;
}

/* Takes nothing more; what runs comes to its end, or is cancelled: then it is not acknowledged, and another
 * worker does it. */
static void drain(struct async__cluster_worker *self)
{
    double end = async_now() + self->options.drain_timeout;

    while (self->running_count > 0 && async_now() < end && !self->cluster->closed) {
        receive(self, true);
        wait_a_while(self, end - async_now());
    }
    for (struct async__cluster_running *running = self->running; running; running = running->next)
        async_cancel(running->task, "the worker ends");
    while (self->running_count > 0) {
        async_event_clear(&self->changed);
        if (self->running_count > 0) async_event_wait(&self->changed);
    }
    receive(self, true);
}

/* ---- from options to sources ---- */

static int add_source(struct async__cluster_worker *self, const async_cluster_job *job,
                      char priority)
{
    struct async__cluster_source *source = &self->sources[self->source_count];
    natsInbox *inbox = NULL;

    if (natsInbox_Create(&inbox) != NATS_OK)
        return async__cluster_raise(-ENOMEM, "no memory for a worker");
    source->worker = self;
    source->job = job;
    source->sub.ready = source_ready;
    snprintf(source->inbox, sizeof source->inbox, "%s", inbox);
    natsInbox_Destroy(inbox);
    source->priority = priority;
    snprintf(source->consumer.stream, sizeof source->consumer.stream, "CASYNCIO_RUN_%s", job->name);
    int code = async__cluster_add(self->cluster, &source->sub, source->inbox, NULL);
    if (code == 0) self->source_count++;
    return code;
}

static int add_other(struct async__cluster_worker *self, struct other *other, const char *job,
                     const char *word, void (*ready)(struct async__cluster_sub *sub))
{
    char subject[96];

    snprintf(subject, sizeof subject, "casyncio.%s.%s", job, word);
    other->worker = self;
    other->sub.ready = ready;
    return async__cluster_add(self->cluster, &other->sub, subject, NULL);
}

static int open_job(struct async__cluster_worker *self, const async_cluster_job *given, size_t i)
{
    async_cluster_job *job = &self->jobs[i];
    struct other *others = self->others;
    int code = async__cluster_job_check("worker", given, job);

    if (code < 0) return code;
    if (!job->run) return async__cluster_raise(-EINVAL, "job %s: there is no function", job->name);
    self->job_count = i + 1;
    if (job->ack_wait / 3 < self->beat_every) self->beat_every = job->ack_wait / 3;
    if (!async__cluster_queue(self->cluster, job)) return async_error_code();
    code = add_other(self, &others[2 * i], job->name, "cancel", cancel_ready);
    if (code == 0) code = add_other(self, &others[2 * i + 1], job->name, "worker", question_ready);
    return code;
}

static int open_worker(struct async__cluster_worker *self, const async_cluster_job *const *jobs,
                       size_t count)
{
    int code = 0;

    self->jobs = async__alloc_zeroed(count * sizeof *self->jobs);
    self->sources = async__alloc_zeroed(count * ASYNC__CLUSTER_PRIORITIES * sizeof *self->sources);
    self->others = async__alloc_zeroed(count * 2 * sizeof(struct other));
    if (!self->jobs || !self->sources || !self->others)
        return async__cluster_raise(-ENOMEM, "no memory for a worker");
    for (size_t i = 0; i < count && code == 0; i++)
        code = open_job(self, jobs[i], i);
    /* By priority, not by job. */
    for (int priority = '0'; priority < '0' + ASYNC__CLUSTER_PRIORITIES; priority++)
        for (size_t i = 0; i < count && code == 0; i++)
            code = add_source(self, &self->jobs[i], (char)priority);
    return code < 0 ? code : make_consumers(self);
}

/* Only when this worker takes nothing more: to a worker that still asks they would come back, and lie there until
 * their ack_wait is over, if it closes its connection meanwhile. */
static void give_back(struct async__cluster_worker *self)
{
    struct async__cluster_running *next;

    for (struct async__cluster_running *running = self->given_back; running; running = next) {
        next = running->next;
        async__cluster_acknowledge(self->cluster, running->msg, "-NAK");
        natsMsg_Destroy(running->msg);
        async__free(running);
    }
}

static void close_worker(struct async__cluster_worker *self)
{
    struct other *others = self->others;

    for (size_t i = 0; i < self->source_count; i++)
        async__cluster_remove(self->cluster, &self->sources[i].sub);
    give_back(self);
    for (size_t i = 0; i < 2 * self->job_count; i++)
        async__cluster_remove(self->cluster, &others[i].sub);
    async__free(self->jobs);
    async__free(self->sources);
    async__free(self->others);
}

int async__cluster_serve(async_cluster *cluster, const async_cluster_worker_options *given,
                         size_t size, const async_cluster_job *const *jobs, size_t count)
{
    struct async__cluster_worker self = {.cluster = cluster, .beat_every = 10};
    int code;

    if (async__options(&self.options, sizeof self.options, given, given ? size : 0) < 0)
        return async__cluster_raise(-EINVAL, "async_cluster_serve: an option of a newer version");
    if (!jobs || count == 0 || !(self.options.drain_timeout >= 0))
        return async__cluster_raise(-EINVAL, "async_cluster_serve: no jobs, or no time to drain");
    if (!self.options.concurrency) self.options.concurrency = (unsigned)get_nprocs();
    if (self.options.drain_timeout == 0) self.options.drain_timeout = DRAIN_TIMEOUT;
    code = async__cluster_enter(cluster, "async_cluster_serve");
    if (code < 0) return code;
    self.connects = cluster->connects;
    code = open_worker(&self, jobs, count);
    if (code == 0) {
        self.group = async_group_enter();
        code = self.group ? serve(&self) : async_error_code();
        async_shield ()
            drain(&self);
        if (self.group) async_group_leave(self.group);
    }
    close_worker(&self);
    return async__cluster_leave(cluster, code);
}

/* ---- a worker as a program ---- */

struct program {
    const char *url;
    const async_cluster_worker_options *options;
    size_t size, count;
    const async_cluster_job *const *jobs;
};

static int run_program(void *argument)
{
    const struct program *self = argument;
    int code = 0;

    async_with_cluster (cluster, self->url, self->options ? self->options->cluster : NULL)
        code = async__cluster_serve(cluster, self->options, self->size, self->jobs, self->count);
    return code < 0 ? code : async_block_error();
}

int async__cluster_work(const char *url, const async_cluster_worker_options *options, size_t size,
                        const async_cluster_job *const *jobs, size_t count)
{
    struct program self = {url, options, size, count, jobs};
    async_run_options run = {.handle_sigterm = true};
    int code = async_run_with(run_program, &self, &run);

    if (code >= 0 || code == -EINTR || code == -ECANCELED) return 0;
    fprintf(stderr, "worker: %s\n", async_run_error_message());
    return 1;
}
