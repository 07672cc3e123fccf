/* request.c - a request: from its options to the headers of the final response, by way of those of
 * its redirects.
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
#define METHOD_MAX 64

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

static bool is_streamed(const async_http_request_options *options)
{
    return options->body_iterator || options->body_stream || options->body_file;
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
    return options->body_size || is_streamed(options) ? "Content-Type: application/octet-stream"
                                                      : "Content-Type:";
}

static int count_lines(const async_http_session *session, const char *const *own)
{
    int count = 2; /* the content type, and an empty Expect */

    for (const struct curl_slist *line = session->headers; line; line = line->next)
        count++;
    for (; own && *own; own++)
        count++;
    return count;
}

static int make_headers(struct headers *headers, async_http_response *response,
                        const struct async__http_request *request)
{
    async_http_session *session = response->session;
    const char *const *own = request->options->headers;
    int code = 0;

    headers->lines = headers->few;
    headers->count = 0;
    headers->content_type = NULL;
    if (!request->with_body && (!own || !*own) && request->redirects == 0) {
        curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER, session->headers);
        return 0;
    }
    int count = count_lines(session, own);
    if (count > SMALL) headers->lines = async__alloc((size_t)count * sizeof *headers->lines);
    if (!headers->lines) return -ENOMEM;

    const char *type =
        request->with_body ? content_type(headers, session, request->options, &code) : NULL;
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        if (!in_list(line->data, own) && !(type && same_name(line->data, type)) &&
            async__http_keeps_header(session, request, line->data))
            append(headers, line->data);
    for (; own && *own; own++)
        if (!(type && same_name(*own, type)) && async__http_keeps_header(session, request, *own))
            append(headers, *own);
    if (type) append(headers, type);
    if (request->no_expectation) append(headers, "Expect:");
    if (code == 0)
        curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER,
                         headers->count > 0 ? headers->lines : NULL);
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

    if (response->source) {
        bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t)response->source->length);
        return bad | curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    }
    bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_size);
    if (options->body_size <= ASYNC__HTTP_SMALL_BODY)
        return bad | curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS,
                                      options->body_size ? options->body : "");
    response->upload = options->body;
    response->upload_size = options->body_size;
    response->upload_at = 0;
    return bad | curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
}

static CURLcode set_method(async_http_response *response, const struct async__http_request *request)
{
    CURL *easy = response->easy;
    const char *method = request->method;
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    bool head = strcmp(method, "HEAD") == 0, with_body = request->with_body;
    CURLcode bad = CURLE_OK;

    if (get && !with_body && response->plain) return CURLE_OK;
    response->plain = get && !with_body;
    bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    bad |= with_body ? set_body(response, request->options)
                     : curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_NOBODY, head ? 1L : 0L);
    bool implied = (post && with_body) || head || (get && !with_body);
    bad |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, implied ? NULL : method);
    return bad;
}

static bool is_expectation(const char *line)
{
    return same_name("Expect:", line) && strcasestr(line, "100-continue");
}

static bool has_expectation(const async_http_session *session,
                            const struct async__http_request *request)
{
    const char *const *own = request->options->headers;

    for (; own && *own; own++)
        if (is_expectation(*own)) return true;
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        if (is_expectation(line->data)) return true;
    return false;
}

/* RFC 9110, 9.2.2 */
static bool is_idempotent(const char *method)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(method, methods[i]) == 0) return true;
    return false;
}

/* ---- checking ---- */

static int refuse(const async_http_request_options *options, int code, const char *what)
{
    return async__http_raise_for(options->method ? options->method : "GET",
                                 options->url ? options->url : "(no URL)", code,
                                 async_strerror(code), what);
}

static int invalid(const async_http_request_options *options, const char *what)
{
    return refuse(options, -EINVAL, what);
}

static int check_url(const async_http_request_options *options, const char *url)
{
    char words[80];

    if (strlen(url) <= ASYNC__HTTP_URL_MAX) return 0;
    snprintf(words, sizeof words, "the URL is longer than %d bytes", ASYNC__HTTP_URL_MAX);
    return invalid(options, words);
}

/* *resolved is curl's to free, or NULL: the URL is the options'. */
static int find_url(const async_http_session *session, const async_http_request_options *options,
                    char **resolved)
{
    const char *url = options->url, *why;

    *resolved = NULL;
    if (!url || (!async__http_is_url(url) && !session->base_url))
        return invalid(options, "a URL begins with http:// or https://");
    int code = check_url(options, url);
    if (code < 0 || async__http_is_url(url)) return code;
    code = async__http_resolve(session->base_url, url, resolved, &why);
    if (code < 0) return refuse(options, code, why);
    code = check_url(options, *resolved);
    if (code < 0) curl_free(*resolved);
    return code;
}

static int check_method(const async_http_request_options *options, const char *method)
{
    if (!*method) return invalid(options, "the method is no token");
    for (const char *c = method; *c; c++)
        if (!((*c | 32) >= 'a' && (*c | 32) <= 'z') && !strchr("-_0123456789", *c))
            return invalid(options, "the method is no token");
    if (strlen(method) > METHOD_MAX) return invalid(options, "the method is longer than 64 bytes");
    return 0;
}

static int check_headers(const async_http_session *session,
                         const async_http_request_options *options)
{
    size_t size = options->content_type ? strlen(options->content_type) : 0;
    char words[80];

    if (options->content_type && strpbrk(options->content_type, "\r\n"))
        return invalid(options, "the content type is malformed");
    for (const struct curl_slist *line = session->headers; line; line = line->next)
        size += strlen(line->data);
    for (const char *const *line = options->headers; line && *line; line++) {
        if (!async__http_header_ok(*line)) return invalid(options, "a header is malformed");
        size += strlen(*line);
    }
    if (size <= ASYNC__HTTP_REQUEST_MAX) return 0;
    snprintf(words, sizeof words, "the headers are larger than %d bytes", ASYNC__HTTP_REQUEST_MAX);
    return invalid(options, words);
}

static int check(const async_http_session *session, const async_http_request_options *options,
                 const char *method, bool with_body)
{
    async_loop *loop = async_get_running_loop();

    if (!session->loop) return refuse(options, -ECONNABORTED, "the session's loop has been closed");
    if (loop && loop != session->loop)
        return refuse(options, -EPERM, "the session is another loop's");
    int code = check_method(options, method);
    if (code == 0) code = check_headers(session, options);
    if (code < 0) return code;
    int bodies =
        !!options->body + !!options->body_iterator + !!options->body_stream + !!options->body_file;
    if (bodies > 1) return invalid(options, "there is more than one body");
    if (options->body_size && bodies == 0) return invalid(options, "the body is NULL");
    if (options->body_iterator && options->body_iterator->size != sizeof(async_http_chunk))
        return invalid(options, "the body's iterator does not give async_http_chunk");
    if (options->body_size > INT64_MAX) return invalid(options, "the body is too large");
    if (with_body && strcmp(method, "HEAD") == 0) return invalid(options, "HEAD has no body");
    return 0;
}

/* ---- doing it ---- */

/* What a transfer before this one has left, of the same response. */
static void clear_transfer(async_http_response *response)
{
    response->redirected = response->receiving = response->paused = response->due = false;
    response->refused = response->again = response->again_later = false;
    response->connection_traced = false;
    response->sends = response->status = response->socket_code = response->failure = 0;
    response->sent = 0;
    response->header_bytes = response->discarded = 0;
    response->body_bytes = 0;
    response->filling.end = 0;
    async__http_decoder_free(response->decoder);
    response->decoder = NULL;
    response->upload = NULL;
    response->upload_at = response->upload_size = 0;
    response->hungry = response->upload_ended = false;
    response->detail[0] = response->curl_error[0] = 0;
    response->met_itself = false;
    if (response->until_close) async__http_watch_tls_end(response, false);
}

static void trace_start(async_http_response *response, const char *url)
{
    bool first = !response->traced;

    if (!response->session->on_trace) return;
    response->transfer_began = async_loop_time(response->session->loop);
    response->traced = true;
    if (first)
        async__http_trace(
            response, ASYNC_HTTP_TRACE_START,
            &(struct async__http_traced){.time = response->transfer_began, .url = url});
}

static int start(async_http_response *response)
{
    CURLMcode bad;

    response->running = true;
    bad = curl_multi_add_handle(response->session->multi, response->easy);
    if (bad == CURLM_OK) return 0;
    response->running = false;
    return bad == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

/* What curl has not sent yet is the caller's memory no longer. */
static int keep_unsent(async_http_response *response)
{
    size_t left = response->upload_size - response->upload_at;

    if (response->source || !response->upload || !response->running) return 0;
    response->upload_copy = async__alloc(left ? left : 1);
    if (!response->upload_copy) return -ENOMEM;
    memcpy(response->upload_copy, response->upload + response->upload_at, left);
    response->upload_from = response->upload_at;
    response->upload = NULL;
    return 0;
}

static int set_request(async_http_response *response, const struct async__http_request *request)
{
    CURL *easy = response->easy;
    CURLcode bad = CURLE_OK;

    strncpy(response->method, request->method, sizeof response->method - 1); /* the last stays 0 */
    response->repeatable = is_idempotent(request->method);
    response->expects = request->with_body && !request->no_expectation &&
                        has_expectation(response->session, request);
    bad |= curl_easy_setopt(easy, CURLOPT_URL, request->url ? request->url : request->first_url);
    if (request->redirects > 0) {
        bad |= curl_easy_setopt(easy, CURLOPT_USERNAME, request->user);
        bad |= curl_easy_setopt(easy, CURLOPT_PASSWORD, request->password);
    }
    bad |= set_method(response, request);
    return bad ? -ENOMEM : 0;
}

/* Waits for the headers of the final response, or for the end of a redirect. */
static int transfer(async_http_response *response, const struct async__http_request *request)
{
    struct headers headers;

    clear_transfer(response);
    response->source = request->with_body && request->upload ? request->upload : NULL;
    response->streamed = response->source != NULL;
    if (response->source && !async__http_upload_rewind(response->source)) {
        async__http_detail(response, "its body cannot be sent again");
        response->source = NULL;
        return async__http_raise(response, -EOPNOTSUPP);
    }
    int code = make_headers(&headers, response, request);
    if (code == 0) code = set_request(response, request);
    if (code == 0) trace_start(response, request->url ? request->url : request->first_url);
    if (code == 0) code = start(response);
    if (code < 0) async__http_raise(response, code);

    while (code == 0 && response->running &&
           (!response->headers_done || async__http_upload_wanted(response)))
        code = response->hungry && async__http_upload_wanted(response)
                   ? async__http_upload_feed(response)
                   : async__http_wait(response);
    if (code == 0 && response->finished && !response->headers_done)
        code = async__http_raise(response, response->code);
    if (code == 0 && keep_unsent(response) < 0) code = async__http_raise(response, -ENOMEM);
    if (code < 0 && response->session) async__http_finish(response, code);
    if (response->source) response->upload = NULL;
    response->source = NULL;
    curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER, NULL);
    free_headers(&headers);
    return code;
}

struct limits {
    double timeout, connect, read;
    int retries;
};

static int set_limits(const async_http_session *session, const async_http_request_options *options,
                      struct limits *limits)
{
    limits->retries = options->retries == 0 ? session->retries : options->retries;
    if (options->retries < -1) return invalid(options, "the number of retries is negative");
    if (async__http_seconds(options->timeout, session->timeout, &limits->timeout) == 0 &&
        async__http_seconds(options->connect_timeout, session->connect_timeout, &limits->connect) ==
            0 &&
        async__http_seconds(options->read_timeout, session->read_timeout, &limits->read) == 0)
        return 0;
    return invalid(options, "the timeout is negative or not a number");
}

static int begin(async_http_response *response, const struct async__http_request *request,
                 const struct limits *limits)
{
    async_loop *loop = response->session->loop;
    int code = 0;

    response->follow = !request->options->no_redirects;
    response->retries = limits->retries;
    response->read_timeout = limits->read;
    response->trace_context = request->options->trace_context;
    if (response->connect_timeout != limits->connect) {
        async__http_set_connect_timeout(response->easy, limits->connect);
        response->connect_timeout = limits->connect;
    }
    if (!isinf(limits->timeout)) code = async_call_later(loop, &response->timeout, limits->timeout);
    if (code == 0 && !isinf(limits->read))
        code = async_call_later(loop, &response->read_timer, limits->read);
    if (code < 0)
        async__http_raise_for(request->method, request->first_url, code, async_strerror(code),
                              NULL);
    return code;
}

/* What the next transfer of the request is to be like: 0 or a code. */
static int prepare_next(async_http_response *response, struct async__http_request *request)
{
    if (response->again_later) return async__http_wait_to_retry(response);
    if (!response->again) return async__http_follow(response, request);
    request->no_expectation = true;
    return 0;
}

static int perform(async_http_response *response, struct async__http_request *request,
                   const struct limits *limits)
{
    int code = begin(response, request, limits);

    if (code < 0) return code;
    code = transfer(response, request);
    while (code == 0 && (response->redirected || response->again || response->again_later)) {
        code = prepare_next(response, request);
        if (code == 0) code = transfer(response, request);
    }
    if (request->redirects > 0) {
        curl_easy_setopt(response->easy, CURLOPT_USERNAME, NULL);
        curl_easy_setopt(response->easy, CURLOPT_PASSWORD, NULL);
    }
    curl_free(request->url);
    curl_free(request->user);
    curl_free(request->password);
    return code;
}

/* The body's iterator is closed in any case. */
static async_http_response *not_made(const async_http_request_options *options)
{
    async__http_close_iterator(options->body_iterator);
    return NULL;
}

/* With options that are in order. */
static async_http_response *make_request(async_http_session *session,
                                         struct async__http_request *request,
                                         const struct limits *limits)
{
    struct async__http_upload upload;
    const char *url = request->first_url;
    bool streamed = is_streamed(request->options);
    async_http_response *response = NULL;

    if (!streamed || async__http_upload_open(&upload, request->options) == 0) {
        request->upload = streamed ? &upload : NULL;
        response = async__http_response_take(session);
        if (!response)
            async__http_raise_for(request->method, url, -ENOMEM, async_strerror(-ENOMEM), NULL);
    }
    if (response && perform(response, request, limits) < 0) {
        async_http_response_free(response);
        response = NULL;
    }
    if (streamed) async__http_upload_close(&upload);
    return response;
}

async_http_response *async__http_request(async_http_session *session,
                                         const async_http_request_options *given,
                                         size_t options_size)
{
    async_http_request_options taken;
    const async_http_request_options *options = &taken;

    if (async__options(&taken, sizeof taken, given, options_size) < 0) {
        async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP request: an option of a newer version");
        return NULL;
    }
    if (!session) {
        async__http_null("session");
        return not_made(options);
    }
    const char *method = options->method ? options->method : "GET";
    bool with_body = options->body_size > 0 || options->content_type || is_streamed(options) ||
                     strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                     strcmp(method, "PATCH") == 0;
    if (check(session, options, method, with_body) < 0) return not_made(options);
    struct limits limits = {0};
    char *resolved;
    if (set_limits(session, options, &limits) < 0 || find_url(session, options, &resolved) < 0)
        return not_made(options);
    struct async__http_request request = {.options = options,
                                          .method = method,
                                          .first_url = resolved ? resolved : options->url,
                                          .with_body = with_body};
    async_http_response *response = make_request(session, &request, &limits);
    curl_free(resolved);
    return response;
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
