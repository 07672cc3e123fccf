/* io.h - what the files of src/io share. */
#ifndef CASYNCIO_IO_H
#define CASYNCIO_IO_H

#include "../task/task.h"

#include <casyncio/sockets.h>
#include <casyncio/streams.h>
#include <sys/un.h>

struct addrinfo;

/* ---- operations (op_await.c) ---- */

/* async__op_await without the checkpoint: for calls that check their object between the two, since a
 * checkpoint may let other tasks run. */
ssize_t async__op_run(async__op *op, const char *what);

/* -EBADF, with its message. */
int async__op_closed(int fd, const char *what);

/* ---- attempts: system calls that do not block; a result or a negated errno (socket.c) ---- */

ssize_t async__try_read(int fd, void *buffer, size_t size, bool blocking);
ssize_t async__try_write(int fd, const void *data, size_t size, bool blocking); /* no SIGPIPE */

/* What has become of a connect that was under way when its socket was reported ready: 0, or its
 * error; -EAGAIN: it is still under way. */
int async__connected(int fd);

/* 1: the descriptor is blocking, 0: it is not, -EBADF. */
int async__is_blocking(int fd);

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
    ASYNC__SCRATCH = 64 * 1024, /* what one read through the loop's scratch can bring */
    ASYNC__HIGH_WATER = 64 * 1024,
    ASYNC__PUT_BACK = 64 * 1024, /* the most that is put back when the stream ends too early */
};

/* An idle connection costs this and no buffer. What every call touches comes first, in one cache
 * line: with a thousand connections in turn each call misses it. */
struct async_stream {
    int fd;
    unsigned references; /* the owner's, and one for each call that is under way */
    bool socket;
    bool blocking; /* a pipe or tty that is not ours to make non-blocking */
    bool closed;   /* async_stream_close or _abort has begun: no new calls */
    bool reading;  /* a call that reads is under way */
    bool eof;
    bool wait_first; /* the last read has probably emptied the kernel's buffer */
    /* Full-sized reads left after which the socket is still assumed to be drained (saves a recv
     * that returns EAGAIN). */
    unsigned char full_reads;
    bool writing; /* a task has the turn, its message is half-way: other writers queue up */
    bool eof_wanted;
    bool eof_sent;
    bool torn; /* a message was cancelled when a part of it had gone out */
    int read_error;
    int write_error;
    char *buffer;   /* what has been read and not yet asked for: [start .. end); NULL: nothing */
    char *outgoing; /* the send queue, kept until there is room: [out_start .. out_end); or NULL */

    size_t start, end, capacity;
    size_t out_start, out_end, out_capacity;
    size_t high;
    async_watch flush;               /* sends what is kept */
    struct async__wait_list writers; /* wait for their turn */
    struct async__wait_list drained; /* wait until no more than the low-water mark is kept */
    struct async__wait_list emptied; /* wait until nothing is kept */
};

/* A stream without a descriptor, for callers that must have its memory before they accept or open
 * one; NULL: no memory. */
async_stream *async__stream_new(void);
void async__stream_set_fd(async_stream *stream, int fd, bool socket);
void async__stream_unref(async_stream *stream);

int async__stream_closed(void); /* fail with -EBADF and a message */
int async__stream_null(void);

/* A checkpoint in the middle of a call: other tasks may run, and close the stream. */
static inline int async__stream_again(async_stream *stream)
{
    int code = async__checkpoint();
    if (async__unlikely(code < 0)) return code;
    return async__unlikely(stream->closed) ? async__stream_closed() : 0;
}

/* The beginning and the end of every call that may block. The first takes a reference, is a
 * checkpoint and gives a code if the call cannot go on; the second must follow in any case. */
static inline int async__stream_enter(async_stream *stream)
{
    if (async__unlikely(!stream)) return async__stream_null();
    stream->references++;
    return async__stream_again(stream);
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

static inline size_t async__stream_kept(const async_stream *stream)
{
    return stream->out_end - stream->out_start;
}

int async__stream_watch_room(async_stream *stream); /* sends what is kept as room comes */
/* Frees the send queue, sent or not, and wakes the tasks that wait until it has drained. */
void async__stream_drop_kept(async_stream *stream);

#endif
