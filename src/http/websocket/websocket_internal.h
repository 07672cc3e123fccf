/* websocket_internal.h - the struct of a WebSocket, and the functions that its files share.
 *
 * From below: utf8.c (is it UTF-8), deflate.c (permessage-deflate), frames.c (wslay: bytes to frames and
 * back), receive.c (frames to messages), send.c (messages to frames), close.c (all ends), accept.c and
 * connect.c (the two handshakes).
 *
 * What keeps it simple: every frame is made as a whole and handed to the stream without waiting, so that
 * nothing can come between its bytes, and a frame can be sent from anywhere, a callback too. Back-pressure
 * is a wait before a frame and not in it. And what comes is read by whichever task receives: there is no
 * task of the library's own. */
#ifndef CASYNCIO_WEBSOCKET_INTERNAL_H
#define CASYNCIO_WEBSOCKET_INTERNAL_H

#include <casyncio.h>
#include <casyncio/websocket.h>

#include "../server/server_internal.h"

#include <wslay/wslay.h>

#define ASYNC__WS_HIGH 65536 /* bytes that are kept before a send waits */
#define ASYNC__WS_KEEP 4096 /* a buffer that is larger is freed and not kept for the next message */
#define ASYNC__WS_CONTROL 125

enum {
    ASYNC__WS_NORMAL = 1000,
    ASYNC__WS_GOING_AWAY = 1001,
    ASYNC__WS_PROTOCOL = 1002,
    ASYNC__WS_NO_CODE = 1005, /* these two are never sent */
    ASYNC__WS_ABNORMAL = 1006,
    ASYNC__WS_NOT_CONSISTENT = 1007,
    ASYNC__WS_TOO_BIG = 1009,
    ASYNC__WS_INTERNAL = 1011,
};

/* ---- utf8.c ---- */

/* Between two bytes of a text. All zeros at its beginning. */
struct async__utf8 {
    unsigned char need;      /* bytes of the character that are to come */
    unsigned char low, high; /* what the next of them must be within */
};

/* false: it is no UTF-8. The text is whole if nothing is needed then. */
bool async__utf8_check(struct async__utf8 *self, const char *data, size_t size);
bool async__utf8_is_text(const char *data, size_t size);

/* ---- deflate.c ---- */

struct async__deflate {
    bool on;
    bool send_reset, receive_reset; /* after each message: no context takeover */
    int send_bits, receive_bits;    /* of the windows; send_bits 0: nothing is compressed */
    struct z_stream_s *send, *receive;
};

/* The server's answer to what a client offers, in the values of its Sec-WebSocket-Extensions headers,
 * one call each until one is true; `answer` has room for 200. */
bool async__deflate_accept(struct async__deflate *self, const async_websocket_options *options,
                           const char *offers, char *answer);
/* What a client offers, and whether the server's answer is one to that. */
void async__deflate_offer(const async_websocket_options *options, char *offer);
bool async__deflate_agree(struct async__deflate *self, const async_websocket_options *options,
                          const char *answer);
/* A whole message, in `to`: 0; -ENOMEM, and the next is compressed as if it were the first. */
int async__deflate_send(struct async__deflate *self, struct async__buffer *to, const void *data,
                        size_t size);
/* A piece of a message, behind what is in `to`, which may become `most` bytes. `last`: there is no
 * further piece. 0; -EMSGSIZE, -EBADMSG; -ENOMEM. */
int async__deflate_receive(struct async__deflate *self, struct async__buffer *to, size_t most,
                           const void *data, size_t size, bool last);
/* The last message was not sent: nothing in it may be referred to. */
void async__deflate_forget(struct async__deflate *self);
void async__deflate_free(struct async__deflate *self);

/* ---- the socket ---- */

struct async_websocket {
    async_iterator messages;
    async_stream *stream;
    struct async_http_request *request; /* a server's: the stream is its connection's */
    struct async__http_upgrade upgrade;
    async_websocket_options options; /* without its pointers */
    char *subprotocol;
    int references; /* the owner's, and one for each call that is under way */
    wslay_frame_context_ptr wslay;
    struct async__deflate deflate;

    /* sending */
    async_lock turn;          /* of a message */
    struct async__buffer out; /* a frame on its way to the stream */
    async_scope *room;        /* in which the task that has the turn waits for room */
    unsigned excess;          /* control frames that were sent although too much was kept */
    int close_next;  /* the code of the Close that goes behind the message that is being sent; 0 */
    bool close_sent; /* and nothing is sent any more */
    double close_by; /* when the peer's Close must have come then */

    /* receiving */
    bool receiving;     /* a task does */
    bool dropping;      /* messages, since a task that closes has begun to receive */
    async_scope *wait;  /* in which the one that receives waits for bytes */
    async_event change; /* set for a moment: the end has come, or no task receives any more */
    int pull_code;      /* why it got none */
    bool pinged;        /* and nothing has come since */
    double ping_time, latency;
    struct async__buffer message;   /* as far as it has come */
    enum async_websocket_type type; /* of the last one that is whole */
    uint8_t opcode;                 /* of the one that is coming; 0: none has begun */
    bool compressed;
    struct async__utf8 utf8;
    uint64_t frame_done; /* bytes of the frame that is coming */
    bool in_frame;
    uint8_t control[ASYNC__WS_CONTROL];

    /* the end */
    bool ended;        /* nothing more will come */
    int code;          /* what receiving gives then: 0 after the peer's Close */
    int close_code;    /* the peer's; 0 before the end */
    char failure[200]; /* the code's message */
    char close_reason[ASYNC__WS_CONTROL - 1];
};

/* NULL: -ENOMEM, raised. */
async_websocket *async__ws_new(const async_websocket_options *options, const char *subprotocol);
/* Of the options' own sense: 0 or -EINVAL, raised. */
int async__ws_options(async_websocket_options *options, const void *given, size_t given_size);
/* "dGhlIHNhbXBsZSBub25jZQ==" to "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; `accept` has room for 29. */
void async__ws_accept_key(const char *key, char *accept);
void async__ws_ref(async_websocket *self);
void async__ws_unref(async_websocket *self);
int async__ws_null(void);

/* ---- frames.c ---- */

int async__ws_frames_init(async_websocket *self); /* 0, -ENOMEM */
/* Sends a frame now, and what the kernel has no room for is kept. 0; -ENOMEM and nothing was sent; or the
 * failure of the stream. */
int async__ws_frame(async_websocket *self, uint8_t opcode, bool fin, bool compressed,
                    const void *data, size_t size);
/* The next piece of a frame, in *frame: 1; 0: the end has come; a code of a cancellation. */
int async__ws_pull(async_websocket *self, struct wslay_frame_iocb *frame);

/* ---- send.c ---- */

/* A control frame: as above. Waits if very many are kept and `waits`; else they are left out. */
int async__ws_control(async_websocket *self, uint8_t opcode, const void *data, size_t size,
                      bool waits);
/* Waits until the peer has taken enough: 0, a code. */
int async__ws_wait_room(async_websocket *self);
int async__ws_raise_closed(const async_websocket *self);

/* ---- receive.c ---- */

/* Takes what comes until there is a message (1), the end (0), or a code of a cancellation. */
int async__ws_receive(async_websocket *self);

/* ---- close.c ---- */

/* Sends a Close unless one has been sent. */
int async__ws_send_close(async_websocket *self, int code, const char *reason);
bool async__ws_is_close_code(int code);
/* The connection has failed, with this code for those that receive; the peer is told close_code, unless
 * that is 0. The message is printf's. Gives the code. */
int async__ws_fail(async_websocket *self, int code, int close_code, const char *format, ...)
    ASYNC_PRINTF(4, 5);
/* Nothing more will come: wakes those that wait for it. */
void async__ws_end(async_websocket *self, int code, int close_code);
/* What receiving gives after the end: 0, or the failure, raised. */
int async__ws_over(const async_websocket *self);
/* A server's: what the connection does at the server's shutdown, and when the handler has returned. */
void async__ws_shutdown(struct async__http_upgrade *upgrade);
void async__ws_handled(struct async__http_upgrade *upgrade, int code);

#endif
