/* fd.c - what the loop knows of descriptors: one entry for each, with a watch a direction.
 *
 * Interest in a descriptor is lazy: it is registered with the first watch, and stays when the watch
 * is removed, so that a connection costs one epoll_ctl in its life and not two a message. When an
 * event arrives for which there is no watch, the interest is dropped: level-triggered epoll would
 * report it for ever.
 *
 * Therefore the loop must be told of a close: async_close. Each close increments the entry's
 * generation, which is part of every event, so that an event of a closed descriptor is not taken for
 * one of the file that has its number now.
 *
 * Sockets of other languages are closed by their own destructors, without the loop being told. A
 * `foreign` watch does not rely on what was registered before, and its interest ends with it. Foreign
 * watches that are `once`, too, use one-shot interest, which the kernel disables as it reports: that
 * costs one epoll_ctl a wait, which also finds out that a descriptor has been closed meanwhile. */
#include "../base/faults.h"
#include "debug.h"

#include <casyncio/sockets.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static bool is_of_operation(const async_loop *loop, const async_watch *watch)
{
    return watch->callback.run == loop->poller->ready;
}

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

/* Makes the entry, so that a close of the descriptor changes its generation. */
void async__fd_know(async_loop *loop, int fd)
{
    if (fd >= loop->fds_length) (void)grow(loop, fd);
}

unsigned async__fd_kind(struct async__fd *entry, int fd)
{
    int type;
    socklen_t size = sizeof type;

    if (entry->kind == ASYNC__UNKNOWN) {
        if (ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) < 0)
            entry->kind = ASYNC__NO_SOCKET;
        else
            entry->kind = type == SOCK_STREAM ? ASYNC__STREAM : ASYNC__OTHER_SOCKET;
    }
    return entry->kind;
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

/* Forgets interest that no other watch needs: it may have been another file's. */
static void forget_unwatched(struct async__fd *entry, const async_watch *watch)
{
    unsigned watched = ASYNC__ONE_SHOT | ASYNC__EDGE;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        if (entry->watch[direction] && entry->watch[direction] != watch) watched |= 1u << direction;
    entry->regular = false;
    entry->interest &= (unsigned char)watched;
    if (!(entry->interest & ASYNC__BOTH)) entry->interest = 0;
}

/* ---- readiness that comes to nothing ----
 *
 * Some conditions last although the waiting call can do nothing about them: a socket's error queue
 * (IP_RECVERR, SO_TIMESTAMPING) is not empty, which epoll reports as EPOLLERR whatever the interest
 * is; both directions are hung up, and the watch is kept; a datagram socket was shut down for reading
 * and is readable, while recv gives EAGAIN. Level-triggered epoll reports such a condition at every
 * look, and the loop would never sleep.
 *
 * The rule: interest becomes edge-triggered after an event that is only an error or a hang-up in a
 * direction that is watched, and after one that an operation's system call answers with EAGAIN. From
 * then on each new event is reported once: more data, another error. (EPOLL_CTL_MOD makes the kernel
 * check the descriptor, so the lasting condition is reported once more.) Watches are promised
 * level-triggered data, so interest becomes level-triggered again when data is reported to one, or
 * when one is added while there is some. */

/* A watch that is neither an operation's nor the loop's own, and whose callback has not found nothing:
 * it runs for as long as there is data. */
static bool is_plain(const async_loop *loop, const async_watch *watch)
{
    return watch && !watch->edge && !is_of_operation(loop, watch) &&
           watch->callback.run != async__woken;
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

/* Whether edge-triggered interest may stay so when a watch is added. It may not if the descriptor is
 * ready now, since that edge has been reported before; nor if the lasting condition is over. */
static bool is_still_stuck(struct async__fd *entry, int fd, unsigned char direction)
{
    struct pollfd now = {.fd = fd,
                         .events = direction == ASYNC__READ ? POLLIN | POLLRDHUP : POLLOUT};

    if (entry->missed & 1u << direction) return false;
    if (poll(&now, 1, 0) <= 0) return false;
    if (now.revents != POLLERR) return false;
    /* POLLERR alone. A socket's pending error has been reported by an edge, and taken by the call that
     * followed; so its error queue is not empty, which is nothing to wake for. Of any other file, such
     * as a pipe without a reader, the error is permanent, and the next call fails with it. */
    return is_socket(fd);
}

static unsigned edge_or_level(struct async__fd *entry, int fd, unsigned char direction)
{
    if (is_still_stuck(entry, fd, direction)) return ASYNC__EDGE;
    entry->missed = 0;
    return 0;
}

int async__fd_use_edges(async_loop *loop, int fd)
{
    struct async__fd *entry = &loop->fds[fd];

    if (entry->interest & (ASYNC__EDGE | ASYNC__ONE_SHOT)) return 0;
    return loop->poller->interest(loop, fd, entry, entry->interest | ASYNC__EDGE);
}

/* If this fails, interest stays level-triggered, and the loop does not sleep. */
void async__fd_not_ready(async_loop *loop, int fd) { (void)async__fd_use_edges(loop, fd); }

/* After an event with an error or a hang-up, or with edge-triggered interest: decides whether the
 * interest is edge-triggered from here on. `told` has the directions in which there was a watch. */
static void choose_trigger(async_loop *loop, int fd, struct async__fd *entry, unsigned told,
                           unsigned ready, unsigned data)
{
    bool edge = entry->interest & ASYNC__EDGE, level = false;
    unsigned interest = entry->interest & ASYNC__BOTH, unwanted = interest & ready & ~told;

    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        if (data & 1u << direction && is_plain(loop, entry->watch[direction])) level = true;
    if (edge) {
        entry->missed |= unwanted;
        /* Only data that is not waited for ends interest. After an error alone it has to stay, or the
         * next one would not be reported; and an edge does not repeat itself. */
        unwanted &= data;
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

static inline int hang(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    if (fd < 0) return -EBADF;
    if (async__unlikely(fd >= loop->fds_length)) {
        int code = grow(loop, fd);
        if (code < 0) return code;
    }
    struct async__fd *entry = &loop->fds[fd];
    if (entry->watch[direction] || watch->armed) return -EBUSY;
    watch->fd = fd;
    watch->direction = direction;
    watch->error = 0;
    watch->edge = false;
    watch->armed = true;
    entry->watch[direction] = watch;
    loop->watches++;
    return 0;
}

static inline int want(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    struct async__fd *entry = &loop->fds[fd];
    unsigned bit = 1u << direction;

    if (async__unlikely(watch->foreign)) forget_unwatched(entry, watch);
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
    if (async__unlikely(entry->regular)) {
        /* A regular file has no events: its callback is queued here, once for each call. */
        if (watch->once) disarm(loop, watch);
        async__soon(loop, &watch->callback);
    }
    return 0;
}

int async__fd_hang(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    return hang(loop, fd, watch, direction);
}

int async__fd_want(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    return want(loop, fd, watch, direction);
}

int async__fd_watch(async_loop *loop, int fd, async_watch *watch, unsigned char direction)
{
    int code = hang(loop, fd, watch, direction);
    if (code < 0) return code;
    code = want(loop, fd, watch, direction);
    if (code < 0) disarm(loop, watch);
    return code;
}

static int add(async_loop *loop, int fd, async_watch *watch, unsigned char direction,
               const char *call)
{
    if (async__wrong_thread(loop, call)) return -EPERM;
    int code = async__fd_watch(loop, fd, watch, direction);
    if (async__likely(code == 0)) return 0;
    if (code != -EBUSY)
        return async__loop_fail(code, "%s: descriptor %d: %s", call, fd, async_strerror(code));
    return async__loop_fail(code, "%s: %s", call,
                            watch->armed ? "the watch is in use"
                                         : "another watch has the descriptor already");
}

int async_add_reader(async_loop *loop, int fd, async_watch *watch)
{
    return add(loop, fd, watch, ASYNC__READ, "async_add_reader");
}

int async_add_writer(async_loop *loop, int fd, async_watch *watch)
{
    return add(loop, fd, watch, ASYNC__WRITE, "async_add_writer");
}

void async__disarm(async_loop *loop, async_watch *watch) { disarm(loop, watch); }

bool async_remove_watch(async_loop *loop, async_watch *watch)
{
    if (async__wrong_thread(loop, "async_remove_watch")) return false;
    bool was_queued = async_callback_cancel(&watch->callback), was_armed = watch->armed;
    if (async__likely(async__watches(loop, watch)))
        disarm(loop, watch);
    else
        watch->armed = false;
    return was_queued || was_armed;
}

void async_watch_not_ready(async_loop *loop, async_watch *watch)
{
    if (!async__watches(loop, watch)) return;
    watch->edge = true;
    async__fd_not_ready(loop, watch->fd);
}

/* A one-shot event has disabled interest in both directions: enables it for the watches that remain.
 * If that fails they go off, and their owners' next calls report the error. */
static void enable_again(async_loop *loop, int fd, struct async__fd *entry)
{
    unsigned rest = (entry->watch[ASYNC__READ] ? 1u << ASYNC__READ : 0) |
                    (entry->watch[ASYNC__WRITE] ? 1u << ASYNC__WRITE : 0);

    if (async__likely(!rest)) return;
    if (loop->poller->interest(loop, fd, entry, rest | ASYNC__ONE_SHOT) == 0) return;
    for (int direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++) {
        async_watch *watch = entry->watch[direction];
        if (!watch) continue;
        disarm(loop, watch);
        async__soon(loop, &watch->callback);
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
        async__soon(loop, &watch->callback);
    }
    return told;
}

/* With an error or a hang-up, or interest that is one-shot or edge-triggered. */
static void on_special_event(async_loop *loop, int fd, struct async__fd *entry, unsigned ready,
                             unsigned data)
{
    bool one_shot = entry->interest & ASYNC__ONE_SHOT;

    if (one_shot) entry->interest = 0;
    unsigned told = tell(loop, entry, ready);
    if (one_shot)
        enable_again(loop, fd, entry);
    else
        choose_trigger(loop, fd, entry, told, ready, data);
}

void async__fd_ready(async_loop *loop, int fd, uint32_t generation, unsigned data, bool trouble)
{
    if (async__unlikely(fd >= loop->fds_length)) return;
    struct async__fd *entry = &loop->fds[fd];
    if (async__unlikely(entry->generation != generation)) return;

    if (async__unlikely(trouble || entry->interest > ASYNC__BOTH)) {
        on_special_event(loop, fd, entry, trouble ? ASYNC__BOTH : data, data);
        return;
    }
    unsigned unwanted = data & ~tell(loop, entry, data) & entry->interest;
    if (async__unlikely(unwanted))
        loop->poller->interest(loop, fd, entry, entry->interest & ~unwanted);
}

static void forget(async_loop *loop, int fd, unsigned direction)
{
    async_watch *watch = loop->fds[fd].watch[direction];

    if (!watch) return;
    if (!is_of_operation(loop, watch)) {
        disarm(loop, watch);
        watch->error = -EBADF;
        async__soon(loop, &watch->callback);
        return;
    }
    loop->poller->cancel(loop, async__container(watch, async__op, watch), -EBADF);
    /* Its end may still be to come, but the number may soon be another file's. */
    if (loop->fds[fd].watch[direction] == watch) disarm(loop, watch);
}

void async_forget_fd(async_loop *loop, int fd)
{
    if (fd < 0 || fd >= loop->fds_length) return;

    for (unsigned direction = ASYNC__READ; direction <= ASYNC__WRITE; direction++)
        forget(loop, fd, direction);
    struct async__fd *entry = &loop->fds[fd];
    /* A one-shot registration that has gone off reports nothing any more, and ends with its file: it is
     * left for the next watch, which finds it or does not. */
    bool silent = entry->registered && !entry->interest;
    if (entry->registered && !silent) loop->poller->interest(loop, fd, entry, 0);
    uint32_t generation = entry->generation + 1;
    memset(entry, 0, sizeof *entry);
    entry->generation = generation;
    entry->registered = silent;
}

int async_close(int fd)
{
    async_loop *loop = async__loop();

    if (loop) async_forget_fd(loop, fd);
    /* On Linux the descriptor is closed even if close gives EINTR. */
    if (ASYNC__CLOSE(fd) == 0 || errno == EINTR) return 0;
    int code = -errno;
    return async__loop_fail(code, "async_close: descriptor %d: %s", fd, async_strerror(code));
}
