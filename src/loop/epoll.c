/* epoll.c - the readiness back end. Interest is level-triggered: readiness is reported for as long as
 * it lasts, so a wait that begins after the event misses nothing. (fd.c makes it edge-triggered where
 * that would keep the loop awake for nothing.) Operations are attempted by op.c, which waits for
 * readiness only when an attempt gives EAGAIN. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 256

/* valgrind 3.19 does not know epoll_pwait2, and prints a warning at each call. */
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

static atomic_bool no_pwait2; /* the kernel has refused it */

static struct async__epoll_state *self_of(const async_loop *loop) { return loop->back_end; }

static int fd_of(const async_loop *loop) { return self_of(loop)->fd; }

static void free_state(struct async__epoll_state *self)
{
    async__free(self->events);
    async__free(self);
}

static int epoll_open(async_loop *loop)
{
    if (RUNNING_ON_VALGRIND) atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
    struct async__epoll_state *self = async__alloc(sizeof *self);
    if (!self) return -ENOMEM;
    /* On the stack they would keep old words alive there for as long as the loop sleeps: a conservative
     * scan (`casyncio leaks`) would take those for references. */
    self->events = async__alloc(EVENTS_PER_WAIT * sizeof *self->events);
    self->fd = self->events ? ASYNC__CALL(epoll_create1(EPOLL_CLOEXEC)) : -1;
    if (self->fd < 0) {
        int code = self->events ? -errno : -ENOMEM;
        free_state(self);
        return code;
    }
    loop->back_end = self;
    return 0;
}

static void epoll_close(async_loop *loop)
{
    close(fd_of(loop));
    free_state(loop->back_end);
}

static int epoll_interest(async_loop *loop, int fd, struct async__fd *entry, unsigned interest)
{
    struct epoll_event event = {
        .events = (interest & 1 ? EPOLLIN | EPOLLRDHUP : 0) | (interest & 2 ? EPOLLOUT : 0) |
                  (interest & ASYNC__ONE_SHOT ? (uint32_t)EPOLLONESHOT : 0) |
                  (interest & ASYNC__EDGE ? (uint32_t)EPOLLET : 0),
        .data.u64 = (uint64_t)entry->generation << 32 | (uint32_t)fd,
    };
    int operation = !interest ? EPOLL_CTL_DEL : entry->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    /* After a fork the epoll instance is shared with the parent: a change would be made to its. */
    if (async__unlikely(async__is_forked(loop))) goto done;
    int result = ASYNC__CALL(epoll_ctl(fd_of(loop), operation, fd, &event));

    /* ENOENT: the descriptor was closed without async_close, which ended its registration, and the
     * number is another file's now. EEXIST: the registration outlives such a close, since a duplicate
     * of the descriptor is open. */
    if (result < 0 && operation == EPOLL_CTL_MOD && errno == ENOENT)
        result = ASYNC__CALL(epoll_ctl(fd_of(loop), EPOLL_CTL_ADD, fd, &event));
    else if (result < 0 && operation == EPOLL_CTL_ADD && errno == EEXIST)
        result = ASYNC__CALL(epoll_ctl(fd_of(loop), EPOLL_CTL_MOD, fd, &event));
    if (result < 0 && operation != EPOLL_CTL_DEL) return -errno;
done:
    entry->registered = interest != 0;
    entry->interest = (unsigned char)interest;
    return 0;
}

/* epoll_pwait2 (Linux 5.11) takes nanoseconds. On older kernels the time-out is rounded up to
 * milliseconds, so that the wait does not end before the timer is due. */
static inline int wait_for_events(async_loop *loop, struct epoll_event *events, int64_t timeout)
{
#ifdef ASYNC_FAULTS
    if (timeout != ASYNC__NEVER) timeout /= async__fault_speed;
#endif
    if (timeout > 0 && timeout != ASYNC__NEVER &&
        !atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
#ifdef SYS_epoll_pwait2
        struct {
            int64_t seconds, nanoseconds;
        } limit = {timeout / ASYNC__SECOND, timeout % ASYNC__SECOND};
        int count = (int)ASYNC__CALL(
            syscall(SYS_epoll_pwait2, fd_of(loop), events, EVENTS_PER_WAIT, &limit, NULL, 0));
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
#endif
        atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
    }
    int64_t milliseconds = timeout == ASYNC__NEVER ? -1 : (timeout + 999999) / 1000000;
    if (milliseconds > INT_MAX) milliseconds = INT_MAX;
    return ASYNC__CALL(epoll_wait(fd_of(loop), events, EVENTS_PER_WAIT, (int)milliseconds));
}

__attribute__((cold, noinline)) static int wait_hooked(async_loop *loop, struct epoll_event *events,
                                                       int64_t timeout)
{
    async_poll_hooks hooks = loop->hooks; /* which the first may change */

    if (hooks.before) hooks.before(hooks.data);
    int count = wait_for_events(loop, events, timeout), error = errno;
    if (hooks.after) hooks.after(hooks.data);
    errno = error;
    return count;
}

static int epoll_wait_events(async_loop *loop, int64_t timeout)
{
    struct epoll_event *events = self_of(loop)->events;
    /* The instance and its events are the parent's, and so is what the wake-up eventfd counts. */
    if (async__unlikely(async__is_forked(loop))) return -ECHILD;
    bool hooked = timeout != 0 && (loop->hooks.before || loop->hooks.after);
    int count = async__unlikely(hooked) ? wait_hooked(loop, events, timeout)
                                        : wait_for_events(loop, events, timeout);

    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        uint32_t flags = events[i].events;
        async__fd_ready(loop, (int)(uint32_t)events[i].data.u64,
                        (uint32_t)(events[i].data.u64 >> 32),
                        (flags & (EPOLLIN | EPOLLRDHUP) ? 1 : 0) | (flags & EPOLLOUT ? 2 : 0),
                        flags & (EPOLLERR | EPOLLHUP));
    }
    return 0;
}

const async__poller async__epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .interest = epoll_interest,
    .wait = epoll_wait_events,
    .submit = async__op_try,
    .cancel = async__op_abandon,
    .ready = async__op_ready,
    .fd = fd_of,
};
