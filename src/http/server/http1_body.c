/* http1_body.c - a request's body in HTTP/1.
 *
 * A body of known length is counted. In chunks, each line of a size goes through the guard and to
 * llhttp, which says how long the chunk is, and so does the trailer. Bytes that came with the head lie
 * in the connection's `in`; beyond these data is read straight into the caller's memory. */
#include "server_internal.h"

/* ---- reading from the connection ---- */

static int malformed(struct async_http_request *request)
{
    return async__http_body_fail(request, ASYNC_EHTTP, 400, "its chunks are malformed");
}

/* From the stream: how many bytes, or a code that has been raised. */
static ssize_t receive(struct async_http_request *request, void *to, size_t size)
{
    async_scope scope;
    int code = async_timeout_enter_at(&scope, async__http_body_deadline(request));

    if (code < 0) return code;
    ssize_t got = async_stream_read(request->connection->stream, to, size);
    bool expired = async_scope_expired(&scope);
    async_scope_leave(&scope);
    if (got > 0) return got;
    return async__http_body_failed(request, got, expired && got == -ETIMEDOUT);
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
    if (request->body_left > request->max_body - request->body_bytes)
        return async__http_body_too_large(request);
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

/* ---- what the framing calls ---- */

int async__http1_go_on(struct async_http_request *request)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (async__buffer_size(&request->connection->in) > 0) return 0; /* it has not waited */
    return async__http1_send(request->connection, go_on, sizeof go_on - 1);
}

ssize_t async__http1_recv(struct async_http_request *request, void *buffer, size_t size)
{
    if (request->body == ASYNC__HTTP_CHUNKS) {
        int code = next_chunk(request);
        if (code <= 0) return code;
    }
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
