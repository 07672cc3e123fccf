/* top.c - see top.h: measuring, and the course of the program. What is shown is in top_view.c. */
#include "top.h"

#include "terminal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LOOK = 5,      /* ms, about: from one look at the loops to the next */
    OVERHEAD = 12, /* lines of a screen that are not tasks, at most */
};

/* ---- the looks in between ---- */

static void look_at_loop(const struct image *image, const struct loop *loop, struct top_loop *now)
{
    struct beat beat;
    int64_t time = clock_now();

    if (!loop_beat(image, loop, &beat)) return;
    now->looks++;
    now->busy += beat.runs;
    if (!beat.runs)
        now->since = 0;
    else if (now->since == 0 || !now->beat.runs || beat.callbacks != now->beat.callbacks)
        now->since = time;
    if (now->since && time - now->since > now->longest) now->longest = time - now->since;
    now->beat = beat;
}

static void look(struct top *top)
{
    for (size_t i = 0; i < top->loop_count; i++)
        look_at_loop(top->snapshot->image, &top->snapshot->loops[i], &top->loops[i]);
}

/* Between two looks: not always the same, since the process may have a rhythm of its own. */
static int pause_ms(void)
{
    static unsigned state = 1;

    state = state * 1103515245 + 12345;
    return LOOK - 2 + (int)(state >> 16) % 5;
}

/* ---- pictures ---- */

/* A task that is in the same place has the same of all these, though it may have left and come back. */
static uint64_t place_of(const struct loop *loop, const struct task *task)
{
    uint64_t due = task->left == INT64_MIN ? 0 : (uint64_t)task->left + (uint64_t)loop->clock;
    uint64_t place = task->state;

    for (const uint64_t parts[] = {task->sp, task->wait, task->list, task->awaited, due},
                        *part = parts;
         part < parts + 5; part++)
        place = (place ^ *part) * 0x9E3779B97F4A7C15ULL;
    return place;
}

/* Both pictures have their tasks in the order of their numbers. */
static void compare_tasks(const struct top *top, const struct loop *loop, struct top_loop *now,
                          const struct top_loop *before, double interval)
{
    size_t old = 0;

    now->seen_count = loop->task_count;
    now->seen = must(calloc(loop->task_count + 1, sizeof *now->seen));
    for (size_t i = 0; i < loop->task_count; i++) {
        const struct task *task = &loop->tasks[i];
        struct seen *seen = &now->seen[i];
        *seen = (struct seen){task->number, place_of(loop, task), top->taken, task->ran, -1};
        while (old < before->seen_count && before->seen[old].number < task->number)
            old++;
        bool known = old < before->seen_count && before->seen[old].number == task->number;
        if (known && before->seen[old].place == seen->place && task->state == ASYNC__PARKED)
            seen->since = before->seen[old].since;
        if (loop->timed && interval > 0)
            seen->share =
                (double)(task->ran - (known ? before->seen[old].ran : 0)) * 1e-9 / interval;
    }
}

static double rate(uint64_t now, uint64_t before, double interval)
{
    return interval > 0 && now >= before ? (double)(now - before) / interval : -1;
}

static void compare_loop(const struct top *top, const struct loop *loop, struct top_loop *now,
                         const struct top_loop *before)
{
    double interval = before->address ? top->interval : 0;

    *now = (struct top_loop){
        .address = loop->address,
        .beat = before->beat,
        .since = before->since,
        .callbacks = loop->callbacks,
        .polls = loop->looks,
        .made = loop->tasks_made,
        .begun = loop->pools.begun,
        .waited = loop->pools.waited,
        .busy_share = before->looks > 0 ? (double)before->busy / before->looks : -1,
        .longest_step = before->looks > 0 ? (double)before->longest * 1e-9 : -1,
        .callbacks_rate = rate(loop->callbacks, before->callbacks, interval),
        .polls_rate = rate(loop->looks, before->polls, interval),
        .made_rate = rate(loop->tasks_made, before->made, interval),
        .begun_rate = rate(loop->pools.begun, before->begun, interval),
        .job_wait = -1,
    };
    if (interval > 0 && now->begun > before->begun)
        now->job_wait =
            (double)(now->waited - before->waited) * 1e-9 / (double)(now->begun - before->begun);
    compare_tasks(top, loop, now, before, interval);
}

static void free_loops(struct top_loop *loops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(loops[i].seen);
    free(loops);
}

static void compare(struct top *top, struct snapshot *snapshot)
{
    static const struct top_loop none;
    struct top_loop *loops = must(calloc(snapshot->loop_count + 1, sizeof *loops));

    for (size_t i = 0; i < snapshot->loop_count; i++) {
        const struct top_loop *before = &none;
        for (size_t k = 0; k < top->loop_count; k++)
            if (top->loops[k].address == snapshot->loops[i].address) before = &top->loops[k];
        compare_loop(top, &snapshot->loops[i], &loops[i], before);
    }
    free_loops(top->loops, top->loop_count);
    top->loops = loops;
    top->loop_count = snapshot->loop_count;
}

static void count_descriptors(struct top *top)
{
    char name[64], *line = NULL;
    size_t size = 0;
    unsigned long long limit;

    top->descriptors_open = top->descriptors_limit = 0;
    snprintf(name, sizeof name, "/proc/%d/fd", top->pid);
    DIR *directory = opendir(name);
    if (!directory) return;
    for (const struct dirent *entry; (entry = readdir(directory));)
        top->descriptors_open += entry->d_name[0] != '.';
    closedir(directory);
    snprintf(name, sizeof name, "/proc/%d/limits", top->pid);
    FILE *file = fopen(name, "re");
    while (file && getline(&line, &size, file) > 0)
        if (sscanf(line, "Max open files %llu", &limit) == 1) top->descriptors_limit = limit;
    free(line);
    if (file) fclose(file);
}

static void drop_picture(struct top *top)
{
    struct image *image = top->snapshot ? top->snapshot->image : NULL;

    snapshot_free(top->snapshot);
    image_free(image);
    top->snapshot = NULL;
}

/* NULL, or why there is no picture: a line, to be freed. */
static char *take_picture(struct top *top)
{
    char *error = NULL;
    struct image *image = image_of_process(top->pid, false, &error);
    struct snapshot *snapshot = image ? snapshot_take(image, &error) : NULL;

    if (!snapshot) {
        image_free(image);
        return error;
    }
    int64_t now = clock_now(), before = top->taken;
    top->taken = now;
    top->interval = before ? (double)(now - before) * 1e-9 : 0;
    for (size_t i = 0; i < snapshot->loop_count; i++)
        snapshot_nodes(&snapshot->loops[i]);
    compare(top, snapshot);
    drop_picture(top);
    top->snapshot = snapshot;
    count_descriptors(top);
    return NULL;
}

/* ---- without a terminal ---- */

static void sleep_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static void print_picture(const struct top *top, bool first)
{
    size_t offset = 0;

    if (top->options->json) {
        top_show_json(stdout, top);
    } else {
        if (!first) putchar('\n');
        top_show(stdout, top, 0, top->options->rows ? top->options->rows : UINT32_MAX, &offset);
    }
    fflush(stdout);
}

/* Rates need two pictures: the first one is not shown. NULL, or why it has ended. */
static char *run_plain(struct top *top)
{
    unsigned count = top->options->once ? 1 : top->options->count;
    char *error = take_picture(top);

    for (unsigned shown = 0; !error && (!count || shown < count); shown++) {
        int64_t until = top->taken + (int64_t)(top->options->interval * 1e9);
        for (look(top); clock_now() < until; look(top))
            sleep_ms(pause_ms());
        error = take_picture(top);
        if (!error) print_picture(top, shown == 0);
        if (ferror(stdout)) break;
    }
    return error;
}

/* ---- with a terminal, which is open ---- */

struct screen {
    struct top *top;
    struct top_options *options;
    size_t offset;
    bool types;  /* a filter */
    bool helps;  /* the keys are shown */
    bool paused; /* no new pictures */
    bool over;
};

static const char keys[] = "casyncio top: keys\n"
                           "\n"
                           "  c  by the CPU time of the interval (where it is counted)\n"
                           "  w  by how long they wait\n"
                           "  t  by all their CPU time\n"
                           "  i  in the order in which they were made\n"
                           "  n  by name\n"
                           "  s  by how much of their stack is in use\n"
                           "  r  the other way round\n"
                           "  /  only tasks that have a text in their name, coroutine or wait\n"
                           "     (enter ends the typing, escape takes the filter away)\n"
                           "  p  stands still, and goes on\n"
                           "  + -  longer or shorter intervals; blank: now\n"
                           "  arrows, page up, page down, home, end: other tasks\n"
                           "  q  ends it\n"
                           "\n"
                           "Any key goes back.\n";

static void status_line(FILE *out, const struct screen *screen, size_t count)
{
    static const char *const names[] = {"best", "wait", "CPU", "all CPU", "order", "name", "stack"};
    const struct top_options *options = screen->options;

    if (screen->types) {
        fprintf(out, "filter: %s_", options->filter);
        return;
    }
    fprintf(out, "%zu tasks by %s%s", count, names[options->sort],
            options->reverse ? ", reversed" : "");
    if (*options->filter) fprintf(out, ", with '%s'", options->filter);
    fprintf(out, "; every %g s%s; h: keys, q: end", options->interval,
            screen->paused ? ", stands still" : "");
}

/* For tasks. */
static unsigned room_of(int rows) { return rows > OVERHEAD ? (unsigned)(rows - OVERHEAD) : 3; }

static void draw(struct screen *screen)
{
    char *text = NULL;
    size_t size = 0;
    int columns, rows;
    FILE *out = must(open_memstream(&text, &size));

    if (screen->helps) {
        fputs(keys, out);
    } else {
        terminal_size(&columns, &rows);
        size_t count = top_show(out, screen->top, columns, room_of(rows), &screen->offset);
        status_line(out, screen, count);
    }
    if (fclose(out) != 0) must(NULL);
    terminal_show(text);
    free(text);
}

static void type(struct screen *screen, int key)
{
    char *filter = screen->options->filter;
    size_t length = strlen(filter);

    if (key == '\r' || key == '\n')
        screen->types = false;
    else if (key == ESCAPE)
        *filter = screen->types = false;
    else if (key == BACKSPACE && length > 0)
        filter[length - 1] = 0;
    else if (key >= ' ' && key < 256 && key != BACKSPACE &&
             length + 1 < sizeof screen->options->filter)
        filter[length] = (char)key, filter[length + 1] = 0;
    screen->offset = 0;
}

static void move(struct screen *screen, int key)
{
    int columns, rows;
    size_t *offset = &screen->offset;

    terminal_size(&columns, &rows);
    size_t page = room_of(rows);
    switch (key) {
    case KEY_UP: *offset -= *offset > 0; break;
    case KEY_DOWN: *offset += 1; break; /* too far is brought back by top_show */
    case KEY_PAGE_UP: *offset -= *offset < page ? *offset : page; break;
    case KEY_PAGE_DOWN: *offset += page; break;
    case KEY_HOME: *offset = 0; break;
    case KEY_END: *offset = SIZE_MAX; break;
    default: break;
    }
}

static void change_order(struct screen *screen, enum sort sort)
{
    screen->options->sort = sort;
    screen->offset = 0;
}

/* True: a new picture is wanted now. */
static bool obey(struct screen *screen, int key)
{
    struct top_options *options = screen->options;

    if (screen->helps) {
        screen->helps = false;
        return false;
    }
    if (screen->types) {
        type(screen, key);
        return false;
    }
    switch (key) {
    case 'q': screen->over = true; break;
    case 'c': change_order(screen, SORT_CPU); break;
    case 'w': change_order(screen, SORT_WAIT); break;
    case 't': change_order(screen, SORT_TOTAL); break;
    case 'i': change_order(screen, SORT_ID); break;
    case 'n': change_order(screen, SORT_NAME); break;
    case 's': change_order(screen, SORT_STACK); break;
    case 'r': options->reverse = !options->reverse; break;
    case '/': screen->types = true; break;
    case ESCAPE: *options->filter = 0; break;
    case 'p': screen->paused = !screen->paused; break;
    case '+': options->interval = options->interval < 1800 ? options->interval * 2 : 3600; break;
    case '-': options->interval = options->interval > 0.2 ? options->interval / 2 : 0.1; break;
    case ' ': return true;
    case 'h':
    case '?': screen->helps = true; break;
    default: move(screen, key); break;
    }
    return false;
}

/* Until it is time for the next picture. */
static void watch(struct screen *screen)
{
    struct top *top = screen->top;
    bool wanted = false;

    while (!screen->over && !wanted) {
        if (!screen->paused &&
            clock_now() - top->taken >= (int64_t)(screen->options->interval * 1e9))
            return;
        look(top);
        int key = terminal_key(pause_ms());
        if (key == KEY_GONE) screen->over = true;
        if (key > 0) wanted = obey(screen, key);
        if (key > 0 || terminal_changed()) draw(screen);
    }
}

static char *run_on_screen(struct top *top, struct top_options *options)
{
    struct screen screen = {.top = top, .options = options};
    char *error = take_picture(top);
    unsigned shown = 0;

    while (!error && !screen.over) {
        draw(&screen);
        if (options->count && ++shown > options->count) break;
        watch(&screen);
        if (!screen.over) error = take_picture(top);
    }
    return error;
}

int top_run(int pid, struct top_options *options)
{
    struct top top = {.pid = pid, .options = options};
    bool plain = options->once || options->json || !terminal_open();
    char *error = plain ? run_plain(&top) : run_on_screen(&top, options);

    terminal_close();
    free_loops(top.loops, top.loop_count);
    drop_picture(&top);
    if (!error) return ferror(stdout) ? 1 : 0;
    fprintf(stderr, "casyncio: %s\n", error);
    free(error);
    return 1;
}
