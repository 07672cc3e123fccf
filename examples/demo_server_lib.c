/* A small HTTP/1.1 server over streams: a task a connection, requests one after another on each.
 *
 * Clients are not trusted: what is too long or no HTTP gets an answer that says so and the end of
 * the connection, what is too slow only that; whatever one client does, the others do not notice. */
#include "demo_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_SECONDS 10.0   /* for a request to come, and for an idle connection to be kept */
#define ANSWER_SECONDS 30.0 /* for an answer to be taken */
#define LINE_SIZE 4096
#define HEADERS_MAX 100
#define BODY_MAX (1024 * 1024)

struct request {
    char method[16], target[LINE_SIZE];
    int minor; /* of HTTP/1.x */
    bool close;
    bool chunked;     /* a body that we do not read */
    long long length; /* of the body */
};

/* ---- reading a request ---- */

/* 0, or the status of the answer to a length that is none, or too much; and so the next. */
static int parse_length(struct request *request, const char *text)
{
    if (!*text || text[strspn(text, "0123456789")]) return 400;
    request->length = strtoll(text, NULL, 10);
    return request->length > BODY_MAX ? 413 : 0;
}

static int parse_header(struct request *request, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon || colon == line || strcspn(line, " \t") < (size_t)(colon - line)) return 400;
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    for (size_t end = strlen(value); end > 0 && strchr(" \t", value[end - 1]); end--)
        value[end - 1] = '\0';

    if (strcasecmp(line, "Connection") == 0) {
        if (strcasecmp(value, "close") == 0) request->close = true;
        if (strcasecmp(value, "keep-alive") == 0) request->close = false;
    } else if (strcasecmp(line, "Transfer-Encoding") == 0) {
        request->chunked = true;
    } else if (strcasecmp(line, "Content-Length") == 0) {
        return parse_length(request, value);
    }
    return 0;
}

static int parse_request_line(struct request *request, const char *line)
{
    char end;
    int got = sscanf(line, "%15s %4095s HTTP/1.%1d%c", request->method, request->target,
                     &request->minor, &end);
    if (got != 3) return 400;
    request->close = request->minor == 0;
    return 0;
}

/* A line without its end, of which it gives the length. Negative: ASYNC_ELIMIT if it is too long,
 * -EBADMSG if it is no text, -ENOENT if the client has said all that it had to say. */
static ssize_t read_line(async_stream *stream, char *line)
{
    ssize_t size = async_stream_readline(stream, line, LINE_SIZE);
    if (size <= 0) return size < 0 ? size : -ENOENT;
    if (memchr(line, '\0', (size_t)size)) return -EBADMSG;
    line[strcspn(line, "\r\n")] = '\0';
    return (ssize_t)strlen(line);
}

/* 0, the status of the answer to a head that is no good, or a negative code. */
static int read_head(async_stream *stream, struct request *request)
{
    char line[LINE_SIZE];
    ssize_t size;

    do /* an empty line before a request is to be forgiven */
        size = read_line(stream, line);
    while (size == 0);
    if (size < 0) return size == ASYNC_ELIMIT ? 414 : size == -EBADMSG ? 400 : (int)size;
    int status = parse_request_line(request, line);

    for (int i = 0; status == 0; i++) {
        size = read_line(stream, line);
        if (size == ASYNC_ELIMIT || i == HEADERS_MAX) return 431;
        if (size <= 0) return size == -EBADMSG ? 400 : (int)size;
        status = parse_header(request, line);
    }
    return status;
}

/* Reads the body, of which nobody here makes any use, so that the next request comes up. */
static int skip_body(async_stream *stream, const struct request *request)
{
    char buffer[4096];

    for (long long left = request->length; left > 0;) {
        size_t size = left < (long long)sizeof buffer ? (size_t)left : sizeof buffer;
        ssize_t got = async_stream_read(stream, buffer, size);
        if (got <= 0) return got < 0 ? (int)got : ASYNC_EINCOMPLETE;
        left -= got;
    }
    return request->chunked ? 411 : 0;
}

static int read_request(async_stream *stream, struct request *request)
{
    async_timeout (HEAD_SECONDS) {
        int status = read_head(stream, request);
        if (status == 0) status = skip_body(stream, request);
        return status == -ETIMEDOUT && *request->method ? 408 : status;
    }
    return async_block_error();
}

/* ---- answering it ---- */

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{200, "OK"},
                   {204, "No Content"},
                   {400, "Bad Request"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {411, "Length Required"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"}};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Status";
}

static int answer(async_stream *stream, const struct request *request, int status, const char *body)
{
    bool without = status == 204 || status == 304 || strcmp(request->method, "HEAD") == 0;
    return async_stream_printf(stream,
                               "HTTP/1.1 %d %s\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: %zu\r\n"
                               "%s%s\r\n%s",
                               status, reason(status), status == 204 ? (size_t)0 : strlen(body),
                               status == 405 ? "Allow: GET, HEAD\r\n" : "",
                               request->close ? "Connection: close\r\n" : "", without ? "" : body);
}

static int answer_status(async_stream *stream, const struct request *request, int status)
{
    char body[64];
    snprintf(body, sizeof body, "%d %s\n", status, reason(status));
    return answer(stream, request, status, body);
}

/* Five chunks, one every 0.2 seconds. HTTP/1.0 has none: there the connection's end is the body's. */
static int answer_stream(async_stream *stream, struct request *request)
{
    bool chunked = request->minor > 0;
    if (!chunked) request->close = true;
    int code =
        async_stream_printf(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%s%s\r\n",
                            chunked ? "Transfer-Encoding: chunked\r\n" : "",
                            request->close ? "Connection: close\r\n" : "");

    if (strcmp(request->method, "HEAD") == 0) return code;
    for (int i = 1; i <= 5 && code == 0; i++) {
        char text[32];
        int size = snprintf(text, sizeof text, "chunk %d of 5\n", i);
        code = async_sleep(0.2);
        if (code < 0) break;
        if (chunked)
            code = async_stream_printf(stream, "%x\r\n%s\r\n", (unsigned)size, text);
        else
            code = async_stream_write(stream, text, (size_t)size);
    }
    return code == 0 && chunked ? async_stream_write(stream, "0\r\n\r\n", 5) : code;
}

static int answer_request(async_stream *stream, struct request *request)
{
    int status;
    char end;

    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
        return answer_status(stream, request, 405);
    request->target[strcspn(request->target, "?#")] = '\0';
    if (strcmp(request->target, "/get") == 0)
        return answer(stream, request, 200, "Hello from casyncio's demo server\n");
    if (strcmp(request->target, "/stream") == 0) return answer_stream(stream, request);
    if (sscanf(request->target, "/status/%3d%c", &status, &end) == 1 && status >= 200 &&
        status <= 599)
        return answer_status(stream, request, status);
    return answer_status(stream, request, 404);
}

/* ---- connections ---- */

/* One request and its answer. 0: another may come. */
static int serve_request(async_stream *stream)
{
    struct request request = {.close = false};
    int status = read_request(stream, &request);
    if (status < 0) return status;

    async_timeout (ANSWER_SECONDS) {
        if (status > 0) request.close = true;
        int code =
            status > 0 ? answer_status(stream, &request, status) : answer_request(stream, &request);
        if (code == 0 && request.close) code = async_stream_write_eof(stream);
        return code < 0 ? code : request.close;
    }
    return async_block_error();
}

/* Reads for a moment what a client that was refused still sends: to close before it is read would
 * reset the connection, and the answer might be lost on its way. */
static void linger(async_stream *stream)
{
    char buffer[4096];
    async_timeout (1.0)
        while (async_stream_read(stream, buffer, sizeof buffer) > 0)
            continue;
}

struct serve {
    async_stream *stream;
};

static int serve(struct serve *self)
{
    int code;
    while ((code = serve_request(self->stream)) == 0)
        continue;
    if (code > 0) linger(self->stream);
    async_stream_abort(self->stream);
    async_block_error(); /* dealt with: what became of one client is no failure of the server's */
    return 0;
}

int demo_server(struct demo_server *self)
{
    async_with_group (group) {
        async_for (async_stream *, stream, async_server_clients(self->server))
            if (!async_group_spawn(group, serve, .stream = stream)) async_stream_abort(stream);
        return 0;
    }
    async_server_close(self->server); /* there was no memory for a group */
    return async_block_error();
}

/* ---- for the examples ---- */

const char *demo_server_url(const char *url, const char *path)
{
    static char address[256];
    const char *base = getenv("CASYNCIO_DEMO_URL");

    if (url) return url;
    if (base && *base) {
        snprintf(address, sizeof address, "%s%s", base, path);
        return address;
    }
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    if (!server) return NULL;
    snprintf(address, sizeof address, "http://127.0.0.1:%d%s", async_server_port(server), path);
    async_task *task = async_spawn(demo_server, .server = server);
    if (!task) {
        async_server_close(server);
        return NULL;
    }
    async_detach(task);
    return address;
}
