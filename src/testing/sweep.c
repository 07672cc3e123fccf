/* sweep.c - a scenario, run again and again within one process, each time with another fault or another
 * order of its tasks: see casyncio/testing.h. What fails where is counted by the hook of
 * src/base/faults.h, with which the whole library is compiled here. */
#include "../base/faults.h"
#include "../base/options.h"

#include <casyncio/testing.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    SEEDS = 3,
    LIMIT = 20,       /* seconds */
    ENDLESS = 100000, /* no scenario has so many points: it is its own faults that it reaches */
};

_Static_assert((int)ASYNC_FAULT_EXPIRE == (int)ASYNC__FAULT_EXPIRE &&
                   (int)ASYNC_FAULT_KINDS == (int)ASYNC__FAULT_KINDS,
               "the kinds are those of the hook");

/* Of a program with LeakSanitizer. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static __thread char failure[1024];

/* One run. `every` makes every later one fail too. */
struct run {
    enum async__fault_kind kind;
    bool worker, every, seeds_only;
    long n;
    int error;
    uint64_t seed;
};

struct sweep {
    async_coroutine scenario;
    void *argument;
    async_test_options options;
    bool once; /* CASYNCIO_TEST: only this run */
    struct run run;
};

/* ---- in words, for the message of a run and for CASYNCIO_TEST ---- */

static char running[256], repeat[128]; /* for the signal handler */

static void describe(const struct sweep *sweep)
{
    const struct run *run = &sweep->run;
    const char *worker = run->worker ? "worker_" : "", *every = run->every ? "+" : "";
    const char *name = sweep->options.name ? sweep->options.name : "the scenario";

    if (run->seeds_only) {
        snprintf(running, sizeof running, "%s, seed %llu", name, (unsigned long long)run->seed);
        snprintf(repeat, sizeof repeat, "seed:0:0:%llu", (unsigned long long)run->seed);
        return;
    }
    const char *kind = async__fault_names[run->kind];
    snprintf(running, sizeof running, "%s, %s%s%s %ld fails%s%s, seed %llu", name, worker, kind,
             every, run->n, run->error ? " with " : "",
             run->error ? async_error_name(-run->error) : "", (unsigned long long)run->seed);
    snprintf(repeat, sizeof repeat, "%s%s%s:%ld:%d:%llu", worker, kind, every, run->n, run->error,
             (unsigned long long)run->seed);
}

/* True if CASYNCIO_TEST asks for one run, which this is then. */
static bool read_run(struct run *run)
{
    const char *text = getenv("CASYNCIO_TEST");
    char kind[32], *name = kind;
    unsigned long long seed;

    if (!text || sscanf(text, "%31[a-z_+]:%ld:%d:%llu", kind, &run->n, &run->error, &seed) != 4)
        return false;
    run->seed = seed;
    run->seeds_only = strcmp(kind, "seed") == 0;
    if (run->seeds_only) return true;
    run->worker = strncmp(name, "worker_", 7) == 0;
    if (run->worker) name += 7;
    size_t length = strlen(name);
    run->every = length > 0 && name[length - 1] == '+';
    if (run->every) name[length - 1] = 0;
    for (int i = 0; i < ASYNC__FAULT_KINDS; i++)
        if (strcmp(name, async__fault_names[i]) == 0) {
            run->kind = (enum async__fault_kind)i;
            return true;
        }
    return false;
}

/* ---- runs that end the program ---- */

static const int signals[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction before[COUNT(signals)];

static void on_end(int number)
{
    char text[600];
    int size = snprintf(text, sizeof text, "%s: %s\nto repeat it: CASYNCIO_TEST=%s\n",
                        number == SIGALRM   ? "it hangs"
                        : number == SIGABRT ? "it aborts"
                                            : "it crashes",
                        running, repeat);
    (void)!write(STDERR_FILENO, text, (size_t)size);
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    sigaction(number, &fatal, NULL);
    raise(number);
}

/* What a sanitizer or the program handles itself is left to it, but for the two that belong to a sweep. */
static void install(void)
{
    struct sigaction action = {.sa_handler = on_end, .sa_flags = SA_ONSTACK};

    for (size_t i = 0; i < COUNT(signals); i++) {
        sigaction(signals[i], NULL, &before[i]);
        bool taken = before[i].sa_flags & SA_SIGINFO || before[i].sa_handler != SIG_DFL;
        if (i < 2 || !taken) sigaction(signals[i], &action, NULL);
    }
}

static void restore(void)
{
    for (size_t i = 0; i < COUNT(signals); i++)
        sigaction(signals[i], &before[i], NULL);
}

/* ---- one run ---- */

static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Whether the code fits the fault: a cancellation gives -ECANCELED, a failed allocation -ENOMEM; a system
 * call gives its errno, or what the layer above makes of it. */
static bool fits(const struct sweep *sweep, int code)
{
    enum async__fault_kind kind = sweep->run.kind;

    if (code == 0) return true;
    if (code == -EDEADLK || code > 0 || sweep->run.seeds_only) return false;
    if (kind == ASYNC__FAULT_SYSTEM_CALL || sweep->options.peers) return true;
    if (kind == ASYNC__FAULT_ALLOCATION) return code == -ENOMEM || code == -EAGAIN; /* no thread */
    if (kind == ASYNC__FAULT_EXPIRE && code == -ETIMEDOUT) return true;
    return kind != ASYNC__FAULT_TRANSFER && code == -ECANCELED;
}

static bool fail(const char *problem, int code)
{
    const char *message = async_run_error_message();

    snprintf(failure, sizeof failure, "%s: %s; it gave %s%s%s%s\nto repeat it: CASYNCIO_TEST=%s",
             running, problem, async_error_name(code), *message ? " (\"" : "", message,
             *message ? "\")" : "", repeat);
    fprintf(stderr, "%s\n", failure);
    return false;
}

/* *reached: whether there was an n-th. False if something is wrong. */
static bool run_once(const struct sweep *sweep, bool *reached)
{
    const struct run *run = &sweep->run;
    struct async__fault_counter *counter =
        run->worker ? &async__worker_faults[run->kind] : &async__faults[run->kind];
    double limit = sweep->options.limit > 0 ? sweep->options.limit : LIMIT;
    int open = descriptors();

    describe(sweep);
    memset(async__faults, 0, sizeof async__faults);
    memset(async__worker_faults, 0, sizeof async__worker_faults);
    *counter = (struct async__fault_counter){.at = run->n, .on = run->every};
    async__fault_errno = run->error;
    alarm((unsigned)limit + (limit > (unsigned)limit));
    int code =
        async_run_with(sweep->scenario, sweep->argument,
                       &(async_run_options){.loop = {.virtual_clock = true, .seed = run->seed}});
    alarm(0);
    counter->at = 0;
    *reached = run->n > 0 && counter->count >= run->n;
    if (code == -EDEADLK) return fail("every task waits for what can never come", code);
    if (!fits(sweep, code) || (!*reached && code != 0)) return fail("the code does not fit", code);
    if (code != 0 && !*async_run_error_message()) return fail("there is no message", code);
    if (descriptors() != open) return fail("it leaves a descriptor open", code);
    const char *problem =
        sweep->options.check ? sweep->options.check(code, sweep->options.data) : NULL;
    return problem ? fail(problem, code) : true;
}

static bool has_leaked(void)
{
    return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() != 0;
}

/* ---- all runs ---- */

static const int usual_errors[] = {EMFILE, ECONNRESET, EINTR, EIO, ENOMEM, EAGAIN};

/* Every n of one kind. */
static bool sweep_kind(struct sweep *sweep, enum async__fault_kind kind, bool worker, bool every)
{
    const async_test_options *options = &sweep->options;
    const int *errors = options->errors ? options->errors : usual_errors;
    size_t count = options->errors ? options->error_count : COUNT(usual_errors);
    unsigned seeds = options->seeds ? options->seeds : SEEDS;
    bool reached = true;
    int none = 0;

    if (kind != ASYNC__FAULT_SYSTEM_CALL) {
        errors = &none;
        count = 1;
    }
    sweep->run = (struct run){.kind = kind, .worker = worker, .every = every};
    for (size_t i = 0; i < count; i++)
        for (sweep->run.seed = 0; sweep->run.seed < seeds; sweep->run.seed++) {
            sweep->run.error = errors[i];
            for (sweep->run.n = 1, reached = true; reached; sweep->run.n++) {
                if (!run_once(sweep, &reached)) return false;
                if (sweep->run.n == ENDLESS) return fail("there is no end to its points", 0);
            }
        }
    return !has_leaked() || fail("one of the runs up to this one leaves memory", 0);
}

static bool wanted(const struct sweep *sweep, int kind)
{
    return sweep->options.kinds == 0 || sweep->options.kinds >> kind & 1;
}

static bool sweep_all(struct sweep *sweep)
{
    bool acts =
        async__fault_action != NULL; /* a test of our own: nothing fails, something is done */

    for (int worker = 0; worker < (acts ? 1 : 2); worker++)
        for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++)
            if (wanted(sweep, kind) &&
                !sweep_kind(sweep, (enum async__fault_kind)kind, worker, false))
                return false;
    if (acts) return true;
    if (wanted(sweep, ASYNC__FAULT_ALLOCATION) &&
        !sweep_kind(sweep, ASYNC__FAULT_ALLOCATION, false, true))
        return false;
    if (sweep->options.much_data || !wanted(sweep, ASYNC__FAULT_TRANSFER)) return true;
    return sweep_kind(sweep, ASYNC__FAULT_TRANSFER, false, true) &&
           sweep_kind(sweep, ASYNC__FAULT_TRANSFER, true, true);
}

static bool sweep_seeds(struct sweep *sweep, uint64_t count)
{
    bool reached;

    sweep->run = (struct run){.seeds_only = true};
    for (sweep->run.seed = 0; sweep->run.seed <= count; sweep->run.seed++)
        if (!run_once(sweep, &reached)) return false;
    return !has_leaked() || fail("one of the runs leaves memory", 0);
}

/* False, and said why: it cannot be run at all. */
static bool open_sweep(struct sweep *sweep, const async_test_options *given, size_t size)
{
    const char *why = NULL;

    failure[0] = 0;
    if (!sweep->scenario) why = "the scenario is NULL";
    if (async__options(&sweep->options, sizeof sweep->options, given, size) < 0)
        why = "an option is of a newer version";
    if (async_get_running_loop()) why = "a loop runs in this thread";
    if (!why) return true;
    snprintf(failure, sizeof failure, "a test cannot be run: %s", why);
    fprintf(stderr, "%s\n", failure);
    return false;
}

static bool run_all(struct sweep *sweep, bool seeds_only, uint64_t count)
{
    struct run asked = {0};
    bool reached, good;

    install();
    if (!read_run(&asked)) {
        good = seeds_only ? sweep_seeds(sweep, count) : sweep_all(sweep);
    } else if (asked.seeds_only != seeds_only) {
        good = true; /* that run is the other function's */
    } else {
        sweep->run = asked;
        good = run_once(sweep, &reached);
    }
    memset(async__faults, 0, sizeof async__faults);
    restore();
    return good;
}

bool async__test_faults(async_coroutine scenario, void *argument, const async_test_options *given,
                        size_t size)
{
    struct sweep sweep = {.scenario = scenario, .argument = argument};
    return open_sweep(&sweep, given, size) && run_all(&sweep, false, 0);
}

bool async__test_seeds(async_coroutine scenario, void *argument, uint64_t count,
                       const async_test_options *given, size_t size)
{
    struct sweep sweep = {.scenario = scenario, .argument = argument};
    return open_sweep(&sweep, given, size) && run_all(&sweep, true, count);
}

const char *async_test_failure(void) { return failure; }
