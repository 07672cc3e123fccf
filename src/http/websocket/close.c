/* close.c - all ends: the closing handshake, failures, a handler's return, the server's shutdown; and a
 * socket's own beginning and end.
 *
 * There are two facts: close_sent, after which nothing is sent, and ended, after which nothing comes. The
 * task that receives holds the time limit of the closing handshake; if there is none the one that
 * closes receives, and drops messages. */
#include "websocket_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define LINGER_BYTES 262144 /* and seconds that a peer may still send after a failure */
#define LINGER_SECONDS 2.0

/* ---- a socket's memory ---- */

int async__ws_null(void)
{
    int code = async_error_code();
    return async_raise_at(NULL, 0, NULL, -EBADF,
                          code < 0 ? "the WebSocket is NULL: %s" : "the WebSocket is NULL",
                          async_error_message());
}

static int window(int bits) { return bits == 0 || (bits >= 9 && bits <= 15) ? 0 : -EINVAL; }

int async__ws_options(async_websocket_options *options, const void *given, size_t given_size)
{
    int bad = async__options(options, sizeof *options, given, given_size);

    bad |= async__option_seconds(&options->open_timeout, 10);
    bad |= async__option_seconds(&options->heartbeat, 20);
    bad |= async__option_seconds(&options->pong_timeout, 20);
    bad |= async__option_seconds(&options->send_timeout, 30);
    bad |= async__option_seconds(&options->close_timeout, 10);
    bad |= window(options->server_max_window_bits) | window(options->client_max_window_bits);
    if (options->max_message == 0) options->max_message = 1048576;
    if (options->max_message > SIZE_MAX / 4) options->max_message = SIZE_MAX / 4;
    if (options->max_frame == 0) options->max_frame = options->max_message;
    if (options->fragment == 0) options->fragment = 65536;
    if (options->compress_from == 0) options->compress_from = 64;
    for (const char *const *each = options->subprotocols; each && *each; each++)
        if (!async__http_is_token(*each)) bad = -EINVAL;
    if (bad == 0) return 0;
    return async_raise_at(NULL, 0, NULL, -EINVAL, "WebSocket: an option makes no sense");
}

async_websocket *async__ws_new(const async_websocket_options *options, const char *subprotocol)
{
    async_websocket *self = async__alloc_zeroed(sizeof *self);
    size_t size = strlen(subprotocol) + 1;
    int code = self ? async__ws_frames_init(self) : -ENOMEM;

    if (self) self->references = 1;
    if (code == 0) self->subprotocol = async__alloc(size);
    if (code < 0 || !self->subprotocol) {
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a WebSocket");
        if (self) async__ws_unref(self);
        return NULL;
    }
    memcpy(self->subprotocol, subprotocol, size);
    self->options = *options;
    self->options.subprotocols = self->options.origins = self->options.headers = NULL;
    self->options.tls = NULL;
    return self;
}

void async__ws_ref(async_websocket *self) { self->references++; }

void async__ws_unref(async_websocket *self)
{
    if (--self->references > 0) return;
    if (self->wslay) wslay_frame_context_free(self->wslay);
    async__deflate_free(&self->deflate);
    async__buffer_free(&self->out);
    async__buffer_free(&self->message);
    async__free(self->subprotocol);
    async__free(self);
}

/* ---- ends ---- */

bool async__ws_is_close_code(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

int async__ws_over(const async_websocket *self)
{
    if (self->code < 0) async_raise_at(NULL, 0, NULL, self->code, "%s", self->failure);
    return self->code;
}

void async__ws_end(async_websocket *self, int code, int close_code)
{
    if (self->ended) return;
    self->ended = true;
    self->code = code;
    self->close_code = close_code;
    async_scope_cancel(self->wait);
    async_scope_cancel(self->room);
    async_event_set(&self->change);
    async_event_clear(&self->change);
}

int async__ws_fail(async_websocket *self, int code, int close_code, const char *format, ...)
{
    va_list arguments;
    char text[sizeof self->failure];

    if (self->ended) return code;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (close_code) async__ws_send_close(self, close_code, "");
    if (!self->ended) memcpy(self->failure, text, sizeof text); /* the Close may have failed */
    async__ws_end(self, code, ASYNC__WS_ABNORMAL);
    return async_raise_at(NULL, 0, NULL, code, "%s", text);
}

int async__ws_send_close(async_websocket *self, int code, const char *reason)
{
    char data[ASYNC__WS_CONTROL];
    size_t size = strlen(reason);

    if (self->ended || self->close_sent) return 0;
    data[0] = (char)(code >> 8);
    data[1] = (char)code;
    memcpy(data + 2, reason, size);
    code = async__ws_frame(self, WSLAY_CONNECTION_CLOSE, true, false, data,
                           code == ASYNC__WS_NO_CODE ? 0 : size + 2);
    self->close_sent = true;
    self->close_by = async_now() + self->options.close_timeout;
    if (self->wait && async_scope_reschedule(self->wait, self->close_by) < 0)
        async__ws_fail(self, -ENOMEM, 0, "no memory for the time limit of the closing handshake");
    return code;
}

/* ---- the closing handshake ---- */

/* Behind a message that is being sent: 0, a code. */
static int send_in_turn(async_websocket *self, int code, const char *reason)
{
    async_scope scope;
    int result = async_timeout_enter(&scope, self->options.close_timeout);

    if (result < 0) return result;
    result = async_lock_acquire(&self->turn);
    bool expired = result == -ETIMEDOUT && async_scope_expired(&scope);
    async_scope_leave(&scope);
    if (expired)
        return async__ws_fail(self, result, 0, "no Close could be sent in %g s",
                              self->options.close_timeout);
    if (result < 0) return result;
    result = async__ws_send_close(self, code, reason);
    async_lock_release(&self->turn);
    return result;
}

static int close_socket(async_websocket *self, int code, const char *reason)
{
    int result = 0;

    /* If it can be sent now it is, also by a task that is cancelled. */
    if (!async_lock_locked(&self->turn)) async__ws_send_close(self, code, reason);
    if (!self->ended) result = async_checkpoint();
    if (result == 0 && !self->ended && !self->close_sent) result = send_in_turn(self, code, reason);
    while (result == 0 && !self->ended) {
        if (self->receiving) {
            result = async_event_wait(&self->change);
        } else {
            self->dropping = true;
            result = async__ws_receive(self);
        }
    }
    return self->ended ? async__ws_over(self) : result;
}

int async_websocket_close(async_websocket *self, int code, const char *reason)
{
    if (!self) return async__ws_null();
    if (!reason) reason = "";
    size_t size = strlen(reason);
    if (!async__ws_is_close_code(code) || size > ASYNC__WS_CONTROL - 2 ||
        !async__utf8_is_text(reason, size))
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              "a Close with the code %d and a reason of %zu bytes", code, size);
    async__ws_ref(self);
    int result = close_socket(self, code, reason);
    async__ws_unref(self);
    return result;
}

/* Reads until the peer's end. */
static void linger(async_websocket *self)
{
    async_scope scope;
    char piece[4096];
    size_t left = LINGER_BYTES;
    ssize_t got = 1;

    if (async_timeout_enter(&scope, LINGER_SECONDS) < 0) return;
    while (got > 0 && left > sizeof piece) {
        got = async_stream_read(self->stream, piece, sizeof piece);
        left -= got > 0 ? (size_t)got : 0;
    }
    async_scope_leave(&scope);
}

static bool in_task(void) { return async_current_task() != NULL; }

/* No other task is to find it open, or the stream. */
static void finish(async_websocket *self, int code)
{
    if (!self->ended && in_task()) {
        async__ws_ref(self);
        close_socket(self, code, "");
        async__ws_unref(self);
    }
    if (!self->ended) snprintf(self->failure, sizeof self->failure, "it was freed");
    async__ws_end(self, -EBADF, ASYNC__WS_ABNORMAL);
}

/* A server closes its connection; but after a failure the peer may still be sending, which would reset the
 * connection, and the Close could be lost. */
static void finish_server(async_websocket *self, int code)
{
    finish(self, code);
    self->request->connection->upgrade = NULL;
    if (self->code < 0 && self->close_sent && in_task() &&
        async_stream_write_eof(self->stream) == 0)
        linger(self);
}

/* A client waits for the server to close it (RFC 6455, 7.1.1). */
static void finish_client(async_websocket *self)
{
    async_scope scope;

    finish(self, ASYNC__WS_NORMAL);
    if ((self->code < 0 && !self->close_sent) || !in_task() ||
        async_timeout_enter(&scope, self->options.send_timeout) < 0) {
        async_stream_abort(self->stream);
        return;
    }
    if (self->code == 0 || async_stream_write_eof(self->stream) == 0) linger(self);
    async_stream_close(self->stream);
    async_scope_leave(&scope);
}

void async_websocket_free(async_websocket *self)
{
    if (!self) return;
    if (self->request)
        finish_server(self, ASYNC__WS_NORMAL);
    else
        finish_client(self);
    async__ws_unref(self);
}

/* ---- the connection's part ---- */

static async_websocket *of(struct async__http_upgrade *upgrade)
{
    return (async_websocket *)((char *)upgrade - offsetof(async_websocket, upgrade));
}

void async__ws_shutdown(struct async__http_upgrade *upgrade)
{
    async_websocket *self = of(upgrade);

    if (async_lock_locked(&self->turn))
        self->close_next = ASYNC__WS_GOING_AWAY;
    else
        async__ws_send_close(self, ASYNC__WS_GOING_AWAY, "");
}

void async__ws_handled(struct async__http_upgrade *upgrade, int code)
{
    async_websocket *self = of(upgrade);
    bool stopping = self->request->server->stopping;
    /* What the peer has done is no failure of the handler's. */
    bool is_peers = code == -EPIPE || (self->ended && code == self->code);

    if (code < 0 && !is_peers && async_checkpoint() == 0)
        async__http_report(self->request, code, async_error_message());
    finish_server(self, stopping   ? ASYNC__WS_GOING_AWAY
                        : code < 0 ? ASYNC__WS_INTERNAL
                                   : ASYNC__WS_NORMAL);
    async__ws_unref(self);
}

/* ---- what is known ---- */

int async_websocket_close_code(const async_websocket *self) { return self ? self->close_code : 0; }

const char *async_websocket_close_reason(const async_websocket *self)
{
    return self ? self->close_reason : "";
}

const char *async_websocket_subprotocol(const async_websocket *self)
{
    return self ? self->subprotocol : "";
}

bool async_websocket_compressed(const async_websocket *self) { return self && self->deflate.on; }

double async_websocket_latency(const async_websocket *self) { return self ? self->latency : 0; }
