/* trace.c - a loop's trace: a ring of events (trace_events.h), which its thread alone writes.
 *
 * Nothing on the way of a switch, a wake-up or a new task asks whether a trace is on. While one is, the
 * loop is timed (debug.c), so that each step of a task is a callback, between whose beginning and end
 * all else is found: what it waits for now is in the task, and whom it has woken, or made, is what has
 * come to the end of the ready queue meanwhile, behind a mark. A look is the poller's `wait`, in whose
 * place there is another.
 *
 * Another program asks for a trace by writing to async__trace_request, in static memory, which is there
 * as long as the library is, and by waking the loops. It reads their rings while they are written to,
 * and notices by `count` what has been overwritten. If it dies, the trace ends at the time it has told. */
#include "trace.h"

#include "../base/backtrace.h"
#include "../base/faults.h"
#include "debug.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENTS 65536

/* Not static: a program that looks in finds it by the layout alone, and no code of this file may be taken
 * to know what is in it. */
struct async__trace_request async__trace_request
    __attribute__((aligned(8))) = {.magic = ASYNC__TRACE_MAGIC};

/* ---- recording ---- */

static struct async__trace_event *put(struct async__trace *trace, enum async__trace_kind kind,
                                      uint64_t task, int64_t time)
{
    uint64_t count = atomic_load_explicit(&trace->count, memory_order_relaxed);
    struct async__trace_event *event = &trace->events[count & (trace->capacity - 1)];

    *event = (struct async__trace_event){.time = time, .task = task, .kind = kind};
    return event;
}

static void told(struct async__trace *trace)
{
    uint64_t count = atomic_load_explicit(&trace->count, memory_order_relaxed);
    atomic_store_explicit(&trace->count, count + 1, memory_order_release);
}

static bool view_of(const async_loop *loop, const async_callback *callback,
                    struct async__trace_view *view)
{
    return loop->views && loop->views->of(loop, callback, view);
}

/* What has come to the ready queue, from `each` on: tasks that were woken, and new ones. How many. */
static int record_ready(async_loop *loop, const async_callback *each, int64_t now)
{
    struct async__trace *trace = loop->trace;
    struct async__trace_view view;
    int count = 0;

    for (; each != &loop->ready; each = each->next) {
        count += each != &loop->turn_mark;
        if (each == trace->step || !view_of(loop, each, &view)) continue;
        bool new = view.number > trace->newest;
        struct async__trace_event *event =
            put(trace, new ? ASYNC__TRACE_BEGIN : ASYNC__TRACE_WAKE, view.number, now);
        event->other = trace->running;
        if (new) {
            event->text = (uintptr_t)view.coroutine;
            trace->newest = view.number;
        }
        told(trace);
    }
    return count;
}

static void record_name(struct async__trace *trace, uint64_t number, int64_t now)
{
    for (size_t at = 0; at < sizeof trace->name && trace->name[at]; at += ASYNC__TRACE_NAME_PART) {
        struct async__trace_event *event = put(trace, ASYNC__TRACE_NAME, number, now);
        memcpy((char *)event + ASYNC__TRACE_NAME_AT, trace->name + at, ASYNC__TRACE_NAME_PART);
        told(trace);
    }
}

/* What has become of the task whose step is over. If its memory is another task's by now, it has ended. */
static void record_outcome(async_loop *loop, int64_t now)
{
    static const enum async__trace_kind kinds[] = {
        [ASYNC__VIEW_READY] = ASYNC__TRACE_YIELD,
        [ASYNC__VIEW_PARKED] = ASYNC__TRACE_PARK,
        [ASYNC__VIEW_ENDED] = ASYNC__TRACE_END,
    };
    struct async__trace *trace = loop->trace;
    struct async__trace_view view = {.state = ASYNC__VIEW_READY};

    if (trace->step && (!view_of(loop, trace->step, &view) || view.number != trace->running))
        view = (struct async__trace_view){.state = ASYNC__VIEW_ENDED, .fd = -1};
    struct async__trace_event *event = put(trace, kinds[view.state], trace->running, now);
    if (view.state == ASYNC__VIEW_PARKED) {
        event->text = (uintptr_t)view.what;
        event->value = view.fd;
        event->other = view.awaited;
    } else if (view.state == ASYNC__VIEW_ENDED) {
        event->text = (uintptr_t)view.coroutine;
        event->value = view.result;
    }
    told(trace);
    if (view.state == ASYNC__VIEW_ENDED) record_name(trace, trace->running, now);
}

/* A task that has ended has no name any more, so it is kept from before. */
static void keep_name(struct async__trace *trace, const char *name)
{
    trace->name[0] = 0;
    if (!name) return;
    size_t size = strnlen(name, sizeof trace->name - 1);
    memcpy(trace->name, name, size);
    trace->name[size] = 0;
}

static bool is_over(const struct async__trace *trace, int64_t now)
{
    const volatile struct async__trace_request *request = &async__trace_request;
    return trace->asker && (request->asker != trace->asker || now >= request->until);
}

static void end_trace(async_loop *loop);

/* The step is over, and `first` is what it has made ready. */
static void finish(async_loop *loop, const async_callback *first, int64_t now)
{
    struct async__trace *trace = loop->trace;

    record_ready(loop, first, now);
    record_outcome(loop, now);
    trace->running = 0;
    trace->step = NULL;
    trace->now = now;
    if (async__unlikely(is_over(trace, now))) end_trace(loop);
}

void async__trace_stepped(async_loop *loop, int64_t now)
{
    struct async__trace *trace = loop->trace;
    const async_callback *first = trace->mark.next;

    if (!first) return; /* it was begun in this step, outside of tasks */
    async__ready_unlink(&trace->mark);
    finish(loop, first, now);
}

/* The step in which the trace began was none of a loop that is timed: its end is where the next begins,
 * or where the mark itself has come to the front. */
void async__trace_step(async_loop *loop, async_callback *callback, int64_t now)
{
    struct async__trace *trace = loop->trace;
    struct async__trace_view view = {0};

    async__trace_stepped(loop, now);
    if (loop->trace != trace) return; /* that was its end */
    if (callback == &trace->mark) {
        finish(loop, loop->ready.next, now);
        return;
    }
    trace->step = callback && view_of(loop, callback, &view) ? callback : NULL;
    trace->running = view.number;
    keep_name(trace, view.name);
    if (view.number > trace->newest) trace->newest = view.number; /* made while nothing ran */
    struct async__trace_event *event = put(trace, ASYNC__TRACE_RUN, view.number, now);
    if (!trace->step && callback) event->text = (uintptr_t)callback->run;
    told(trace);
    async__ready_push(loop, &trace->mark);
}

/* The poller's wait. Where nothing is ready, all that is afterwards has come by it. */
static int traced_wait(async_loop *loop, int64_t timeout)
{
    struct async__trace *trace = loop->trace;
    const async__poller *real = trace->real;
    int64_t now = async__clock();

    async__trace_stepped(loop, now);
    if (loop->trace != trace) return real->wait(loop, timeout);
    put(trace, ASYNC__TRACE_LOOK, 0, now)->value = timeout != 0;
    told(trace);
    if (loop->ready.next != &loop->ready) async__ready_push(loop, &trace->mark);
    int code = real->wait(loop, timeout);
    if (loop->trace != trace) return code; /* a poll hook has ended it */
    const async_callback *first = loop->ready.next;
    if (trace->mark.next) {
        first = trace->mark.next;
        async__ready_unlink(&trace->mark);
    }
    now = async__clock();
    int count = record_ready(loop, first, now);
    put(trace, ASYNC__TRACE_LOOKED, 0, now)->value = count;
    told(trace);
    trace->now = now;
    if (is_over(trace, now)) end_trace(loop);
    return code;
}

void async__trace_job(async_loop *loop, enum async__trace_kind kind, const async_job *job)
{
    struct async__trace *trace = loop->trace;
    bool over = kind == ASYNC__TRACE_JOB;
    struct async__trace_event *event =
        put(trace, kind, trace->running, over ? job->queued_at : async__clock());

    event->other = (uintptr_t)job;
    event->text = over ? (uint64_t)job->begun_at : (uintptr_t)job->work;
    told(trace);
}

/* ---- beginning and ending ---- */

static void on_mark(async_callback *callback) { (void)callback; }

static int begin_trace(async_loop *loop, uint64_t capacity, uint64_t asker, int fd,
                       const char *file)
{
    struct async__trace_view view = {0};
    size_t size = strlen(file) + 1;
    struct async__trace *trace = async__alloc_zeroed(sizeof *trace + size);
    struct async__trace_event *events = async__alloc(capacity * sizeof *events);

    if (!trace || !events) {
        async__free(trace);
        async__free(events);
        return -ENOMEM;
    }
    memcpy(trace->file, file, size);
    trace->events = events;
    trace->capacity = capacity;
    trace->asker = asker;
    trace->mark.run = on_mark;
    trace->begin = async__clock();
    trace->fd = fd;
    trace->real = loop->poller;
    trace->poller = *loop->poller;
    trace->poller.wait = traced_wait;
    loop->poller = &trace->poller;
    loop->trace = trace;
    async__special_set(loop);
    if (view_of(loop, NULL, &view)) { /* its first step has begun before */
        put(trace, ASYNC__TRACE_RUN, view.number, trace->begin);
        told(trace);
        trace->step = view.step;
        trace->running = view.number;
        keep_name(trace, view.name);
        async__ready_push(loop, &trace->mark);
    }
    trace->newest = view.newest;
    return 0;
}

/* Frees it. */
static void end_trace(async_loop *loop)
{
    struct async__trace *trace = loop->trace;

    if (trace->mark.next) async__ready_unlink(&trace->mark);
    loop->poller = trace->real;
    loop->trace = NULL;
    async__special_set(loop);
    if (trace->fd >= 0) close(trace->fd);
    async__free(trace->events);
    async__free(trace);
}

static uint64_t round_up(uint64_t events)
{
    uint64_t capacity = 2;
    while (capacity < events)
        capacity *= 2;
    return capacity;
}

/* The name with the process's number in place of each "%p"; NULL: no memory. */
static char *file_name(const char *pattern, int number)
{
    size_t size = strlen(pattern) * 6 + 16;
    char *name = async__alloc(size), *at = name;

    if (!name) return NULL;
    for (; *pattern; pattern++) {
        if (pattern[0] == '%' && pattern[1] == 'p') {
            at += sprintf(at, "%d", (int)getpid());
            pattern++;
        } else {
            *at++ = *pattern;
        }
    }
    if (number > 1)
        sprintf(at, ".%d", number);
    else
        *at = 0;
    return name;
}

static int start(async_loop *loop, const async_trace_options *options, int number)
{
    static const char call[] = "async_trace_start";
    if (loop->trace) return async__loop_fail(-EALREADY, "%s: the loop is traced already", call);
    if (!options->file) return async__loop_fail(-EINVAL, "%s: the file is NULL", call);
    if (options->events > ASYNC__TRACE_MOST)
        return async__loop_fail(-EINVAL, "%s: %zu events, where %u can be", call, options->events,
                                ASYNC__TRACE_MOST);
    char *name = file_name(options->file, number);
    if (!name) return -ENOMEM;
    int fd = ASYNC__CALL(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    int code = fd < 0 ? -errno
                      : begin_trace(loop, round_up(options->events ? options->events : EVENTS), 0,
                                    fd, name);
    if (code < 0 && fd >= 0) close(fd);
    async__free(name);
    return code;
}

int async__trace_start(async_loop *loop, const async_trace_options *given, size_t size)
{
    async_trace_options options;

    if (!loop) return async__loop_fail(-EBADF, "async_trace_start: the loop is NULL");
    if (async__wrong_thread(loop, "async_trace_start")) return -EPERM;
    int code = async__options(&options, sizeof options, given, size);
    return code < 0 ? code : start(loop, &options, 1);
}

/* ---- the file ---- */

static const char *own_text(void *data, uint64_t address)
{
    (void)data;
    return (const char *)(uintptr_t)address;
}

static void own_function(void *data, uint64_t address, char *name, size_t size)
{
    void *frame = (void *)(uintptr_t)address;

    (void)data;
    async__describe_frames(&frame, 1, "", name, size);
}

/* 0, or -ENOMEM; what the stream has met is found when it is closed. */
static int write_events(async_loop *loop, FILE *out)
{
    struct async__trace *trace = loop->trace;
    uint64_t count = atomic_load_explicit(&trace->count, memory_order_relaxed);
    uint64_t lost = count > trace->capacity ? count - trace->capacity : 0;
    struct async__trace_writer writer = {.out = out,
                                         .process = (int)getpid(),
                                         .title = program_invocation_short_name,
                                         .text = own_text,
                                         .function = own_function};
    struct async__trace_record record = {.count = (size_t)(count - lost),
                                         .lost = lost,
                                         .begin = trace->begin,
                                         .end = async__clock(),
                                         .loop = 1};
    size_t tasks = loop->views ? loop->views->count(loop) : 0;

    record.events = async__alloc((record.count + 1) * sizeof *record.events);
    record.tasks = async__alloc_zeroed((tasks + 1) * sizeof *record.tasks);
    bool good = record.events && record.tasks;
    if (good) {
        for (size_t i = 0; i < record.count; i++)
            record.events[i] = trace->events[(lost + i) & (trace->capacity - 1)];
        record.task_count = tasks;
        if (tasks) loop->views->list(loop, record.tasks);
        async__trace_file_begin(&writer,
                                lost && record.count ? record.events[0].time : record.begin);
        good = async__trace_file_add(&writer, &record);
        async__trace_file_end(&writer);
    }
    async__free(record.events);
    async__free(record.tasks);
    return good ? 0 : -ENOMEM;
}

static int write_file(async_loop *loop)
{
    FILE *out = fdopen(loop->trace->fd, "w");
    if (!out) return -ENOMEM;
    loop->trace->fd = -1; /* the stream's */
    int code = write_events(loop, out);
    errno = EIO;
    if ((ferror(out) | fclose(out)) && code == 0) code = -errno;
    return code;
}

int async_trace_stop(async_loop *loop)
{
    if (!loop) return async__loop_fail(-EBADF, "async_trace_stop: the loop is NULL");
    if (async__wrong_thread(loop, "async_trace_stop")) return -EPERM;
    if (!loop->trace || loop->trace->asker)
        return async__loop_fail(-EINVAL, "async_trace_stop: no trace of the program's own is on");
    int code = write_file(loop);
    end_trace(loop);
    return code;
}

/* In a process that was forked from the loop's the file is its parent's. */
void async__trace_close(async_loop *loop)
{
    char message[512];

    if (!loop->trace) return;
    int code = loop->trace->asker || async__is_forked(loop) ? 0 : write_file(loop);
    if (code < 0) {
        snprintf(message, sizeof message, "the trace cannot be written to %s: %s",
                 loop->trace->file, strerror(-code));
        async__print_report(message);
    }
    end_trace(loop);
}

/* ---- asked for from outside ---- */

/* Of several loops of a process, each has a file. One that cannot be had is no reason not to run. */
void async__trace_environment(async_loop *loop)
{
    static atomic_int loops;
    const char *file = secure_getenv("CASYNCIO_TRACE"),
               *events = secure_getenv("CASYNCIO_TRACE_EVENTS");
    char message[512];

    if (!file || !*file) return;
    async_trace_options options = {file, events ? strtoul(events, NULL, 10) : 0};
    int code = start(loop, &options, atomic_fetch_add(&loops, 1) + 1);
    if (code == 0) return;
    snprintf(message, sizeof message, "there is no trace: CASYNCIO_TRACE=%s%s%s: %s", file,
             events ? ", CASYNCIO_TRACE_EVENTS=" : "", events ? events : "", strerror(-code));
    async__print_report(message);
}

void async__trace_asked(async_loop *loop)
{
    const volatile struct async__trace_request *request = &async__trace_request;
    uint64_t asker = request->asker, capacity = request->capacity;

    if (loop->trace && is_over(loop->trace, async__clock())) end_trace(loop); /* of one before */
    if (loop->trace || !asker || async__clock() >= request->until) return;
    if (capacity > ASYNC__TRACE_MOST) capacity = ASYNC__TRACE_MOST;
    (void)begin_trace(loop, round_up(capacity), asker, -1, ""); /* no memory: then there is none */
}

void async__trace_forked(void) { async__trace_request.asker = 0; }
