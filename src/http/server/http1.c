/* http1.c - answers as HTTP/1 has them: heads, chunks, files.
 *
 * A small answer, head and body, is put together in the request's `out` and handed to the stream
 * without waiting; a larger one is written from where it lies, 64 KiB at a time, each of which the
 * client has to take within write_timeout.
 *
 * While further requests have come already, small answers are gathered in the connection's `out`, and
 * go out as one: with the answer to the last of those requests, when what is gathered becomes much,
 * or when the task waits for something. The last is a callback's doing, which runs once the task has
 * parked: so a slow handler never holds up the answers before its own. */
#include "server_internal.h"

#include <casyncio/transfers.h>

#include <errno.h>
#include <stdio.h>

#define SMALL 4096        /* bytes of a body that is copied behind its head */
#define PIECE 65536       /* bytes that have to be taken in write_timeout */
#define FILE_PIECE 262144 /* and of a file */
#define GATHERED 32768    /* bytes of answers that are gathered */

/* ---- sending ---- */

/* Pieces that are no more than PIECE bytes together: 0 or a code, raised. */
static int write_pieces(struct async__http_connection *connection, const struct iovec *pieces,
                        int count)
{
    async_scope scope;
    int code = async_timeout_enter(&scope, connection->server->options.write_timeout);

    if (code < 0) return code;
    code = async_stream_writev(connection->stream, pieces, count);
    bool expired = code == -ETIMEDOUT && async_scope_expired(&scope);
    async_scope_leave(&scope);
    if (expired)
        async_raise_at(NULL, 0, NULL, -ETIMEDOUT, "the client does not take what it is sent");
    return code;
}

static int write_now(struct async__http_connection *connection, const void *data, size_t size)
{
    int code = async_stream_write_nowait(connection->stream, data, size);
    if (code != -EAGAIN) return code;
    return write_pieces(connection, &(struct iovec){(void *)data, size}, 1);
}

/* The task waits: what has been gathered goes out. That a stream is broken the next call finds. */
void async__http1_flush_soon(async_callback *callback)
{
    struct async__http_connection *self =
        (struct async__http_connection *)((char *)callback -
                                          offsetof(struct async__http_connection, flush));
    struct async__buffer *out = &self->out;

    if (async_stream_write_nowait(self->stream, async__buffer_bytes(out),
                                  async__buffer_size(out)) != -EAGAIN)
        out->start = out->end = 0;
}

int async__http1_flush(struct async__http_connection *connection)
{
    struct async__buffer *out = &connection->out;

    if (async__buffer_size(out) == 0) return 0;
    async_callback_cancel(&connection->flush);
    int code = write_now(connection, async__buffer_bytes(out), async__buffer_size(out));
    out->start = out->end = 0;
    return code;
}

/* Whether it has been gathered. What the stream still keeps has not been taken by the client: then
 * the answers wait for it, one by one. */
static bool gather(struct async__http_connection *connection, const void *data, size_t size)
{
    struct async__buffer *out = &connection->out;

    if (async__buffer_size(out) + size > GATHERED) return false;
    if (async__buffer_size(out) == 0 && async_stream_unsent(connection->stream) > 0) return false;
    if (async__buffer_append(out, data, size) < 0) return false;
    async_call_soon(async_get_running_loop(), &connection->flush);
    return true;
}

int async__http1_send(struct async__http_connection *connection, const void *data, size_t size)
{
    bool more = async__buffer_size(&connection->in) > 0;

    if ((more || async__buffer_size(&connection->out) > 0) && gather(connection, data, size))
        return more ? 0 : async__http1_flush(connection);
    int code = async__http1_flush(connection);
    return code < 0 ? code : write_now(connection, data, size);
}

/* ---- the head ---- */

/* Whether the connection goes on after this answer. What the client may still send of the body, if it
 * was told neither to go on nor to stop, could be taken for a request. */
static bool goes_on(const struct async_http_request *request)
{
    return request->keep_alive && !request->close && !request->until_close &&
           !request->server->stopping && request->body_code == 0 &&
           !(request->expects && !request->body_begun);
}

/* How the body ends. */
static void frame(struct async_http_request *request, int64_t length)
{
    bool none = request->status == 204 || request->status == 304;

    request->chunked = length < 0 && !none && request->head.minor == 1;
    request->until_close = length < 0 && !none && request->head.minor == 0;
    if (!goes_on(request)) request->close = true;
}

static char *put(char *to, const char *text, size_t size)
{
    if (size > 0) memcpy(to, text, size);
    return to + size;
}

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put_number(char *to, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return put(to, digits + at, sizeof digits - at);
}

/* Each answer has a head: it is put together without printf. */
static int write_head(struct async_http_request *request, const char *content_type, int64_t length)
{
    const char *reason = async__http_reason_of(request->status);
    const char *header = request->server->server_header;
    struct async__buffer *out = &request->out, *extra = &request->extra;
    size_t type =
        content_type && !async__http_find_line(extra, "Content-Type") ? strlen(content_type) : 0;

    if (async__buffer_reserve(out, 256 + strlen(reason) + strlen(header) + type +
                                       async__buffer_size(extra)) < 0)
        return -ENOMEM;
    out->start = out->end = 0;
    frame(request, length);
    char *to = PUT(out->data + out->end, "HTTP/1.1 ");
    to = PUT(put_number(to, (uint64_t)request->status), " ");
    to = PUT(put(to, reason, strlen(reason)), "\r\n");
    if (!async__http_find_line(extra, "Date")) {
        const char *date = async__http_date(request->server);
        to = PUT(put(PUT(to, "Date: "), date, strlen(date)), "\r\n");
    }
    to = put(to, header, strlen(header));
    if (type > 0) to = PUT(put(PUT(to, "Content-Type: "), content_type, type), "\r\n");
    if (request->chunked) to = PUT(to, "Transfer-Encoding: chunked\r\n");
    if (length >= 0 && request->status != 204 && request->status != 304)
        to = PUT(put_number(PUT(to, "Content-Length: "), (uint64_t)length), "\r\n");
    if (request->close)
        to = PUT(to, "Connection: close\r\n");
    else if (request->head.minor == 0)
        to = PUT(to, "Connection: keep-alive\r\n");
    to = PUT(put(to, async__buffer_bytes(extra), async__buffer_size(extra)), "\r\n");
    out->end = (size_t)(to - out->data);
    return 0;
}

/* ---- the body ---- */

/* How a body in chunks ends: "0\r\n", the trailers, "\r\n". */
static const char last_chunk[] = "0\r\n";

/* The line of a chunk's size. */
static size_t chunk_line(char line[24], size_t size)
{
    return (size_t)snprintf(line, 24, "%zx\r\n", size);
}

/* Behind what is in `out`, the head perhaps: false, there is no memory. */
static bool put_small(struct async_http_request *request, bool chunked, const void *data,
                      size_t size, bool last)
{
    struct async__buffer *out = &request->out, *trailers = &request->answer_trailers;
    size_t behind = last ? async__buffer_size(trailers) : 0;
    char line[24];

    if (async__buffer_reserve(out, size + behind + 2 * sizeof line) < 0) return false;
    char *to = out->data + out->end;
    if (chunked && size > 0) to = put(to, line, chunk_line(line, size));
    to = put(to, data, size);
    if (chunked && size > 0) to = PUT(to, "\r\n");
    if (chunked && last) {
        to = PUT(to, last_chunk);
        to = PUT(put(to, async__buffer_bytes(trailers), behind), "\r\n");
    }
    out->end = (size_t)(to - out->data);
    return true;
}

/* A piece with what is in `out` before it. */
static int send_piece(struct async_http_request *request, bool chunked, const void *data,
                      size_t size, bool last)
{
    struct async__buffer *out = &request->out, *trailers = &request->answer_trailers;
    bool end = chunked && last;
    char line[24], crlf[] = "\r\n";
    struct iovec pieces[] = {
        {async__buffer_bytes(out), async__buffer_size(out)},
        {line, chunked ? chunk_line(line, size) : 0},
        {(void *)data, size},
        {crlf, chunked ? 2 : 0},
        {(void *)last_chunk, end ? sizeof last_chunk - 1 : 0},
        {async__buffer_bytes(trailers), end ? async__buffer_size(trailers) : 0},
        {crlf, end ? 2 : 0}};
    int code = write_pieces(request->connection, pieces, sizeof pieces / sizeof *pieces);
    out->start = out->end = 0;
    return code;
}

static int send_body(struct async_http_request *request, const void *data, size_t size, bool last)
{
    struct async__buffer *out = &request->out;
    bool chunked = request->chunked && !request->no_body;
    int code = 0;

    if (size <= SMALL && put_small(request, chunked, data, size, last)) {
        if (async__buffer_size(out) > 0)
            code = async__http1_send(request->connection, async__buffer_bytes(out),
                                     async__buffer_size(out));
        out->start = out->end = 0;
        request->sent += code == 0 ? size : 0;
        return code;
    }
    if (size == 0) return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an HTTP answer");
    code = async__http1_flush(request->connection);
    for (const char *at = data; size > 0 && code == 0;) {
        size_t piece = size < PIECE ? size : PIECE;
        code = send_piece(request, chunked, at, piece, last && piece == size);
        at += piece;
        size -= piece;
        if (code == 0) request->sent += piece;
    }
    return code;
}

static int send_file(struct async_http_request *request, int fd, int64_t from, int64_t size)
{
    async_stream *stream = request->connection->stream;
    int code = async__http1_flush(request->connection);

    while (size > 0 && code == 0) {
        int64_t piece = size < FILE_PIECE ? size : FILE_PIECE, moved = 0;
        async_scope scope;
        int64_t sent = async_timeout_enter(&scope, request->server->options.write_timeout);
        if (sent == 0) {
            sent = async_sendfile_fd(stream, fd, from, piece, &moved);
            async_scope_leave(&scope);
        }
        request->sent += (uint64_t)moved;
        if (sent == 0) sent = async_raise_at(NULL, 0, NULL, -EIO, "the file has become shorter");
        if (sent < 0) code = (int)sent;
        from += moved;
        size -= moved;
    }
    return code;
}

const struct async__http_framing async__http1 = {
    .head = write_head,
    .send = send_body,
    .send_file = send_file,
    .go_on = async__http1_go_on,
    .recv = async__http1_recv,
};
