/* results.c - what comes back from a worker. */
#include "jobs_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_MAX 256  /* reports that are kept for an iteration */
#define ITEMS_MAX 1024 /* yielded ones; others are fetched when it is their turn */
#define LOOK_FIRST 1.0 /* seconds until the stream is asked for a result; doubles up to the next */
#define LOOK_MOST 16.0
#define WORKER_EVERY 1.0   /* seconds between two questions whether there are workers */
#define WORKER_TIMEOUT 2.0 /* a worker that does not answer is one all the same */

/* ---- lists ---- */

static bool list_put(struct async__cluster_inbox_list *list, natsMsg *msg)
{
    if (list->start + list->count == list->capacity) {
        if (list->start > 0) {
            memmove(list->messages, list->messages + list->start,
                    list->count * sizeof *list->messages);
            list->start = 0;
        } else {
            size_t capacity = list->capacity ? 2 * list->capacity : 8;
            natsMsg **more = async__realloc(list->messages, capacity * sizeof *more);
            if (!more) return false;
            list->messages = more;
            list->capacity = capacity;
        }
    }
    list->messages[list->start + list->count++] = msg;
    return true;
}

natsMsg *async__cluster_list_take(struct async__cluster_inbox_list *list)
{
    if (list->count == 0) return NULL;
    list->count--;
    return list->messages[list->start++];
}

void async__cluster_list_free(struct async__cluster_inbox_list *list)
{
    natsMsg *msg;
    while ((msg = async__cluster_list_take(list)))
        natsMsg_Destroy(msg);
    async__free(list->messages);
    *list = (struct async__cluster_inbox_list){NULL, 0, 0, 0};
}

/* ---- messages find their call ---- */

/* `kind` is what follows the id in the subject: "r", "n", "i.<n>". Takes the message over. */
static void deliver(async_cluster_future *self, const char *kind, natsMsg *msg)
{
    if (*kind == 'r' && !self->result) {
        self->result = msg;
    } else if (*kind == 'n') {
        if (self->notes.count >= NOTES_MAX) natsMsg_Destroy(async__cluster_list_take(&self->notes));
        if (!list_put(&self->notes, msg)) natsMsg_Destroy(msg);
    } else if (*kind != 'i' || self->items.count >= ITEMS_MAX || !list_put(&self->items, msg)) {
        natsMsg_Destroy(msg);
    }
    async_event_set(&self->event);
}

void async__cluster_future_ready(struct async__cluster_sub *sub)
{
    async_cluster_future *self = async__container(sub, async_cluster_future, sub);
    natsMsg *msg;

    while (async__cluster_take(sub, &msg) == 1) {
        const char *id = strstr(natsMsg_GetSubject(msg), self->id);
        if (id)
            deliver(self, id + strlen(self->id) + 1, msg);
        else
            natsMsg_Destroy(msg);
    }
    async_event_set(&self->event);
}

static async_cluster_future *find(struct async__cluster_caller *caller, const char *id, size_t size)
{
    async_cluster_future *future =
        caller->table[async__cluster_hash(id, size, 0) % ASYNC__CLUSTER_TABLE];

    while (future && (strncmp(future->id, id, size) != 0 || future->id[size]))
        future = future->next;
    return future;
}

/* casyncio.<job>.to.<caller>.<number>.<kind> */
static void route(struct async__cluster_caller *caller, natsMsg *msg)
{
    const char *name = strstr(natsMsg_GetSubject(msg), caller->cluster->name);
    const char *number = name ? strchr(name, '.') : NULL;
    const char *kind = number ? strchr(number + 1, '.') : NULL;
    async_cluster_future *future = kind ? find(caller, name, (size_t)(kind - name)) : NULL;

    if (future)
        deliver(future, kind + 1, msg);
    else
        natsMsg_Destroy(msg);
}

void async__cluster_caller_ready(struct async__cluster_sub *sub)
{
    struct async__cluster_caller *caller = async__container(sub, struct async__cluster_caller, sub);
    natsMsg *msg;
    bool any = false;

    while (async__cluster_take(sub, &msg) == 1) {
        any = true;
        route(caller, msg);
    }
    if (any) return;
    /* The connection's state has changed. */
    for (size_t i = 0; i < ASYNC__CLUSTER_TABLE; i++)
        for (async_cluster_future *future = caller->table[i]; future; future = future->next)
            async_event_set(&future->event);
}

/* ---- waiting ---- */

/* Asks the stream for the result. */
int async__cluster_look(async_cluster_future *self)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], stream[64];
    natsMsg *msg;

    snprintf(stream, sizeof stream, "CASYNCIO_DATA_%s", self->job.name);
    async__cluster_to(subject, self->job.name, "to", self->id, ".r");
    int code = async__cluster_last(self->cluster, stream, subject, &msg);
    if (code < 0 || !msg) return code;
    deliver(self, "r", msg);
    return 0;
}

/* Whether any worker serves the job, as all calls of the job have found out together. */
static int look_for_workers(async_cluster_future *self)
{
    struct async__cluster_known *known = self->known;
    char subject[ASYNC__CLUSTER_SUBJECT_MAX];
    double now = async_now();
    natsMsg *answer = NULL;
    int code = 0;

    if (now - known->asked_at >= WORKER_EVERY) {
        bool expired = false;
        /* A worker that has not been seen for longer than nothing was asked is no worker that is gone. */
        if (now - known->asked_at > 4 * WORKER_EVERY) known->seen_at = now;
        known->asked_at = now;
        snprintf(subject, sizeof subject, "casyncio.%s.worker", self->job.name);
        async_timeout_scope (scope, WORKER_TIMEOUT) {
            code = async__cluster_ask_alone(self->cluster, subject, NULL, 0, &answer);
            expired = async_scope_expired(&scope);
        }
        natsMsg_Destroy(answer);
        if (code != -ESRCH) known->seen_at = async_now();
        if (code == -ESRCH || code == -ECONNRESET || (code == -ETIMEDOUT && expired)) code = 0;
    }
    if (code < 0 || async_now() - known->seen_at < self->unserved_timeout) return code;
    return async__cluster_raise(-ESRCH, "job %s: no worker has served it for %g seconds",
                                self->job.name, self->unserved_timeout);
}

static int await_event(async_cluster_future *self, double seconds)
{
    int code = 0;

    async_timeout_scope (scope, seconds) {
        code = async_event_wait(&self->event);
        if (code == -ETIMEDOUT && async_scope_expired(&scope)) code = 0;
    }
    async_event_clear(&self->event);
    return code < 0 ? code : async_checkpoint();
}

/* What came while there was no connection is in the stream alone. */
static int look_again(async_cluster_future *self)
{
    double wait = ldexp(LOOK_FIRST, (int)(self->looks < 8 ? self->looks : 8));

    self->looks++;
    self->connects = self->cluster->connects;
    self->look_at = async_now() + (wait < LOOK_MOST ? wait : LOOK_MOST);
    if (self->job.memory && self->put_on != self->connects) return async__cluster_put_again(self);
    return self->looks > 1 ? async__cluster_look(self) : 0;
}

int async__cluster_step(async_cluster_future *self)
{
    async_cluster *cluster = self->cluster;
    double now = async_now();
    int code = async__cluster_check(cluster, "job");

    if (code < 0) return code;
    if (self->connects != cluster->connects || now >= self->look_at) return look_again(self);
    code =
        await_event(self, self->look_at - now < WORKER_EVERY ? self->look_at - now : WORKER_EVERY);
    if (code == 0 && !self->result && cluster->connected) code = look_for_workers(self);
    return code;
}

/* ---- the result ---- */

static int failure(const async_cluster_future *self, const struct async__result_head *head,
                   const char *text)
{
    return async__cluster_raise(head->code, "job %s: %.*s", self->job.name, (int)head->message_size,
                                text);
}

int async__cluster_result(async_cluster_future *self, void *out)
{
    struct async__result_head head;
    const char *data = natsMsg_GetData(self->result);
    size_t size = (size_t)natsMsg_GetDataLength(self->result);

    if (size >= sizeof head) memcpy(&head, data, sizeof head);
    if (size < sizeof head || memcmp(head.magic, "cjd1", 4) != 0 ||
        head.message_size > size - sizeof head)
        return async__cluster_raise(-EPROTO, "job %s: what came is no result", self->job.name);
    if (head.code < 0) return failure(self, &head, data + sizeof head);
    if (head.out_size != self->job.out_size)
        return async__cluster_raise(
            -EPROTO, "job %s: a result of %llu bytes, where %zu are expected", self->job.name,
            (unsigned long long)head.out_size, self->job.out_size);
    if (head.pieces > 0) {
        int code = async__cluster_fetch_pieces(self->cluster, self->job.name, self->id, 'o', out,
                                               self->job.out_size, head.pieces);
        return code < 0 ? code : head.code;
    }
    if (size - sizeof head - head.message_size != head.out_size)
        return async__cluster_raise(-EPROTO, "job %s: its result was cut off", self->job.name);
    if (head.out_size > 0)
        memcpy(out, data + sizeof head + head.message_size, (size_t)head.out_size);
    return head.code;
}

/* ---- iterating over reports, and over what is yielded ---- */

struct coming {
    async_iterator iterator;
    async_cluster_future *future;
    bool items;
    uint32_t number; /* of the one that is next */
    async_cluster_message message;
};

static int give(struct coming *self, natsMsg *msg, void *value)
{
    async__cluster_fill(&self->message, msg);
    self->number++;
    *(async_cluster_message **)value = &self->message;
    return 1;
}

static uint32_t number_of(natsMsg *msg)
{
    return (uint32_t)strtoul(strrchr(natsMsg_GetSubject(msg), '.') + 1, NULL, 10);
}

/* Asks the stream for the next one, which has not come by itself. 1: it is in *msg. */
static int fetch(struct coming *self, natsMsg **msg)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], stream[64], rest[24];

    snprintf(stream, sizeof stream, "CASYNCIO_DATA_%s", self->future->job.name);
    snprintf(rest, sizeof rest, ".i.%u", self->number);
    async__cluster_to(subject, self->future->job.name, "to", self->future->id, rest);
    int code = async__cluster_stored(self->future->cluster, stream, subject, msg);
    return code < 0 ? code : *msg != NULL;
}

/* The next one of those that have come; those that came before are dropped, a gap is filled by asking. */
static int next_item(struct coming *self, natsMsg **msg)
{
    struct async__cluster_inbox_list *list = &self->future->items;

    *msg = NULL;
    while (list->count > 0 && number_of(list->messages[list->start]) < self->number)
        natsMsg_Destroy(async__cluster_list_take(list));
    if (list->count == 0) return 0;
    if (number_of(list->messages[list->start]) > self->number) return fetch(self, msg);
    *msg = async__cluster_list_take(list);
    return 1;
}

/* The job has ended: what was yielded and has not come is fetched. 0: that was all. */
static int last_items(struct coming *self, natsMsg **msg)
{
    struct async__result_head head;
    async_cluster_future *future = self->future;

    if ((size_t)natsMsg_GetDataLength(future->result) < sizeof head) return 0;
    memcpy(&head, natsMsg_GetData(future->result), sizeof head);
    if (self->number <= head.items) {
        int got = fetch(self, msg);
        if (got != 0) return got;
        return async__cluster_raise(-EPROTO, "job %s: what it has yielded is no longer there",
                                    future->job.name);
    }
    return head.code < 0 ? failure(future, &head, natsMsg_GetData(future->result) + sizeof head)
                         : 0;
}

static int items_next(struct coming *self, void *value)
{
    natsMsg *msg = NULL;
    int got;

    while ((got = next_item(self, &msg)) == 0) {
        if (self->future->result) {
            got = last_items(self, &msg);
            break;
        }
        got = async__cluster_step(self->future);
        if (got < 0) break;
    }
    return got == 1 ? give(self, msg, value) : got;
}

static int notes_next(struct coming *self, void *value)
{
    natsMsg *msg;

    while (!(msg = async__cluster_list_take(&self->future->notes))) {
        if (self->future->result) return 0;
        int code = async__cluster_step(self->future);
        if (code < 0) return code;
    }
    return give(self, msg, value);
}

static int coming_next(async_iterator *iterator, void *value)
{
    struct coming *self = async__container(iterator, struct coming, iterator);
    int code = async_checkpoint();

    natsMsg_Destroy(self->message.reserved[0]);
    self->message.reserved[0] = NULL;
    if (code < 0) return code;
    return self->items ? items_next(self, value) : notes_next(self, value);
}

static void coming_close(async_iterator *iterator)
{
    struct coming *self = async__container(iterator, struct coming, iterator);

    natsMsg_Destroy(self->message.reserved[0]);
    async__free(self);
}

static async_iterator *iterate(async_cluster_future *future, bool items)
{
    if (!future) {
        async__cluster_raise(-EBADF, "there is no job");
        return NULL;
    }
    struct coming *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__cluster_raise(-ENOMEM, "no memory for an iteration");
        return NULL;
    }
    self->iterator = (async_iterator){
        .next = coming_next, .close = coming_close, .size = sizeof(async_cluster_message *)};
    self->future = future;
    self->items = items;
    self->number = 1;
    return &self->iterator;
}

async_iterator *async_cluster_progress(async_cluster_future *future)
{
    return iterate(future, false);
}

async_iterator *async_cluster_items(async_cluster_future *future) { return iterate(future, true); }
