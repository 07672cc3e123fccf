/* map.c - a job for each of many inputs. */
#include "jobs_internal.h"

#include <casyncio/queues.h>

#include <stdio.h>
#include <string.h>

#define LIMIT 100

struct many {
    async_cluster *cluster;
    const async_cluster_job *job;
    const char *inputs;
    char *outputs;
    size_t count, next; /* the next one to be called */
    size_t done;        /* calls that have ended otherwise than by a cancellation */
    async_cluster_call_options options;
    int *codes;         /* of each call, if they are wanted */
    async_queue *ended; /* of an iteration */
};

/* What a queue of an iteration has. */
struct ended {
    size_t index;
    int code;
    char message[240];
};

/* 0: it has a reference to the cluster, for the calls that are made later. */
static int enter(struct many *self, const async_cluster_call_options *given, size_t size,
                 const char *what)
{
    if (async__options(&self->options, sizeof self->options, given, size) < 0)
        return async__cluster_raise(-EINVAL, "%s: an option of a newer version", what);
    if (self->options.key)
        return async__cluster_raise(-EINVAL, "%s: one key for several jobs", what);
    async_cluster_job job;
    int code = async__cluster_job_check(what, self->job, &job);
    if (code == 0 && self->count > 0 &&
        ((!self->inputs && job.in_size > 0) || (!self->outputs && job.out_size > 0)))
        code = async__cluster_raise(-EINVAL, "%s: job %s: an array is NULL", what, job.name);
    if (!self->options.limit) self->options.limit = LIMIT;
    if (self->options.limit > self->count) self->options.limit = self->count;
    return code < 0 ? code : async__cluster_enter(self->cluster, what);
}

static int call(struct many *self, size_t index)
{
    const async_cluster_job *job = self->job;
    int code = async__cluster_call(self->cluster, job, self->inputs + index * job->in_size,
                                   self->outputs + index * job->out_size, &self->options,
                                   sizeof self->options);
    if (self->codes) self->codes[index] = code;
    self->done += code != -ECANCELED;
    return code;
}

/* ---- map ---- */

static int mapper(void *argument)
{
    struct many *self = argument;

    while (self->next < self->count) {
        int code = call(self, self->next++);
        if (code < 0 && (!self->options.all || code == -ECANCELED)) return code;
    }
    return 0;
}

static int first_of(const int *codes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (codes[i] < 0)
            return async__cluster_raise(codes[i], "map of %s: call %zu: %s", name, i,
                                        async_strerror(codes[i]));
    return 0;
}

static int map(struct many *self)
{
    for (size_t i = 0; self->codes && i < self->count; i++)
        self->codes[i] = -ECANCELED; /* of those that are not called */
    async_group *group = async_group_enter();
    if (!group) return async_error_code();
    for (size_t i = 0; i < self->options.limit; i++)
        async_group_create_task_with(group, mapper, self,
                                     &(async_task_options){.coroutine = "async_cluster_map"});
    int code = async_group_leave(group);
    /* A task that is cancelled by itself is no failure of its group, but its call has no result. */
    if (code >= 0 && self->done < self->count)
        code = async__cluster_raise(-ECANCELED, "map of %s: a call was cancelled", self->job->name);
    if (code >= 0 && self->options.all) code = first_of(self->codes, self->count, self->job->name);
    return code;
}

int async__cluster_map(async_cluster *cluster, const async_cluster_job *job, const void *inputs,
                       void *outputs, size_t count, const async_cluster_call_options *given,
                       size_t size)
{
    struct many self = {
        .cluster = cluster, .job = job, .inputs = inputs, .outputs = outputs, .count = count};
    int *own = NULL;
    int code = enter(&self, given, size, "async_cluster_map");

    if (code < 0) return code;
    self.codes = self.options.codes;
    if (!self.codes && self.options.all && count > 0) {
        self.codes = own = async__alloc_zeroed(count * sizeof *own);
        if (!own) code = async__cluster_raise(-ENOMEM, "no memory for a map of %s", job->name);
    }
    if (code == 0 && count > 0) code = map(&self);
    async__free(own);
    return async__cluster_leave(cluster, code);
}

/* ---- as completed ---- */

struct completing {
    async_iterator iterator;
    struct many many;
    async_cluster_job job;
    async_task **tasks;
    size_t task_count, given;
    struct ended last;
};

static int completer(void *argument)
{
    struct completing *self = argument;
    struct many *many = &self->many;

    while (many->next < many->count) {
        struct ended ended = {.index = many->next++};
        ended.code = call(many, ended.index);
        if (ended.code < 0)
            snprintf(ended.message, sizeof ended.message, "%s", async_error_message());
        if (ended.code == -ECANCELED) return ended.code;
        int code = async_queue_put(many->ended, &ended);
        if (code < 0) return code;
    }
    return 0;
}

static int completing_next(async_iterator *iterator, void *value)
{
    struct completing *self = async__container(iterator, struct completing, iterator);

    if (self->given == self->many.count) return 0;
    int code = async_queue_get(self->many.ended, &self->last);
    if (code < 0) return code;
    self->given++;
    *(async_cluster_completed *)value = (async_cluster_completed){
        .index = self->last.index, .code = self->last.code, .message = self->last.message};
    return 1;
}

static void completing_close(async_iterator *iterator)
{
    struct completing *self = async__container(iterator, struct completing, iterator);

    for (size_t i = 0; i < self->task_count; i++)
        async_cancel(self->tasks[i], NULL);
    if (self->task_count > 0) async_gather_results(self->tasks, self->task_count, NULL);
    async__cluster_release(self->many.cluster);
    async_queue_free(self->many.ended);
    async__free(self->tasks);
    async__free(self);
}

static int start(struct completing *self)
{
    size_t limit = self->many.options.limit;

    self->many.ended = async_queue_new(sizeof(struct ended), 0);
    self->tasks = async__alloc_zeroed((limit + 1) * sizeof *self->tasks);
    if (!self->many.ended || !self->tasks)
        return async__cluster_raise(-ENOMEM, "no memory for calls of %s", self->job.name);
    for (; self->task_count < limit; self->task_count++) {
        async_task_options options = {.coroutine = "async_cluster_as_completed"};
        async_task *task = async_create_task_with(completer, self, &options);
        if (!task && self->task_count == 0) return async_error_code();
        if (!task) break; /* fewer will do */
        self->tasks[self->task_count] = task;
    }
    return 0;
}

async_iterator *async__cluster_as_completed(async_cluster *cluster, const async_cluster_job *job,
                                            const void *inputs, void *outputs, size_t count,
                                            const async_cluster_call_options *given, size_t size)
{
    struct completing *self = async__alloc_zeroed(sizeof *self);

    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for calls of a job");
        return NULL;
    }
    self->many = (struct many){
        .cluster = cluster, .job = job, .inputs = inputs, .outputs = outputs, .count = count};
    self->iterator = (async_iterator){.next = completing_next,
                                      .close = completing_close,
                                      .size = sizeof(async_cluster_completed)};
    int code = enter(&self->many, given, size, "async_cluster_as_completed");
    if (code < 0) {
        async__free(self);
        return NULL;
    }
    self->job = *job;
    self->many.job = &self->job;
    self->many.codes = self->many.options.codes;
    code = start(self);
    if (code == 0) return &self->iterator;
    char text[256];
    snprintf(text, sizeof text, "%s", async_error_message());
    completing_close(&self->iterator);
    async__cluster_raise(code, "%s", text);
    return NULL;
}
