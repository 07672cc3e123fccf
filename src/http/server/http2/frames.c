/* frames.c - what nghttp2 tells of the frames that have come. These functions run inside of nghttp2, in
 * the connection's task: they make streams and wake them, and wait for nothing. */
#include "http2_internal.h"

#include <errno.h>

static struct async__http2_stream *find(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static bool is_request(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

/* ---- any frame ---- */

/* RFC 9113, 5.1.1: a stream's number is higher than those before. nghttp2 takes one that was left out for
 * one that is closed, and ignores it. */
static void check_number(struct async__http2 *self, int32_t id)
{
    if (id > self->last_id) {
        int32_t step = id / 2 + 1 - (self->last_id + 1) / 2;
        self->opened = (step < 64 ? self->opened << step : 0) | 1;
        self->last_id = id;
        return;
    }
    int32_t back = (self->last_id - id) / 2;
    if (back < 64 && !(self->opened >> back & 1))
        async__http2_terminate(self, NGHTTP2_PROTOCOL_ERROR);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *data)
{
    struct async__http2 *self = data;
    double cost = 1;

    (void)session;
    if (hd->type == NGHTTP2_HEADERS || (hd->type == NGHTTP2_DATA && hd->length > 0)) cost = 0;
    if (hd->type == NGHTTP2_RST_STREAM) cost = ASYNC__HTTP2_RESET_TOKENS;
    if (hd->type == NGHTTP2_HEADERS && hd->stream_id % 2 == 1) check_number(self, hd->stream_id);
    async__http2_charge(self, cost);
    return 0;
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct async__http2 *self = data;
    int32_t id = frame->hd.stream_id;

    if (!is_request(frame)) return 0;
    /* nghttp2 counts streams that it knows; those whose tasks have still to end count, too. */
    struct async__http2_stream *stream = NULL;
    if (self->live < self->connection->server->options.max_streams)
        stream = async__http2_stream_new(self, id);
    if (stream) self->head_since = async_now();
    if (!stream || nghttp2_session_set_stream_user_data(session, id, stream) != 0)
        nghttp2_submit_rst_stream(session, 0, id, NGHTTP2_REFUSED_STREAM);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *data)
{
    struct async__http2_stream *stream = find(session, frame->hd.stream_id);
    int code;

    (void)flags, (void)data;
    if (!stream) return 0;
    if (is_request(frame))
        code = async__http2_add_header(stream, (const char *)name, name_size, (const char *)value,
                                       value_size);
    else
        code = async__http2_add_trailer(stream, (const char *)name, name_size, (const char *)value,
                                        value_size);
    return code < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0; /* the stream is reset */
}

static int begin_request(struct async__http2_stream *stream, bool ends)
{
    struct async__http2 *self = stream->http2;

    self->head_since = 0;
    stream->status = async__http2_end_head(stream, ends);
    stream->in_done = ends;
    stream->has_task =
        async_group_create_task(self->group, async__http2_stream_run, stream) != NULL;
    return stream->has_task ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE; /* the group has failed */
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct async__http2_stream *stream = find(session, frame->hd.stream_id);
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
        async__http2_notice_seen(data);
    if (!stream || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    if (is_request(frame) && !stream->has_task) return begin_request(stream, ends);
    if (ends) {
        stream->in_done = true;
        async_event_set(&stream->changed);
    }
    return 0;
}

/* ---- bodies, ends ---- */

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t size, void *data)
{
    struct async__http2_stream *stream = find(session, id);

    (void)flags, (void)data;
    if (!stream) { /* it has been answered: the others need the connection's window */
        nghttp2_session_consume_connection(session, size);
        return 0;
    }
    if (async__buffer_append(&stream->in, bytes, size) < 0) {
        nghttp2_session_consume_connection(session, size);
        return nghttp2_submit_rst_stream(session, 0, id, NGHTTP2_INTERNAL_ERROR);
    }
    async_event_set(&stream->changed);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *data)
{
    struct async__http2_stream *stream = find(session, id);

    (void)data;
    if (!stream) return 0;
    stream->closed = true;
    if (!stream->has_task) {
        async__http2_stream_free(stream);
        return 0;
    }
    async_event_set(&stream->changed);
    if (error != NGHTTP2_NO_ERROR) async_scope_cancel(&stream->scope);
    return 0;
}

/* A stream that is refused, or reset for what the client has sent, costs as much as one that the client
 * resets. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct async__http2 *self = data;

    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        self->terminated = true; /* nghttp2 has found an error */
    if (frame->hd.type != NGHTTP2_RST_STREAM) return 0;
    uint32_t error = frame->rst_stream.error_code;
    if (error != NGHTTP2_NO_ERROR && error != NGHTTP2_INTERNAL_ERROR)
        async__http2_charge(self, ASYNC__HTTP2_RESET_TOKENS);
    /* A setting that makes a window too large is an error of the connection: RFC 9113, 6.9.2. */
    if (error == NGHTTP2_FLOW_CONTROL_ERROR) async__http2_terminate(self, error);
    return 0;
}

/* A head that is too large for nghttp2, say. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *data)
{
    (void)error, (void)data;
    if (frame->hd.type != NGHTTP2_HEADERS || !find(session, frame->hd.stream_id)) return 0;
    return nghttp2_submit_rst_stream(session, 0, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
}

int async__http2_set_callbacks(nghttp2_session_callbacks **callbacks)
{
    int code = nghttp2_session_callbacks_new(callbacks);

    if (code != 0) return code;
    nghttp2_session_callbacks_set_on_begin_frame_callback(*callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(*callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(*callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(*callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(*callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(*callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(*callbacks, on_not_sent);
    return 0;
}
