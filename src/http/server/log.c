/* log.c - what the server tells the program of requests: the access log, and handlers' failures. */
#include "server_internal.h"

#include <stdio.h>
#include <time.h>

void async__http_log(struct async_http_request *request)
{
    const async_http_server_options *options = &request->server->options;
    const char *referer, *agent;

    if (!options->access_log) return;
    referer = async_http_request_header(request, "Referer");
    agent = async_http_request_header(request, "User-Agent");
    options->access_log(
        &(async_http_access){
            .peer = async_http_request_peer(request),
            .method = request->head.method,
            .target = request->head.target,
            .version = async_http_request_version(request),
            .referer = referer ? referer : "",
            .user_agent = agent ? agent : "",
            .status = request->status,
            .bytes = request->sent,
            .seconds = async_now() - request->began,
            .time = time(NULL),
        },
        options->data);
}

/* ---- the Common Log Format ---- */

struct writer {
    char *to;
    size_t room; /* with that for the 0 */
    int size;
};

static void put(struct writer *writer, const char *text, size_t size)
{
    for (size_t i = 0; i < size && writer->room > 1; i++, writer->room--)
        *writer->to++ = text[i];
    writer->size += (int)size;
}

static void put_text(struct writer *writer, const char *text) { put(writer, text, strlen(text)); }

/* Escaped, so that it ends neither its quotes nor its line. */
static void put_quoted(struct writer *writer, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c >= ' ' && c < 127 && c != '"' && c != '\\') {
            put(writer, text, 1);
        } else {
            snprintf(escaped, sizeof escaped, "\\x%02X", c);
            put_text(writer, escaped);
        }
    }
}

/* The peer without its port. */
static void put_peer(struct writer *writer, const char *peer)
{
    const char *colon = strrchr(peer, ':');
    size_t size = colon ? (size_t)(colon - peer) : strlen(peer);

    if (size > 2 && peer[0] == '[' && peer[size - 1] == ']') {
        peer++;
        size -= 2;
    }
    put(writer, size > 0 ? peer : "-", size > 0 ? size : 1);
}

static const char *or_dash(const char *text) { return text && *text ? text : "-"; }

int async_http_common_log(char *line, size_t size, const async_http_access *access)
{
    struct writer writer = {.room = size};
    char text[96];
    struct tm tm;
    time_t seconds;

    if (!access) return async__http_raise_null("access");
    writer.to = line;
    seconds = (time_t)access->time;
    put_peer(&writer, access->peer ? access->peer : "");
    strftime(text, sizeof text, " - - [%d/%b/%Y:%H:%M:%S %z] \"", localtime_r(&seconds, &tm));
    put_text(&writer, text);
    if (access->method && *access->method) {
        put_quoted(&writer, access->method);
        put_text(&writer, " ");
        put_quoted(&writer, access->target);
        put_text(&writer, " HTTP/");
        put_quoted(&writer, access->version);
    } else {
        put_text(&writer, "-");
    }
    snprintf(text, sizeof text, "\" %d %llu \"", access->status, (unsigned long long)access->bytes);
    put_text(&writer, text);
    put_quoted(&writer, or_dash(access->referer));
    put_text(&writer, "\" \"");
    put_quoted(&writer, or_dash(access->user_agent));
    put_text(&writer, "\"");
    if (size > 0) *writer.to = '\0';
    return writer.size;
}

/* ---- failures ---- */

struct report {
    int code;
    char message[512];
};

/* A task that nothing awaits: its error goes to the loop's exception handler. */
static int report(struct report *self)
{
    return async_raise_at(NULL, 0, NULL, self->code, "%s", self->message);
}

void async__http_report(struct async_http_request *request, int code, const char *message)
{
    const async_http_server_options *options = &request->server->options;

    if (options->on_error) {
        options->on_error(request, code, message, options->data);
        return;
    }
    struct report self = {.code = code};
    snprintf(self.message, sizeof self.message, "%s %.200s: %s", request->head.method,
             request->head.target, message);
    async_detach(async_spawn_copy(report, self));
}
