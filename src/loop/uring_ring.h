/* uring_ring.h - the ring of the back end of completions, and the buffers of its reads: uring.c operates
 * with it, uring_ring.c makes and ends it.
 *
 * The ring has one thread, which the kernel then need not lock out or interrupt: that in which the loop
 * runs. A loop may be made in one thread and run in another, so the ring is enabled at its first use. */
#ifndef CASYNCIO_URING_RING_H
#define CASYNCIO_URING_RING_H

#include "../base/faults.h"
#include "loop_internal.h"

#ifdef ASYNC_URING

#include <liburing.h>

/* The buffers that reads without one of their own are given. */
enum { ASYNC__BUFFER_SIZE = 16 * 1024, ASYNC__BUFFERS = 1024, ASYNC__BUFFER_GROUP = 0 };

#define ASYNC__NO_THREAD UINT64_MAX

/* The number of this thread; 0 until it has enabled a ring. Unlike pthread_self() it is never another's. */
extern __thread uint64_t async__uring_thread;

struct uring {
    struct async__epoll_state epoll; /* (at the front) */
    struct io_uring ring;
    uint64_t thread;      /* that the ring is enabled for: its number, or ASYNC__NO_THREAD */
    bool polls_epoll;     /* the poll of epoll's descriptor is under way */
    bool epoll_ready;     /* it has ended: epoll has something to tell */
    size_t under_way;     /* operations in the ring */
    async__op *cancelled; /* of sockets, and not ended: in order, linked by watch.reserved */
    async__op **last_cancelled;
    bool ask_again; /* for the ends of these */
    int event_fd;   /* -1, or what tells epoll of completions: uring_fd */

    struct io_uring_buf_ring *buffers;
    char *memory; /* of ASYNC__BUFFERS; a buffer takes pages once it is used */
    int buffer_count;

    /* Of the ring, before its descriptor was registered with the thread. */
    int plain_fd;
    unsigned plain_flags;
};

/* 0, or a code: then there is nothing of it. */
int async__uring_set_up(struct uring *self);
void async__uring_take_down(struct uring *self, bool forked);

/* The memory of the buffers outlives the ring; false: there is none. */
bool async__uring_map(struct uring *self);
void async__uring_unmap(struct uring *self);

/* There were too few for the reads of one look. */
void async__uring_add_buffers(struct uring *self);
/* After a completion with such flags: what was in its buffer has been taken. */
void async__uring_give_back(struct uring *self, unsigned flags);

/* Submits what there is, and has the kernel do what completions need. */
int async__uring_submit(struct uring *self);
/* NULL: the ring has no room, and the kernel takes nothing now. */
struct io_uring_sqe *async__uring_sqe(struct uring *self);

/* Makes the ring this thread's. Requests are bound to the thread that made them, so those under way
 * cannot move: -EPERM. */
int async__uring_enable(struct uring *self);

static inline int async__uring_check_thread(struct uring *self)
{
    return async__likely(self->thread == async__uring_thread) ? 0 : async__uring_enable(self);
}

static inline char *async__uring_buffer(const struct uring *self, int number)
{
    return self->memory + (size_t)number * ASYNC__BUFFER_SIZE;
}

#endif
#endif
