/* json.c - the same, for programs. Addresses are texts, since many readers have numbers of 53 bits. What
 * is not known, or not there, is null. */
#include "python.h"

#include <inttypes.h>
#include <string.h>

/* The names of tasks are clean (snapshot.c); those of files and functions may have anything in them. */
void json_text(FILE *out, const char *text)
{
    if (!text) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

void json_member(FILE *out, const char *name, const char *value)
{
    fprintf(out, ", \"%s\": ", name);
    json_text(out, value);
}

static void address(FILE *out, const char *name, uint64_t value)
{
    if (value)
        fprintf(out, ", \"%s\": \"%#" PRIx64 "\"", name, value);
    else
        fprintf(out, ", \"%s\": null", name);
}

static void seconds(FILE *out, const char *name, int64_t ns, bool known)
{
    if (known)
        fprintf(out, ", \"%s\": %.9f", name, (double)ns * 1e-9);
    else
        fprintf(out, ", \"%s\": null", name);
}

static void id(FILE *out, const char *name, const struct loop *loop, size_t index)
{
    if (index != ASYNC__NO_NODE)
        fprintf(out, ", \"%s\": %" PRIu64, name, loop->tasks[index].number);
    else
        fprintf(out, ", \"%s\": null", name);
}

static void frames_of(FILE *out, struct unwinder *unwinder, const struct loop *loop,
                      const struct task *task, bool internal)
{
    const struct place_in_code *frames[FRAMES];
    bool cut;
    size_t count = task_frames(unwinder, loop, task, internal, frames, &cut);

    fputs(", \"frames\": [", out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s{\"address\": \"%#" PRIx64 "\"", i ? ", " : "", frames[i]->pc);
        json_member(out, "function", frames[i]->function);
        json_member(out, "file", frames[i]->file);
        if (frames[i]->file) fprintf(out, ", \"line\": %d", frames[i]->line);
        json_member(out, "module", frames[i]->module);
        fprintf(out, ", \"offset\": %" PRIu64 "}", frames[i]->offset);
    }
    fprintf(out, "], \"frames_cut\": %s", cut ? "true" : "false");
}

static void show_task(FILE *out, const struct loop *loop, size_t index, struct unwinder *unwinder,
                      bool internal)
{
    const struct task *task = &loop->tasks[index];

    fprintf(out, "{\"id\": %" PRIu64, task->number);
    json_member(out, "name", task->name);
    json_member(out, "coroutine", task->coroutine_name);
    json_member(out, "made_at", task->where);
    json_member(out, "state", task_states[task->state]);
    fprintf(out, ", \"moved\": %s, \"cancelled\": %s, \"main\": %s", task->moved ? "true" : "false",
            task->cancelled ? "true" : "false", task->is_main ? "true" : "false");
    json_member(out, "waits_for", task->what);
    if (task->fd >= 0) fprintf(out, ", \"descriptor\": %d", task->fd);
    address(out, "object", task->list);
    id(out, "held_by", loop, loop->nodes[index].holder);
    seconds(out, "left", task->left, task->left != INT64_MIN);
    seconds(out, "since", (int64_t)((uint64_t)loop->clock - (uint64_t)task->since),
            task->since && !loop->virtual_clock);
    seconds(out, "cpu", task->ran, loop->timed);
    if (task_depth(task)) fprintf(out, ", \"stack\": %" PRIu64, task_depth(task));
    address(out, "group", task->group);
    id(out, "awaited_by", loop, loop->nodes[index].parent);
    address(out, "address", task->address);
    if (unwinder) frames_of(out, unwinder, loop, task, internal);
    fputc('}', out);
}

static void show_one_loop(FILE *out, const struct loop *loop, struct unwinder *unwinder,
                          bool internal)
{
    fprintf(out, "{\"address\": \"%#" PRIx64 "\", \"running\": %s, \"sleeping\": %s", loop->address,
            loop->running ? "true" : "false", loop->sleeping ? "true" : "false");
    fprintf(out, ", \"virtual_clock\": %s, \"timed\": %s, \"incomplete\": %s, \"has_tasks\": %s",
            loop->virtual_clock ? "true" : "false", loop->timed ? "true" : "false",
            loop->incomplete ? "true" : "false", loop->has_tasks ? "true" : "false");
    fprintf(out,
            ", \"timers\": %" PRIu32 ", \"watches\": %" PRIu64 ", \"jobs\": %" PRIu64
            ", \"callbacks\": %" PRIu64 ", \"looks\": %" PRIu64 ", \"tasks\": [",
            loop->timers, loop->watches, loop->jobs, loop->callbacks, loop->looks);
    for (size_t i = 0; i < loop->task_count; i++) {
        fputs(i ? ",\n    " : "\n    ", out);
        show_task(out, loop, i, unwinder, internal);
    }
    fputs("]}", out);
}

void show_json(FILE *out, const struct snapshot *snapshot, const struct options *options)
{
    struct unwinder *unwinder = options->frames ? unwinder_new(snapshot) : NULL;
    const struct image *image = snapshot->image;

    fputs("\"process\": ", out);
    json_text(out, image->title);
    if (image->pid) fprintf(out, ", \"pid\": %d", image->pid);
    json_member(out, "casyncio", snapshot->layout_count ? snapshot->layouts[0].library : NULL);
    json_member(out, "problem", snapshot->problem);
    fputs(", \"loops\": [", out);
    for (size_t i = 0; i < snapshot->loop_count; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        show_one_loop(out, &snapshot->loops[i], unwinder, options->internal);
    }
    fputs("]", out);
    if (is_python(snapshot)) {
        fputs(", \"python_tasks\": ", out);
        show_python(out, snapshot, "json", options->frames);
    }
    unwinder_free(unwinder);
}
