/* trace.c - casyncio trace PID: asks a process for a trace, and reads it while it is recorded.
 *
 * What is written to the process are 24 bytes of the library's static memory, which say who asks and until
 * when (struct async__trace_request), and a number to the eventfd of each loop, which wakes it: the
 * descriptor is duplicated by pidfd_getfd. Each loop then makes a ring of events, which is read as all else
 * is, by process_vm_readv: what was overwritten before it could be read is counted. When the time is over,
 * or this program is, the loops end it themselves. */
#include "trace.h"

#include "loop/trace_events.h"
#include "unwind.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define SECOND 1000000000LL

enum {
    LOOPS = 64,
    EVENTS = 65536, /* in the ring of each loop */
    LEAST = 1024,   /* of these */
    IN_FLIGHT = 16, /* stores that may not have come to memory in their order */
    MOST = 1 << 24, /* events that are kept of a loop */
    INTERVAL = 10,  /* ms, between two readings */
    MARGIN = 2,     /* s, after which a process ends a trace that is not taken back */
};

static const char help[] =
    "casyncio trace - a timeline of what the tasks of a program do\n"
    "\n"
    "  casyncio trace PID [--seconds 5] [-o FILE]\n"
    "                          records it, in the format of Chrome's traces, for ui.perfetto.dev;\n"
    "                          FILE is trace-PID.json unless it is named; Ctrl-C ends it earlier\n"
    "  casyncio trace PID --svg   the same as a picture, trace-PID.svg\n"
    "  casyncio trace --svg FILE [-o PICTURE]\n"
    "                          a picture of a trace, FILE.svg unless it is named\n"
    "\n"
    "  --events N   the size of the ring in each loop, 40 bytes each: 65536\n"
    "\n"
    "The process need not be prepared. Its loops are woken once at the beginning and once at the "
    "end; a step\n"
    "of a task takes some 50 ns more meanwhile. A program traces itself with CASYNCIO_TRACE=FILE.\n"
    "\n"
    "Exit status: 0; 1: there is no trace, or not all of it, and why is said on standard error; 2: "
    "the\n"
    "command line is wrong.\n";

/* A loop, and what has been read of its ring. */
struct recorded {
    struct loop *loop;
    uint64_t trace; /* the address; 0: it has not begun */
    uint64_t events, capacity, done;
    int64_t begin;
    struct async__trace_event *kept;
    size_t count, room;
    uint64_t lost;
};

struct tracing {
    struct image *image;
    struct snapshot *snapshot;
    struct unwinder *unwinder;
    struct recorded loops[LOOPS];
    size_t loop_count;
    int64_t begin, end;
    bool gone;  /* the process */
    bool taken; /* another program asked in the same moment, and is the one that is answered */
};

struct choices {
    double seconds;
    uint64_t events;
    const char *out;
    bool svg;
};

static volatile sig_atomic_t interrupted;
static void on_signal(int number) { interrupted = number; }

static int fail(char *line)
{
    fprintf(stderr, "casyncio: %s\n", line);
    free(line);
    return 1;
}

/* ---- asking ---- */

/* NULL, or why the process cannot be asked at this address. */
static char *check_request(const struct tracing *self, uint64_t address)
{
    struct async__trace_request request;

    if (!image_read(self->image, address, &request, sizeof request))
        return text_of("%s has ended", self->image->title);
    if (memcmp(request.magic, ASYNC__TRACE_MAGIC, sizeof request.magic) != 0)
        return text_of("%s has nowhere to be asked for a trace", self->image->title);
    if (request.asker && request.until > clock_now() && request.asker != (uint64_t)getpid() &&
        (request.asker > 1 << 30 || kill((pid_t)request.asker, 0) == 0 || errno != ESRCH))
        return text_of("%s is being traced already, by process %" PRIu64, self->image->title,
                       request.asker);
    return NULL;
}

static bool write_request(const struct tracing *self, uint64_t address, uint64_t asker,
                          int64_t until, uint64_t capacity)
{
    struct async__trace_request request = {.asker = asker, .until = until, .capacity = capacity};
    size_t rest = offsetof(struct async__trace_request, until);

    return image_write(self->image, address + rest, (char *)&request + rest,
                       sizeof request - rest) &&
           image_write(self->image, address + offsetof(struct async__trace_request, asker),
                       &request.asker, sizeof request.asker);
}

/* Wakes a loop; 0, or an errno. The descriptor is looked at again once there is a duplicate of it, since
 * the loop may have been closed, and the number be another's. */
static int wake(const struct tracing *self, const struct loop *loop)
{
    char name[64], what[64] = "";
    uint64_t one = 1;
    uint32_t now = 0;
    int process = (int)syscall(SYS_pidfd_open, self->image->pid, 0);

    if (process < 0) return errno;
    int fd = (int)syscall(SYS_pidfd_getfd, process, loop->wake_fd, 0);
    int error = fd < 0 ? errno : 0;
    close(process);
    if (fd < 0) return error;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, what, sizeof what - 1);
    image_read(self->image, loop->address + loop->layout->loop.wake_fd, &now, sizeof now);
    if (size > 0 && strcmp(what, "anon_inode:[eventfd]") == 0 && now == (uint32_t)loop->wake_fd) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && flags & O_NONBLOCK && write(fd, &one, sizeof one) < 0 && errno != EAGAIN)
            error = errno;
    }
    close(fd);
    return error;
}

/* Each layout of the process has a request of its own. NULL, or why it could not be asked. */
static char *ask(struct tracing *self, const struct choices *choices)
{
    int64_t until = self->begin + (int64_t)(choices->seconds * SECOND) + MARGIN * SECOND;
    int refused = 0;

    for (size_t i = 0; i < self->snapshot->layout_count; i++) {
        char *problem = check_request(self, self->snapshot->layouts[i].request);
        if (problem) return problem;
    }
    for (size_t i = 0; i < self->snapshot->layout_count; i++)
        if (!write_request(self, self->snapshot->layouts[i].request, (uint64_t)getpid(), until,
                           choices->events))
            return text_of("%s cannot be asked for a trace: %s", self->image->title,
                           strerror(errno));
    for (size_t i = 0; i < self->loop_count; i++) {
        int error = wake(self, self->loops[i].loop);
        if (error && error != EBADF && error != ESRCH) refused = error;
    }
    if (!refused) return NULL;
    return text_of("the loops of %s cannot be woken: %s (it takes Linux 5.6, and the rights of a "
                   "debugger)",
                   self->image->title, strerror(refused));
}

/* Whether the request at this address is this program's. */
static bool is_ours(const struct tracing *self, uint64_t address)
{
    return image_word(self->image, address + offsetof(struct async__trace_request, asker)) ==
           (uint64_t)getpid();
}

/* Where it is another program's by now it is left alone. */
static void take_back(struct tracing *self)
{
    for (size_t i = 0; i < self->snapshot->layout_count; i++) {
        uint64_t address = self->snapshot->layouts[i].request;
        if (is_ours(self, address)) write_request(self, address, 0, 0, 0);
    }
    for (size_t i = 0; i < self->loop_count; i++)
        wake(self, self->loops[i].loop);
}

/* ---- reading rings ---- */

/* Whether the loop's ring is ours. */
static bool find_ring(struct tracing *self, struct recorded *recorded)
{
    const struct async__layout *layout = recorded->loop->layout;
    const struct image *image = self->image;
    uint64_t trace = image_word(image, recorded->loop->address + layout->loop.trace);

    if (!trace || image_word(image, trace + layout->trace.asker) != (uint64_t)getpid())
        return false;
    if (trace == recorded->trace) return true;
    if (recorded->trace) return false; /* one has been enough */
    uint64_t capacity = image_word(image, trace + layout->trace.capacity);
    if (capacity < LEAST || capacity > ASYNC__TRACE_MOST || capacity & (capacity - 1)) return false;
    recorded->events = image_word(image, trace + layout->trace.events);
    recorded->begin = (int64_t)image_word(image, trace + layout->trace.begin);
    if (recorded->begin < self->begin || recorded->begin > clock_now())
        recorded->begin = self->begin;
    recorded->capacity = capacity;
    recorded->trace = trace;
    return true;
}

/* What may be torn, or lie, is left out. */
static bool is_sound(const struct tracing *self, const struct async__trace_event *event,
                     int64_t now)
{
    if (event->time < self->begin || event->time > now || event->kind < ASYNC__TRACE_RUN ||
        event->kind > ASYNC__TRACE_DROPPED)
        return false;
    return event->kind != ASYNC__TRACE_JOB ||
           (event->text >= (uint64_t)self->begin && event->text <= (uint64_t)event->time);
}

static void keep(const struct tracing *self, struct recorded *recorded,
                 const struct async__trace_event *events, size_t count)
{
    int64_t now = clock_now();

    if (recorded->count + count > recorded->room) {
        recorded->room = 2 * (recorded->count + count);
        recorded->kept = must(realloc(recorded->kept, recorded->room * sizeof *recorded->kept));
    }
    for (size_t i = 0; i < count; i++)
        if (recorded->count < MOST && is_sound(self, &events[i], now))
            recorded->kept[recorded->count++] = events[i];
        else
            recorded->lost++;
}

/* Reads events [from, to) of the ring. */
static bool read_events(const struct tracing *self, const struct recorded *recorded, uint64_t from,
                        uint64_t to, struct async__trace_event *events)
{
    uint64_t size = recorded->loop->layout->trace.event_size, at = from % recorded->capacity;
    uint64_t count = to - from, first = recorded->capacity - at;

    if (first > count) first = count;
    return image_read(self->image, recorded->events + at * size, events, first * size) &&
           (first == count ||
            image_read(self->image, recorded->events, events + first, (count - first) * size));
}

static void read_ring(struct tracing *self, struct recorded *recorded)
{
    uint32_t at = recorded->loop->layout->trace.count;

    if (!find_ring(self, recorded)) return;
    uint64_t count = image_word(self->image, recorded->trace + at), from = recorded->done;
    uint64_t room = recorded->capacity - IN_FLIGHT;
    if (count <= from) return;
    if (count - from > room) from = count - room;
    struct async__trace_event *events = must(malloc((size_t)(count - from) * sizeof *events));
    if (read_events(self, recorded, from, count, events) && find_ring(self, recorded)) {
        uint64_t now = image_word(self->image, recorded->trace + at), sound = from;
        if (now - from > room && now >= count) sound = now - room; /* overwritten meanwhile */
        if (sound > count) sound = count;
        recorded->lost += sound - recorded->done;
        keep(self, recorded, events + (sound - from), (size_t)(count - sound));
        recorded->done = count;
    }
    free(events);
}

static bool is_gone(const struct tracing *self)
{
    return image_word(self->image, self->snapshot->layouts[0].request) == 0;
}

/* check_request and write_request are two steps, so that two programs can ask at once: the one that
 * wrote last is answered, and the other learns it here. */
static bool is_taken(const struct tracing *self)
{
    for (size_t i = 0; i < self->snapshot->layout_count; i++)
        if (!is_ours(self, self->snapshot->layouts[i].request)) return true;
    return false;
}

static void watch(struct tracing *self, const struct choices *choices)
{
    int64_t end = self->begin + (int64_t)(choices->seconds * SECOND);
    struct timespec pause = {0, INTERVAL * 1000000L};

    while (!interrupted && !self->gone && !self->taken && clock_now() < end) {
        nanosleep(&pause, NULL);
        for (size_t i = 0; i < self->loop_count; i++)
            read_ring(self, &self->loops[i]);
        self->gone = is_gone(self);
        self->taken = !self->gone && is_taken(self);
    }
}

/* ---- the file ---- */

static const char *text_for(void *data, uint64_t address)
{
    const struct tracing *self = data;
    return snapshot_text(self->snapshot, address);
}

static void function_for(void *data, uint64_t address, char *name, size_t size)
{
    const struct tracing *self = data;
    const struct place_in_code *place = place_at(self->unwinder, address);

    if (place->function)
        snprintf(name, size, "%s", place->function);
    else if (place->module)
        snprintf(name, size, "%s+%#" PRIx64, place->module, place->offset);
}

/* The tasks of a loop, from the last snapshot that has it. */
static size_t take_tasks(const struct loop *loop, struct async__trace_task **tasks)
{
    *tasks = must(calloc(loop->task_count + 1, sizeof **tasks));
    for (size_t i = 0; i < loop->task_count; i++) {
        const struct task *task = &loop->tasks[i];
        (*tasks)[i] = (struct async__trace_task){task->number, task->name, task->coroutine_name,
                                                 task->what, task->state == ASYNC__PARKED};
    }
    return loop->task_count;
}

static int64_t earliest(const struct tracing *self)
{
    int64_t time = self->end;

    for (size_t i = 0; i < self->loop_count; i++)
        if (self->loops[i].trace && self->loops[i].begin < time) time = self->loops[i].begin;
    return time;
}

static void write_trace(struct tracing *self, FILE *out)
{
    struct async__trace_writer writer = {.out = out,
                                         .process = self->image->pid,
                                         .title = self->image->title,
                                         .text = text_for,
                                         .function = function_for,
                                         .data = self};

    async__trace_file_begin(&writer, earliest(self));
    for (size_t i = 0; i < self->loop_count; i++) {
        struct recorded *recorded = &self->loops[i];
        struct async__trace_record record = {.events = recorded->kept,
                                             .count = recorded->count,
                                             .lost = recorded->lost,
                                             .begin = recorded->begin,
                                             .end = self->end,
                                             .loop = (int)i + 1,
                                             .others = self->loop_count > 1};
        if (!recorded->trace) continue;
        record.task_count = take_tasks(recorded->loop, &record.tasks);
        if (!async__trace_file_add(&writer, &record)) must(NULL);
        free(record.tasks);
    }
    async__trace_file_end(&writer);
}

/* Where the text goes, or a picture of it. The exit status. */
static int write_out(const char *text, size_t size, const char *name, bool picture)
{
    FILE *out = fopen(name, "we");
    char *problem = NULL;

    if (!out) return fail(text_of("%s cannot be written: %s", name, strerror(errno)));
    if (picture)
        problem = trace_picture(text, size, out);
    else
        fwrite(text, 1, size, out);
    errno = EIO;
    if (ferror(out) | fclose(out))
        return fail(text_of("%s cannot be written: %s", name, strerror(errno)));
    return problem ? fail(problem) : 0;
}

/* ---- a process ---- */

static void tell_missing(const struct tracing *self, size_t index)
{
    const struct loop *loop = self->loops[index].loop;
    char label[400] = "a callback";

    if (!loop->running) {
        fprintf(stderr, "casyncio: loop %zu of %s does not run\n", index + 1, self->image->title);
        return;
    }
    for (size_t i = 0; i < loop->task_count; i++)
        if (loop->tasks[i].state == ASYNC__RUNNING)
            snprintf(label, sizeof label, "Task-%" PRIu64 " (%s)", loop->tasks[i].number,
                     loop->tasks[i].coroutine_name ? loop->tasks[i].coroutine_name : "");
    fprintf(stderr,
            "casyncio: loop %zu of %s has not come to its next callback: it is blocked in %s "
            "(casyncio pstree --stop %d shows where)\n",
            index + 1, self->image->title, label, self->image->pid);
}

/* The exit status. */
static int tell(const struct tracing *self, const char *name)
{
    size_t count = 0, loops = 0;
    uint64_t lost = 0;

    for (size_t i = 0; i < self->loop_count; i++) {
        count += self->loops[i].count;
        lost += self->loops[i].lost;
        if (self->loops[i].trace)
            loops++;
        else if (!self->gone && !self->taken)
            tell_missing(self, i);
    }
    if (self->gone)
        fprintf(stderr, "casyncio: %s has ended after %.1f s\n", self->image->title,
                (double)(self->end - self->begin) * 1e-9);
    if (self->taken)
        fprintf(stderr, "casyncio: another casyncio traces %s, which asked at the same moment\n",
                self->image->title);
    if (loops == 0) return 1;
    printf("%s: %zu events of %zu loop%s in %.1f s\n", name, count, loops, loops == 1 ? "" : "s",
           (double)(self->end - self->begin) * 1e-9);
    if (lost)
        fprintf(stderr,
                "casyncio: %" PRIu64
                " events came too fast to be read, and are lost (--events makes "
                "the rings larger)\n",
                lost);
    return self->gone || self->taken || loops < self->loop_count ? 1 : 0;
}

static void take_loops(struct tracing *self)
{
    self->loop_count = self->snapshot->loop_count < LOOPS ? self->snapshot->loop_count : LOOPS;
    for (size_t i = 0; i < self->loop_count; i++)
        self->loops[i].loop = &self->snapshot->loops[i];
}

/* What the tasks are called is best known at the end. Before the last reading, so that a task that is
 * there, and of which there is no event, has been there all the time. */
static void look_again(struct tracing *self)
{
    char *error = NULL;
    struct snapshot *now = self->gone ? NULL : snapshot_take(self->image, &error);

    free(error);
    for (size_t i = 0; now && i < self->loop_count; i++)
        if (i >= now->loop_count || now->loops[i].address != self->loops[i].loop->address) {
            snapshot_free(now); /* loops have come or gone: what is known will do */
            now = NULL;
        }
    if (!now) return;
    snapshot_free(self->snapshot);
    self->snapshot = now;
    take_loops(self);
}

static int record(struct tracing *self, const struct choices *choices)
{
    char name[64], *text = NULL;
    size_t size;

    snprintf(name, sizeof name, "trace-%d.%s", self->image->pid, choices->svg ? "svg" : "json");
    const char *file = choices->out ? choices->out : name;
    self->begin = clock_now();
    char *problem = ask(self, choices);
    if (problem) {
        take_back(self);
        return fail(problem);
    }
    watch(self, choices);
    look_again(self);
    for (size_t i = 0; i < self->loop_count; i++)
        read_ring(self, &self->loops[i]);
    self->end = clock_now();
    take_back(self);
    self->unwinder = unwinder_new(self->snapshot);
    FILE *out = must(open_memstream(&text, &size));
    write_trace(self, out);
    if (fclose(out) != 0) must(NULL);
    int code = tell(self, file);
    bool any = false;
    for (size_t i = 0; i < self->loop_count; i++)
        any |= self->loops[i].trace != 0;
    if (any && write_out(text, size, file, choices->svg) != 0) code = 1;
    free(text);
    unwinder_free(self->unwinder);
    return code;
}

static int trace_process(int pid, const struct choices *choices)
{
    char *error = NULL;
    struct tracing *self = must(calloc(1, sizeof *self));
    int code = 1;

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    self->image = image_of_process(pid, false, &error);
    if (self->image) self->snapshot = snapshot_take(self->image, &error);
    if (!self->image || !self->snapshot)
        fail(error);
    else if (self->snapshot->loop_count == 0)
        fail(text_of("%s has no loop", self->image->title));
    else if (self->snapshot->layouts[0].trace.event_size != sizeof(struct async__trace_event))
        fail(text_of("%s has events that this program does not know", self->image->title));
    else {
        take_loops(self);
        code = record(self, choices);
    }
    for (size_t i = 0; i < self->loop_count; i++)
        free(self->loops[i].kept);
    snapshot_free(self->snapshot);
    image_free(self->image);
    free(self);
    return code;
}

/* ---- a file ---- */

static int picture_of(const char *name, const char *out)
{
    FILE *in = fopen(name, "re");
    char *text = NULL, buffer[65536], *other = NULL;
    size_t size, got;

    if (!in) return fail(text_of("%s cannot be read: %s", name, strerror(errno)));
    FILE *all = must(open_memstream(&text, &size));
    do {
        got = fread(buffer, 1, sizeof buffer, in);
        fwrite(buffer, 1, got, all);
    } while (got == sizeof buffer);
    bool bad = ferror(in);
    fclose(in);
    if (fclose(all) != 0) must(NULL);
    if (!out) out = other = text_of("%s.svg", name);
    int code = bad ? fail(text_of("%s cannot be read", name)) : write_out(text, size, out, true);
    if (code == 0) puts(out);
    free(other);
    free(text);
    return code;
}

static int usage(const char *wrong)
{
    fprintf(stderr, "casyncio: %s (casyncio trace --help)\n", wrong);
    return 2;
}

int trace_main(int count, char **arguments)
{
    enum { SECONDS = 256, SVG, SIZE, HELP };
    static const struct option known[] = {
        {"seconds", required_argument, NULL, SECONDS},
        {"output", required_argument, NULL, 'o'},
        {"svg", no_argument, NULL, SVG},
        {"events", required_argument, NULL, SIZE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct choices choices = {.seconds = 5, .events = EVENTS};
    char *end = "";

    for (int option; (option = getopt_long(count, arguments, "o:", known, NULL)) != -1;) {
        switch (option) {
        case SECONDS: choices.seconds = strtod(optarg, &end); break;
        case 'o': choices.out = optarg; break;
        case SVG: choices.svg = true; break;
        case SIZE: choices.events = strtoull(optarg, &end, 10); break;
        case HELP: fputs(help, stdout); return 0;
        default: return 2;
        }
        if (*end) return usage("that is no number");
    }
    if (!(choices.seconds > 0 && choices.seconds <= 86400))
        return usage("the seconds are more than 0, and at most 86400");
    if (choices.events < LEAST || choices.events > ASYNC__TRACE_MOST)
        return usage("the events are 1024 to 16777216");
    if (optind + 1 != count) return usage("which process?");
    long pid = strtol(arguments[optind], &end, 10);
    if (!*end && pid > 0 && pid <= 1 << 22) return trace_process((int)pid, &choices);
    if (!choices.svg) return usage("that is no process, and --svg makes a picture of a file");
    return picture_of(arguments[optind], choices.out);
}
