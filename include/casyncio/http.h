/* http.h - an HTTP client            aiohttp: Client Reference (libcasyncio-http)
 *
 *     async_with_http_session (session, NULL)
 *         async_with_http_get (response, session, "http://localhost:8080/get")
 *             puts(async_http_text(response));
 *
 * A session keeps connections open between requests, and cookies. A response is there as soon as
 * its headers are; its body is read as a whole (async_http_text, async_http_read) or piece by
 * piece as it comes (async_http_chunks).
 *
 * Ownership: a session belongs to the task that made it, a response to the task whose request it
 * answers; each is closed once. Any number of tasks of the loop may use one session at once; a
 * response is for one task at a time. Strings and bodies that are passed in may be changed or freed
 * when the call returns, whatever it returns. Strings that are given out belong to the response and
 * are valid until it is closed. Closing a session breaks off the transfers that are under way: their
 * responses remain, and what had arrived can be read; reading on is -ECONNABORTED. They still have
 * to be closed. The end of the loop does the same to a session that was not closed; both may be freed
 * later.
 *
 * Errors of a request, and of reading a body: these, and no others. Each has a message with the
 * method, the URL and what exactly was wrong:
 *   -EINVAL                    the URL is malformed or not http(s), a header or the method is, or
 *                              one of them is too long (see below)
 *   ASYNC_ENONAME              the host's or the proxy's name does not resolve
 *   -ECONNREFUSED              no listener at that address
 *   -EHOSTUNREACH, -ENETUNREACH, -EADDRNOTAVAIL, -EACCES   no way to it; -EACCES: a firewall's rule
 *   -ECONNRESET                the server reset the connection, of TLS or not
 *   -EMFILE, -ENFILE           no descriptor for a socket
 *   -ETIMEDOUT                 the session's or the request's timeout, or a scope's (async_timeout)
 *   ASYNC_ECERT                the server's certificate is not to be trusted, or not for this host
 *   ASYNC_ETLS                 anything else about TLS
 *   ASYNC_EINCOMPLETE          the response was cut short: before all of its length or its last
 *                              chunk had come, in the middle of compressed data, or, over TLS, by an
 *                              end of the connection that the server did not announce
 *   ASYNC_EHTTP                what came is not HTTP, is not compressed as it says, has more after
 *                              the compressed data, is longer than it may be, or redirects to what
 *                              is no http(s) URL
 *   ASYNC_ETOOMANYREDIRECTS    more than the session's max_redirects
 *   -EMSGSIZE                  a whole body is larger than the session's max_body
 *   -EOPNOTSUPP                a redirect asks for a body once more that cannot be had again
 *   -ECONNABORTED              the session was closed, or its loop
 *   -ENOMEM
 *   -EIO                       any other failure of the system or of libcurl
 *   -ECANCELED                 the task was cancelled
 *   -EPERM                     outside a task, or in another loop than the session's
 *
 * Limits, in bytes: a URL 65536 (of a redirect too), a method 64, the header lines of a request
 * 262144; an answer's status line or header line 102400, its header lines together 262144, with
 * those of 1xx responses before it and trailers after it, and a trailer line 4096. */
#ifndef CASYNCIO_HTTP_H
#define CASYNCIO_HTTP_H

#include <casyncio/contexts.h>
#include <casyncio/files.h>
#include <casyncio/iterators.h>
#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_http_session async_http_session;
typedef struct async_http_response async_http_response;

/* ---- tracing ---- */

/* What happens to a request, in the order of a simple one. */
enum async_http_trace_event {
    ASYNC_HTTP_TRACE_START,     /* it begins */
    ASYNC_HTTP_TRACE_RESOLVED,  /* the host's or the proxy's address is known */
    ASYNC_HTTP_TRACE_CONNECTED, /* the connection stands */
    ASYNC_HTTP_TRACE_SECURED,   /* TLS has been agreed on */
    ASYNC_HTTP_TRACE_REUSED,    /* in place of these three: a connection that there was */
    ASYNC_HTTP_TRACE_SENDING,   /* the request begins to be sent */
    ASYNC_HTTP_TRACE_SENT,      /* `size` bytes of a body of more than 64 KiB, or of one that comes
                                 * piece by piece, are on their way */
    ASYNC_HTTP_TRACE_HEADERS,   /* an answer's: `status` */
    ASYNC_HTTP_TRACE_CHUNK,     /* `size` bytes of its body, as they came */
    ASYNC_HTTP_TRACE_REDIRECT,  /* the answer leads to `url` */
    ASYNC_HTTP_TRACE_RETRY,     /* it failed with `code`, and will be made again */
    ASYNC_HTTP_TRACE_END,       /* with `code`: 0 or an error; -ECANCELED also if the response was
                                 * freed before its end. The last, once for each START */
};

typedef struct async_http_trace {
    enum async_http_trace_event event;
    double time; /* of the loop's clock (async_now) */
    const char *method, *url;
    int status, code;
    size_t size;
    void *context; /* the request's trace_context */
} async_http_trace;

/* ---- sessions ---- */

typedef struct async_http_session_options {
    /* "Name: value", ..., NULL: for each request that has none of that name. */
    const char *const *headers;
    const char *user_agent; /* NULL: "casyncio/<version>"; "": none is sent */

    /* Seconds, of a request until the end of its body (0: 300), and until its connection stands,
     * the look-up of the name and TLS included (0: 30). INFINITY: no limit. */
    double timeout, connect_timeout;
    /* Names, ..., NULL: headers of a request or of the session that carry secrets. Like
     * Authorization, Cookie and Proxy-Authorization they do not follow a redirect to another origin
     * (scheme, host and port). */
    const char *const *secret_headers;
    int max_redirects;        /* 0: 10 */
    int connections;          /* at once; further requests wait for one; 0: 100; -1: no limit */
    int connections_per_host; /* 0: no limit but the one above */
    size_t max_body;          /* bytes, decoded, of a body that is read as a whole; 0: no limit */

    /* Files in PEM. The CAs (a file, and a directory as c_rehash makes it) stand in for the
     * system's; the certificate and its key are the client's own. */
    const char *ca_file, *ca_path;
    const char *certificate, *key, *key_password;

    const char *proxy; /* for all requests: "http://host:port", "socks5h://..."; NULL: none */

    bool proxy_from_environment; /* heed $http_proxy and so on (aiohttp: trust_env) */
    bool no_cookies;             /* neither keep nor send any */
    bool no_decompress;          /* ask for no compressed bodies, and give what comes as it is */
    bool http2;                  /* speak HTTP/2 with a TLS server that offers it */
    bool insecure_skip_verify;   /* trust any certificate, for any host: for tests */

    /* Seconds in which something must come or go once the request is being sent (aiohttp: sock_read);
     * time in which the program does not take what has come, or gives nothing, does not count. 0: no
     * limit. */
    double read_timeout;
    /* "https://example.org/api/": URLs of requests may be relative to it (RFC 3986, 5.2: "v1/x" leads to
     * /api/v1/x, "/x" to /x). */
    const char *base_url;
    /* How often a request is made again that failed before a line of an answer came: because of the network,
     * the name or the connect_timeout, and only if its method is idempotent or none of it was sent.
     * The first time after retry_delay seconds (0: 0.5), then twice as long each time, up to a minute;
     * all within `timeout`. 0: never. */
    int retries;
    double retry_delay;
    /* Is told what happens to requests. Runs in the loop, in the middle of things: it must not block,
     * nor call what has to do with the session. */
    void (*on_trace)(const async_http_trace *trace, void *data);
    void *trace_data;
} async_http_session_options;

/* A new session in the running loop; `options` may be NULL. All of it is copied. NULL: -ENOMEM,
 * -EINVAL for an option that makes no sense or is longer than a request may have it, -EPERM outside
 * a task. Does not block; nothing is connected yet.
 * aiohttp: ClientSession() */
ASYNC_API async_http_session *async__http_session_new(const async_http_session_options *options,
                                                      size_t options_size);
static inline async_http_session *async_http_session_new(const async_http_session_options *options)
{
    return async__http_session_new(options, sizeof *options);
}

/* Closes all connections, breaks off what is still coming (see above), and frees the session.
 * NULL is fine. Does not block. aiohttp: session.close */
ASYNC_API void async_http_session_free(async_http_session *session);

/* async_with_http_session (session, options) { ... }: declares `async_http_session *session`.
 * C++: ASYNC_WITH_HTTP_SESSION, and so on. */
#define ASYNC_WITH_HTTP_SESSION(session, options)                                                  \
    ASYNC_WITH(async_http_session *, session, async_http_session_new(options),                     \
               async_http_session_free)

/* ---- cookies ----
 *
 * A session keeps the cookies that it is sent (but for no_cookies), and sends them where they belong. Here
 * they are a text in Netscape's format, as curl's --cookie-jar: a line for each, "domain, TRUE|FALSE, path,
 * TRUE|FALSE, expiry, name, value" with tabs between them, "#HttpOnly_" before the domain of those; other
 * lines that begin with # are comments. An expiry of 0 is that of the session. */

/* Adds a text's cookies to the session's: 0; -EINVAL for a line that is none, and then none is added, or if
 * the session keeps none; -ECONNABORTED; -ENOMEM; -EBADF for a session that is NULL. Does not block. */
ASYNC_API int async_http_cookies_load(async_http_session *session, const char *text);

/* The session's cookies, to be freed with free(). NULL: the same errors. Does not block. */
ASYNC_API char *async_http_cookies_save(async_http_session *session);

/* The same from a file and to it, which is read and written in a thread. The file is written as a whole,
 * readable by its owner alone, and takes another one's place. The errors are those above, and the
 * system's, -ENOENT, -EACCES, ...; -EFBIG for more than 16 MiB. These block; a cancellation leaves the
 * cookies, or the file, as they were or as they are to be.
 * aiohttp: CookieJar.load, CookieJar.save */
ASYNC_API int async_http_cookies_load_file(async_http_session *session, const char *path);
ASYNC_API int async_http_cookies_save_file(async_http_session *session, const char *path);

/* Forgets all of them: 0, or a code as above. Does not block. aiohttp: CookieJar.clear */
ASYNC_API int async_http_cookies_clear(async_http_session *session);

/* ---- requests ---- */

typedef struct async_http_request_options {
    const char *url;    /* http:// or https://, or relative to the session's base_url;
                         * user:password@ becomes basic authentication */
    const char *method; /* any token; NULL: "GET" */

    /* "Name: value", ..., NULL. "Name:" suppresses a header that would be sent, "Name;" is sent
     * with no value. */
    const char *const *headers;
    const void *body;
    size_t body_size;
    /* Of the body. NULL: "application/octet-stream", unless `headers` has one. */
    const char *content_type;
    double timeout;    /* seconds; 0: the session's; INFINITY: none */
    bool no_redirects; /* give a redirecting response as it is (aiohttp: allow_redirects=False) */

    /* In place of `body`, one that comes piece by piece while it is sent: an iterator of async_http_chunk
     * (a generator, say), a stream up to its end, or a file from where it is to its end. body_size is
     * its length if that is known: a body with another one is -EINVAL. 0: it is a file's, else it is
     * not known, and the body is sent in chunks. */
    async_iterator *body_iterator;
    async_stream *body_stream;
    async_file *body_file;

    double connect_timeout, read_timeout; /* seconds; 0: the session's; INFINITY: none */
    int retries;                          /* 0: the session's; -1: none */
    void *trace_context;                  /* for on_trace (aiohttp: trace_request_ctx) */
} async_http_request_options;

/* Sends a request, follows redirects, and waits for the headers of the final response. A status
 * of 404 or 500 is no error here: see async_http_raise_for_status.
 *
 * Redirects are the statuses 301, 302, 303, 307 and 308 with a Location; any other response is
 * final. With 301 and 302 POST becomes GET, with 303 every method but GET and HEAD does; then the
 * body and the headers about it are left out. Else the request is repeated as it was. To another
 * origin go no Authorization, Cookie, Proxy-Authorization and Host header, none that the session's
 * secret_headers names, and no user and password of the URL.
 *
 * A connection that was kept open may turn out to have been closed by the server when a request
 * has been sent over it. If the method is idempotent (GET, HEAD, PUT, DELETE, OPTIONS, TRACE) and no
 * part of an answer has come, the request is sent again over another connection. With any other
 * method that is an error, ASYNC_EINCOMPLETE or -ECONNRESET, since the server may have acted on the
 * request. A request with Expect: 100-continue that is answered with 417 before its body was sent is
 * sent again without that header.
 *
 * A body that comes piece by piece is asked for its next piece when the server has taken the one before,
 * and no longer than it is wanted: until an answer of 300 or more has come. An answer below that is given
 * when the body has been sent; the server must not need more than 256 KiB of its own answer to be read
 * before that. The iterator is closed before the call returns, whatever it returns, as async_for does;
 * the stream and the file stay open, where they are then. If asking fails, so does the request, with that
 * code and message. An iterator's or a stream's cannot be sent twice: a redirect that would have it sent
 * again (307, 308) is -EOPNOTSUPP, a connection that ends without an answer ASYNC_EINCOMPLETE. A file that
 * can be sought is sent again from where it was.
 *
 * NULL: see the errors above. If it is cancelled, the transfer is broken off and its connection
 * closed; the server may or may not have seen the request. A `session` that is NULL gives NULL,
 * and the error record stays that of the failed async_http_session_new.
 * aiohttp: session.request */
ASYNC_API async_http_response *async__http_request(async_http_session *session,
                                                   const async_http_request_options *options,
                                                   size_t options_size);
static inline async_http_response *async_http_request(async_http_session *session,
                                                      const async_http_request_options *options)
{
    return async__http_request(session, options, sizeof *options);
}

/* The usual ones. aiohttp: session.get, head, delete, post, put, patch */
ASYNC_API async_http_response *async_http_get(async_http_session *session, const char *url);
ASYNC_API async_http_response *async_http_head(async_http_session *session, const char *url);
ASYNC_API async_http_response *async_http_delete(async_http_session *session, const char *url);
/* content_type NULL: "application/octet-stream". */
ASYNC_API async_http_response *async_http_post(async_http_session *session, const char *url,
                                               const void *body, size_t size,
                                               const char *content_type);
ASYNC_API async_http_response *async_http_put(async_http_session *session, const char *url,
                                              const void *body, size_t size,
                                              const char *content_type);
ASYNC_API async_http_response *async_http_patch(async_http_session *session, const char *url,
                                                const void *body, size_t size,
                                                const char *content_type);

/* A form with files as a body, multipart/form-data, put together in memory: what is added is copied.
 *
 *     async_http_form_data *form = async_http_form_new();
 *     async_http_form_add(form, "name", "Ann");
 *     async_http_form_add_file(form, "photo", "ann.png", "image/png", data, size);
 *     const void *body = async_http_form_body(form, &body_size);
 *     response = async_http_post(session, url, body, body_size, async_http_form_type(form));
 *
 * Once _body has been called nothing can be added; what it gives, and the type, are good until the form is
 * freed. 0 or a code: -ENOMEM, -EINVAL, -EBADF for NULL. None of these blocks. aiohttp: FormData */
typedef struct async_http_form_data async_http_form_data;
ASYNC_API async_http_form_data *async_http_form_new(void);
ASYNC_API void async_http_form_free(async_http_form_data *form);
ASYNC_API int async_http_form_add(async_http_form_data *form, const char *name, const char *value);
/* filename and content_type may be NULL. */
ASYNC_API int async_http_form_add_file(async_http_form_data *form, const char *name,
                                       const char *filename, const char *content_type,
                                       const void *data, size_t size);
ASYNC_API const void *async_http_form_body(async_http_form_data *form, size_t *size);
ASYNC_API const char *async_http_form_type(const async_http_form_data *form);

/* Frees the response. If its body has all come, the connection has gone back to the session
 * already, read or not; if not, the transfer is broken off and the connection closed. NULL is
 * fine. Does not block.
 * aiohttp: response.release, response.close */
ASYNC_API void async_http_response_free(async_http_response *response);

/* async_with_http_get (response, session, url) { ... }
 * declares `async_http_response *response`. */
#define ASYNC_WITH_HTTP_GET(response, session, url)                                                \
    ASYNC_WITH(async_http_response *, response, async_http_get(session, url),                      \
               async_http_response_free)
#define ASYNC_WITH_HTTP_POST(response, session, url, body, size, content_type)                     \
    ASYNC_WITH(async_http_response *, response,                                                    \
               async_http_post(session, url, body, size, content_type), async_http_response_free)
/* async_with_http_request (response, session, .method = "PUT", .url = "...") { ... }
 * with the members of async_http_request_options. In C++ the third argument is a pointer to one. */
#ifndef __cplusplus
#define async_with_http_session(session, options) ASYNC_WITH_HTTP_SESSION(session, options)
#define async_with_http_get(response, session, url) ASYNC_WITH_HTTP_GET(response, session, url)
#define async_with_http_post(response, session, url, body, size, content_type)                     \
    ASYNC_WITH_HTTP_POST(response, session, url, body, size, content_type)
#define async_with_http_request(response, session, ...)                                            \
    ASYNC_WITH(async_http_response *, response,                                                    \
               async_http_request(session, &(async_http_request_options){__VA_ARGS__}),            \
               async_http_response_free)
#else
#define ASYNC_WITH_HTTP_REQUEST(response, session, options)                                        \
    ASYNC_WITH(async_http_response *, response, async_http_request(session, options),              \
               async_http_response_free)
#endif

/* ---- what came: none of these blocks ---- */

/* 200; "OK", or "" with HTTP/2; "1.0", "1.1", "2"; the URL after redirects.
 * aiohttp: response.status, reason, version, url */
ASYNC_API int async_http_status(const async_http_response *response);
ASYNC_API const char *async_http_reason(const async_http_response *response);
ASYNC_API const char *async_http_version(const async_http_response *response);
ASYNC_API const char *async_http_url(const async_http_response *response);

/* The value of the first header of that name, in any case of letters; NULL: there is none.
 * aiohttp: response.headers.get */
ASYNC_API const char *async_http_header(const async_http_response *response, const char *name);

/* The headers in their order, repeated ones too: index 0 to count - 1. false beyond the end.
 * aiohttp: response.headers.items() */
ASYNC_API size_t async_http_header_count(const async_http_response *response);
ASYNC_API bool async_http_header_at(const async_http_response *response, size_t index,
                                    const char **name, const char **value);

/* The value of the first trailer of that name, a header that came behind the body; it is there once the
 * body has been read to its end. NULL: there is none. */
ASYNC_API const char *async_http_trailer(const async_http_response *response, const char *name);

/* The redirects before this response, the first at 0: status, reason, version, URL and headers of each
 * can be asked, and nothing else; they are freed with the response. NULL beyond the end.
 * aiohttp: response.history */
ASYNC_API size_t async_http_history_count(const async_http_response *response);
ASYNC_API const async_http_response *async_http_history_at(const async_http_response *response,
                                                           size_t index);

/* 0 if the status is below 400, else ASYNC_EHTTPSTATUS and a message such as
 * "GET http://.../x: 404 Not Found".
 * aiohttp: raise_for_status */
ASYNC_API int async_http_raise_for_status(const async_http_response *response);

/* ---- bodies: these block ----
 *
 * Bodies that are compressed (Content-Encoding: gzip, deflate, br, zstd; those whose library is
 * there) come decoded. About 256 KiB of a body, decoded, are kept for a task that does not read;
 * then the server has to wait. A call that is cancelled or timed out loses nothing: it may be
 * repeated (in a shield, say). */

/* Waits for the end of the body and gives all of it (but for chunks that were taken before),
 * followed by a 0 byte that does not count; the same again when called again. *size (may be
 * NULL) is its length. NULL: see the errors above; for a `response` that is NULL the error record
 * stays that of the failed request: this holds for all three.
 * aiohttp: response.read */
ASYNC_API const void *async_http_read(async_http_response *response, size_t *size);

/* The same, as a string. Never NULL: if the body cannot be read it is "", and the error one that
 * was not reported: async_block_error gives it; if the task does not ask, it becomes the task's
 * result.
 * aiohttp: response.text, without decoding: the bytes are as the server sent them */
ASYNC_API const char *async_http_text(async_http_response *response);

/* Good until the next one is asked for, the loop is left, or the response is closed. */
typedef struct async_http_chunk {
    const char *data;
    size_t size; /* 1 or more */
} async_http_chunk;

/* async_for (async_http_chunk, chunk, async_http_chunks(response)) { ... }
 * gives the body as it arrives. A chunk is what has come since the last one; where the pieces
 * end means nothing. A body that is cut short gives what came, and then the error. After a loop
 * that was left early another one goes on where it stopped; after async_http_read there is
 * nothing left.
 * aiohttp: response.content.iter_any() */
ASYNC_API async_iterator *async_http_chunks(async_http_response *response);

/* ---- names of 0.1: they still work, and warn ---- */

__attribute__((deprecated("it is called async_http_session_free now"))) static inline void
async_http_session_close(async_http_session *session)
{
    async_http_session_free(session);
}

__attribute__((deprecated("it is called async_http_response_free now"))) static inline void
async_http_response_close(async_http_response *response)
{
    async_http_response_free(response);
}

ASYNC_END
#endif
