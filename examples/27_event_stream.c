/* Server-sent events from a slow source: one task asks it, and all clients are told, each at its own pace.
 * A client that does not take its events is dropped, and holds up none of the others.
 * aiohttp: aiohttp-sse
 *
 *     27_event_stream serve PORT     until Ctrl-C; then: curl -N http://127.0.0.1:PORT/events
 *     27_event_stream                a scene: two clients, the second of which comes later */
#include <casyncio.h>
#include <casyncio/http.h>
#include <casyncio/http_server.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 8 }; /* events that a client may be behind */

/* The last events, and a condition that tells of a new one. */
struct source {
    async_condition news;
    int count, end; /* how many there have been; there are no more after so many */
    char events[KEPT][32];
};

static int measure(struct source *source)
{
    while (source->count < source->end) {
        int code = async_sleep(0.1); /* slow */
        if (code < 0) return code;
        async_with_condition (&source->news) {
            snprintf(source->events[source->count % KEPT], sizeof *source->events, "value %d",
                     source->count + 1);
            source->count++;
            async_condition_notify_all(&source->news);
        }
    }
    return 0;
}

/* The next event behind `seen`; 0: there are no more; -EOVERFLOW: the client is too far behind. */
static int next_event(struct source *source, int seen, char text[32])
{
    async_with_condition (&source->news) {
        while (source->count == seen && seen < source->end) {
            int code = async_condition_wait(&source->news);
            if (code < 0) return code;
        }
        if (source->count == seen) return 0;
        if (source->count - seen > KEPT) return -EOVERFLOW;
        strcpy(text, source->events[seen % KEPT]);
    }
    int code = async_block_error();
    return code < 0 ? code : 1;
}

/* A browser that comes back says which event it saw last. */
static int events(struct async_http_request *request, struct source *source)
{
    const char *last = async_http_request_header(request, "Last-Event-ID");
    int seen = last ? atoi(last) : source->count, code;
    char text[32], id[16];

    if (seen < 0 || seen > source->count) seen = source->count;
    while ((code = next_event(source, seen, text)) > 0) {
        snprintf(id, sizeof id, "%d", ++seen);
        code = async_http_send_event(request, "value", id, text);
        if (code < 0) return code;
    }
    if (code == -EOVERFLOW) return 0; /* the client may come back, and is told the rest */
    if (code == 0 && async_http_response_status(request) == 0)
        return async_http_respond(request, 204, NULL, NULL, 0); /* do not come back */
    return code;
}

static int port;

static int serve(void *unused)
{
    struct source source = {.end = 1000000};
    async_with_http_server (server, "127.0.0.1", port, NULL) {
        async_http_route(server, "GET", "/events", events, &source);
        printf("http://127.0.0.1:%d/events\n", async_http_server_port(server));
        async_detach(async_create_task((async_coroutine)(void (*)(void))measure, &source));
        return async_http_serve(server);
    }
    return async_block_error();
}

/* ---- a scene ---- */

static int serve_in_background(void *server) { return async_http_serve(server); }

/* How many events it is told, from which on. */
struct watch {
    async_http_session *session;
    const char *from;
};

static int watch(struct watch *self)
{
    char url[100], line[64];
    int count = 0;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/events", port);
    snprintf(line, sizeof line, "Last-Event-ID: %s", self->from);
    async_with_http_request (response, self->session, .url = url,
                             .headers = (const char *[]){line, NULL}) {
        const char *text = async_http_text(response);
        for (const char *at = text; at && (at = strstr(at, "data: ")); at++)
            count++;
        printf("from %s: %d, %d events\n", self->from, async_http_status(response), count);
    }
    return async_block_error();
}

static int scene(void *unused)
{
    struct source source = {.end = 6};
    async_with_http_server (server, "127.0.0.1", 0, NULL)
        async_with_http_session (session, NULL) {
            async_http_route(server, "GET", "/events", events, &source);
            port = async_http_server_port(server);
            async_task *task = async_create_task(serve_in_background, server);
            async_task *first = async_spawn(watch, .session = session, .from = "0");
            async_task *measuring =
                async_create_task((async_coroutine)(void (*)(void))measure, &source);
            async_await(first);
            async_await(measuring);
            async_await(async_spawn(watch, .session = session, .from = "4"));
            async_await(async_spawn(watch, .session = session, .from = "6"));
            async_http_shutdown(server);
            int code = async_await(task);
            if (code < 0) return code;
        }
    return async_block_error();
}

int main(int argc, char **argv)
{
    bool serving = argc == 3 && strcmp(argv[1], "serve") == 0;
    if (argc > 1 && !serving) errx(2, "usage: %s [serve PORT]", argv[0]);
    if (serving) port = atoi(argv[2]);
    int code = async_run(serving ? serve : scene, NULL);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
    return 0;
}
