/* server.c - a server: its options, its serving, its end.
 *
 * It is counted: each call that serves has a reference, so that it may be freed meanwhile. Requests
 * that have been answered are kept for the next, with their buffers. */
#include "server_internal.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#define SPARE_MAX 64 /* requests that are kept */

/* ---- requests ---- */

static struct async_http_request *new_request(async_http_server *server)
{
    size_t fields = (size_t)server->options.max_headers;
    struct async_http_request *request = async__alloc_zeroed(sizeof *request);

    if (!request) return NULL;
    request->parser = async__http_parser_new();
    request->fields = async__alloc(fields * sizeof *request->fields);
    if (request->parser && request->fields) return request;
    async__http_parser_free(request->parser);
    async__free(request->fields);
    async__free(request);
    return NULL;
}

static void free_request(struct async_http_request *request)
{
    async__http_parser_free(request->parser);
    async__free(request->fields);
    async__buffer_free(&request->head_bytes);
    async__buffer_free(&request->whole);
    async__buffer_free(&request->extra);
    async__buffer_free(&request->answer_trailers);
    async__buffer_free(&request->out);
    async__free(request);
}

struct async_http_request *async__http_request_take(async_http_server *server)
{
    struct async_http_request *request = server->spare;

    if (request) {
        server->spare = request->next;
        server->spare_count--;
    } else {
        request = new_request(server);
        if (!request) {
            async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a request");
            return NULL;
        }
    }
    request->server = server;
    request->max_body = server->options.max_body;
    request->room = sizeof request->memory;
    request->head.method = request->head.target = "";
    request->path = request->host = "";
    request->head.minor = 1;
    request->head.fields.at = request->fields;
    request->head.fields.capacity = server->options.max_headers;
    return request;
}

static void empty(struct async__buffer *buffer)
{
    if (buffer->capacity > ASYNC__HTTP_KEEP) async__buffer_free(buffer);
    buffer->start = buffer->end = 0;
}

/* All zeros but what is kept. */
static void reset(struct async_http_request *request)
{
    size_t kept = offsetof(struct async_http_request, next);

    memset((char *)request + kept, 0, offsetof(struct async_http_request, params) - kept);
}

void async__http_request_give(struct async_http_request *request)
{
    async_http_server *server = request->server;

    while (request->blocks) {
        struct async__http_block *block = request->blocks;
        request->blocks = block->next;
        async__free(block);
    }
    async__http_gzip_free(request->gzip);
    async__http_multipart_free(request->multipart);
    empty(&request->head_bytes);
    empty(&request->whole);
    empty(&request->extra);
    empty(&request->answer_trailers);
    empty(&request->out);
    if (server->spare_count == SPARE_MAX) {
        free_request(request);
        return;
    }
    reset(request);
    request->next = server->spare;
    server->spare = request;
    server->spare_count++;
}

/* ---- options ---- */

static int set_options(async_http_server *server, const async_http_server_options *given,
                       size_t given_size)
{
    async_http_server_options *options = &server->options;
    int bad = async__options(options, sizeof *options, given, given_size);

    bad |= async__option_seconds(&options->head_timeout, 10);
    bad |= async__option_seconds(&options->body_timeout, 30);
    bad |= async__option_seconds(&options->idle_timeout, 75);
    bad |= async__option_seconds(&options->write_timeout, 30);
    bad |= async__option_seconds(&options->shutdown_timeout, 30);
    if (options->max_head == 0) options->max_head = 32768;
    if (options->max_headers == 0) options->max_headers = 100;
    if (options->max_body == 0) options->max_body = 1048576;
    if (options->max_connections == 0) options->max_connections = 10000;
    if (options->max_parts == 0) options->max_parts = 100;
    if (options->max_streams == 0) options->max_streams = 100;
    if (options->max_streams < 0 || options->max_parts < 0 || options->max_headers < 0 ||
        options->max_connections < 0 || options->max_requests < 0)
        bad = -EINVAL;
    if (options->max_head > INT_MAX || options->max_headers > 10000) bad = -EINVAL;
    const char *name = options->server_name ? options->server_name : "";
    if (!async__http_is_value(name)) bad = -EINVAL;
    if (bad < 0)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "HTTP server: an option makes no sense");
    size_t size = strlen(name) + sizeof "Server: \r\n";
    server->server_header = async__alloc(size);
    if (!server->server_header)
        return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP server");
    server->server_header[0] = '\0';
    if (*name) snprintf(server->server_header, size, "Server: %s\r\n", name);
    options->server_name = NULL;
    return 0;
}

/* ---- making and freeing ---- */

void async__http_server_ref(async_http_server *server) { server->references++; }

void async__http_server_unref(async_http_server *server)
{
    if (--server->references > 0) return;
    if (server->loop) async_timer_cancel(server->loop, &server->stop_timer);
    if (server->listener) async_server_close(server->listener);
    while (server->spare) {
        struct async_http_request *request = server->spare;
        server->spare = request->next;
        free_request(request);
    }
    async__http_routes_free(server);
    async__http_directories_free(server);
    async__free(server->server_header);
    async__free(server);
}

static async_http_server *new_server(const async_http_server_options *options, size_t options_size)
{
    async_http_server *server = async__alloc_zeroed(sizeof *server);

    if (!server) {
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP server");
        return NULL;
    }
    server->references = 1;
    if (set_options(server, options, options_size) == 0) return server;
    async__http_server_unref(server);
    return NULL;
}

async_http_server *async__http_server_new(const async_http_server_options *options,
                                          size_t options_size)
{
    async_http_server *server = new_server(options, options_size);

    if (!server || !server->options.tls) return server;
    async__http_server_unref(server);
    async_raise_at(NULL, 0, NULL, -EINVAL,
                   "HTTP server: it does not listen, and so has no use for a TLS context");
    return NULL;
}

/* 0 or a code. */
static int listen_on(async_http_server *server, const char *host, int port)
{
    async_server_securer *securer = (async_server_securer *)server->options.tls;

    server->listener =
        async_start_server(host, port, &(async_server_options){.backlog = SOMAXCONN});
    if (!server->listener) return async_error_code();
    server->port = async_server_port(server->listener);
    return securer ? securer->secure(securer, server->listener) : 0;
}

async_http_server *async__http_server_start(const char *host, int port,
                                            const async_http_server_options *options,
                                            size_t options_size)
{
    async_http_server *server = new_server(options, options_size);

    if (!server || listen_on(server, host, port) == 0) return server;
    async__http_server_unref(server);
    return NULL;
}

void async_http_server_free(async_http_server *server)
{
    if (!server) return;
    if (server->listener) {
        async_server_close(server->listener);
        server->listener = NULL;
    }
    async__http_server_unref(server);
}

int async_http_server_port(const async_http_server *server) { return server ? server->port : 0; }

int async_http_server_connections(const async_http_server *server)
{
    return server ? server->connection_count : 0;
}

int async_http_server_requests(const async_http_server *server)
{
    return server ? server->request_count : 0;
}

/* ---- serving ---- */

static int serve_listener(async_http_server *server, async_server *listener)
{
    struct async__http_serving self = {.next = server->serving, .listener = listener};
    struct async__http_serving **link = &server->serving;

    if (server->stopping) return async_server_close(listener);
    async__http_server_ref(server);
    server->serving = &self;
    int code = async__server_serve(listener, async__http_serve_client, server, "http");
    while (*link != &self)
        link = &(*link)->next;
    *link = self.next;
    async__http_server_unref(server);
    return code;
}

int async_http_serve(async_http_server *server)
{
    if (!server) return async__http_raise_null("server");
    async_server *listener = server->listener;
    if (!listener && server->port == 0)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "the HTTP server does not listen");
    if (!listener) return async_raise_at(NULL, 0, NULL, -EBUSY, "the HTTP server serves already");
    server->listener = NULL; /* the call's */
    return serve_listener(server, listener);
}

int async_http_serve_on(async_http_server *server, async_server *listener)
{
    if (!listener) {
        int code = async_error_code();
        return code < 0 ? code : async__http_raise_null("listener");
    }
    if (server) return serve_listener(server, listener);
    async_server_close(listener);
    return async__http_raise_null("server");
}

int async_http_serve_stream(async_http_server *server, async_stream *stream)
{
    if (!stream) return async__http_raise_null("stream");
    if (!server) {
        async_stream_abort(stream);
        return async__http_raise_null("server");
    }
    int code = async_checkpoint();
    if (code < 0) {
        async_stream_abort(stream);
        return code;
    }
    async__http_server_ref(server);
    code = async__http_serve_client(stream, server);
    async__http_server_unref(server);
    return code;
}

/* ---- the end ---- */

static void time_is_over(async_callback *callback)
{
    async_http_server *server =
        (async_http_server *)((char *)callback - offsetof(async_http_server, stop_timer.callback));
    for (struct async__http_connection *each = server->connections; each; each = each->next)
        async_scope_cancel(&each->scope);
}

void async__http_server_parted(async_http_server *server)
{
    if (server->connection_count == 0 && server->loop) {
        async_timer_cancel(server->loop, &server->stop_timer);
        server->loop = NULL;
    }
}

int async_http_shutdown(async_http_server *server)
{
    if (!server) return async__http_raise_null("server");
    if (server->stopping) return 0;
    server->stopping = true;
    for (struct async__http_serving *each = server->serving; each; each = each->next)
        async_server_close(each->listener);
    for (struct async__http_connection *each = server->connections; each; each = each->next) {
        if (each->http2)
            async__http2_shutdown(each->http2);
        else if (each->idle)
            async_scope_cancel(&each->wait);
        if (each->upgrade) each->upgrade->shutdown(each->upgrade);
    }
    if (server->connection_count == 0) return 0;
    server->loop = async_get_running_loop();
    server->stop_timer.callback.run = time_is_over;
    int code = server->loop ? async_call_later(server->loop, &server->stop_timer,
                                               server->options.shutdown_timeout)
                            : 0;
    if (code < 0) time_is_over(&server->stop_timer.callback); /* no memory: at once, then */
    return 0;
}

/* ---- dates ---- */

void async__http_format_date(char text[40], int64_t seconds_since_1970)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t value = (time_t)seconds_since_1970;
    struct tm tm = {.tm_mday = 1};

    gmtime_r(&value, &tm);
    snprintf(text, 40, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

const char *async__http_date(async_http_server *server)
{
    time_t now = time(NULL);

    if (now != server->date_time || !server->date[0]) {
        async__http_format_date(server->date, now);
        server->date_time = now;
    }
    return server->date;
}
