/* session.c - one client of HTTP/2: what it sends, what it is sent, its end.
 *
 * The connection's task reads, and gives nghttp2 what has come. Each stream has a task in the connection's
 * group. Whatever one of them submits goes out by a callback, which runs when those that are ready have:
 * so the answers of a turn go out as one. It takes from nghttp2 as much as the stream has room for. If
 * the client does not take it, a writer, which is a task of the group, waits until it has, and goes on;
 * meanwhile nothing is read, so that no answers pile up. */
#include "http2_internal.h"

#include <errno.h>
#include <math.h>

#define WINDOW 1048576 /* of a connection's bodies that have not been read */
#define KEPT 16384     /* bytes that the stream may keep while there is more */
#define AT_ONCE 32768  /* bytes that are gathered */
#define GRACE 2.0      /* seconds that an idle client has to take notice of the end */

/* Of the ping whose answer says that the client has seen that there is to be an end. */
static const uint8_t notice[8] = "shutdown";

/* ---- the memory of nghttp2 ---- */

static void *alloc(size_t size, void *data)
{
    (void)data;
    return async__alloc(size);
}

static void dealloc(void *memory, void *data)
{
    (void)data;
    async__free(memory);
}

static void *alloc_zeroed(size_t count, size_t size, void *data)
{
    (void)data;
    return async__alloc_zeroed(count * size); /* it has been checked */
}

static void *resize(void *memory, size_t size, void *data)
{
    (void)data;
    return async__realloc(memory, size);
}

/* ---- limits ---- */

void async__http2_terminate(struct async__http2 *self, uint32_t error)
{
    if (self->terminated) return;
    self->terminated = true;
    if (nghttp2_session_terminate_session(self->session, error) != 0) self->broken = true;
    async__http2_flush_soon(self);
}

bool async__http2_charge(struct async__http2 *self, double tokens)
{
    double now = async_now();

    self->tokens += (now - self->tokens_at) * ASYNC__HTTP2_TOKENS_A_SECOND - tokens;
    self->tokens_at = now;
    if (self->tokens > ASYNC__HTTP2_TOKENS) self->tokens = ASYNC__HTTP2_TOKENS;
    if (self->tokens >= 0) return true;
    async__http2_terminate(self, NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
}

static double deadline(const struct async__http2 *self)
{
    const async_http_server_options *options = &self->connection->server->options;
    double when = INFINITY;

    if (self->live == 0) when = self->idle_since + options->idle_timeout;
    if (self->live == 0 && self->stopping_since > 0)
        when = fmin(when, fmax(self->stopping_since, self->idle_since) + GRACE);
    if (self->head_since > 0) when = fmin(when, self->head_since + options->head_timeout);
    return when;
}

void async__http2_set_deadline(struct async__http2 *self)
{
    if (self->reading) async_scope_reschedule(&self->connection->wait, deadline(self));
}

/* ---- sending ---- */

static void wake_reader(struct async__http2 *self)
{
    if (self->reading) async_scope_cancel(&self->connection->wait);
    async_event_set(&self->written);
}

static bool goes_on(const struct async__http2 *self)
{
    return !self->broken &&
           (nghttp2_session_want_read(self->session) || nghttp2_session_want_write(self->session));
}

/* Takes from nghttp2 what goes out at once. */
static int gather(struct async__http2 *self)
{
    const uint8_t *bytes;
    ssize_t size = 1;

    while (size > 0 && async__buffer_size(&self->out) < AT_ONCE) {
        size = nghttp2_session_mem_send(self->session, &bytes);
        if (size < 0) return -ENOMEM;
        if (size == 0 && self->ping_due) { /* behind the notice: a ping is sent before all else */
            self->ping_due = false;
            size = nghttp2_submit_ping(self->session, 0, notice) == 0;
            continue;
        }
        if (size > 0 && async__buffer_append(&self->out, bytes, (size_t)size) < 0) return -ENOMEM;
    }
    return 0;
}

/* Sends what there is room for; afterwards there is no more, or the stream keeps too much. */
static void send_some(struct async__http2 *self)
{
    async_stream *stream = self->connection->stream;
    struct async__buffer *out = &self->out;

    while (!self->broken && async_stream_unsent(stream) <= KEPT) {
        int code = gather(self);
        if (code == 0 && async__buffer_size(out) == 0) break;
        if (code == 0)
            code = async_stream_write_nowait(stream, async__buffer_bytes(out),
                                             async__buffer_size(out));
        out->start = out->end = 0;
        if (code < 0) self->broken = true;
    }
    if (!goes_on(self)) wake_reader(self);
}

static bool is_full(const struct async__http2 *self)
{
    return !self->broken && async_stream_unsent(self->connection->stream) > KEPT;
}

static int write_out(void *argument)
{
    struct async__http2 *self = argument;
    async_http_server *server = self->connection->server;

    while (is_full(self)) {
        async_scope scope;
        int code = async_timeout_enter(&scope, server->options.write_timeout);
        if (code == 0) {
            code = async_stream_drain(self->connection->stream);
            async_scope_leave(&scope);
        }
        if (code < 0) self->broken = true;
        send_some(self);
    }
    self->writing = false;
    async_event_set(&self->written);
    return 0;
}

static void flush(async_callback *callback)
{
    struct async__http2 *self =
        (struct async__http2 *)((char *)callback - offsetof(struct async__http2, flush));

    if (self->writing) return;
    send_some(self);
    if (!is_full(self)) return;
    self->writing = true;
    if (async_group_create_task(self->group, write_out, self)) return;
    self->writing = false;
    self->broken = true;
    wake_reader(self);
}

void async__http2_flush_soon(struct async__http2 *self)
{
    if (!self->writing && !self->broken) async_call_soon(async_get_running_loop(), &self->flush);
}

/* ---- reading ---- */

/* What has come: how many bytes; 0 or a code: the end. */
static ssize_t read_some(struct async__http2 *self)
{
    struct async__http_connection *connection = self->connection;
    int code = async_timeout_enter_at(&connection->wait, deadline(self));

    if (code < 0) return code;
    self->reading = true;
    ssize_t got = async_stream_read(connection->stream, self->piece, sizeof self->piece);
    self->reading = false;
    bool expired = got == -ETIMEDOUT && async_scope_expired(&connection->wait);
    async_scope_leave(&connection->wait);
    if (expired) async__http2_terminate(self, NGHTTP2_NO_ERROR);
    return got;
}

/* Tells the client which stream was the last. What it has sent behind that has been read, and is sent
 * before more is read: so no other stream has been served. */
static void tell_last(struct async__http2 *self)
{
    self->last_due = false;
    nghttp2_submit_goaway(self->session, 0, nghttp2_session_get_last_proc_stream_id(self->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    send_some(self);
}

static void receive(struct async__http2 *self, const void *bytes, size_t size)
{
    ssize_t taken = nghttp2_session_mem_recv(self->session, bytes, size);

    if (taken == NGHTTP2_ERR_NOMEM || taken == NGHTTP2_ERR_CALLBACK_FAILURE)
        async__http2_terminate(self, NGHTTP2_INTERNAL_ERROR);
    else if (taken == NGHTTP2_ERR_FLOODED)
        async__http2_terminate(self, NGHTTP2_ENHANCE_YOUR_CALM);
    else if (taken < 0)
        async__http2_terminate(self, NGHTTP2_PROTOCOL_ERROR);
    if (self->last_due) tell_last(self);
    async__http2_flush_soon(self);
}

/* Until the client's end, or ours: whether the last was orderly. */
static bool run(struct async__http2 *self)
{
    while (!self->terminated && goes_on(self)) {
        if (self->writing) {
            async_event_clear(&self->written);
            if (async_event_wait(&self->written) < 0) return false;
            continue;
        }
        ssize_t got = read_some(self);
        if (got > 0) receive(self, self->piece, (size_t)got);
        if (got <= 0 && goes_on(self)) return false;
    }
    return !self->broken && !self->terminated;
}

/* ---- the end ---- */

void async__http2_shutdown(struct async__http2 *self)
{
    if (self->stopping_since > 0) return;
    self->stopping_since = fmax(async_now(), 1e-9);
    nghttp2_submit_shutdown_notice(self->session);
    self->ping_due = true;
    async__http2_set_deadline(self);
    async__http2_flush_soon(self);
}

void async__http2_notice_seen(struct async__http2 *self)
{
    self->last_due = self->stopping_since > 0;
}

/* ---- one client ---- */

static int open_session(struct async__http2 *self)
{
    const async_http_server_options *options = &self->connection->server->options;
    nghttp2_mem memory = {NULL, alloc, dealloc, alloc_zeroed, resize};
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)options->max_streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)options->max_head},
    };

    if (async__http2_set_callbacks(&callbacks) != 0) return -ENOMEM;
    int code = nghttp2_option_new(&option);
    if (code == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        code = nghttp2_session_server_new3(&self->session, callbacks, self, option, &memory);
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    if (code == 0) code = nghttp2_submit_settings(self->session, 0, settings, 2);
    if (code == 0) code = nghttp2_session_set_local_window_size(self->session, 0, 0, WINDOW);
    return code == 0 ? 0 : -ENOMEM;
}

/* What the streams' tasks leave: those whose heads are not whole. */
static void free_session(struct async__http2 *self)
{
    async_callback_cancel(&self->flush);
    while (self->streams)
        async__http2_stream_free(self->streams);
    nghttp2_session_del(self->session);
    async__buffer_free(&self->out);
}

static bool serve(struct async__http2 *self, const void *bytes, size_t size)
{
    bool orderly = false;

    if (open_session(self) == 0) {
        self->connection->http2 = self;
        if (self->connection->server->stopping) async__http2_shutdown(self);
        receive(self, bytes, size);
        orderly = run(self);
        self->connection->http2 = NULL;
    }
    if (!orderly) async_group_cancel(self->group);
    async_group_leave(self->group);
    self->group = NULL;
    if (self->session && !self->broken) send_some(self); /* a GOAWAY, what streams have left */
    return orderly || (self->terminated && !self->broken);
}

bool async__http2_serve(struct async__http_connection *connection, const void *bytes, size_t size)
{
    struct async__http2 *self = async__alloc_zeroed(sizeof *self);
    bool orderly = false;

    if (!self) return false;
    self->connection = connection;
    self->flush.run = flush;
    self->tokens = ASYNC__HTTP2_TOKENS;
    self->tokens_at = self->idle_since = async_now();
    self->group = async_group_enter();
    if (self->group) orderly = serve(self, bytes, size);
    free_session(self);
    async__free(self);
    return orderly;
}
