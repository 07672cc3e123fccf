/* frames.c - bytes to frames and back, by wslay's frame interface.
 *
 * wslay calls back for bytes. Sending, they are gathered in `out`, where there is room for all of the
 * frame, so that wslay never has to stop in the middle of one. Receiving, the callback is where the
 * task waits: it runs on the task's own stack. If it gives nothing, because of a cancellation, wslay keeps
 * the part of a header that it has, and goes on there at the next call.
 *
 * Its other interface (wslay_event) is not used: it answers and queues by itself, without a limit, and
 * knows nothing of compressed texts. */
#include "websocket_internal.h"

#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>

#define HEADER 14 /* bytes of a frame's, at the most */

/* ---- sending ---- */

static ssize_t gather(const uint8_t *data, size_t size, int flags, void *socket)
{
    async_websocket *self = socket;
    (void)flags;
    memcpy(self->out.data + self->out.end, data, size);
    self->out.end += size;
    return (ssize_t)size;
}

static int make_mask(uint8_t *mask, size_t size, void *socket)
{
    (void)socket;
    return RAND_bytes(mask, (int)size) == 1 ? 0 : -1;
}

int async__ws_frame(async_websocket *self, uint8_t opcode, bool fin, bool compressed,
                    const void *data, size_t size)
{
    struct async__buffer *out = &self->out;
    struct wslay_frame_iocb frame = {
        .fin = fin,
        .rsv = compressed ? WSLAY_RSV1_BIT : 0,
        .opcode = opcode,
        .payload_length = size,
        .mask = !self->request,
        .data = data,
        .data_length = size,
    };

    out->start = out->end = 0;
    if (async__buffer_room(out) < size + HEADER && async__buffer_reserve(out, size + HEADER) < 0)
        return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a frame of %zu bytes", size);
    if (wslay_frame_send(self->wslay, &frame) < 0)
        return async__ws_fail(self, -EIO, 0, "no random bytes for a frame's mask");
    /* The mark is what async_stream_write_nowait refuses at. */
    async_stream_set_high_water(self->stream, SIZE_MAX);
    int code =
        async_stream_write_nowait(self->stream, async__buffer_bytes(out), async__buffer_size(out));
    async_stream_set_high_water(self->stream, ASYNC__WS_HIGH);
    out->start = out->end = 0;
    if (out->capacity > ASYNC__WS_KEEP) async__buffer_free(out);
    if (code < 0) async__ws_fail(self, code, 0, "%s", async_error_message());
    return code;
}

/* ---- receiving ---- */

static double deadline(const async_websocket *self)
{
    if (self->close_sent) return self->close_by;
    return async_now() + (self->pinged ? self->options.pong_timeout : self->options.heartbeat);
}

/* Nothing has come in time: 0 to wait for more, or a code. */
static int silence(async_websocket *self)
{
    if (self->close_sent) {
        return async__ws_fail(self, -ETIMEDOUT, 0, "the peer did not answer the Close in %g s",
                              self->options.close_timeout);
    }
    if (self->pinged) {
        return async__ws_fail(self, -ETIMEDOUT, ASYNC__WS_INTERNAL,
                              "the peer did not answer a ping in %g s", self->options.pong_timeout);
    }
    self->pinged = true;
    self->ping_time = async_now();
    return async__ws_control(self, WSLAY_PING, "", 0, false);
}

/* What a read of the stream gave that is no data. */
static int no_data(async_websocket *self, ssize_t got)
{
    if (got == 0)
        return async__ws_fail(self, ASYNC_EINCOMPLETE, 0, "the connection ended without a Close");
    if (got == -ECANCELED || got == -ETIMEDOUT || got == -EPERM) return (int)got;
    return async__ws_fail(self, (int)got, 0, "%s", async_error_message());
}

static ssize_t receive(uint8_t *to, size_t size, int flags, void *socket)
{
    async_websocket *self = socket;
    (void)flags;

    for (int code = 0; code == 0;) {
        async_scope scope;
        code = async_timeout_enter_at(&scope, deadline(self));
        if (code == 0) {
            self->wait = &scope;
            ssize_t got = async_stream_read(self->stream, to, size);
            self->wait = NULL;
            bool expired = got == -ETIMEDOUT && async_scope_expired(&scope);
            async_scope_leave(&scope);
            if (got > 0) self->pinged = false;
            if (got > 0) return got;
            if (self->ended) break; /* another task has ended it */
            code = expired ? silence(self) : no_data(self, got);
        }
        self->pull_code = code;
    }
    return -1;
}

int async__ws_pull(async_websocket *self, struct wslay_frame_iocb *frame)
{
    self->pull_code = 0;
    ssize_t got = wslay_frame_recv(self->wslay, frame);
    if (self->ended) return 0;
    if (got >= 0) return 1;
    if (got == WSLAY_ERR_WANT_READ) return self->pull_code;
    async__ws_fail(self, -EPROTO, ASYNC__WS_PROTOCOL, "the peer sent a malformed frame");
    return 0;
}

int async__ws_frames_init(async_websocket *self)
{
    const struct wslay_frame_callbacks callbacks = {
        .send_callback = gather, .recv_callback = receive, .genmask_callback = make_mask};
    return wslay_frame_context_init(&self->wslay, &callbacks, self) == 0 ? 0 : -ENOMEM;
}
