/* filters.h - what changes a stream's bytes on their way: for libraries such as libcasyncio-tls
 *
 * A filter lies between a stream and what has carried its bytes so far: a socket, a pipe, memory, or
 * another filter. The stream's user notices nothing of it. Programs need tls.h, and not this.
 *
 * The functions of a filter's type run in the loop's thread, often in the middle of a task that
 * waits, and on the loop's stack, as callbacks do: a wait is refused with -EPERM. They must not block, and
 * call nothing of the library but async_filter_recv, _send and _hold. */
#ifndef CASYNCIO_FILTERS_H
#define CASYNCIO_FILTERS_H

#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_filter async_filter;

/* `self` is the filter's own state. Codes are negative; the first that recv, send or send_end gives,
 * -EAGAIN apart, lasts. */
typedef struct async_filter_type {
    size_t size;      /* sizeof(async_filter_type): later members that are missing are NULL */
    const char *name; /* of what it does at its start, for messages: "TLS handshake" */

    /* What has to be exchanged before data can go through: 0; -EAGAIN: call again when there is more
     * to receive; a code, and the stream is broken. */
    int (*start)(void *self);
    /* Up to `size` (> 0) bytes: how many; 0: the end; -EAGAIN: there is nothing, and the last
     * async_filter_recv gave -EAGAIN, too. */
    ssize_t (*recv)(void *self, void *buffer, size_t size);
    /* As many of the bytes of the pieces, which are not all empty, as it likes to take at once, but
     * at least one: how many. */
    ssize_t (*send)(void *self, const struct iovec *pieces, int count);
    /* Says that no more will be sent: 0 or a code. */
    int (*send_end)(void *self);
    /* Whether recv has something to give although nothing new has come. */
    bool (*pending)(const void *self);
    /* The last failure in words, if it was this code; else NULL. Good until the next one. */
    const char *(*reason)(const void *self, int code);
    void (*free)(void *self);
    /* What has been agreed on for what is above it, as ALPN does, or "". NULL: nothing ever is. */
    const char *(*protocol)(const void *self);
} async_filter_type;

typedef struct async_filter_options {
    const async_filter_type *type;
    void *self;
    /* Seconds: for its start; for the end of what is sent, and until the other side's end has come,
     * when the stream is closed. INFINITY: no limit. */
    double start_timeout, close_timeout;
} async_filter_options;

/* Puts a filter on a stream. What the stream has received and not yet given out goes to the filter
 * first; what has been written goes out unfiltered, and the call waits for that. The filter's start
 * comes with the first call that reads or writes, or with async_stream_handshake. The filter is the
 * stream's, which frees `self` by the type's free, also if it is closed. NULL, and nothing has
 * changed: -EBUSY while another task reads or writes, -ENOMEM, -EINVAL, the code of a cancellation,
 * what kept data from being sent. */
ASYNC_API async_filter *async__stream_filter(async_stream *stream,
                                             const async_filter_options *options,
                                             size_t options_size);
static inline async_filter *async_stream_filter(async_stream *stream,
                                                const async_filter_options *options)
{
    return async__stream_filter(stream, options, sizeof *options);
}

/* Waits until the stream's filter has started: 0, also if there is none; why it could not, and then
 * all calls give that; -ETIMEDOUT. After the code of a cancellation the start goes on with the next
 * call. */
ASYNC_API int async_stream_handshake(async_stream *stream);

/* The state of the stream's topmost filter of that type; NULL if there is none. */
ASYNC_API void *async_stream_filter_state(const async_stream *stream,
                                          const async_filter_type *type);

/* The protocol that the stream's filters have agreed on with the peer: "h2", "http/1.1"; "" for none.
 * Good until the stream is closed. */
ASYNC_API const char *async_stream_protocol(const async_stream *stream);

/* What a library's context begins with that puts filters on a server's streams, such as
 * async_tls_context: what is given one need not know that library. */
typedef struct async_server_securer {
    /* 0, and the server has a part in the context; or a code. */
    int (*secure)(struct async_server_securer *self, async_server *server);
} async_server_securer;

/* Has make(data, stream) put a filter on each stream that the server accepts, before there is a
 * connection for it: 0 or a code. At the server's end drop(data) runs. */
ASYNC_API int async_server_set_filter(async_server *server,
                                      int (*make)(void *data, async_stream *stream),
                                      void (*drop)(void *data), void *data);

/* ---- for the functions of a type ---- */

/* Up to `size` (> 0) bytes of what came from below: how many; 0: the end; -EAGAIN; a code. */
ASYNC_API ssize_t async_filter_recv(async_filter *filter, void *buffer, size_t size);

/* Sends all of it: what there is no room for is kept, and then `send` is not called until that has
 * gone out. 0; what kept it, or what was sent earlier, from being sent. */
ASYNC_API int async_filter_send(async_filter *filter, const void *data, size_t size);

/* For a `send` that is going to make several pieces: they are gathered until it returns. */
ASYNC_API void async_filter_hold(async_filter *filter);

ASYNC_END
#endif
