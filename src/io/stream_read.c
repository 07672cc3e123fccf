/* stream_read.c - reading from a stream.
 *
 * The aim is few system calls. A large read goes straight to the caller's buffer. A small one, and
 * one that looks for a separator, reads as much as there is into the loop's scratch, takes what it
 * wants out of that at once, and only what is left over is copied to a buffer of the stream's own,
 * freed as soon as it is empty. So an idle connection has no buffer, and reading by small pieces
 * costs no more system calls than by large ones.
 *
 * All of that happens as the operation gets its data, and no other task runs in between: data from
 * the kernel is never in a place that another task may use. If there is no memory for what is left
 * over, the stream keeps the scratch itself, and the loop allocates a new one at the next read.
 *
 * A read that got less than it had room for has emptied the kernel's buffer, so that the next one
 * waits before it tries: that saves a recv that returns EAGAIN. A full read proves nothing: once
 * one has turned out to be all there was, the next 16 are taken to be so, too (`full_reads`). */
#include "io.h"

#include <string.h>

enum {
    SMALL = 4096,      /* reads below it go through the scratch: the copy is cheaper than a recv */
    FULL_READS = 16,   /* see async_stream.full_reads */
    FIRST_ROOM = 1024, /* that is added to what is left over of a read, for the rest of a line */
};

/* ---- from the wire ---- */

/* Whether the connection is gone: the kernel reports such an error once. If a write has got it, a
 * read sees an ordinary end. */
static bool lost(int write_error)
{
    return write_error == -ECONNRESET || write_error == -ETIMEDOUT ||
           write_error == -EHOSTUNREACH || write_error == -ENETUNREACH;
}

/* Notes the end or the error for later reads: an error of the connection lasts, but the kernel
 * reports it once. A lack of memory passes. */
ssize_t async__read_ended(async_stream *stream, ssize_t n)
{
    if (n == 0 && lost(stream->write_error)) n = stream->write_error;
    if (n == 0)
        stream->eof = true;
    else if (n != -ENOMEM && n != -ENOBUFS)
        stream->read_error = (int)n;
    return n;
}

/* A read with room for `size` bytes has given n: the result. */
static ssize_t note(async_stream *stream, size_t size, ssize_t n)
{
    if (async__likely(n > 0)) {
        if ((size_t)n < size)
            stream->wait_first = true;
        else if ((stream->wait_first = stream->full_reads > 0))
            stream->full_reads--;
        return n;
    }
    if (n == -EAGAIN) {
        stream->full_reads = FULL_READS;
        return n;
    }
    return async__read_ended(stream, n);
}

/* Cannot fail: the data has left the kernel. */
void async__read_keep(async_stream *stream, const char *data, size_t size)
{
    async_loop *loop = async__loop();

    if (async__buffer_append(&stream->received, data, size) == 0) return;
    size_t start = (size_t)(data - (char *)loop->scratch); /* without memory for a copy */
    stream->received = (struct async__buffer){
        .data = loop->scratch, .start = start, .end = start + size, .capacity = ASYNC__SCRATCH};
    loop->scratch = NULL;
}

/* ---- operations ---- */

static ssize_t received(async__op *op, const void *data, ssize_t n)
{
    (void)data;
    return note(async__container(op, struct async__fetch, op)->stream, op->length, n);
}

static ssize_t fetched(async__op *op, const void *data, ssize_t n)
{
    struct async__fetch *self = async__container(op, struct async__fetch, op);

    n = note(self->stream, ASYNC__SCRATCH, n);
    if (n <= 0) return n;
    size_t size = (size_t)n;
    self->taken = self->take(self, data, size);
    if (self->taken < size)
        async__read_keep(self->stream, (const char *)data + self->taken, size - self->taken);
    return n;
}

ssize_t async__fetch_now(struct async__fetch *self)
{
    async__wire *wire = self->stream->wire;
    char *scratch = async__scratch_of(async__loop());
    if (!scratch) return -ENOMEM;
    ssize_t n = wire->type->recv(wire, scratch, ASYNC__SCRATCH);
    return n == -EINTR ? n : fetched(&self->op, scratch, n);
}

static int read_failed(const async_stream *stream)
{
    char on[64];
    return async__failf(stream->read_error, "read on %s: %s",
                        async__wire_label(stream->wire, on, sizeof on),
                        async__wire_strerror(stream->wire, stream->read_error));
}

/* The operation's buffer, length and function are set. */
static ssize_t run(struct async__fetch *self, enum async__opcode opcode)
{
    async_stream *stream = self->stream;

    if (async__unlikely(stream->read_error < 0)) return read_failed(stream);
    if (stream->eof) return 0;
    async__op_init(&self->op, stream->wire, ASYNC__READ, opcode);
    self->op.wait_first = stream->wait_first;
    stream->reader = &self->op;
    ssize_t n = async__op_run(&self->op, "read");
    stream->reader = NULL;
    return async__unlikely(n == -EBADF && stream->closed) ? async__stream_closed() : n;
}

ssize_t async__read_fetch(struct async__fetch *self)
{
    self->op.buffer = NULL;
    self->op.then = fetched;
    return run(self, ASYNC__OP_RECV);
}

ssize_t async__read_attempt(struct async__fetch *self, ssize_t (*attempt)(async__op *))
{
    self->op.attempt = attempt;
    return run(self, ASYNC__OP_CALL);
}

static ssize_t read_into(struct async__fetch *self, void *buffer, size_t size)
{
    self->op.buffer = buffer;
    self->op.length = size;
    self->op.then = received;
    return run(self, ASYNC__OP_RECV);
}

void async__stream_end_reading(async_stream *stream)
{
    async__op *op = stream->reader;

    stream->eof = true;
    if (op) op->wire->type->cancel(op->wire, async__loop(), op, 0);
}

/* ---- what has been read already ---- */

void async__read_consume(async_stream *stream, size_t size)
{
    async__buffer_consume(&stream->received, size);
    if (async__buffer_size(&stream->received) == 0) async__buffer_free(&stream->received);
}

static size_t take_buffered(async_stream *stream, void *buffer, size_t size)
{
    if (async__likely(!stream->received.data)) return 0;
    size_t there = async__buffer_size(&stream->received);
    if (size > there) size = there;
    memcpy(buffer, async__buffer_bytes(&stream->received), size);
    async__read_consume(stream, size);
    return size;
}

/* Makes room for more behind what is buffered: 0 or -ENOMEM. Before the read, so that nothing that
 * has been read can be lost. */
static int make_room(async_stream *stream)
{
    struct async__buffer *received = &stream->received;
    size_t size = received->capacity < FIRST_ROOM ? FIRST_ROOM : 1;

    if (async__buffer_room(received) > 0 || async__buffer_reserve(received, size) == 0) return 0;
    return async__failf(-ENOMEM, "no memory to read more than %zu bytes",
                        async__buffer_size(received));
}

/* ---- reading bytes ---- */

static size_t take_bytes(struct async__fetch *self, const char *data, size_t size)
{
    if (size > self->size) size = self->size;
    memcpy(self->buffer, data, size);
    return size;
}

/* Reads something, up to `size` bytes; nothing is buffered. 0 is the end. */
static ssize_t read_some(async_stream *stream, void *buffer, size_t size)
{
    struct async__fetch fetch; /* the operation is set before it runs */

    fetch.stream = stream;
    if (async__likely(size < SMALL)) {
        fetch.take = take_bytes;
        fetch.buffer = buffer;
        fetch.size = size;
        fetch.taken = 0;
        ssize_t n = async__read_fetch(&fetch);
        return async__likely(n > 0) ? (ssize_t)fetch.taken : n;
    }
    return read_into(&fetch, buffer, size);
}

int async__read_begin_in(async_stream *stream, const char *call)
{
    int code = async__stream_enter_in(stream, call);
    if (async__unlikely(code < 0)) return code;
    if (async__unlikely(stream->reading))
        return async__failf(-EBUSY, "another task is reading from the stream");
    stream->reading = true;
    return 0;
}

ssize_t async__read_end(async_stream *stream, ssize_t result)
{
    stream->reading = false;
    return async__stream_leave(stream, result);
}

ssize_t async_stream_read(async_stream *stream, void *buffer, size_t size)
{
    int code = async__read_begin(stream);
    if (async__unlikely(code < 0)) return async__stream_leave(stream, code);
    ssize_t n = 0;
    if (async__unlikely(!async__buffer_ok(buffer, size)))
        return async__read_end(stream, async__bad_buffer("async_stream_read", buffer, size));
    if (size > 0) n = (ssize_t)take_buffered(stream, buffer, size);
    if (n == 0 && size > 0) n = read_some(stream, buffer, size);
    return async__read_end(stream, n);
}

/* Makes `size` bytes the next to be read. Nothing is buffered. */
static int put_back(async_stream *stream, const void *data, size_t size)
{
    return async__buffer_append(&stream->received, data, size);
}

/* readexactly has got a part: the data goes back for the next read, or else stays with the
 * caller. */
static ssize_t read_cut_short(async_stream *stream, const void *data, size_t got, size_t size,
                              ssize_t code)
{
    if (code == 0) {
        if (got <= ASYNC__PUT_BACK && put_back(stream, data, got) == 0)
            return async__failf(ASYNC_EINCOMPLETE,
                                "the stream ended after %zu of %zu bytes, which can still be read",
                                got, size);
        return async__failf(ASYNC_EINCOMPLETE,
                            "the stream ended after %zu of %zu bytes, which are in the buffer", got,
                            size);
    }
    if (put_back(stream, data, got) < 0)
        return async__failf(-ENOMEM,
                            "the read ended after %zu of %zu bytes, which are in the buffer: %s",
                            got, size, async_strerror((int)code));
    return code;
}

ssize_t async_stream_readexactly(async_stream *stream, void *buffer, size_t size)
{
    int code = async__read_begin(stream);
    if (async__unlikely(code < 0)) return async__stream_leave(stream, code);
    if (async__unlikely(!async__buffer_ok(buffer, size)))
        return async__read_end(stream, async__bad_buffer("async_stream_readexactly", buffer, size));

    size_t got = size > 0 ? take_buffered(stream, buffer, size) : 0;
    while (got < size) {
        ssize_t n = read_some(stream, (char *)buffer + got, size - got);
        if (n > 0) {
            got += (size_t)n;
            if (got == size) break;
            n = async__stream_again(stream);
            if (n == 0) continue;
        }
        return async__read_end(stream, read_cut_short(stream, buffer, got, size, n));
    }
    return async__read_end(stream, (ssize_t)size);
}

/* ---- reading up to a separator ---- */

struct line {
    struct async__fetch
        fetch; /* its buffer and size are where the line goes; with the 0 byte behind it */
    const struct iovec *separators;
    int count;
    size_t longest; /* of the separators */
    size_t limit;   /* the longest that the line may be, its separator included */
    char **grown; /* where the buffer is noted that grows with the line; NULL: it is the caller's */
    bool may_end; /* the end of the stream serves as a separator */
};

/* The length of the line at the start of data, or 0; the first `seen` bytes have been searched. Of
 * several separators the one that ends first makes the line. */
static size_t find(const struct line *line, const char *data, size_t size, size_t seen)
{
    size_t length = 0;

    if (size > line->limit) size = line->limit;
    seen = seen >= line->longest ? seen - (line->longest - 1) : 0;
    for (int i = 0; i < line->count && seen < size; i++) {
        const struct iovec *separator = &line->separators[i];
        const char *found =
            separator->iov_len == 1
                ? memchr(data + seen, *(const char *)separator->iov_base, size - seen)
                : memmem(data + seen, size - seen, separator->iov_base, separator->iov_len);
        if (found) size = length = (size_t)(found - data) + separator->iov_len;
    }
    return length;
}

static bool put_line(struct line *line, const char *data, size_t length)
{
    if (line->grown && length >= line->fetch.size) {
        size_t size = length < 128 ? 256 : length * 2;
        char *buffer = async__realloc(*line->grown, size);
        if (!buffer) return false;
        *line->grown = line->fetch.buffer = buffer;
        line->fetch.size = size;
    }
    memcpy(line->fetch.buffer, data, length);
    line->fetch.buffer[length] = 0;
    return true;
}

/* Takes the line out of the scratch if it is whole; else all of the data is left over. */
static size_t take_line(struct async__fetch *self, const char *data, size_t size)
{
    struct line *line = async__container(self, struct line, fetch);
    size_t length = find(line, data, size, 0);
    return length > 0 && put_line(line, data, length) ? length : 0;
}

static ssize_t append(async_stream *stream, struct line *line)
{
    int code = make_room(stream);
    if (code < 0) return code;
    ssize_t n = read_into(&line->fetch, stream->received.data + stream->received.end,
                          async__buffer_room(&stream->received));
    if (n > 0) stream->received.end += (size_t)n;
    return n;
}

static ssize_t take_buffered_line(async_stream *stream, struct line *line, size_t length)
{
    if (!put_line(line, async__buffer_bytes(&stream->received), length))
        return async__failf(-ENOMEM, "no memory for a line of %zu bytes", length);
    async__read_consume(stream, length);
    return (ssize_t)length;
}

/* The length of the line; 0 if the stream has ended and what is buffered has no separator. Only a
 * success consumes anything. */
static ssize_t read_line(async_stream *stream, struct line *line)
{
    size_t seen = 0;

    for (;;) {
        size_t there = async__buffer_size(&stream->received);
        if (there > 0) {
            size_t length = find(line, async__buffer_bytes(&stream->received), there, seen);
            if (length > 0) return take_buffered_line(stream, line, length);
            if (there > line->limit || (there == line->limit && !line->may_end))
                return async__failf(ASYNC_ELIMIT, "there is no separator within %zu bytes",
                                    line->limit);
        }
        seen = there; /* searched in vain, but for a separator that lies across its end: find() */
        line->fetch.taken = 0;
        ssize_t n = there > 0 ? append(stream, line) : async__read_fetch(&line->fetch);
        if (n <= 0) return n;
        if (line->fetch.taken > 0) return (ssize_t)line->fetch.taken;
        n = async__stream_again(stream);
        if (n < 0) return n;
    }
}

/* The same, but that the last line may end with the stream. */
static ssize_t read_last_line(async_stream *stream, struct line *line)
{
    line->may_end = true;
    ssize_t n = read_line(stream, line);
    size_t there = async__buffer_size(&stream->received);
    return n == 0 && there > 0 ? take_buffered_line(stream, line, there) : n;
}

/* Field by field, since run() sets the operation, which is the greater part. */
static void set_line(struct line *line, async_stream *stream, char *buffer, size_t size,
                     const struct iovec *separators, int count)
{
    line->fetch.stream = stream;
    line->fetch.take = take_line;
    line->fetch.buffer = buffer;
    line->fetch.size = size;
    line->separators = separators;
    line->count = count;
    line->longest = 1;
    line->limit = size - 1;
    line->grown = NULL;
    line->may_end = false;
}

/* The size of the longest separator, or a code. */
static ssize_t check_separators(const struct iovec *separators, int count)
{
    size_t longest = 0;

    if (count <= 0 || !separators)
        return async__failf(-EINVAL, "readuntil: there are %d separators", count);
    for (int i = 0; i < count; i++) {
        if (separators[i].iov_len == 0)
            return async__failf(-EINVAL, "readuntil: the separator has a size of 0");
        if (separators[i].iov_len > longest) longest = separators[i].iov_len;
    }
    return (ssize_t)longest;
}

static ssize_t read_until(async_stream *stream, void *buffer, size_t size,
                          const struct iovec *separators, int count, const char *call)
{
    int code = async__read_begin_in(stream, call);
    if (code < 0) return async__stream_leave(stream, code);
    if (async__unlikely(size == 0 || !async__buffer_ok(buffer, size)))
        return async__read_end(stream, async__bad_buffer(call, buffer, size));
    ssize_t longest = check_separators(separators, count);
    if (longest < 0) return async__read_end(stream, longest);

    struct line line;
    set_line(&line, stream, buffer, size, separators, count);
    line.longest = (size_t)longest;
    ssize_t n = read_line(stream, &line);
    if (n == 0)
        n = async__failf(ASYNC_EINCOMPLETE,
                         "the stream ended after %zu bytes, and before the separator",
                         async__buffer_size(&stream->received));
    return async__read_end(stream, n);
}

ssize_t async_stream_readuntil_any(async_stream *stream, void *buffer, size_t size,
                                   const struct iovec *separators, int count)
{
    return read_until(stream, buffer, size, separators, count, __func__);
}

ssize_t async_stream_readuntil(async_stream *stream, void *buffer, size_t size,
                               const void *separator, size_t separator_size)
{
    struct iovec only = {(void *)separator, separator_size};
    return read_until(stream, buffer, size, &only, 1, __func__);
}

static const struct iovec newline = {"\n", 1};

ssize_t async_stream_readline(async_stream *stream, char *buffer, size_t size)
{
    int code = async__read_begin(stream);
    if (code < 0) return async__stream_leave(stream, code);
    if (async__unlikely(size == 0 || !async__buffer_ok(buffer, size)))
        return async__read_end(stream, async__bad_buffer("async_stream_readline", buffer, size));

    struct line line;
    set_line(&line, stream, buffer, size, &newline, 1);
    return async__read_end(stream, read_last_line(stream, &line));
}

/* ---- the lines of a stream ---- */

struct lines {
    async_iterator iterator;
    async_stream *stream;
    char *buffer;
    size_t size;
};

static int next_line(async_iterator *iterator, void *value)
{
    struct lines *self = async__container(iterator, struct lines, iterator);
    async_stream *stream = self->stream;

    int code = async__read_begin(stream);
    if (code < 0) return (int)async__stream_leave(stream, code);
    struct line line;
    set_line(&line, stream, self->buffer, ASYNC__PUT_BACK + 1, &newline, 1);
    line.fetch.size = self->size;
    line.grown = &self->buffer;
    ssize_t n = async__read_end(stream, read_last_line(stream, &line));
    self->size = line.fetch.size;
    if (n <= 0) return (int)n;

    char *text = self->buffer;
    if (text[n - 1] == '\n') {
        text[--n] = 0;
        if (n > 0 && text[n - 1] == '\r') text[n - 1] = 0;
    }
    *(char **)value = text;
    return 1;
}

static void close_lines(async_iterator *iterator)
{
    struct lines *self = async__container(iterator, struct lines, iterator);
    async__stream_unref(self->stream);
    async__free(self->buffer);
    async__free(self);
}

async_iterator *async_stream_lines(async_stream *stream)
{
    struct lines *self = NULL;

    if (!stream) {
        async__fail_null("async_stream_lines: the stream");
        return NULL;
    }
    self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__failf(-ENOMEM, "no memory to read lines");
        return NULL;
    }
    self->iterator =
        (async_iterator){.next = next_line, .close = close_lines, .size = sizeof(char *)};
    self->stream = stream;
    stream->references++; /* the loop's body may close it */
    return &self->iterator;
}

bool async_stream_at_eof(const async_stream *stream)
{
    return !stream || (stream->eof && async__buffer_size(&stream->received) == 0);
}
