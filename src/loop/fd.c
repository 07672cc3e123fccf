/* fd.c - what the loop knows of descriptors: one entry for each, with a watch a direction.
 *
 * Interest in a descriptor is lazy: it is registered when first waited for and stays, so that a
 * connection costs one epoll_ctl in its life and not two a message. If an event comes that nobody
 * waits for, the interest is dropped then: epoll is level-triggered and would report it for ever.
 *
 * The price is that the loop must hear of a close: async_close. A number that is reused gets a new
 * generation, so that events on their way for the old one are told apart.
 *
 * Not everybody can promise that: other languages' sockets are closed by their own destructors.
 * A `foreign` watch believes nothing that was known of the descriptor before, and leaves nothing
 * behind that could be reported. Those that are `once`, too, as of somebody who waits for one
 * event and then for the next, share an interest that the kernel ends by itself as it reports:
 * that costs one call a wait, which is also how a descriptor that was closed meanwhile is found
 * out. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <casyncio/sockets.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Makes room for the entry of descriptor `fd`: 0, -EBADF or -ENOMEM. */
static int grow(async_loop *loop, int fd)
{
    /* The table is as long as the highest number, so a number that is no descriptor must not reach
     * it. The kernel gives out the lowest free number: what is open bounds the table. */
    if (ASYNC__CALL(fcntl(fd, F_GETFD)) < 0) return -errno;

    size_t length = loop->fds_length ? (size_t)loop->fds_length : 64;
    while (length <= (size_t)fd)
        length *= 2;
    if (length > INT_MAX) length = INT_MAX;
    struct async__fd *fds = async__realloc(loop->fds, length * sizeof *fds);
    if (!fds) return -ENOMEM;
    memset(fds + loop->fds_length, 0, (length - (size_t)loop->fds_length) * sizeof *fds);
    loop->fds = fds;
    loop->fds_length = (int)length;
    return 0;
}

/* An entry, so that a close is counted; without one, as for what is no descriptor, none is. */
void async__fd_know(async_loop *loop, int fd)
{
    if (fd >= loop->fds_length) (void)grow(loop, fd);
}

static void disarm(async_loop *loop, async_watch *watch)
{
    struct async__fd *entry = &loop->fds[watch->fd];
    unsigned bit = 1u << watch->direction;

    watch->armed = false;
    entry->watch[watch->direction] = NULL;
    loop->watches--;
    if (async__likely(!(entry->foreign & bit))) return;
    entry->foreign &= (unsigned char)~bit;
    if (!(entry->interest & bit)) return; /* it has just been reported, and so it has ended */
    unsigned rest = entry->interest & ~bit;
    loop->poller->interest(loop, watch->fd, entry, rest & ASYNC__BOTH ? rest : 0);
}

/* Nothing is believed of what was registered without a watch of now. */
static void distrust(struct async__fd *entry)
{
    unsigned watched = ASYNC__ONE_SHOT | ASYNC__EDGE;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        if (entry->watch[direction]) watched |= 1u << direction;
    entry->regular = false;
    entry->interest &= (unsigned char)watched;
    if (!(entry->interest & ASYNC__BOTH)) entry->interest = 0;
}

/* ---- readiness that comes to nothing ----
 *
 * Some conditions last, and nothing can be done about them by who waits: a socket's error queue
 * (IP_RECVERR, SO_TIMESTAMPING) is not empty, which epoll reports as EPOLLERR whatever is asked for;
 * both directions are hung up, and the watch is kept all the same; a datagram socket was shut down
 * for reading, and is readable, while recv says EAGAIN. Level-triggered epoll reports such a
 * condition again and again, and the loop would never sleep.
 *
 * What decides: an event that is no more than an error or a hang-up in a direction that is watched,
 * or one after which an operation's system call says EAGAIN, makes the interest edge-triggered. Each
 * event is then told once: new data, a new error. (EPOLL_CTL_MOD has the kernel look anew, so the
 * condition itself is told once more.) Watches are promised level-triggering for data, so they get
 * it back as soon as there is some: when it is reported, or when a watch is added. */

/* A watch of the user's, or of another layer's, which is told for as long as there is data. */
static bool is_plain(const async_watch *watch)
{
    return watch && watch->callback.run != async__op_ready;
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

/* Whether interest that is edge-triggered may stay so as a watch is added. It may not if there is
 * something to be told, which an edge has told before; nor if nothing is stuck any more. */
static bool is_still_stuck(struct async__fd *entry, int fd, unsigned char direction)
{
    struct pollfd now = {.fd = fd,
                         .events = direction == ASYNC__READ ? POLLIN | POLLRDHUP : POLLOUT};

    if (entry->missed & 1u << direction) return false;
    if (poll(&now, 1, 0) <= 0) return false;
    if (now.revents != POLLERR) return false;
    /* A socket's own error is told by an edge, and taken by the next call. So the error queue it is
     * that is not empty. Of anything else, as of a pipe without a reader, the error is there to stay,
     * and the next call fails. */
    return is_socket(fd);
}

static unsigned edge_or_level(struct async__fd *entry, int fd, unsigned char direction)
{
    if (is_still_stuck(entry, fd, direction)) return ASYNC__EDGE;
    entry->missed = 0;
    return 0;
}

void async__fd_doubt(async_loop *loop, int fd)
{
    struct async__fd *entry = &loop->fds[fd];

    /* If it fails the loop spins, which is what it did without. */
    if (!(entry->interest & (ASYNC__EDGE | ASYNC__ONE_SHOT)))
        loop->poller->interest(loop, fd, entry, entry->interest | ASYNC__EDGE);
}

/* After an event with an error or a hang-up, or with edge-triggered interest: whether the interest
 * is to be edge-triggered from here on. `told` has the directions in which a watch was told. */
static void choose_trigger(async_loop *loop, int fd, struct async__fd *entry, unsigned told,
                           unsigned ready, unsigned data)
{
    bool edge = entry->interest & ASYNC__EDGE, level = false;
    unsigned interest = entry->interest & ASYNC__BOTH, unwanted = interest & ready & ~told;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        if (data & 1u << direction && is_plain(entry->watch[direction])) level = true;
    if (edge) {
        entry->missed |= unwanted;
        unwanted &= data; /* an error alone would be lost if the kernel did not keep it for us */
    }
    interest &= ~unwanted;
    if (interest && !level && (edge || told & ~data)) interest |= ASYNC__EDGE;
    if (!(interest & ASYNC__EDGE)) entry->missed = 0;
    if (interest != entry->interest) loop->poller->interest(loop, fd, entry, interest);
}

/* The interest that the descriptor is to have with this watch; one-shot, if all watches are. */
static unsigned interest_with(const struct async__fd *entry, const async_watch *watch, unsigned bit)
{
    bool one_shot =
        watch->foreign && watch->once && (!entry->interest || entry->interest & ASYNC__ONE_SHOT);

    return (entry->interest & ASYNC__BOTH) | bit | (one_shot ? ASYNC__ONE_SHOT : 0);
}

static int add_watch(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    if (fd < 0) return -EBADF;
    if (async__unlikely(fd >= loop->fds_length)) {
        int code = grow(loop, fd);
        if (code < 0) return code;
    }
    struct async__fd *entry = &loop->fds[fd];
    if (entry->watch[direction] || watch->armed) return -EBUSY;

    unsigned bit = 1u << direction;
    if (async__unlikely(watch->foreign)) distrust(entry);
    unsigned interest = interest_with(entry, watch, bit);
    if (async__unlikely(entry->interest & ASYNC__EDGE))
        interest |= edge_or_level(entry, fd, direction);
    if (async__unlikely(interest != entry->interest) && !entry->regular) {
        int code = loop->poller->interest(loop, fd, entry, interest);
        if (code == -EPERM)
            entry->regular = true; /* epoll's word for a file that is always ready */
        else if (code < 0)
            return code;
    }
    if (async__unlikely(watch->foreign)) entry->foreign |= (unsigned char)bit;
    watch->fd = fd;
    watch->direction = direction;
    watch->error = 0;
    watch->armed = true;
    entry->watch[direction] = watch;
    loop->watches++;
    if (async__unlikely(entry->regular)) {
        /* What nobody reports has to be asked for again: there is nothing to keep it armed for. */
        if (watch->once) disarm(loop, watch);
        async_call_soon(loop, &watch->callback);
    }
    return 0;
}

int async_add_reader(async_loop *loop, int fd, async_watch *watch)
{
    return add_watch(loop, fd, watch, ASYNC__READ);
}

int async_add_writer(async_loop *loop, int fd, async_watch *watch)
{
    return add_watch(loop, fd, watch, ASYNC__WRITE);
}

void async__disarm(async_loop *loop, async_watch *watch) { disarm(loop, watch); }

bool async_remove_watch(async_loop *loop, async_watch *watch)
{
    bool was_queued = async_callback_cancel(&watch->callback), was_armed = watch->armed;
    if (async__likely(async__watches(loop, watch)))
        disarm(loop, watch);
    else
        watch->armed = false;
    return was_queued || was_armed;
}

/* One event has ended the interest in both directions: what still waits is watched on. If that
 * fails it goes off, and its owner finds out why by his next call. */
static void watch_on(async_loop *loop, int fd, struct async__fd *entry)
{
    unsigned rest = (entry->watch[ASYNC__READ] ? 1u << ASYNC__READ : 0) |
                    (entry->watch[ASYNC__WRITE] ? 1u << ASYNC__WRITE : 0);

    if (async__likely(!rest)) return;
    if (loop->poller->interest(loop, fd, entry, rest | ASYNC__ONE_SHOT) == 0) return;
    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        async_watch *watch = entry->watch[direction];
        if (!watch) continue;
        disarm(loop, watch);
        async_call_soon(loop, &watch->callback);
    }
}

/* Tells the watches of the directions in `ready`; gives those of them that have one. */
static inline unsigned tell(async_loop *loop, struct async__fd *entry, unsigned ready)
{
    unsigned told = 0;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        unsigned bit = 1u << direction;
        async_watch *watch = entry->watch[direction];
        if (!(ready & bit) || !watch) continue;
        told |= bit;
        if (watch->once) disarm(loop, watch);
        async_call_soon(loop, &watch->callback);
    }
    return told;
}

/* With an error or a hang-up, or interest that is one-shot or edge-triggered. */
static void ready_unusually(async_loop *loop, int fd, struct async__fd *entry, unsigned ready,
                            unsigned data)
{
    bool one_shot = entry->interest & ASYNC__ONE_SHOT;

    if (one_shot) entry->interest = 0;
    unsigned told = tell(loop, entry, ready);
    if (one_shot)
        watch_on(loop, fd, entry);
    else
        choose_trigger(loop, fd, entry, told, ready, data);
}

void async__fd_ready(async_loop *loop, int fd, uint32_t generation, unsigned data, bool trouble)
{
    if (async__unlikely(fd >= loop->fds_length)) return;
    struct async__fd *entry = &loop->fds[fd];
    if (async__unlikely(entry->generation != generation)) return;

    if (async__unlikely(trouble || entry->interest > ASYNC__BOTH)) {
        ready_unusually(loop, fd, entry, trouble ? ASYNC__BOTH : data, data);
        return;
    }
    unsigned unwanted = data & ~tell(loop, entry, data) & entry->interest;
    if (async__unlikely(unwanted))
        loop->poller->interest(loop, fd, entry, entry->interest & ~unwanted);
}

void async_forget_fd(async_loop *loop, int fd)
{
    if (fd < 0 || fd >= loop->fds_length) return;
    struct async__fd *entry = &loop->fds[fd];

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        async_watch *watch = entry->watch[direction];
        if (!watch) continue;
        disarm(loop, watch);
        watch->error = -EBADF;
        async_call_soon(loop, &watch->callback);
    }
    if (entry->registered) loop->poller->interest(loop, fd, entry, 0);
    uint32_t generation = entry->generation + 1;
    memset(entry, 0, sizeof *entry);
    entry->generation = generation;
}

int async_close(int fd)
{
    async_loop *loop = async__loop();

    if (loop) async_forget_fd(loop, fd);
    /* On Linux the descriptor is gone even if close says EINTR. */
    return ASYNC__CLOSE(fd) < 0 && errno != EINTR ? -errno : 0;
}
