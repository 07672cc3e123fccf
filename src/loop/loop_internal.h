/* loop_internal.h - the loop from the inside: for src/loop, and for the task layer's hot path. */
#ifndef CASYNCIO_LOOP_INTERNAL_H
#define CASYNCIO_LOOP_INTERNAL_H

#include "../base/container.h"
#include "../base/memory.h"
#include "../base/options.h"

#include <casyncio/errors.h>
#include <casyncio/loop.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#define async__likely(x) __builtin_expect(!!(x), 1)
#define async__unlikely(x) __builtin_expect(!!(x), 0)

/* Refuses a call of the program's, and gives the code back: with a message, which names the call and what was wrong,
 * where there are tasks, which have the records for it; the Python face has the loop alone. */
int async__loop_fail(int code, const char *format, ...) ASYNC_PRINTF(2, 3);

#define ASYNC__NEVER INT64_MAX
#define ASYNC__SECOND 1000000000LL

/* ---- timers: a heap of (deadline, order) with the timers aside, so that it moves without touching
 * them (timers.c) ---- */

struct async__timer_entry {
    int64_t when;
    uint32_t order; /* breaks ties: first set, first off */
    uint32_t slot;
};

struct async__timers {
    struct async__timer_entry *heap;
    async_timer *
        *slots; /* slot to timer; NULL for one that was cancelled; free slots are chained */
    uint32_t length, capacity, cancelled;
    uint32_t free_slot, slots_used;
    uint32_t order;
};

int async__timers_add(struct async__timers *timers, async_timer *timer, int64_t when);
void async__timers_remove(struct async__timers *timers, uint32_t slot);
int64_t async__timers_next(
    struct async__timers *timers); /* the earliest deadline, or ASYNC__NEVER */
async_timer *async__timers_pop(struct async__timers *timers, int64_t now); /* NULL: none is due */
async_timer *async__timers_at(const struct async__timers *timers, uint32_t at); /* may be NULL */
void async__timers_free(struct async__timers *timers);

/* ---- descriptors ---- */

enum { ASYNC__READ = 0, ASYNC__WRITE = 1 };

/* Interest: bit 0 for reading, bit 1 for writing; whether the first event is to end it; and whether
 * each event is to be reported once (edge-triggered), not for as long as the condition lasts. */
enum { ASYNC__BOTH = 3, ASYNC__ONE_SHOT = 4, ASYNC__EDGE = 8 };

/* What the loop knows of a descriptor. Interest outlives a watch: it is dropped only when an event
 * comes for which there is no watch, so that a connection costs one epoll_ctl, not one a wait. */
struct async__fd {
    async_watch *watch[2];
    uint32_t generation;    /* tells a reused number's events from the old one's */
    unsigned char interest; /* as the back end has it */
    unsigned char foreign;  /* the bits of interest that end with their watch */
    bool regular;           /* a regular file: always ready */
    bool registered : 1;
    unsigned char kind : 2;    /* async__fd_kind */
    unsigned char drained : 1; /* the last receive got less than it had room for */
    unsigned char missed : 2; /* with ASYNC__EDGE: directions of events that no watch was told of */
};

typedef struct async__op async__op;

/* ---- the poller: one back end. See docs/design.md for how completions fit. ---- */

typedef struct async__poller {
    const char *name;
    int (*open)(async_loop *loop);
    void (*close)(async_loop *loop);
    /* Makes the back end's interest in fd what entry->interest is to become. 0 or a negative
     * code. */
    int (*interest)(async_loop *loop, int fd, struct async__fd *entry, unsigned interest);
    /* Waits for at most `timeout` ns (0: look only; ASYNC__NEVER: for ever) and calls
     * async__fd_ready for what is ready. */
    int (*wait)(async_loop *loop, int64_t timeout);
    /* Begins an operation: 1 if op->result is there at once, 0 if op->done will be called. */
    int (*submit)(async_loop *loop, async__op *op);
    /* Asks for the end of one that is under way: op->done is called all the same, with `code` or with
     * the real result, perhaps before this returns, perhaps later. Until then the operation and its
     * buffers are the back end's. */
    void (*cancel)(async_loop *loop, async__op *op, int code);
    void (*ready)(async_callback *callback); /* `run` of the watch of an operation */
    int (*fd)(const async_loop *loop); /* readable while there is something for `wait` to tell of */
    /* The loop is left: makes `fd` tell of what was submitted since the last look. May be NULL. */
    void (*rest)(async_loop *loop);
} async__poller;

extern const async__poller async__epoll;
/* At the front of the state of each back end that has epoll below it. */
struct async__epoll_state {
    int fd;
    struct epoll_event *events; /* room for those that a look brings */
};
#ifdef ASYNC_URING
extern const async__poller async__uring; /* uring.c; where there can be no ring it opens epoll */
#endif
#ifdef ASYNC_LATE
extern const async__poller async__late; /* for tests: late.c */
#endif

/* What a back end tells the loop: `data` has bit 0 for readable, bit 1 for writable; with `trouble`,
 * an error or a hang-up, both directions are ready, whatever is in `data`. */
void async__fd_ready(async_loop *loop, int fd, uint32_t generation, unsigned data, bool trouble);
/* What kind of file it is, which is asked for once. */
enum { ASYNC__UNKNOWN, ASYNC__STREAM, ASYNC__OTHER_SOCKET, ASYNC__NO_SOCKET };
unsigned async__fd_kind(struct async__fd *entry, int fd);

/* Ends a watch that is armed in this loop, and whose callback is not queued. */
void async__disarm(async_loop *loop, async_watch *watch);
/* Makes interest in a watched descriptor edge-triggered: 0 or a negative code. */
int async__fd_use_edges(async_loop *loop, int fd);
/* An operation that was told that the descriptor is ready has found that it is not. */
void async__fd_not_ready(async_loop *loop, int fd);
void async__woken(async_callback *callback); /* `run` of the loop's own watch (loop.c) */

/* async_add_reader and _writer, from within the loop; and their two halves, for an operation that hangs
 * in the list of its descriptor before it needs to hear of readiness. 0 or a code; -EBUSY: the
 * direction has a watch or an operation already. */
int async__fd_watch(async_loop *loop, int fd, async_watch *watch, unsigned char direction);
int async__fd_hang(async_loop *loop, int fd, async_watch *watch, unsigned char direction);
int async__fd_want(async_loop *loop, int fd, async_watch *watch, unsigned char direction);

/* ---- operations: one system call that may have to wait (op.c) ---- */

/* What an operation asks of the kernel; its arguments are fields of struct async__op. A back end of
 * completions hands most of them to the kernel as they are. For ASYNC__OP_CALL it waits until the
 * descriptor is ready, and then makes the call as op.c does. */
enum async__opcode {
    ASYNC__OP_CALL, /* op->attempt, which does not block */
    ASYNC__OP_POLL, /* nothing: 0 when the descriptor is ready */
    ASYNC__OP_RECV, /* recv(buffer, length, flags); see `then` */
    ASYNC__OP_READ, /* read(buffer, length); flags: whether the descriptor is blocking; `then` */
    ASYNC__OP_RECVFROM, /* recvfrom(buffer, length, flags, address, address_length) */
    ASYNC__OP_SEND,     /* send(buffer, length, flags) */
    ASYNC__OP_SENDTO,   /* sendto(buffer, length, flags, address, *address_length) */
    ASYNC__OP_WRITE,    /* write(buffer, length); flags: whether the descriptor is blocking */
    ASYNC__OP_ACCEPT,   /* accept4(address, address_length); flags: whether it is blocking */
    ASYNC__OP_CONNECT,  /* connect(address, length); flags: 0. -EXFULL: EAGAIN of a Unix socket, for
                         * which no readiness tells that the other side has room */
    /* These are of struct async__work_op. No readiness announces them: op->attempt makes the call in a
     * thread, or the kernel makes it. If submit gives 1 it has not begun, and op->result says why. */
    ASYNC__OP_WORK,   /* op->attempt and nothing else can do it */
    ASYNC__OP_OPEN,   /* open(buffer, flags, 0666) */
    ASYNC__OP_PREAD,  /* pread(buffer, length, offset) */
    ASYNC__OP_PWRITE, /* pwrite(buffer, length, offset), all of it: these three move along */
    ASYNC__OP_SYNC,   /* fsync() */
    ASYNC__OP_CLOSE,  /* close() */
};

struct async__op {
    async_watch watch; /* the descriptor and the direction: the operation's place in its list */
    unsigned char opcode;
    bool wait_first;        /* the descriptor was found empty a moment ago: wait, and then try */
    bool under_way;         /* submitted, and `done` has not been called */
    unsigned char back_end; /* its own */
    int flags;
    union {
        ssize_t (*attempt)(async__op *op); /* the call: its result, or a negated errno */
        /* Of RECV and READ, may be NULL: takes what has been read, in the turn of the loop in which
         * it has been, and gives the operation's result. `size` may be 0 or a code, -EAGAIN too. If
         * the operation has no buffer, `data` lies in memory of the back end's, which is only good
         * during the call. */
        ssize_t (*then)(async__op *op, const void *data, ssize_t size);
    };
    void (*done)(async__op *op); /* op->result is there */
    void *owner;                 /* of done */
    struct async__wire *wire;    /* what it works on; NULL: on watch.fd (src/wire) */
    ssize_t result;
    void *buffer;
    size_t length;
    void *address; /* a further argument of the call: a sockaddr, a msghdr */
    void *address_length;
};

struct async__work_op {
    async__op op;
    int64_t offset; /* of PREAD and PWRITE; -1: where the descriptor stands */
    async_job job;  /* job.drop is the owner's */
};

/* Sets all that is read of an operation before it is written, but for the call's arguments and
 * watch.fd: to clear the whole struct costs more than the rest of an attempt that succeeds. */
static inline void async__op_init(async__op *op, struct async__wire *wire, unsigned char direction,
                                  enum async__opcode opcode)
{
    op->watch.callback.next = NULL;
    op->watch.direction = direction;
    op->watch.once = op->watch.foreign = op->watch.armed = false;
    op->watch.error = 0;
    op->opcode = (unsigned char)opcode;
    op->wait_first = op->under_way = false;
    op->flags = 0;
    op->wire = wire;
}

/* The calls by opcode (op_calls.c). */
extern ssize_t (*const async__op_calls[])(async__op *op);

/* Makes the call, again if a signal interrupts it. -EAGAIN: the descriptor is not ready. */
static inline ssize_t async__op_call(async__op *op)
{
    ssize_t result;

    do
        result = async__op_calls[op->opcode](op);
    while (async__unlikely(result == -EINTR));
    return result;
}

/* poller->submit, ->cancel and ->ready of a back end that knows readiness only. */
int async__op_try(async_loop *loop, async__op *op);
void async__op_abandon(async_loop *loop, async__op *op, int code);
void async__op_ready(async_callback *callback);
void async__op_work(async_job *job); /* job.work of an operation that runs in a thread */

/* ---- system calls that do not block (nonblocking.c): a result, or a negated errno ---- */

ssize_t async__try_read(int fd, void *buffer, size_t size, bool blocking);
/* Without a SIGPIPE. */
ssize_t async__try_write(int fd, const void *data, size_t size, bool blocking);
ssize_t async__try_writev(int fd, const struct iovec *pieces, int count, bool blocking);

/* sendfile(2) to a non-blocking socket, without a SIGPIPE; *offset moves along. */
ssize_t async__try_sendfile(int socket, int file, int64_t *offset, size_t size);
/* splice(2) from a pipe to a non-blocking socket, without a SIGPIPE; and the other way. */
ssize_t async__try_splice_out(int pipe, int socket, size_t size);
ssize_t async__try_splice_in(int socket, int pipe, size_t size);

/* 1: the descriptor is blocking, 0: it is not, -EBADF. */
int async__is_blocking(int fd);
/* What has become of a connect that was under way when its socket was reported ready: 0, or its
 * error; -EAGAIN: it is still under way. */
int async__connected(int fd);

/* ---- the loop ---- */

/* What async_loop_metrics gives (src/task/metrics.c). Times are in ns of the real clock. */
struct async__stats {
    uint64_t looks,
        sleeps;         /* sleeps: of each its beginning and its end; odd while the loop sleeps */
    uint64_t callbacks; /* and those of the credit that have not run: see async__callbacks_run */
    int64_t ran, run_since; /* in async_loop_run; since when it runs, or 0 */
    int64_t asleep, longest_step, timer_lag;
};

struct async__signal_state; /* signals.c */
struct async__pool;         /* pool.c */

enum {
    ASYNC__PIPES = 16,          /* empty pipes that a loop keeps */
    ASYNC__SCRATCH = 64 * 1024, /* see async__scratch_of */
};

struct async_loop {
    /* The ready queue: a ring through this node. */
    async_callback ready;
    int credit;               /* callbacks to run before the clock is looked at */
    unsigned renewals;        /* of the credit */
    unsigned yields;          /* since the last look; see async_loop_yielded */
    async_callback turn_mark; /* behind all that was ready after the last look; see loop.c */
    union {
        struct {
            bool stopping; /* now */
            bool special;  /* a callback is chosen by the seed, or its run is timed */
            bool poll_due; /* descriptors and timers are looked at before the next callback */
        };
        uint32_t unusual; /* one of these: something else than the next callback is due */
    };
    bool running, shared, turns;
    bool stop_requested; /* at the turn's end, by turn_mark */
    bool virtual_clock;
    bool timed;             /* debug mode, ASYNC_MEASURE_STEPS, or a trace */
    bool debug;             /* debug mode (debug.c) */
    async_callback *chosen; /* in a timed loop: what runs next, decided by the task that gave way */
    uint64_t seed;
    void (*shuffled)(
        async_callback *); /* callbacks that the seed may put out of order: those with this run */
    int64_t now;           /* of the virtual clock */
    int64_t last_poll;     /* of the real clock */
    int64_t wait_limit;    /* ns, of a look that may wait: async_loop_run_once */

    struct async__timers timers;

    const async__poller *poller;
    void *back_end; /* its own state */
    int wake_fd;    /* an eventfd: other threads and signal handlers write to it */
    async_watch wake_watch;
    _Atomic(async_callback *) incoming; /* call_soon_threadsafe: a stack, newest first */
    atomic_bool woken;          /* wake_fd has been written to, and the loop not come to it */
    atomic_bool takes_requests; /* of async_run_coroutine_threadsafe (task/thread.c) */
    atomic_uint requesting;     /* threads between their look at that and their push */
    struct async__fd *fds;
    int fds_length;

    /* What could still make something ready, for -EDEADLK. */
    size_t watches; /* armed, operations' among them, but for the loop's own */
    size_t jobs;    /* in a thread pool */
    size_t signals; /* handlers that the user added */
    size_t foreign; /* waits that another thread may end */

    struct async__signal_state *signal_state;
    struct async__pool *executor, *resolver;
    unsigned executor_threads;
    unsigned measure; /* ASYNC_MEASURE_... */
    size_t stack_size;

    struct async__stats stats;
    int64_t slow_callback;
    struct {
        async_callback callback;
        const char *call;
        atomic_bool told;
    } wrong_thread; /* a call from another thread, on its way to be reported */
    struct async__watchdog *watchdog;
    struct async__trace *trace;             /* NULL: none is on (trace.c) */
    const struct async__trace_views *views; /* the client's, of its tasks; NULL: there are none */
    /* The client's: writes which task the callback is a step of, or, for NULL, which one runs, and with
     * `chain` those that await it. Async-signal-safe. NULL: there are no tasks. */
    void (*describe)(const async_callback *step, bool chain, char *text, size_t size);

    bool (*idle)(async_loop *loop); /* called before a sleep; true: call again after a short one */
    void *client;                   /* the task layer's state */
    /* The client's: calls function(argument), which does not wait, on the loop's own stack. */
    void (*aside)(void (*function)(void *), void *argument);
    /* The client's, where steps are timed: a task's step has ended, and took so long. */
    void (*stepped)(async_callback *step, int64_t end, int64_t took);
    void *scratch;              /* async__scratch_of */
    int pipes[ASYNC__PIPES][2]; /* empty ones, for splice (io) */
    int pipe_count;
    async_poll_hooks hooks;
    unsigned forks; /* async__forks when the loop was made */
    async_exception_handler *exception_handler;
    void *exception_data;
    size_t lost;                 /* errors that there was no handler for */
    char first_lost[256];        /* the first one's message: no memory may be left when it comes */
    async_callback at_close;     /* a ring, as `ready` */
    async_loop *next, *previous; /* all loops: layout.c */
};

/* The list of all loops, for programs that look in from outside (layout.c). */
void async__loop_list(async_loop *loop);
void async__loop_unlist(async_loop *loop);
void async__layout_forked(void); /* in the child */

extern __thread async_loop *async__running_loop;
extern unsigned async__forks; /* how many forks this process is away from its ancestor */

/* How many callbacks have run: the credit counts them, and is all that a switch touches. */
static inline uint64_t async__callbacks_run(const async_loop *loop)
{
    return loop->stats.callbacks - (uint64_t)loop->credit;
}

/* Whether this process was forked from the loop's: what the loop has in the kernel is its
 * parent's. */
static inline bool async__is_forked(const async_loop *loop) { return loop->forks != async__forks; }

/* The loop that runs in this thread, or NULL. */
static inline async_loop *async__loop(void) { return async__running_loop; }

/* Changes when the descriptor is closed, and so tells a number from the same one reused: a call that
 * lets other tasks run before it comes to its system call asks before and after. */
void async__fd_know(async_loop *loop, int fd);
static inline uint32_t async__fd_generation(async_loop *loop, int fd)
{
    if (async__unlikely((unsigned)fd >= (unsigned)loop->fds_length)) async__fd_know(loop, fd);
    return async__likely((unsigned)fd < (unsigned)loop->fds_length) ? loop->fds[fd].generation : 0;
}

/* Whether the watch is armed in this loop. A child of a fork finds armed ones that are in its
 * parent's, and may close what they belong to in a loop of its own. */
static inline bool async__watches(const async_loop *loop, const async_watch *watch)
{
    return watch->armed && watch->fd < loop->fds_length &&
           loop->fds[watch->fd].watch[watch->direction] == watch;
}

/* The loop's buffer for what is read without one, of ASYNC__SCRATCH bytes; NULL: no memory. */
static inline void *async__scratch_of(async_loop *loop)
{
    if (async__unlikely(!loop->scratch)) loop->scratch = async__alloc(ASYNC__SCRATCH);
    return loop->scratch;
}

void async__wake(async_loop *loop);          /* any thread, and signal handlers */
void async__take_incoming(async_loop *loop); /* what other threads queued joins the ready queue */
int64_t async__clock(void);                  /* CLOCK_MONOTONIC in ns */
void async__report(async_loop *loop, int code, const char *message);
int async__seconds_to_ns(double seconds, int64_t *ns); /* -EINVAL for NaN; clamps to ASYNC__NEVER */
int64_t async__deadline(int64_t now, int64_t delay);   /* now + delay, at most ASYNC__NEVER */

/* Of a ring: before its head is the end, before the first the front. */
static inline void async__ring_insert(async_callback *before, async_callback *callback)
{
    callback->prev = before->prev;
    callback->next = before;
    before->prev->next = callback;
    before->prev = callback;
}

static inline void async__ready_push(async_loop *loop, async_callback *callback)
{
    async__ring_insert(&loop->ready, callback);
}

/* As async_call_soon, from within the loop. */
static inline void async__soon(async_loop *loop, async_callback *callback)
{
    if (!callback->next) async__ready_push(loop, callback);
}

static inline void async__ready_unlink(async_callback *callback)
{
    callback->prev->next = callback->next;
    callback->next->prev = callback->prev;
    callback->next = NULL; /* which says that it is not queued */
}

/* As async_call_at_ns and async_timer_cancel, from within the loop. */
static inline bool async__timer_cancel(async_loop *loop, async_timer *timer)
{
    if (timer->slot) {
        async__timers_remove(&loop->timers, timer->slot);
        timer->slot = 0;
        return true;
    }
    if (!timer->callback.next) return false;
    async__ready_unlink(&timer->callback);
    return true;
}

static inline int async__call_at(async_loop *loop, async_timer *timer, int64_t when)
{
    async__timer_cancel(loop, timer);
    return async__timers_add(&loop->timers, timer, when);
}

/* xorshift64*: enough to try orders out with, and the same everywhere. The state must not be 0. */
#define ASYNC__SEED 0x9E3779B97F4A7C15ULL /* where there is none */
static inline uint64_t async__draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

/* In a special loop: the next callback, not taken out of the queue. */
async_callback *async__ready_special(async_loop *loop);
/* Works `special` out anew, after a change of what makes a loop so. */
void async__special_set(async_loop *loop);

/* The hot path of the task layer: takes the next ready callback if it is one with this `run` and it
 * is not yet time to look at descriptors and timers; else NULL, and the caller goes back to the
 * loop. */
bool async__credit_renew(async_loop *loop);

static inline async_callback *async__ready_take(async_loop *loop, void (*run)(async_callback *))
{
    async_callback *first = loop->ready.next;
    if (async__unlikely(loop->special)) first = async__ready_special(loop);
    if (async__unlikely(first == &loop->ready || first->run != run)) return NULL;
    if (async__unlikely(--loop->credit <= 0) && !async__credit_renew(loop)) return NULL;
    async__ready_unlink(first);
    return first;
}

/* ---- thread pools (pool.c) ---- */

/* At most max_threads (0: processors + 4, at most 32) at a time, of which kept_threads (0: all) stay
 * when there is nothing to do. */
struct async__pool *async__pool_new(unsigned max_threads, unsigned kept_threads, const char *name);
int async__pool_submit(struct async__pool *pool, async_loop *loop, async_job *job);
/* Ends the pool. Its jobs are abandoned, in whatever state they are: done runs for none of them. `wait`: until
 * all work that has begun is done; else threads that are in a job end by themselves, and do not touch
 * the loop any more. NULL is fine. */
void async__pool_close(struct async__pool *pool, bool wait);
/* Adds what the pool has done to *metrics. NULL is fine. */
struct async_metrics;
void async__block_signals(
    sigset_t *before); /* in a thread that is to be made, but for those of faults */
void async__pool_metrics(struct async__pool *pool, struct async_metrics *metrics);

/* ---- signals (signals.c) ---- */

/* async_add_signal_handler and its opposite. Not `counted`: the library's own callback, which keeps
 * no loop alive, and which a counted one of the same loop displaces while it is there. It is called
 * for the first arrival of the signal; at the second the disposition of before is back, and the
 * signal has its effect. */
int async__signal_add(async_loop *loop, int number, async_callback *callback, bool counted);
bool async__signal_remove(async_loop *loop, int number, bool counted);

/* Called by the loop each time it has been woken: queues the callbacks of the signals that
 * arrived. */
void async__signals_dispatch(async_loop *loop);
void async__signals_close(async_loop *loop);

/* ---- names (resolver.c) ---- */

struct addrinfo;

/* A getaddrinfo in the resolver pool: done runs in the loop with `error` (0 or an EAI_ code) and
 * `list`. From then on the look-up is its starter's, to be freed with async__lookup_free. */
struct async__lookup {
    async_job job;
    char *host, *service; /* copies, owned; may be NULL */
    int family, type, protocol, flags;
    int error, system_error; /* EAI_..., and errno for EAI_SYSTEM */
    struct addrinfo *list;
    void (*done)(struct async__lookup *self);
    void *data;
};

/* Has a job done in a thread of the resolver: 0, -ENOMEM, -EAGAIN. */
int async__resolver_submit(async_loop *loop, async_job *job);

/* NULL and *code: -ENOMEM, -EAGAIN. */
struct async__lookup *async__lookup_start(async_loop *loop, const char *host, const char *service,
                                          int family, int type, int protocol, int flags,
                                          void (*done)(struct async__lookup *), void *data,
                                          int *code);
void async__lookup_abandon(struct async__lookup *lookup); /* before done: done will not run */
void async__lookup_free(
    struct async__lookup *lookup); /* after done; frees list unless it is NULL */

/* For a host and a service that are numbers (or NULL): answers at once. 0, or an EAI_ code:
 * EAI_NONAME for what is not a number. */
int async__lookup_numeric(const char *host, const char *service, int family, int type, int protocol,
                          int flags, struct addrinfo **list);

/* The code of errors.h for an EAI_ code (and the errno that belongs to EAI_SYSTEM); 0 for 0. */
int async__lookup_error(int eai, int system_error);

#endif
