/* store.c - JetStream: what is stored, and asked for again.
 *
 * A message is stored by a request to its subject; the stream answers with JSON that has a few numbers and
 * words in known places. */
#include "cluster_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_TIMEOUT 5.0 /* seconds after which a request is sent again */
#define NO_STREAM_WAIT 0.1
/* Questions for a stream that a server has not are answered by nothing at all: attempts, of ANSWER_TIMEOUT each. */
#define SILENCE_PATIENCE 4
/* Of several servers one may not have yet what the others have stored: attempts to read it, and seconds between them. */
#define STORED_PATIENCE 10
#define STORED_WAIT 0.05

/* The number behind "name": in flat JSON; 0 if there is none. */
uint64_t async__cluster_number(const char *text, const char *name)
{
    char key[40];
    const char *at;

    snprintf(key, sizeof key, "\"%s\":", name);
    at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* The text behind "name":, without what would have to be unescaped. */
static void words(const char *text, const char *name, char *to, size_t size)
{
    char key[40];
    size_t used = 0;

    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = strstr(text, key);
    for (at = at ? at + strlen(key) : ""; *at && *at != '"' && used + 1 < size; at++)
        to[used++] = *at;
    to[used] = 0;
}

/* Up to a character that is none of base64's; how many bytes. */
static size_t from_base64(const char *text, char *to, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *digit;
    size_t used = 0;
    unsigned bits = 0, count = 0;

    for (; *text && (digit = strchr(digits, *text)) && used < size; text++) {
        bits = bits << 6 | (unsigned)(digit - digits);
        count += 6;
        if (count < 8) continue;
        count -= 8;
        to[used++] = (char)(bits >> count);
    }
    return used;
}

bool async__cluster_has_id(natsMsg *answer, const char *id)
{
    char encoded[512], headers[384], line[160];

    words(natsMsg_GetData(answer), "hdrs", encoded, sizeof encoded);
    headers[from_base64(encoded, headers, sizeof headers - 1)] = 0;
    snprintf(line, sizeof line, "Nats-Msg-Id: %s\r\n", id);
    return strstr(headers, line) != NULL;
}

static int refused(const char *subject, const char *text)
{
    char description[160];
    uint64_t error = async__cluster_number(text, "err_code");
    int code = -EIO;

    words(text, "description", description, sizeof description);
    switch (error) {
    /* "maximum messages exceeded" and "maximum bytes exceeded", among others */
    case JSStreamStoreFailedErr: code = strstr(description, "maximum ") ? -EAGAIN : -EIO; break;
    case JSStreamWrongLastSequenceErr: code = -ESTALE; break;
    case JSStreamMessageExceedsMaximumErr: code = -EMSGSIZE; break;
    case JSInsufficientResourcesErr:
    case JSStorageResourcesExceededErr:
    case JSMemoryResourcesExceededErr: code = -ENOSPC; break;
    default: break;
    }
    return async__cluster_raise(code, "store %s: %s", subject, description);
}

/* Whether a request that failed so is to be sent again, once there is a connection. */
static int try_again(async_cluster *cluster, int code, double end, int *silences)
{
    bool lost = code == -ECONNRESET || code == -ENOBUFS;

    if (code == -ESRCH && async_now() < end) {
        code = async_sleep(NO_STREAM_WAIT);
    } else if (lost || (code == -ETIMEDOUT && !cluster->connected)) {
        code = async_event_wait(&cluster->up);
        if (code == 0) code = async__cluster_check(cluster, "store");
    } else if (code == -ETIMEDOUT && ++*silences < SILENCE_PATIENCE) {
        code = async_checkpoint(); /* it may be a scope's, which says so again */
    }
    return code;
}

static int ask_until(async_cluster *cluster, const char *subject, const char *const *headers,
                     const void *data, size_t size, natsMsg **answer)
{
    double end = async_now() + ASYNC__CLUSTER_PATIENCE;
    int code, silences = 0;

    do {
        code = async__cluster_check(cluster, "store");
        if (code == 0)
            code =
                async__cluster_ask(cluster, subject, headers, data, size, ANSWER_TIMEOUT, answer);
        if (code == 0) return 0;
        code = try_again(cluster, code, end, &silences);
    } while (code == 0);
    return code;
}

int async__cluster_store(async_cluster *cluster, const char *subject, const char *const *headers,
                         const void *data, size_t size, uint64_t *sequence)
{
    natsMsg *answer;
    int code = ask_until(cluster, subject, headers, data, size, &answer);

    if (code == -ESRCH)
        return async__cluster_raise(-ENODEV, "store %s: no stream takes it", subject);
    if (code < 0) return code;
    const char *text = natsMsg_GetData(answer);
    if (strstr(text, "\"error\":")) {
        code = refused(subject, text);
    } else {
        if (sequence) *sequence = async__cluster_number(text, "seq");
    }
    natsMsg_Destroy(answer);
    return code;
}

int async__cluster_last(async_cluster *cluster, const char *stream, const char *subject,
                        natsMsg **msg)
{
    char request[ASYNC__CLUSTER_SUBJECT_MAX + 64];

    snprintf(request, sizeof request, "$JS.API.DIRECT.GET.%s.%s", stream, subject);
    int code = ask_until(cluster, request, NULL, NULL, 0, msg);
    if (code == -ESRCH) return async__cluster_raise(-ENODEV, "get %s: no stream has it", subject);
    if (code < 0) return code;
    int status = async__cluster_status(*msg);
    if (status == 0) return 0;
    natsMsg_Destroy(*msg);
    *msg = NULL;
    if (status == 404) return 0;
    return async__cluster_raise(-EIO, "get %s: the server answers with status %d", subject, status);
}

int async__cluster_stored(async_cluster *cluster, const char *stream, const char *subject,
                          natsMsg **msg)
{
    int code = async__cluster_last(cluster, stream, subject, msg);

    for (int i = 1; i < STORED_PATIENCE && code == 0 && !*msg; i++) {
        code = async_sleep(STORED_WAIT);
        if (code == 0) code = async__cluster_last(cluster, stream, subject, msg);
    }
    return code;
}

/* ---- consumers ---- */

natsStatus async__cluster_pull(async_cluster *cluster, const char *stream, const char *consumer,
                               const char *inbox, unsigned count, double wait)
{
    char subject[ASYNC__CLUSTER_SUBJECT_MAX], text[96];

    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, consumer);
    if (wait > 0)
        snprintf(text, sizeof text, "{\"batch\":%u,\"expires\":%lld}", count,
                 (long long)(wait * 1e9));
    else
        snprintf(text, sizeof text, "{\"batch\":%u,\"no_wait\":true}", count);
    return async__cluster_send(cluster, subject, inbox, text, strlen(text));
}

/* "$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<nth>.<time>.<pending>", and with a
 * domain another word at the end. */
bool async__cluster_delivery(natsMsg *msg, struct async__cluster_delivery *delivery)
{
    const char *reply = natsMsg_GetReply(msg), *starts[16];
    size_t count = 0;

    if (!reply || strncmp(reply, "$JS.ACK.", 8) != 0) return false;
    for (const char *at = reply; at && count < 16;
         at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
        starts[count++] = at;
    if (count < 9) return false;
    size_t first = count == 9 ? 4 : 6;
    delivery->deliveries = strtoull(starts[first], NULL, 10);
    delivery->sequence = strtoull(starts[first + 1], NULL, 10);
    delivery->pending = strtoull(starts[first + 4], NULL, 10);
    return true;
}
