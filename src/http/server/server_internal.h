/* server_internal.h - the HTTP server's structs and the functions that its files share.
 *
 * From below: guard.c (what is refused before it is parsed), parser.c (llhttp), head.c (what a head
 * says of its message), http1.c and http1_body.c (the framing of HTTP/1), body.c (a request's body),
 * respond.c (answers), routes.c (what answers), connection.c (from the first byte to the last),
 * server.c (making, serving, ending).
 *
 * A request is what handlers know. How its body and its answer lie in the connection's bytes is a
 * framing, which body.c, respond.c and files.c call. */
#ifndef CASYNCIO_HTTP_SERVER_INTERNAL_H
#define CASYNCIO_HTTP_SERVER_INTERNAL_H

#include <casyncio/filters.h>
#include <casyncio/http_server.h>
#include <casyncio/loop.h>

#include "../../base/buffer.h"
#include "../../base/memory.h"
#include "../../base/options.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define ASYNC__HTTP_LINE_MAX 256     /* of a chunk's size and extensions */
#define ASYNC__HTTP_EXTENSIONS 16384 /* bytes of chunk extensions of a body */
#define ASYNC__HTTP_KEEP 65536 /* a buffer that is larger is freed and not kept for the next */
#define ASYNC__HTTP_PARAMS 16  /* of a pattern */

/* ---- guard.c ---- */

/* What the bytes of a head have been found to be so far. All zeros at its beginning. */
struct async__http_guard {
    size_t checked; /* bytes of whole lines that are in order */
    int lines;      /* of the head, the request line included; an empty line before it is none */
    bool blank;     /* there was such an empty line */
};

/* Checks the lines that are whole: the size of the head once it is, 0 while it is not, or the negative
 * of the status that refuses it, with the reason. */
ssize_t async__http_guard_head(struct async__http_guard *guard, const char *data, size_t size,
                               const char **why);
/* The same for the lines of a trailer. */
ssize_t async__http_guard_trailer(struct async__http_guard *guard, const char *data, size_t size,
                                  const char **why);
/* A line "1a;extension\r\n": how many of its bytes are the size in hexadecimal; 0: it is malformed. */
size_t async__http_guard_chunk(const char *line, size_t size);

/* The size of the host in "host" or "host:port"; -1: it is neither. */
ssize_t async__http_guard_host(const char *text, size_t size);

bool async__http_is_token(const char *text);
bool async__http_is_value(
    const char *text); /* neither CR, LF nor another control character but HTAB */

/* ---- parser.c ---- */

struct async__http_field {
    char *name, *value;
};

struct async__http_fields {
    struct async__http_field *at;
    int count, capacity;
};

typedef struct async__http_parser async__http_parser;

/* What a head says, each string in the head's own bytes, with a 0 behind it. */
struct async__http_head {
    const char *method, *target;
    int minor; /* of HTTP/1 */
    struct async__http_fields fields;
};

async__http_parser *async__http_parser_new(void); /* NULL: no memory */
void async__http_parser_free(async__http_parser *parser);
/* Parses a head that the guard has let through, and cuts it to strings: 0, or a status. */
int async__http_parse_head(async__http_parser *parser, struct async__http_head *head, char *data,
                           size_t size, const char **why);
uint64_t async__http_parser_length(const async__http_parser *parser); /* of Content-Length */
bool async__http_parser_chunked(const async__http_parser *parser);
/* The line of a chunk's size, without extensions: 0 and *size; false: malformed. */
bool async__http_parse_chunk(async__http_parser *parser, const char *digits, size_t count,
                             uint64_t *size);
/* Data of a chunk, or the line's end behind it. */
bool async__http_parse_data(async__http_parser *parser, const char *data, size_t size);
/* The whole of a trailer, cut to strings as a head. */
bool async__http_parse_trailer(async__http_parser *parser, struct async__http_fields *fields,
                               char *data, size_t size);

char *async__http_field(const struct async__http_fields *fields, const char *name);
/* Whether the text begins with the prefix, and whether two texts are the same, but for the case of ASCII
 * letters: whatever the locale, which strcasecmp asks. No byte behind the prefix is read. */
bool async__http_begins(const char *text, const char *prefix);
bool async__http_same(const char *a, const char *b);
/* Most names differ in their first letter. */
static inline bool async__http_same_name(const char *a, const char *b)
{
    return ((*a ^ *b) & ~32) == 0 && async__http_same(a, b);
}

/* ---- requests ---- */

enum async__http_body { ASYNC__HTTP_NO_BODY, ASYNC__HTTP_LENGTH, ASYNC__HTTP_CHUNKS };

enum async__http_chunk {
    ASYNC__HTTP_CHUNK_SIZE,
    ASYNC__HTTP_CHUNK_DATA,
    ASYNC__HTTP_CHUNK_END,
    ASYNC__HTTP_TRAILER,
};

enum async__http_answer {
    ASYNC__HTTP_UNANSWERED,
    ASYNC__HTTP_SENDING, /* the head has been sent, and the body is not whole */
    ASYNC__HTTP_ANSWERED,
    ASYNC__HTTP_BROKEN,   /* the answer cannot be made whole any more */
    ASYNC__HTTP_UPGRADED, /* the stream is the handler's */
};

struct async__http_pair {
    const char *name, *value;
};

struct async__http_block { /* of memory that lives as long as the request */
    struct async__http_block *next;
    max_align_t data[];
};

struct async__http_connection;
struct async_http_request;

/* How a request's body and its answer lie in the connection's bytes. Codes are raised, unless it says
 * otherwise. */
struct async__http_framing {
    const char *version; /* NULL: head.minor has it */
    /* Puts the head of the answer together, whose status is known: 0 or -ENOMEM, not raised. */
    int (*head)(struct async_http_request *request, const char *content_type, int64_t length);
    /* Sends the head, if it has not been, and a piece of the body, or none; `last`: with its end. */
    int (*send)(struct async_http_request *request, const void *data, size_t size, bool last);
    /* A part of a file as a piece of the body. */
    int (*send_file)(struct async_http_request *request, int fd, int64_t from, int64_t size);
    /* Tells the client to send the body. */
    int (*go_on)(struct async_http_request *request);
    /* Waits for something of the body, which has not ended: how much; 0: it has; a code. */
    ssize_t (*recv)(struct async_http_request *request, void *buffer, size_t size);
};

/* It is kept for the next request when it has been answered, with its buffers. */
struct async_http_request {
    /* What is kept; what follows, up to `params`, is 0 at a request's beginning. */
    async__http_parser *parser;
    struct async__http_field *fields; /* room for those of the head: max_headers */
    struct async__buffer head_bytes;
    struct async__buffer whole;           /* the body as read as a whole */
    struct async__buffer extra;           /* header lines of the handler's */
    struct async__buffer answer_trailers; /* and lines that follow the body */
    struct async__buffer out;

    struct async_http_request *next; /* among those that are not used */
    async_http_server *server;
    struct async__http_connection *connection;
    const struct async__http_framing *framing;
    struct async__http2_stream *stream; /* HTTP/2's */
    void *data;                         /* the user's */

    struct async__http_guard guard;
    struct async__http_head head;
    bool is_head, keep_alive, expects, close;
    bool form_read;
    bool is_whole; /* the body is in `whole` */
    int param_count;
    const char *path, *query, *host; /* query: undecoded, NULL: there is none */
    const struct async__http_route *route;
    size_t next_handler; /* of the middlewares */
    char *form;

    enum async__http_body body;
    enum async__http_chunk chunk;
    uint64_t body_left; /* of the body, or of the chunk */
    uint64_t body_bytes, max_body;
    size_t extensions;
    bool body_begun, body_done;
    int body_code;   /* the failure that lasts */
    int body_status; /* and the status that it is answered with; 0: there is no point */
    double body_since;
    struct async__http_multipart *multipart; /* the body as a form with files */
    struct async__http_fields trailers;

    enum async__http_answer answer;
    int status;
    bool until_close, chunked;     /* how the body of the answer ends */
    bool compress;                 /* the handler asks for it */
    struct async__http_gzip *gzip; /* it is done */
    bool no_body;                  /* none is sent, whatever the handler gives */
    int64_t left;                  /* of a body of known length */
    uint64_t sent;                 /* bytes of the body */

    double began; /* the loop's time */
    struct async__http_block *blocks;
    size_t room; /* left in `memory` */

    struct async__http_pair params[ASYNC__HTTP_PARAMS];
    char memory[512]; /* the first of the blocks */
};

/* Memory until the request is over; NULL: there is none, and the error is raised. */
void *async__http_request_alloc(struct async_http_request *request, size_t size);

/* What has taken a connection over, and is told of its ends. */
struct async__http_upgrade {
    void (*shutdown)(struct async__http_upgrade *self);          /* of the server; must not block */
    void (*handled)(struct async__http_upgrade *self, int code); /* by the handler; may block */
};

struct async__http_connection {
    async_http_server *server;
    async_stream *stream;
    struct async__http_upgrade *upgrade; /* NULL: none, or one that needs not know */
    struct async__http_connection *next, *previous;
    struct async__buffer in;  /* what has come and is not the head's: the body, the next request */
    struct async__buffer out; /* answers that are gathered */
    async_callback flush;     /* queued while there are some */
    async_scope scope;        /* around all of it */
    async_scope wait;         /* around the wait for a request's first byte */
    bool idle;                /* in which it is */
    double idle_until;        /* the loop's time at which that ends */
    async_timer idle_timer;
    double idle_timer_at; /* INFINITY: it is not set */
    bool peer_known;
    char peer[64];
    struct async__http2 *http2; /* NULL: HTTP/1 */
};

/* ---- server.c, log.c ---- */

struct async__http_middleware {
    async__http_handler *handler;
    void *data;
};

struct async__http_serving {
    struct async__http_serving *next;
    async_server *listener;
};

struct async_http_server {
    async_http_server_options options;
    char *server_header; /* a whole line, or "" */
    int references;
    async_server *listener; /* until it serves */
    int port;
    struct async__http_serving *serving;
    bool stopping;
    async_timer stop_timer;
    async_loop *loop; /* of the timer */

    struct async__http_connection *connections;
    int connection_count, request_count;
    struct async_http_request *spare;
    int spare_count;

    struct async__http_node *root; /* of the routes */
    struct async__http_directory *directories;
    struct async__http_middleware *middlewares;
    size_t middleware_count;

    int64_t date_time;
    char date[40]; /* "Sun, 06 Nov 1994 08:49:37 GMT" of that time */
};

struct async_http_request *async__http_request_take(async_http_server *server); /* NULL: raised */
void async__http_request_give(struct async_http_request *request);
const char *async__http_date(async_http_server *server);
void async__http_format_date(char text[40], int64_t time);
/* Tells the access log of a request that has been answered. */
void async__http_log(struct async_http_request *request);
/* Tells on_error, or the loop's exception handler, of a handler's failure. */
void async__http_report(struct async_http_request *request, int code, const char *message);
void async__http_server_parted(async_http_server *server); /* a connection has */
void async__http_server_ref(async_http_server *server);
void async__http_server_unref(async_http_server *server);
int async__http_raise_null(const char *what);

/* ---- head.c ---- */

/* What the head of HTTP/1 says of its message: 0, or the status that refuses it. */
int async__http_judge_head(struct async_http_request *request, const char **why);
/* What is the same in all versions: the target, the host, what the client expects. */
int async__http_judge_request(struct async_http_request *request, const char **why);
/* Decodes %XX (and, in a form, +) in place: the length, or -1 if it is malformed or has a NUL. */
ssize_t async__http_decode_url(char *text, size_t size, bool form);
/* The first value of a name in "a=b&c=d", decoded, in the request's memory. */
const char *async__http_pick(struct async_http_request *request, const char *pairs,
                             const char *name);
/* The next item of a list with commas: its beginning and length; false at the end. */
bool async__http_list_next(const char **list, const char **item, size_t *size);
bool async__http_list_has(const char *list, const char *item);

/* ---- http1.c, http1_body.c ---- */

extern const struct async__http_framing async__http1;
/* Sends what there is room for at once, or gathers it. */
int async__http1_send(struct async__http_connection *connection, const void *data, size_t size);
int async__http1_flush(struct async__http_connection *connection); /* what has been gathered */
void async__http1_flush_soon(async_callback *callback);
int async__http1_go_on(struct async_http_request *request);
ssize_t async__http1_recv(struct async_http_request *request, void *buffer, size_t size);

/* ---- body.c ---- */

/* A failure that lasts, and the status that it is answered with; 0: there is no point. Give the code. */
int async__http_body_fail(struct async_http_request *request, int code, int status,
                          const char *what);
int async__http_body_too_large(struct async_http_request *request);
/* What a wait for the body gave: 0, the client has ended; or a code. Only a cancellation from outside
 * does not last. */
int async__http_body_failed(struct async_http_request *request, ssize_t got, bool expired);
double async__http_body_deadline(const struct async_http_request *request);
/* Discards what is left of the body, if it is not much: whether all of it is gone. */
bool async__http_discard_body(struct async_http_request *request);

/* ---- respond.c ---- */

const char *async__http_reason_of(int status);
/* The line of that name among header lines, or NULL. */
char *async__http_find_line(struct async__buffer *lines, const char *name);
/* Answers with a status and its words, for the server itself. */
int async__http_respond_status(struct async_http_request *request, int status);
/* Sends what the answer still lacks, if the handler has begun one. */
int async__http_finish_answer(struct async_http_request *request);

/* ---- multipart.c ---- */

void async__http_multipart_free(struct async__http_multipart *multipart);

/* ---- gzip.c ---- */

/* Decides whether the answer is compressed, and sets its headers: the length that it has then. */
int64_t async__http_gzip_begin(struct async_http_request *request, const char *content_type,
                               int64_t length);
/* As the framing's send. */
int async__http_gzip_send(struct async_http_request *request, const void *data, size_t size,
                          bool last);
void async__http_gzip_free(struct async__http_gzip *gzip);

/* ---- routes.c ---- */

struct async__http_route {
    struct async__http_route *next;
    char *method; /* NULL: any */
    async__http_handler *handler;
    void *data;
    int param_count;
    bool rest;    /* the last is a {name...} */
    char *params; /* names, each with a 0 behind it */
};

/* What the handler returned, or left in a block. */
int async__http_call(async__http_handler *handler, struct async_http_request *request, void *data);
void async__http_routes_free(async_http_server *server);

/* ---- files.c ---- */

struct async__http_piece {
    int fd;
    int64_t from;
    size_t size;
    char *to;
    ssize_t got;
};

/* Reads a piece of a file, at least a byte of it, in a thread: 0 or a code, raised. */
int async__http_read_piece(struct async__http_piece *piece);

void async__http_directories_free(async_http_server *server);

/* ---- http2/ ---- */

#ifdef ASYNC__HTTP2
/* Serves a client of HTTP/2 whose first bytes, the preface, have come: whether there is to be an orderly
 * end, for which the stream is good. */
bool async__http2_serve(struct async__http_connection *connection, const void *bytes, size_t size);
/* Has the client open no more streams, and ends when those that there are have. Does not block. */
void async__http2_shutdown(struct async__http2 *http2);
#else
#define ASYNC__HTTP2 0
static inline bool async__http2_serve(struct async__http_connection *connection, const void *bytes,
                                      size_t size)
{
    (void)connection, (void)bytes, (void)size;
    return false;
}
static inline void async__http2_shutdown(struct async__http2 *http2) { (void)http2; }
#endif

/* ---- connection.c ---- */

/* Has a request answered whose head has been judged, by its handler, or with the status that refuses it;
 * and logs it. Whether the answer is whole. */
bool async__http_answer(struct async_http_request *request, int status);
int async__http_serve_client(async_stream *stream, void *server);

#endif
