/* websocket.h - WebSockets            aiohttp: WebSocketResponse, ws_connect (libcasyncio-http)
 *
 *     static int echo(struct async_http_request *request)
 *     {
 *         async_websocket *socket = async_websocket_accept(request, NULL);
 *         async_for (async_websocket_message, message, async_websocket_messages(socket))
 *             async_websocket_send(socket, message.type, message.data, message.size);
 *         return async_block_error();
 *     }
 *
 *     async_with_websocket (socket, async_websocket_connect("wss://example.org/chat", NULL)) {
 *         async_websocket_send_text(socket, "Hello");
 *         ...
 *     }
 *
 * RFC 6455, with permessage-deflate (RFC 7692). One task may receive at a time; several may send: a
 * message is sent as a whole, and they take turns. Any task may close.
 *
 * Nothing is read that is not asked for: a peer that sends while no task receives is held up by the
 * connection itself, and no message is queued. Pings are answered, and the peer's end is noticed, while
 * a task receives or closes.
 *
 * Errors:
 *   -EPIPE             sending on a socket that is closed, or whose closing has begun
 *   -EPROTO            the peer broke the protocol (it is told so: 1002)
 *   -EILSEQ            a text that is not UTF-8, of the peer (1007) or of the caller's own
 *   -EBADMSG           a compressed message that is none (1007)
 *   -EMSGSIZE          a message or a frame is larger than the limit (1009)
 *   ASYNC_EINCOMPLETE  the connection ended without a Close
 *   -ETIMEDOUT         the peer does not answer pings, takes nothing of what is sent, or does not
 *                      answer a Close; or a scope's time is over
 *   -ECONNRESET, ...   the connection failed
 *   -EBUSY             another task receives
 *   -ENOMEM; -ECANCELED and the other codes of a cancellation
 * Those that are about the connection last: from then on receiving gives the same. After a
 * cancellation, and -ENOMEM in a message that is sent, the socket is as it was, and a message that has
 * come in part goes on with the next call.
 *
 * NULL for a socket is -EBADF, and the message says why it could not be made. */
#ifndef CASYNCIO_WEBSOCKET_H
#define CASYNCIO_WEBSOCKET_H

#include <casyncio/contexts.h>
#include <casyncio/iterators.h>
#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_websocket async_websocket;
struct async_http_request;
struct async_tls_context;

enum async_websocket_type { ASYNC_WEBSOCKET_TEXT = 1, ASYNC_WEBSOCKET_BINARY = 2 };

/* Good until the next one is asked for, or the socket is freed. */
typedef struct async_websocket_message {
    enum async_websocket_type type;
    const char *data; /* with a 0 behind it that does not count; a text is valid UTF-8 */
    size_t size;      /* bytes */
} async_websocket_message;

typedef struct async_websocket_options {
    /* Those that are spoken, the best first, NULL. A server takes the first of its own that the client
     * offers; a client offers them. */
    const char *const *subprotocols;
    /* A server's: the Origin headers that are let in, such as "https://example.org", NULL; {"*", NULL}:
     * any. NULL: pages of the host that the request is for. A client that sends none, which is no
     * browser, is let in. Others are answered with 403. */
    const char *const *origins;
    /* A client's: further headers, "Name: value", NULL. */
    const char *const *headers;
    struct async_tls_context *tls; /* a client's, for wss; NULL: the default one */

    /* Seconds; 0: the default; INFINITY: no limit. */
    double open_timeout;  /* a client's, for connecting and the handshake; 10 */
    double heartbeat;     /* without anything from the peer, and then it is pinged; 20. While a task
                          * receives */
    double pong_timeout;  /* until something must have come then; 20 */
    double send_timeout;  /* until the peer has taken enough for a send to go on; 30 */
    double close_timeout; /* for the peer's answer to a Close; 10 */

    size_t max_message; /* bytes that are received, decompressed; 0: 1 MiB */
    size_t max_frame;   /* bytes of a frame that is received, as it comes; 0: max_message */
    size_t fragment;    /* bytes of a message that go into one frame when it is sent; 0: 64 KiB */

    /* permessage-deflate is used if both sides do. Each direction has its state, which is made with the
     * first message that is compressed: with a window of n bits about 1 << (n + 3) bytes to send, and
     * 1 << n to receive. */
    bool no_compression;
    bool server_no_context_takeover; /* each message of the server is compressed by itself */
    bool client_no_context_takeover;
    int server_max_window_bits; /* 9 to 15; 0: 12, and 15 for what the peer may use */
    int client_max_window_bits;
    size_t compress_from; /* bytes; smaller messages are sent as they are; 0: 64 */
} async_websocket_options;

/* ---- opening ---- */

/* For a handler: answers the request with 101, and leaves HTTP. The socket belongs to the request: when
 * the handler has returned it is closed, with 1000, or 1011 if the handler failed, or 1001 if the
 * server shuts down, and freed; no other task may use it any more. async_http_shutdown sends 1001 at once.
 * `options` may be NULL.
 *
 * NULL: the client asked for no WebSocket, or is not let in, and has been answered with 400, 403 or 426:
 * -EINVAL, -EACCES, which may be returned, and is not reported; -EINVAL also for an option that makes no
 * sense; -EALREADY; -ENOMEM; codes of sending. Blocks while the answer is sent.
 * aiohttp: web.WebSocketResponse(...).prepare(request) */
ASYNC_API async_websocket *async__websocket_accept(struct async_http_request *request,
                                                   const async_websocket_options *options,
                                                   size_t options_size);
static inline async_websocket *async_websocket_accept(struct async_http_request *request,
                                                      const async_websocket_options *options)
{
    return async__websocket_accept(request, options, sizeof *options);
}

/* Connects to a ws:// or wss:// URL. Redirects are not followed. NULL: the errors of
 * async_open_connection and of TLS; -EINVAL for the URL, a header or an option; ASYNC_EHTTPSTATUS, the
 * server refused: the message has its status; ASYNC_EHTTP, its answer is not a WebSocket's;
 * -ETIMEDOUT; the code of a cancellation. aiohttp: session.ws_connect */
ASYNC_API async_websocket *async__websocket_connect(const char *url,
                                                    const async_websocket_options *options,
                                                    size_t options_size);
static inline async_websocket *async_websocket_connect(const char *url,
                                                       const async_websocket_options *options)
{
    return async__websocket_connect(url, options, sizeof *options);
}

/* The same over a stream that leads to the server: a Unix socket, a tunnel, a pair in memory. It is the
 * socket's from here on, and is closed if NULL is given. A `stream` of NULL gives the last error. */
ASYNC_API async_websocket *async__websocket_connect_stream(async_stream *stream, const char *url,
                                                           const async_websocket_options *options,
                                                           size_t options_size);
static inline async_websocket *async_websocket_connect_stream(
    async_stream *stream, const char *url, const async_websocket_options *options)
{
    return async__websocket_connect_stream(stream, url, options, sizeof *options);
}

/* Closes with 1000, unless that has been done, waits for the peer's answer, and frees the socket, always,
 * also if it is cancelled (then nothing is waited for). NULL is fine. Calls of other tasks that are under
 * way end as after a failure. A server's socket may be freed before its handler returns, and need not. */
ASYNC_API void async_websocket_free(async_websocket *socket);

/* async_with_websocket (socket, enter) { ... }: declares `async_websocket *socket = enter`.
 * C++: ASYNC_WITH_WEBSOCKET. aiohttp: async with session.ws_connect(url) as socket */
#define ASYNC_WITH_WEBSOCKET(socket, enter)                                                        \
    ASYNC_WITH(async_websocket *, socket, enter, async_websocket_free)
#ifndef __cplusplus
#define async_with_websocket(socket, enter) ASYNC_WITH_WEBSOCKET(socket, enter)
#endif

/* ---- messages ---- */

/* Waits for the next message: 1; 0: the connection was closed, by a Close of the peer; a code.
 * aiohttp: receive */
ASYNC_API int async_websocket_receive(async_websocket *socket, async_websocket_message *message);

/* The messages as they come, until the connection is closed:
 *     async_for (async_websocket_message, message, async_websocket_messages(socket)) { ... }
 * The socket stays open when the loop is left. NULL for a socket that is NULL, with the last error (why
 * it could not be made), else -EBADF. aiohttp: async for message in socket */
ASYNC_API async_iterator *async_websocket_messages(async_websocket *socket);

/* Sends a message. Waits before it if more than 64 KiB is kept that the peer has not taken: back-pressure.
 * 0. The code of a cancellation: nothing was sent; but if a first frame of it had gone out, the rest
 * is kept and sent as well. -EILSEQ for a text that is not UTF-8.
 * aiohttp: send_bytes, send_str */
ASYNC_API int async_websocket_send(async_websocket *socket, enum async_websocket_type type,
                                   const void *data, size_t size);
ASYNC_API int async_websocket_send_text(async_websocket *socket, const char *text);
ASYNC_API int async_websocket_printf(async_websocket *socket, const char *format, ...)
    ASYNC_PRINTF(2, 3);

/* The same, but never waits and is no checkpoint: -EAGAIN if it would, and nothing was sent. All of the
 * message is kept. Only in the loop's thread, also from a callback. */
ASYNC_API int async_websocket_send_nowait(async_websocket *socket, enum async_websocket_type type,
                                          const void *data, size_t size);

/* Sends a ping of up to 125 bytes (-EINVAL for more), between two frames. The heartbeat does so by
 * itself. aiohttp: ping */
ASYNC_API int async_websocket_ping(async_websocket *socket, const void *data, size_t size);

/* ---- closing ---- */

/* Sends a Close, behind a message that is being sent, and waits for the peer's, whose messages until then
 * are dropped; a task that is receiving already gets them. `code` is 1000 to 1003, 1007 to 1014 or 3000
 * to 4999, `reason` UTF-8 of up to 123 bytes, or NULL: else -EINVAL. 0, also if it is closed already;
 * -ETIMEDOUT: the peer did not answer in time; the failure of the connection; the code of a
 * cancellation: the Close has been sent, unless it had to wait for a message. Once it has been sent,
 * sending gives -EPIPE. aiohttp: close */
ASYNC_API int async_websocket_close(async_websocket *socket, int code, const char *reason);

/* The code and the reason of the peer's Close: 1005 if it had none, 1006 without a Close, 0 while the
 * connection is open; "" for no reason. The reason is good until the socket is freed.
 * aiohttp: close_code */
ASYNC_API int async_websocket_close_code(const async_websocket *socket);
ASYNC_API const char *async_websocket_close_reason(const async_websocket *socket);

/* ---- what is known: none of these blocks ---- */

/* The one that both speak, or "". aiohttp: protocol */
ASYNC_API const char *async_websocket_subprotocol(const async_websocket *socket);

/* Whether messages are compressed. aiohttp: compress */
ASYNC_API bool async_websocket_compressed(const async_websocket *socket);

/* Seconds from the last ping of the heartbeat until its pong; 0 before. websockets: latency */
ASYNC_API double async_websocket_latency(const async_websocket *socket);

/* Bytes that the peer has not taken yet. */
ASYNC_API size_t async_websocket_unsent(const async_websocket *socket);

ASYNC_END
#endif
