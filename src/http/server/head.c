/* head.c - what a request's head says: of the message's length, of the connection, of the target.
 *
 * The fields are as llhttp found them. How long the message is must be beyond doubt: one
 * Content-Length of digits, or one Transfer-Encoding that is "chunked", or neither; and what llhttp
 * has made of it must be the same. */
#include "server_internal.h"

#include <ctype.h>
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

/* The value of a field that must not be there twice; false: it is. */
static bool single(const struct async__http_fields *fields, const char *name, const char **value)
{
    *value = NULL;
    for (int i = 0; i < fields->count; i++) {
        if (!async__http_same_name(fields->at[i].name, name)) continue;
        if (*value) return false;
        *value = fields->at[i].value;
    }
    return true;
}

/* ---- the length ---- */

static int judge_length(struct async_http_request *request, const char **why)
{
    const struct async__http_fields *fields = &request->head.fields;
    const char *length, *coding;

    *why = "there are several Content-Length headers";
    if (!single(fields, "Content-Length", &length)) return 400;
    *why = "there are several Transfer-Encoding headers";
    if (!single(fields, "Transfer-Encoding", &coding)) return 400;
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

static void judge_connection(struct async_http_request *request)
{
    const struct async__http_fields *fields = &request->head.fields;
    bool keep = request->head.minor == 1;

    for (int i = 0; i < fields->count; i++) {
        if (!async__http_same_name(fields->at[i].name, "Connection")) continue;
        if (request->head.minor == 0 && async__http_list_has(fields->at[i].value, "keep-alive"))
            keep = true;
        if (async__http_list_has(fields->at[i].value, "close")) request->close = true;
    }
    request->keep_alive = keep && !request->close;
}

static int judge_expectation(struct async_http_request *request, const char **why)
{
    const char *expect = async__http_field(&request->head.fields, "Expect");

    if (!expect || request->head.minor == 0) return 0;
    *why = "the expectation is not 100-continue";
    if (!async__http_same(expect, "100-continue")) return 417;
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

/* "example.org", "example.org:80", "[::1]:80": how long the host is; -1: it is none. */
static ssize_t host_size(const char *text, size_t size)
{
    size_t host = 0;

    if (size > 0 && text[0] == '[') {
        host = 1;
        while (host < size && (isxdigit((unsigned char)text[host]) || strchr(":.", text[host])))
            host++;
        if (host < 3 || host == size || text[host++] != ']') return -1;
    } else {
        while (host < size && (isalnum((unsigned char)text[host]) || /* RFC 3986, 3.2.2 */
                               strchr("-._~!$&'()*+;=%", text[host])))
            host++;
    }
    if (host == size) return (ssize_t)host;
    size_t port = host + 1;
    while (port < size && isdigit((unsigned char)text[port]))
        port++;
    return text[host] == ':' && port == size && port - host <= 6 ? (ssize_t)host : -1;
}

static int set_host(struct async_http_request *request, const char *text, size_t size)
{
    ssize_t length = host_size(text, size);

    if (length < 0) return 400;
    char *host = async__http_request_alloc(request, (size_t)length + 1);
    if (!host) return 500;
    for (ssize_t i = 0; i < length; i++)
        host[i] = (char)tolower((unsigned char)text[i]);
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

static int judge_target(struct async_http_request *request, const char **why)
{
    const char *target = request->head.target, *host, *path = target;
    size_t host_length = 0;

    *why = "there is not exactly one Host header";
    if (!single(&request->head.fields, "Host", &host)) return 400;
    if (!host && request->head.minor == 1) return 400;
    if (host) host_length = strlen(host);
    *why = "the Host is malformed";
    if (host && host_size(host, host_length) < 0) return 400;

    *why = "the target is malformed";
    if (strcmp(target, "*") == 0) {
        if (strcmp(request->head.method, "OPTIONS") != 0) return 400;
    } else if (*target != '/') {
        path = skip_origin(target, &host, &host_length);
        if (!path) return 400;
    }
    int status = set_host(request, host ? host : "", host_length);
    if (status != 0) return status;

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

int async__http_judge_request(struct async_http_request *request, const char **why)
{
    int status = judge_expectation(request, why);

    if (status == 0) status = judge_target(request, why);
    request->is_head = strcmp(request->head.method, "HEAD") == 0;
    return status;
}

int async__http_judge_head(struct async_http_request *request, const char **why)
{
    int status = judge_length(request, why);

    if (status != 0) return status;
    judge_connection(request);
    return async__http_judge_request(request, why);
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
