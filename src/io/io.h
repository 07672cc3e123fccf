/* io.h - what the files of src/io share. */
#ifndef CASYNCIO_IO_H
#define CASYNCIO_IO_H

#include "../base/buffer.h"
#include "../task/task.h"
#include "../wire/wire.h"

#include <casyncio/sockets.h>
#include <casyncio/streams.h>
#include <sys/un.h>

struct addrinfo;

/* The `interrupt` of a wait that goes on until cancelled operations have ended. */
static inline void async__stay_parked(async__wait *wait) { (void)wait; }

/* ---- addresses (address.c) ---- */

/* "127.0.0.1:80", "[::1]:80", "/a/path", "@name", or "". */
void async__address_text(const struct sockaddr *address, socklen_t length, char *text, size_t size);
int async__unix_address(const char *path, struct sockaddr_un *address, socklen_t *length);
/* A Unix socket's file, which its server removes at its end. */
struct async__unix_file {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* "": there is none */
    dev_t device;
    ino_t inode;
    pid_t owner;
};

/* Binds the socket to the address and listens: 0, or a code, -EADDRINUSE if another server has it. A
 * stale file at a path is replaced; `mode`, unless 0, is set (unix_path.c). */
int async__unix_listen(int fd, const struct sockaddr_un *address, socklen_t length, int mode,
                       int backlog, struct async__unix_file *file);
/* The same for a datagram socket, which does not listen. */
int async__unix_bind(int fd, const struct sockaddr_un *address, socklen_t length, int mode,
                     struct async__unix_file *file);
int async__unix_file_remove(struct async__unix_file *file);

/* The host name for async_getaddrinfo: 0, or a code with its message set. */
int async__check_host(const char *host);

/* ---- printf (format.c) ---- */

struct async__text {
    char *data;
    size_t size;
    char small[512];
};

int async__format(struct async__text *text, const char *format,
                  va_list arguments); /* 0 or a code */
void async__format_free(struct async__text *text);

/* ---- connecting (connect.c) ---- */

/* Connects to one of the addresses by RFC 8305's rules: the descriptor or a code. host and port are
 * for the message. */
int async__connect_any(const struct addrinfo *list, const char *host, int port);

/* ---- streams (stream.c, stream_read.c, stream_write.c) ---- */

enum {
    ASYNC__HIGH_WATER = 64 * 1024,
    ASYNC__PUT_BACK = 64 * 1024, /* the most that is put back when the stream ends too early */
};

/* Pieces of a message that lie in its writer's memory: `size` bytes from `skip` on in the first. */
struct async__pieces {
    const struct iovec *at;
    int count;
    size_t skip, size;
};

/* An idle connection costs this and no buffer. What every call touches comes first: with a thousand
 * connections in turn each call misses its cache lines. */
struct async_stream {
    async__wire *wire;  /* what carries the bytes: `own`, or one of its own memory */
    async__op *reader;  /* of the call that waits for something to read; or NULL */
    async__op *sender;  /* of the call that has the turn and waits for the wire itself; or NULL */
    async__op *starter; /* of the call that starts the filter, others wait in `starters`; or NULL */
    unsigned references; /* the owner's, and one for each call that is under way */
    bool closed;         /* async_stream_close or _abort has begun: no new calls */
    bool unready;        /* its filter has not started: calls begin with that */
    bool stillborn;      /* it never will, and nothing has been written */
    bool reading;        /* a call that reads is under way */
    bool eof;
    bool wait_first; /* the last read has probably emptied the kernel's buffer */
    /* Full-sized reads left after which the wire is still assumed to be drained (saves a recv
     * that returns EAGAIN). */
    unsigned char full_reads;
    bool writing; /* a task has the turn, its message is half-way: other writers queue up */
    bool eof_wanted;
    bool eof_sent;
    bool torn; /* a message was cancelled when a part of it had gone out */
    int read_error;
    int write_error;
    struct async__fd_wire own;
    struct async__buffer received; /* what has been read and not yet asked for; or no memory */

    struct async__outbox *outbox; /* what is still to be sent (outbox.c); NULL: nothing */
    size_t high;
    struct async__wait_list writers; /* wait for their turn */
    struct async__wait_list starters;
    struct async__wait_list drained; /* wait until no more than the low-water mark is kept */
    struct async__wait_list
        settled;                   /* a writer, until its pieces are gone; a close, until all is */
    struct async__copying *copy;   /* from this stream, or NULL */
    struct async__copying *copies; /* to this stream */
};

/* A copy waits on one of its streams, and has to learn that the other one is gone: then its scope is
 * cancelled. */
struct async__copying {
    async_scope scope;
    struct async__copying *next; /* to the same stream */
};

/* A stream without a wire, for callers that must have its memory before they accept or open one;
 * NULL: no memory. */
async_stream *async__stream_new(void);
/* Gives it a descriptor for a wire. `blocking`: its flags say so, and are not to be changed. */
void async__stream_set_fd(async_stream *stream, int fd, bool socket, bool blocking);
/* Makes a stream over a wire, which is the stream's if that works. NULL: -ENOMEM, with a message. */
async_stream *async__stream_create(async__wire *wire);
void async__stream_unref(async_stream *stream);

/* A call finds the stream closed, or its filter not started (stream_filter.c): starts that. */
int async__stream_not_ready(async_stream *stream);
/* The writer that has the turn passes it on (stream_write.c). */
void async__stream_give_turn(async_stream *stream);
/* Sends an end that is due (stream_write.c). */
void async__stream_end_if_due(async_stream *stream);

int async__stream_closed(void); /* fail with -EBADF and a message */
#define async__stream_null() async__stream_null_in(__func__)
int async__stream_null_in(const char *call);

/* Memory that a call can read or write: there, and not larger than any can be. */
static inline bool async__buffer_ok(const void *buffer, size_t size)
{
    return (buffer || size == 0) && (ssize_t)size >= 0;
}
/* Fails with -EINVAL and a message, for memory that is not, or has no bytes. */
int async__bad_buffer(const char *call, const void *buffer, size_t size);

/* A checkpoint in the middle of a call: other tasks may run, and close the stream. */
static inline int async__stream_again(async_stream *stream)
{
    int code = async__checkpoint_in("stream");
    if (async__unlikely(code < 0)) return code;
    return async__unlikely(stream->closed) ? async__stream_closed() : 0;
}

/* The beginning and the end of every call that may block. The first takes a reference, is a
 * checkpoint and gives a code if the call cannot go on; the second must follow in any case. */
#define async__stream_enter(stream) async__stream_enter_in(stream, __func__)
static inline int async__stream_enter_in(async_stream *stream, const char *call)
{
    if (async__unlikely(!stream)) return async__stream_null_in(call);
    stream->references++;
    int code = async__checkpoint_in(call);
    if (async__unlikely(code < 0)) return code;
    return async__unlikely(stream->closed | stream->unready) ? async__stream_not_ready(stream) : 0;
}

static inline ssize_t async__stream_leave(async_stream *stream, ssize_t result)
{
    if (async__unlikely(!stream)) return result;
    if (async__unlikely(stream->references == 1))
        async__stream_unref(stream);
    else
        stream->references--;
    return result;
}

/* ---- what is to be sent as room comes (outbox.c) ---- */

void async__pieces_advance(struct async__pieces *pieces, size_t size);
/* Sends once: how much, which is taken off; or a code. */
ssize_t async__pieces_send(async_stream *stream, struct async__pieces *pieces);

size_t async__outbox_size(const struct async__outbox *outbox);
static inline size_t async__stream_queued(const async_stream *stream)
{
    return stream->outbox ? async__outbox_size(stream->outbox) : 0;
}
static inline size_t async__stream_low_water(const async_stream *stream)
{
    return stream->high / 4;
}

/* Copies the pieces behind what is kept: 0, or a code and nothing has changed. */
int async__outbox_keep(async_stream *stream, const struct async__pieces *pieces);
/* Puts the pieces themselves there; when it needs them no more they have a size of 0, and the tasks in
 * stream->settled are woken. 0 or a code; -ENOMEM: there is no outbox. */
int async__outbox_lend(async_stream *stream, struct async__pieces *pieces);
bool async__outbox_has_pieces(const async_stream *stream);
/* The pieces are their writer's again, sent or not. */
void async__outbox_take_back(async_stream *stream);
/* Empties it, sent or not, and wakes the tasks that wait for that. */
void async__outbox_drop(async_stream *stream);
/* Queues the callback, once, when no more than the low-water mark is kept, or nothing will be sent any
 * more; NULL: no callback. If there is an outbox. */
void async__outbox_tell(async_stream *stream, async_callback *callback);
/* Whether the parent process has left it, whose it is to send. */
bool async__outbox_is_of_parent(const async_stream *stream);

/* ---- reading, for calls that are no plain read (stream_read.c) ---- */

/* One read through the loop's scratch: take() says how much of the data it took, and the rest is
 * received for later. */
struct async__fetch {
    async__op op;
    async_stream *stream;
    size_t (*take)(struct async__fetch *self, const char *data, size_t size);
    char *buffer;
    size_t size;
    size_t taken;
};

/* Begins a reading call: one at a time. After a code the caller still has the stream's reference,
 * and gives it up by async__stream_leave; else by async__read_end. */
#define async__read_begin(stream) async__read_begin_in(stream, __func__)
int async__read_begin_in(async_stream *stream, const char *call);
ssize_t async__read_end(async_stream *stream, ssize_t result);
/* Waits until there is something: how much; 0 is the end. */
ssize_t async__read_fetch(struct async__fetch *self);
/* The same by another attempt than a plain read, which may call the second one. */
ssize_t async__read_attempt(struct async__fetch *self, ssize_t (*attempt)(async__op *));
ssize_t async__fetch_now(struct async__fetch *self);
/* Notes the end or the error that an attempt has got from the wire, and gives it back. */
ssize_t async__read_ended(async_stream *stream, ssize_t n);
/* Makes bytes that lie in the scratch the next to be read. Nothing is buffered. Cannot fail. */
void async__read_keep(async_stream *stream, const char *data, size_t size);
void async__read_consume(async_stream *stream, size_t size); /* of what is buffered */
/* As if the other side had sent its end: what is buffered can still be read. */
void async__stream_end_reading(async_stream *stream);

/* ---- writing, for calls that are no plain write (stream_write.c) ---- */

/* Takes the turn: 0, and async__write_end must follow; or a code. */
int async__write_begin(async_stream *stream);
void async__write_end(async_stream *stream);
/* With the turn: writes bytes that are no message, so that a failure or a cancellation leaves the
 * stream whole: *left says how many have not been taken. */
int async__write_bytes(async_stream *stream, const void *data, size_t size, size_t *left);
/* With the turn: waits until the outbox is empty. */
int async__write_settled(async_stream *stream);
/* With the turn, the outbox is empty: an operation that sends on the wire's own descriptor. */
ssize_t async__write_run(async_stream *stream, async__op *op, const char *what);
/* Sends at once as much as goes out at once, if no writer is before it; in an attempt, too. */
size_t async__write_at_once(async_stream *stream, const void *data, size_t size);
/* async_stream_write_nowait, but that it keeps however much it has to. */
int async__write_all_now(async_stream *stream, const void *data, size_t size);
/* 0, or why nothing can be written, with its message. */
int async__write_check(async_stream *stream);
/* The copies from and to the stream: nothing more is to be had of it. */
void async__cancel_copies(async_stream *stream);

#endif
