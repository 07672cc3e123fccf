/* stream.c - a stream of HTTP/2: the task that has its request answered, and its framing.
 *
 * The window of a stream is what nghttp2 has not been told to be consumed: its handler's reading opens
 * it, so a body that is not read stays with the client. A piece of an answer waits in the caller's memory
 * until the client's windows and the connection have room for it: the task waits until nghttp2 has taken
 * all of it. */
#include "http2_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

/* ---- making and freeing ---- */

struct async__http2_stream *async__http2_stream_new(struct async__http2 *http2, int32_t id)
{
    struct async__http_connection *connection = http2->connection;
    struct async__http2_stream *self = async__alloc_zeroed(sizeof *self);

    if (self) self->request = async__http_request_take(connection->server);
    if (!self || !self->request) {
        async__free(self);
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a request");
        return NULL;
    }
    self->http2 = http2;
    self->id = id;
    self->request->connection = connection;
    self->request->framing = &async__http2_framing;
    self->request->stream = self;
    self->next = http2->streams;
    if (self->next) self->next->previous = self;
    http2->streams = self;
    http2->live++;
    return self;
}

void async__http2_stream_free(struct async__http2_stream *self)
{
    struct async__http2 *http2 = self->http2;

    if (self->next) self->next->previous = self->previous;
    if (self->previous)
        self->previous->next = self->next;
    else
        http2->streams = self->next;
    if (!self->has_task) http2->head_since = 0;
    if (--http2->live == 0) http2->idle_since = async_now();
    async__buffer_free(&self->in);
    async__http_request_give(self->request);
    async__free(self);
    async__http2_set_deadline(http2);
}

/* ---- the task ---- */

/* What nghttp2 still knows of the stream, when its task ends. A client that still sends a body is told that
 * it need not. */
static void leave(struct async__http2_stream *self, bool whole)
{
    nghttp2_session *session = self->http2->session;
    size_t unread = async__buffer_size(&self->in);

    if (unread > 0) nghttp2_session_consume_connection(session, unread);
    if (!self->closed) {
        nghttp2_session_set_stream_user_data(session, self->id, NULL);
        if (!whole || !self->in_done)
            nghttp2_submit_rst_stream(session, 0, self->id,
                                      whole ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
    }
    async__http2_flush_soon(self->http2);
}

int async__http2_stream_run(void *argument)
{
    struct async__http2_stream *self = argument;
    struct async__http2 *http2 = self->http2;
    bool whole = false;

    if (async_timeout_enter(&self->scope, INFINITY) == 0) {
        if (!self->closed && async_checkpoint() == 0)
            whole = async__http_answer(self->request, self->status);
        async_scope_leave(&self->scope);
    }
    if (whole && self->request->close) async__http2_shutdown(http2);
    leave(self, whole);
    async__http2_stream_free(self);
    async_block_error(); /* what has been dealt with */
    return 0;
}

static int gone(struct async_http_request *request)
{
    return async_raise_at(NULL, 0, NULL, -ECONNRESET, "the client has cancelled %s %s",
                          request->head.method, request->head.target);
}

/* ---- the body ---- */

static int go_on(struct async_http_request *request)
{
    struct async__http2_stream *self = request->stream;
    nghttp2_nv head = {
        .name = (uint8_t *)":status", .value = (uint8_t *)"100", .namelen = 7, .valuelen = 3};

    if (async__buffer_size(&self->in) > 0 || self->closed) return 0; /* it has not waited */
    if (nghttp2_submit_headers(self->http2->session, 0, self->id, NULL, &head, 1, NULL) != 0)
        return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP answer");
    async__http2_flush_soon(self->http2);
    return 0;
}

/* Until there is something of the body, or its end: 0 or a code, raised. */
static int wait_for_body(struct async_http_request *request)
{
    struct async__http2_stream *self = request->stream;
    async_scope scope;
    int code = async_timeout_enter_at(&scope, async__http_body_deadline(request));

    if (code < 0) return code;
    while (code == 0 && async__buffer_size(&self->in) == 0 && !self->in_done && !self->closed) {
        async_event_clear(&self->changed);
        code = async_event_wait(&self->changed);
    }
    bool expired = code == -ETIMEDOUT && async_scope_expired(&scope);
    async_scope_leave(&scope);
    return code < 0 ? async__http_body_failed(request, code, expired) : 0;
}

static ssize_t receive(struct async_http_request *request, void *buffer, size_t size)
{
    struct async__http2_stream *self = request->stream;
    int code = wait_for_body(request);
    size_t there = async__buffer_size(&self->in);

    if (code < 0) return code;
    if (there == 0 && !self->in_done) return async__http_body_failed(request, 0, false);
    if (size > there) size = there;
    if (request->body_bytes + size > request->max_body) return async__http_body_too_large(request);
    if (size > 0) memcpy(buffer, async__buffer_bytes(&self->in), size);
    async__buffer_consume(&self->in, size);
    request->body_bytes += size;
    if (request->body == ASYNC__HTTP_LENGTH) request->body_left -= size;
    request->body_done = self->in_done && size == there;
    if (size == 0) return 0;
    if (!self->closed)
        nghttp2_session_consume(self->http2->session, self->id, size);
    else
        nghttp2_session_consume_connection(self->http2->session, size);
    async__http2_flush_soon(self->http2);
    return (ssize_t)size;
}

/* ---- the head of an answer ---- */

static void add(struct async__http2_list *list, const char *name, size_t name_size,
                const char *value, size_t value_size)
{
    list->at[list->count++] = (nghttp2_nv){.name = (uint8_t *)name,
                                           .value = (uint8_t *)value,
                                           .namelen = name_size,
                                           .valuelen = value_size};
}

#define ADD(list, name, value, size) add(list, name, sizeof(name) - 1, value, size)

/* Headers that are HTTP/1's alone. */
static bool is_of_connection(const char *line)
{
    return async__http_begins(line, "Keep-Alive:") || async__http_begins(line, "Proxy-Connection:");
}

/* Lines "Name: value\r\n". */
static void add_lines(struct async__http2_list *list, const char *at, size_t size)
{
    const char *end = at ? at + size : NULL;

    while (at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
        const char *value = colon + 2, *value_end = next - 2;
        while (value < value_end && (*value == ' ' || *value == '\t')) /* as 9113, 8.2.1 has it */
            value++;
        while (value < value_end && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        if (!is_of_connection(at))
            add(list, at, (size_t)(colon - at), value, (size_t)(value_end - value));
        at = next;
    }
}

static size_t count_lines(const struct async__buffer *lines)
{
    size_t count = 0;

    for (size_t i = lines->start; i < lines->end; i++)
        count += lines->data[i] == '\n';
    return count;
}

/* The strings are the request's, or good until the head is sent, which is at once. */
static int make_head(struct async_http_request *request, const char *content_type, int64_t length)
{
    struct async__http2_stream *self = request->stream;
    struct async__http2_list *head = &self->head;
    struct async__buffer *extra = &request->extra;
    const char *server = request->server->server_header;
    size_t count = count_lines(extra) + 5;

    *head = (struct async__http2_list){.at = self->names};
    if (count > ASYNC__HTTP2_NAMES)
        head->at = async__http_request_alloc(request, count * sizeof *head->at);
    if (!head->at) return -ENOMEM;
    ADD(head, ":status", self->number[0],
        (size_t)snprintf(self->number[0], sizeof *self->number, "%d", request->status));
    if (!async__http_find_line(extra, "Date")) {
        const char *date = async__http_date(request->server);
        ADD(head, "date", date, strlen(date));
    }
    add_lines(head, server, strlen(server));
    if (content_type && !async__http_find_line(extra, "Content-Type"))
        ADD(head, "content-type", content_type, strlen(content_type));
    if (length >= 0 && request->status != 204 && request->status != 304)
        ADD(head, "content-length", self->number[1],
            (size_t)snprintf(self->number[1], sizeof *self->number, "%lld", (long long)length));
    add_lines(head, async__buffer_bytes(extra), async__buffer_size(extra));
    return 0;
}

/* 0, or -ENOMEM, raised. */
static int make_trailers(struct async_http_request *request)
{
    struct async__http2_list *trailers = &request->stream->trailers;
    struct async__buffer *lines = &request->answer_trailers;

    trailers->count = 0;
    if (request->no_body || async__buffer_size(lines) == 0) return 0;
    trailers->at = async__http_request_alloc(request, count_lines(lines) * sizeof *trailers->at);
    if (!trailers->at) return -ENOMEM;
    add_lines(trailers, async__buffer_bytes(lines), async__buffer_size(lines));
    return 0;
}

/* ---- the body of an answer ---- */

/* nghttp2 asks for as much as the windows have room for. */
static ssize_t give(nghttp2_session *session, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                    nghttp2_data_source *source, void *data)
{
    struct async__http2_stream *self = nghttp2_session_get_stream_user_data(session, id);
    struct async__http2 *http2 = data;

    (void)source;
    if (!self) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!self->waits) return NGHTTP2_ERR_DEFERRED;
    if (size > self->left) size = self->left;
    if (size > 0) { /* the data may be NULL otherwise */
        memcpy(to, self->data, size);
        self->data += size;
    }
    self->left -= size;
    self->request->sent += size;
    /* A client that opens its window by a few bytes at a time gets no tokens for it. */
    if (self->left == 0 || size >= 1024) async__http2_charge(http2, -ASYNC__HTTP2_DATA_TOKENS);
    if (self->left > 0) return (ssize_t)size;
    if (self->last) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (self->last && self->trailers.count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM; /* which is the trailers' */
        if (nghttp2_submit_trailer(session, id, self->trailers.at, self->trailers.count) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    self->waits = false;
    async_event_set(&self->changed);
    return (ssize_t)size;
}

static int wait_until_taken(struct async__http2_stream *self)
{
    async_scope scope;
    int code = async_timeout_enter(&scope, self->request->server->options.write_timeout);

    if (code < 0) return code;
    while (code == 0 && self->waits && !self->closed) {
        async_event_clear(&self->changed);
        code = async_event_wait(&self->changed);
    }
    bool expired = code == -ETIMEDOUT && async_scope_expired(&scope);
    async_scope_leave(&scope);
    if (expired)
        async_raise_at(NULL, 0, NULL, -ETIMEDOUT, "the client does not take what it is sent");
    if (code == 0 && self->waits) code = gone(self->request);
    self->waits = false;
    return code;
}

static int submit_head(struct async__http2_stream *self, bool body)
{
    nghttp2_data_provider provider = {.read_callback = give};
    int code = nghttp2_submit_response(self->http2->session, self->id, self->head.at,
                                       self->head.count, body ? &provider : NULL);

    self->head.at = NULL;
    if (code == 0) return 0;
    return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP answer");
}

static int send_piece(struct async_http_request *request, const void *data, size_t size, bool last)
{
    struct async__http2_stream *self = request->stream;
    bool with_head = self->head.at != NULL;
    int code = 0;

    if (self->closed) return gone(request);
    if (!with_head && size == 0 && !last) return 0;
    if (last) code = make_trailers(request);
    if (code < 0) return code;
    bool head_is_all = with_head && last && size == 0 && self->trailers.count == 0;
    self->data = data;
    self->left = size;
    self->last = last;
    self->waits = (size > 0 || last) && !head_is_all;
    if (with_head)
        code = submit_head(self, !request->no_body && !head_is_all);
    else if (request->no_body)
        self->waits = false;
    else
        nghttp2_session_resume_data(self->http2->session,
                                    self->id); /* an error: it has not stopped */
    async__http2_flush_soon(self->http2);
    if (code < 0) self->waits = false;
    return code < 0 || !self->waits ? code : wait_until_taken(self);
}

static int send_body(struct async_http_request *request, const void *data, size_t size, bool last)
{
    const char *at = data;
    int code;

    do {
        size_t piece = size < ASYNC__HTTP2_PIECE ? size : ASYNC__HTTP2_PIECE;
        code = send_piece(request, at, piece, last && piece == size);
        size -= piece;
        if (size > 0) at += piece;
    } while (code == 0 && size > 0);
    return code;
}

/* ---- files ---- */

static int send_file(struct async_http_request *request, int fd, int64_t from, int64_t size)
{
    struct async__http_piece piece = {
        .fd = fd, .from = from, .to = async__alloc(ASYNC__HTTP2_PIECE)};
    int code = 0;

    if (!piece.to) return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP answer");
    while (size > 0 && code == 0) {
        piece.size = size < ASYNC__HTTP2_PIECE ? (size_t)size : ASYNC__HTTP2_PIECE;
        code = async__http_read_piece(&piece);
        if (code == 0) code = send_body(request, piece.to, (size_t)piece.got, false);
        piece.from += piece.got;
        size -= piece.got;
    }
    async__free(piece.to);
    return code;
}

const struct async__http_framing async__http2_framing = {
    .version = "2",
    .head = make_head,
    .send = send_body,
    .send_file = send_file,
    .go_on = go_on,
    .recv = receive,
};
