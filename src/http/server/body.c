/* body.c - a request's body, piece by piece or as a whole.
 *
 * A body of known length is counted here. In chunks, each line of a size goes through the guard and to
 * llhttp, which says how long the chunk is, and so does the trailer. Bytes that came with the head lie
 * in the connection's `in`; beyond these data is read straight into the caller's memory. */
#include "server_internal.h"

#include <math.h>
#include <stdio.h>

#define DISCARD_MAX 65536 /* bytes of a body that the handler did not read */

/* ---- failures ---- */

static int fail(struct async_http_request *request, int code, int status, const char *what)
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

static int too_large(struct async_http_request *request)
{
    char what[80];
    snprintf(what, sizeof what, "it is larger than %llu bytes",
             (unsigned long long)request->max_body);
    return fail(request, -EMSGSIZE, 413, what);
}

static int malformed(struct async_http_request *request)
{
    return fail(request, ASYNC_EHTTP, 400, "its chunks are malformed");
}

/* What a read of the stream gave. Only a cancellation from outside does not last. */
static int failed(struct async_http_request *request, ssize_t got, bool expired)
{
    if (got == 0) return fail(request, ASYNC_EINCOMPLETE, 0, "the client ended before its end");
    if (expired) return fail(request, -ETIMEDOUT, 408, "it comes too slowly");
    if (got == -ECANCELED || got == -ETIMEDOUT) return (int)got;
    return fail(request, (int)got, 0, async_error_message());
}

/* ---- reading from the connection ---- */

/* The time that a body may take is a second more for each KiB of it, so that a slow client gets
 * through and one that sends a byte now and then does not. */
static double deadline(const struct async_http_request *request)
{
    return request->body_since + request->server->options.body_timeout +
           (double)request->body_bytes / 1024;
}

static int begin(struct async_http_request *request)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct async__http_connection *connection = request->connection;

    if (request->body_begun) return 0;
    request->body_begun = true;
    request->body_since = async_now();
    if (request->body == ASYNC__HTTP_LENGTH && request->body_left > request->max_body)
        return too_large(request);
    if (!request->expects || request->answer != ASYNC__HTTP_UNANSWERED ||
        async__buffer_size(&connection->in) > 0)
        return 0;
    int code = async__http_send(connection, go_on, sizeof go_on - 1);
    return code < 0 ? fail(request, code, 0, "the client could not be told to go on") : 0;
}

/* From the stream: how many bytes, or a code that has been raised. */
static ssize_t receive(struct async_http_request *request, void *to, size_t size)
{
    async_scope scope;
    int code = async_timeout_enter_at(&scope, deadline(request));

    if (code < 0) return code;
    ssize_t got = async_stream_read(request->connection->stream, to, size);
    bool expired = async_scope_expired(&scope);
    async_scope_leave(&scope);
    return got > 0 ? got : failed(request, got, expired && got == -ETIMEDOUT);
}

/* Up to `size` bytes of the body's data, from `in` or the stream. */
static ssize_t take(struct async_http_request *request, void *to, size_t size)
{
    struct async__buffer *in = &request->connection->in;
    size_t there = async__buffer_size(in);

    if (there == 0) return receive(request, to, size);
    if (size > there) size = there;
    memcpy(to, async__buffer_bytes(in), size);
    async__buffer_consume(in, size);
    return (ssize_t)size;
}

/* More in `in`, up to `most` bytes: 1, or a code. */
static int refill(struct async_http_request *request, size_t most)
{
    struct async__buffer *in = &request->connection->in;
    size_t there = async__buffer_size(in), step = 4096;

    if (there >= most) return malformed(request);
    if (step > most - there) step = most - there;
    if (async__buffer_reserve(in, step) < 0)
        return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a request's body");
    ssize_t got = receive(request, in->data + in->end, step);
    if (got < 0) return (int)got;
    in->end += (size_t)got;
    return 1;
}

/* ---- chunks ---- */

static int chunk_size(struct async_http_request *request)
{
    struct async__buffer *in = &request->connection->in;

    for (;;) {
        const char *line = async__buffer_bytes(in);
        size_t there = async__buffer_size(in);
        const char *end = there > 0 ? memchr(line, '\n', there) : NULL;
        if (!end && there < ASYNC__HTTP_LINE_MAX) {
            int code = refill(request, ASYNC__HTTP_LINE_MAX);
            if (code < 0) return code;
            continue;
        }
        size_t size = end ? (size_t)(end - line) + 1 : 0, digits;
        if (size > ASYNC__HTTP_LINE_MAX) size = 0;
        digits = async__http_guard_chunk(line, size);
        if (digits == 0 ||
            !async__http_parse_chunk(request->parser, line, digits, &request->body_left))
            return malformed(request);
        request->extensions += size - digits - 2;
        if (request->extensions > ASYNC__HTTP_EXTENSIONS) return malformed(request);
        async__buffer_consume(in, size);
        break;
    }
    if (request->body_left > request->max_body - request->body_bytes) return too_large(request);
    request->chunk = request->body_left > 0 ? ASYNC__HTTP_CHUNK_DATA : ASYNC__HTTP_TRAILER;
    return 1;
}

static int chunk_end(struct async_http_request *request)
{
    struct async__buffer *in = &request->connection->in;

    while (async__buffer_size(in) < 2) {
        int code = refill(request, 2);
        if (code < 0) return code;
    }
    if (memcmp(async__buffer_bytes(in), "\r\n", 2) != 0 ||
        !async__http_parse_data(request->parser, "\r\n", 2))
        return malformed(request);
    async__buffer_consume(in, 2);
    request->chunk = ASYNC__HTTP_CHUNK_SIZE;
    return 1;
}

/* The trailer's fields are few: a copy of their lines is the request's. */
static int keep_trailer(struct async_http_request *request, size_t size, int count)
{
    struct async__buffer *in = &request->connection->in;
    struct async__http_fields *fields = &request->trailers;
    char *copy = async__http_request_alloc(request, size);

    fields->at = async__http_request_alloc(request, ((size_t)count + 1) * sizeof *fields->at);
    if (!copy || !fields->at) return -ENOMEM;
    fields->capacity = count;
    memcpy(copy, async__buffer_bytes(in), size);
    if (!async__http_parse_trailer(request->parser, fields, copy, size)) return malformed(request);
    async__buffer_consume(in, size);
    request->body_done = true;
    return 1;
}

static int trailer(struct async_http_request *request)
{
    struct async__buffer *in = &request->connection->in;
    size_t most = request->server->options.max_head;
    struct async__http_guard guard = {0};
    const char *why;

    for (;;) {
        ssize_t size = async__http_guard_trailer(&guard, async__buffer_bytes(in),
                                                 async__buffer_size(in), &why);
        if (size < 0 || guard.lines > request->server->options.max_headers)
            return malformed(request);
        if (size > 0) return keep_trailer(request, (size_t)size, guard.lines);
        int code = refill(request, most);
        if (code < 0) return code;
    }
}

/* Goes to the next chunk's data: 1; 0 at the body's end; a code. */
static int next_chunk(struct async_http_request *request)
{
    int code = 1;

    while (code > 0 && request->chunk != ASYNC__HTTP_CHUNK_DATA && !request->body_done) {
        switch (request->chunk) {
        case ASYNC__HTTP_CHUNK_SIZE: code = chunk_size(request); break;
        case ASYNC__HTTP_CHUNK_END: code = chunk_end(request); break;
        default: code = trailer(request); break;
        }
    }
    return code > 0 && request->body_done ? 0 : code;
}

/* ---- what handlers call ---- */

static ssize_t read_some(struct async_http_request *request, void *buffer, size_t size)
{
    if (request->body == ASYNC__HTTP_NO_BODY || request->body_done) return 0;
    if (request->body_code < 0) return again(request);
    if (request->answer == ASYNC__HTTP_UPGRADED) return 0;
    int code = begin(request);
    if (code == 0 && request->body == ASYNC__HTTP_CHUNKS) {
        code = next_chunk(request);
        if (code == 0) return 0;
    }
    if (code < 0) return code;
    if (size > request->body_left) size = (size_t)request->body_left;
    ssize_t got = take(request, buffer, size);
    if (got < 0) return got;
    request->body_left -= (uint64_t)got;
    request->body_bytes += (uint64_t)got;
    if (request->body == ASYNC__HTTP_LENGTH) {
        request->body_done = request->body_left == 0;
    } else {
        if (!async__http_parse_data(request->parser, buffer, (size_t)got))
            return malformed(request);
        if (request->body_left == 0) request->chunk = ASYNC__HTTP_CHUNK_END;
    }
    return got;
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
