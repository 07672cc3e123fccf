/* receive.c - frames to messages.
 *
 * A frame comes in pieces, of a few KiB at the most, each of which is judged as it comes: what is malformed
 * or too large is refused before there is memory for it. All that is known between two pieces is in the
 * socket, so that a call that is cancelled goes on with the next. */
#include "websocket_internal.h"

#include <stdio.h>

#define STEP 65536 /* bytes that there is room for before they have come */

static void refuse(async_websocket *self, const char *why)
{
    async__ws_fail(self, -EPROTO, ASYNC__WS_PROTOCOL, "the peer sent %s", why);
}

/* ---- what a frame may be ---- */

static const char *malformed(const async_websocket *self, const struct wslay_frame_iocb *frame)
{
    bool control = wslay_is_ctrl_frame(frame->opcode);
    bool begins = frame->opcode == WSLAY_TEXT_FRAME || frame->opcode == WSLAY_BINARY_FRAME;

    if (frame->mask == !self->request)
        return frame->mask ? "a masked frame" : "a frame that is not masked";
    if (frame->rsv != 0 && !(frame->rsv == WSLAY_RSV1_BIT && self->deflate.on && begins))
        return "a frame with reserved bits";
    if (frame->opcode > WSLAY_PONG || (frame->opcode > WSLAY_BINARY_FRAME && !control))
        return "a frame with a reserved opcode";
    if (control && (!frame->fin || frame->payload_length > ASYNC__WS_CONTROL))
        return "a control frame that is too long or in fragments";
    if (begins && self->opcode) return "a message in the middle of another";
    if (!control && !begins && !self->opcode) return "the continuation of no message";
    return NULL;
}

static void begin_frame(async_websocket *self, const struct wslay_frame_iocb *frame)
{
    const async_websocket_options *options = &self->options;
    const char *why = malformed(self, frame);

    if (why) {
        refuse(self, why);
        return;
    }
    self->in_frame = true;
    self->frame_done = 0;
    if (wslay_is_ctrl_frame(frame->opcode)) return;
    if (frame->opcode != WSLAY_CONTINUATION_FRAME) {
        self->opcode = frame->opcode;
        self->compressed = frame->rsv != 0;
        self->utf8 = (struct async__utf8){0};
    }
    if (self->dropping) return;
    size_t left = options->max_message - async__buffer_size(&self->message);
    if (frame->payload_length > options->max_frame)
        async__ws_fail(self, -EMSGSIZE, ASYNC__WS_TOO_BIG, "a frame is larger than %zu bytes",
                       options->max_frame);
    else if (!self->compressed && frame->payload_length > left)
        async__ws_fail(self, -EMSGSIZE, ASYNC__WS_TOO_BIG, "a message is larger than %zu bytes",
                       options->max_message);
}

/* ---- control frames ---- */

static void closed(async_websocket *self, const uint8_t *data, size_t size)
{
    const char *reason = (const char *)data + 2;
    int code = size >= 2 ? data[0] << 8 | data[1] : ASYNC__WS_NO_CODE;
    size_t length = size >= 2 ? size - 2 : 0;

    if (size == 1 || (size >= 2 && !async__ws_is_close_code(code))) {
        refuse(self, "a Close with a code that is none");
    } else if (length > 0 && !async__utf8_is_text(reason, length)) {
        async__ws_fail(self, -EILSEQ, ASYNC__WS_NOT_CONSISTENT,
                       "the reason of the peer's Close is not UTF-8");
    } else {
        memcpy(self->close_reason, reason, length);
        self->close_reason[length] = '\0';
        async__ws_send_close(self, code, "");
        async__ws_end(self, 0, code);
    }
}

static int control(async_websocket *self, uint8_t opcode, size_t size)
{
    if (opcode == WSLAY_PING) return async__ws_control(self, WSLAY_PONG, self->control, size, true);
    if (opcode == WSLAY_CONNECTION_CLOSE) closed(self, self->control, size);
    if (opcode == WSLAY_PONG && self->ping_time > 0) {
        self->latency = async_now() - self->ping_time;
        self->ping_time = 0;
    }
    return 0;
}

/* ---- messages ---- */

static int append(struct async__buffer *to, const struct wslay_frame_iocb *frame, uint64_t left)
{
    size_t room = async__buffer_room(to), wanted = left > STEP ? STEP : (size_t)left;

    if (wanted < frame->data_length) wanted = frame->data_length;
    if (room < frame->data_length + 1 && async__buffer_reserve(to, wanted + 1) < 0) return -ENOMEM;
    memcpy(to->data + to->end, frame->data, frame->data_length);
    to->end += frame->data_length;
    return 0;
}

/* A piece of a message; `last`: of all of it. 1: that is whole now. */
static int add(async_websocket *self, const struct wslay_frame_iocb *frame, bool last)
{
    struct async__buffer *message = &self->message;
    size_t had = async__buffer_size(message);
    int code = self->compressed
                   ? async__deflate_receive(&self->deflate, message, self->options.max_message,
                                            frame->data, frame->data_length, last)
                   : append(message, frame, frame->payload_length - self->frame_done);

    if (code == -EMSGSIZE)
        async__ws_fail(self, code, ASYNC__WS_TOO_BIG, "a message is larger than %zu bytes",
                       self->options.max_message);
    else if (code == -EBADMSG)
        async__ws_fail(self, code, ASYNC__WS_NOT_CONSISTENT, "a compressed message is malformed");
    else if (code < 0)
        async__ws_fail(self, code, ASYNC__WS_INTERNAL, "no memory for a message");
    if (code < 0) return 0;
    if (self->opcode == WSLAY_TEXT_FRAME) {
        size_t more = async__buffer_size(message) - had; /* 0: there may be no memory yet */
        bool fine = more == 0 || async__utf8_check(&self->utf8, message->data + had, more);
        if (!fine || (last && self->utf8.need > 0)) {
            async__ws_fail(self, -EILSEQ, ASYNC__WS_NOT_CONSISTENT, "a text is not UTF-8");
            return 0;
        }
    }
    return last;
}

/* Takes a piece of a frame: 1, a message is whole; 0; a code of a cancellation. */
static int take(async_websocket *self, const struct wslay_frame_iocb *frame)
{
    if (!self->in_frame) begin_frame(self, frame);
    if (self->ended) return 0;
    bool is_control = wslay_is_ctrl_frame(frame->opcode);
    size_t before = (size_t)self->frame_done;
    bool whole = before + frame->data_length == frame->payload_length;
    int done = 0;

    if (whole) self->in_frame = false;
    if (is_control)
        memcpy(self->control + before, frame->data, frame->data_length);
    else if (!self->dropping)
        done = add(self, frame, whole && frame->fin);
    self->frame_done += frame->data_length;
    if (is_control && whole) return control(self, frame->opcode, (size_t)frame->payload_length);
    if (!is_control && whole && frame->fin) {
        self->type = (enum async_websocket_type)self->opcode; /* wslay's numbers are the RFC's */
        self->opcode = 0;
    }
    return done;
}

int async__ws_receive(async_websocket *self)
{
    struct wslay_frame_iocb frame;
    int code;

    self->receiving = true;
    do {
        code = async__ws_pull(self, &frame);
        if (code > 0) code = take(self, &frame);
    } while (code == 0 && !self->ended);
    self->receiving = false;
    async_event_set(&self->change);
    async_event_clear(&self->change);
    return self->ended ? 0 : code;
}

/* ---- what programs call ---- */

/* The one before is not needed any more; one that has come in part goes on. */
static void forget_message(async_websocket *self)
{
    struct async__buffer *message = &self->message;

    if (self->opcode) return;
    message->start = message->end = 0;
    if (message->capacity > ASYNC__WS_KEEP) async__buffer_free(message);
}

static int receive(async_websocket *self, async_websocket_message *message)
{
    int code = async_checkpoint();

    if (code == 0 && self->receiving && !self->dropping && !self->ended)
        return async_raise_at(NULL, 0, NULL, -EBUSY, "another task receives from the WebSocket");
    forget_message(self);
    /* Behind a task that closes there are no messages. */
    while (code == 0 && self->receiving && !self->ended)
        code = async_event_wait(&self->change);
    if (code == 0 && !self->ended) code = async__ws_receive(self);
    if (code <= 0) return code < 0 ? code : async__ws_over(self);
    message->type = self->type;
    message->data = self->message.data;
    message->size = async__buffer_size(&self->message);
    self->message.data[self->message.end] = '\0';
    return 1;
}

int async_websocket_receive(async_websocket *self, async_websocket_message *message)
{
    if (!self) return async__ws_null();
    if (!message) return async_raise_at(NULL, 0, NULL, -EINVAL, "a WebSocket message of NULL");
    async__ws_ref(self);
    int code = receive(self, message);
    async__ws_unref(self);
    return code;
}

static int next(async_iterator *iterator, void *message)
{
    return async_websocket_receive(
        (async_websocket *)((char *)iterator - offsetof(async_websocket, messages)), message);
}

async_iterator *async_websocket_messages(async_websocket *self)
{
    if (!self) {
        if (async_error_code() == 0) async__ws_null();
        return NULL;
    }
    self->messages.next = next;
    self->messages.size = sizeof(async_websocket_message);
    return &self->messages;
}
