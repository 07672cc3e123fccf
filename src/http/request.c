/* request.c - a request: from its options to the headers of the final response.
 *
 * What a request points to (its URL, headers, body) is the caller's again when the call returns,
 * although curl may still be sending: a server may answer before it has read all. Headers are
 * all sent by then, a small body is copied by curl, and of a large one, which curl draws from
 * the caller's memory, what is still unsent is copied at the end of the call. */
#include "http_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SMALL 24 /* header lines that need no allocation */

/* The header list that curl reads: the session's lines and the request's, linked anew. */
struct headers {
    struct curl_slist few[SMALL], *lines;
    size_t count;
    char *content_type;
};

static bool same_name(const char *a, const char *b)
{
    size_t length = strcspn(a, ":;");
    return strncasecmp(a, b, length) == 0 && (b[length] == ':' || b[length] == ';');
}

static bool in_list(const char *line, const char *const *headers)
{
    for (; headers && *headers; headers++)
        if (same_name(line, *headers)) return true;
    return false;
}

static void append(struct headers *headers, const char *line)
{
    struct curl_slist *node = &headers->lines[headers->count];

    node->data = (char *)line; /* curl reads it only */
    node->next = NULL;
    if (headers->count++ > 0) node[-1].next = node;
}

/* The line, or NULL if there is no need for one; *code: -ENOMEM. */
static const char *content_type(struct headers *headers, const async_http_session *session,
                                const async_http_request_options *options, int *code)
{
    static const char prefix[] = "Content-Type: ";
    const char *given = options->content_type;

    if (given) {
        size_t size = sizeof prefix + strlen(given);
        headers->content_type = async__alloc(size);
        if (headers->content_type)
            snprintf(headers->content_type, size, "%s%s", prefix, given);
        else
            *code = -ENOMEM;
        return headers->content_type;
    }
    if (in_list(prefix, options->headers)) return NULL;
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        if (same_name(prefix, line->data)) return NULL;
    /* An empty one keeps curl from calling it a form. */
    return options->body_size ? "Content-Type: application/octet-stream" : "Content-Type:";
}

static int make_headers(struct headers *headers, async_http_response *response,
                        const async_http_request_options *options, bool with_body)
{
    async_http_session *session = response->session;
    const char *const *own = options->headers;
    size_t count = 1;
    int code = 0;

    if (!with_body && (!own || !*own)) {
        curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER, session->headers);
        return 0;
    }
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        count++;
    for (const char *const *line = own; line && *line; line++)
        count++;
    headers->lines = headers->few;
    if (count > SMALL) headers->lines = async__alloc(count * sizeof *headers->lines);
    if (!headers->lines) return -ENOMEM;

    const char *type = with_body ? content_type(headers, session, options, &code) : NULL;
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        if (!in_list(line->data, own) && !(type && same_name(line->data, type)))
            append(headers, line->data);
    for (; own && *own; own++)
        if (!(type && same_name(*own, type))) append(headers, *own);
    if (type) append(headers, type);
    if (code == 0) curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER, headers->lines);
    return code;
}

static void free_headers(struct headers *headers)
{
    if (headers->lines != headers->few) async__free(headers->lines);
    async__free(headers->content_type);
}

/* ---- the method and the body ---- */

static CURLcode set_body(async_http_response *response, const async_http_request_options *options)
{
    CURL *easy = response->easy;
    CURLcode bad = curl_easy_setopt(easy, CURLOPT_POST, 1L);

    bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_size);
    if (options->body_size <= ASYNC__HTTP_SMALL_BODY)
        return bad | curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS,
                                      options->body_size ? options->body : "");
    response->upload = options->body;
    response->upload_size = options->body_size;
    response->upload_at = 0;
    return bad | curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
}

static CURLcode set_method(async_http_response *response, const char *method, bool with_body,
                           const async_http_request_options *options)
{
    CURL *easy = response->easy;
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    bool head = strcmp(method, "HEAD") == 0;
    CURLcode bad = CURLE_OK;

    if (get && !with_body && response->plain) return CURLE_OK;
    response->plain = get && !with_body;
    bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    bad |= with_body ? set_body(response, options) : curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_NOBODY, head ? 1L : 0L);
    bool implied = post || head || (get && !with_body);
    bad |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, implied ? NULL : method);
    /* Only POST turns into GET with 301 and 302; what goes out as a POST under another name does
     * not. */
    bad |= curl_easy_setopt(easy, CURLOPT_POSTREDIR,
                            post ? 0L : (long)(CURL_REDIR_POST_301 | CURL_REDIR_POST_302));
    return bad;
}

/* ---- checking ---- */

static int invalid(const async_http_request_options *options, const char *what)
{
    return async__http_raise_for(options->method ? options->method : "GET",
                                 options->url ? options->url : "(no URL)", -EINVAL,
                                 async_strerror(-EINVAL), what);
}

static int check(const async_http_request_options *options, const char *method, bool with_body)
{
    const char *url = options->url;

    if (!url || (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0))
        return invalid(options, "a URL begins with http:// or https://");
    if (!*method || strlen(method) > 64) return invalid(options, "the method is no token");
    for (const char *c = method; *c; c++)
        if (!((*c | 32) >= 'a' && (*c | 32) <= 'z') && !strchr("-_0123456789", *c))
            return invalid(options, "the method is no token");
    for (const char *const *line = options->headers; line && *line; line++)
        if (!async__http_header_ok(*line)) return invalid(options, "a header is malformed");
    if (options->content_type && strpbrk(options->content_type, "\r\n"))
        return invalid(options, "the content type is malformed");
    if (options->body_size && !options->body) return invalid(options, "the body is NULL");
    if (with_body && strcmp(method, "HEAD") == 0) return invalid(options, "HEAD has no body");
    return 0;
}

/* ---- doing it ---- */

static int start(async_http_response *response, double timeout)
{
    async_http_session *session = response->session;

    response->running = true;
    CURLMcode bad = curl_multi_add_handle(session->multi, response->easy);
    if (bad != CURLM_OK) {
        response->running = false;
        return bad == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
    }
    return isinf(timeout) ? 0 : async_call_later(session->loop, &response->timeout, timeout);
}

/* What curl has not sent yet is the caller's memory no longer. */
static int keep_unsent(async_http_response *response)
{
    size_t left = response->upload_size - response->upload_at;

    if (!response->upload || response->finished) return 0;
    response->upload_copy = async__alloc(left ? left : 1);
    if (!response->upload_copy) return -ENOMEM;
    memcpy(response->upload_copy, response->upload + response->upload_at, left);
    response->upload_from = response->upload_at;
    response->upload = NULL;
    return 0;
}

static int perform(async_http_response *response, const async_http_request_options *options,
                   const char *method, bool with_body, double timeout)
{
    struct headers headers;
    CURL *easy = response->easy;
    CURLcode bad = CURLE_OK;

    headers.lines = headers.few;
    headers.count = 0;
    headers.content_type = NULL;
    response->follow = !options->no_redirects;
    strncpy(response->method, method, sizeof response->method - 1); /* the last byte stays 0 */
    bad |= curl_easy_setopt(easy, CURLOPT_URL, options->url);
    bad |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, response->follow ? 1L : 0L);
    bad |= set_method(response, method, with_body, options);
    int code = bad ? -ENOMEM : make_headers(&headers, response, options, with_body);
    if (code == 0) code = start(response, timeout);
    if (code < 0) async__http_raise(response, code);

    while (code == 0 && !response->headers_done && !response->finished)
        code = async__http_wait(response);
    if (code == 0 && !response->headers_done) code = async__http_raise(response, response->code);
    if (code == 0 && keep_unsent(response) < 0) code = async__http_raise(response, -ENOMEM);
    if (code < 0 && response->session) async__http_finish(response, code);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    free_headers(&headers);
    return code;
}

async_http_response *async_http_request(async_http_session *session,
                                        const async_http_request_options *options)
{
    static const async_http_request_options none = {0};
    double timeout;

    if (!options) options = &none;
    const char *method = options->method ? options->method : "GET";
    bool with_body = options->body_size > 0 || options->content_type ||
                     strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                     strcmp(method, "PATCH") == 0;
    if (!session) return NULL;
    if (check(options, method, with_body) < 0) return NULL;
    if (async__http_seconds(options->timeout, session->timeout, &timeout) < 0) {
        invalid(options, "the timeout is negative or not a number");
        return NULL;
    }
    async_http_response *response = async__http_response_take(session);
    if (!response) {
        async__http_raise_for(method, options->url, -ENOMEM, async_strerror(-ENOMEM), NULL);
        return NULL;
    }
    if (perform(response, options, method, with_body, timeout) == 0) return response;
    async_http_response_close(response);
    return NULL;
}

/* ---- the usual ones ---- */

static async_http_response *simple(async_http_session *session, const char *method, const char *url)
{
    return async_http_request(session, &(async_http_request_options){.method = method, .url = url});
}

static async_http_response *with_body(async_http_session *session, const char *method,
                                      const char *url, const void *body, size_t size,
                                      const char *type)
{
    return async_http_request(
        session,
        &(async_http_request_options){
            .method = method, .url = url, .body = body, .body_size = size, .content_type = type});
}

async_http_response *async_http_get(async_http_session *session, const char *url)
{
    return simple(session, "GET", url);
}

async_http_response *async_http_head(async_http_session *session, const char *url)
{
    return simple(session, "HEAD", url);
}

async_http_response *async_http_delete(async_http_session *session, const char *url)
{
    return simple(session, "DELETE", url);
}

async_http_response *async_http_post(async_http_session *session, const char *url, const void *body,
                                     size_t size, const char *content_type)
{
    return with_body(session, "POST", url, body, size, content_type);
}

async_http_response *async_http_put(async_http_session *session, const char *url, const void *body,
                                    size_t size, const char *content_type)
{
    return with_body(session, "PUT", url, body, size, content_type);
}

async_http_response *async_http_patch(async_http_session *session, const char *url,
                                      const void *body, size_t size, const char *content_type)
{
    return with_body(session, "PATCH", url, body, size, content_type);
}
