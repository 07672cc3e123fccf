/* head.c - what a request's head says: of the message's length, of the connection, of the target.
 *
 * The fields are as llhttp found them. How long the message is must be beyond doubt: one
 * Content-Length of digits, or one Transfer-Encoding that is "chunked", or neither; and what llhttp
 * has made of it must be the same. */
#include "server_internal.h"

#include <stdlib.h>

/* ---- lists ---- */

bool async__http_list_next(const char **list, const char **item, size_t *size)
{
    const char *at = *list;

    while (*at == ' ' || *at == '\t' || *at == ',')
        at++;
    if (!*at) return false;
    *item = at;
    *size = strcspn(at, ",");
    *list = at + *size;
    while (*size > 0 && ((*item)[*size - 1] == ' ' || (*item)[*size - 1] == '\t'))
        --*size;
    return true;
}

static inline int lower(char c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; }

bool async__http_begins(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if (lower(*text) != lower(*prefix)) return false;
    return true;
}

bool async__http_same(const char *a, const char *b)
{
    return async__http_begins(a, b) && !a[strlen(b)];
}

bool async__http_list_has(const char *list, const char *item)
{
    const char *at;
    size_t size, length = strlen(item);

    while (async__http_list_next(&list, &at, &size))
        if (size == length && async__http_begins(at, item)) return true;
    return false;
}

/* ---- the fields ---- */

/* What is asked of the fields: the first of each name, and how many there are. */
struct marked {
    const char *length, *coding, *host, *expect;
    int lengths, codings, hosts;
    bool close, keep;
};

static void mark(const char **value, int *count, const char *found)
{
    if ((*count)++ == 0) *value = found;
}

/* All in one go: most names differ from these in their first letter. */
static struct marked find_marked(const struct async__http_fields *fields)
{
    struct marked found = {0};

    for (int i = 0; i < fields->count; i++) {
        const char *name = fields->at[i].name, *value = fields->at[i].value;
        switch (*name | 32) {
        case 'c':
            if (async__http_same(name, "Content-Length"))
                mark(&found.length, &found.lengths, value);
            else if (async__http_same(name, "Connection")) {
                found.close |= async__http_list_has(value, "close");
                found.keep |= async__http_list_has(value, "keep-alive");
            }
            break;
        case 'e':
            if (!found.expect && async__http_same(name, "Expect")) found.expect = value;
            break;
        case 'h':
            if (async__http_same(name, "Host")) mark(&found.host, &found.hosts, value);
            break;
        case 't':
            if (async__http_same(name, "Transfer-Encoding"))
                mark(&found.coding, &found.codings, value);
            break;
        default: break;
        }
    }
    return found;
}

/* ---- the length ---- */

static int judge_length(struct async_http_request *request, const struct marked *marked,
                        const char **why)
{
    const char *length = marked->length, *coding = marked->coding;

    *why = "there are several Content-Length headers";
    if (marked->lengths > 1) return 400;
    *why = "there are several Transfer-Encoding headers";
    if (marked->codings > 1) return 400;
    bool chunked = async__http_parser_chunked(request->parser);

    if (coding) {
        *why = "there are both Transfer-Encoding and Content-Length";
        if (length) return 400;
        *why = "Transfer-Encoding is not for HTTP/1.0";
        if (request->head.minor == 0) return 400;
        *why = "the Transfer-Encoding is not \"chunked\"";
        if (!async__http_same(coding, "chunked") || !chunked) return 400;
        request->body = ASYNC__HTTP_CHUNKS;
        return 0;
    }
    *why = "the Content-Length is malformed";
    if (chunked) return 400;
    if (!length) return 0;
    size_t digits = strspn(length, "0123456789");
    if (digits == 0 || digits > 18 || length[digits]) return 400;
    request->body_left = strtoull(length, NULL, 10);
    if (request->body_left != async__http_parser_length(request->parser)) return 400;
    if (request->body_left > 0) request->body = ASYNC__HTTP_LENGTH;
    return 0;
}

/* ---- the connection ---- */

static void judge_connection(struct async_http_request *request, const struct marked *marked)
{
    request->close = marked->close;
    request->keep_alive = (request->head.minor == 1 || marked->keep) && !marked->close;
}

static int judge_expectation(struct async_http_request *request, const struct marked *marked,
                             const char **why)
{
    if (!marked->expect || request->head.minor == 0) return 0;
    *why = "the expectation is not 100-continue";
    if (!async__http_same(marked->expect, "100-continue")) return 417;
    request->expects = request->body != ASYNC__HTTP_NO_BODY;
    return 0;
}

/* ---- the target ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t async__http_decode_url(char *text, size_t size, bool form)
{
    size_t to = 0;

    if (!form && !memchr(text, '%', size)) return (ssize_t)size; /* a piece of a string */
    for (size_t from = 0; from < size; to++) {
        char c = text[from++];
        if (c == '+' && form) c = ' ';
        if (c == '%') {
            int high = from + 1 < size ? hex(text[from]) : -1;
            int low = high >= 0 ? hex(text[from + 1]) : -1;
            if (low < 0 || high + low == 0) return -1;
            c = (char)(high * 16 + low);
            from += 2;
        }
        if (!c) return -1;
        text[to] = c;
    }
    return (ssize_t)to;
}

static int set_host(struct async_http_request *request, const char *text, size_t size)
{
    ssize_t length = async__http_guard_host(text, size);

    if (length < 0) return 400;
    char *host = async__http_request_alloc(request, (size_t)length + 1);
    if (!host) return 500;
    for (ssize_t i = 0; i < length; i++)
        host[i] = (char)lower(text[i]);
    host[length] = '\0';
    request->host = host;
    return 0;
}

/* The path and what follows it, of "http://host/path": NULL for what is none. */
static const char *skip_origin(const char *target, const char **host, size_t *size)
{
    size_t scheme = async__http_begins(target, "http://")    ? 7
                    : async__http_begins(target, "https://") ? 8
                                                             : 0;
    if (scheme == 0) return NULL;
    *host = target + scheme;
    *size = strcspn(*host, "/?");
    return *size > 0 ? *host + *size : NULL;
}

static int judge_target(struct async_http_request *request, const struct marked *marked,
                        const char **why)
{
    const char *target = request->head.target, *host = marked->host ? marked->host : "";
    const char *path = target;
    size_t host_length = strlen(host);

    *why = "there is not exactly one Host header";
    if (marked->hosts > 1 || (marked->hosts == 0 && request->head.minor == 1)) return 400;
    *why = "the Host is malformed";
    int status = set_host(request, host, host_length);
    if (status != 0) return status;

    *why = "the target is malformed";
    if (strcmp(target, "*") == 0) {
        if (strcmp(request->head.method, "OPTIONS") != 0) return 400;
    } else if (*target != '/') {
        path = skip_origin(target, &host, &host_length);
        if (!path) return 400;
        status = set_host(request, host, host_length);
        if (status != 0) return status;
    }

    size_t size = strcspn(path, "?");
    request->query = path[size] ? path + size + 1 : NULL;
    char *copy = async__http_request_alloc(request, size + 2);
    if (!copy) return 500;
    memcpy(copy, path, size);
    if (size == 0) copy[size++] = '/';
    ssize_t decoded = async__http_decode_url(copy, size, false);
    if (decoded < 0) return 400;
    copy[decoded] = '\0';
    request->path = copy;
    return 0;
}

static int judge_request(struct async_http_request *request, const struct marked *marked,
                         const char **why)
{
    int status = judge_expectation(request, marked, why);

    if (status == 0) status = judge_target(request, marked, why);
    request->is_head = strcmp(request->head.method, "HEAD") == 0;
    return status;
}

int async__http_judge_request(struct async_http_request *request, const char **why)
{
    struct marked marked = find_marked(&request->head.fields);

    return judge_request(request, &marked, why);
}

int async__http_judge_head(struct async_http_request *request, const char **why)
{
    struct marked marked = find_marked(&request->head.fields);
    int status = judge_length(request, &marked, why);

    if (status != 0) return status;
    judge_connection(request, &marked);
    return judge_request(request, &marked, why);
}

/* ---- names and values ---- */

/* The name in a pair is compared decoded. */
static bool is_name(struct async_http_request *request, const char *text, size_t size,
                    const char *name)
{
    size_t length = strlen(name);

    if (size == length && memcmp(text, name, size) == 0) return !memchr(text, '%', size);
    if (!memchr(text, '%', size) && !memchr(text, '+', size)) return false;
    char *copy = async__http_request_alloc(request, size);
    if (!copy) return false;
    memcpy(copy, text, size);
    return async__http_decode_url(copy, size, true) == (ssize_t)length &&
           memcmp(copy, name, length) == 0;
}

const char *async__http_pick(struct async_http_request *request, const char *pairs,
                             const char *name)
{
    for (const char *at = pairs; at && *at;) {
        size_t size = strcspn(at, "&"), key = strcspn(at, "=&");
        if (is_name(request, at, key, name)) {
            const char *value = at + key + (key < size);
            size_t length = (size_t)(at + size - value);
            char *copy = async__http_request_alloc(request, length + 1);
            if (!copy) return NULL;
            memcpy(copy, value, length);
            ssize_t decoded = async__http_decode_url(copy, length, true);
            if (decoded < 0) return NULL;
            copy[decoded] = '\0';
            return copy;
        }
        at += size;
        if (*at) at++;
    }
    return NULL;
}
