/* request.c - requests, and their answers.
 *
 * All answers come to one subscription, "_INBOX.<client>.*"; the last word is the number of a slot and its
 * generation, so that an answer that comes after its request was given up finds none. */
#include "cluster_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- slots ---- */

static int more_slots(async_cluster *cluster)
{
    unsigned count = cluster->slot_count ? 2 * cluster->slot_count : 16;
    struct async__cluster_slot *slots = async__realloc(cluster->slots, count * sizeof *slots);

    if (!slots) return async__cluster_raise(-ENOMEM, "no memory for a request");
    for (unsigned i = cluster->slot_count; i < count; i++)
        slots[i] = (struct async__cluster_slot){.next_free = i + 1 < count ? i + 2 : 0};
    cluster->free_slot = cluster->slot_count + 1;
    cluster->slots = slots;
    cluster->slot_count = count;
    return 0;
}

int async__cluster_ask_begin(async_cluster *cluster, struct async__cluster_ask *ask, char *reply,
                             size_t reply_size)
{
    if (cluster->free_slot == 0) {
        int code = more_slots(cluster);
        if (code < 0) return code;
    }
    ask->slot = cluster->free_slot - 1;
    struct async__cluster_slot *slot = &cluster->slots[ask->slot];
    cluster->free_slot = slot->next_free;
    slot->ask = ask;
    snprintf(reply, reply_size, "%s%xg%x", cluster->inbox, ask->slot, slot->generation);
    return 0;
}

void async__cluster_ask_end(async_cluster *cluster, struct async__cluster_ask *ask)
{
    struct async__cluster_slot *slot = &cluster->slots[ask->slot];

    if (slot->ask != ask) return;
    slot->ask = NULL;
    slot->generation++;
    slot->next_free = cluster->free_slot;
    cluster->free_slot = ask->slot + 1;
}

/* The slot is free before anything else hears of it. */
static void answer(async_cluster *cluster, struct async__cluster_ask *ask, int code, natsMsg *msg)
{
    async__cluster_ask_end(cluster, ask);
    ask->answer = msg;
    if (ask->done)
        ask->done(ask, code);
    else
        async_future_set(&ask->future, code, NULL);
}

void async__cluster_inbox_ready(struct async__cluster_sub *sub)
{
    async_cluster *cluster = async__container(sub, async_cluster, inbox_sub);
    natsMsg *msg;
    int got;

    while ((got = async__cluster_take(sub, &msg)) != 0) {
        if (got < 0) {
            async__cluster_fail_asks(cluster, got);
            continue;
        }
        char *end;
        const char *word = natsMsg_GetSubject(msg) + strlen(cluster->inbox);
        unsigned long number = strtoul(word, &end, 16);
        unsigned long generation = *end == 'g' ? strtoul(end + 1, NULL, 16) : 0;
        struct async__cluster_slot *slot =
            *end == 'g' && number < cluster->slot_count ? &cluster->slots[number] : NULL;
        if (slot && slot->ask && slot->generation == generation)
            answer(cluster, slot->ask, 0, msg);
        else
            natsMsg_Destroy(msg);
    }
}

void async__cluster_fail_asks(async_cluster *cluster, int code)
{
    for (unsigned i = 0; i < cluster->slot_count; i++)
        if (cluster->slots[i].ask) answer(cluster, cluster->slots[i].ask, code, NULL);
}

/* ---- statuses ---- */

const char *async__cluster_header(natsMsg *msg, const char *name)
{
    const char *value = NULL;
    return natsMsgHeader_Get(msg, name, &value) == NATS_OK ? value : NULL;
}

int async__cluster_status(natsMsg *msg)
{
    if (natsMsg_GetDataLength(msg) > 0) return 0;
    const char *value = async__cluster_header(msg, "Status");
    return value ? atoi(value) : 0;
}

/* ---- a request as a whole ---- */

static natsStatus send_with_headers(async_cluster *cluster, const char *subject, const char *reply,
                                    const char *const *headers, const void *data, size_t size)
{
    natsMsg *msg = NULL;
    natsStatus status = natsMsg_Create(&msg, subject, reply, data, (int)size);

    for (; *headers && status == NATS_OK; headers += 2)
        status = natsMsgHeader_Set(msg, headers[0], headers[1]);
    if (status == NATS_OK) status = natsConnection_PublishMsg(cluster->connection, msg);
    natsMsg_Destroy(msg);
    return status;
}

static int wait_for(struct async__cluster_ask *ask, const char *subject, double timeout)
{
    int code = 0;
    bool expired = false;

    if (timeout <= 0) return async_future_wait(&ask->future, NULL);
    async_timeout_scope (scope, timeout) {
        code = async_future_wait(&ask->future, NULL);
        expired = code == -ETIMEDOUT && async_scope_expired(&scope);
    }
    if (expired)
        return async__cluster_raise(-ETIMEDOUT, "request to %s: no answer in %g seconds", subject,
                                    timeout);
    return code;
}

int async__cluster_ask(async_cluster *cluster, const char *subject, const char *const *headers,
                       const void *data, size_t size, double timeout, natsMsg **result)
{
    char reply[ASYNC__CLUSTER_SUBJECT_MAX];
    struct async__cluster_ask ask = {.done = NULL};
    natsStatus status;

    *result = NULL;
    if (size > async_cluster_max_payload(cluster))
        return async__cluster_raise(-EMSGSIZE, "request to %s: %zu bytes, and the server takes %zu",
                                    subject, size, async_cluster_max_payload(cluster));
    int code = async__cluster_ask_begin(cluster, &ask, reply, sizeof reply);
    if (code < 0) return code;
    status = headers ? send_with_headers(cluster, subject, reply, headers, data, size)
                     : async__cluster_send(cluster, subject, reply, data, size);
    if (status == NATS_OK) code = wait_for(&ask, subject, timeout);
    if (!async_future_done(&ask.future)) async__cluster_ask_end(cluster, &ask);
    if (status != NATS_OK) return async__cluster_fail(cluster, status, "request to", subject);
    if (code < 0) {
        natsMsg_Destroy(ask.answer);
        if (code == -ESRCH)
            async__cluster_raise(code, "request to %s: nothing is subscribed to it", subject);
        if (code == -ECONNRESET || code == -ECONNABORTED)
            async__cluster_raise(code, "request to %s: the connection was lost", subject);
        return code;
    }
    *result = ask.answer;
    return 0;
}

/* ---- a request that cannot be asked again ---- */

struct alone {
    struct async__cluster_sub sub;
    async_event event;
};

static void alone_ready(struct async__cluster_sub *sub)
{
    async_event_set(&async__container(sub, struct alone, sub)->event);
}

static int wait_alone(async_cluster *cluster, struct alone *self, const char *subject,
                      natsMsg **result)
{
    unsigned connects = cluster->connects;
    int code = 0, got;

    while ((got = async__cluster_take(&self->sub, result)) == 0) {
        if (!cluster->connected || cluster->connects != connects)
            return async__cluster_raise(cluster->closing ? -ECONNABORTED : -ECONNRESET,
                                        "request to %s: the connection was lost", subject);
        async_event_clear(&self->event);
        code = async_event_wait(&self->event);
        if (code < 0) return code;
    }
    if (got == 1) return 0;
    return async__cluster_raise(-ESRCH, "request to %s: nothing is subscribed to it", subject);
}

int async__cluster_ask_alone(async_cluster *cluster, const char *subject, const void *data,
                             size_t size, natsMsg **result)
{
    struct alone self = {.sub.ready = alone_ready};
    natsInbox *inbox = NULL;
    int code = async_checkpoint();

    while (code == 0 && !cluster->connected) {
        code = async_event_wait(&cluster->up);
        if (code == 0) code = async__cluster_check(cluster, "request");
    }
    if (code < 0) return code;
    if (size > async_cluster_max_payload(cluster))
        return async__cluster_raise(-EMSGSIZE, "request to %s: %zu bytes, and the server takes %zu",
                                    subject, size, async_cluster_max_payload(cluster));
    if (natsInbox_Create(&inbox) != NATS_OK)
        return async__cluster_raise(-ENOMEM, "no memory for a request");
    code = async__cluster_add(cluster, &self.sub, inbox, NULL);
    if (code == 0) {
        natsStatus status = async__cluster_send(cluster, subject, inbox, data, size);
        if (status == NATS_OK)
            code = wait_alone(cluster, &self, subject, result);
        else
            code = async__cluster_fail(cluster, status, "request to", subject);
        async__cluster_remove(cluster, &self.sub);
    }
    natsInbox_Destroy(inbox);
    return code;
}
