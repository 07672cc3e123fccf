/* request.c - a stream's head becomes a request, as it would have been in HTTP/1.
 *
 * nghttp2 has checked what RFC 9113, 8 asks of names, values and pseudo-headers. */
#include "http2_internal.h"

#include <errno.h>
#include <stdlib.h>

static int find_pseudo(const char *name, size_t size)
{
    static const char *const names[] = {":method", ":path", ":authority"};

    for (int i = 0; i < ASYNC__HTTP2_PSEUDOS; i++)
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0) return i;
    return -1; /* :scheme */
}

/* What is limited is counted as SETTINGS_MAX_HEADER_LIST_SIZE is. */
static bool is_too_large(struct async__http2_stream *stream, size_t name_size, size_t value_size,
                         int count)
{
    const async_http_server_options *options = &stream->request->server->options;

    stream->head_size += name_size + value_size + 32;
    return stream->head_size > options->max_head || count >= options->max_headers;
}

int async__http2_add_header(struct async__http2_stream *stream, const char *name, size_t name_size,
                            const char *value, size_t value_size)
{
    struct async_http_request *request = stream->request;
    struct async__http_fields *fields = &request->head.fields;
    struct async__buffer *bytes = &request->head_bytes;

    if (stream->status != 0 || is_too_large(stream, name_size, value_size, fields->count)) {
        stream->status = 431; /* the rest is read, since the table of names goes on with it */
        return 0;
    }
    size_t at = bytes->end;
    if (async__buffer_reserve(bytes, name_size + value_size + 2) < 0) return -ENOMEM;
    async__buffer_append(bytes, name, name_size);
    async__buffer_append(bytes, "", 1);
    size_t value_at = bytes->end;
    async__buffer_append(bytes, value, value_size);
    async__buffer_append(bytes, "", 1);
    if (*name == ':') {
        int pseudo = find_pseudo(name, name_size);
        if (pseudo >= 0) stream->pseudo[pseudo] = value_at + 1;
        return 0;
    }
    fields->at[fields->count++] =
        (struct async__http_field){(char *)(uintptr_t)at, (char *)(uintptr_t)value_at};
    return 0;
}

int async__http2_add_trailer(struct async__http2_stream *stream, const char *name, size_t name_size,
                             const char *value, size_t value_size)
{
    struct async_http_request *request = stream->request;
    struct async__http_fields *fields = &request->trailers;

    if (*name == ':' || is_too_large(stream, name_size, value_size, fields->count))
        return -EMSGSIZE;
    if (!fields->at) {
        int capacity = request->server->options.max_headers;
        fields->at = async__http_request_alloc(request, (size_t)capacity * sizeof *fields->at);
        if (!fields->at) return -ENOMEM;
        fields->capacity = capacity;
    }
    char *copy = async__http_request_alloc(request, name_size + value_size + 2);
    if (!copy) return -ENOMEM;
    struct async__http_field field = {copy, copy + name_size + 1};
    memcpy(field.name, name, name_size);
    field.name[name_size] = '\0';
    memcpy(field.value, value, value_size);
    field.value[value_size] = '\0';
    fields->at[fields->count++] = field;
    return 0;
}

static const char *pseudo(const struct async__http2_stream *stream, enum async__http2_pseudo which)
{
    size_t at = stream->pseudo[which];
    return at > 0 ? stream->request->head_bytes.data + at - 1 : NULL;
}

/* RFC 9113, 8.2.3: a client may have divided its cookies. */
static int join_cookies(struct async_http_request *request)
{
    struct async__http_fields *fields = &request->head.fields;
    size_t size = 0;
    int count = 0, first = 0, to;

    for (int i = fields->count - 1; i >= 0; i--) {
        if (!async__http_same_name(fields->at[i].name, "cookie")) continue;
        size += strlen(fields->at[i].value) + 2;
        first = i;
        count++;
    }
    if (count < 2) return 0;
    char *joined = async__http_request_alloc(request, size), *at = joined;
    if (!joined) return 500;
    to = first;
    for (int i = first; i < fields->count; i++) {
        if (!async__http_same_name(fields->at[i].name, "cookie")) {
            fields->at[to++] = fields->at[i];
            continue;
        }
        if (i == first)
            to++;
        else
            at = mempcpy(at, "; ", 2);
        at = stpcpy(at, fields->at[i].value);
    }
    fields->at[first].value = joined;
    fields->count = to;
    return 0;
}

/* The host stands in :authority, in Host, or in both, and then is the same. */
static int set_host(struct async__http2_stream *stream)
{
    struct async__http_fields *fields = &stream->request->head.fields;
    const char *authority = pseudo(stream, ASYNC__HTTP2_AUTHORITY);
    const char *host = async__http_field(fields, "host");

    if (!authority) return 0;
    if (host) return async__http_same(host, authority) ? 0 : 400;
    if (fields->count == fields->capacity) return 431;
    fields->at[fields->count++] = (struct async__http_field){(char *)"host", (char *)authority};
    return 0;
}

static void set_length(struct async_http_request *request, bool ends)
{
    const char *length = async__http_field(&request->head.fields, "content-length");

    if (ends) return;
    request->body = length ? ASYNC__HTTP_LENGTH : ASYNC__HTTP_CHUNKS;
    if (length) request->body_left = strtoull(length, NULL, 10); /* nghttp2 has checked it */
}

int async__http2_end_head(struct async__http2_stream *stream, bool ends)
{
    struct async_http_request *request = stream->request;
    struct async__http_fields *fields = &request->head.fields;
    const char *method, *path, *why;

    for (int i = 0; i < fields->count; i++) {
        fields->at[i].name = request->head_bytes.data + (uintptr_t)fields->at[i].name;
        fields->at[i].value = request->head_bytes.data + (uintptr_t)fields->at[i].value;
    }
    method = pseudo(stream, ASYNC__HTTP2_METHOD);
    path = pseudo(stream, ASYNC__HTTP2_PATH);
    request->head.method = method ? method : "";
    request->head.target = path ? path : ""; /* CONNECT has none */
    set_length(request, ends);
    int status = stream->status;
    if (status == 0) status = set_host(stream);
    if (status == 0) status = join_cookies(request);
    return status == 0 ? async__http_judge_request(request, &why) : status;
}
