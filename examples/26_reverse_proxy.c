/* A reverse proxy: what comes in goes on to another server, which may be slow or down. Each request has a
 * timeout; after some failures in a row a circuit breaker answers at once, and lets one request through a
 * while later to see whether the other server is back. /metrics and /health are the proxy's own.
 * aiohttp: a handler that uses ClientSession
 *
 *     26_reverse_proxy serve PORT URL     until Ctrl-C
 *     26_reverse_proxy                    a scene: a server that fails, and a client */
#include <casyncio.h>
#include <casyncio/http.h>
#include <casyncio/http_server.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the circuit breaker ---- */

enum { FAILURES = 3 }; /* in a row that open it */

struct breaker {
    int failures;
    double open_until; /* the loop's time */
    bool probing;      /* a request is on its way that says whether it closes */
};

static bool breaker_lets_through(struct breaker *self)
{
    if (self->failures < FAILURES) return true;
    if (self->probing || async_now() < self->open_until) return false;
    return self->probing = true;
}

static void breaker_told(struct breaker *self, bool failed)
{
    self->probing = false;
    self->failures = failed ? self->failures + 1 : 0;
    if (self->failures >= FAILURES) self->open_until = async_now() + 3;
}

/* ---- the proxy ---- */

struct proxy {
    const char *origin; /* "http://127.0.0.1:8080" */
    async_http_session *session;
    struct breaker breaker;
    int passed, failed, refused;
};

/* Headers that are about one connection stay behind. */
static bool passes(const char *name)
{
    static const char *const own[] = {"connection",        "content-length",
                                      "transfer-encoding", "upgrade",
                                      "keep-alive",        "te",
                                      "trailer",           "date"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcasecmp(name, own[i]) == 0) return false;
    return true;
}

/* The body goes out as it comes in: no faster than the client takes it. */
static int pass_response(struct async_http_request *request, async_http_response *response)
{
    const char *name, *value, *type = async_http_header(response, "Content-Type");
    for (size_t i = 0; async_http_header_at(response, i, &name, &value); i++)
        if (passes(name)) async_http_add_header(request, name, value);
    int code = async_http_respond_begin(request, async_http_status(response), type, -1);
    async_for (async_http_chunk, chunk, async_http_chunks(response))
        if (code == 0) code = async_http_respond_write(request, chunk.data, chunk.size);
    int failed = async_block_error();
    return code < 0 ? code : failed;
}

static int forward(struct async_http_request *request, struct proxy *proxy)
{
    char url[2000];
    size_t size;
    int code = -ETIMEDOUT;

    if (!breaker_lets_through(&proxy->breaker)) {
        proxy->refused++;
        return async_http_respond_text(request, 503, "the server rests\n");
    }
    const void *body = async_http_request_read(request, &size);
    if (!body) return async_error_code();
    snprintf(url, sizeof url, "%s%s", proxy->origin, async_http_request_target(request));
    async_timeout (2)
        async_with_http_request (response, proxy->session, .url = url, .body = size ? body : NULL,
                                 .body_size = size, .no_redirects = true,
                                 .method = async_http_request_method(request),
                                 .content_type = async_http_request_header(request, "Content-Type"))
            code = pass_response(request, response);
    int failed = async_block_error();
    if (failed < 0) code = failed;
    bool bad = code < 0 ? code != -EPIPE : async_http_response_status(request) >= 500;
    breaker_told(&proxy->breaker, bad);
    if (bad)
        proxy->failed++;
    else
        proxy->passed++;
    if (code < 0 && async_http_response_status(request) == 0)
        return async_http_respond_text(request, code == -ETIMEDOUT ? 504 : 502, "%s\n",
                                       code == -ETIMEDOUT ? "too slow" : "no answer");
    return code;
}

static int health(struct async_http_request *request, struct proxy *proxy)
{
    bool open = proxy->breaker.failures >= FAILURES;
    return async_http_respond_text(request, open ? 503 : 200, open ? "open\n" : "ok\n");
}

static int metrics(struct async_http_request *request, struct proxy *proxy)
{
    return async_http_respond_text(request, 200,
                                   "proxy_passed_total %d\nproxy_failed_total %d\n"
                                   "proxy_refused_total %d\n",
                                   proxy->passed, proxy->failed, proxy->refused);
}

static void add_routes(async_http_server *server, struct proxy *proxy)
{
    async_http_route(server, "GET", "/health", health, proxy);
    async_http_route(server, "GET", "/metrics", metrics, proxy);
    async_http_route(server, NULL, "/{path...}", forward, proxy);
}

static int port;
static const char *origin;

static int serve(void *unused)
{
    async_with_http_session (session, &(async_http_session_options){.no_cookies = true}) {
        struct proxy proxy = {.origin = origin, .session = session};
        async_with_http_server (server, "127.0.0.1", port, NULL) {
            add_routes(server, &proxy);
            printf("http://127.0.0.1:%d\n", async_http_server_port(server));
            return async_http_serve(server);
        }
    }
    return async_block_error();
}

/* ---- a scene ---- */

static int hello(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "hello\n");
}

static int slow(struct async_http_request *request)
{
    int code = async_sleep(60);
    return code < 0 ? code : async_http_respond_text(request, 200, "at last\n");
}

static int broken(struct async_http_request *request) { return async_raise(-EIO, "broken"); }

static void ignore(struct async_http_request *request, int code, const char *message, void *data) {}

static int serve_in_background(void *server) { return async_http_serve(server); }

static void show(async_http_session *session, const char *path)
{
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    async_with_http_get (response, session, url)
        printf("%s: %d %s", path, async_http_status(response), async_http_text(response));
}

static void play(async_http_session *session)
{
    show(session, "/hello");
    for (int i = 0; i < FAILURES; i++)
        show(session, i == 0 ? "/slow" : "/broken");
    show(session, "/hello");
    show(session, "/health");
    async_sleep(3.1);
    show(session, "/hello");
    show(session, "/health");
    show(session, "/metrics");
}

static int scene(void *unused)
{
    char url[100];
    const async_http_server_options options = {.on_error = ignore, .shutdown_timeout = 0.1};

    async_with_http_server (behind, "127.0.0.1", 0, &options)
        async_with_http_session (session, NULL)
            async_with_http_server (server, "127.0.0.1", 0, &options) {
                snprintf(url, sizeof url, "http://127.0.0.1:%d", async_http_server_port(behind));
                struct proxy proxy = {.origin = url, .session = session};
                async_http_route(behind, "GET", "/hello", hello);
                async_http_route(behind, "GET", "/slow", slow);
                async_http_route(behind, "GET", "/broken", broken);
                add_routes(server, &proxy);
                port = async_http_server_port(server);
                async_task *tasks[] = {async_create_task(serve_in_background, behind),
                                       async_create_task(serve_in_background, server)};
                play(session);
                async_http_shutdown(server);
                async_http_shutdown(behind);
                int code = async_gather_array(tasks, 2);
                if (code < 0) return code;
            }
    return async_block_error();
}

int main(int argc, char **argv)
{
    bool serving = argc == 4 && strcmp(argv[1], "serve") == 0;
    if (argc > 1 && !serving) errx(2, "usage: %s [serve PORT URL]", argv[0]);
    if (serving) port = atoi(argv[2]), origin = argv[3];
    int code = async_run(serving ? serve : scene, NULL);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
    return 0;
}
