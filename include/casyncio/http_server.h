/* http_server.h - an HTTP server            aiohttp: Server (aiohttp.web) (libcasyncio-http)
 *
 *     static int hello(struct async_http_request *request)
 *     {
 *         return async_http_respond_text(request, 200, "Hello, %s!\n",
 *                                        async_http_param(request, "name"));
 *     }
 *
 *     async_with_http_server (server, "127.0.0.1", 8080, NULL) {
 *         async_http_route(server, "GET", "/hello/{name}", hello);
 *         return async_http_serve(server);
 *     }
 *     return async_block_error();
 *
 * HTTP/1.1, 1.0 and, where the library was built with nghttp2, HTTP/2 over any stream: TCP, Unix, TLS, a pair in memory. A task for each connection runs
 * the handlers of its requests, one after another. A handler is a coroutine that answers a request,
 * and answers once:
 *
 *   - A handler that returns a negative code, or leaves an error in a block, without having answered
 *     is answered for by 500, which says nothing of the error: that goes to the server's on_error.
 *     If the error is of the client's making (a body that is malformed, too large, too slow), it is
 *     400, 413 or 408.
 *   - One that fails in the middle of an answer has its connection closed, so that the client can tell
 *     that the answer is not whole.
 *   - One that returns 0 without an answer is answered for by 500, and on_error is told so.
 *   - A second answer is -EALREADY; the first stands.
 *
 * Requests that are not clearly delimited are refused, with a 4xx and the end of the connection:
 * several or malformed Content-Length headers, one beside Transfer-Encoding, any Transfer-Encoding
 * but "chunked", a bare CR or LF, a NUL or another control character, a blank before a colon, folded
 * lines, a missing or second Host.
 *
 * The type of a request is `struct async_http_request`, without a typedef: the plain name is the
 * client's function (http.h). A request, and all strings that it gives out, are valid until its
 * handler returns; it is for one task at a time. All functions with a request give -EBADF (NULL, 0,
 * false) for NULL. */
#ifndef CASYNCIO_HTTP_SERVER_H
#define CASYNCIO_HTTP_SERVER_H

#include <casyncio/contexts.h>
#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_http_server async_http_server;
struct async_http_request;

/* ---- servers ---- */

/* What the access log is told of a request that has been answered. The strings are good during the
 * call; "" where there is none. */
typedef struct async_http_access {
    const char *peer;    /* "127.0.0.1:51234" */
    const char *method;  /* "" for a request that could not be read */
    const char *target;  /* as the client sent it */
    const char *version; /* "1.1" */
    const char *referer, *user_agent;
    int status;
    uint64_t bytes; /* of the body that were sent */
    double seconds; /* from the end of the request's head to the end of the response */
    int64_t time;   /* seconds since 1970 */
} async_http_access;

typedef struct async_http_server_options {
    /* Seconds; 0: the default; INFINITY: no limit. */
    double head_timeout;     /* from a request's first byte, or the connection's begin, until its
                              * head is whole; 10 */
    double body_timeout;     /* for a body, and a second more for each KiB that has come; 30 */
    double idle_timeout;     /* between two requests of a connection; 75 */
    double write_timeout;    /* until the client has taken the next 64 KiB of an answer; 30 */
    double shutdown_timeout; /* for requests that are under way at async_http_shutdown; 30 */

    size_t max_head;     /* bytes of a request's line and headers, and of trailers; 0: 32 KiB */
    int max_headers;     /* of a request; 0: 100 */
    uint64_t max_body;   /* bytes; 0: 1 MiB; UINT64_MAX: no limit. See async_http_set_max_body */
    int max_connections; /* at once; a further one is answered with 503; 0: 10000 */
    int max_requests;    /* whose handlers run at once; a further one gets 503; 0: no limit */

    int max_parts;   /* of a form with files; 0: 100 */
    int max_streams; /* requests of an HTTP/2 connection at once; 0: 100 */
    bool no_http2;   /* HTTP/1 alone */

    const char *server_name; /* the Server header; NULL: none is sent. Copied */

    /* A server's (tls.h): https. With an alpn of {"h2", "http/1.1", NULL} clients that have HTTP/2 get
     * it. For async_http_server_start, whose server has a part in it. aiohttp: TCPSite(ssl_context=...) */
    struct async_tls_context *tls;

    /* Called after each answer, if not NULL. Must not block. */
    void (*access_log)(const async_http_access *access, void *data);
    /* Called for a handler that failed, or gave no answer; `request` is the one that it failed with.
     * Must not block. NULL: the loop's exception handler is told. */
    void (*on_error)(struct async_http_request *request, int code, const char *message, void *data);
    void *data; /* for the two */
} async_http_server_options;

/* A server that listens on a host and a port, as async_start_server does, which takes the connections
 * from async_http_serve on. `options` may be NULL. NULL: as async_start_server; -EINVAL for an option
 * that makes no sense. Blocks while the name is looked up.
 * aiohttp: web.Application + TCPSite */
ASYNC_API async_http_server *async__http_server_start(const char *host, int port,
                                                      const async_http_server_options *options,
                                                      size_t options_size);
static inline async_http_server *async_http_server_start(const char *host, int port,
                                                         const async_http_server_options *options)
{
    return async__http_server_start(host, port, options, sizeof *options);
}

/* One that does not listen, for async_http_serve_on and async_http_serve_stream. Does not block. */
ASYNC_API async_http_server *async__http_server_new(const async_http_server_options *options,
                                                    size_t options_size);
static inline async_http_server *async_http_server_new(const async_http_server_options *options)
{
    return async__http_server_new(options, sizeof *options);
}

/* Stops listening, and frees the server, once no call serves by it any more. NULL is fine. Does not
 * block. */
ASYNC_API void async_http_server_free(async_http_server *server);

/* async_with_http_server (server, host, port, options) { ... }: declares `async_http_server *server`.
 * C++: ASYNC_WITH_HTTP_SERVER. */
#define ASYNC_WITH_HTTP_SERVER(server, host, port, options)                                        \
    ASYNC_WITH(async_http_server *, server, async_http_server_start(host, port, options),          \
               async_http_server_free)
#ifndef __cplusplus
#define async_with_http_server(server, host, port, options)                                        \
    ASYNC_WITH_HTTP_SERVER(server, host, port, options)
#endif

/* The port that it listens on; 0 for none. */
ASYNC_API int async_http_server_port(const async_http_server *server);

/* Serves clients until async_http_shutdown: 0; or the code of a cancellation, which ends the requests
 * that are under way. -EINVAL for a server that does not listen, -EBUSY if it serves already.
 * aiohttp: web.run_app */
ASYNC_API int async_http_serve(async_http_server *server);

/* The same for what another server accepts: several addresses, Unix sockets, TLS. The listener belongs to the call, as with async_server_serve; for one
 * that is NULL it gives the last error.
 *     async_http_serve_on(server, async_tls_start_server("::", 443, context, NULL)); */
ASYNC_API int async_http_serve_on(async_http_server *server, async_server *listener);

/* Serves the one client that is at the other end of a stream, and closes the stream, always. 0; the
 * code of a cancellation. */
ASYNC_API int async_http_serve_stream(async_http_server *server, async_stream *stream);

/* Ends the serving: listens no more, closes idle connections, and lets the requests that are under way
 * finish within shutdown_timeout, after which they are cancelled. Then the calls that serve return.
 * 0; -EBADF for NULL. Does not block. aiohttp: AppRunner.cleanup */
ASYNC_API int async_http_shutdown(async_http_server *server);

/* How many connections there are, and how many requests are being answered. */
ASYNC_API int async_http_server_connections(const async_http_server *server);
ASYNC_API int async_http_server_requests(const async_http_server *server);

/* Writes an access as a line of the Common Log Format, with referer and user agent ("combined"), as
 * snprintf does: without a \n; the result is its whole length. What a client could forge a line with
 * is escaped as \xHH. */
ASYNC_API int async_http_common_log(char *line, size_t size, const async_http_access *access);

/* ---- routes ---- */

typedef int async__http_handler(struct async_http_request *request, void *data);

/* async_http_route(server, method, pattern, handler), async_http_route(server, method, pattern,
 * handler, data): requests of that method whose path is like the pattern are answered by
 * handler(request), an int hello(struct async_http_request *), or handler(request, data), an int
 * hello(struct async_http_request *, struct state *). `data` must outlive the server.
 *
 * A pattern begins with "/". {name} stands for one segment of the path that is not empty, {name...}
 * at the end for the rest, which may be empty and contain "/": async_http_param gives them, decoded.
 * All else has to be the same, a "/" at the end included. What is fixed goes before {name}, and that
 * before {name...}, segment by segment, in whatever order the routes were added.
 *
 * A method of NULL is any. HEAD is answered by the handler for GET, without the body, unless it has
 * one; OPTIONS by the list of the methods. Another method of a path that has routes is 405, with
 * Allow; another path 404.
 *
 * 0; -EINVAL for a pattern or a method that is none; -EEXIST if there is a route for it; -ENOMEM.
 * A failure is the block's error as well (async_block_error), so that it may be ignored here. Does not
 * block. aiohttp: router.add_route */
ASYNC_API int async__http_route(async_http_server *server, const char *method, const char *pattern,
                                async__http_handler *handler, void *data);

/* async_http_use(server, middleware), async_http_use(server, middleware, data): a handler around all
 * others, 404 and 405 included; the first that is added is the outermost. It looks at the request,
 * calls async_http_next, which runs what is inside, and looks at what that gave; or answers itself.
 * 0; -ENOMEM; the block's error as well. Does not block. aiohttp: middlewares */
ASYNC_API int async__http_use(async_http_server *server, async__http_handler *middleware,
                              void *data);

/* Runs the next middleware, or the handler: what it returned, or left in a block. */
ASYNC_API int async_http_next(struct async_http_request *request);

/* Serves the files below a directory: "/static/" and "/srv/www" have GET /static/a/b.css answered
 * with /srv/www/a/b.css, as async_http_respond_file does. Nothing outside of the directory is ever
 * served: ".." and symbolic links are 404, as is what is no regular file. "index.html" stands in for
 * a directory whose path ends in "/". 0; -EINVAL for a prefix that does not begin and end with "/";
 * -ENOENT, -ENOTDIR, ... for the directory; -ENOMEM; the block's error as well. Blocks the thread
 * while the directory is opened. aiohttp: router.add_static */
ASYNC_API int async_http_static(async_http_server *server, const char *prefix,
                                const char *directory);

#ifndef __cplusplus
#define async_http_route(server, method, ...)                                                      \
    ASYNC__HTTP_CHOICE(__VA_ARGS__, ASYNC__HTTP_ROUTE_WITH, ASYNC__HTTP_ROUTE, )                   \
    (server, method, __VA_ARGS__)
#define ASYNC__HTTP_CHOICE(pattern, function, data, choice, ...) choice
#define ASYNC__HTTP_ROUTE(server, method, pattern, function)                                       \
    async__http_route(server, method, pattern,                                                     \
                      ASYNC__HTTP_HANDLER(function, (struct async_http_request *)0), NULL)
#define ASYNC__HTTP_ROUTE_WITH(server, method, pattern, function, data)                            \
    async__http_route(server, method, pattern,                                                     \
                      ASYNC__HTTP_HANDLER(function, (struct async_http_request *)0, data), data)
#define async_http_use(...)                                                                        \
    ASYNC__HTTP_CHOICE(__VA_ARGS__, ASYNC__HTTP_USE_WITH, ASYNC__HTTP_USE, )(__VA_ARGS__)
#define ASYNC__HTTP_USE(server, function)                                                          \
    async__http_use(server, ASYNC__HTTP_HANDLER(function, (struct async_http_request *)0), NULL)
#define ASYNC__HTTP_USE_WITH(server, function, data)                                               \
    async__http_use(server, ASYNC__HTTP_HANDLER(function, (struct async_http_request *)0, data),   \
                    data)
/* Does not compile unless the function can be called so, and gives an int. */
#define ASYNC__HTTP_HANDLER(function, ...)                                                         \
    ((async__http_handler *)(void (*)(void)) _Generic(function(__VA_ARGS__), int : (function)))
#endif

/* ---- what came: none of these blocks ---- */

/* "GET"; the path, decoded: "/hello/Ann"; what the client sent, undecoded: "/hello/Ann?x=1"; "1.1".
 * aiohttp: request.method, path, raw_path, version */
ASYNC_API const char *async_http_request_method(const struct async_http_request *request);
ASYNC_API const char *async_http_request_path(const struct async_http_request *request);
ASYNC_API const char *async_http_request_target(const struct async_http_request *request);
ASYNC_API const char *async_http_request_version(const struct async_http_request *request);

/* The host that the request is for, in lower case, without a port: "" if the client did not say.
 * aiohttp: request.host */
ASYNC_API const char *async_http_request_host(const struct async_http_request *request);

/* The client's address, "127.0.0.1:51234", or "". aiohttp: request.remote */
ASYNC_API const char *async_http_request_peer(struct async_http_request *request);

/* The value of the first header of that name, in any case of letters; NULL: there is none.
 * aiohttp: request.headers.get */
ASYNC_API const char *async_http_request_header(const struct async_http_request *request,
                                                const char *name);

/* The headers in their order, repeated ones too: index 0 to count - 1. false beyond the end. */
ASYNC_API size_t async_http_request_header_count(const struct async_http_request *request);
ASYNC_API bool async_http_request_header_at(const struct async_http_request *request, size_t index,
                                            const char **name, const char **value);

/* A trailer, which is there once all of a chunked body has been read; NULL: there is none. */
ASYNC_API const char *async_http_request_trailer(const struct async_http_request *request,
                                                 const char *name);

/* What stands in the path for {name} of the route's pattern; NULL: the pattern has none of that name.
 * aiohttp: request.match_info */
ASYNC_API const char *async_http_param(const struct async_http_request *request, const char *name);

/* The first value of a name in the query ("?name=value&..."), decoded; NULL: there is none, or its
 * %-coding is malformed. aiohttp: request.query.get */
ASYNC_API const char *async_http_query(struct async_http_request *request, const char *name);

/* The value of a cookie; NULL: there is none. aiohttp: request.cookies.get */
ASYNC_API const char *async_http_cookie(struct async_http_request *request, const char *name);

/* For what middlewares tell handlers: one pointer a request, NULL at first. */
ASYNC_API void async_http_request_set_data(struct async_http_request *request, void *data);
ASYNC_API void *async_http_request_data(const struct async_http_request *request);

/* The connection's stream, for what tls.h can say of it. Neither to be read from nor written to. */
ASYNC_API async_stream *async_http_request_stream(const struct async_http_request *request);

/* ---- the body: these block ----
 *
 * With "Expect: 100-continue" the client is told to go on when the body is first asked for. What is
 * left of a body when the handler returns is discarded, if it is not much, or the connection closed.
 *
 * Errors: ASYNC_EINCOMPLETE, the client ended before all had come; ASYNC_EHTTP, the chunks are
 * malformed; -EMSGSIZE, larger than the limit; -ETIMEDOUT, too slow; -ECONNRESET, ...; the code of a
 * cancellation, after which reading may go on. All others last. */

/* Waits until there is something, and reads up to `size` bytes; 0 is the end.
 * aiohttp: request.content.read */
ASYNC_API ssize_t async_http_request_recv(struct async_http_request *request, void *buffer,
                                          size_t size);

/* Waits for the end of the body and gives all of it that has not been read yet, followed by a 0 byte
 * that does not count; the same again when called again. *size (may be NULL) is its length. NULL:
 * the errors above, -ENOMEM. aiohttp: request.read, request.text */
ASYNC_API const void *async_http_request_read(struct async_http_request *request, size_t *size);

/* Has the body be up to `limit` bytes, in place of the server's max_body: for uploads that are read
 * piece by piece. 0. Does not block. */
ASYNC_API int async_http_set_max_body(struct async_http_request *request, uint64_t limit);

/* The first value of a name in a body of the type application/x-www-form-urlencoded, decoded; NULL:
 * there is none, or the body is of another type; async_block_error says if it could not be read.
 * Reads the body as async_http_request_read does. aiohttp: request.post */
ASYNC_API const char *async_http_form(struct async_http_request *request, const char *name);

/* ---- forms with files: multipart/form-data ----
 *
 *     async_http_part part;
 *     int code;
 *     while ((code = async_http_next_part(request, &part)) > 0)
 *         if (part.filename) ... async_http_part_save(request, path)
 *         else ... async_http_part_read(request, NULL)
 *
 * The parts come in the client's order, and no more than 32 KiB of them is kept. The size of the whole is
 * limited by max_body and async_http_set_max_body. Errors are those of bodies: ASYNC_EHTTP, it is no such
 * form or malformed, -EMSGSIZE, ...: a handler that returns them is answered for by 400, 413, 408. */
typedef struct async_http_part {
    const char *name;
    const char *filename; /* as the client says: nothing to open a file by; NULL: it is no file */
    const char *content_type; /* NULL: it does not say */
} async_http_part;

/* Goes on to the next part; what has not been read of the one before is dropped. 1; 0: there are no more;
 * or a code. The strings are good until the handler returns. aiohttp: MultipartReader.next */
ASYNC_API int async_http_next_part(struct async_http_request *request, async_http_part *part);

/* Waits until there is something of the part, and reads up to `size` bytes; 0 is its end.
 * aiohttp: BodyPartReader.read_chunk */
ASYNC_API ssize_t async_http_part_recv(struct async_http_request *request, void *buffer,
                                       size_t size);

/* The rest of the part, followed by a 0 byte that does not count; good until the handler returns. *size
 * (may be NULL) is its length. NULL: the errors above, -ENOMEM. aiohttp: BodyPartReader.read, text */
ASYNC_API const char *async_http_part_read(struct async_http_request *request, size_t *size);

/* Writes the rest of the part to a file, which is made, or made empty: how many bytes; or a code, and what
 * has been written stays. */
ASYNC_API int64_t async_http_part_save(struct async_http_request *request, const char *path);

/* ---- answering: these block ----
 *
 * They wait while the client does not take what is sent. 0; or -EALREADY, the request has been
 * answered; -EINVAL for a status that is not from 200 to 599; -ENOMEM; -ETIMEDOUT, the client is too
 * slow; -EPIPE, -ECONNRESET, ..., the client has gone; the code of a cancellation. After one of the
 * last three the answer is not whole, and the connection is closed when the handler returns. */

/* The whole of an answer. `content_type` NULL: none is named. With the statuses 204 and 304, and for
 * HEAD, the body is not sent. aiohttp: web.Response(body=...) */
ASYNC_API int async_http_respond(struct async_http_request *request, int status,
                                 const char *content_type, const void *body, size_t size);

/* Formatted text, as "text/plain; charset=utf-8". aiohttp: web.Response(text=...) */
ASYNC_API int async_http_respond_text(struct async_http_request *request, int status,
                                      const char *format, ...) ASYNC_PRINTF(3, 4);

/* A redirect with one of the statuses 301, 302, 303, 307, 308; the location is sent as it is, and must
 * not have control characters in it (-EINVAL). aiohttp: web.HTTPFound */
ASYNC_API int async_http_redirect(struct async_http_request *request, int status,
                                  const char *location);

/* A file: 200, with Last-Modified and an ETag; 206 or 416 for a range of it, 304 and 412 for the
 * conditions of If-None-Match, If-Modified-Since, If-Match, If-Unmodified-Since and If-Range; 405 for
 * a method that is neither GET nor HEAD; 404 for what is not there, no regular file, or not to be
 * read. `content_type` NULL: by the name's ending. The path is the program's: it is opened as it is.
 * aiohttp: web.FileResponse */
ASYNC_API int async_http_respond_file(struct async_http_request *request, const char *path,
                                      const char *content_type);

/* An answer piece by piece. The length of the body, if it is known, else -1: then it is sent in
 * chunks, or, to a client of HTTP/1.0, until the end of the connection. After the last piece
 * _respond_end may be called; the handler's return does the same. -EMSGSIZE for more than the length
 * that was given; less has the connection closed, and is -EINVAL from _respond_end.
 * aiohttp: StreamResponse.prepare, write, write_eof */
ASYNC_API int async_http_respond_begin(struct async_http_request *request, int status,
                                       const char *content_type, int64_t length);
ASYNC_API int async_http_respond_write(struct async_http_request *request, const void *data,
                                       size_t size);
ASYNC_API int async_http_respond_printf(struct async_http_request *request, const char *format, ...)
    ASYNC_PRINTF(2, 3);
ASYNC_API int async_http_respond_end(struct async_http_request *request);

/* Server-sent events: the first call begins the answer. `event` and `id` may be NULL; `data` may have
 * several lines. -EINVAL for a line break in event or id.
 * aiohttp: aiohttp-sse */
ASYNC_API int async_http_send_event(struct async_http_request *request, const char *event,
                                    const char *id, const char *data);

/* Answers with 101 and leaves HTTP: gives the stream, which stays the connection's: it is closed when
 * the handler has returned. `protocol` is what the Upgrade header says. NULL: the client has not asked
 * for an upgrade to that protocol (-EINVAL), has sent something behind its request (ASYNC_EHTTP);
 * codes as above; nothing has been sent then, and the request can be answered. */
ASYNC_API async_stream *async_http_upgrade(struct async_http_request *request,
                                           const char *protocol);

/* ---- the answer's headers: before it begins. None of these blocks ---- */

/* Sets a header, in place of all of that name; a value of NULL takes them away. _add_ leaves those
 * that are there. -EINVAL for a name that is no token, a value with a control character, and the
 * names that are the server's business: Content-Length, Transfer-Encoding, Connection, Upgrade,
 * Trailer; -EALREADY; -ENOMEM. aiohttp: response.headers */
ASYNC_API int async_http_set_header(struct async_http_request *request, const char *name,
                                    const char *value);
ASYNC_API int async_http_add_header(struct async_http_request *request, const char *name,
                                    const char *value);

/* Sets a trailer, a header that is sent behind the body, in place of one of that name; a value of NULL takes
 * it away: until the answer has ended. For what is known only when the body is, such as a checksum, a
 * signature, or how a gRPC call ended. Those that are set before the answer begins are announced by a
 * Trailer header. They go out with an answer in chunks (a length of -1) and with HTTP/2, and are left out
 * where there is no place for them: HTTP/1.0, a length that was given in HTTP/1.1, no body. 0; -EINVAL as
 * above, and for names that have to be known before the body (RFC 9110, 6.5.1), such as Content-Type,
 * Set-Cookie, Cache-Control; -EALREADY, the answer has ended; -ENOMEM. Does not block. */
ASYNC_API int async_http_set_trailer(struct async_http_request *request, const char *name,
                                     const char *value);

/* 0 for the members that are not to be sent. */
typedef struct async_http_cookie_options {
    const char *path, *domain;
    int64_t max_age; /* seconds; 0: until the browser ends; negative: it is to be deleted */
    bool secure, http_only;
    const char *same_site; /* "Strict", "Lax", "None" */
} async_http_cookie_options;

/* Adds a Set-Cookie. `options` may be NULL. -EINVAL for a name that is no token, and for a value, a path
 * or a domain with a blank, a comma, a semicolon, a backslash, a quote or a control character.
 * aiohttp: response.set_cookie */
ASYNC_API int async__http_set_cookie(struct async_http_request *request, const char *name,
                                     const char *value, const async_http_cookie_options *options,
                                     size_t options_size);
static inline int async_http_set_cookie(struct async_http_request *request, const char *name,
                                        const char *value, const async_http_cookie_options *options)
{
    return async__http_set_cookie(request, name, value, options, sizeof *options);
}

/* Has the connection be closed after the answer. 0; -EALREADY once that has begun. */
ASYNC_API int async_http_close_after(struct async_http_request *request);

/* Has the answer be compressed by gzip, if the client accepts that, the type is one of text, the body is
 * of 1 KiB or more, or of unknown length, and the status is neither 204, 206 nor 304. It then has
 * Content-Encoding and Vary, no Content-Length, and a weak ETag. What is sent piece by piece goes out
 * piece by piece. Takes 270 KiB while the answer is sent. Not for answers in which a secret stands beside
 * what the client has sent: their length tells of the secret (BREACH). A middleware does it for all of
 * a server's. 0; -EALREADY once the answer has begun. aiohttp: response.enable_compression */
ASYNC_API int async_http_enable_compression(struct async_http_request *request);

/* Whether the answer has begun, and its status then; 0 before. */
ASYNC_API int async_http_response_status(const struct async_http_request *request);

ASYNC_END

#ifdef __cplusplus
inline int async_http_route(async_http_server *server, const char *method, const char *pattern,
                            int (*handler)(struct async_http_request *))
{
    return async__http_route(server, method, pattern,
                             (async__http_handler *)(void (*)(void))handler, nullptr);
}
template <class Data>
inline int async_http_route(async_http_server *server, const char *method, const char *pattern,
                            int (*handler)(struct async_http_request *, Data *), Data *data)
{
    return async__http_route(server, method, pattern,
                             (async__http_handler *)(void (*)(void))handler, (void *)data);
}
inline int async_http_use(async_http_server *server, int (*middleware)(struct async_http_request *))
{
    return async__http_use(server, (async__http_handler *)(void (*)(void))middleware, nullptr);
}
template <class Data>
inline int async_http_use(async_http_server *server,
                          int (*middleware)(struct async_http_request *, Data *), Data *data)
{
    return async__http_use(server, (async__http_handler *)(void (*)(void))middleware, (void *)data);
}
#endif
#endif
