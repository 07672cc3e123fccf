/* loop.c - the loop: the ready queue, and when to look at descriptors, timers and other threads.
 *
 * Callbacks run in the order in which they were made ready. The loop sleeps only when none is;
 * while some are, it looks outside (at those three) about every 50 microseconds: a look is a system
 * call, and one a turn would cost more than most of what a turn does. To know the time is not free
 * either, so the clock is read once every 32 callbacks (`credit`). And a look comes at most once a
 * turn: before what the last one has found has run, each of those descriptors would be asked again
 * (with 1,000 busy connections that was a fifth of the CPU time). The turn's end is a callback,
 * `turn_mark`.
 *
 * A fiber that gives way takes the next task from the ready queue itself (async__ready_take), so
 * that the loop's own stack is visited only when something else than a task is due. */
#include "trace.h"
#include "debug.h"

#include <casyncio/metrics.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../base/faults.h"
#include "../base/probes.h"

#define CREDIT 32
#define POLL_INTERVAL 50000      /* ns */
#define VIRTUAL_POLL_INTERVAL 32 /* renewals of the credit */
#define IDLE_INTERVAL (ASYNC__SECOND / 10)
#define YIELDS 4 /* see async_loop_yielded */

__thread async_loop *async__running_loop;

int64_t async__clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    int64_t now = time.tv_sec * ASYNC__SECOND + time.tv_nsec;
#ifdef ASYNC_FAULTS
    now *= async__fault_speed;
#endif
    return now;
}

int async__seconds_to_ns(double seconds, int64_t *ns)
{
    if (isnan(seconds)) return -EINVAL;
    double exact = seconds * 1e9;
    *ns = exact >= 9.2e18 ? ASYNC__NEVER : exact <= -9.2e18 ? -ASYNC__NEVER : (int64_t)exact;
    return 0;
}

int64_t async__deadline(int64_t now, int64_t delay)
{
    int64_t when;
    if (delay == ASYNC__NEVER || __builtin_add_overflow(now, delay, &when)) return ASYNC__NEVER;
    return when;
}

int64_t async_loop_time_ns(const async_loop *loop)
{
    return loop->virtual_clock ? loop->now : async__clock();
}

double async_loop_time(const async_loop *loop) { return (double)async_loop_time_ns(loop) * 1e-9; }

double async_now(void)
{
    async_loop *loop = async__loop();
    return loop ? async_loop_time(loop) : 0;
}

/* ---- refused calls ---- */

#pragma weak async_raise_at_list

int async__loop_fail(int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (async_raise_at_list) async_raise_at_list(NULL, 0, NULL, code, format, arguments);
    va_end(arguments);
    return code;
}

/* ---- callbacks and timers ---- */

void async_call_soon(async_loop *loop, async_callback *callback)
{
    if (async__wrong_thread(loop, "async_call_soon")) return;
    if (!callback->next) async__ready_push(loop, callback);
}

bool async_callback_cancel(async_callback *callback)
{
    if (!callback->next) return false;
    async__ready_unlink(callback);
    return true;
}

int async_call_at_ns(async_loop *loop, async_timer *timer, int64_t when)
{
    if (async__wrong_thread(loop, "async_call_at")) return -EPERM;
    return async__call_at(loop, timer, when);
}

static int not_a_time(const char *call)
{
    return async__loop_fail(-EINVAL, "%s: the time is NaN", call);
}

int async_call_at(async_loop *loop, async_timer *timer, double when)
{
    int64_t ns;
    if (async__seconds_to_ns(when, &ns) < 0) return not_a_time("async_call_at");
    return async_call_at_ns(loop, timer, ns);
}

int async_call_later(async_loop *loop, async_timer *timer, double delay)
{
    int64_t ns;
    if (async__seconds_to_ns(delay, &ns) < 0) return not_a_time("async_call_later");
    return async_call_at_ns(loop, timer, async__deadline(async_loop_time_ns(loop), ns));
}

bool async_timer_cancel(async_loop *loop, async_timer *timer)
{
    if (async__wrong_thread(loop, "async_timer_cancel")) return false;
    return async__timer_cancel(loop, timer);
}

/* ---- from other threads ---- */

void async__wake(async_loop *loop)
{
    if (async__unlikely(async__is_forked(loop))) return; /* it would wake the parent's loop */
    if (atomic_exchange(&loop->woken, true)) return;
    uint64_t one = 1;
    int saved = errno;
    ssize_t written;
    do
        written = write(loop->wake_fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    errno = saved;
}

void async_call_soon_threadsafe(async_loop *loop, async_callback *callback)
{
    async_callback *first = atomic_load_explicit(&loop->incoming, memory_order_relaxed);

    /* A push only: the loop takes the whole stack at once, so that there is no ABA problem. */
    do
        callback->prev = first;
    while (!atomic_compare_exchange_weak_explicit(&loop->incoming, &first, callback,
                                                  memory_order_release, memory_order_relaxed));
    async__wake(loop);
}

/* The stack is newest first, linked through prev; the callbacks are to run oldest first. */
void async__take_incoming(async_loop *loop)
{
    if (!atomic_load_explicit(&loop->incoming, memory_order_relaxed)) return;
    async_callback *newest = atomic_exchange_explicit(&loop->incoming, NULL, memory_order_acquire);
    async_callback *oldest = NULL;

    while (newest) {
        async_callback *older = newest->prev;
        newest->prev = oldest;
        oldest = newest;
        newest = older;
    }
    while (oldest) {
        async_callback *newer = oldest->prev;
        async__ready_push(loop, oldest);
        oldest = newer;
    }
}

void async__woken(async_callback *callback)
{
    async_loop *loop = async__container(callback, async_loop, wake_watch.callback);

    /* `woken` is reset before the queues are read: what comes later writes again. An exchange, not a
     * store: the loads below must not be reordered before it. */
    atomic_exchange(&loop->woken, false);
    async__signals_dispatch(loop);
    async__take_incoming(loop);
    async__trace_look_for_request(loop);
}

/* ---- running ---- */

static bool look_is_due(async_loop *loop)
{
    /* Counted, not timed, so that a run repeats exactly. */
    if (loop->virtual_clock) return ++loop->renewals % VIRTUAL_POLL_INTERVAL == 0;
    return async__clock() - loop->last_poll >= POLL_INTERVAL;
}

/* A loop with turns asks at the end of each, however few callbacks that had. */
bool async__credit_renew(async_loop *loop)
{
    loop->stats.callbacks += (uint64_t)(CREDIT - loop->credit);
    loop->credit = CREDIT;
    if (!loop->turns && (loop->virtual_clock || !loop->turn_mark.next) && look_is_due(loop))
        loop->poll_due = true;
    return !loop->poll_due;
}

/* The next in the queue: a trace's mark is none, so that it changes no order. */
static async_callback *ready_after(const async_loop *loop, const async_callback *callback)
{
    async_callback *next = callback->next;
    return async__unlikely(loop->trace != NULL) && next == &loop->trace->mark ? next->next : next;
}

/* With a seed: one of the first eight tasks that are ready, so that none waits for ever. What is
 * not a task keeps its place, as asyncio promises of callbacks. */
static async_callback *shuffled(async_loop *loop)
{
    async_callback *chosen = ready_after(loop, &loop->ready);

    for (uint64_t steps = async__draw(&loop->seed) >> 61; steps > 0; steps--) {
        async_callback *next = ready_after(loop, chosen);
        if (chosen->run != loop->shuffled || next->run != loop->shuffled) break;
        chosen = next;
    }
    return chosen;
}

/* Where steps are timed a task that gives way goes back to the loop, whatever comes next. What it would
 * have taken is decided here all the same, as in async__ready_take, so that a seed gives the same order. */
async_callback *async__ready_special(async_loop *loop)
{
    async_callback *next = loop->seed ? shuffled(loop) : ready_after(loop, &loop->ready);

    if (!loop->timed) return next;
    if (next != &loop->ready && next->run == loop->shuffled &&
        (--loop->credit > 0 || async__credit_renew(loop)))
        loop->chosen = next;
    return &loop->ready;
}

void async__special_set(async_loop *loop)
{
    loop->timed = loop->debug || loop->measure & ASYNC_MEASURE_STEPS || loop->trace;
    loop->special = loop->seed != 0 || loop->timed;
}

/* How late the first is that is due. One that was cancelled may be in its place: then the next look tells.
 * A time before the last look was in the past when it was set. */
static void note_lag(async_loop *loop, int64_t now)
{
    const struct async__timer_entry *first = loop->timers.heap;
    int64_t since = first->when > loop->last_poll ? first->when : loop->last_poll;

    if (now - since > loop->stats.timer_lag && !loop->virtual_clock &&
        loop->timers.slots[first->slot])
        loop->stats.timer_lag = now - since;
}

static void run_due_timers(async_loop *loop)
{
    if (loop->timers.length == 0) return;
    int64_t now = async_loop_time_ns(loop);
    async_timer *timer;

    note_lag(loop, now);
    while ((timer = async__timers_pop(&loop->timers, now)))
        async__ready_push(loop, &timer->callback);
}

/* How long the poll may sleep: 0 to only look. -EDEADLK: nothing could ever end it. */
static int sleep_limit(async_loop *loop, int64_t *timeout)
{
    *timeout = 0;
    if (loop->ready.next != &loop->ready || loop->stop_requested) return 0;

    int64_t next = async__timers_next(&loop->timers);
    if (next == ASYNC__NEVER) { /* a timer that is set for infinity is none */
        if (!loop->watches && !loop->jobs && !loop->signals && !loop->foreign && !loop->shared &&
            loop->wait_limit == ASYNC__NEVER)
            return -EDEADLK;
        *timeout = ASYNC__NEVER;
    } else if (!loop->virtual_clock) {
        int64_t left = next - async__clock();
        *timeout = left > 0 ? left : 0;
    } else if (loop->jobs) {
        *timeout = ASYNC__NEVER; /* until a thread is done; else 0, and the clock jumps */
    }
    return 0;
}

/* The clock of a test stands still while anything can run, and then jumps to the next timer. */
static void jump(async_loop *loop)
{
    if (loop->ready.next != &loop->ready || loop->jobs) return;
    int64_t next = async__timers_next(&loop->timers);
    int64_t limit = async__deadline(loop->now, loop->wait_limit);
    if (next > limit) next = limit;
    if (next != ASYNC__NEVER && next > loop->now) loop->now = next;
}

/* `sleeps` is odd meanwhile: the watchdog looks at it. */
static int wait_outside(async_loop *loop, int64_t timeout)
{
    loop->stats.looks++;
    if (timeout == 0) return loop->poller->wait(loop, 0);
    loop->stats.sleeps++;
    int code = async__unlikely(loop->debug || loop->measure) ? async__wait_watched(loop, timeout)
                                                             : loop->poller->wait(loop, timeout);
    loop->stats.sleeps++;
    return code;
}

static int look_outside(async_loop *loop)
{
    int64_t timeout;
    int code = sleep_limit(loop, &timeout);
    if (code < 0) return code;

    /* While idle() has memory left to give back the sleep is short, so that it is called again. */
    if (timeout > IDLE_INTERVAL / 100 && loop->idle && loop->idle(loop) && timeout > IDLE_INTERVAL)
        timeout = IDLE_INTERVAL;
    if (timeout > loop->wait_limit) timeout = loop->wait_limit;
    ASYNC__PROBE2(loop__look, loop, timeout);
    code = wait_outside(loop, timeout);
    ASYNC__PROBE(loop__looked, loop);
    if (code < 0) return code;
    if (loop->virtual_clock) jump(loop);
#ifdef ASYNC_FAULTS
    loop->now += async__fault_tick;
#endif
    run_due_timers(loop); /* after the poll, whose events come first in the queue */

    loop->poll_due = false;
    loop->stats.callbacks += (uint64_t)(CREDIT - loop->credit);
    loop->credit = CREDIT;
    loop->yields = 0;
    if (!loop->virtual_clock) loop->last_poll = async__clock();
    /* Behind all that this look has made ready: the next look waits until the mark has run. */
    if (loop->ready.next != &loop->ready || loop->stop_requested)
        async__soon(loop, &loop->turn_mark);
    return 0;
}

/* The turn mark has come to the front: what was ready after the last look has run. */

static void on_turn_end(async_callback *callback)
{
    async_loop *loop = async__container(callback, async_loop, turn_mark);

    if (loop->stop_requested)
        loop->stopping = true;
    else if (!loop->turns || loop->ready.next == &loop->ready)
        return;
    else if (loop->yields >= YIELDS || look_is_due(loop))
        loop->poll_due = true; /* the look puts a new mark */
    else
        async__ready_push(loop, callback);
}

void async_loop_yielded(async_loop *loop) { loop->yields++; }

void async_loop_stop(async_loop *loop)
{
    if (async__wrong_thread(loop, "async_loop_stop")) return;
    loop->stop_requested = true;
    if (loop->turns && !loop->running) return; /* the first look begins a turn */
    /* Without turns what is ready now still runs: the mark moves behind it. */
    if (!loop->turns) async_callback_cancel(&loop->turn_mark);
    async__soon(loop, &loop->turn_mark);
}

void async_loop_interrupt(async_loop *loop) { loop->stopping = true; }

/* A seed chooses, and what is timed runs between two looks at the clock. */
static int run_special(async_loop *loop)
{
    async_callback *callback = loop->chosen;

    if (!callback) {
        if (loop->poll_due || loop->ready.next == &loop->ready) return look_outside(loop);
        callback = loop->seed ? shuffled(loop) : loop->ready.next;
        if (--loop->credit <= 0) async__credit_renew(loop);
    }
    loop->chosen = NULL;
    async__ready_unlink(callback);
    if (loop->timed)
        async__run_timed(loop, callback);
    else
        callback->run(callback);
    return 0;
}

static int run_callbacks(async_loop *loop)
{
    for (;;) {
        async_callback *callback = loop->ready.next;
        if (loop->unusual || callback == &loop->ready) {
            if (loop->stopping) return 0;
            int code = loop->special ? run_special(loop) : look_outside(loop);
            if (code < 0) return code;
            continue;
        }
        if (--loop->credit <= 0) async__credit_renew(loop);
        async__ready_unlink(callback); /* before it runs: it may queue itself again, or be freed */
        callback->run(callback);
    }
}

static int begin_run(async_loop *loop, const char *call)
{
    if (async__is_forked(loop))
        return async__loop_fail(-ECHILD, "%s: the loop is the parent process's", call);
    if (loop->running) return async__loop_fail(-EBUSY, "%s: the loop runs already", call);
    if (async__running_loop)
        return async__loop_fail(-EALREADY, "%s: another loop runs in this thread", call);

    async__running_loop = loop;
    loop->running = true;
    loop->stopping = false;
    loop->chosen = NULL; /* what an earlier run ended before is still in the queue */
    loop->stats.run_since = async__clock();
    if (loop->trace) loop->trace->now = 0;
    async__trace_look_for_request(loop);
    return 0;
}

static int end_run(async_loop *loop, int code)
{
    loop->stats.ran += async__clock() - loop->stats.run_since;
    loop->stats.run_since = 0;
    if (loop->stop_requested) async_callback_cancel(&loop->turn_mark);
    loop->stop_requested = false;
    if (loop->poller->rest) loop->poller->rest(loop);
    loop->running = false;
    async__running_loop = NULL;
    return code;
}

int async_loop_run(async_loop *loop)
{
    int code = begin_run(loop, "async_loop_run");
    if (code < 0) return code;
    if (loop->turns) {
        async_callback_cancel(&loop->turn_mark);
        loop->poll_due = true;
    }
    return end_run(loop, run_callbacks(loop));
}

/* ---- in another program's loop ---- */

int async_loop_run_once(async_loop *loop, double timeout)
{
    int64_t limit;
    if (async__seconds_to_ns(timeout, &limit) < 0) return not_a_time("async_loop_run_once");
    int code = begin_run(loop, "async_loop_run_once");
    if (code < 0) return code;

    loop->wait_limit = limit > 0 ? limit : 0;
    code = look_outside(loop);
    loop->wait_limit = ASYNC__NEVER;
    if (code == 0) {
        async_loop_stop(loop); /* behind what the look has found, and what was ready before */
        code = run_callbacks(loop);
    }
    return end_run(loop, code);
}

int async_loop_fd(const async_loop *loop) { return loop->poller->fd(loop); }

double async_loop_timeout(async_loop *loop)
{
    if (loop->ready.next != &loop->ready || loop->stop_requested || atomic_load(&loop->incoming))
        return 0;
    int64_t next = async__timers_next(&loop->timers);
    if (next == ASYNC__NEVER) return INFINITY;
    int64_t left = next - async_loop_time_ns(loop);
    return left > 0 ? (double)left * 1e-9 : 0;
}

bool async_loop_is_running(const async_loop *loop) { return loop->running; }

async_loop *async_get_running_loop(void) { return async__running_loop; }

void async_loop_share(async_loop *loop)
{
    if (loop) loop->shared = true;
}

void async_set_poll_hooks(async_loop *loop, const async_poll_hooks *hooks)
{
    loop->hooks = hooks ? *hooks : (async_poll_hooks){0};
}

int async_loop_visit(const async_loop *loop, int (*visit)(async_callback *callback, void *data),
                     void *data)
{
    int code = 0;

    for (async_callback *each = loop->ready.next; code == 0 && each != &loop->ready;
         each = each->next)
        code = visit(each, data);
    for (uint32_t i = 0; code == 0 && i < loop->timers.length; i++) {
        async_timer *timer = async__timers_at(&loop->timers, i);
        if (timer) code = visit(&timer->callback, data);
    }
    return code;
}

async_callback *async_loop_take(async_loop *loop)
{
    async__take_incoming(loop);
    async_callback *callback = loop->ready.next;
    if (callback != &loop->ready) {
        async__ready_unlink(callback);
        return callback;
    }
    async_timer *timer = async__timers_pop(&loop->timers, ASYNC__NEVER);
    return timer ? &timer->callback : NULL;
}

const char *async_loop_backend(const async_loop *loop) { return loop->poller->name; }

/* ---- making and closing ---- */

unsigned async__forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;

/* In a child that was forked in a callback of a loop no loop runs, so that the child may run one of
 * its own. If it returns from the callback instead, the loop goes no further than to its next look,
 * which gives -ECHILD. */
static void after_fork(void)
{
    async__forks++;
    async__debug_forked();
    async__watchdog_forked();
    async__layout_forked();
    async__trace_forked();
    if (async__running_loop) {
        async__running_loop->poll_due = true;
        async__running_loop->credit = 0;
    }
    async__running_loop = NULL;
}
static void count_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

/* The name is settled before anything is probed: some sandboxes kill a process that probes. */
static int choose_poller(async_loop *loop, const char *name)
{
    static const struct {
        const char *name;
        const async__poller *poller;
    } known[] = {
        {"", &async__epoll},         {"epoll", &async__epoll}, {"auto", &async__epoll},
#ifdef ASYNC_URING
        {"io_uring", &async__uring},
#else
        {"io_uring", &async__epoll},
#endif
#ifdef ASYNC_LATE
        {"late", &async__late},
#endif
    };

    if (!name) name = secure_getenv("CASYNCIO_BACKEND");
    if (!name) name = "epoll";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        loop->poller = known[i].poller;
        return 0;
    }
    return async__loop_fail(-EINVAL, "a loop: there is no back end \"%s\"", name);
}

/* The eventfd is never read, which saves a system call for each time that another thread wakes the loop:
 * interest in it is edge-triggered, and each write is an edge. The loop's own watch is not counted: it
 * must not hide a deadlock (-EDEADLK). */
static int open_wake(async_loop *loop)
{
    loop->wake_fd = ASYNC__CALL(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (loop->wake_fd < 0) return -errno;
    loop->wake_watch.callback.run = async__woken;
    int code = async_add_reader(loop, loop->wake_fd, &loop->wake_watch);
    if (code == 0) {
        loop->watches--;
        code = async__fd_use_edges(loop, loop->wake_fd);
    }
    if (code < 0) close(loop->wake_fd);
    return code;
}

static int open_loop(async_loop *loop, const async_loop_options *options)
{
    int code = choose_poller(loop, options->backend);
    if (code < 0) return code;
    loop->ready.next = loop->ready.prev = &loop->ready;
    loop->at_close.next = loop->at_close.prev = &loop->at_close;
    loop->turn_mark.run = on_turn_end;
    loop->credit = CREDIT;
    loop->stats.callbacks = CREDIT;
    loop->poll_due = true;
    loop->virtual_clock = options->virtual_clock;
    loop->seed = options->seed;
    loop->stack_size = options->stack_size;
    loop->executor_threads = options->executor_threads;
    loop->turns = options->turns;
    loop->wait_limit = ASYNC__NEVER;
    loop->measure = options->measure;
    loop->slow_callback = ASYNC__SECOND / 10;
    async_set_debug(loop, options->debug);
    pthread_once(&forks_once, count_forks);
    loop->forks = async__forks;

    code = loop->poller->open(loop);
    if (code < 0) return code;
    code = open_wake(loop);
    if (code < 0) loop->poller->close(loop);
    return code;
}

async_loop *async__loop_new(const async_loop_options *given, size_t size)
{
    async_loop_options options;
    async_loop *loop = async__alloc_zeroed(sizeof *loop);
    int code = async__options(&options, sizeof options, given, size);

    if (code < 0)
        async__loop_fail(code, "a loop: an option of a newer version");
    else if (loop)
        code = open_loop(loop, &options);
    else
        code = -ENOMEM;
    if (code == 0) {
        async__loop_list(loop);
        return loop;
    }
    if (code != -EINVAL) async__loop_fail(code, "a loop: %s", async_strerror(code));
    if (loop) async__free(loop->fds);
    async__free(loop);
    errno = -code;
    return NULL;
}

void async_loop_at_close(async_loop *loop, async_callback *callback)
{
    if (!callback->next) async__ring_insert(loop->at_close.next, callback);
}

int async_loop_close(async_loop *loop)
{
    if (loop->running && !async__is_forked(loop))
        return async__loop_fail(-EBUSY, "async_loop_close: the loop runs");

    while (loop->at_close.next != &loop->at_close) {
        async_callback *callback = loop->at_close.next;
        async__ready_unlink(callback);
        callback->run(callback);
    }
    async__loop_unlist(loop);
    async__trace_close(loop);
    if (!async__is_forked(loop)) async__debug_unclosed(loop);
    async_watchdog_stop(loop);
    /* Signals and threads first: they wake the loop by its eventfd. */
    async__signals_close(loop);
    async__pool_close(loop->executor, true);
    async__pool_close(loop->resolver, false);
    loop->poller->close(loop);
    close(loop->wake_fd);
    async__timers_free(&loop->timers);
    async__free(loop->fds);
    async__free(loop->scratch);
    while (loop->pipe_count > 0) {
        const int *ends = loop->pipes[--loop->pipe_count];
        close(ends[0]);
        close(ends[1]);
    }
    async__free(loop);
    return 0;
}

void async_set_exception_handler(async_loop *loop, async_exception_handler *handler, void *data)
{
    loop->exception_handler = handler;
    loop->exception_data = data;
}

void async__report(async_loop *loop, int code, const char *message)
{
    if (loop->exception_handler) {
        loop->exception_handler(loop, code, message, loop->exception_data);
        return;
    }
    if (loop->debug) {
        async__print_report(message);
        return;
    }
    if (loop->lost++ > 0) return;
    strncpy(loop->first_lost, message, sizeof loop->first_lost - 1); /* the last byte stays 0 */
}
