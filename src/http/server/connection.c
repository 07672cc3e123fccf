/* connection.c - one client, from its first byte to its last; with HTTP/2 up to the preface.
 *
 * A connection that is idle has neither a request nor a buffer: it waits for a first byte with a few
 * hundred bytes on its stack. Then it takes a request from those that the server keeps, reads the
 * head, has it answered, discards what is left of the body, and gives the request back.
 *
 * What comes behind a head, the body or the next request, lies in `in`. */
#include "server_internal.h"

#include <math.h>
#include <stdio.h>

#define PEEK 512  /* bytes that an idle connection has room for */
#define HEAD 2048 /* bytes of a head that there is room for at first */
#define LINGER_BYTES                                                                               \
    262144 /* and seconds that a client whose connection is closed may still send */
#define LINGER_SECONDS 2.0

/* What becomes of the connection after a request. */
enum outcome {
    GO_ON,
    LINGER, /* the answer has gone out: the client is to get it whole */
    ABORT,
};

/* ---- reading a head ---- */

/* A read that ends by `when`; *expired: it has done so for that. */
static ssize_t read_until(struct async__http_connection *self, void *to, size_t size, double when,
                          bool *expired)
{
    async_scope scope;
    int code = async_timeout_enter_at(&scope, when);

    if (code < 0) return code;
    ssize_t got = async_stream_read(self->stream, to, size);
    *expired = got == -ETIMEDOUT && async_scope_expired(&scope);
    async_scope_leave(&scope);
    return got;
}

/* The timer that is set stays if it goes off before the wait is to end, and is set anew then: so a busy
 * connection sets one in idle_timeout, and not one a request. */
static int set_idle_timer(struct async__http_connection *self)
{
    async_loop *loop = async_get_running_loop();

    if (self->idle_timer_at <= self->idle_until) return 0;
    async_timer_cancel(loop, &self->idle_timer);
    self->idle_timer_at = self->idle_until;
    return async_call_at(loop, &self->idle_timer, self->idle_until);
}

static void idle_timer_expired(async_callback *callback)
{
    struct async__http_connection *self =
        (struct async__http_connection *)((char *)callback - offsetof(struct async__http_connection,
                                                                      idle_timer.callback));
    bool over = self->idle_timer_at >= self->idle_until;

    self->idle_timer_at = INFINITY;
    /* Without memory for a timer the wait ends too early. */
    if (self->idle && (over || set_idle_timer(self) < 0)) async_scope_cancel(&self->wait);
}

/* Waits for a request's first bytes: how many; 0 or a code: there will be none. */
static ssize_t wait_idle(struct async__http_connection *self, char piece[PEEK], bool first)
{
    const async_http_server_options *options = &self->server->options;

    if (self->server->stopping) return 0;
    self->idle_until = async_now() + (first ? options->head_timeout : options->idle_timeout);
    int code = set_idle_timer(self);
    if (code == 0) code = async_timeout_enter(&self->wait, INFINITY); /* for the two to cancel */
    if (code < 0) return code;
    self->idle = true;
    ssize_t got = async_stream_read(self->stream, piece, PEEK);
    self->idle = false;
    async_scope_leave(&self->wait);
    return got;
}

static void swap(struct async__buffer *a, struct async__buffer *b)
{
    struct async__buffer c = *a;
    *a = *b;
    *b = c;
}

/* The request whose first bytes are there: those, or what has come behind the one before. */
static struct async_http_request *take_request(struct async__http_connection *self,
                                               const char *bytes, size_t size)
{
    struct async_http_request *request = async__http_request_take(self->server);

    if (!request) return NULL;
    request->connection = self;
    request->framing = &async__http1;
    if (size == 0) swap(&request->head_bytes, &self->in);
    if (async__buffer_reserve(&request->head_bytes, size < HEAD ? HEAD : size) == 0 &&
        async__buffer_append(&request->head_bytes, bytes, size) == 0)
        return request;
    async__http_request_give(request);
    return NULL;
}

/* What comes behind the head is the connection's. */
static int split(struct async_http_request *request, size_t size)
{
    struct async__buffer *head = &request->head_bytes;
    size_t behind = async__buffer_size(head) - size;
    int code =
        async__buffer_append(&request->connection->in, async__buffer_bytes(head) + size, behind);
    head->end -= code == 0 ? behind : 0;
    return code;
}

/* Reads until the head is whole: 0; a status that refuses it; or a code, upon which there is nothing
 * to be answered. */
static int read_head(struct async_http_request *request, const char **why)
{
    struct async__http_connection *self = request->connection;
    const async_http_server_options *options = &self->server->options;
    struct async__buffer *head = &request->head_bytes;
    double when = async_now() + options->head_timeout;

    for (;;) {
        ssize_t size = async__http_guard_head(&request->guard, async__buffer_bytes(head),
                                              async__buffer_size(head), why);
        if (size < 0) return (int)-size;
        *why = "the head is too large";
        bool full = (size_t)size > options->max_head ||
                    (size == 0 && async__buffer_size(head) >= options->max_head);
        if (full) return request->guard.lines > 0 ? 431 : 414;
        *why = "there are too many headers";
        if (request->guard.lines > options->max_headers + 1) return 431;
        if (size > 0) return split(request, (size_t)size);

        if (async__buffer_room(head) == 0 && async__buffer_reserve(head, 1024) < 0) return -ENOMEM;
        bool expired = false;
        ssize_t got =
            read_until(self, head->data + head->end, async__buffer_room(head), when, &expired);
        *why = "the head comes too slowly";
        if (expired) return 408;
        if (got <= 0) return got < 0 ? (int)got : -ECONNRESET;
        head->end += (size_t)got;
    }
}

/* ---- answering ---- */

/* The client has gone, or a cancellation is due: no answer is sent. */
static bool is_over(const struct async_http_request *request, int code)
{
    if (request->answer == ASYNC__HTTP_BROKEN && code < 0) return true;
    if (request->body_code < 0 && code == request->body_code && request->body_status == 0)
        return true;
    return async_checkpoint() < 0;
}

/* What the handler has left undone: whether the answer is whole. */
static bool settle(struct async_http_request *request, int code)
{
    if (request->answer == ASYNC__HTTP_UPGRADED) {
        struct async__http_upgrade *upgrade = request->connection->upgrade;
        if (upgrade)
            upgrade->handled(upgrade, code);
        else if (code < 0 && code != -EPIPE && code != -ECONNRESET && async_checkpoint() == 0)
            async__http_report(request, code, async_error_message());
        return false;
    }
    if (code >= 0) code = async__http_finish_answer(request);
    if (code >= 0 && request->answer == ASYNC__HTTP_UNANSWERED) {
        async__http_report(request, -EINVAL, "the handler gave no answer");
        code = -EINVAL;
    } else if (code < 0) {
        if (is_over(request, code)) return false;
        bool clients = request->body_code < 0 && code == request->body_code;
        if (!clients) async__http_report(request, code, async_error_message());
    }
    if (code < 0 && request->answer == ASYNC__HTTP_SENDING) return false;
    if (code < 0 && request->answer == ASYNC__HTTP_UNANSWERED) {
        int status = code == request->body_code ? request->body_status : 500;
        request->extra.start = request->extra.end = 0; /* were meant for another answer */
        request->answer_trailers.start = request->answer_trailers.end = 0;
        if (async__http_respond_status(request, status) < 0) return false;
    }
    return request->answer == ASYNC__HTTP_ANSWERED;
}

/* For a request that is not to reach a handler. */
static bool refuse(struct async_http_request *request, int status)
{
    request->close = request->framing == &async__http1;
    if (status == 503) async_http_set_header(request, "Retry-After", "1");
    return async__http_respond_status(request, status) == 0;
}

bool async__http_answer(struct async_http_request *request, int status)
{
    async_http_server *server = request->server;
    bool busy =
        server->options.max_requests > 0 && server->request_count >= server->options.max_requests;

    request->began = async_now();
    if (status == 0 && busy) status = 503;
    server->request_count += status == 0;
    bool whole = status == 0 ? settle(request, async_http_next(request)) : refuse(request, status);
    server->request_count -= status == 0;
    if (request->status != 0) async__http_log(request);
    return whole;
}

/* From the first bytes on. */
static enum outcome serve_request(struct async_http_request *request)
{
    const char *why;
    int status = read_head(request, &why);

    if (status < 0) return ABORT;
    if (status == 0)
        status = async__http_parse_head(request->parser, &request->head,
                                        async__buffer_bytes(&request->head_bytes),
                                        async__buffer_size(&request->head_bytes), &why);
    if (status == 0) status = async__http_judge_head(request, &why);
    if (!async__http_answer(request, status)) return ABORT;
    return request->close || !async__http_discard_body(request) ? LINGER : GO_ON;
}

/* ---- the connection's version ---- */

/* Whether the client speaks HTTP/2: it has been agreed on by TLS, or the first bytes are its preface, of
 * which the first are there. */
static bool is_http2(struct async__http_connection *self, char piece[PEEK], ssize_t *got)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    double when = async_now() + self->server->options.head_timeout;
    const char *agreed = async_stream_protocol(self->stream);
    const size_t whole = sizeof preface - 1;

    if (!ASYNC__HTTP2 || self->server->options.no_http2) return false;
    if (*agreed) return strcmp(agreed, "h2") == 0;
    while (*got > 0 && (size_t)*got < whole && memcmp(piece, preface, (size_t)*got) == 0) {
        bool expired;
        ssize_t more = read_until(self, piece + *got, PEEK - (size_t)*got, when, &expired);
        *got = more > 0 ? *got + more : -1;
    }
    return *got >= (ssize_t)whole && memcmp(piece, preface, whole) == 0;
}

static enum outcome serve_requests(struct async__http_connection *self)
{
    enum outcome outcome = GO_ON;

    for (bool first = true; outcome == GO_ON; first = false) {
        char piece[PEEK];
        size_t there = async__buffer_size(&self->in);
        ssize_t got = there > 0 ? 0 : wait_idle(self, piece, first);
        if (first && got > 0 && is_http2(self, piece, &got))
            return async__http2_serve(self, piece, (size_t)got) ? LINGER : ABORT;
        if (there == 0 && got <= 0) return ABORT;
        struct async_http_request *request = take_request(self, piece, (size_t)got);
        if (!request) return ABORT;
        outcome = serve_request(request);
        async__http_request_give(request);
        if (async__buffer_size(&self->in) == 0) async__buffer_free(&self->in);
        if (async__buffer_size(&self->out) == 0) async__buffer_free(&self->out);
    }
    return outcome;
}

/* ---- the end ---- */

/* A connection that is closed with something unread is reset, and what has been sent may be lost with
 * it: so the client is told the end, and what it still sends is read for a while. */
static void linger(struct async__http_connection *self)
{
    char piece[4096];
    size_t left = LINGER_BYTES;
    double when = async_now() + LINGER_SECONDS;

    if (async__http1_flush(self) < 0 || async_stream_write_eof(self->stream) < 0) return;
    while (left > 0) {
        bool expired;
        ssize_t got =
            read_until(self, piece, left < sizeof piece ? left : sizeof piece, when, &expired);
        if (got <= 0) return;
        left -= (size_t)got;
    }
}

static void close_connection(struct async__http_connection *self)
{
    async_scope scope;

    if (async_timeout_enter(&scope, self->server->options.write_timeout) < 0) {
        async_stream_abort(self->stream);
        return;
    }
    async__http1_flush(self);
    async_stream_close(self->stream);
    async_scope_leave(&scope);
}

static void join(struct async__http_connection *self)
{
    async_http_server *server = self->server;

    self->next = server->connections;
    if (self->next) self->next->previous = self;
    server->connections = self;
    server->connection_count++;
}

static void part(struct async__http_connection *self)
{
    async_http_server *server = self->server;

    if (self->next) self->next->previous = self->previous;
    if (self->previous)
        self->previous->next = self->next;
    else
        server->connections = self->next;
    server->connection_count--;
    async__http_server_parted(server);
}

static void refuse_connection(struct async__http_connection *self)
{
    static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                               "Retry-After: 1\r\nConnection: close\r\n\r\n";

    if (async__http1_send(self, busy, sizeof busy - 1) == 0) linger(self);
}

int async__http_serve_client(async_stream *stream, void *data)
{
    async_http_server *server = data;
    struct async__http_connection self = {
        .server = server,
        .stream = stream,
        .flush = {.run = async__http1_flush_soon},
        .idle_timer = {.callback = {.run = idle_timer_expired}},
        .idle_timer_at = INFINITY,
    };
    int code = async_timeout_enter(&self.scope, INFINITY); /* for async_http_shutdown to cancel */

    if (code < 0) return code;
    bool refused = server->connection_count >= server->options.max_connections;
    join(&self);
    enum outcome outcome = ABORT;
    if (refused)
        refuse_connection(&self);
    else
        outcome = serve_requests(&self);
    if (outcome == LINGER) linger(&self);
    close_connection(&self);
    async_callback_cancel(&self.flush);
    async_timer_cancel(async_get_running_loop(), &self.idle_timer);
    async_scope_leave(&self.scope);
    part(&self);
    async__buffer_free(&self.in);
    async__buffer_free(&self.out);
    async_block_error(); /* what has been dealt with */
    return async_checkpoint();
}
