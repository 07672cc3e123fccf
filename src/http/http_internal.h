/* http_internal.h - the HTTP client from the inside.
 *
 *   session.c      options, the pool of responses, closing
 *   driver.c       how one CURLM sits on the loop: sockets, timers, what has finished
 *   request.c      a request's options become a curl handle's; waits for the headers
 *   receive.c      what curl hands over: header lines and pieces of the body
 *   response.c     what the user asks of a response
 *   curl_errors.c  CURLcodes as casyncio's codes, and the messages
 *
 * The library stands on the public headers alone (and on src/base, compiled into it), since it
 * is a shared library of its own.
 *
 * curl's callbacks run inside of its functions and must not call back into the CURLM; they only
 * change the response and set its event. What has to be done to the CURLM as a consequence is
 * done by the session's kick, from the loop. */
#ifndef CASYNCIO_HTTP_INTERNAL_H
#define CASYNCIO_HTTP_INTERNAL_H

#include "../base/faults.h"
#include "../base/memory.h"

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

#define ASYNC__HTTP_KEPT (256 * 1024) /* bytes of body kept before the server has to wait */
#define ASYNC__HTTP_HEADERS_MAX (256 * 1024)
#define ASYNC__HTTP_SMALL_BODY (64 * 1024)     /* a request's, copied and sent with its headers */
#define ASYNC__HTTP_RECYCLED (4 * 1024 * 1024) /* bytes of buffers in a session's pool */

#define ASYNC__HTTP_TOO_LARGE "the body is larger than the session's max_body"

#define async__http_container(pointer, type, member)                                               \
    ((type *)((char *)(pointer)-offsetof(type, member)))

struct async__http_buffer {
    char *data;
    size_t length, capacity;
};

/* A descriptor of curl's, or a number that was one. */
struct async__http_socket {
    async_watch watch[2]; /* to read, to write */
    async_http_session *session;
    bool watched; /* curl is interested in it */
};

struct async_http_session {
    async_loop *loop;
    CURLM *multi;
    CURLSH *share; /* cookies and TLS sessions, for all handles */
    CURL *model;   /* has the session's options; each response's handle begins as a copy of it */
    struct curl_slist *headers;
    async_timer timer;   /* curl's */
    async_callback kick; /* something is to be done to the CURLM, soon */
    bool attention;      /* a response waits for the kick: with its `doom` or `poke` set */
    struct async__http_socket **sockets; /* by descriptor */
    int sockets_length;
    async_http_response *open; /* those that the user has */
    async_http_response *pool; /* closed, to be used again */
    int pooled, pool_max;
    size_t pooled_bytes; /* of bodies' buffers */
    double timeout;
    size_t max_body;
    bool cookies;
};

struct async_http_response {
    async_http_session *session; /* NULL once that is closed */
    async_http_response *next, *previous;
    CURL *easy;
    async_event changed; /* something came, or it has finished */
    async_timer timeout;
    async_iterator chunks;

    bool running;  /* in the CURLM */
    bool finished; /* with `code`: 0, or why there is no more */
    bool headers_done;
    bool paused; /* curl holds a piece back until there is room */
    bool poke;   /* curl is to be made to run it */
    bool whole;  /* the user wants all of the body at once */
    bool plain;  /* the handle is set for a plain GET */
    bool follow;
    bool receiving; /* between the status line and the empty line of a header block */
    int code;
    int doom;        /* the code that it is to be ended with, whatever curl says */
    const char *why; /* and the words for it, or NULL */
    int socket_code; /* why no socket could be made, if no address can be connected to */

    int status;
    char version[8];
    char method[24];                 /* for messages: cut off */
    struct async__http_buffer heads; /* "reason\0name\0value\0..." */
    struct async__http_buffer index; /* of uint32_t: where each name begins */
    uint64_t content_length;
    bool redirects; /* the block has a Location */
    bool is_header; /* the last line was a header that is kept */

    struct async__http_buffer filling; /* the body as it comes */
    struct async__http_buffer held;    /* the chunk that the user has */

    /* A large request body: the caller's; once the call has returned, a copy from upload_from on. */
    const char *upload;
    char *upload_copy;
    size_t upload_size, upload_at, upload_from;

    char detail[CURL_ERROR_SIZE];
};

/* ---- session.c ---- */

async_http_response *async__http_response_take(async_http_session *session);
void async__http_response_free(async_http_response *response);
/* 0 seconds is `otherwise`; -EINVAL for what is negative or no number. */
int async__http_seconds(double seconds, double otherwise, double *result);
bool async__http_header_ok(const char *line);

/* ---- driver.c ---- */

CURLMcode async__http_driver_open(async_http_session *session);
void async__http_driver_close(async_http_session *session); /* after the CURLM's clean-up */
void async__http_driver_setup(CURL *easy, async_http_session *session);
curl_socket_t async__http_open_socket(void *response, curlsocktype purpose,
                                      struct curl_sockaddr *address);
/* Ends the transfer, whatever it is at, and wakes who waits for it. Not from inside of curl. */
void async__http_finish(async_http_response *response, int code);

/* ---- receive.c ---- */

size_t async__http_on_header(char *line, size_t size, size_t count, void *response);
size_t async__http_on_body(char *data, size_t size, size_t count, void *response);
size_t async__http_on_upload(char *data, size_t size, size_t count, void *response);
int async__http_on_rewind(void *response, curl_off_t offset, int origin);
int async__http_reserve(struct async__http_buffer *buffer,
                        size_t size); /* as many more; or -ENOMEM */

/* ---- response.c ---- */

int async__http_next_chunk(async_iterator *self, void *value);
int async__http_wait(async_http_response *response); /* for the next change; blocks */

/* ---- curl_errors.c ---- */

/* What curl's result comes to; sees to the response's detail. */
int async__http_code(async_http_response *response, CURLcode result);
/* Raises it: "GET http://host/: Connection refused (Failed to connect to ...)", the latter
 * unless it is NULL or "". Gives the code back. */
int async__http_raise_for(const char *method, const char *url, int code, const char *text,
                          const char *detail);
int async__http_raise(const async_http_response *response, int code);
void async__http_detail(async_http_response *response, const char *format, ...) ASYNC_PRINTF(2, 3);

#endif
