/* redirect.c - where a redirect leads, and what the next request keeps of the last one.
 *
 * curl would follow redirects by itself, but any 3xx, with headers that are the user's secrets to
 * another host, and without a way to say otherwise. So each request of a chain is a transfer of its
 * own, and what changes between two of them is decided here, by the rules of the Fetch standard
 * (4.4, HTTP-redirect fetch) and RFC 9110 (15.4). */
#include "http_internal.h"

#include <string.h>
#include <strings.h>

bool async__http_is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* ---- headers ---- */

/* Not for another origin. Host is no secret, but was meant for the first one. */
static const char *const secret[] = {"Authorization", "Cookie", "Proxy-Authorization", "Host",
                                     NULL};

/* Not for a request that has lost its body. */
static const char *const about_body[] = {"Content-Type",
                                         "Content-Length",
                                         "Content-Encoding",
                                         "Content-Language",
                                         "Content-Location",
                                         "Transfer-Encoding",
                                         NULL};

static bool has_name(const char *line, const char *name)
{
    size_t length = strcspn(line, ":;");
    return strlen(name) == length && strncasecmp(line, name, length) == 0;
}

static bool is_among(const char *line, const char *const *names)
{
    for (; *names; names++)
        if (has_name(line, *names)) return true;
    return false;
}

bool async__http_keeps_header(const async_http_session *session,
                              const struct async__http_request *request, const char *line)
{
    if (request->became_get && is_among(line, about_body)) return false;
    if (request->no_expectation && has_name(line, "Expect")) return false;
    if (!request->left_origin) return true;
    if (is_among(line, secret)) return false;
    for (const struct curl_slist *name = session->secret_headers; name; name = name->next)
        if (has_name(line, name->data)) return false;
    return true;
}

/* ---- the method ---- */

static void change_method(struct async__http_request *request, int status)
{
    bool post = strcmp(request->method, "POST") == 0;
    bool get_or_head = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;

    if (!((status == 301 || status == 302) && post) && !(status == 303 && !get_or_head)) return;
    request->method = "GET";
    request->with_body = false;
    request->became_get = true;
}

/* ---- the URL ---- */

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *text_a = NULL, *text_b = NULL;

    curl_url_get(a, part, &text_a, CURLU_DEFAULT_PORT);
    curl_url_get(b, part, &text_b, CURLU_DEFAULT_PORT);
    bool same = text_a && text_b && strcasecmp(text_a, text_b) == 0;
    curl_free(text_a);
    curl_free(text_b);
    return same;
}

static bool same_origin(CURLU *a, CURLU *b)
{
    return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) &&
           same_part(a, b, CURLUPART_PORT);
}

static int bad_redirect(async_http_response *response, const char *location, const char *what)
{
    async__http_detail(response, "redirect to %.100s: %s", location, what);
    return async__http_raise(response, ASYNC_EHTTP);
}

static void drop_password(struct async__http_request *request)
{
    curl_free(request->user);
    curl_free(request->password);
    request->user = request->password = NULL;
}

/* The user and the password of a URL hold for the redirects within its origin. */
static void take_password(struct async__http_request *request, CURLU *url)
{
    char *user = NULL, *password = NULL;

    if (curl_url_get(url, CURLUPART_USER, &user, CURLU_URLDECODE)) return;
    curl_url_get(url, CURLUPART_PASSWORD, &password, CURLU_URLDECODE);
    drop_password(request);
    request->user = user;
    request->password = password;
}

/* Whether it begins with a scheme that is not HTTP's. */
static bool is_foreign(const char *location)
{
    size_t length = strspn(location, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789+-.");
    return length > 0 && location[length] == ':' &&
           !(length == 4 && strncasecmp(location, "http", length) == 0) &&
           !(length == 5 && strncasecmp(location, "https", length) == 0);
}

bool async__http_is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

int async__http_resolve(const char *base, const char *relative, char **url, const char **why)
{
    CURLU *parts = curl_url();
    CURLUcode bad = parts ? CURLUE_OK : CURLUE_OUT_OF_MEMORY;

    *why = "it is not http or https";
    if (is_foreign(relative)) bad = CURLUE_UNSUPPORTED_SCHEME;
    if (!bad) bad = curl_url_set(parts, CURLUPART_URL, base, CURLU_ALLOW_SPACE);
    if (!bad && *relative)
        bad = curl_url_set(parts, CURLUPART_URL, relative, CURLU_URLENCODE | CURLU_ALLOW_SPACE);
    if (!bad) bad = curl_url_get(parts, CURLUPART_URL, url, 0);
    curl_url_cleanup(parts);
    if (bad && bad != CURLUE_UNSUPPORTED_SCHEME) *why = curl_url_strerror(bad);
    if (bad) return bad == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
    return 0;
}

/* `next` is the URL of before, and becomes the one that `location` leads to from there. */
static int go_to(async_http_response *response, struct async__http_request *request, CURLU *before,
                 CURLU *next, const char *location)
{
    char *url = NULL;

    if (is_foreign(location)) return bad_redirect(response, location, "it is not http or https");
    CURLUcode bad =
        curl_url_set(next, CURLUPART_URL, location, CURLU_URLENCODE | CURLU_ALLOW_SPACE);
    if (bad == CURLUE_OUT_OF_MEMORY) return async__http_raise(response, -ENOMEM);
    if (bad) return bad_redirect(response, location, curl_url_strerror(bad));

    if (!same_origin(before, next)) {
        request->left_origin = true;
        drop_password(request);
    }
    take_password(request, next);
    curl_url_set(next, CURLUPART_USER, NULL, 0);
    curl_url_set(next, CURLUPART_PASSWORD, NULL, 0);
    if (curl_url_get(next, CURLUPART_URL, &url, 0)) return async__http_raise(response, -ENOMEM);
    if (strlen(url) > ASYNC__HTTP_URL_MAX) {
        curl_free(url);
        async__http_detail(response, "redirect to a URL of more than %d bytes",
                           ASYNC__HTTP_URL_MAX);
        return async__http_raise(response, ASYNC_EHTTP);
    }
    curl_free(request->url);
    request->url = url;
    return 0;
}

/* ---- the history ---- */

/* The head of the redirect goes there. */
static int keep_head(async_http_response *response)
{
    const char *url = async_http_url(response);
    size_t size = strlen(url) + 1;
    async_http_response *hop = async__alloc_zeroed(sizeof *hop);

    if (hop) hop->own_url = async__alloc(size);
    if (!hop || !hop->own_url) {
        async__free(hop);
        return -ENOMEM;
    }
    memcpy(hop->own_url, url, size);
    memcpy(hop->method, response->method, sizeof hop->method);
    memcpy(hop->version, response->version, sizeof hop->version);
    hop->status = response->status;
    hop->head = response->head;
    response->head = (struct async__http_lines){0};
    hop->history = response->history;
    response->history = hop;
    return 0;
}

void async__http_forget_history(async_http_response *response)
{
    while (response->history) {
        async_http_response *hop = response->history;
        response->history = hop->history;
        async__http_lines_free(&hop->head);
        async__free(hop->own_url);
        async__free(hop);
    }
}

int async__http_follow(async_http_response *response, struct async__http_request *request)
{
    const char *current = request->url ? request->url : request->first_url;
    int max = response->session->max_redirects;

    response->detail[0] = 0;
    if (request->redirects++ >= max) {
        async__http_detail(response, "Maximum (%d) redirects followed", max);
        return async__http_raise(response, ASYNC_ETOOMANYREDIRECTS);
    }
    CURLU *before = curl_url(), *next = NULL;
    int code = -ENOMEM;
    if (before && curl_url_set(before, CURLUPART_URL, current, CURLU_ALLOW_SPACE) == CURLUE_OK)
        next = curl_url_dup(before);
    if (next) {
        if (!request->url) take_password(request, before);
        code =
            go_to(response, request, before, next, response->head.text.data + response->location);
    } else {
        async__http_raise(response, code);
    }
    curl_url_cleanup(before);
    curl_url_cleanup(next);
    if (code == 0 && keep_head(response) < 0) code = async__http_raise(response, -ENOMEM);
    if (code == 0)
        async__http_trace(response, ASYNC_HTTP_TRACE_REDIRECT,
                          &(struct async__http_traced){.url = request->url});
    if (code == 0) change_method(request, response->status);
    return code;
}
