/* http2_internal.h - HTTP/2, on nghttp2: what its files share.
 *
 * From below: request.c (a stream's head becomes a request), stream.c (its framing: body and answer),
 * frames.c (what nghttp2 tells of frames that have come), session.c (a connection: reading, sending, its
 * end). */
#ifndef CASYNCIO_HTTP2_INTERNAL_H
#define CASYNCIO_HTTP2_INTERNAL_H

#include "../server_internal.h"

#include <casyncio/sync.h>
#include <casyncio/tasks.h>

#include <nghttp2/nghttp2.h>

#define ASYNC__HTTP2_PIECE 65536 /* bytes that have to be taken within write_timeout */

/* A client may send frames that carry nothing, at no cost to it: each takes so many tokens of a bucket, and
 * an empty bucket ends the connection. A frame of data that it is sent gives some back, since a client
 * answers it with frames that open its window. */
#define ASYNC__HTTP2_TOKENS 1000.0
#define ASYNC__HTTP2_TOKENS_A_SECOND 200.0
#define ASYNC__HTTP2_RESET_TOKENS 10.0 /* of a stream that is reset, or refused */
#define ASYNC__HTTP2_DATA_TOKENS 4.0

enum async__http2_pseudo {
    ASYNC__HTTP2_METHOD,
    ASYNC__HTTP2_PATH,
    ASYNC__HTTP2_AUTHORITY,
    ASYNC__HTTP2_PSEUDOS
};

enum { ASYNC__HTTP2_NAMES = 16 }; /* headers of an answer that need no memory of their own */

struct async__http2_list { /* of headers */
    nghttp2_nv *at;
    size_t count;
};

struct async__http2_stream {
    struct async__http2 *http2;
    struct async__http2_stream *next, *previous;
    struct async_http_request *request;
    int32_t id;
    bool has_task;
    bool closed;         /* nghttp2 has forgotten it: reset, or done */
    async_scope scope;   /* around its task */
    async_event changed; /* there is more of the body, or a piece has been taken, or it is closed */

    /* The head: until it is whole its strings are offsets in the request's head_bytes. */
    size_t pseudo[ASYNC__HTTP2_PSEUDOS]; /* offset + 1; 0: there is none */
    size_t head_size;                    /* as RFC 9113, 6.5.2 counts it; also of the trailer */
    int status;                          /* that refuses it; 0 */

    struct async__buffer in; /* of the body, and what nghttp2 has not been told to be consumed */
    bool in_done;

    nghttp2_nv names[ASYNC__HTTP2_NAMES];
    struct async__http2_list head;     /* of the answer, until it is submitted */
    struct async__http2_list trailers; /* once its end is to be sent */
    char number[2][24];                /* the status and the length in it */
    const char *data;                  /* of the piece that is being sent */
    size_t left;
    bool last, waits; /* it is the last; the piece, or the end, has not been taken */
};

struct async__http2 {
    struct async__http_connection *connection;
    nghttp2_session *session;
    async_group *group; /* the streams' tasks, and the writer */
    struct async__http2_stream *streams;
    int live;              /* how many */
    double idle_since;     /* while there are none */
    double head_since;     /* a header block is not whole; 0 */
    double stopping_since; /* 0 */
    double tokens, tokens_at;
    int32_t last_id; /* of the streams that have been opened; which of those before have: bits */
    uint64_t opened;

    bool ping_due;        /* once it has been told that there is to be an end */
    bool last_due;        /* it has seen that: now it is told which stream was the last */
    bool reading;         /* the connection's task is, in connection->wait */
    bool broken;          /* nothing can be sent any more */
    bool terminated;      /* it is not to go on: a GOAWAY says why */
    bool writing;         /* the writer waits for the client to take what has been sent */
    async_event written;  /* it does not any more */
    async_callback flush; /* queued while there may be something to send */
    struct async__buffer out;
    char piece[16384]; /* that has been read */
};

/* ---- request.c ---- */

/* A header, or a pseudo-header, of the request: 0 or -ENOMEM. */
int async__http2_add_header(struct async__http2_stream *stream, const char *name, size_t name_size,
                            const char *value, size_t value_size);
int async__http2_add_trailer(struct async__http2_stream *stream, const char *name, size_t name_size,
                             const char *value, size_t value_size);
/* The head is whole, and `ends` if there is no body: the status that refuses it, or 0. */
int async__http2_end_head(struct async__http2_stream *stream, bool ends);

/* ---- stream.c ---- */

extern const struct async__http_framing async__http2_framing;
/* NULL: no memory, which has been raised. */
struct async__http2_stream *async__http2_stream_new(struct async__http2 *http2, int32_t id);
void async__http2_stream_free(struct async__http2_stream *stream);
/* Its task: has the request answered, and frees it. */
int async__http2_stream_run(void *stream);

/* ---- frames.c ---- */

/* 0 or NGHTTP2_ERR_NOMEM. */
int async__http2_set_callbacks(nghttp2_session_callbacks **callbacks);

/* ---- session.c ---- */

/* Has what there is to be sent be sent, once those that are ready have run. */
void async__http2_flush_soon(struct async__http2 *http2);
/* The number of streams, or a header block, has changed. */
void async__http2_set_deadline(struct async__http2 *http2);
/* Takes tokens, or gives some: false, there are none left, and the connection ends. */
bool async__http2_charge(struct async__http2 *http2, double tokens);
/* The client has gone too far, or the connection's time is over: it is told so, and what runs ends. */
void async__http2_terminate(struct async__http2 *http2, uint32_t error);
/* The client has seen that no more streams are to be opened. */
void async__http2_notice_seen(struct async__http2 *http2);

#endif
