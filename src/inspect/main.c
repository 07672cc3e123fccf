/* main.c - casyncio: what is my program doing? */
#include "leaks.h"
#include "show.h"
#include "top.h"
#include "trace.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "casyncio - what tasks a program that uses casyncio has, and what each of them waits for\n"
    "\n"
    "  casyncio ps PID...           a row for each task\n"
    "  casyncio pstree PID...       the tree of what awaits what, each task with the frames of its "
    "stack\n"
    "  casyncio ps CORE [PROGRAM]   the same of a core file, of the program that it is of\n"
    "  casyncio pstree CORE [PROGRAM]\n"
    "  casyncio top PID             what it does now: refreshed every second, with keys (h shows "
    "them); or lines\n"
    "                               where the output is no terminal\n"
    "  casyncio leaks PID | CORE [PROGRAM]\n"
    "                               tasks that nothing can ever wake: what they wait for is out of "
    "reach\n"
    "  casyncio trace PID | --svg FILE\n"
    "                               a timeline (casyncio trace --help)\n"
    "  casyncio COMMAND ...         the program casyncio-COMMAND, beside this one or in the PATH\n"
    "  casyncio jobs ...            which shows the queues of a cluster: casyncio jobs --help\n"
    "\n"
    "The process needs no preparation, no debug information and no help: it is read from outside "
    "while it\n"
    "goes on, and notices nothing. What changes while it is being read is read again; where that "
    "is not\n"
    "enough it is said. It takes the rights of a debugger: the same user, or root (and see\n"
    "/proc/sys/kernel/yama/ptrace_scope).\n"
    "\n"
    "  --stop        hold the process meanwhile, for a picture that is of one moment, and for the "
    "frames\n"
    "                of what runs; how long it was held is told\n"
    "  --all         all processes with casyncio in them that may be read\n"
    "  --no-frames   pstree: the tree alone, as async_format_call_graph() gives it\n"
    "  --internal    pstree: the library's own frames as well\n"
    "  --json        for programs: an object for each process, in an array\n"
    "  --help, --version\n"
    "\n"
    "  --interval S  top: seconds, 1; --count N: so many pictures; --once: one, after one "
    "interval\n"
    "  --sort KEY    top: cpu (where it is counted), wait, total, id, name or stack\n"
    "  --filter TEXT top: tasks that have it in their name, coroutine or wait\n"
    "  --rows N      top, without a terminal: so many tasks, 20; 0: all. --json: an object a line\n"
    "\n"
    "top learns how busy a loop is, and how long its longest step takes, by some hundred looks a "
    "second at\n"
    "what it does, which costs the process nothing. CPU time of tasks is only known where it is "
    "counted (as\n"
    "for ps). Of a wait it shows the time if that is counted, and else, with a +, for how long it "
    "has seen\n"
    "the task in the same place, which the task may have left and come back to.\n"
    "\n"
    "leaks holds the process while it scans its memory. It is conservative: what it names is lost, "
    "unless\n"
    "the program hides addresses; it does not find all that is lost.\n"
    "\n"
    "ps has these columns; what is not known is a dash.\n"
    "  ID, NAME, COROUTINE   of the task; a task that was not named has its number\n"
    "  STATE      running; ready: it waits for its turn; parked; moves: it ran while it was being "
    "read\n"
    "  SINCE      seconds since it last ran, and CPU, seconds that it has run: counted in debug "
    "mode\n"
    "             (CASYNCIO_DEBUG=1) and with ASYNC_MEASURE_STEPS\n"
    "  STACK      bytes of its stack in use\n"
    "  GROUP      the address of the group that owns it\n"
    "  AWAITED BY the task that awaits it, or owns its group\n"
    "  WAITS FOR  what it is parked on, with the descriptor, the time that is left, or the address "
    "of the\n"
    "             lock, event or queue and the task that holds the lock\n"
    "\n"
    "Exit status: 0; 1: a process or a core could not be read, and why is said on standard error; "
    "2: the\n"
    "command line is wrong.\n";

enum option_number {
    STOP,
    ALL,
    NO_FRAMES,
    INTERNAL,
    JSON,
    HELP,
    VERSION,
    ONCE,
    INTERVAL,
    COUNT_OPTION,
    ROWS,
    SORT,
    FILTER
};

typedef void show_function(FILE *out, const struct snapshot *snapshot,
                           const struct options *options);

static int shown; /* processes */

static bool complain(char *error)
{
    fprintf(stderr, "casyncio: %s\n", error);
    free(error);
    return false;
}

/* What is to be shown is all read and in memory before the process goes on, which is before it is
 * written: that may take as long as whatever reads it likes. */
static void show_one(const struct snapshot *snapshot, show_function *show,
                     const struct options *options)
{
    char *text = NULL;
    size_t size;
    FILE *out = must(open_memstream(&text, &size));

    show(out, snapshot, options);
    if (fclose(out) != 0) must(NULL);
    image_resume(snapshot->image);
    if (options->json) {
        fputs(shown ? ",\n{" : "[{", stdout);
        fwrite(text, 1, size, stdout);
        printf(", \"stopped\": %.6f}", snapshot->image->stopped * 1e-3);
    } else {
        show_process(stdout, snapshot);
        fwrite(text, 1, size, stdout);
    }
    free(text);
    shown++;
}

/* Takes the image over; NULL is one that could not be made, because of `error`. */
static bool look_at(struct image *image, char *error, show_function *show,
                    const struct options *options)
{
    struct snapshot *snapshot = image ? snapshot_take(image, &error) : NULL;

    if (snapshot) {
        for (size_t i = 0; i < snapshot->loop_count; i++)
            snapshot_nodes(&snapshot->loops[i]);
        show_one(snapshot, show, options);
    }
    bool good = snapshot != NULL;
    snapshot_free(snapshot);
    image_free(image);
    return good ? true : complain(error);
}

static bool look_at_process(int pid, show_function *show, const struct options *options)
{
    char *error = NULL;
    struct image *image = image_of_process(pid, options->stop, &error);

    return look_at(image, error, show, options);
}

/* Those that cannot be read, or have no casyncio in them, are passed over. */
static bool look_at_all(show_function *show, const struct options *options)
{
    DIR *directory = opendir("/proc");

    if (!directory) return complain(text_of("/proc cannot be read"));
    for (struct dirent *entry; (entry = readdir(directory));) {
        char *error = NULL;
        int pid = atoi(entry->d_name);
        if (pid <= 0 || pid == getpid()) continue;
        struct image *image = image_of_process(pid, options->stop, &error);
        if (image)
            look_at(image, error, show, options);
        else
            free(error);
    }
    closedir(directory);
    return true;
}

static int process_id(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);

    return end != text && !*end && number > 0 && number <= 1 << 22 ? (int)number : 0;
}

static int usage(const char *wrong)
{
    fprintf(stderr, "casyncio: %s (casyncio --help)\n", wrong);
    return 2;
}

static bool read_number(const char *text, double least, double most, double *number)
{
    char *end;

    *number = strtod(text, &end);
    return end != text && !*end && *number >= least && *number <= most;
}

/* Those of `casyncio top` alone. NULL, or what is wrong. */
static const char *read_top_option(int option, const char *value, struct top_options *top)
{
    double number;

    switch (option) {
    case INTERVAL:
        if (!read_number(value, 0.1, 3600, &top->interval))
            return "--interval: 0.1 to 3600 seconds";
        return NULL;
    case COUNT_OPTION:
        if (!read_number(value, 1, 1e9, &number)) return "--count: 1 or more";
        top->count = (unsigned)number;
        return NULL;
    case ROWS:
        if (!read_number(value, 0, 1e9, &number)) return "--rows: a number";
        top->rows = (unsigned)number;
        return NULL;
    case SORT:
        return top_sort_named(value, &top->sort) ? NULL
                                                 : "--sort: cpu, wait, total, id, name or stack";
    default:
        if (strlen(value) >= sizeof top->filter) return "--filter: at most 63 bytes";
        strcpy(top->filter, value);
        return NULL;
    }
}

static bool read_options(int count, char **arguments, struct options *options,
                         struct top_options *top, int *code)
{
    static const struct option known[] = {
        {"stop", no_argument, NULL, STOP},
        {"all", no_argument, NULL, ALL},
        {"no-frames", no_argument, NULL, NO_FRAMES},
        {"internal", no_argument, NULL, INTERNAL},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {"once", no_argument, NULL, ONCE},
        {"interval", required_argument, NULL, INTERVAL},
        {"count", required_argument, NULL, COUNT_OPTION},
        {"rows", required_argument, NULL, ROWS},
        {"sort", required_argument, NULL, SORT},
        {"filter", required_argument, NULL, FILTER},
        {0},
    };

    *code = 0;
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        switch (option) {
        case STOP: options->stop = true; break;
        case ALL: options->all = true; break;
        case NO_FRAMES: options->frames = false; break;
        case INTERNAL: options->internal = true; break;
        case JSON: options->json = top->json = true; break;
        case ONCE: top->once = true; break;
        case INTERVAL:
        case COUNT_OPTION:
        case ROWS:
        case SORT:
        case FILTER: {
            const char *wrong = read_top_option(option, optarg, top);
            if (!wrong) break;
            *code = usage(wrong);
            return false;
        }
        case HELP: fputs(help, stdout); return false;
        case VERSION: puts("casyncio " CASYNCIO_VERSION); return false;
        default: *code = 2; return false;
        }
    }
    return true;
}

static bool look_at_named(int count, char **names, show_function *show,
                          const struct options *options)
{
    char *error = NULL;
    bool good = true;

    if (!process_id(names[0])) {
        struct image *image = image_of_core(names[0], count > 1 ? names[1] : NULL, &error);
        return look_at(image, error, show, options);
    }
    for (int i = 0; i < count; i++) {
        if (process_id(names[i]))
            good &= look_at_process(process_id(names[i]), show, options);
        else
            good = complain(text_of("%s is no process", names[i]));
    }
    return good;
}

/* Commands that are programs of their own, as git has them: so this one needs nothing of what they need. Returns if
 * there is none. */
static void run_program(char **arguments)
{
    static const char *const own[] = {"ps", "pstree", "top", "leaks"};
    char name[NAME_MAX], path[PATH_MAX], *command = arguments[0];

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(command, own[i]) == 0) return;
    if (*command == '-' || strchr(command, '/')) return;
    if (snprintf(name, sizeof name, "casyncio-%s", command) >= (int)sizeof name) return;
    arguments[0] = name;
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof name);
    while (size > 0 && path[size - 1] != '/')
        size--;
    if (size > 0) {
        strcpy(path + size, name);
        execv(path, arguments);
    }
    execvp(name, arguments);
    arguments[0] = command;
    if (errno != ENOENT) fprintf(stderr, "casyncio: %s: %s\n", name, strerror(errno));
}

int main(int count, char **arguments)
{
    struct options options = {.frames = true};
    struct top_options top = {.interval = 1, .rows = 20};
    show_function *show = NULL;
    int code;

    setlocale(LC_CTYPE, "");
    if (count > 1 && strcmp(arguments[1], "trace") == 0)
        return trace_main(count - 1, arguments + 1);
    if (count > 1) run_program(arguments + 1);
    if (!read_options(count, arguments, &options, &top, &code)) return code;
    const char *command = optind < count ? arguments[optind++] : "";
    if (strcmp(command, "top") == 0) {
        if (options.all || options.stop || count - optind != 1 || !process_id(arguments[optind]))
            return usage("top is of one process");
        return top_run(process_id(arguments[optind]), &top);
    }
    if (strcmp(command, "ps") == 0) {
        options.frames = false;
        show = show_rows;
    } else if (strcmp(command, "pstree") == 0) {
        show = show_tree;
    } else if (strcmp(command, "leaks") == 0) {
        show = show_leaks;
        options.stop = true; /* what moves would be taken for what is lost */
        if (options.json) return usage("leaks has no --json");
    } else {
        return usage(*command ? "there is no such command" : "what is to be done?");
    }
    if (options.json) show = show_json;
    if (options.all ? optind < count : optind == count)
        return usage(options.all ? "--all needs no process" : "which process?");
    bool good = options.all ? look_at_all(show, &options)
                            : look_at_named(count - optind, arguments + optind, show, &options);
    if (options.json) puts(shown ? "]" : "[]");
    if (fflush(stdout) != 0) return 1;
    return good ? 0 : 1;
}
