/* protocols.h - transports and protocols: connections that call back
 *                                                     asyncio: Transports and Protocols
 *
 * For state machines that exist already, and for programs that are moved here from a library of
 * callbacks. New code is shorter with streams: there a connection is a coroutine.
 *
 * A transport owns a stream, and a task that reads from it and calls the functions of its protocol, a
 * table, with the protocol's own object. Bytes that have come are given to data_received as they lie;
 * nothing has to be copied. The functions run in the transport's task, apart from pause_writing (in the
 * task or callback that writes) and resume_writing (in a callback); these two must not block. Another
 * one that blocks holds up the reading of its own connection, and no other.
 *
 * Any stream will do: TCP, Unix, a pipe, TLS, memory. A transport is good until its connection_lost has
 * returned. NULL in place of a transport is -EBADF, or false, 0, NULL. */
#ifndef CASYNCIO_PROTOCOLS_H
#define CASYNCIO_PROTOCOLS_H

#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_transport async_transport;

/* Each may be NULL. asyncio: Protocol */
typedef struct async_protocol {
    /* The connection is there; of TLS, the handshake is done. asyncio: connection_made */
    void (*connection_made)(void *self, async_transport *transport);
    /* `size` (> 0) bytes have come. `data` is good during the call. asyncio: data_received */
    void (*data_received)(void *self, const void *data, size_t size);
    /* The other side sends no more. true: the transport stays open, to write; false, or no such function:
     * it closes. asyncio: eof_received */
    bool (*eof_received)(void *self);
    /* More than the high-water mark is kept to be sent; no more than the low-water mark, a quarter of it,
     * is. asyncio: pause_writing, resume_writing */
    void (*pause_writing)(void *self);
    void (*resume_writing)(void *self);
    /* The last call, once for each transport, also if connection_made has not been called: `self` may be
     * freed. 0 after a close, an abort or an end; the error of the connection; the code of a cancellation
     * at the end of async_run. asyncio: connection_lost */
    void (*connection_lost)(void *self, int code);
} async_protocol;

/* ---- making transports ---- */

/* Makes a transport of a stream, which is the transport's from now on, also if that fails: then it has
 * been aborted, and the protocol is not called. The protocol is copied; its functions are called from the
 * next turn of the loop on, connection_made first. In a task or a callback of the loop. NULL: -ENOMEM,
 * -EPERM where async_run does not run; for a stream that is NULL the last error (why it could not be
 * made), else -EBADF. */
ASYNC_API async_transport *async__transport_new(async_stream *stream,
                                                const async_protocol *protocol,
                                                size_t protocol_size, void *self);
static inline async_transport *async_transport_new(async_stream *stream,
                                                   const async_protocol *protocol, void *self)
{
    return async__transport_new(stream, protocol, sizeof *protocol, self);
}

/* async_open_connection, async_open_unix_connection, and a transport of it: blocks until it is
 * connected. NULL: their errors and those of async_transport_new; the protocol has not been called.
 * asyncio: loop.create_connection, create_unix_connection */
static inline async_transport *async_create_connection(const async_protocol *protocol, void *self,
                                                       const char *host, int port)
{
    return async_transport_new(async_open_connection(host, port), protocol, self);
}
static inline async_transport *async_create_unix_connection(const async_protocol *protocol,
                                                            void *self, const char *path)
{
    return async_transport_new(async_open_unix_connection(path), protocol, self);
}

/* async_server_serve with a protocol: makes a transport of each client. factory(data) gives its `self`;
 * if that is NULL the connection is closed. Without a factory `data` is the `self` of all. Blocks, ends
 * and gives codes as async_server_serve does; async_server_close_clients and the like work on these
 * clients, too.
 *     async_server_serve_protocol(async_start_server("127.0.0.1", 8888, NULL), &echo, NULL, NULL)
 * asyncio: loop.create_server + serve_forever */
typedef void *async_protocol_factory(void *data);
ASYNC_API int async__server_serve_protocol(async_server *server, const async_protocol *protocol,
                                           size_t protocol_size, async_protocol_factory *factory,
                                           void *data);
static inline int async_server_serve_protocol(async_server *server, const async_protocol *protocol,
                                              async_protocol_factory *factory, void *data)
{
    return async__server_serve_protocol(server, protocol, sizeof *protocol, factory, data);
}

/* ---- writing: never blocks ---- */

/* Sends what the kernel has room for, and keeps the rest, however much it is: pause_writing says when a
 * program should stop. 0; -EBADF for a transport that closes, -EPIPE after write_eof; -EAGAIN, and
 * nothing was taken, while a task is in the middle of a write to the stream itself. An error of the
 * connection, or -ENOMEM: then the transport closes, since data is missing, and connection_lost gets the
 * code. asyncio: WriteTransport.write, writelines */
ASYNC_API int async_transport_write(async_transport *transport, const void *data, size_t size);

/* Sends an end behind what has been written; reading goes on. 0; see async_stream_write_eof.
 * asyncio: write_eof */
ASYNC_API int async_transport_write_eof(async_transport *transport);

/* The high-water mark in bytes; 64 KiB if it is not set. asyncio: set_write_buffer_limits */
ASYNC_API void async_transport_set_write_buffer_limits(async_transport *transport, size_t high);
/* Bytes that are kept. asyncio: get_write_buffer_size */
ASYNC_API size_t async_transport_get_write_buffer_size(const async_transport *transport);

/* ---- reading ---- */

/* After pause_reading no data_received is called until resume_reading; data that the call of
 * data_received under way has not been given waits in the kernel. 0, also if nothing changes; -EBADF for
 * a transport that closes. Do not block. asyncio: ReadTransport.pause_reading, resume_reading */
ASYNC_API int async_transport_pause_reading(async_transport *transport);
ASYNC_API int async_transport_resume_reading(async_transport *transport);
/* asyncio: is_reading */
ASYNC_API bool async_transport_is_reading(const async_transport *transport);

/* ---- the end ---- */

/* Reads no more, sends what is kept, and closes. connection_lost comes when that is done, never in this
 * call. Do nothing to one that closes already. Do not block.
 * asyncio: BaseTransport.close; is_closing */
ASYNC_API void async_transport_close(async_transport *transport);
ASYNC_API bool async_transport_is_closing(const async_transport *transport); /* true for NULL */
/* The same, but what is kept is dropped; also in the middle of a close. asyncio: WriteTransport.abort */
ASYNC_API void async_transport_abort(async_transport *transport);

/* ---- the rest ---- */

/* Another protocol from the next call on, and its object: 0 or -EBADF. The present ones; NULL: none.
 * asyncio: set_protocol, get_protocol */
ASYNC_API int async__transport_set_protocol(async_transport *transport,
                                            const async_protocol *protocol, size_t protocol_size,
                                            void *self);
static inline int async_transport_set_protocol(async_transport *transport,
                                               const async_protocol *protocol, void *self)
{
    return async__transport_set_protocol(transport, protocol, sizeof *protocol, self);
}
ASYNC_API void *async_transport_get_protocol(const async_transport *transport);

/* The stream: to ask for its descriptor, names, and TLS, and to start TLS in data_received. It must be
 * neither read from nor closed. asyncio: get_extra_info */
ASYNC_API async_stream *async_transport_stream(const async_transport *transport);

ASYNC_END
#endif
