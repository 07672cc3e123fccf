/* body.c - a request's body, piece by piece or as a whole, whatever its framing. */
#include "server_internal.h"

#include <math.h>
#include <stdio.h>

#define DISCARD_MAX 65536 /* bytes of a body that the handler did not read */

/* ---- failures ---- */

int async__http_body_fail(struct async_http_request *request, int code, int status,
                          const char *what)
{
    async_raise_at(NULL, 0, NULL, code, "the body of %s %s: %s", request->head.method,
                   request->head.target, what);
    if (request->body_code < 0) return code;
    request->body_code = code;
    request->body_status = status;
    return code;
}

static int again(struct async_http_request *request)
{
    return async_raise_at(NULL, 0, NULL, request->body_code,
                          "the body of %s %s has failed to be read before", request->head.method,
                          request->head.target);
}

int async__http_body_too_large(struct async_http_request *request)
{
    char what[80];
    snprintf(what, sizeof what, "it is larger than %llu bytes",
             (unsigned long long)request->max_body);
    return async__http_body_fail(request, -EMSGSIZE, 413, what);
}

int async__http_body_failed(struct async_http_request *request, ssize_t got, bool expired)
{
    if (got == 0)
        return async__http_body_fail(request, ASYNC_EINCOMPLETE, 0,
                                     "the client ended before its end");
    if (expired) return async__http_body_fail(request, -ETIMEDOUT, 408, "it comes too slowly");
    if (got == -ECANCELED || got == -ETIMEDOUT) return (int)got;
    return async__http_body_fail(request, (int)got, 0, async_error_message());
}

/* The time that a body may take is a second more for each KiB of it, so that a slow client gets
 * through and one that sends a byte now and then does not. */
double async__http_body_deadline(const struct async_http_request *request)
{
    return request->body_since + request->server->options.body_timeout +
           (double)request->body_bytes / 1024;
}

static int begin(struct async_http_request *request)
{
    if (request->body_begun) return 0;
    request->body_begun = true;
    request->body_since = async_now();
    if (request->body == ASYNC__HTTP_LENGTH && request->body_left > request->max_body)
        return async__http_body_too_large(request);
    if (!request->expects || request->answer != ASYNC__HTTP_UNANSWERED) return 0;
    int code = request->framing->go_on(request);
    if (code == 0) return 0;
    return async__http_body_fail(request, code, 0, "the client could not be told to go on");
}

/* ---- what handlers call ---- */

static ssize_t read_some(struct async_http_request *request, void *buffer, size_t size)
{
    if (request->body == ASYNC__HTTP_NO_BODY || request->body_done) return 0;
    if (request->body_code < 0) return again(request);
    if (request->answer == ASYNC__HTTP_UPGRADED) return 0;
    int code = begin(request);
    return code < 0 ? code : request->framing->recv(request, buffer, size);
}

ssize_t async_http_request_recv(struct async_http_request *request, void *buffer, size_t size)
{
    if (!request) return async__http_raise_null("request");
    int code = async_checkpoint();
    if (code < 0 || size == 0) return code;
    return read_some(request, buffer, size);
}

static int read_whole(struct async_http_request *request)
{
    struct async__buffer *whole = &request->whole;
    ssize_t got;

    do {
        uint64_t more = request->body == ASYNC__HTTP_CHUNKS ? 4096 : request->body_left + 2;
        if (more > 65536) more = 65536; /* what has been announced need not come */
        if (async__buffer_room(whole) < 2 && async__buffer_reserve(whole, (size_t)more) < 0)
            return -ENOMEM;
        got = read_some(request, whole->data + whole->end, async__buffer_room(whole) - 1);
        if (got > 0) whole->end += (size_t)got;
    } while (got > 0);
    return (int)got;
}

const void *async_http_request_read(struct async_http_request *request, size_t *size)
{
    if (!request) {
        async__http_raise_null("request");
        return NULL;
    }
    if (!request->is_whole) {
        int code = async_checkpoint();
        if (code == 0) code = read_whole(request);
        if (code == -ENOMEM) async_raise_at(NULL, 0, NULL, code, "no memory for a request's body");
        if (code < 0) return NULL;
        request->whole.data[request->whole.end] = '\0';
        request->is_whole = true;
    }
    if (size) *size = async__buffer_size(&request->whole);
    return async__buffer_bytes(&request->whole);
}

int async_http_set_max_body(struct async_http_request *request, uint64_t limit)
{
    if (!request) return async__http_raise_null("request");
    request->max_body = limit;
    return 0;
}

const char *async_http_request_trailer(const struct async_http_request *request, const char *name)
{
    return request && name ? async__http_field(&request->trailers, name) : NULL;
}

/* ---- the rest of a body ---- */

bool async__http_discard_body(struct async_http_request *request)
{
    char piece[4096];
    ssize_t got = 1;

    if (request->body == ASYNC__HTTP_NO_BODY || request->body_done) return true;
    /* A client that waits for 100-continue may send the body or not: what comes next is not known. */
    if (request->expects && !request->body_begun) return false;
    if (request->body_code < 0) return false;
    if (request->body == ASYNC__HTTP_LENGTH && request->body_left > DISCARD_MAX) return false;
    request->max_body = request->body_bytes + DISCARD_MAX;
    while (got > 0)
        got = read_some(request, piece, sizeof piece);
    return got == 0 && request->body_done;
}
