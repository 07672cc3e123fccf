/* send.c - messages to frames.
 *
 * Tasks take turns. One waits until the peer has taken enough of what was sent before, compresses its
 * message, and sends it frame by frame, with such a wait before each. So a cancellation is before the
 * first frame, and nothing has been sent; or behind it, and then the rest is handed to the stream
 * without waiting, since half a message would be the end of the connection. */
#include "websocket_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define EXCESS 64 /* control frames that are sent although too much is kept */

int async__ws_raise_closed(const async_websocket *self)
{
    if (self->ended && self->code < 0)
        return async_raise_at(NULL, 0, NULL, -EPIPE, "the WebSocket has failed: %s", self->failure);
    return async_raise_at(NULL, 0, NULL, -EPIPE, "the WebSocket is closed");
}

static bool is_full(const async_websocket *self)
{
    return async_stream_unsent(self->stream) > ASYNC__WS_HIGH;
}

int async__ws_wait_room(async_websocket *self)
{
    async_scope scope;

    if (!is_full(self)) return 0;
    int code = async_timeout_enter(&scope, self->options.send_timeout);
    if (code < 0) return code;
    if (!self->room) self->room = &scope;
    code = async_stream_drain(self->stream);
    bool expired = code == -ETIMEDOUT && async_scope_expired(&scope);
    if (self->room == &scope) self->room = NULL;
    async_scope_leave(&scope);
    if (self->ended) return async__ws_raise_closed(self);
    if (expired)
        return async__ws_fail(self, code, 0, "the peer took nothing in %g s",
                              self->options.send_timeout);
    if (code < 0 && code != -ECANCELED && code != -ETIMEDOUT)
        async__ws_fail(self, code, 0, "%s", async_error_message());
    return code;
}

int async__ws_control(async_websocket *self, uint8_t opcode, const void *data, size_t size,
                      bool waits)
{
    if (!is_full(self)) self->excess = 0;
    if (is_full(self) && self->excess++ >= EXCESS) {
        int code = waits ? async__ws_wait_room(self) : 0;
        if (code < 0 || !waits) return code;
    }
    if (self->ended || self->close_sent) return 0; /* while it waited */
    return async__ws_frame(self, opcode, true, false, data, size);
}

/* The message in frames. `waits`: for room before each but the first, as long as it is let. */
static int send_frames(async_websocket *self, uint8_t opcode, bool compressed, const char *data,
                       size_t size, bool waits)
{
    size_t most = self->options.fragment;
    int code = 0, cancelled = 0;

    for (size_t at = 0; code == 0; at += most) {
        bool last = size - at <= most;
        if (at > 0 && waits && cancelled == 0) cancelled = async__ws_wait_room(self);
        if (self->ended || self->close_sent)
            return cancelled < 0 ? cancelled : async__ws_raise_closed(self);
        code = async__ws_frame(self, at == 0 ? opcode : 0, last, compressed && at == 0, data + at,
                               last ? size - at : most);
        if (code < 0 && at > 0)
            async__ws_fail(self, code, 0, "a message was sent in part: %s", async_error_message());
        if (last) break;
    }
    return code < 0 ? code : cancelled;
}

static int send_message(async_websocket *self, uint8_t opcode, const void *data, size_t size,
                        bool waits)
{
    struct async__buffer packed = {0};
    bool compresses = self->deflate.send_bits > 0 && size >= self->options.compress_from;
    int code = compresses ? async__deflate_send(&self->deflate, &packed, data, size) : 0;

    if (code < 0)
        async_raise_at(NULL, 0, NULL, code, "no memory to compress %zu bytes", size);
    else if (compresses)
        code = send_frames(self, opcode, true, async__buffer_bytes(&packed),
                           async__buffer_size(&packed), waits);
    else
        code = send_frames(self, opcode, false, data, size, waits);
    if (code < 0 && compresses) async__deflate_forget(&self->deflate);
    async__buffer_free(&packed);
    return code;
}

static int check(async_websocket *self, enum async_websocket_type type, const void *data,
                 size_t size)
{
    if (!self) return async__ws_null();
    if (type != ASYNC_WEBSOCKET_TEXT && type != ASYNC_WEBSOCKET_BINARY)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a WebSocket message has no type %d",
                              (int)type);
    if (!data && size > 0)
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a WebSocket message of NULL");
    if (self->ended || self->close_sent) return async__ws_raise_closed(self);
    if (type == ASYNC_WEBSOCKET_TEXT && !async__utf8_is_text(data, size))
        return async_raise_at(NULL, 0, NULL, -EILSEQ, "a WebSocket text that is not UTF-8");
    return 0;
}

int async_websocket_send(async_websocket *self, enum async_websocket_type type, const void *data,
                         size_t size)
{
    int code = check(self, type, data, size);

    if (code < 0) return code;
    async__ws_ref(self);
    code = async_lock_acquire(&self->turn);
    if (code == 0) {
        /* It may have been closed during each of the two waits. */
        if (!self->ended) code = async__ws_wait_room(self);
        if (code == 0 && (self->ended || self->close_sent)) code = async__ws_raise_closed(self);
        if (code == 0) code = send_message(self, (uint8_t)type, data ? data : "", size, true);
        if (self->close_next) async__ws_send_close(self, self->close_next, "");
        async_lock_release(&self->turn);
    }
    async__ws_unref(self);
    return code;
}

int async_websocket_send_text(async_websocket *self, const char *text)
{
    if (!self) return async__ws_null();
    return async_websocket_send(self, ASYNC_WEBSOCKET_TEXT, text, text ? strlen(text) : 0);
}

int async_websocket_printf(async_websocket *self, const char *format, ...)
{
    va_list arguments;

    if (!self) return async__ws_null();
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = size < 0 ? NULL : async__alloc((size_t)size + 1);
    if (!text) return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a message");
    va_start(arguments, format);
    vsnprintf(text, (size_t)size + 1, format, arguments);
    va_end(arguments);
    int code = async_websocket_send(self, ASYNC_WEBSOCKET_TEXT, text, (size_t)size);
    async__free(text);
    return code;
}

int async_websocket_send_nowait(async_websocket *self, enum async_websocket_type type,
                                const void *data, size_t size)
{
    int code = check(self, type, data, size);

    if (code < 0) return code;
    if (async_lock_locked(&self->turn) || is_full(self))
        return async_raise_at(NULL, 0, NULL, -EAGAIN, "the peer has not taken what was sent");
    return send_message(self, (uint8_t)type, data ? data : "", size, false);
}

int async_websocket_ping(async_websocket *self, const void *data, size_t size)
{
    if (!self) return async__ws_null();
    if (size > ASYNC__WS_CONTROL || (!data && size > 0))
        return async_raise_at(NULL, 0, NULL, -EINVAL, "a ping of %zu bytes", size);
    if (self->ended || self->close_sent) return async__ws_raise_closed(self);
    async__ws_ref(self);
    int code = async_checkpoint();
    if (code == 0) code = async__ws_control(self, WSLAY_PING, data ? data : "", size, true);
    async__ws_unref(self);
    return code;
}

size_t async_websocket_unsent(const async_websocket *self)
{
    return self && !self->ended ? async_stream_unsent(self->stream) : 0;
}
