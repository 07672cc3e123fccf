/* http_internal.h - the HTTP client from the inside.
 *
 *   session.c      options, the pool of responses, closing
 *   driver.c       how one CURLM sits on the loop: sockets, timers, what has finished
 *   request.c      a request's options become a curl handle's; waits for the headers
 *   upload.c       bodies of requests that come piece by piece
 *   redirect.c     where a redirect leads, and what the next request keeps of the last one
 *   receive.c      what curl hands over: header lines and pieces of the body
 *   codings.c      content codings
 *   tls_end.c      whether a TLS connection was ended, or cut off
 *   retry.c        which requests that failed are made again, and when
 *   trace.c        what a session's on_trace is told
 *   cookies.c      cookies as a text, and in a file
 *   response.c     what the user asks of a response
 *   curl_errors.c  CURLcodes as casyncio's codes, and the messages
 *
 * The library stands on the public headers alone (and on src/base, compiled into it), since it
 * is a shared library of its own.
 *
 * curl's callbacks run inside of its functions and must not call back into the CURLM. They only
 * change the response and set its event; work on the CURLM that follows from them is left to
 * session->deferred, a callback of the loop. */
#ifndef CASYNCIO_HTTP_INTERNAL_H
#define CASYNCIO_HTTP_INTERNAL_H

#include "../base/buffer.h"
#include "../base/container.h"
#include "../base/faults.h"
#include "../base/memory.h"
#include "../base/options.h"

#include <casyncio/debug.h>
#include <casyncio/futures.h>
#include <casyncio/http.h>
#include <casyncio/loop.h>
#include <casyncio/sync.h>
#include <curl/curl.h>

/* 7.85: PROTOCOLS_STR. 7.87: QUICK_EXIT (without it, to cancel a request that is looking up a
 * name waits for the look-up), and TLS writes that raise no SIGPIPE (before that only without
 * NOSIGNAL, two system calls a step). */
#if LIBCURL_VERSION_NUM < 0x075700
#error "libcasyncio-http needs libcurl 7.87 or later"
#endif

#define ASYNC__HTTP_KEPT (256 * 1024)        /* bytes of body kept before the server has to wait */
#define ASYNC__HTTP_HEADERS_MAX (256 * 1024) /* bytes of all header lines of one answer */
#define ASYNC__HTTP_REQUEST_MAX (256 * 1024) /* bytes of a request's header lines */
#define ASYNC__HTTP_LINE_MAX (100 * 1024)    /* a header line, by libcurl's CURL_MAX_HTTP_HEADER */
#define ASYNC__HTTP_CONNECT_LINE_MAX 16384   /* of a proxy, by its DYN_PROXY_CONNECT_HEADERS */
#define ASYNC__HTTP_TRAILER_MAX 4096         /* a trailer line, by libcurl's DYN_H1_TRAILER */
#define ASYNC__HTTP_URL_MAX (64 * 1024)
#define ASYNC__HTTP_DISCARDED (64 * 1024)      /* bytes of a redirect's body that are read */
#define ASYNC__HTTP_SMALL_BODY (64 * 1024)     /* a request's, copied and sent with its headers */
#define ASYNC__HTTP_RECYCLED (4 * 1024 * 1024) /* bytes of buffers in a session's pool */

#define ASYNC__HTTP_TOO_LARGE "the body is larger than the session's max_body"
#define ASYNC__HTTP_MET_ITSELF "there is no listener: the connection met itself"

/* A descriptor of curl's, or a number that was one. */
struct async__http_socket {
    async_watch watch[2]; /* to read, to write */
    async_http_session *session;
    const async_http_response *opener; /* the response that it was opened for, if that is there */
    bool watched;                      /* curl is interested in it, or it is idle */
    bool own;    /* made by async__http_open_socket, so that its close is announced */
    bool idle;   /* its connection is in curl's pool, waiting for a request */
    bool http2;  /* what its connection speaks */
    bool padded; /* its SO_RCVLOWAT has been raised */
};

struct async__http_decoder; /* codings.c */

struct async_http_session {
    async_loop *loop; /* NULL once that is closed */
    async_callback loop_closed;
    CURLM *multi;
    CURLSH *share; /* cookies and TLS sessions, for all handles */
    CURL *model;   /* has the session's options; each response's handle begins as a copy of it */
    struct curl_slist *headers;
    async_timer timer;                   /* curl's */
    async_callback deferred;             /* runs curl, and what is left to it */
    bool work_deferred;                  /* a response is to be ended (`failure`) or run (`due`) */
    struct async__http_socket **sockets; /* by descriptor */
    int sockets_length;
    async_http_response *open; /* those that the user has */
    async_http_response *pool; /* closed, to be used again */
    int pooled, pool_max;
    size_t pooled_bytes; /* of bodies' buffers */
    double timeout, connect_timeout, read_timeout, retry_delay;
    int retries;
    char *base_url;
    void (*on_trace)(const async_http_trace *trace, void *data);
    void *trace_data;
    size_t max_body;
    int max_redirects;
    struct curl_slist *secret_headers; /* names */
    bool cookies, decompress;
};

/* A request's body that comes piece by piece. It lies in the frame of the call. */
struct async__http_upload {
    async_iterator *iterator; /* one of these */
    async_stream *stream;
    async_file *file;
    int64_t length;     /* -1: it is not known */
    int64_t again_from; /* where it begins in the file; negative: it cannot be sent twice */
    uint64_t taken;     /* bytes, so far */
    bool ended;
    bool rewind; /* the file, before it is read */
    char *buffer;
};

/* Header lines: name\0value\0 each, in `text`, where a head's begins with reason\0; and where each of
 * the names begins, in `index`, as uint32_t. */
struct async__http_lines {
    struct async__buffer text, index;
};

static inline void async__http_lines_clear(struct async__http_lines *self)
{
    self->text.end = self->index.end = 0;
}

static inline size_t async__http_lines_room(const struct async__http_lines *self)
{
    return self->text.capacity + self->index.capacity;
}

static inline void async__http_lines_free(struct async__http_lines *self)
{
    async__buffer_free(&self->text);
    async__buffer_free(&self->index);
}

struct async_http_response {
    async_http_session *session; /* NULL once that is closed */
    async_http_response *next, *previous;
    CURL *easy;
    async_event changed; /* something came, or it has finished */
    async_timer timeout;
    async_timer read_timer;         /* for read_timeout */
    double read_timeout, last_read; /* seconds; the loop's time when something last came or went */
    double connect_timeout;         /* that its handle has */
    async_iterator chunks;

    bool running;  /* in the CURLM */
    bool finished; /* with `code`: 0, or why there is no more */
    bool headers_done;
    bool paused; /* curl holds a piece back until there is room */
    bool due;    /* curl is to be made to run it */
    bool whole;  /* the user wants all of the body at once */
    bool plain;  /* the handle is set for a plain GET */
    bool follow;
    bool receiving;  /* between the status line and the empty line of a header block */
    bool redirected; /* the answer is a redirect that is followed; its body is discarded */
    bool expects;    /* the user's headers have Expect: 100-continue */
    bool refused;    /* and the answer was 417 */
    bool again;      /* upon which the request is to be sent again, without that header */
    bool repeatable; /* the method is idempotent: it may be sent again (RFC 9110, 9.2.2) */
    int code;
    int failure;     /* the code that it is to be ended with, whatever curl says */
    int socket_code; /* why no socket could be made, if no address can be connected to */
    int sends;       /* how often the request began to be sent */
    long sent;       /* bytes of it when it last began to be sent */

    int status;
    char version[8];
    char method[24]; /* for messages: cut off */
    struct async__http_lines head, trailers;
    size_t header_bytes; /* of all lines so far, those of 1xx and trailers too */
    uint64_t content_length;
    size_t location;  /* where the value of the first Location is in head.text; 0: there is none */
    bool is_header;   /* the last line was a header that is kept */
    bool has_length;  /* the body has one, or comes in chunks */
    bool until_close; /* the body ends with its TLS connection */
    bool cut_off;     /* which has not been ended by the server, as far as is known */
    bool met_itself;  /* the connection */

    size_t discarded;                    /* bytes of a redirect's body */
    uint64_t body_bytes;                 /* received, as they came */
    struct async__http_decoder *decoder; /* NULL: the body is not coded */
    struct async__buffer filling;        /* the body as it comes */
    struct async__buffer held;           /* the chunk that the user has */

    /* A large request body: the caller's; once the call has returned, a copy from upload_from on. */
    const char *upload;
    char *upload_copy;
    size_t upload_size, upload_at, upload_from;
    /* A body that comes piece by piece: `upload` is its piece. */
    struct async__http_upload *source; /* while the call is under way */
    bool streamed;                     /* it is one */
    bool hungry;                       /* curl has paused, and waits for a piece */
    bool upload_ended;                 /* there is none */
    async_scope *interrupt; /* in which the call waits for something other than `changed` */

    int retries, tried; /* that are left, and that were used up */
    bool again_later;   /* it is made again, after a while */

    bool traced; /* what happens is told */
    bool connection_traced;
    double transfer_began; /* the loop's time */
    void *trace_context;

    async_http_response *history; /* the redirects before, the last first: heads and nothing else */
    char *own_url;                /* of those */

    char detail[CURL_ERROR_SIZE];     /* what exactly was wrong, in words */
    char curl_error[CURL_ERROR_SIZE]; /* what curl says of it */
};

/* What a request is at the moment: redirects change it. */
struct async__http_request {
    const async_http_request_options *options;
    const char *method;
    const char *first_url;
    char *url;                         /* of a redirect, curl's to free; NULL: the first */
    struct async__http_upload *upload; /* NULL: the body is in memory */
    char *user, *password; /* those of the URL, for redirects within its origin; curl's to free */
    bool with_body;
    bool became_get;     /* headers about the body are left out */
    bool no_expectation; /* Expect is left out */
    bool left_origin;    /* secrets are left out */
    int redirects;
};

/* ---- session.c ---- */

async_http_response *async__http_response_take(async_http_session *session);
void async__http_response_free(async_http_response *response);
/* 0 seconds is `otherwise`; -EINVAL for what is negative or no number. */
int async__http_seconds(double seconds, double otherwise, double *result);
CURLcode async__http_set_connect_timeout(CURL *easy, double seconds);
bool async__http_header_ok(const char *line);

/* ---- driver.c ---- */

CURLMcode async__http_driver_open(async_http_session *session);
void async__http_driver_close(async_http_session *session); /* after the CURLM's clean-up */
void async__http_driver_setup(CURL *easy, async_http_session *session);
/* Takes the transfer out of the CURLM. Not from inside of curl. */
void async__http_stop(async_http_response *response);
/* Ends the response, whatever it is at, and wakes the task that waits for it. Not from inside of
 * curl. */
void async__http_finish(async_http_response *response, int code);

bool async__http_met_itself(const async_http_response *response); /* a connection that failed */

/* Something has come or gone, or may come from now on. */
void async__http_progress(async_http_response *response);
/* Has curl run the transfer soon: also from inside of curl. */
void async__http_run_soon(async_http_response *response);

/* ---- upload.c ---- */

int async__http_upload_open(struct async__http_upload *self,
                            const async_http_request_options *options); /* 0, a code, raised */
void async__http_close_iterator(async_iterator *iterator);              /* which may be NULL */
void async__http_upload_close(struct async__http_upload *self);
/* Whether it can be sent from its beginning, as it is to be then. Does not block. */
bool async__http_upload_rewind(struct async__http_upload *self);
/* Whether the call has to go on for the body's sake. */
bool async__http_upload_wanted(const async_http_response *response);
/* Gets the next piece for curl, and waits for it: 0, or a code, raised. */
int async__http_upload_feed(async_http_response *response);

/* ---- retry.c ---- */

bool async__http_may_retry(const async_http_response *response, int code);
int async__http_wait_to_retry(async_http_response *response); /* 0, a code */

/* ---- trace.c ---- */

struct async__http_traced {
    double time;     /* 0: now */
    const char *url; /* NULL: the response's */
    int code;
    size_t size;
};

/* `what` may be NULL. */
void async__http_trace(const async_http_response *response, enum async_http_trace_event event,
                       const struct async__http_traced *what);
void async__http_trace_connection(async_http_response *response);

/* ---- redirect.c ---- */

bool async__http_is_url(const char *text); /* begins with http:// or https:// */
/* What a relative URL leads to from another one: 0 and *url, curl's to free; a code, and *why. */
int async__http_resolve(const char *base, const char *relative, char **url, const char **why);
bool async__http_is_redirect(int status);
/* Makes the request the one that the response's redirect asks for: 0, or a code, raised. */
int async__http_follow(async_http_response *response, struct async__http_request *request);
void async__http_forget_history(async_http_response *response);
/* Whether a header line of the user's belongs into the request as it is now. */
bool async__http_keeps_header(const async_http_session *session,
                              const struct async__http_request *request, const char *line);

/* ---- receive.c ---- */

void async__http_receive_setup(CURL *easy);
/* Decodes what has come already, as far as there is room. */
void async__http_decode(async_http_response *response);

/* ---- codings.c ---- */

void async__http_load_codings(void);           /* once, before the others */
const char *async__http_accept_encoding(void); /* the header line */
/* Adds what a Content-Encoding lists: 0, -ENOMEM, or ASYNC_EHTTP with the response's detail. */
int async__http_decoder_add(struct async__http_decoder **decoder, const char *list,
                            async_http_response *response);
void async__http_decoder_free(struct async__http_decoder *decoder);
/* The next CURL_MAX_WRITE_SIZE bytes or less of what has been received. They are not copied: before
 * they go, async__http_decoder_keep copies those that are left. Only when nothing is pending. */
void async__http_decoder_give(struct async__http_decoder *decoder, const char *data, size_t size);
void async__http_decoder_keep(struct async__http_decoder *decoder);
/* Decoded bytes: how many; 0 if more input is needed; or a code, with the response's detail. */
ssize_t async__http_decoder_draw(struct async__http_decoder *decoder, char *out, size_t size,
                                 async_http_response *response);
bool async__http_decoder_pending(const struct async__http_decoder *decoder); /* draw gives more */
/* Whether what was received ends where it may; if not, with the response's detail. */
bool async__http_decoder_complete(const struct async__http_decoder *decoder,
                                  async_http_response *response);

/* ---- tls_end.c ---- */

void async__http_load_tls(void); /* once, before the others */
/* Has the response's `cut_off` set if its TLS connection ends without a close_notify. */
void async__http_watch_tls_end(async_http_response *response, bool watch);

/* ---- response.c ---- */

int async__http_next_chunk(async_iterator *self, void *value);
int async__http_wait(async_http_response *response); /* for the next change; blocks */

/* ---- curl_errors.c ---- */

/* What curl's result comes to; sees to the response's detail. */
int async__http_code(async_http_response *response, CURLcode result);
/* The code for an errno of the system's among those that http.h lists. */
int async__http_code_of_errno(int error);
/* The code of the system's error that curl has told of, or 0. */
int async__http_code_of_curl(const async_http_response *response);
/* Raises it: "GET http://host/: Connection refused (Failed to connect to ...)", the latter
 * unless it is NULL or "". Gives the code back. */
int async__http_raise_for(const char *method, const char *url, int code, const char *text,
                          const char *detail);
int async__http_raise(const async_http_response *response, int code);
/* For a handle that is NULL: the error is that of what should have made it, raised again. */
void async__http_null(const char *what);
void async__http_detail(async_http_response *response, const char *format, ...) ASYNC_PRINTF(2, 3);

#endif
