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
    unsigned watched = ASYNC__ONE_SHOT;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        if (entry->watch[direction]) watched |= 1u << direction;
    entry->regular = false;
    entry->interest &= (unsigned char)watched;
    if (!(entry->interest & ASYNC__BOTH)) entry->interest = 0;
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

void async__fd_ready(async_loop *loop, int fd, uint32_t generation, unsigned ready)
{
    if (async__unlikely(fd >= loop->fds_length)) return;
    struct async__fd *entry = &loop->fds[fd];
    if (async__unlikely(entry->generation != generation)) return;

    bool one_shot = entry->interest & ASYNC__ONE_SHOT;
    if (async__unlikely(one_shot)) entry->interest = 0;
    unsigned unwanted = 0;
    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        unsigned bit = 1u << direction;
        if (!(ready & bit)) continue;
        async_watch *watch = entry->watch[direction];
        if (!watch) {
            unwanted |= bit & entry->interest;
            continue;
        }
        if (watch->once) disarm(loop, watch);
        async_call_soon(loop, &watch->callback);
    }
    if (async__unlikely(one_shot)) watch_on(loop, fd, entry);
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
