/* session.c - a session: its options, its pool of responses, its end.
 *
 * The options are set once, on a model handle; the handle of a new response is a copy of it.
 * Responses that are closed keep their handle and their small buffers and wait in a pool, so
 * that a request that follows another allocates nothing of ours and sets only what is its own. */
#include "http_internal.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef ASYNC_FAULTS
/* Has curl's allocations fail too. Only where the environment asks for it: a CURLM that is used again
 * after it had no memory can end in a division by zero of curl's own (7.88.1). */
static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *result = async__alloc(size);
    return result ? memcpy(result, text, size) : NULL;
}

static void *alloc_array(size_t count, size_t size) { return async__alloc_zeroed(count * size); }
#endif

static void global_init(void)
{
#ifdef ASYNC_FAULTS
    if (getenv("CASYNCIO_FAULT_CURL"))
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, async__alloc, async__free, async__realloc, copy,
                             alloc_array);
#endif
    curl_global_init(CURL_GLOBAL_DEFAULT); /* does nothing if it has been done */
    async__http_load_codings();
    async__http_load_tls();
}

int async__http_seconds(double seconds, double otherwise, double *result)
{
    if (isnan(seconds) || seconds < 0) return -EINVAL;
    *result = seconds == 0 ? otherwise : seconds;
    return 0;
}

static bool token_char(char c) { return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?={}", c); }

static bool name_ok(const char *name)
{
    size_t length = 0;

    while (token_char(name[length]))
        length++;
    return length > 0 && !name[length];
}

/* "Name: value", "Name:" or "Name;". A line break in it would begin another header, or
 * another request. */
bool async__http_header_ok(const char *line)
{
    size_t name = 0;

    while (token_char(line[name]))
        name++;
    if (name == 0 || (line[name] != ':' && line[name] != ';')) return false;
    return !strpbrk(line + name, "\r\n");
}

/* ---- options ---- */

/* Bytes that curl reads at a time (its default is 16 KiB): fewer calls and pauses for a large body.
 * Each transfer allocates as much: a larger buffer would be mapped and unmapped for each. */
enum { READ_BUFFER = 64 * 1024 };

static CURLcode set_tls(CURL *model, const async_http_session_options *options)
{
    CURLcode bad = curl_easy_setopt(model, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

    if (options->insecure_skip_verify) {
        curl_easy_setopt(model, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(model, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    /* Either one in place of both of the system's. */
    if (options->ca_file || options->ca_path) {
        bad |= curl_easy_setopt(model, CURLOPT_CAINFO, options->ca_file);
        bad |= curl_easy_setopt(model, CURLOPT_CAPATH, options->ca_path);
    }
    if (options->certificate) bad |= curl_easy_setopt(model, CURLOPT_SSLCERT, options->certificate);
    if (options->key) bad |= curl_easy_setopt(model, CURLOPT_SSLKEY, options->key);
    if (options->key_password)
        bad |= curl_easy_setopt(model, CURLOPT_KEYPASSWD, options->key_password);
    return bad;
}

static CURLcode set_proxy(CURL *model, const async_http_session_options *options)
{
    if (options->proxy) return curl_easy_setopt(model, CURLOPT_PROXY, options->proxy);
    if (options->proxy_from_environment) return CURLE_OK;
    return curl_easy_setopt(model, CURLOPT_PROXY, "");
}

static CURLcode set_http(CURL *model, const async_http_session_options *options)
{
    const char *agent = options->user_agent ? options->user_agent : "casyncio/" ASYNC_VERSION;
    CURLcode bad = CURLE_OK;

    bad |= curl_easy_setopt(model, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(model, CURLOPT_USERAGENT, *agent ? agent : NULL);
    bad |= curl_easy_setopt(model, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (options->http2) /* if libcurl has it */
        curl_easy_setopt(model, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    bad |= curl_easy_setopt(model, CURLOPT_PIPEWAIT, options->http2 ? 1L : 0L);
    bad |= curl_easy_setopt(model, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return bad;
}

CURLcode async__http_set_connect_timeout(CURL *easy, double seconds)
{
    double milliseconds = ceil(seconds * 1e3);

    if (!(milliseconds < INT_MAX)) milliseconds = INT_MAX;
    return curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)milliseconds);
}

static CURLcode set_behaviour(async_http_session *session)
{
    CURL *model = session->model;
    CURLcode bad = async__http_set_connect_timeout(model, session->connect_timeout);

    bad |= curl_easy_setopt(model, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(model, CURLOPT_BUFFERSIZE, (long)READ_BUFFER);
    /* A look-up that is abandoned goes on in its thread, which cleans up after itself; without
     * this to cancel would wait for it. */
    bad |= curl_easy_setopt(model, CURLOPT_QUICK_EXIT, 1L);
    async__http_receive_setup(model);
    async__http_driver_setup(model, session);
    return bad;
}

static int add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (!longer) return -ENOMEM;
    *list = longer;
    return 0;
}

static bool has_header(const char *const *headers, const char *name)
{
    for (; headers && *headers; headers++)
        if (strncasecmp(*headers, name, strlen(name)) == 0) return true;
    return false;
}

/* Without an empty Expect curl would ask the server whether it wants a body of more than a
 * megabyte, and wait a second for its word. */
static int set_headers(async_http_session *session, const async_http_session_options *options)
{
    const char *const *headers = options->headers, *const *secret = options->secret_headers;
    int code = 0;

    if (!has_header(headers, "Expect:")) code = add_line(&session->headers, "Expect:");
    if (code == 0 && session->decompress && !has_header(headers, "Accept-Encoding:"))
        code = add_line(&session->headers, async__http_accept_encoding());
    for (; headers && *headers && code == 0; headers++)
        code = add_line(&session->headers, *headers);
    for (; secret && *secret && code == 0; secret++)
        code = add_line(&session->secret_headers, *secret);
    return code;
}

static void set_limits(async_http_session *session, const async_http_session_options *options)
{
    long total = options->connections == 0 ? 100 : options->connections;

    session->pool_max = total > 0 && total < 100 ? (int)total : 100;
    if (total > 0) {
        curl_multi_setopt(session->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, total);
        curl_multi_setopt(session->multi, CURLMOPT_MAXCONNECTS, total);
    }
    if (options->connections_per_host > 0)
        curl_multi_setopt(session->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)options->connections_per_host);
    session->max_body = options->max_body;
    session->max_redirects = options->max_redirects ? options->max_redirects : 10;
    session->cookies = !options->no_cookies;
    session->decompress = !options->no_decompress;
}

/* The options' strings: no limit of libcurl's may come into play, which says "out of memory". */
static int check_strings(const async_http_session_options *options)
{
    const char *const strings[] = {options->user_agent,  options->ca_file, options->ca_path,
                                   options->certificate, options->key,     options->key_password,
                                   options->proxy,       options->base_url};
    size_t size = 0;

    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (strings[i] && strlen(strings[i]) > ASYNC__HTTP_URL_MAX)
            return async_raise_at(NULL, 0, NULL, -EINVAL,
                                  "HTTP session: a string is longer than %d bytes",
                                  ASYNC__HTTP_URL_MAX);
    for (const char *const *header = options->headers; header && *header; header++)
        size += strlen(*header);
    if (size <= ASYNC__HTTP_REQUEST_MAX) return 0;
    return async_raise_at(NULL, 0, NULL, -EINVAL,
                          "HTTP session: the headers are larger than %d bytes",
                          ASYNC__HTTP_REQUEST_MAX);
}

static bool proxy_ok(const char *proxy)
{
    static const char *const schemes[] = {"http",    "https",  "socks4",
                                          "socks4a", "socks5", "socks5h"};
    const char *end = strstr(proxy, "://");

    for (size_t i = 0; end && i < sizeof schemes / sizeof *schemes; i++)
        if (strlen(schemes[i]) == (size_t)(end - proxy) &&
            strncasecmp(proxy, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return !end;
}

static int check_options(const async_http_session_options *options)
{
    for (const char *const *header = options->headers; header && *header; header++)
        if (!async__http_header_ok(*header))
            return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: bad header: %.200s",
                                  *header);
    if (options->user_agent && strpbrk(options->user_agent, "\r\n"))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: bad user agent");
    if (options->base_url && !async__http_is_url(options->base_url))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: bad base URL: %.200s",
                              options->base_url);
    if (options->retries < 0 || options->max_redirects < 0 || options->connections < -1 ||
        options->connections_per_host < 0)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: a limit is negative");
    if (options->proxy && !proxy_ok(options->proxy))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: bad proxy: %.200s",
                              options->proxy);
    for (const char *const *name = options->secret_headers; name && *name; name++)
        if (!name_ok(*name))
            return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: bad header name: %.200s",
                                  *name);
    return check_strings(options);
}

/* ---- making and closing ---- */

static int keep_base_url(async_http_session *session, const char *url)
{
    size_t size = url ? strlen(url) + 1 : 0;

    if (!url) return 0;
    session->base_url = async__alloc(size);
    if (!session->base_url) return -ENOMEM;
    memcpy(session->base_url, url, size);
    return 0;
}

static int open_session(async_http_session *session, const async_http_session_options *options)
{
    int code = check_options(options);
    if (code < 0) return code;
    if (async__http_seconds(options->timeout, 300, &session->timeout) < 0 ||
        async__http_seconds(options->connect_timeout, 30, &session->connect_timeout) < 0 ||
        async__http_seconds(options->read_timeout, INFINITY, &session->read_timeout) < 0 ||
        async__http_seconds(options->retry_delay, 0.5, &session->retry_delay) < 0)
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "HTTP session: a timeout is negative or not a number");

    if (async__http_driver_open(session) != CURLM_OK) return -ENOMEM;
    session->share = curl_share_init();
    session->model = curl_easy_init();
    if (!session->share || !session->model) return -ENOMEM;
    curl_share_setopt(session->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    if (!options->no_cookies)
        curl_share_setopt(session->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE);
    set_limits(session, options);
    session->retries = options->retries;
    session->on_trace = options->on_trace;
    session->trace_data = options->trace_data;
    code = set_headers(session, options);
    if (code == 0) code = keep_base_url(session, options->base_url);
    if (code < 0) return code;
    CURLcode bad = set_tls(session->model, options) | set_proxy(session->model, options) |
                   set_http(session->model, options) | set_behaviour(session);
    return bad == CURLE_OK ? 0 : -ENOMEM;
}

/* A response that outlives its session keeps its handle, for its URL, but nothing of the
 * session's. */
static void orphan(async_http_response *response)
{
    if (!response->finished) {
        async__http_finish(response, -ECONNABORTED);
        async__http_detail(response, "the session was closed");
    }
    curl_easy_setopt(response->easy, CURLOPT_SHARE, NULL);
    response->session = NULL;
}

/* Ends all that is the loop's, which is not used any more. */
static void leave_loop(async_http_session *session)
{
    if (!session->loop) return;
    while (session->open) {
        async_http_response *response = session->open;
        session->open = response->next;
        orphan(response);
        response->next = response->previous = NULL;
    }
    while (session->pool) {
        async_http_response *response = session->pool;
        session->pool = response->next;
        async__http_response_free(response);
    }
    if (session->multi) curl_multi_cleanup(session->multi);
    async__http_driver_close(session);
    async_callback_cancel(&session->loop_closed);
    session->multi = NULL;
    session->loop = NULL;
}

static void on_loop_closed(async_callback *callback)
{
    leave_loop(async__container(callback, async_http_session, loop_closed));
}

static void free_session(async_http_session *session)
{
    leave_loop(session);
    if (session->model) curl_easy_cleanup(session->model);
    if (session->share) curl_share_cleanup(session->share);
    async__free(session->base_url);
    curl_slist_free_all(session->headers);
    curl_slist_free_all(session->secret_headers);
    async_debug_closed(session);
    async__free(session);
}

async_http_session *async__http_session_new(const async_http_session_options *given,
                                            size_t options_size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    async_http_session_options options;
    async_loop *loop = async_get_running_loop();

    if (!async_current_task()) {
        async_raise_at(NULL, 0, NULL, -EPERM, "HTTP session: made outside of a task");
        return NULL;
    }
    if (async__options(&options, sizeof options, given, options_size) < 0) {
        async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP session: an option of a newer version");
        return NULL;
    }

    pthread_once(&once, global_init);
    async_http_session *session = async__alloc_zeroed(sizeof *session);
    int code = -ENOMEM;
    if (session) {
        session->loop = loop;
        code = open_session(session, &options);
        if (code == 0) {
            session->loop_closed.run = on_loop_closed;
            async_loop_at_close(loop, &session->loop_closed);
            async_debug_opened(session, "HTTP session");
            return session;
        }
        free_session(session);
    }
    if (code == -ENOMEM) async_raise_at(NULL, 0, NULL, code, "%s", async_strerror(code));
    return NULL;
}

void async_http_session_free(async_http_session *session)
{
    if (session) free_session(session);
}

/* ---- responses: new, closed, used again ---- */

static void on_timeout(async_callback *callback)
{
    async_http_response *response =
        async__container(callback, async_http_response, timeout.callback);

    async__http_finish(response, -ETIMEDOUT);
    async__http_detail(response, "not complete in time");
}

static void on_read_timer(async_callback *callback)
{
    async_http_response *response =
        async__container(callback, async_http_response, read_timer.callback);
    async_loop *loop = response->session->loop;
    bool waits = response->running && response->sends > 0 && !response->paused && !response->hungry;

    if (!waits) response->last_read = async_loop_time(loop);
    double left = response->last_read + response->read_timeout - async_loop_time(loop);
    if (left > 0) {
        int code = async_call_later(loop, &response->read_timer, left);
        if (code < 0) async__http_finish(response, code);
        return;
    }
    async__http_finish(response, -ETIMEDOUT);
    async__http_detail(response, "nothing came for %g s", response->read_timeout);
}

static async_http_response *new_response(async_http_session *session)
{
    async_http_response *response = async__alloc_zeroed(sizeof *response);
    if (!response) return NULL;
    response->easy = curl_easy_duphandle(session->model);
    if (!response->easy) {
        async__free(response);
        return NULL;
    }
    response->timeout.callback.run = on_timeout;
    response->read_timer.callback.run = on_read_timer;
    response->connect_timeout = session->connect_timeout;
    response->chunks =
        (async_iterator){.next = async__http_next_chunk, .size = sizeof(async_http_chunk)};

    CURL *easy = response->easy;
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(easy, CURLOPT_PRIVATE, response);
    bad |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_READDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, response);
    bad |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, response->curl_error);
    bad |= curl_easy_setopt(easy, CURLOPT_SHARE, session->share);
    if (session->cookies) bad |= curl_easy_setopt(easy, CURLOPT_COOKIEFILE, "");
    if (bad == CURLE_OK) return response;
    async__http_response_free(response);
    return NULL;
}

static size_t buffered(const async_http_response *response)
{
    return async__http_lines_room(&response->head) + async__http_lines_room(&response->trailers) +
           response->filling.capacity + response->held.capacity;
}

async_http_response *async__http_response_take(async_http_session *session)
{
    async_http_response *response = session->pool;

    if (response) {
        session->pool = response->next;
        session->pooled--;
        session->pooled_bytes -= buffered(response);
    } else {
        response = new_response(session);
        if (!response) return NULL;
    }
    response->session = session;
    response->previous = NULL;
    response->next = session->open;
    if (session->open) session->open->previous = response;
    session->open = response;

    response->running = response->finished = response->headers_done = false;
    response->whole = response->redirected = response->paused = false;
    response->traced = response->again_later = false;
    response->tried = 0;
    response->code = response->status = 0;
    response->changed = (async_event)ASYNC_EVENT_INIT;
    async__http_lines_clear(&response->head);
    async__http_lines_clear(&response->trailers);
    response->filling.end = response->held.end = 0;
    response->upload = NULL;
    response->detail[0] = response->curl_error[0] = 0;
    return response;
}

void async__http_response_free(async_http_response *response)
{
    curl_easy_cleanup(response->easy);
    async__http_lines_free(&response->head);
    async__http_lines_free(&response->trailers);
    async__buffer_free(&response->filling);
    async__buffer_free(&response->held);
    async__free(response->upload_copy);
    async__http_forget_history(response);
    async__http_decoder_free(response->decoder);
    async__free(response);
}

/* With its buffers, as long as the pool's are not too large together: to have a large one made,
 * and its pages touched, costs more than a small request does. */
static void put_into_pool(async_http_session *session, async_http_response *response)
{
    if (session->pooled_bytes + buffered(response) > ASYNC__HTTP_RECYCLED) {
        async__http_lines_free(&response->head);
        async__http_lines_free(&response->trailers);
        async__buffer_free(&response->filling);
        async__buffer_free(&response->held);
    }
    session->pooled_bytes += buffered(response);
    response->next = session->pool;
    session->pool = response;
    session->pooled++;
}

void async_http_response_free(async_http_response *response)
{
    if (!response) return;
    async_http_session *session = response->session;
    if (!session) {
        async__http_response_free(response);
        return;
    }
    async__http_finish(response, -ECANCELED);
    async__http_forget_history(response);
    async__http_decoder_free(response->decoder);
    response->decoder = NULL;
    if (response->next) response->next->previous = response->previous;
    if (response->previous)
        response->previous->next = response->next;
    else
        session->open = response->next;
    if (session->pooled >= session->pool_max) {
        async__http_response_free(response);
        return;
    }
    put_into_pool(session, response);
}
