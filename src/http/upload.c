/* upload.c - bodies of requests that come piece by piece: from an iterator, a stream or a file.
 *
 * curl asks for data from inside of itself, and cannot wait: on_upload in receive.c has it pause then, and
 * the task that makes the request, which waits for the answer, gets the next piece and has curl go on. So
 * a body needs no task of its own, a piece stays where it is until curl has taken all of it, and the server
 * sets the pace. */
#include "http_internal.h"

#include <math.h>
#include <sys/stat.h>

#define PIECE 65536 /* bytes of a stream or a file that are read at once */

/* 0, or a code, raised. A file's body begins where the file is. */
static int measure(struct async__http_upload *self)
{
    struct stat status;

    self->again_from = async_file_seek(self->file, 0, SEEK_CUR);
    if (self->again_from == -ESPIPE) return 0;
    if (self->again_from < 0) return (int)self->again_from;
    int code = async_file_stat(self->file, &status);
    if (code < 0) return code;
    if (S_ISREG(status.st_mode) && self->length < 0)
        self->length =
            status.st_size > self->again_from ? (int64_t)status.st_size - self->again_from : 0;
    return 0;
}

int async__http_upload_open(struct async__http_upload *self,
                            const async_http_request_options *options)
{
    *self = (struct async__http_upload){.iterator = options->body_iterator,
                                        .stream = options->body_stream,
                                        .file = options->body_file,
                                        .length = -1,
                                        .again_from = -1};
    if (options->body_size > 0) self->length = (int64_t)options->body_size;
    if (self->file) {
        int code = measure(self);
        if (code < 0) return code;
    }
    self->ended = self->length == 0;
    if (self->iterator || self->ended) return 0;
    self->buffer = async__alloc(PIECE);
    if (self->buffer) return 0;
    return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for the body of an HTTP request");
}

void async__http_close_iterator(async_iterator *iterator)
{
    async_scope shield = {0};

    if (!iterator || !iterator->close) return;
    async_shield_enter(&shield);
    iterator->close(iterator);
    async_scope_leave(&shield);
}

void async__http_upload_close(struct async__http_upload *self)
{
    async__http_close_iterator(self->iterator);
    async__free(self->buffer);
}

bool async__http_upload_rewind(struct async__http_upload *self)
{
    if (self->taken > 0 && self->again_from < 0) return false;
    self->rewind = self->taken > 0;
    self->taken = 0;
    self->ended = self->length == 0;
    return true;
}

static ssize_t read_piece(struct async__http_upload *self, async_http_chunk *chunk)
{
    int64_t code = 0;

    if (self->iterator) {
        int more = 1;
        chunk->size = 0;
        while (more > 0 && chunk->size == 0)
            more = self->iterator->next(self->iterator, chunk);
        return more > 0 ? (ssize_t)chunk->size : more;
    }
    if (self->rewind) code = async_file_seek(self->file, self->again_from, SEEK_SET);
    if (code < 0) return (ssize_t)code;
    self->rewind = false;
    chunk->data = self->buffer;
    ssize_t got = self->file ? async_file_read(self->file, self->buffer, PIECE)
                             : async_stream_read(self->stream, self->buffer, PIECE);
    chunk->size = got > 0 ? (size_t)got : 0;
    return got;
}

static int wrong_length(const async_http_response *response, const char *what)
{
    return async__http_raise_for(response->method, async_http_url(response), -EINVAL,
                                 async_strerror(-EINVAL), what);
}

/* 1; 0: the end; a code, raised. */
static int next_piece(struct async__http_upload *self, const async_http_response *response,
                      async_http_chunk *chunk)
{
    ssize_t got = read_piece(self, chunk);

    if (got < 0) return (int)got;
    self->ended = got == 0;
    self->taken += (uint64_t)got;
    if (self->length < 0) return got > 0;
    uint64_t length = (uint64_t)self->length;
    if (self->taken > length) return wrong_length(response, "the body is longer than it was said");
    if (self->ended && self->taken < length)
        return wrong_length(response, "the body is shorter than it was said");
    if (self->taken == length) self->ended = true;
    return got > 0;
}

/* Nothing more of the body is wanted. */
static bool is_over(const async_http_response *response)
{
    return response->finished || !response->running || response->redirected || response->refused ||
           (response->headers_done && response->status >= 300);
}

bool async__http_upload_wanted(const async_http_response *response)
{
    const struct async__http_upload *self = response->source;

    return self && !is_over(response) &&
           !(self->ended && response->upload_at == response->upload_size && !response->hungry);
}

int async__http_upload_feed(async_http_response *response)
{
    async_http_chunk chunk = {0};
    async_scope scope;
    int code = async_timeout_enter(&scope, INFINITY);

    if (code < 0) return code;
    response->interrupt = &scope;
    code = response->source->ended ? 0 : next_piece(response->source, response, &chunk);
    response->interrupt = NULL;
    async_scope_leave(&scope);
    if (is_over(response)) return 0; /* which is what may have interrupted it */
    if (code < 0) return code;
    response->hungry = false;
    response->upload = chunk.data;
    response->upload_size = chunk.size;
    response->upload_at = 0;
    response->upload_ended = code == 0;
    CURLcode bad = curl_easy_pause(response->easy, CURLPAUSE_CONT);
    return bad == CURLE_OK ? 0 : async__http_raise(response, async__http_code(response, bad));
}
