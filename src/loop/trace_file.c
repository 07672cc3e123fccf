/* trace_file.c - a trace as a file: Chrome's JSON, an event a line. Each task has a lane ("thread"), in
 * which its slices stand one after another: it runs, waits for something, is ready and waits for its
 * turn. The loop's lane has its looks and callbacks; jobs have as many lanes as there were threads at a
 * time. A wake-up is an arrow ("flow") from the slice that made it to the run that it led to. */
#include "trace_events.h"

#include "../base/memory.h"
#include "../base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- a table of numbers, by numbers ---- */

struct map {
    struct {
        uint64_t key;
        size_t index; /* + 1; 0: free */
    } * entries;
    size_t size, used; /* size: a power of two */
};

static size_t *map_find(const struct map *map, uint64_t key)
{
    size_t place = (size_t)(key * 0x9E3779B97F4A7C15ULL >> 20) & (map->size - 1);

    while (map->entries[place].index && map->entries[place].key != key)
        place = (place + 1) & (map->size - 1);
    map->entries[place].key = key;
    return &map->entries[place].index;
}

/* The index of a key, + 1, to be set where it is 0; NULL: no memory. */
static size_t *map_at(struct map *map, uint64_t key)
{
    if (4 * map->used >= 3 * map->size) {
        struct map larger = {.size = map->size ? 2 * map->size : 64, .used = map->used};
        larger.entries = async__alloc_zeroed(larger.size * sizeof *larger.entries);
        if (!larger.entries) return NULL;
        for (size_t i = 0; i < map->size; i++)
            if (map->entries[i].index)
                *map_find(&larger, map->entries[i].key) = map->entries[i].index;
        async__free(map->entries);
        *map = larger;
    }
    return map_find(map, key);
}

/* ---- lanes and jobs ---- */

enum doing { NOTHING, RUNS, WAITS, READY, LOOKS };

struct lane {
    uint64_t number; /* the task's; 0: the loop's lane */
    int id;
    enum doing doing;
    int64_t since;
    uint64_t text, awaited; /* what it runs, or waits for */
    int fd;
    int waker; /* the lane that has woken it, until it runs; 0: none */
    bool made; /* and not woken */
    int64_t woken;
    uint64_t coroutine; /* the address of the name, or 0 */
    const struct async__trace_task *task;
    char name[ASYNC__TRACE_NAME_MAX + 1];
    size_t name_size;
    bool seen; /* there is an event of it */
};

struct job {
    int64_t queued, begun, ended; /* 0: not known, or not yet */
    uint64_t function;
    int lane; /* of what has it done */
    bool dropped;
};

struct writing {
    struct async__trace_writer *to;
    struct async__trace_record *record;
    struct lane *lanes;
    struct job *jobs;
    size_t lane_count, lane_room, job_count, job_room;
    struct map by_number, by_job;
    int64_t begin;
    bool failed;
};

/* NULL: no memory, and `failed` is set. Good until the next one is made. */
static struct lane *lane_of(struct writing *self, uint64_t number)
{
    size_t *index = map_at(&self->by_number, number);

    if (index && *index) return &self->lanes[*index - 1];
    struct lane *lane = index ? async__one_more((void **)&self->lanes, &self->lane_count,
                                                &self->lane_room, sizeof *lane)
                              : NULL;
    if (!lane) {
        self->failed = true;
        return NULL;
    }
    *index = self->lane_count;
    self->by_number.used++;
    lane->number = number;
    lane->id = ++self->to->lanes;
    lane->fd = -1;
    return lane;
}

/* The job at an address that is not over; a new one if there is none. */
static struct job *job_of(struct writing *self, uint64_t address, bool new)
{
    size_t *index = map_at(&self->by_job, address);

    if (index && *index && !new) return &self->jobs[*index - 1];
    struct job *job = index ? async__one_more((void **)&self->jobs, &self->job_count,
                                              &self->job_room, sizeof *job)
                            : NULL;
    if (!job) {
        self->failed = true;
        return NULL;
    }
    if (!*index) self->by_job.used++;
    *index = self->job_count;
    return job;
}

/* ---- JSON ---- */

static void put_text(FILE *out, const char *text)
{
    size_t left = strlen(text);

    fputc('"', out);
    while (left > 0) {
        size_t length = async__character((const unsigned char *)text, left);
        if (*text == '"' || *text == '\\') fputc('\\', out);
        if (length == 0)
            fputc('?', out), length = 1;
        else
            fwrite(text, 1, length, out);
        text += length;
        left -= length;
    }
    fputc('"', out);
}

/* Microseconds, as the format has them. */
static void put_time(FILE *out, const char *name, int64_t ns)
{
    if (ns < 0) ns = 0;
    fprintf(out, ",\"%s\":%" PRId64 ".%03d", name, ns / 1000, (int)(ns % 1000));
}

/* The beginning of an event, up to its name. */
static FILE *begin_event(struct async__trace_writer *to, const char *phase, int lane)
{
    fprintf(to->out, "%s{\"ph\":\"%s\",\"pid\":%d,\"tid\":%d,\"name\":", to->some ? ",\n" : "\n",
            phase, to->process, lane);
    to->some = true;
    return to->out;
}

/* The name of a lane, a number by which they are sorted. */
static void put_lane(struct async__trace_writer *to, int lane, const char *name)
{
    FILE *out = begin_event(to, "M", lane);
    fputs("\"thread_name\",\"args\":{\"name\":", out);
    put_text(out, name);
    fputs("}}", out);
    fprintf(begin_event(to, "M", lane), "\"thread_sort_index\",\"args\":{\"sort_index\":%d}}",
            lane);
}

/* Up to its arguments, of which there is one at least. */
static FILE *put_slice(struct writing *self, int lane, const char *category, const char *name,
                       int64_t begin, int64_t end)
{
    FILE *out = begin_event(self->to, "X", lane);

    put_text(out, name);
    fprintf(out, ",\"cat\":\"%s\"", category);
    put_time(out, "ts", begin - self->to->zero);
    put_time(out, "dur", end - begin);
    fputs(",\"args\":{", out);
    return out;
}

static void put_arrow(struct writing *self, const char *what, int from, int64_t left, int to,
                      int64_t arrived)
{
    int id = ++self->to->flows;
    FILE *out = begin_event(self->to, "s", from);

    fprintf(out, "\"%s\",\"cat\":\"wake\",\"id\":%d", what, id);
    put_time(out, "ts", left - self->to->zero);
    fputc('}', out);
    begin_event(self->to, "f", to);
    fprintf(out, "\"%s\",\"cat\":\"wake\",\"id\":%d,\"bp\":\"e\"", what, id);
    put_time(out, "ts", arrived - self->to->zero);
    fputc('}', out);
}

/* ---- slices ---- */

static const char *text_at(const struct writing *self, uint64_t address)
{
    const char *text = address ? self->to->text(self->to->data, address) : NULL;
    return text && *text ? text : NULL;
}

static void function_at(const struct writing *self, uint64_t address, char *name, size_t size)
{
    name[0] = 0;
    if (address) self->to->function(self->to->data, address, name, size);
    if (!name[0]) snprintf(name, size, address ? "%#" PRIx64 : "callback", address);
}

/* The end of what the lane did: its slice is written, but for what is added to the arguments. */
static FILE *end_slice(struct writing *self, struct lane *lane, int64_t now)
{
    char name[256];
    FILE *out = NULL;

    switch (lane->doing) {
    case NOTHING: break;
    case RUNS:
        if (lane->number)
            snprintf(name, sizeof name, "run");
        else
            function_at(self, lane->text, name, sizeof name);
        out = put_slice(self, lane->id, lane->number ? "run" : "callback", name, lane->since, now);
        break;
    case READY: out = put_slice(self, lane->id, "ready", "ready", lane->since, now); break;
    case LOOKS:
        out = put_slice(self, lane->id, "look", lane->fd ? "sleep" : "look", lane->since, now);
        break;
    case WAITS: {
        const char *what = text_at(self, lane->text);
        if (!what && lane->task) what = lane->task->what;
        out = put_slice(self, lane->id, "wait", what ? what : "parked", lane->since, now);
        if (lane->fd >= 0) fprintf(out, "\"descriptor\":%d%s", lane->fd, lane->awaited ? "," : "");
        if (lane->awaited) fprintf(out, "\"task\":%" PRIu64, lane->awaited);
        break;
    }
    }
    lane->doing = NOTHING;
    return out;
}

static void end_plain(struct writing *self, struct lane *lane, int64_t now)
{
    FILE *out = end_slice(self, lane, now);
    if (out) fputs("}}", out);
}

/* With the event's value, if that is what it did. */
static void end_with(struct writing *self, struct lane *lane, enum doing doing, const char *name,
                     const struct async__trace_event *event)
{
    bool is = lane->doing == doing;
    FILE *out = end_slice(self, lane, event->time);

    if (out && is) fprintf(out, "\"%s\":%d", name, event->value);
    if (out) fputs("}}", out);
}

static void begin_slice(struct lane *lane, enum doing doing, int64_t now)
{
    lane->doing = doing;
    lane->since = now;
    lane->text = lane->awaited = 0;
    lane->fd = -1;
}

/* What is before the first event of a lane. */
static void suppose(struct writing *self, struct lane *lane, enum doing doing)
{
    if (lane->doing == NOTHING && lane->number) begin_slice(lane, doing, self->begin);
}

static void on_run(struct writing *self, struct lane *lane, const struct async__trace_event *event)
{
    end_plain(self, lane, event->time);
    begin_slice(lane, RUNS, event->time);
    lane->text = event->text;
    if (lane->waker)
        put_arrow(self, lane->made ? "create" : "wake", lane->waker, lane->woken, lane->id,
                  event->time);
    lane->waker = 0;
}

static void on_park(struct writing *self, struct lane *lane, const struct async__trace_event *event)
{
    suppose(self, lane, RUNS);
    end_plain(self, lane, event->time);
    begin_slice(lane, WAITS, event->time);
    lane->text = event->text;
    lane->fd = event->value;
    lane->awaited = event->other;
}

static void on_yield(struct writing *self, struct lane *lane,
                     const struct async__trace_event *event)
{
    suppose(self, lane, RUNS);
    end_plain(self, lane, event->time);
    if (lane->number) begin_slice(lane, READY, event->time);
}

static void on_end(struct writing *self, struct lane *lane, const struct async__trace_event *event)
{
    suppose(self, lane, RUNS);
    end_with(self, lane, RUNS, "result", event);
}

/* The arrow begins in the waker's slice, which ends now; it is drawn when the task runs. */
static void on_wake(struct writing *self, struct lane *lane, const struct async__trace_event *event)
{
    bool made = event->kind == ASYNC__TRACE_BEGIN;
    int id = lane->id;

    if (!made) suppose(self, lane, WAITS);
    end_plain(self, lane, event->time);
    begin_slice(lane, READY, event->time);
    const struct lane *waker = lane_of(self, event->other); /* may move the other */
    lane = waker ? lane_of(self, event->task) : NULL;
    if (!lane || lane->id != id) return;
    lane->waker = waker->id;
    lane->made = made;
    lane->woken = event->time - 1;
    if (waker->doing != NOTHING && lane->woken < waker->since) lane->woken = waker->since;
}

static void on_looked(struct writing *self, struct lane *lane,
                      const struct async__trace_event *event)
{
    end_with(self, lane, LOOKS, "events", event);
}

static void on_job(struct writing *self, const struct async__trace_event *event)
{
    struct job *job = job_of(self, event->other, event->kind == ASYNC__TRACE_QUEUED);
    const struct lane *lane = job ? lane_of(self, event->task) : NULL;

    if (!lane) return;
    switch (event->kind) {
    case ASYNC__TRACE_QUEUED:
        job->queued = event->time;
        job->function = event->text;
        job->lane = lane->id;
        break;
    case ASYNC__TRACE_JOB:
        job->begun = (int64_t)event->text;
        job->ended = event->time;
        break;
    default: job->dropped = true;
    }
}

static void write_event(struct writing *self, const struct async__trace_event *event)
{
    struct lane *lane = lane_of(self, event->task);

    if (!lane) return;
    lane->seen = true;
    switch (event->kind) {
    case ASYNC__TRACE_RUN: on_run(self, lane, event); break;
    case ASYNC__TRACE_PARK: on_park(self, lane, event); break;
    case ASYNC__TRACE_YIELD: on_yield(self, lane, event); break;
    case ASYNC__TRACE_END: on_end(self, lane, event); break;
    case ASYNC__TRACE_BEGIN:
    case ASYNC__TRACE_WAKE: on_wake(self, lane, event); break;
    case ASYNC__TRACE_LOOK:
        end_plain(self, lane, event->time);
        begin_slice(lane, LOOKS, event->time);
        lane->fd = event->value;
        break;
    case ASYNC__TRACE_LOOKED: on_looked(self, lane, event); break;
    case ASYNC__TRACE_QUEUED:
    case ASYNC__TRACE_JOB:
    case ASYNC__TRACE_DROPPED: on_job(self, event); break;
    default: break; /* names: take_names */
    }
}

/* ---- what lanes are called ---- */

static void take_name(struct lane *lane, const struct async__trace_event *event)
{
    const char *part = (const char *)event + ASYNC__TRACE_NAME_AT;
    size_t size = strnlen(part, ASYNC__TRACE_NAME_PART);

    if (size > sizeof lane->name - 1 - lane->name_size)
        size = sizeof lane->name - 1 - lane->name_size;
    memcpy(lane->name + lane->name_size, part, size);
    lane->name_size += size;
}

static void take_names(struct writing *self)
{
    const struct async__trace_record *record = self->record;

    for (size_t i = 0; i < record->task_count; i++) {
        struct lane *lane = lane_of(self, record->tasks[i].number);
        if (lane) lane->task = &record->tasks[i];
    }
    for (size_t i = 0; i < record->count; i++) {
        const struct async__trace_event *event = &record->events[i];
        struct lane *lane = lane_of(self, event->task);
        if (!lane) return;
        if (event->kind == ASYNC__TRACE_NAME) take_name(lane, event);
        if ((event->kind == ASYNC__TRACE_BEGIN || event->kind == ASYNC__TRACE_END) && event->text)
            lane->coroutine = event->text;
    }
}

static void name_lane(struct writing *self, const struct lane *lane)
{
    char name[400], number[32], where[32] = "";
    const char *own = lane->name[0] ? lane->name : lane->task ? lane->task->name : NULL;
    const char *coroutine = text_at(self, lane->coroutine);

    if (self->record->others) snprintf(where, sizeof where, "loop %d: ", self->record->loop);
    if (!coroutine && lane->task) coroutine = lane->task->coroutine;
    snprintf(number, sizeof number, "Task-%" PRIu64, lane->number);
    if (!lane->number)
        snprintf(name, sizeof name, "loop %d", self->record->loop);
    else
        snprintf(name, sizeof name, "%s%.100s%s%.200s%s", where, own ? own : number,
                 coroutine ? " (" : "", coroutine ? coroutine : "", coroutine ? ")" : "");
    put_lane(self->to, lane->id, name);
}

/* ---- jobs ---- */

static int by_begin(const void *a, const void *b)
{
    const struct job *left = a, *right = b;
    int64_t one = left->begun ? left->begun : left->queued,
            other = right->begun ? right->begun : right->queued;
    return one < other ? -1 : one > other;
}

static void write_job(struct writing *self, const struct job *job, int lane)
{
    char name[256];
    int64_t begin = job->begun ? job->begun : job->queued;
    int64_t end = job->ended ? job->ended : self->record->end;

    function_at(self, job->function, name, sizeof name);
    FILE *out = put_slice(self, lane, "job", name, begin, end);
    if (!job->ended)
        fputs("\"over\":false}}", out);
    else if (job->queued)
        fprintf(out, "\"queued_us\":%.3f}}", (double)(begin - job->queued) * 1e-3);
    else
        fputs("}}", out);
    if (job->queued) put_arrow(self, "job", job->lane, job->queued, lane, begin);
}

enum { JOB_LANES = 128 };

/* Each in the first lane that is free by then; there are no more lanes than a pool may have threads. */
static void write_jobs(struct writing *self)
{
    int64_t free_from[JOB_LANES];
    int ids[JOB_LANES], lanes = 0;
    char name[64];

    if (self->job_count) qsort(self->jobs, self->job_count, sizeof *self->jobs, by_begin);
    for (size_t i = 0; i < self->job_count; i++) {
        const struct job *job = &self->jobs[i];
        int lane = 0;
        if (job->dropped || (!job->begun && !job->queued)) continue;
        while (lane < lanes && free_from[lane] > (job->begun ? job->begun : job->queued))
            lane++;
        if (lane == JOB_LANES) continue;
        if (lane == lanes) {
            ids[lanes++] = ++self->to->lanes;
            snprintf(name, sizeof name, self->record->others ? "loop %2$d: jobs %1$d" : "jobs %d",
                     lanes, self->record->loop);
            put_lane(self->to, ids[lane], name);
        }
        free_from[lane] = job->ended ? job->ended : self->record->end;
        write_job(self, job, ids[lane]);
    }
}

/* ---- the file ---- */

void async__trace_file_begin(struct async__trace_writer *writer, int64_t zero)
{
    writer->zero = zero;
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", writer->out);
    fputs("\"process_name\",\"args\":{\"name\":", begin_event(writer, "M", 0));
    put_text(writer->out, writer->title);
    fputs("}}", writer->out);
}

bool async__trace_file_add(struct async__trace_writer *writer, struct async__trace_record *record)
{
    struct writing self = {.to = writer, .record = record, .begin = record->begin};

    if (record->lost && record->count) self.begin = record->events[0].time;
    writer->lost += record->lost;
    lane_of(&self, 0);
    take_names(&self);
    for (size_t i = 0; i < self.lane_count; i++)
        name_lane(&self, &self.lanes[i]);
    for (size_t i = 0; i < record->count && !self.failed; i++)
        write_event(&self, &record->events[i]);
    for (size_t i = 0; i < self.lane_count; i++) {
        struct lane *lane = &self.lanes[i];
        if (lane->task && !lane->seen) suppose(&self, lane, lane->task->parked ? WAITS : READY);
        end_plain(&self, lane, record->end);
    }
    write_jobs(&self);
    async__free(self.lanes);
    async__free(self.jobs);
    async__free(self.by_number.entries);
    async__free(self.by_job.entries);
    return !self.failed;
}

void async__trace_file_end(struct async__trace_writer *writer)
{
    fprintf(writer->out, "\n],\"otherData\":{\"writer\":\"casyncio\",\"lost\":%" PRIu64 "}}\n",
            writer->lost);
}
