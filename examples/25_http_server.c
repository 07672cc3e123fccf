/* A web service: routes, a middleware, a body that is read, an answer that streams, files, and an end
 * that lets requests finish.
 * aiohttp: web.Application, add_routes, middlewares, StreamResponse, web.run_app
 *
 *     25_http_server serve PORT [DIRECTORY]     until Ctrl-C, SIGTERM
 *     25_http_server                            a scene: the service, and a client that asks it */
#include <casyncio.h>
#include <casyncio/http.h>
#include <casyncio/http_server.h>
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the service ---- */

struct counts {
    int requests, failures;
};

/* Around every handler: what it returns is an answer or an error that becomes one. */
static int count(struct async_http_request *request, struct counts *counts)
{
    counts->requests++;
    int code = async_http_next(request);
    if (code == -ERANGE)
        return async_http_respond_text(request, 400, "%s\n", async_error_message());
    if (code < 0) counts->failures++;
    return code;
}

static int hello(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "Hello, %s!\n", async_http_param(request, "name"));
}

static int add(struct async_http_request *request)
{
    const char *a = async_http_form(request, "a"), *b = async_http_form(request, "b");
    int code = async_block_error(); /* the body could not be read */
    if (code < 0) return code;
    if (!a || !b) return async_raise(-ERANGE, "a and b are to be given");
    return async_http_respond_text(request, 200, "%ld\n", atol(a) + atol(b));
}

/* Each event goes out as it happens; a client that does not take them makes the calls wait. */
static int tick(struct async_http_request *request)
{
    char text[32];
    for (int i = 1; i <= 3; i++) {
        snprintf(text, sizeof text, "tick %d", i);
        int code = async_http_send_event(request, NULL, NULL, text);
        if (code == 0) code = async_sleep(0.05);
        if (code < 0) return code;
    }
    return 0;
}

static int health(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "ok\n");
}

static int metrics(struct async_http_request *request, struct counts *counts)
{
    return async_http_respond_text(request, 200, "requests_total %d\nfailures_total %d\n",
                                   counts->requests, counts->failures);
}

static void add_routes(async_http_server *server, struct counts *counts)
{
    async_http_use(server, count, counts);
    async_http_route(server, "GET", "/hello/{name}", hello);
    async_http_route(server, "POST", "/add", add);
    async_http_route(server, "GET", "/ticks", tick);
    async_http_route(server, "GET", "/health", health);
    async_http_route(server, "GET", "/metrics", metrics, counts);
}

/* ---- serving until a signal ---- */

static int port;
static const char *directory;
static async_http_server *running;

static void stop(async_callback *callback) { async_http_shutdown(running); }

static void print_access(const async_http_access *access, void *data)
{
    char line[1024];
    async_http_common_log(line, sizeof line, access);
    puts(line);
}

static int serve(void *unused)
{
    static async_callback stops[2] = {{.run = stop}, {.run = stop}};
    struct counts counts = {0};

    async_with_http_server (server, "127.0.0.1", port,
                            (&(async_http_server_options){.access_log = print_access})) {
        running = server;
        async_add_signal_handler(async_get_running_loop(), SIGTERM, &stops[0]);
        async_add_signal_handler(async_get_running_loop(), SIGINT, &stops[1]);
        add_routes(server, &counts);
        if (directory) async_http_static(server, "/files/", directory);
        printf("http://127.0.0.1:%d\n", async_http_server_port(server));
        return async_http_serve(server);
    }
    return async_block_error();
}

/* ---- a scene ---- */

static int serve_in_background(void *server) { return async_http_serve(server); }

static void show(async_http_session *session, const char *path, const char *form)
{
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    async_with_http_request (response, session, .url = url, .method = form ? "POST" : "GET",
                             .body = form, .body_size = form ? strlen(form) : 0,
                             .content_type = form ? "application/x-www-form-urlencoded" : NULL)
        printf("%s: %d\n%s", path, async_http_status(response), async_http_text(response));
}

static int scene(void *unused)
{
    struct counts counts = {0};

    async_with_http_server (server, "127.0.0.1", 0, NULL) {
        add_routes(server, &counts);
        port = async_http_server_port(server);
        async_task *task = async_create_task(serve_in_background, server);
        async_with_http_session (session, NULL) {
            show(session, "/hello/Ann%20B", NULL);
            show(session, "/add", "a=20&b=22");
            show(session, "/add", "a=20");
            show(session, "/ticks", NULL);
            show(session, "/none", NULL);
            show(session, "/metrics", NULL);
        }
        async_http_shutdown(server);
        int code = async_await(task);
        if (code < 0) return code;
    }
    return async_block_error();
}

int main(int argc, char **argv)
{
    bool serving = argc >= 3 && argc <= 4 && strcmp(argv[1], "serve") == 0;
    if (argc > 1 && !serving) errx(2, "usage: %s [serve PORT [DIRECTORY]]", argv[0]);
    if (serving) port = atoi(argv[2]);
    if (serving) directory = argv[3];
    int code = async_run(serving ? serve : scene, NULL);
    if (code < 0) errx(1, "%s", async_run_error_message());
    return 0;
}
