/* respond.c - answers, whatever their framing: what may be answered when, and with which headers.
 *
 * The names of the headers that say how the message is framed are the server's alone. */
#include "server_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *async__http_reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {418, "I'm a Teapot"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return "";
}

/* ---- the handler's headers ---- */

static int no_memory(void)
{
    return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP answer");
}

static int append(struct async__buffer *buffer, const char *text)
{
    return async__buffer_append(buffer, text, strlen(text));
}

/* The line of that name, or NULL. */
char *async__http_find_line(struct async__buffer *lines, const char *name)
{
    size_t size = strlen(name);

    if (async__buffer_size(lines) == 0) return NULL;
    char *at = async__buffer_bytes(lines), *end = at + async__buffer_size(lines);
    for (; at < end; at = (char *)memchr(at, '\n', (size_t)(end - at)) + 1)
        if (async__http_begins(at, name) && at[size] == ':') return at;
    return NULL;
}

static void remove_lines(struct async__buffer *lines, const char *name)
{
    char *line;

    while ((line = async__http_find_line(lines, name))) {
        char *end = lines->data + lines->end, *next = memchr(line, '\n', (size_t)(end - line));
        memmove(line, next + 1, (size_t)(end - next - 1));
        lines->end -= (size_t)(next + 1 - line);
    }
}

static int check_line(const char *what, const char *name, const char *value)
{
    static const char *const own[] = {"Content-Length", "Transfer-Encoding", "Connection",
                                      "Upgrade", "Trailer"};

    if (!name || !async__http_is_token(name))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a %s's name is not a token", what);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (async__http_same(name, own[i]))
            return async_raise_at(NULL, 0, NULL, -EINVAL, "the %s %s is the server's business",
                                  what, name);
    if (value && !async__http_is_value(value))
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "the %s %s: there is a control character in its value", what, name);
    return 0;
}

static int check_header(struct async_http_request *request, const char *name, const char *value)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer != ASYNC__HTTP_UNANSWERED)
        return async_raise_at(NULL, 0, NULL, -EALREADY,
                              "the header %s: the answer has begun already", name ? name : "");
    return check_line("header", name, value);
}

static int add_line(struct async__buffer *lines, const char *name, const char *value)
{
    if (async__buffer_reserve(lines, strlen(name) + strlen(value) + 4) < 0) return no_memory();
    append(lines, name);
    append(lines, ": ");
    append(lines, value);
    append(lines, "\r\n");
    return 0;
}

/* In place of the lines of that name. Room first: a failure leaves them as they were. */
static int set_line(struct async__buffer *lines, const char *name, const char *value)
{
    if (value && async__buffer_reserve(lines, strlen(name) + strlen(value) + 4) < 0)
        return no_memory();
    remove_lines(lines, name);
    return value ? add_line(lines, name, value) : 0;
}

int async_http_set_header(struct async_http_request *request, const char *name, const char *value)
{
    int code = check_header(request, name, value);
    return code < 0 ? code : set_line(&request->extra, name, value);
}

int async_http_add_header(struct async_http_request *request, const char *name, const char *value)
{
    int code = check_header(request, name, value);
    if (code < 0) return code;
    return value ? add_line(&request->extra, name, value) : 0;
}

/* What has to be known before the body (RFC 9110, 6.5.1): how the message is framed and read, where it goes,
 * who may see it, and how the answer is dealt with. */
static bool is_for_head(const char *name)
{
    static const char *const names[] = {"Age",
                                        "Authorization",
                                        "Authentication-Info",
                                        "Cache-Control",
                                        "Content-Encoding",
                                        "Content-Range",
                                        "Content-Type",
                                        "Cookie",
                                        "Date",
                                        "Expect",
                                        "Expires",
                                        "Host",
                                        "Keep-Alive",
                                        "Location",
                                        "Max-Forwards",
                                        "Pragma",
                                        "Proxy-Authenticate",
                                        "Proxy-Authentication-Info",
                                        "Proxy-Authorization",
                                        "Proxy-Connection",
                                        "Range",
                                        "Retry-After",
                                        "Set-Cookie",
                                        "TE",
                                        "Vary",
                                        "Warning",
                                        "WWW-Authenticate"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (async__http_same(name, names[i])) return true;
    return async__http_begins(name, "If-");
}

int async_http_set_trailer(struct async_http_request *request, const char *name, const char *value)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer != ASYNC__HTTP_UNANSWERED && request->answer != ASYNC__HTTP_SENDING)
        return async_raise_at(NULL, 0, NULL, -EALREADY,
                              "the trailer %s: the answer has ended already", name ? name : "");
    int code = check_line("trailer", name, value);
    if (code < 0) return code;
    if (is_for_head(name))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "%s may be a header, but no trailer", name);
    return set_line(&request->answer_trailers, name, value);
}

/* A header with the names of the trailers that there are: 0 or -ENOMEM, raised. */
static int announce_trailers(struct async_http_request *request)
{
    struct async__buffer *lines = &request->answer_trailers, *to = &request->extra;
    size_t size = async__buffer_size(lines); /* more than the names take */

    if (async__buffer_reserve(to, sizeof "Trailer: \r\n" + size) < 0) return no_memory();
    remove_lines(to, "Trailer"); /* of an attempt that failed */
    const char *comma = "Trailer: ", *at = async__buffer_bytes(lines), *end = at + size;
    for (; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1, comma = ", ") {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        append(to, comma);
        async__buffer_append(to, at, (size_t)(colon - at));
    }
    return append(to, "\r\n");
}

static bool cookie_ok(const char *text, const char *but)
{
    for (; *text; text++)
        if (*text <= ' ' || *text == 127 || strchr(but, *text)) return false;
    return true;
}

int async__http_set_cookie(struct async_http_request *request, const char *name, const char *value,
                           const async_http_cookie_options *given, size_t given_size)
{
    async_http_cookie_options options;
    char line[4096];

    if (!request) return async__http_raise_null("request");
    if (async__options(&options, sizeof options, given, given_size) < 0 || !name ||
        !async__http_is_token(name) || !value || !cookie_ok(value, ",;\\\"") ||
        !cookie_ok(options.path ? options.path : "", ",;\\\"") ||
        !cookie_ok(options.domain ? options.domain : "", ",;\\\"") ||
        !cookie_ok(options.same_site ? options.same_site : "", ",;\\\"="))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a cookie's name or value is malformed");
    char age[40] = "";
    if (options.max_age != 0)
        snprintf(age, sizeof age, "; Max-Age=%lld",
                 options.max_age < 0 ? 0LL : (long long)options.max_age);
    int size = snprintf(line, sizeof line, "%s=%s%s%s%s%s%s%s%s%s%s", name, value, age,
                        options.path ? "; Path=" : "", options.path ? options.path : "",
                        options.domain ? "; Domain=" : "", options.domain ? options.domain : "",
                        options.secure ? "; Secure" : "", options.http_only ? "; HttpOnly" : "",
                        options.same_site ? "; SameSite=" : "",
                        options.same_site ? options.same_site : "");
    if (size >= (int)sizeof line)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a cookie is longer than 4095 bytes");
    return async_http_add_header(request, "Set-Cookie", line);
}

int async_http_close_after(struct async_http_request *request)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer != ASYNC__HTTP_UNANSWERED)
        return async_raise_at(NULL, 0, NULL, -EALREADY, "the answer has begun already");
    request->close = true;
    return 0;
}

int async_http_response_status(const struct async_http_request *request)
{
    return request ? request->status : 0;
}

/* ---- the head ---- */

static int check_begin(struct async_http_request *request, int status, const char *content_type)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer != ASYNC__HTTP_UNANSWERED)
        return async_raise_at(NULL, 0, NULL, -EALREADY, "%s %s has been answered already",
                              request->head.method, request->head.target);
    if (status < 200 || status > 599)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "%d is no status of an answer", status);
    if (content_type && !async__http_is_value(content_type))
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "there is a control character in the content type");
    return 0;
}

/* Puts the head together: 0, or a code, and nothing has happened. */
static int begin(struct async_http_request *request, int status, const char *content_type,
                 int64_t length)
{
    int code = check_begin(request, status, content_type);

    if (code < 0) return code;
    request->status = status;
    request->no_body = status == 204 || status == 304 || request->is_head;
    request->left = length;
    length = async__http_gzip_begin(request, content_type, length);
    bool trails = !request->no_body && async__buffer_size(&request->answer_trailers) > 0 &&
                  (request->framing != &async__http1 || (length < 0 && request->head.minor == 1));
    if ((trails && announce_trailers(request) < 0) ||
        request->framing->head(request, content_type, length) < 0) {
        async__http_gzip_free(request->gzip);
        request->gzip = NULL;
        request->status = 0;
        return no_memory();
    }
    request->answer = ASYNC__HTTP_SENDING;
    return 0;
}

/* Sends a piece of the body, or none, and with it the head. After a failure a part of the answer may
 * have gone out. */
static int deliver(struct async_http_request *request, const void *data, size_t size, bool last)
{
    if (request->no_body) size = 0;
    int code = request->gzip && !request->no_body
                   ? async__http_gzip_send(request, data, size, last)
                   : request->framing->send(request, data, size, last);

    if (code < 0)
        request->answer = ASYNC__HTTP_BROKEN;
    else if (last)
        request->answer = ASYNC__HTTP_ANSWERED;
    return code;
}

/* ---- answers as a whole ---- */

int async_http_respond(struct async_http_request *request, int status, const char *content_type,
                       const void *body, size_t size)
{
    int code = begin(request, status, content_type, (int64_t)size);

    return code < 0 ? code : deliver(request, body, size, true);
}

int async_http_respond_text(struct async_http_request *request, int status, const char *format, ...)
{
    va_list arguments;

    if (!request) return async__http_raise_null("request");
    if (!format) return async_raise_at(NULL, 0, NULL, -EINVAL, "the format is NULL");
    va_start(arguments, format);
    /* Where there is room in the request already, which is at the front: a stack is paid for by the page. */
    size_t room = request->room;
    int size = vsnprintf(request->memory, room, format, arguments);
    va_end(arguments);
    if (size < 0) return async_raise_at(NULL, 0, NULL, -EINVAL, "the text cannot be formatted");
    char *text = async__http_request_alloc(request, (size_t)size + 1);
    if (!text) return -ENOMEM;
    if ((size_t)size < room) {
        memmove(text, request->memory, (size_t)size + 1);
    } else {
        va_start(arguments, format);
        vsnprintf(text, (size_t)size + 1, format, arguments);
        va_end(arguments);
    }
    return async_http_respond(request, status, "text/plain; charset=utf-8", text, (size_t)size);
}

int async__http_respond_status(struct async_http_request *request, int status)
{
    return async_http_respond_text(request, status, "%d %s\n", status,
                                   async__http_reason_of(status));
}

int async_http_redirect(struct async_http_request *request, int status, const char *location)
{
    if (!request) return async__http_raise_null("request");
    if (!location || !*location || strchr("\t ", *location) ||
        (status != 301 && status != 302 && status != 303 && status != 307 && status != 308))
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "a redirect has no location, or its status "
                              "is none of a redirect's");
    int code = async_http_set_header(request, "Location", location);
    return code < 0 ? code : async__http_respond_status(request, status);
}

/* ---- answers piece by piece ---- */

int async_http_respond_begin(struct async_http_request *request, int status,
                             const char *content_type, int64_t length)
{
    if (request && length < -1)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "the length of the answer is negative");
    int code = begin(request, status, content_type, length);
    return code < 0 ? code : deliver(request, NULL, 0, false);
}

static int check_sending(const struct async_http_request *request)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer == ASYNC__HTTP_SENDING) return 0;
    if (request->answer == ASYNC__HTTP_BROKEN)
        return async_raise_at(NULL, 0, NULL, -EPIPE, "the answer broke off before");
    return async_raise_at(NULL, 0, NULL, -EINVAL,
                          request->answer == ASYNC__HTTP_UNANSWERED
                              ? "the answer has not begun: async_http_respond_begin"
                              : "the answer has ended already");
}

int async_http_respond_write(struct async_http_request *request, const void *data, size_t size)
{
    int code = check_sending(request);

    if (code == 0) code = async_checkpoint();
    if (code < 0 || size == 0) return code;
    if (request->left >= 0 && size > (uint64_t)request->left)
        return async_raise_at(NULL, 0, NULL, -EMSGSIZE, "more than the length that was announced");
    if (request->left >= 0) request->left -= (int64_t)size;
    return request->no_body ? 0 : deliver(request, data, size, false);
}

int async_http_respond_printf(struct async_http_request *request, const char *format, ...)
{
    va_list arguments;
    char *text;

    if (!request) return async__http_raise_null("request");
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0) return no_memory();
    int code = async_http_respond_write(request, text, (size_t)size);
    free(text);
    return code;
}

int async_http_respond_end(struct async_http_request *request)
{
    if (request && request->answer == ASYNC__HTTP_ANSWERED) return 0;
    int code = check_sending(request);

    if (code < 0) return code;
    if (request->left > 0 && !request->no_body)
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "the answer is %lld bytes shorter than was announced",
                              (long long)request->left);
    return deliver(request, NULL, 0, true);
}

int async__http_finish_answer(struct async_http_request *request)
{
    return request->answer == ASYNC__HTTP_SENDING ? async_http_respond_end(request) : 0;
}

/* ---- server-sent events ---- */

static int add_event_field(struct async__buffer *out, const char *name, const char *value,
                           size_t size)
{
    int bad = append(out, name);
    bad |= async__buffer_append(out, value, size);
    bad |= append(out, "\n");
    return bad;
}

int async_http_send_event(struct async_http_request *request, const char *event, const char *id,
                          const char *data)
{
    struct async__buffer text = {0};
    int code = 0, bad = 0;

    if (!request) return async__http_raise_null("request");
    if ((event && strpbrk(event, "\r\n")) || (id && strpbrk(id, "\r\n")))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a line break in an event's name or id");
    if (request->answer == ASYNC__HTTP_UNANSWERED) {
        code = async_http_set_header(request, "Cache-Control", "no-store");
        if (code == 0) code = async_http_respond_begin(request, 200, "text/event-stream", -1);
        if (code < 0) return code;
    }
    if (event) bad |= add_event_field(&text, "event: ", event, strlen(event));
    if (id) bad |= add_event_field(&text, "id: ", id, strlen(id));
    for (const char *line = data ? data : ""; bad == 0;) {
        size_t size = strcspn(line, "\r\n");
        bad |= add_event_field(&text, "data: ", line, size);
        if (!line[size]) break;
        line += size + (line[size] == '\r' && line[size + 1] == '\n' ? 2 : 1);
    }
    bad |= append(&text, "\n");
    code = bad < 0 ? no_memory()
                   : async_http_respond_write(request, async__buffer_bytes(&text),
                                              async__buffer_size(&text));
    async__buffer_free(&text);
    return code;
}

/* ---- upgrades ---- */

static bool asks_for(const struct async_http_request *request, const char *protocol)
{
    const struct async__http_fields *fields = &request->head.fields;
    bool connection = false, upgrade = false;

    for (int i = 0; i < fields->count; i++) {
        const struct async__http_field *field = &fields->at[i];
        if (async__http_same_name(field->name, "Connection"))
            connection |= async__http_list_has(field->value, "upgrade");
        if (async__http_same_name(field->name, "Upgrade"))
            upgrade |= async__http_list_has(field->value, protocol);
    }
    return connection && upgrade && request->framing == &async__http1 && request->head.minor == 1;
}

async_stream *async_http_upgrade(struct async_http_request *request, const char *protocol)
{
    struct async__buffer *out;
    int bad = 0;

    if (check_begin(request, 200, NULL) < 0) return NULL;
    if (!protocol || !*protocol || strchr(protocol, ',') || !async__http_is_value(protocol) ||
        !asks_for(request, protocol) || request->body != ASYNC__HTTP_NO_BODY) {
        async_raise_at(NULL, 0, NULL, -EINVAL, "the client has not asked for an upgrade to %s",
                       protocol ? protocol : "NULL");
        return NULL;
    }
    if (async__buffer_size(&request->connection->in) > 0) {
        async_raise_at(NULL, 0, NULL, ASYNC_EHTTP,
                       "the client did not wait for the answer to its upgrade");
        return NULL;
    }
    out = &request->out;
    out->start = out->end = 0;
    bad |= append(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ");
    bad |= append(out, protocol);
    bad |= append(out, "\r\n");
    bad |= async__buffer_append(out, async__buffer_bytes(&request->extra),
                                async__buffer_size(&request->extra));
    bad |= append(out, "\r\n");
    if (bad < 0) {
        no_memory();
        return NULL;
    }
    request->status = 101;
    request->answer = ASYNC__HTTP_UPGRADED;
    request->close = true;
    int code =
        async__http1_send(request->connection, async__buffer_bytes(out), async__buffer_size(out));
    if (code == 0) return request->connection->stream;
    request->answer = ASYNC__HTTP_BROKEN;
    return NULL;
}
