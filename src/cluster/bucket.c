/* bucket.c - keys and values: JetStream's key-value store, as other clients have it.
 *
 * A bucket is a stream, KV_<bucket>, of the subjects $KV.<bucket>.<key>, of each of which it keeps the last
 * messages. A deletion is a message with a header. A watch is a consumer of the stream, asked for the last
 * message of each subject and then for all that comes; if the server has lost it another one is made, from
 * where the first one was. */
#include "cluster_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64
#define PULL_WAIT 10.0   /* seconds after which a watch asks again */
#define PULL_GRACE 2.0   /* and after which, if there is no answer, something is wrong */
#define IDLE_CONSUMER 60 /* seconds after which the server forgets a watch that does not ask */

struct async_cluster_bucket {
    async_cluster *cluster;
    char name[65], stream[72];
};

static int enter(const async_cluster_bucket *bucket, const char *what)
{
    if (!bucket) return async__cluster_raise(-EBADF, "%s: no bucket", what);
    return async__cluster_enter(bucket->cluster, what);
}

static int check_key(const char *what, const char *key, bool wildcards)
{
    int code = async__cluster_check_subject(what, key, wildcards);

    if (code == 0 &&
        strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_=.*>") !=
            strlen(key))
        code = async__cluster_raise(-EINVAL, "%s: \"%s\" is no key", what, key);
    return code;
}

static void subject_of(const async_cluster_bucket *bucket, const char *key, char *subject)
{
    snprintf(subject, ASYNC__CLUSTER_SUBJECT_MAX, "$KV.%s.%s", bucket->name, key);
}

/* ---- opening ---- */

static int make_bucket(async_cluster_bucket *self, const async_cluster_bucket_options *options)
{
    char subjects[96];
    const char *list[] = {subjects};
    jsStreamConfig config;

    snprintf(subjects, sizeof subjects, "$KV.%s.>", self->name);
    jsStreamConfig_Init(&config);
    config.Name = self->stream;
    config.Subjects = list;
    config.SubjectsLen = 1;
    config.MaxMsgsPerSubject = options->history ? options->history : 1;
    config.MaxAge = (int64_t)(options->ttl * 1e9);
    config.Discard = js_DiscardNew;
    config.Storage = options->memory ? js_MemoryStorage : js_FileStorage;
    config.Replicas = options->replicas ? options->replicas : 1;
    config.AllowRollup = true;
    config.DenyDelete = true;
    config.AllowDirect = true;
    return async__cluster_stream(self->cluster, &config);
}

async_cluster_bucket *async__cluster_bucket_open(async_cluster *cluster, const char *name,
                                                 const async_cluster_bucket_options *given,
                                                 size_t size)
{
    async_cluster_bucket_options options = {0};
    int code = async__cluster_check(cluster, "async_cluster_bucket_open");

    if (code == 0) code = async__cluster_name_ok(name);
    if (code == 0 && async__options(&options, sizeof options, given, size) < 0)
        code = async__cluster_raise(-EINVAL,
                                    "async_cluster_bucket_open: an option of a newer version");
    if (code == 0 && (options.history > 64 || !(options.ttl >= 0 && options.ttl < 1e9)))
        code = async__cluster_raise(-EINVAL, "bucket %s: a history of %u, a ttl of %g", name,
                                    options.history, options.ttl);
    if (code == 0) code = async__cluster_replicas_ok(name, options.replicas);
    if (code < 0) return NULL;
    async_cluster_bucket *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for a bucket");
        return NULL;
    }
    self->cluster = cluster;
    cluster->references++;
    snprintf(self->name, sizeof self->name, "%s", name);
    snprintf(self->stream, sizeof self->stream, "KV_%s", name);
    if (make_bucket(self, &options) == 0) return self;
    async_cluster_bucket_close(self);
    return NULL;
}

void async_cluster_bucket_close(async_cluster_bucket *bucket)
{
    if (!bucket) return;
    async__cluster_release(bucket->cluster);
    async__free(bucket);
}

/* ---- one key ---- */

static int put(async_cluster_bucket *bucket, const char *what, const char *key, const void *value,
               size_t size, const char *const *headers, uint64_t *revision)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];
    int code = enter(bucket, what);

    if (code < 0) return code;
    async_cluster *cluster = bucket->cluster; /* the bucket may be closed meanwhile */
    code = check_key(what, key, false);
    if (code == 0 && !value && size > 0) code = async__cluster_raise(-EINVAL, "%s: no value", what);
    if (code == 0) {
        subject_of(bucket, key, subject);
        code = async__cluster_store(cluster, subject, headers, value, size, revision);
    }
    return async__cluster_leave(cluster, code);
}

int async_cluster_put(async_cluster_bucket *bucket, const char *key, const void *value, size_t size,
                      uint64_t *revision)
{
    return put(bucket, "async_cluster_put", key, value, size, NULL, revision);
}

int async_cluster_put_if(async_cluster_bucket *bucket, const char *key, const void *value,
                         size_t size, uint64_t expected, uint64_t *revision)
{
    char number[24];
    natsInbox *id = NULL; /* any text that is like no other */

    if (natsInbox_Create(&id) != NATS_OK)
        return async__cluster_raise(-ENOMEM, "async_cluster_put_if: no memory");
    snprintf(number, sizeof number, "%llu", (unsigned long long)expected);
    /* If it is sent twice the server knows it by its id, before it compares the revision. */
    const char *const headers[] = {"Nats-Expected-Last-Subject-Sequence", number, "Nats-Msg-Id", id,
                                   NULL};
    int code = put(bucket, "async_cluster_put_if", key, value, size, headers, revision);
    natsInbox_Destroy(id);
    return code;
}

int async_cluster_delete(async_cluster_bucket *bucket, const char *key)
{
    static const char *const headers[] = {"KV-Operation", "DEL", NULL};
    return put(bucket, "async_cluster_delete", key, NULL, 0, headers, NULL);
}

static void fill(async_cluster_entry *entry, const async_cluster_bucket *bucket,
                 const char *subject, natsMsg *msg, uint64_t revision)
{
    const char *operation = async__cluster_header(msg, "KV-Operation");

    entry->key = subject + strlen("$KV..") + strlen(bucket->name);
    entry->value = operation ? NULL : natsMsg_GetData(msg);
    entry->size = operation ? 0 : (size_t)natsMsg_GetDataLength(msg);
    entry->revision = revision;
    entry->reserved[0] = msg;
}

static async_cluster_entry *get(const async_cluster_bucket *bucket, const char *key)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];
    natsMsg *msg = NULL;

    if (check_key("async_cluster_get", key, false) < 0) return NULL;
    subject_of(bucket, key, subject);
    if (async__cluster_last(bucket->cluster, bucket->stream, subject, &msg) < 0) return NULL;
    if (!msg || async__cluster_header(msg, "KV-Operation")) {
        natsMsg_Destroy(msg);
        async__cluster_raise(-ENOENT, "bucket %s has no key %s", bucket->name, key);
        return NULL;
    }
    const char *stored = async__cluster_header(msg, "Nats-Subject");
    const char *sequence = async__cluster_header(msg, "Nats-Sequence");
    async_cluster_entry *entry = async__alloc_zeroed(sizeof *entry);
    if (!entry || !stored || !sequence) {
        async__free(entry);
        natsMsg_Destroy(msg);
        async__cluster_raise(entry ? -EIO : -ENOMEM, "bucket %s, key %s: no memory, or no answer",
                             bucket->name, key);
        return NULL;
    }
    fill(entry, bucket, stored, msg, strtoull(sequence, NULL, 10));
    return entry;
}

async_cluster_entry *async_cluster_get(async_cluster_bucket *bucket, const char *key)
{
    if (enter(bucket, "async_cluster_get") < 0) return NULL;
    const async_cluster_bucket own = *bucket; /* it may be closed meanwhile */
    async_cluster_entry *entry = get(&own, key);
    async__cluster_release(own.cluster);
    return entry;
}

void async_cluster_entry_free(async_cluster_entry *entry)
{
    if (!entry) return;
    natsMsg_Destroy(entry->reserved[0]);
    async__free(entry);
}

/* ---- a watch ---- */

struct watch {
    async_iterator iterator;
    async_cluster_bucket bucket;
    struct async__cluster_sub sub;
    async_event event;
    char filter[ASYNC__CLUSTER_SUBJECT_MAX], inbox[64];
    struct async__cluster_consumer consumer;
    unsigned connects;      /* the cluster's, when it was asked */
    unsigned asked;         /* messages that are to come */
    double deadline;        /* until when, on the loop's clock */
    bool present, told_end; /* all present values have come; and that was told */
    async_cluster_entry entry;
};

static void watch_ready(struct async__cluster_sub *sub)
{
    async_event_set(&async__container(sub, struct watch, sub)->event);
}

static int make_consumer(struct watch *self)
{
    jsConsumerConfig config;

    jsConsumerConfig_Init(&config);
    config.AckPolicy = js_AckNone;
    config.FilterSubject = self->filter;
    config.InactiveThreshold = IDLE_CONSUMER * (int64_t)1000000000;
    config.MemoryStorage = true;
    int code = async__cluster_consumer(self->bucket.cluster, &self->consumer, &config);
    if (code == 0 && self->consumer.pending == 0) self->present = true;
    return code;
}

/* Makes the consumer if there is none, and asks it if it has not been asked. */
static int ask(struct watch *self)
{
    async_cluster *cluster = self->bucket.cluster;
    int code = async__cluster_check(cluster, "watch");

    while (code == 0 && !cluster->connected) {
        code = async_event_wait(&cluster->up);
        if (code == 0) code = async__cluster_check(cluster, "watch");
    }
    if (code < 0) return code;
    /* A server that was started anew has no consumers like this, and says nothing to questions for them. */
    if (self->connects != cluster->connects || async_now() > self->deadline)
        self->consumer.name[0] = 0;
    if (!self->consumer.name[0]) {
        code = make_consumer(self);
        if (code < 0) {
            self->consumer.name[0] = 0;
            if (code != -ETIMEDOUT && code != -ECONNRESET) return code;
            return async_sleep(0.1); /* the server has just come back, or gone */
        }
        self->asked = 0;
        self->connects = cluster->connects;
    }
    if (self->asked > 0) return 0;
    natsStatus status = async__cluster_pull(cluster, self->bucket.stream, self->consumer.name,
                                            self->inbox, BATCH, PULL_WAIT);
    if (status != NATS_OK && status != NATS_INSUFFICIENT_BUFFER)
        return async__cluster_fail(cluster, status, "watch", self->filter);
    self->asked = BATCH;
    self->deadline = async_now() + PULL_WAIT + PULL_GRACE;
    return 0;
}

static int wait_for_more(struct watch *self)
{
    int code = ask(self);

    if (code < 0 || (self->present && !self->told_end)) return code;
    async_event_clear(&self->event);
    async_timeout_scope (scope, self->deadline - async_now()) {
        code = async_event_wait(&self->event);
        if (code == -ETIMEDOUT && async_scope_expired(&scope)) code = 0;
    }
    return code < 0 ? code : async_checkpoint();
}

/* 1: it is in the entry; 0: it was none. */
static int take(struct watch *self, natsMsg *msg)
{
    struct async__cluster_delivery delivery;
    int status = msg ? async__cluster_status(msg) : 503;

    if (status > 0 || !async__cluster_delivery(msg, &delivery)) {
        natsMsg_Destroy(msg);
        self->asked = 0;
        /* 404 and 408: there was nothing for so long. Else the consumer has gone. */
        if (status != 404 && status != 408) self->consumer.name[0] = 0;
        return 0;
    }
    if (self->asked > 0) self->asked--;
    if (delivery.pending == 0) self->present = true;
    if (delivery.sequence <= self->consumer.last) {
        natsMsg_Destroy(msg);
        return 0;
    }
    self->consumer.last = delivery.sequence;
    fill(&self->entry, &self->bucket, natsMsg_GetSubject(msg), msg, delivery.sequence);
    return 1;
}

static int watch_next(async_iterator *iterator, void *value)
{
    struct watch *self = async__container(iterator, struct watch, iterator);
    natsMsg *msg;
    int code = async_checkpoint(), got = 0;

    natsMsg_Destroy(self->entry.reserved[0]);
    self->entry = (async_cluster_entry){.key = ""};
    while (code == 0 && !got) {
        if (async__cluster_take(&self->sub, &msg) != 0)
            got = take(self, msg);
        else if (self->present && !self->told_end)
            got = self->told_end = true;
        else
            code = wait_for_more(self);
    }
    if (code < 0) return code;
    *(async_cluster_entry **)value = &self->entry;
    return 1;
}

static void watch_close(async_iterator *iterator)
{
    struct watch *self = async__container(iterator, struct watch, iterator);

    natsMsg_Destroy(self->entry.reserved[0]);
    async__cluster_remove(self->bucket.cluster, &self->sub);
    async__cluster_release(self->bucket.cluster);
    async__free(self);
}

async_iterator *async_cluster_watch(async_cluster_bucket *bucket, const char *keys)
{
    natsInbox *inbox = NULL;

    if (check_key("async_cluster_watch", keys ? keys : ">", true) < 0) return NULL;
    if (enter(bucket, "async_cluster_watch") < 0) return NULL;
    struct watch *self = async__alloc_zeroed(sizeof *self);
    if (!self || natsInbox_Create(&inbox) != NATS_OK) {
        async__free(self);
        async__cluster_release(bucket->cluster);
        async__cluster_raise(-ENOMEM, "no memory for a watch");
        return NULL;
    }
    snprintf(self->inbox, sizeof self->inbox, "%s", inbox);
    natsInbox_Destroy(inbox);
    self->iterator = (async_iterator){
        .next = watch_next, .close = watch_close, .size = sizeof(async_cluster_entry *)};
    self->bucket = *bucket;
    snprintf(self->consumer.stream, sizeof self->consumer.stream, "%s", bucket->stream);
    self->sub.ready = watch_ready;
    subject_of(bucket, keys ? keys : ">", self->filter);
    int code = async__cluster_add(bucket->cluster, &self->sub, self->inbox, NULL);
    if (code == 0) code = ask(self);
    if (code == 0) return &self->iterator;
    watch_close(&self->iterator);
    return NULL;
}
