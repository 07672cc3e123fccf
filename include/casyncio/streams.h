/* streams.h - streams            asyncio: Streams
 *
 * A stream is one connection, to read from and to write to: TCP or Unix, a pipe or a tty, or memory. One
 * task may read at a time: a second reader gets -EBUSY. Writers queue up, and their messages are
 * not mixed. Sizes are bytes. NULL in place of a stream or a server is -EBADF, unless it says
 * otherwise; where the result is a pointer or a size it is NULL or 0.
 *
 * A stream that another task closes while a call on it waits stays good until that call has
 * returned, with -EBADF. To begin a call on a stream that has been closed is an error like using
 * freed memory. */
#ifndef CASYNCIO_STREAMS_H
#define CASYNCIO_STREAMS_H

#include <casyncio/iterators.h>
#include <casyncio/tasks.h>
#include <sys/socket.h>
#include <sys/uio.h>

ASYNC_BEGIN

typedef struct async_stream async_stream;
typedef struct async_server async_server;

/* ---- connecting ---- */

/* Connects to a host (a name or an address) and a port (1 to 65535), trying all its addresses, IPv6
 * and IPv4 in turn: the next one when one has failed, or has not answered within 250 ms, until one
 * does (RFC 8305). NULL: see async_error_code: ASYNC_ENONAME, -ECONNREFUSED, -EINVAL, -EMFILE, ...,
 * the code of a cancellation; the message names host and port. TCP_NODELAY is set.
 * asyncio: asyncio.open_connection */
ASYNC_API async_stream *async_open_connection(const char *host, int port);

/* The same for a Unix socket. A path that begins with '@' is an abstract one. NULL: -ENAMETOOLONG
 * (107 bytes are the most), -EINVAL for an empty path, -ENOENT, -ECONNREFUSED, ...
 * asyncio: open_unix_connection */
ASYNC_API async_stream *async_open_unix_connection(const char *path);

/* Makes a stream of a connected, non-blocking stream socket, pipe or tty, which belongs to the
 * stream if that works. A blocking one works too; its flags are left alone. Does not block. NULL:
 * -ENOMEM, -EBADF, -EPROTOTYPE for a socket that is not a stream socket.
 * asyncio: open_connection(sock=...) */
ASYNC_API async_stream *async_stream_from_fd(int fd);

/* The same for an end of a pipe, a FIFO, a terminal, a pty's master or slave, a socket: what is none of
 * these, or not open in that direction, is -EINVAL. A pty's master gives -EIO once all who had the
 * slave have closed it: that is its end.
 * asyncio: loop.connect_read_pipe, loop.connect_write_pipe */
ASYNC_API async_stream *async_connect_read_pipe(int fd);
ASYNC_API async_stream *async_connect_write_pipe(int fd);

/* This process's standard input, output and error as streams, whatever they are: terminals, pipes,
 * sockets, files. Their flags are not changed, since other processes may have them too. Each stream is
 * the caller's, and is to be closed: what is written and not closed may be lost. Closing it, or
 * sending its end, leaves descriptors 0, 1 and 2 open. What a stream of the input has read ahead no
 * other one gets, nor stdio. A file holds up the loop's thread until the disk has answered.
 * Does not block. NULL: -EBADF if the process has none; -ENOMEM, -EMFILE, -EISDIR. */
ASYNC_API async_stream *async_stdin(void);
ASYNC_API async_stream *async_stdout(void);
ASYNC_API async_stream *async_stderr(void);

/* ---- reading: the result is a number of bytes ----
 *
 * If a read is cancelled nothing is lost: what came meanwhile is there for the next one. What fails
 * because of the connection (-ECONNRESET, ...) fails again; what came before can still be read. */

/* Waits until there is something, and reads up to `size` bytes of it. 0 is the end of the stream,
 * or a size of 0. asyncio: StreamReader.read */
ASYNC_API ssize_t async_stream_read(async_stream *stream, void *buffer, size_t size);

/* Reads exactly `size` bytes, and gives `size`. ASYNC_EINCOMPLETE if the stream ends before: what
 * came is then still there for async_stream_read if it is no more than 64 KiB; else it is in
 * `buffer`, and the message tells how much. So is what was read before a cancellation or an error
 * when there is no memory to keep it in; the code is -ENOMEM then.
 * asyncio: readexactly, IncompleteReadError */
ASYNC_API ssize_t async_stream_readexactly(async_stream *stream, void *buffer, size_t size);

/* Reads up to and with the separator, and puts a 0 byte behind it, which the result does not count.
 * ASYNC_ELIMIT if it does not come within size - 1 bytes, ASYNC_EINCOMPLETE if the stream ends
 * before it does: nothing is consumed then. -EINVAL for a separator or a buffer of size 0.
 * asyncio: readuntil */
ASYNC_API ssize_t async_stream_readuntil(async_stream *stream, void *buffer, size_t size,
                                         const void *separator, size_t separator_size);

/* The same up to any of several separators: the first one that ends, so that the result is as short as
 * it can be. "\r\n" and "\n" together end at each \n. -EINVAL also for a count that is not positive.
 *     static const struct iovec ends[] = {{"\r\n", 2}, {"\n", 1}};
 *     ssize_t n = async_stream_readuntil_any(stream, line, sizeof line, ends, 2);
 * asyncio: readuntil((separator, ...)) */
ASYNC_API ssize_t async_stream_readuntil_any(async_stream *stream, void *buffer, size_t size,
                                             const struct iovec *separators, int count);

/* Reads a line, its \n included, and puts a 0 byte behind it, which the result does not count; the
 * last line may lack its \n. 0 is the end of the stream. ASYNC_ELIMIT: longer than size - 1;
 * nothing is consumed. -EINVAL for a buffer of size 0.
 * asyncio: readline */
ASYNC_API ssize_t async_stream_readline(async_stream *stream, char *line, size_t size);

/* The lines as they come, without their ends (\n or \r\n); each good until the next:
 *     async_for (char *, line, async_stream_lines(stream)) { ... }
 * The stream stays open when the loop is left. A line of more than 64 KiB ends the loop with
 * ASYNC_ELIMIT. NULL: -ENOMEM; for a stream that is NULL the last error (why it could not be made),
 * else -EBADF. asyncio: async for line in reader */
ASYNC_API async_iterator *async_stream_lines(async_stream *stream);

/* Whether the end has come, and all is read; true for NULL. asyncio: at_eof */
ASYNC_API bool async_stream_at_eof(const async_stream *stream);

/* ---- writing ----
 *
 * What the kernel has no room for is kept by the stream and sent as room comes. Once more is kept
 * than the high-water mark (64 KiB), writers wait until it is no more than the low-water mark, a
 * quarter of that: back-pressure. */

/* Takes the data: sends what the kernel has room for and keeps the rest, and waits if that makes
 * more than the mark. Of data whose rest alone is larger than the mark, no more than that is kept:
 * the call waits until the kernel has the other part.
 *
 * 0. The code of a cancellation: if it came before the call, or while the call queued behind
 * another writer, nothing was taken; while it waited because of the mark, all of the data was
 * taken. But of data whose rest is larger than the mark nothing was taken if no part has gone out;
 * if a part has, the stream is broken, and later writes give -EPIPE. -EPIPE, -ECONNRESET, ...: the
 * connection is gone, or its end has been sent.
 * asyncio: write + drain */
ASYNC_API int async_stream_write(async_stream *stream, const void *data, size_t size);

/* The same for a message that lies in several pieces, such as a head and a body: they go out as if they
 * were one, in one segment if there is room. Nothing is copied but what is kept. -EINVAL for a
 * count that is negative, or pieces that are larger than the address space.
 * asyncio: writelines + drain */
ASYNC_API int async_stream_writev(async_stream *stream, const struct iovec *pieces, int count);

/* async_stream_write that never waits and is no checkpoint: keeps all of the rest; -EAGAIN if more than the
 * high-water mark is kept already, or another task is in the middle of a write (nothing was taken).
 * -ENOMEM: no memory to keep the rest; nothing was taken, or, if a part has gone out, the stream is
 * broken. Only in the loop's thread, also from a callback.
 * asyncio: write */
ASYNC_API int async_stream_write_nowait(async_stream *stream, const void *data, size_t size);

/* printf into the stream: the result is async_stream_write's, or -ENOMEM for the text. */
ASYNC_API int async_stream_printf(async_stream *stream, const char *format, ...) ASYNC_PRINTF(2, 3);

/* Waits until no more than the low-water mark is kept: 0, the code of a cancellation (what is kept
 * stays), or the error that kept it from being sent.
 * asyncio: drain */
ASYNC_API int async_stream_drain(async_stream *stream);

/* Sends an end once what is kept, and the writes that are queued, have gone out; reading goes on,
 * later writes give -EPIPE. A pipe is closed by it. 0, also if called again; -EOPNOTSUPP where
 * there is no such end (a tty). Does not block. asyncio: write_eof */
ASYNC_API int async_stream_write_eof(async_stream *stream);

/* Sets the high-water mark, in bytes. NULL is left alone. asyncio: set_write_buffer_limits */
ASYNC_API void async_stream_set_high_water(async_stream *stream, size_t high);

/* How many bytes are kept. asyncio: get_write_buffer_size */
ASYNC_API size_t async_stream_unsent(const async_stream *stream);

/* ---- the rest ---- */

/* Waits until what is kept has gone out, closes the connection and frees the stream, always, also
 * if it is cancelled (then what is kept is dropped). Outside of a task it does not wait. NULL is
 * fine. Calls that wait on the stream give -EBADF. 0; the error that kept data from being sent; the
 * code of a cancellation if that has dropped any; -EBADF, and nothing else has happened, while
 * another task closes it. asyncio: close + wait_closed */
ASYNC_API int async_stream_close(async_stream *stream);

/* The same at once: what is kept is dropped. Does not block. asyncio: transport.abort */
ASYNC_API void async_stream_abort(async_stream *stream);

/* The descriptor, which stays the stream's; -1 once a pipe's end has been sent.
 * asyncio: get_extra_info('socket') */
ASYNC_API int async_stream_fd(const async_stream *stream);

/* "127.0.0.1:8888", "[::1]:8888", a path, "@name" for an abstract one, "" for a socket without a
 * name. What does not fit is cut off. 0, or a negative code (-ENOTSOCK for a pipe). Does not block.
 * asyncio: get_extra_info('peername', 'sockname') */
ASYNC_API int async_stream_peername(const async_stream *stream, char *text, size_t size);
ASYNC_API int async_stream_sockname(const async_stream *stream, char *text, size_t size);

/* ---- in memory: for tests ---- */

/* What a pair is like. ends[0] is the end under test: the faults are its. 0 is the default. */
typedef struct async_pair_options {
    size_t capacity;  /* bytes that may be under way in each direction; 0: 64 KiB */
    size_t max_read;  /* bytes that a read gets at the most; 0: all that there are */
    double latency;   /* seconds of the loop's clock until what is sent can be read; at least 0 */
    size_t cut_after; /* bytes that ends[0] gets; whatever is sent behind them is lost. 0: no cut */
    int cut_error;    /* what both ends fail with after the cut; 0: for ends[0] it is the end */
    unsigned fail_at; /* which call of ends[0] on what is below it fails, counted from 1, receiving
                       * and sending alike, those that find nothing too; from then on the
                       * connection is gone for both ends. 0: none */
    int fail_error;   /* with what; 0: -ECONNRESET */
} async_pair_options;

/* Makes the two ends of a connection that exists in memory alone: what is written to one is read
 * from the other, as with socketpair(2), and all the rest is as with any stream; but neither has a
 * descriptor or a name (async_stream_fd is -1). Both belong to one loop. Does not block. 0, or
 * -ENOMEM; -EINVAL for options that cannot be. Each end is closed like any stream.
 *     async_stream *ends[2];
 *     int code = async_stream_pair(ends); */
ASYNC_API int async__stream_pair(async_stream *ends[2], const async_pair_options *options,
                                 size_t options_size);
static inline int async_stream_pair(async_stream *ends[2])
{
    return async__stream_pair(ends, NULL, 0);
}
static inline int async_stream_pair_with(async_stream *ends[2], const async_pair_options *options)
{
    return async__stream_pair(ends, options, sizeof *options);
}

/* ---- serving ---- */

typedef struct async_server_options {
    int backlog;     /* 0: 100 */
    bool reuse_port; /* several processes or threads on one port */
    bool ipv6_only;  /* an IPv6 socket takes no IPv4 (the default where `host` names both) */
    int mode;        /* of a Unix socket's file; 0: as umask says */
    bool keep_alive; /* connections on which nothing comes are probed: SO_KEEPALIVE */
} async_server_options;

/* Listens on every address of `host` (NULL or "": all of the machine's) and on `port` (0: any free
 * one, the same for all the addresses). Addresses that the machine does not have are left out while
 * there is another. `options` may be NULL. Blocks while the name is looked up.
 * NULL: async_error_code: -EADDRINUSE, -EACCES, -EINVAL, ASYNC_ENONAME, ... The message names the
 * address.
 * asyncio: asyncio.start_server */
ASYNC_API async_server *async__start_server(const char *host, int port,
                                            const async_server_options *options,
                                            size_t options_size);
static inline async_server *async_start_server(const char *host, int port,
                                               const async_server_options *options)
{
    return async__start_server(host, port, options, sizeof *options);
}

/* The same for a Unix socket; a path that begins with '@' is an abstract one. A stale socket file, at
 * which no server listens, is replaced; anything else at the path is -EADDRINUSE, and stays. If
 * several servers start at one path, in whatever processes, exactly one gets it; meanwhile there is an
 * empty file beside it, <path>.casyncio-lock. Closing the server removes its own socket file; in a
 * forked child it does not. Does not wait for events; for another process that is starting a server
 * at the path it waits 0.1 s at the most.
 * asyncio: start_unix_server */
ASYNC_API async_server *async__start_unix_server(const char *path,
                                                 const async_server_options *options,
                                                 size_t options_size);
static inline async_server *async_start_unix_server(const char *path,
                                                    const async_server_options *options)
{
    return async__start_unix_server(path, options, sizeof *options);
}

/* The connections as they come; each stream is the caller's. Ends when the server is closed. If
 * there are no descriptors or no memory left for a connection, it tries again a second later. When
 * the loop is left the server is closed, and must not be closed again. NULL: -EBUSY while another
 * loop takes them; for a server that is NULL the last error (why it could not be made), else
 * -EBADF.
 *     async_for (async_stream *, client, async_server_clients(server)) { ... } */
ASYNC_API async_iterator *async_server_clients(async_server *server);

/* Waits for one connection; the stream is the caller's. NULL: the code of a cancellation (no
 * connection is lost), -EBADF for a server that is closed meanwhile, -EBUSY if another task waits
 * for one. asyncio: loop.sock_accept on the server's socket */
ASYNC_API async_stream *async_server_accept(async_server *server);

/* async_server_serve(server, coroutine), async_server_serve(server, coroutine, data): accepts
 * connections until the server is closed, and runs coroutine(client) or coroutine(client, data) in a
 * task for each: an int echo(async_stream *client), or an int echo(async_stream *client, struct
 * state *data). The stream is closed when the coroutine has returned (what it keeps is sent first),
 * unless the coroutine has closed it.
 *
 *     return async_server_serve(async_start_server("127.0.0.1", 8888, NULL), echo);
 *
 * A client's failure, the negative code that its coroutine returns or leaves in a block, goes to the
 * loop's exception handler, and ends no other client. If there are no descriptors or no memory left
 * for a connection or its task, it tries again a second later.
 *
 * The server belongs to the call: it is closed when that returns, and must not be closed again. After
 * async_server_close, in another task, the call waits until all clients have ended. If it is
 * cancelled it closes the server, cancels the clients' tasks and waits for them.
 *
 * 0 after a close. The code of a cancellation; -EBUSY if another task takes the connections, and then
 * the server is left alone; for a server that is NULL the last error (why it could not be made), else
 * -EBADF. asyncio: start_server(callback), Server.serve_forever */
typedef int async__client_handler(async_stream *client, void *data);
ASYNC_API int async__server_serve(async_server *server, async__client_handler *handler, void *data,
                                  const char *name);
#ifndef __cplusplus
#define async_server_serve(...)                                                                    \
    ASYNC__SERVE_CHOICE(__VA_ARGS__, ASYNC__SERVE_WITH, ASYNC__SERVE, )(__VA_ARGS__)
#define ASYNC__SERVE_CHOICE(server, function, data, choice, ...) choice
#define ASYNC__SERVE(server, function)                                                             \
    async__server_serve(server, ASYNC__HANDLER(function, (async_stream *)0), NULL, #function)
#define ASYNC__SERVE_WITH(server, function, data)                                                  \
    async__server_serve(server, ASYNC__HANDLER(function, (async_stream *)0, data), data, #function)
/* Does not compile unless the function can be called so, and gives an int. */
#define ASYNC__HANDLER(function, ...)                                                              \
    ((async__client_handler *)(void (*)(void)) _Generic(function(__VA_ARGS__), int : (function)))
#endif

/* Ends all the clients that async_server_serve serves, as if each had sent its end: what a client's
 * task reads is the end, and what it writes is still sent. Abort: each connection is closed at once;
 * calls on its stream give -EBADF, and that a client's task fails then is not reported. Neither stops
 * the listening (async_server_close does, before) or cancels a task (a cancellation of
 * async_server_serve does). 0, or -EBADF for NULL. Do not block.
 * asyncio: Server.close_clients, abort_clients */
ASYNC_API int async_server_close_clients(async_server *server);
ASYNC_API int async_server_abort_clients(async_server *server);

/* async_server_close, and then waits until the tasks of all clients that async_server_serve serves
 * have ended. To be called in place of async_server_close, or right after it, with no call that
 * blocks between them. 0, or the close's error; the code of a cancellation: it is closed all the same;
 * -EDEADLK in the task of such a client, and nothing has happened. asyncio: Server.close + wait_closed */
ASYNC_API int async_server_wait_closed(async_server *server);

/* The port; 0 for a Unix socket. asyncio: server.sockets[0].getsockname() */
ASYNC_API int async_server_port(const async_server *server);

/* Stops listening and frees the server; connections live on, and a call that waits for one gives
 * -EBADF. NULL is fine. Does not block. 0; an error of removing its Unix socket's file, and then it is
 * closed all the same; -EBADF if it has been closed already, and a call on it is still under way or
 * nothing has blocked since. asyncio: Server.close */
ASYNC_API int async_server_close(async_server *server);

ASYNC_END

#ifdef __cplusplus
inline int async_server_serve(async_server *server, int (*coroutine)(async_stream *))
{
    return async__server_serve(server, (async__client_handler *)(void (*)(void))coroutine, nullptr,
                               nullptr);
}
template <class Data>
inline int async_server_serve(async_server *server, int (*coroutine)(async_stream *, Data *),
                              Data *data)
{
    return async__server_serve(server, (async__client_handler *)(void (*)(void))coroutine,
                               (void *)data, nullptr);
}
#endif
#endif
