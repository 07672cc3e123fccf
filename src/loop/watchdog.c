/* watchdog.c - a thread that says what blocks the loop, while it does.
 *
 * The loop does nothing for it. The number of callbacks that have run falls out of the credit, which
 * each switch counts down anyway: while that number does not change, and the loop does not sleep, one
 * callback runs. The number is read without any order between the threads; a value that is old is at
 * worst a look too late.
 *
 * What runs is asked of the loop's thread itself, by a signal: only there are its frames and its tasks
 * at rest. The handler makes sure that the same callback still runs, notes the frames and the chain of
 * tasks, whose links cannot change while the innermost one runs, and answers by a semaphore. */
#include "debug.h"

#include "../base/backtrace.h"
#include "../base/faults.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    FRAMES = 32,
    HANDLER_FRAMES = 2,  /* the handler's own, and the C library's to which it returns */
    LOOKS = 4,           /* in the time after which a block is told of */
    PATIENCE = 1,        /* seconds, for the answer */
    LEAST = 1000 * 1000, /* ns between two looks */
};

struct async__watchdog {
    async_loop *loop;
    async_watchdog_options options;
    int64_t after;
    pthread_t watched, thread;
    pthread_mutex_t mutex;
    pthread_cond_t stop;
    bool stopping;
    /* The question: which callback is meant. The answer is good once `answered` has been posted. */
    atomic_bool asks;
    uint64_t asked;
    sem_t answered;
    bool moved_on; /* another callback runs by now */
    int count;
    void *frames[FRAMES];
    char who[512];
};

/* ---- in the loop's thread: the signal ---- */

static __thread struct async__watchdog *watchdog_here;

static void on_question(int number)
{
    int saved = errno;
    struct async__watchdog *self = watchdog_here;
    (void)number;

    if (self && atomic_exchange(&self->asks, false)) {
        async_loop *loop = self->loop;
        self->moved_on = async__callbacks_run(loop) != self->asked;
        self->who[0] = 0;
        self->count = 0;
        if (!self->moved_on) {
            self->count = async__backtrace(self->frames, FRAMES);
            if (loop->describe) loop->describe(NULL, true, self->who, sizeof self->who);
        }
        sem_post(&self->answered);
    }
    errno = saved;
}

/* The handler is the process's: there while there are watchdogs, unless the program has one. */
static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static bool installed;

static void install_handler(void)
{
    struct sigaction action = {.sa_handler = on_question, .sa_flags = SA_RESTART | SA_ONSTACK}, now;
    void *frame;

    async__backtrace(&frame, 1); /* what it allocates, it allocates now */
    pthread_mutex_lock(&handler_lock);
    if (users++ == 0 && sigaction(SIGURG, NULL, &now) == 0 && now.sa_handler == SIG_DFL &&
        !(now.sa_flags & SA_SIGINFO))
        installed = sigaction(SIGURG, &action, NULL) == 0;
    pthread_mutex_unlock(&handler_lock);
}

static void remove_handler(void)
{
    struct sigaction now, before = {.sa_handler = SIG_DFL};

    pthread_mutex_lock(&handler_lock);
    if (--users == 0 && installed) {
        if (sigaction(SIGURG, NULL, &now) == 0 && now.sa_handler == on_question)
            sigaction(SIGURG, &before, NULL); /* whose effect is none: a late one does no harm */
        installed = false;
    }
    pthread_mutex_unlock(&handler_lock);
}

/* ---- in the watchdog's thread ---- */

/* What the loop writes without a thought of other threads. */
__attribute__((no_sanitize("thread"))) static bool look(const async_loop *loop, uint64_t *at)
{
    const volatile async_loop *now = loop;
    uint64_t callbacks = now->stats.callbacks - (uint64_t)now->credit;
    bool same = *at == callbacks;

    *at = callbacks;
    return same && now->running && now->stats.sleeps % 2 == 0;
}

/* Where several loops block at once, each question has its answer before the next is asked. */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;

void async__watchdog_forked(void)
{
    asking = handler_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

/* False: no answer will come. */
static bool ask(struct async__watchdog *self, uint64_t at)
{
    struct timespec until;

    self->asked = at;
    atomic_store(&self->asks, true);
    if (pthread_kill(self->watched, SIGURG) != 0) return false;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    while (sem_timedwait(&self->answered, &until) != 0)
        if (errno != EINTR)
            return !atomic_exchange(&self->asks, false) && sem_wait(&self->answered) == 0;
    return true;
}

/* What was interrupted is behind the last handler: another handler may have called ours. */
static int first_frame(const struct async__watchdog *self)
{
    int first = self->count > HANDLER_FRAMES ? HANDLER_FRAMES : 0;

    for (int i = first; i < self->count - 1; i++)
        if (self->frames[i] == self->frames[HANDLER_FRAMES - 1]) first = i + 1;
    return first;
}

static void tell(struct async__watchdog *self, uint64_t at, int64_t since)
{
    char frames[2048] = "", others[4096] = "", message[8192];

    pthread_mutex_lock(&asking);
    bool answered = installed && ask(self, at);
    if (answered && !self->moved_on && self->options.frames)
        self->options.frames(others, sizeof others, self->options.data);
    pthread_mutex_unlock(&asking);
    if (answered && self->moved_on) return; /* it was over as the question came */
    double seconds = (double)(async__clock() - since) * 1e-9;
    int first = first_frame(self);
    if (answered)
        async__describe_frames(self->frames + first, self->count - first, "\n  at ", frames,
                               sizeof frames);
    snprintf(message, sizeof message, "the loop is blocked for %.3f s now by %s%s%s%s", seconds,
             !answered    ? "what cannot be said: its thread does not answer"
             : *self->who ? self->who
                          : "a callback",
             *frames ? "\n  at " : "", frames, others);
    if (self->options.handler)
        self->options.handler(self->loop, seconds, message, self->options.data);
    else
        async__print_report(message);
}

/* The mutex is held; false: it is to end. */
static bool pause_for(struct async__watchdog *self, int64_t time)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    time += until.tv_nsec;
    until.tv_sec += time / ASYNC__SECOND;
    until.tv_nsec = time % ASYNC__SECOND;
    while (!self->stopping)
        if (pthread_cond_timedwait(&self->stop, &self->mutex, &until) == ETIMEDOUT) break;
    return !self->stopping;
}

static void *watch(void *argument)
{
    struct async__watchdog *self = argument;
    int64_t each = self->after / LOOKS > LEAST ? self->after / LOOKS : LEAST, since = 0;
    uint64_t at = UINT64_MAX;
    bool told = false;

    pthread_setname_np(pthread_self(), "async-watchdog");
    pthread_mutex_lock(&self->mutex);
    while (pause_for(self, each)) {
        if (!look(self->loop, &at) || since == 0) {
            since = async__clock();
            told = false;
        } else if (!told && async__clock() - since >= self->after) {
            told = true;
            pthread_mutex_unlock(&self->mutex);
            tell(self, at, since);
            pthread_mutex_lock(&self->mutex);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

/* ---- starting and ending it ---- */

static void destroy(struct async__watchdog *self)
{
    sem_destroy(&self->answered);
    pthread_cond_destroy(&self->stop);
    pthread_mutex_destroy(&self->mutex);
    async__free(self);
}

static struct async__watchdog *make(async_loop *loop)
{
    pthread_condattr_t attributes;
    struct async__watchdog *self = async__alloc_zeroed(sizeof *self);
    if (!self) return NULL;

    self->loop = loop;
    self->watched = pthread_self();
    pthread_condattr_init(&attributes); /* on Linux none of these can fail */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->stop, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&self->mutex, NULL);
    sem_init(&self->answered, 0, 0);
    return self;
}

static int start_thread(struct async__watchdog *self)
{
    sigset_t before;
    int error = EAGAIN;

    async__block_signals(&before);
    if (!async__fault(ASYNC__FAULT_SYSTEM_CALL))
        error = pthread_create(&self->thread, NULL, watch, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? -EAGAIN : 0;
}

int async__watchdog_start(async_loop *loop, const async_watchdog_options *given, size_t size)
{
    async_watchdog_options options;
    int64_t after;

    static const char call[] = "async_watchdog_start";
    if (!loop) return async__loop_fail(-EBADF, "%s: the loop is NULL", call);
    if (loop->watchdog) return async__loop_fail(-EALREADY, "%s: the loop has one", call);
    int code = async__options(&options, sizeof options, given, size);
    if (code < 0) return code;
    if (async__seconds_to_ns(options.after > 0    ? options.after
                             : options.after == 0 ? 1
                                                  : NAN,
                             &after) < 0)
        return async__loop_fail(-EINVAL, "%s: %g is no time", call, options.after);
    struct async__watchdog *self = make(loop);
    if (!self) return -ENOMEM;
    self->options = options;
    self->after = after;
    install_handler();
    watchdog_here = self;
    code = start_thread(self);
    if (code == 0) {
        loop->watchdog = self;
        return 0;
    }
    watchdog_here = NULL;
    remove_handler();
    destroy(self);
    return code;
}

void async_watchdog_stop(async_loop *loop)
{
    struct async__watchdog *self = loop ? loop->watchdog : NULL;
    if (!self) return;

    loop->watchdog = NULL;
    if (async__is_forked(loop)) { /* its thread is the parent's */
        if (watchdog_here == self) watchdog_here = NULL;
        async__free(self);
        return;
    }
    pthread_mutex_lock(&self->mutex);
    self->stopping = true;
    pthread_cond_signal(&self->stop);
    pthread_mutex_unlock(&self->mutex);
    pthread_join(self->thread, NULL);
    if (watchdog_here == self) watchdog_here = NULL;
    remove_handler();
    destroy(self);
}
