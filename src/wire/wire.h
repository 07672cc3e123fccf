/* wire.h - what carries bytes: a socket, a pipe, a terminal, memory; TLS over any of them.
 *
 * A wire lies between the loop and the tasks. It never blocks, never calls back, and knows neither
 * tasks nor messages: it takes and gives bytes, or says -EAGAIN, and a watch then goes off when
 * that may have changed. What waits for a wire is an operation (struct async__op), whose attempt
 * calls recv or send. */
#ifndef CASYNCIO_WIRE_H
#define CASYNCIO_WIRE_H

#include "../base/faults.h"
#include "../loop/loop_internal.h"

#include <casyncio/filters.h>
#include <casyncio/streams.h>
#include <sys/uio.h>

typedef struct async__wire async__wire;

/* What can be asked for, and the type of the answer. */
enum async__wire_query {
    ASYNC__WIRE_FD,           /* int: the descriptor; -1 if it has been closed */
    ASYNC__WIRE_CAN_END,      /* bool: whether send_end works */
    ASYNC__WIRE_REASON,       /* struct async__wire_reason: why its last call failed */
    ASYNC__WIRE_FINISH_LIMIT, /* double: seconds that `finish` may take; INFINITY */
    ASYNC__WIRE_FINISHED,     /* bool: all has been sent, and `finish` only waits for an answer */
    ASYNC__WIRE_STATE,        /* struct async__wire_state: of a filter */
    ASYNC__WIRE_PROTOCOL,     /* const char *: that a filter has agreed on */
    /* int: a descriptor that the kernel may read from and write to in place of recv and send
     * (sendfile, splice). Use async__wire_direct, which never asks what lies below. */
    ASYNC__WIRE_DIRECT,
};

struct async__wire_reason {
    int code;         /* of the call that failed */
    const char *text; /* good until the next failure */
};

struct async__wire_state {
    const async_filter_type *type;
    void *self;
};

struct async__wire_type {
    const char *name; /* "socket", "file", "memory", ... */

    /* Up to `size` (> 0) bytes: how many; 0 for the end; -EAGAIN; -EINTR: call again; a code. If it
     * gives less than `size`, then probably no more is there (unless `pending` says otherwise). */
    ssize_t (*recv)(async__wire *wire, void *buffer, size_t size);
    /* As much of the pieces, which are not all empty, as there is room for: how many bytes;
     * -EAGAIN; a code. After less than all a watch that is armed goes off when there is room again;
     * the bytes that are then sent are those that were not taken (or none, for ever). */
    ssize_t (*send)(async__wire *wire, const struct iovec *pieces, int count);
    /* The end of what is sent: 0 or a code. All has been sent before. */
    int (*send_end)(async__wire *wire);

    /* As the poller's: an operation whose op->wire this is, ASYNC__OP_RECV or _CALL. The functions
     * async__wire_submit and _cancel do it by recv and watch alone. */
    int (*submit)(async__wire *wire, async_loop *loop, async__op *op);
    void (*cancel)(async__wire *wire, async_loop *loop, async__op *op, int code);

    /* Arms a watch for ASYNC__READ or ASYNC__WRITE: it is queued when recv or send may have
     * something to give, at once if that is now, and stays armed. For a watch that is armed: the
     * call that it was queued for gave -EAGAIN; go on. 0; -EBUSY if another is armed; a code. */
    int (*watch)(async__wire *wire, async_loop *loop, unsigned direction, async_watch *watch);
    /* Disarms it, and takes its callback out of the queue; whether it was armed or queued. Like
     * cancel also between two runs of the loop; `loop` is NULL for a stream that is closed where
     * there is none. */
    bool (*unwatch)(async__wire *wire, async_loop *loop, async_watch *watch);
    /* Whether recv has something to give that no readiness will announce; NULL: never. */
    bool (*pending)(const async__wire *wire);

    /* 0, or -EOPNOTSUPP: the wire below is asked. Use async__wire_ask. */
    int (*query)(const async__wire *wire, enum async__wire_query what, void *result);

    /* What has to be exchanged before an orderly close: 0; -EAGAIN: call again when a watch for
     * ASYNC__WRITE goes off; a code. NULL: nothing has to be. */
    int (*finish)(async__wire *wire);
    /* Closes it and what is below, in no time. An operation may still hold on to the wire. 0 or a
     * code. */
    int (*close)(async__wire *wire);
    /* Gives its memory and that of the wires below back; NULL: it is part of something else. */
    void (*free)(async__wire *wire);
};

struct async__wire {
    const struct async__wire_type *type;
    async__wire *below; /* NULL, but for TLS and the like */
};

/* ---- for those who use a wire (wire.c) ---- */

/* 0; -EOPNOTSUPP: no wire of these knows. */
int async__wire_ask(const async__wire *wire, enum async__wire_query what, void *result);
int async__wire_fd(const async__wire *wire); /* -1: it has none */
/* Why a call failed, if the wire knows more than the code says: for messages. */
const char *async__wire_strerror(const async__wire *wire, int code);
/* The answer to ASYNC__WIRE_DIRECT, or -1: there is none. */
int async__wire_direct(const async__wire *wire);
/* "descriptor 5", "a memory stream": for messages. */
const char *async__wire_label(const async__wire *wire, char *text, size_t size);
void async__wire_free(async__wire *wire); /* NULL is fine */

/* ---- for types of wires (wire.c) ---- */

int async__wire_submit(async__wire *wire, async_loop *loop, async__op *op);
void async__wire_cancel(async__wire *wire, async_loop *loop, async__op *op, int code);

/* The watches of a wire that is no descriptor, one a direction. */
struct async__wire_watches {
    async_watch *watch[2];
};

/* 0, also for the one that is armed already; -EBUSY. */
int async__wire_arm(struct async__wire_watches *watches, unsigned direction, async_watch *watch);
bool async__wire_disarm(struct async__wire_watches *watches, async_watch *watch);
void async__wire_notify(struct async__wire_watches *watches, unsigned direction);

/* ---- descriptors (descriptor.c) ---- */

struct async__fd_wire {
    async__wire wire;
    int fd;
    bool blocking; /* a pipe or tty whose flags are not ours to change */
};

/* A socket, or any other file. It lies in a struct of the caller's. */
void async__fd_wire_init(struct async__fd_wire *self, int fd, bool socket, bool blocking);

/* ---- memory (memory.c) ---- */

/* Two ends: 0 or -ENOMEM. The options are valid. */
int async__memory_pair(async__wire *ends[2], const async_pair_options *options);

/* ---- filters (filter.c) ---- */

struct async__buffer;

/* A filter over a wire, to which the bytes of `received` go first: it takes them. NULL: no
 * memory. The options are valid. */
async_filter *async__filter_new(async__wire *below, const async_filter_options *options,
                                struct async__buffer *received);
async__wire *async__filter_wire(async_filter *filter);
/* For a wire that is a filter. A step of its start: 0, -EAGAIN: call again when a watch for
 * ASYNC__WRITE goes off; a code. */
int async__filter_start(async__wire *wire);
double async__filter_start_limit(const async__wire *wire); /* s */
const char *async__filter_name(const async__wire *wire);

#endif
