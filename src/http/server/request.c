/* request.c - what handlers ask of a request, and its memory. */
#include "server_internal.h"

int async__http_raise_null(const char *what)
{
    return async_raise_at(NULL, 0, NULL, -EBADF, "HTTP: the %s is NULL", what);
}

void *async__http_request_alloc(struct async_http_request *request, size_t size)
{
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (size <= request->room) {
        request->room -= size;
        return request->memory + request->room;
    }
    struct async__http_block *block = async__alloc(sizeof *block + size);
    if (!block) {
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a request");
        return NULL;
    }
    block->next = request->blocks;
    request->blocks = block;
    return block->data;
}

const char *async_http_request_method(const struct async_http_request *request)
{
    return request ? request->head.method : NULL;
}

const char *async_http_request_path(const struct async_http_request *request)
{
    return request ? request->path : NULL;
}

const char *async_http_request_target(const struct async_http_request *request)
{
    return request ? request->head.target : NULL;
}

const char *async_http_request_version(const struct async_http_request *request)
{
    if (!request) return NULL;
    if (request->framing->version) return request->framing->version;
    return request->head.minor == 0 ? "1.0" : "1.1";
}

const char *async_http_request_host(const struct async_http_request *request)
{
    return request ? request->host : NULL;
}

const char *async_http_request_peer(struct async_http_request *request)
{
    if (!request) return NULL;
    struct async__http_connection *connection = request->connection;
    if (!connection->peer_known &&
        async_stream_peername(connection->stream, connection->peer, sizeof connection->peer) < 0)
        connection->peer[0] = '\0';
    connection->peer_known = true;
    return connection->peer;
}

const char *async_http_request_header(const struct async_http_request *request, const char *name)
{
    return request && name ? async__http_field(&request->head.fields, name) : NULL;
}

size_t async_http_request_header_count(const struct async_http_request *request)
{
    return request ? (size_t)request->head.fields.count : 0;
}

bool async_http_request_header_at(const struct async_http_request *request, size_t index,
                                  const char **name, const char **value)
{
    if (index >= async_http_request_header_count(request)) return false;
    if (name) *name = request->head.fields.at[index].name;
    if (value) *value = request->head.fields.at[index].value;
    return true;
}

const char *async_http_param(const struct async_http_request *request, const char *name)
{
    if (!request || !name) return NULL;
    for (int i = 0; i < request->param_count; i++)
        if (strcmp(request->params[i].name, name) == 0) return request->params[i].value;
    return NULL;
}

const char *async_http_query(struct async_http_request *request, const char *name)
{
    return request && name ? async__http_pick(request, request->query, name) : NULL;
}

/* "a=1; b=2": in each of the headers. */
const char *async_http_cookie(struct async_http_request *request, const char *name)
{
    if (!request || !name) return NULL;
    size_t length = strlen(name);
    for (int i = 0; i < request->head.fields.count; i++) {
        const struct async__http_field *field = &request->head.fields.at[i];
        if (!async__http_same_name(field->name, "Cookie")) continue;
        for (const char *at = field->value; *at;) {
            at += strspn(at, "; \t");
            size_t size = strcspn(at, ";"), key = strcspn(at, "=;");
            if (key == length && at[key] == '=' && memcmp(at, name, length) == 0) {
                char *value = async__http_request_alloc(request, size - key);
                if (!value) return NULL;
                memcpy(value, at + key + 1, size - key - 1);
                value[size - key - 1] = '\0';
                return value;
            }
            at += size;
        }
    }
    return NULL;
}

const char *async_http_form(struct async_http_request *request, const char *name)
{
    static const char form[] = "application/x-www-form-urlencoded";

    if (!request || !name) return NULL;
    const char *type = async_http_request_header(request, "Content-Type");
    size_t size = sizeof form - 1;
    if (!type || !async__http_begins(type, form) || (type[size] && !strchr("; \t", type[size])))
        return NULL;
    const char *body = async_http_request_read(request, NULL);
    if (!body) async_block_fail(async_error_code());
    return async__http_pick(request, body, name);
}

void async_http_request_set_data(struct async_http_request *request, void *data)
{
    if (request) request->data = data;
}

void *async_http_request_data(const struct async_http_request *request)
{
    return request ? request->data : NULL;
}

async_stream *async_http_request_stream(const struct async_http_request *request)
{
    return request ? request->connection->stream : NULL;
}
