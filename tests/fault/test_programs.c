/* The first fifteen programs of examples/, as they are, with a fault in each run: the n-th allocation, system call,
 * transfer, await or wait, for every n that the program reaches (src/base/faults.h says what each
 * kind is). A run is a process of its own, and of each it is checked:
 *
 *   - that it ends, within a bound, by itself, and with no report of a sanitizer, leaks included;
 *   - that it either succeeded, and then printed exactly what it prints without a fault, in exactly
 *     the time (of the virtual clock), or exited with a status that is not 0 and said why;
 *   - that no descriptor is open at its end that is not so without a fault.
 *
 * All but four run on a virtual clock. 05 and 12 have libcurl in them, which looks at the real
 * clock whatever the loop's clock says, and 15 has other programs: they run on a real one made 20 times as fast, which for
 * curl is a loop that calls it too early, as it may. And a fault can leave 10 writing its song
 * until a timeout ends it; a virtual clock stands still while a task can run, and that timeout
 * would never come.
 *
 * The chat's scene makes thousands of calls, nearly all of them while it writes the song: between
 * the first and the last of them a sample is taken, and the output says so.
 *
 *     test_programs [PROGRAM [KIND]]        only this one, and all of its n
 *
 * ctest: timeout=1500 serial */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

enum {
    BOUND = 30,   /* seconds, for one run */
    REPORT = 198, /* the descriptor for the counts */
    SANITIZER_STATUS = 99,
    FAILURES_SHOWN = 12,
    SLOTS = 16,
    SLOTS_EACH = 4, /* a processor: many runs do no more than wait until their time is up */
};

/* ---- what is swept ---- */

struct program {
    const char *name, *arguments[2];
    const char *clock;
    int status;         /* without a fault */
    bool untimed;       /* it ignores the code of a sleep, so that the time may differ */
    bool interruptible; /* takes an EINTR for Ctrl-C, and ends without a message */
    bool feeds;  /* a child that is reset and takes no input is no error, and has no output */
    bool counts; /* prints numbers of calls, which a fault changes */
    const char *alternative; /* an output with this in it reports a failure, with status 0 */
};

static const struct program programs[] = {
    {.name = "01_hello", .clock = "virtual", .untimed = true},
    {.name = "02_gather", .clock = "virtual"},
    {.name = "03_errors", .clock = "virtual", .untimed = true, .alternative = "Invalid argument"},
    {.name = "04_background", .clock = "virtual"},
    {.name = "05_http_get", .clock = "20"},
    {.name = "06_async_generator", .clock = "virtual"},
    {.name = "07_lock", .clock = "virtual"},
    {.name = "08_context_manager", .clock = "virtual", .untimed = true},
    {.name = "08_context_manager",
     .arguments = {"--fail"},
     .clock = "virtual",
     .status = 1,
     .untimed = true},
    {.name = "08_context_manager",
     .arguments = {"--cancel"},
     .clock = "virtual",
     .status = 1,
     .untimed = true},
    {.name = "09_async_iterator", .clock = "virtual"},
    {.name = "10_chat", .clock = "virtual:2000000", .untimed = true, .interruptible = true},
    {.name = "11_files", .clock = "virtual"},
    {.name = "12_stream_api", .clock = "20"},
    {.name = "13_memory_pair", .clock = "virtual", .untimed = true, .counts = true},
    {.name = "14_name_lookup",
     .clock = "virtual",
     .untimed = true,
     .alternative = "asking again\nno answer: asking again"},
    {.name = "15_subprocess", .clock = "20", .feeds = true},
};

/* With a plus: and every later one too. */
static const char *const kinds[] = {"allocation",
                                    "allocation+",
                                    "system_call",
                                    "transfer",
                                    "transfer+",
                                    "await",
                                    "wait",
                                    "wake",
                                    "expire",
                                    "worker_system_call",
                                    "worker_transfer",
                                    "worker_transfer+"};
enum { KINDS = COUNT(kinds) };
static const int errors[] = {EMFILE, ECONNRESET, EINTR, EIO, ENOMEM};

static bool has_errors(int kind) { return strstr(kinds[kind], "system_call") != NULL; }

/* ---- one run ---- */

struct outcome {
    int status; /* waitpid's */
    char *out, *err;
    long counts[KINDS], descriptors;
    long long end;
    bool reported;
};

struct run {
    pid_t pid; /* 0: the slot is free */
    long n;
    int out, err, report;
};

static char examples[4096];

static void describe(const struct program *program, int kind, long n, int error, char *text,
                     size_t size)
{
    int used =
        snprintf(text, size, "CASYNCIO_FAULT_CURL=1 CASYNCIO_FAULT_CLOCK=%s ", program->clock);
    if (n > 0)
        used += snprintf(text + used, size - (size_t)used, "CASYNCIO_FAULT=%s:%ld:%d ", kinds[kind],
                         n, error);
    snprintf(text + used, size - (size_t)used, "%s/%s%s%s", examples, program->name,
             program->arguments[0] ? " " : "", program->arguments[0] ? program->arguments[0] : "");
}

static void exec_program(const struct program *program, const struct run *run, int kind, int error)
{
    char path[5000], fault[64];

    snprintf(path, sizeof path, "%s/%s", examples, program->name);
    snprintf(fault, sizeof fault, "%s:%ld:%d", kinds[kind], run->n, error);
    if (run->n > 0) setenv("CASYNCIO_FAULT", fault, 1);
    setenv("CASYNCIO_FAULT_CLOCK", program->clock, 1);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(run->out, 1);
    dup2(run->err, 2);
    dup2(run->report, REPORT);
    for (int fd = 3; fd < REPORT; fd++)
        close(fd);
    alarm(BOUND);
    execl(path, program->name, program->arguments[0], NULL);
    dprintf(2, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

static int scratch(void)
{
    int fd = memfd_create("run", MFD_CLOEXEC);
    if (fd < 0) {
        perror("memfd_create");
        exit(1);
    }
    return fd;
}

static void start(struct run *run, const struct program *program, int kind, long n, int error)
{
    run->n = n;
    run->out = scratch();
    run->err = scratch();
    run->report = scratch();
    fflush(stdout);
    run->pid = fork();
    if (run->pid == 0) exec_program(program, run, kind, error);
    if (run->pid > 0) return;
    perror("fork");
    exit(1);
}

static char *contents(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)size + 1);
    if (!text || pread(fd, text, (size_t)size, 0) != size) exit(1);
    text[size] = 0;
    close(fd);
    return text;
}

static long long number_after(const char *text, const char *name, bool *found)
{
    size_t length = strcspn(name, "+");
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ' ')
            return strtoll(line + length, NULL, 10);
    }
    *found = false;
    return 0;
}

static struct outcome finish(struct run *run, int status)
{
    struct outcome outcome = {.status = status, .reported = true};
    char *report = contents(run->report);

    outcome.out = contents(run->out);
    outcome.err = contents(run->err);
    for (int kind = 0; kind < KINDS; kind++)
        outcome.counts[kind] = (long)number_after(report, kinds[kind], &outcome.reported);
    outcome.end = number_after(report, "end", &outcome.reported);
    outcome.descriptors = (long)number_after(report, "descriptors", &outcome.reported);
    free(report);
    run->pid = 0;
    return outcome;
}

static void forget(struct outcome *outcome)
{
    free(outcome->out);
    free(outcome->err);
}

/* ---- what is checked ---- */

/* Without the line in which the library tells of an error that the program could not look at. */
static const char *program_words(const char *err)
{
    static const char own[] = "casyncio: an error was never looked at: ";
    const char *end = strncmp(err, own, sizeof own - 1) == 0 ? strchr(err, '\n') : NULL;
    return end ? end + 1 : err;
}

static bool is_same(const char *expected, const char *out, bool any_numbers)
{
    static const char digits[] = "0123456789";

    while (any_numbers && *expected && *out) {
        size_t length = strcspn(expected, digits);
        if (strncmp(expected, out, length) != 0) return false;
        expected += length + strspn(expected + length, digits);
        out += length + strspn(out + length, digits);
    }
    return strcmp(expected, out) == 0;
}

/* What is wrong with it, or NULL. */
static const char *judge(const struct program *program, int error, const struct outcome *base,
                         const struct outcome *outcome)
{
    size_t name = strlen(program->name);

    if (strstr(outcome->err, "Sanitizer") || strstr(outcome->err, "runtime error:"))
        return "a sanitizer has something to say";
    if (WIFSIGNALED(outcome->status))
        return WTERMSIG(outcome->status) == SIGALRM ? "it hangs" : "it was killed by a signal";
    int status = WEXITSTATUS(outcome->status);
    if (status == SANITIZER_STATUS || status == 127) return "it did not run to its end";
    if (!outcome->reported) return "it ended without a report";
    if (outcome->descriptors != base->descriptors) return "a descriptor is left open";
    if (status == 0 && program->status != 0) return "it succeeded where it ought to fail";
    if (status == 0) {
        if (*program_words(outcome->err)) return "it succeeded, with a message";
        if (program->alternative && strstr(outcome->out, program->alternative)) return NULL;
        if (program->interruptible && error == EINTR &&
            strncmp(outcome->out, base->out, strlen(outcome->out)) == 0)
            return NULL;
        if (program->feeds && error == ECONNRESET && strstr(base->out, outcome->out)) return NULL;
        if (!is_same(base->out, outcome->out, program->counts))
            return "it succeeded, with another output";
        bool timed = !program->untimed && strcmp(program->clock, "virtual") == 0;
        if (timed && outcome->end != base->end) return "it succeeded, in another time";
        return NULL;
    }
    const char *err = program_words(outcome->err);
    if (strncmp(err, program->name, name) != 0 || strncmp(err + name, ": ", 2) != 0 ||
        strchr("\n", err[name + 2]))
        return "it failed without a word";
    if (strstr(outcome->err, "deadlock")) return "it waited for what could never come";
    return NULL;
}

static int failures;

static void fail(const struct program *program, int kind, long n, int error,
                 const struct outcome *outcome, const char *what)
{
    char command[8192];

    if (++failures > FAILURES_SHOWN) return;
    describe(program, kind, n, error, command, sizeof command);
    printf("\nFAILED: %s (wait status %#x)\n    %s\n---- it printed\n%.2000s---- it "
           "said\n%.6000s----\n",
           what, (unsigned)outcome->status, command, outcome->out, outcome->err);
}

/* ---- a sweep: one program, one kind, one errno ---- */

struct sweep {
    const struct program *program;
    const struct outcome *base;
    int kind, error;
    long limit;  /* the last n to be run, so far */
    long offset; /* in the sample */
    long runs, failed_clearly, unreached;
    bool sampled;
};

/* Of more than three times as many, so many first and last ones are taken, and so many in between with one
 * errno each. CASYNCIO_SWEEP in the environment is another number for `all`. */
static long all = 80, sample = 60;

static void set_sample(const char *text)
{
    if (!text || atol(text) < 4) return;
    all = atol(text);
    sample = all * 3 / 4;
}

static struct run slots[SLOTS];
static int slot_count;

static long next_n(const struct sweep *sweep, long n)
{
    long last = sweep->limit - all, step = (last - all) / sample;
    n++;
    if (!sweep->sampled || n <= all || n > last) return n;
    if (has_errors(sweep->kind)) step *= COUNT(errors);
    n += n == all + 1 ? sweep->offset : step - 1;
    return n <= last ? n : last + 1;
}

/* Counts differ a little from run to run where they depend on the kernel: goes on while n is
 * reached. */
static void take(struct sweep *sweep, struct run *run, int status)
{
    struct outcome outcome = finish(run, status);
    const char *what = judge(sweep->program, sweep->error, sweep->base, &outcome);

    sweep->runs++;
    if (what) fail(sweep->program, sweep->kind, run->n, sweep->error, &outcome, what);
    if (!what && WEXITSTATUS(status) != 0) sweep->failed_clearly++;
    long usual = sweep->base->counts[sweep->kind];
    if (outcome.reported && outcome.counts[sweep->kind] < run->n)
        sweep->unreached += run->n <= usual;
    else if (run->n == sweep->limit && !sweep->sampled && run->n >= usual && run->n < usual + 20)
        sweep->limit++;
    forget(&outcome);
}

static int wait_for_slot(int *status)
{
    pid_t pid = waitpid(-1, status, 0);
    for (int slot = 0; slot < slot_count; slot++)
        if (slots[slot].pid == pid) return slot;
    return -1;
}

static void run_sweep(struct sweep *sweep)
{
    long n = 0;
    int running = 0, status;

    while (running > 0 || next_n(sweep, n) <= sweep->limit) {
        if (running < slot_count && next_n(sweep, n) <= sweep->limit) {
            int slot = 0;
            while (slots[slot].pid)
                slot++;
            n = next_n(sweep, n);
            start(&slots[slot], sweep->program, sweep->kind, n, sweep->error);
            running++;
            continue;
        }
        int slot = wait_for_slot(&status);
        if (slot < 0) continue;
        take(sweep, &slots[slot], status);
        running--;
    }
}

/* ---- a program ---- */

static FILE *table;

/* To the terminal, and to a file that the check's log quotes. */
static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    if (!table) return;
    va_start(arguments, format);
    vfprintf(table, format, arguments);
    va_end(arguments);
}

static long sweep_kind(const struct program *program, const struct outcome *base, int kind,
                       bool whole)
{
    int count = has_errors(kind) ? COUNT(errors) : 1;
    long runs = 0, failed = 0, unreached = 0, most = base->counts[kind];
    if (strstr(kinds[kind], "transfer+") && most > 3) most = 3; /* all of them byte by byte: slow */
    bool sampled = !whole && most > 2 * all + sample;

    if (most == 0) return 0;
    for (int i = 0; i < count; i++) {
        struct sweep sweep = {.program = program,
                              .base = base,
                              .kind = kind,
                              .error = errors[i],
                              .limit = most,
                              .offset = i * (most - 2 * all) / sample,
                              .sampled = sampled};
        run_sweep(&sweep);
        runs += sweep.runs;
        failed += sweep.failed_clearly;
        unreached += sweep.unreached;
    }
    say("    %-20s %5ld %s%ld runs, %ld of them failed and said so%s", kinds[kind], most,
        sampled ? "a sample: " : "", runs, failed, unreached ? "" : "\n");
    if (unreached) say(", %ld did not come to n\n", unreached);
    return runs;
}

static long sweep_program(const struct program *program, const char *only)
{
    struct run run;
    int status = 0;
    long runs = 0;
    struct timespec before, after;

    clock_gettime(CLOCK_MONOTONIC, &before);
    start(&run, program, 0, 0, 0);
    while (waitpid(run.pid, &status, 0) != run.pid)
        continue;
    struct outcome base = finish(&run, status);
    say("%s%s%s\n", program->name, program->arguments[0] ? " " : "",
        program->arguments[0] ? program->arguments[0] : "");
    const char *what = judge(program, 0, &base, &base);
    if (what || WEXITSTATUS(status) != program->status) {
        fail(program, 0, 0, 0, &base, what ? what : "another status than it ought to have");
    } else {
        for (int kind = 0; kind < KINDS; kind++)
            if (!only || strcmp(only, kinds[kind]) == 0)
                runs += sweep_kind(program, &base, kind, only != NULL);
    }
    forget(&base);
    clock_gettime(CLOCK_MONOTONIC, &after);
    say("    %ld runs in %.1f s\n", runs,
        (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9);
    return runs;
}

static void set_options(const char *name, const char *options)
{
    char text[1024];
    const char *given = getenv(name);
    snprintf(text, sizeof text, "%s%s%s", given ? given : "", given && *given ? ":" : "", options);
    setenv(name, text, 1);
}

int main(int argc, char **argv)
{
    const char *build = getenv("BUILD_DIR");
    long runs = 0, processors = sysconf(_SC_NPROCESSORS_ONLN);
    char number[16];
    int found = 0;

    snprintf(examples, sizeof examples, "%s/examples", build ? build : "..");
    snprintf(number, sizeof number, "%d", REPORT);
    setenv("CASYNCIO_FAULT_REPORT", number, 1);
    setenv("CASYNCIO_FAULT_CURL", "1", 1);
    unsetenv("CASYNCIO_FAULT");
    unsetenv("CASYNCIO_DEMO_URL");
    set_options("ASAN_OPTIONS", "exitcode=99:detect_leaks=1");
    set_options("UBSAN_OPTIONS", "exitcode=99");
    set_sample(getenv("CASYNCIO_SWEEP"));
    slot_count = processors < 1 ? SLOTS_EACH : (int)processors * SLOTS_EACH;
    if (slot_count > SLOTS) slot_count = SLOTS;
    if (argc == 1) table = fopen("fault_sweep.txt", "w");

    for (int i = 0; i < COUNT(programs); i++) {
        const struct program *program = &programs[i];
        if (argc > 1 && strncmp(program->name, argv[1], strlen(argv[1])) != 0) continue;
        found++;
        runs += sweep_program(program, argc > 2 ? argv[2] : NULL);
    }
    say("%ld runs, %d failures\n", runs, failures);
    if (table) fclose(table);
    return failures > 0 || found == 0;
}
