/* receive.c - curl's callbacks for data: header lines, pieces of the body, what is to be
 * uploaded.
 *
 * curl calls these from inside of itself, on the loop's stack, or, where a paused transfer is
 * let go on, on a task's. They copy, set the response's event, and never block. A header block
 * is kept until the next one begins, so that in the end the final response's is left; those of
 * redirects and of 1xx are known by their status. */
#include "http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int async__http_reserve(struct async__http_buffer *buffer, size_t size)
{
    size_t need, capacity = buffer->capacity ? buffer->capacity : 256;

    if (__builtin_add_overflow(buffer->length, size, &need)) return -ENOMEM;
    if (need <= buffer->capacity) return 0;
    if (__builtin_mul_overflow(capacity, 2, &capacity)) return -ENOMEM;
    if (capacity < need) capacity = need;
    void *data = async__realloc(buffer->data, capacity);
    if (!data) return -ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

/* ---- headers ---- */

/* The text and a 0 byte. */
static int keep(struct async__http_buffer *heads, const char *text, size_t length)
{
    if (heads->length + length > ASYNC__HTTP_HEADERS_MAX) return ASYNC_EHTTP;
    if (async__http_reserve(heads, length + 1) < 0) return -ENOMEM;
    memcpy(heads->data + heads->length, text, length);
    heads->data[heads->length + length] = 0;
    heads->length += length + 1;
    return 0;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void trim(const char **text, size_t *length)
{
    while (*length && is_space(**text)) {
        ++*text;
        --*length;
    }
    while (*length && is_space((*text)[*length - 1]))
        --*length;
}

/* "HTTP/1.1 200 OK" or "HTTP/2 200": curl has looked at it already. */
static int begin_block(async_http_response *response, const char *line, size_t length)
{
    size_t at = sizeof "HTTP/" - 1, version = 0;

    response->heads.length = response->index.length = 0;
    response->status = 0;
    response->content_length = 0;
    response->receiving = true;
    response->redirects = response->is_header = false;
    for (; at < length && line[at] != ' ' && version + 1 < sizeof response->version; at++)
        response->version[version++] = line[at];
    response->version[version] = 0;
    while (at < length && line[at] == ' ')
        at++;
    for (int digits = 0; digits < 3 && at < length && line[at] >= '0' && line[at] <= '9'; digits++)
        response->status = response->status * 10 + line[at++] - '0';

    const char *reason = line + at;
    length -= at;
    trim(&reason, &length);
    return keep(&response->heads, reason, length);
}

/* A line that begins with a blank goes on with the value before it (RFC 9112, 5.2). */
static int continue_value(async_http_response *response, const char *line, size_t length)
{
    struct async__http_buffer *heads = &response->heads;

    if (!response->is_header) return 0;
    trim(&line, &length);
    if (async__http_reserve(heads, 1) < 0) return -ENOMEM;
    heads->data[heads->length - 1] = ' ';
    return keep(heads, line, length);
}

static int add_header(async_http_response *response, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    uint32_t begin = (uint32_t)response->heads.length;

    response->is_header = colon != NULL;
    if (!colon) return 0;
    const char *name = line, *value = colon + 1;
    size_t name_length = (size_t)(colon - line), value_length = length - name_length - 1;
    trim(&name, &name_length);
    trim(&value, &value_length);

    if (async__http_reserve(&response->index, sizeof begin) < 0) return -ENOMEM;
    int code = keep(&response->heads, name, name_length);
    if (code == 0) code = keep(&response->heads, value, value_length);
    if (code < 0) return code;
    memcpy(response->index.data + response->index.length, &begin, sizeof begin);
    response->index.length += sizeof begin;

    name = response->heads.data + begin;
    value = name + name_length + 1;
    if (name_length == 8 && strcasecmp(name, "Location") == 0)
        response->redirects = value_length > 0;
    else if (name_length == 14 && strcasecmp(name, "Content-Length") == 0)
        response->content_length = strtoull(value, NULL, 10);
    return 0;
}

/* curl follows what is 3xx and has a Location; it does not call that final, and neither do we. */
static void end_block(async_http_response *response)
{
    int status = response->status;

    response->receiving = false;
    if (status < 200) return;
    if (response->follow && response->redirects && status < 400 && status >= 300) {
        /* curl would keep a method that it was told in words; with 303 what follows is a GET. */
        if (status == 303) curl_easy_setopt(response->easy, CURLOPT_CUSTOMREQUEST, NULL);
        return;
    }
    response->headers_done = true;
    async_event_set(&response->changed);
}

size_t async__http_on_header(char *line, size_t size, size_t count, void *data)
{
    async_http_response *response = data;
    size_t length = size * count;
    int code = 0;

    if (response->headers_done) return length; /* trailers, which aiohttp drops too */
    if (!response->receiving)
        code = begin_block(response, line, length);
    else if (line[0] == '\r' || line[0] == '\n')
        end_block(response);
    else if (line[0] == ' ' || line[0] == '\t')
        code = continue_value(response, line, length);
    else
        code = add_header(response, line, length);
    if (code == 0) return length;
    response->doom = code;
    if (code == ASYNC_EHTTP) response->why = "its headers are too large";
    return 0;
}

/* ---- the body ---- */

/* A body whose length is known gets its buffer at once, but no more than is kept anyhow: a
 * server can promise much. */
static size_t room_for(const async_http_response *response, size_t size)
{
    uint64_t length = response->content_length;

    if (response->filling.length > 0 || length <= size) return size + 1;
    return length < ASYNC__HTTP_KEPT ? (size_t)length + 1 : ASYNC__HTTP_KEPT;
}

size_t async__http_on_body(char *data, size_t size, size_t count, void *context)
{
    async_http_response *response = context;
    struct async__http_buffer *filling = &response->filling;
    size_t max = response->session->max_body;

    size *= count;
    if (!response->whole && filling->length >= ASYNC__HTTP_KEPT) {
        response->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (response->whole && max && filling->length + size > max) {
        response->doom = -EMSGSIZE;
        response->why = ASYNC__HTTP_TOO_LARGE;
        return size + 1;
    }
    if (async__http_reserve(filling, room_for(response, size)) < 0) {
        response->doom = -ENOMEM;
        return size + 1;
    }
    memcpy(filling->data + filling->length, data, size);
    filling->length += size;
    if (!response->whole) async_event_set(&response->changed);
    return size;
}

/* ---- a large request body ---- */

size_t async__http_on_upload(char *data, size_t size, size_t count, void *context)
{
    async_http_response *response = context;
    size_t left = response->upload_size - response->upload_at;

    size *= count;
    if (size > left) size = left;
    if (size == 0) return 0;
    if (response->upload_copy)
        memcpy(data, response->upload_copy + (response->upload_at - response->upload_from), size);
    else
        memcpy(data, response->upload + response->upload_at, size);
    response->upload_at += size;
    return size;
}

/* For a redirect that keeps the body, or a connection that died before the answer: both before the
 * headers have come, and so before the copy. */
int async__http_on_rewind(void *context, curl_off_t offset, int origin)
{
    async_http_response *response = context;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > response->upload_size ||
        response->upload_copy)
        return CURL_SEEKFUNC_FAIL;
    response->upload_at = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}
