/* receive.c - curl's callbacks: before the request is sent, header lines, pieces of the body, what
 * is to be uploaded.
 *
 * curl calls these from inside of itself, on the loop's stack, or, where a paused transfer is
 * let go on, on a task's. They copy, set the response's event, and never block. A header block
 * is kept until the next one begins, so that in the end the final response's is left; those of
 * 1xx are known by their status. */
#include "http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- headers ---- */

/* The text and a 0 byte. */
static int keep(struct async__buffer *to, const char *text, size_t length)
{
    if (async__buffer_reserve(to, length + 1) < 0) return -ENOMEM;
    memcpy(to->data + to->end, text, length);
    to->data[to->end + length] = 0;
    to->end += length + 1;
    return 0;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void trim(const char **text, size_t *length)
{
    while (*length && is_space(**text)) {
        ++*text;
        --*length;
    }
    while (*length && is_space((*text)[*length - 1]))
        --*length;
}

/* "HTTP/1.1 200 OK" or "HTTP/2 200": curl has looked at it already. */
static int begin_block(async_http_response *response, const char *line, size_t length)
{
    size_t at = sizeof "HTTP/" - 1, version = 0;

    async__http_lines_clear(&response->head);
    response->status = 0;
    response->content_length = 0;
    response->location = 0;
    response->receiving = true;
    response->is_header = response->has_length = false;
    for (; at < length && line[at] != ' ' && version + 1 < sizeof response->version; at++)
        response->version[version++] = line[at];
    response->version[version] = 0;
    while (at < length && line[at] == ' ')
        at++;
    for (int digits = 0; digits < 3 && at < length && line[at] >= '0' && line[at] <= '9'; digits++)
        response->status = response->status * 10 + line[at++] - '0';

    const char *reason = line + at;
    length -= at;
    trim(&reason, &length);
    return keep(&response->head.text, reason, length);
}

/* A line that begins with a blank goes on with the value before it (RFC 9112, 5.2). */
static int continue_value(async_http_response *response, struct async__buffer *text,
                          const char *line, size_t length)
{
    if (!response->is_header) return 0;
    trim(&line, &length);
    if (async__buffer_reserve(text, 1) < 0) return -ENOMEM;
    text->data[text->end - 1] = ' ';
    return keep(text, line, length);
}

/* What the response itself has to know. */
static void note_header(async_http_response *response, const char *name, const char *value)
{
    if (strcasecmp(name, "Location") == 0) {
        if (*value && !response->location)
            response->location = (size_t)(value - response->head.text.data);
    } else if (strcasecmp(name, "Content-Length") == 0) {
        response->content_length = strtoull(value, NULL, 10);
        response->has_length = true;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        response->has_length = true;
    }
}

static int add_line(async_http_response *response, struct async__http_lines *lines,
                    const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    struct async__buffer *text = &lines->text, *index = &lines->index;
    uint32_t begin = (uint32_t)text->end;

    response->is_header = colon != NULL;
    if (!colon) return 0;
    const char *name = line, *value = colon + 1;
    size_t name_length = (size_t)(colon - line), value_length = length - name_length - 1;
    trim(&name, &name_length);
    trim(&value, &value_length);

    if (async__buffer_reserve(index, sizeof begin) < 0) return -ENOMEM;
    int code = keep(text, name, name_length);
    if (code == 0) code = keep(text, value, value_length);
    if (code < 0) return code;
    memcpy(index->data + index->end, &begin, sizeof begin);
    index->end += sizeof begin;
    name = text->data + begin;
    if (lines == &response->head) note_header(response, name, name + name_length + 1);
    return 0;
}

/* A decoder for what the final response's body is coded with. */
static int make_decoder(async_http_response *response)
{
    const char *name, *value;
    int code = 0;

    if (!response->session->decompress) return 0;
    for (size_t i = 0; code == 0 && async_http_header_at(response, i, &name, &value); i++)
        if (strcasecmp(name, "Content-Encoding") == 0)
            code = async__http_decoder_add(&response->decoder, value, response);
    return code;
}

/* Whether there is a body, and nothing but the end of the connection is its end. */
static bool ends_with_connection(const async_http_response *response)
{
    int status = response->status;

    return !response->has_length && response->version[0] == '1' && status != 204 && status != 304 &&
           strcmp(response->method, "HEAD") != 0;
}

/* curl sends no more of a body when the answer is an error or a redirect, but stays paused. */
static void stop_upload(async_http_response *response)
{
    if (!response->source || response->status < 300) return;
    async_scope_cancel(response->interrupt);
    async_event_set(&response->changed);
    if (response->hungry) async__http_run_soon(response);
}

static int end_block(async_http_response *response)
{
    response->receiving = false;
    if (response->status == 101) {
        async__http_detail(response, "it has switched protocols, which it was not asked to");
        return ASYNC_EHTTP;
    }
    if (response->status < 200) return 0;
    async__http_trace(response, ASYNC_HTTP_TRACE_HEADERS, NULL);
    stop_upload(response);
    if (response->follow && response->location && async__http_is_redirect(response->status)) {
        response->redirected = true;
        return 0;
    }
    /* Final only if curl had sent the body meanwhile. If not it sends the request again, and with
     * the very header, since that is the user's: before_sending makes it another transfer. */
    if (response->status == 417 && response->expects) {
        response->refused = true;
        return 0;
    }
    response->headers_done = true;
    if (ends_with_connection(response)) async__http_watch_tls_end(response, true);
    async_event_set(&response->changed);
    return 0;
}

/* 0, or a code, with the response's detail. */
static int take_line(async_http_response *response, const char *line, size_t length)
{
    response->header_bytes += length;
    async__http_progress(response);
    if (response->header_bytes > ASYNC__HTTP_HEADERS_MAX) {
        async__http_detail(response, "its headers are larger than %d bytes",
                           ASYNC__HTTP_HEADERS_MAX);
        return ASYNC_EHTTP;
    }
    if (response->redirected) return 0;
    struct async__http_lines *lines =
        response->headers_done ? &response->trailers : &response->head;
    bool blank = line[0] == '\r' || line[0] == '\n';
    if (!response->headers_done && !response->receiving) return begin_block(response, line, length);
    if (blank) return response->headers_done ? 0 : end_block(response);
    if (line[0] == ' ' || line[0] == '\t')
        return continue_value(response, &lines->text, line, length);
    return add_line(response, lines, line, length);
}

static size_t on_header(char *line, size_t size, size_t count, void *data)
{
    async_http_response *response = data;
    int code = take_line(response, line, size * count);

    if (code < 0) response->failure = code;
    return code == 0 ? size * count : 0;
}

/* ---- the body ---- */

/* A body whose length is known gets its buffer at once, but no more than is kept anyhow: a
 * server can promise much. */
static size_t room_for(const async_http_response *response, size_t size)
{
    uint64_t length = response->content_length;

    if (response->filling.end > 0 || length <= size) return size + 1;
    return length < ASYNC__HTTP_KEPT ? (size_t)length + 1 : ASYNC__HTTP_KEPT;
}

/* Decodes into `filling` as far as there is room: 0, or a code with the response's detail. Of a
 * body that is wanted whole no more than a byte beyond the session's limit. */
static int decode(async_http_response *response)
{
    struct async__buffer *filling = &response->filling;
    size_t max = response->session ? response->session->max_body : 0;

    for (;;) {
        size_t limit = response->whole ? max : ASYNC__HTTP_KEPT, room = CURL_MAX_WRITE_SIZE;
        if (limit && filling->end >= limit) {
            if (!response->whole) return 0;
            room = 1;
        } else if (limit && limit - filling->end < room) {
            room = limit - filling->end;
        }
        if (async__buffer_reserve(filling, room + 1) < 0) return -ENOMEM;
        ssize_t n = async__http_decoder_draw(response->decoder, filling->data + filling->end, room,
                                             response);
        if (n < 0) return (int)n;
        filling->end += (size_t)n;
        if (n > 0 && !response->whole) async_event_set(&response->changed);
        if (response->whole && max && filling->end > max) {
            async__http_detail(response, ASYNC__HTTP_TOO_LARGE);
            return -EMSGSIZE;
        }
        if (!async__http_decoder_pending(response->decoder)) return 0;
    }
}

static int take_coded(async_http_response *response, const char *data, size_t size)
{
    if (size > CURL_MAX_WRITE_SIZE) return -EIO; /* more than curl promises, and a stage keeps */
    async__http_decoder_give(response->decoder, data, size);
    int code = decode(response);
    if (code == 0) async__http_decoder_keep(response->decoder);
    return code;
}

/* Of what is pending. A failure ends the body: the transfer too, if it still runs. */
void async__http_decode(async_http_response *response)
{
    int code = 0;

    if (async__http_decoder_pending(response->decoder)) code = decode(response);
    if (code == 0) return;
    async__http_finish(response, code);
    response->code = code;
    async__http_decoder_free(response->decoder);
    response->decoder = NULL;
}

static int take_plain(async_http_response *response, const char *data, size_t size)
{
    struct async__buffer *filling = &response->filling;
    size_t max = response->session->max_body;

    if (response->whole && max && filling->end + size > max) {
        async__http_detail(response, ASYNC__HTTP_TOO_LARGE);
        return -EMSGSIZE;
    }
    if (async__buffer_reserve(filling, room_for(response, size)) < 0) return -ENOMEM;
    memcpy(filling->data + filling->end, data, size);
    filling->end += size;
    if (!response->whole) async_event_set(&response->changed);
    return 0;
}

/* A redirect's body is read to its end, so that the connection can be used again, unless it is
 * long: then the error that this gives ends the transfer. */
static size_t discard(async_http_response *response, size_t size)
{
    response->discarded += size;
    return response->discarded <= ASYNC__HTTP_DISCARDED ? size : size + 1;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    async_http_response *response = context;
    int code = 0;

    size *= count;
    if (size == 0) return 0;
    if (response->redirected) return discard(response, size);
    if (response->body_bytes == 0) code = make_decoder(response);
    if (code == 0) {
        bool full = response->decoder ? async__http_decoder_pending(response->decoder)
                                      : response->filling.end >= ASYNC__HTTP_KEPT;
        if (full && !response->whole) {
            response->paused = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        response->body_bytes += size;
        async__http_progress(response);
        async__http_trace(response, ASYNC_HTTP_TRACE_CHUNK,
                          &(struct async__http_traced){.size = size});
        code =
            response->decoder ? take_coded(response, data, size) : take_plain(response, data, size);
    }
    if (code == 0) return size;
    response->failure = code;
    return size + 1;
}

/* ---- sending ---- */

/* curl is about to send the request. It does so again where a connection that it used again ended
 * before anything came, which may have been after the server had acted on the request. That is
 * right for an idempotent method, or if nothing was sent (RFC 9110, 9.2.2). */
static bool may_send(async_http_response *response, const char *method)
{
    long sent = 0;

    curl_easy_getinfo(response->easy, CURLINFO_REQUEST_SIZE, &sent);
    bool first = response->sends++ == 0, nothing = sent == response->sent;
    response->sent = sent;
    if (first || response->repeatable || nothing) return true;
    if (!response->failure) {
        int code = async__http_code_of_curl(response);
        response->failure = code < 0 ? code : ASYNC_EINCOMPLETE;
        async__http_detail(response, "no answer came, and a %s is not sent twice", method);
    }
    return false;
}

static int before_sending(void *context, char *remote, char *local, int remote_port, int local_port)
{
    async_http_response *response = context;

    if (response->headers_done || response->redirected) return CURL_PREREQFUNC_ABORT;
    if (remote_port == local_port && strcmp(remote, local) == 0) {
        response->failure = -ECONNREFUSED;
        async__http_detail(response, ASYNC__HTTP_MET_ITSELF);
        return CURL_PREREQFUNC_ABORT;
    }
    if (response->refused) {
        response->again = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (!may_send(response, response->method)) return CURL_PREREQFUNC_ABORT;
    async__http_progress(response);
    async__http_trace_connection(response);
    async__http_trace(response, ASYNC_HTTP_TRACE_SENDING, NULL);
    return CURL_PREREQFUNC_OK;
}

/* Of a body that comes piece by piece there is nothing just now, or nothing more. */
static size_t on_empty(async_http_response *response)
{
    if (response->upload_ended) return 0;
    if (!response->source) return CURL_READFUNC_ABORT; /* the call has ended, and not the body */
    response->hungry = true;
    async_event_set(&response->changed);
    return CURL_READFUNC_PAUSE;
}

/* Of a large request body, or one that comes piece by piece. */
static size_t on_upload(char *data, size_t size, size_t count, void *context)
{
    async_http_response *response = context;
    size_t left = response->upload_size - response->upload_at;

    size *= count;
    if (size > left) size = left;
    if (size == 0) return response->streamed ? on_empty(response) : 0;
    if (response->upload_copy)
        memcpy(data, response->upload_copy + (response->upload_at - response->upload_from), size);
    else
        memcpy(data, response->upload + response->upload_at, size);
    response->upload_at += size;
    async__http_progress(response);
    async__http_trace(response, ASYNC_HTTP_TRACE_SENT, &(struct async__http_traced){.size = size});
    if (response->streamed && size == left) async_event_set(&response->changed);
    return size;
}

static int rewind_source(async_http_response *response, curl_off_t offset)
{
    response->hungry = response->upload_ended = false;
    response->upload_at = response->upload_size = 0;
    if (offset == 0 && response->source && async__http_upload_rewind(response->source))
        return CURL_SEEKFUNC_OK;
    if (!response->failure) {
        response->failure = ASYNC_EINCOMPLETE;
        async__http_detail(response, "no answer came, and the body cannot be sent twice");
    }
    return CURL_SEEKFUNC_FAIL;
}

/* For a connection that ended before the answer: before the headers have come, and so before the
 * copy. */
static int on_rewind(void *context, curl_off_t offset, int origin)
{
    async_http_response *response = context;

    if (origin == SEEK_SET && response->streamed) return rewind_source(response, offset);
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > response->upload_size ||
        response->upload_copy)
        return CURL_SEEKFUNC_FAIL;
    response->upload_at = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

void async__http_receive_setup(CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_upload);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_sending);
}
