/* libcasyncio-test as a user's test has it: a scenario that is right passes, one that is wrong is found, and
 * what is said of it repeats it. Each wrong one is wrong at one place, which a test must name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <casyncio/testing.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int runs;

/* ---- scenarios that are right ---- */

/* A producer that fails says so: else the consumer would wait for ever, and the sweep would find that. */
static int produce(void *queue)
{
    int code = 0;
    for (int i = 0; i < 5 && code == 0; i++)
        code = async_queue_put(queue, &i);
    async_queue_shutdown(queue, false);
    return code;
}

static int pass_on(void *unused)
{
    (void)unused;
    int sum = 0, item, code;
    runs++;
    async_queue *queue = async_queue_new(sizeof(int), 2);
    if (!queue) return async_error_code();
    async_task *task = async_create_task(produce, queue);
    while (task && (code = async_queue_get(queue, &item)) == 0)
        sum += item;
    if (task && code != ASYNC_ESHUTDOWN) async_cancel(task, NULL);
    int result = async_await(task);
    async_queue_free(queue);
    if (task && code != ASYNC_ESHUTDOWN) return async_raise(code, "the consumer was cancelled");
    if (result == 0) assert_int_equal(sum, 10);
    return result;
}

static int reads_file(void *unused)
{
    (void)unused;
    char text[16];
    async_file *file = async_file_open("/dev/zero", "r");
    if (!file) return async_error_code();
    ssize_t n = async_file_read(file, text, sizeof text);
    int code = async_file_close(file);
    return n < 0 ? (int)n : code;
}

static void test_right_ones(void **state)
{
    (void)state;
    assert_true(async_test_faults(pass_on, NULL, NULL));
    assert_true(runs > 50);
    assert_true(async_test_faults(reads_file, NULL, &(async_test_options){.name = "reads_file"}));
    runs = 0;
    assert_true(async_test_seeds(pass_on, NULL, 1000, NULL));
    assert_int_equal(runs, 1001);
    assert_string_equal(async_test_failure(), "");
}

/* Debug mode and a watchdog allocate too, and make a thread. */
static int is_watched(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    async_set_slow_callback_duration(loop, 1e9);
    async_watchdog_stop(loop); /* debug mode's, where that could be had */
    int code = async_watchdog_start(loop, NULL);
    if (code < 0) return async_raise(code, "no watchdog: %s", async_strerror(code));
    code = reads_file(NULL);
    async_metrics metrics;
    assert_int_equal(async_loop_metrics(loop, &metrics), 0);
    return code;
}

static void test_debug_mode(void **state)
{
    (void)state;
    setenv("CASYNCIO_DEBUG", "1", 1);
    assert_true(async_test_faults(is_watched, NULL, NULL));
    unsetenv("CASYNCIO_DEBUG");
}

/* ---- and wrong ---- */

/* A wrong one in a child, whose standard error is read: it may end by a signal. Gives its wait status. */
static char said[4096];

static int in_child(async_coroutine scenario, const async_test_options *options, uint64_t seeds,
                    const char *repeat)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sigaction fatal = {.sa_handler = SIG_DFL};
        sigaction(SIGABRT, &fatal, NULL);
        sigaction(SIGSEGV, &fatal, NULL);
        if (repeat) setenv("CASYNCIO_TEST", repeat, 1);
        dup2(fileno(file), STDERR_FILENO);
        runs = 0;
        bool good = seeds ? async_test_seeds(scenario, NULL, seeds, options)
                          : async_test_faults(scenario, NULL, options);
        if (repeat && runs > 1) _exit(3);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    fclose(file);
    return status;
}

/* What is said contains the text; the run that it names is wrong again, alone, and says the same. */
static void assert_found(async_coroutine scenario, const async_test_options *options,
                         uint64_t seeds, const char *text)
{
    char repeat[64], first[sizeof said];
    static const char mark[] = "to repeat it: CASYNCIO_TEST=";
    int status = in_child(scenario, options, seeds, NULL);
    assert_true(status != 0);
    if (!strstr(said, text)) print_error("said: %s\n", said);
    assert_non_null(strstr(said, text));
    assert_non_null(strstr(said, mark));
    assert_int_equal(sscanf(strstr(said, mark) + sizeof mark - 1, "%63s", repeat), 1);
    strcpy(first, said);
    assert_int_equal(in_child(scenario, options, seeds, repeat), status);
    assert_string_equal(said, first);
    assert_int_equal(in_child(scenario, options, seeds ? 0 : 1, repeat),
                     0); /* the other's: nothing */
}

/* The sanitizers handle SIGSEGV, and find what tasks have that cannot be ended. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int ignores_codes(void *unused)
{
    (void)unused;
    runs++;
    async_queue *queue = async_queue_new(sizeof(int), 1);
    *(volatile char *)queue; /* NULL, if there is no memory */
    async_queue_free(queue);
    return 0;
}

static int waits_for_nothing(void *unused)
{
    (void)unused;
    async_event event = ASYNC_EVENT_INIT;
    runs++;
    if (async_sleep(1) < 0 && async_uncancel(async_current_task())) return async_event_wait(&event);
    return 0;
}

static void check_fatal_ones(void)
{
    assert_found(ignores_codes, NULL, 0, "it crashes: the scenario, allocation ");
    assert_found(waits_for_nothing, NULL, 0, "every task waits for what can never come");
}
#else
static void check_fatal_ones(void) {}
#endif

static int leaves_descriptor(void *unused)
{
    (void)unused;
    runs++;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), code = async_sleep(1);
    if (code < 0) return code; /* forgets fd */
    close(fd);
    return 0;
}

static int gives_another_code(void *unused)
{
    (void)unused;
    runs++;
    return async_sleep(1) < 0 ? async_raise(-EPERM, "my own") : 0;
}

static int hangs(void *unused)
{
    (void)unused;
    runs++;
    int code = async_sleep(1);
    while (code < 0)
        ;
    return 0;
}

static int balance;
static int deposit(void *unused)
{
    (void)unused;
    int seen = balance, code = async_sleep(0);
    balance = seen + 1;
    return code;
}

/* Wrong in the orders in which the second begins before the first has ended: the second's turn. */
static int counts_on_order(void *unused)
{
    (void)unused;
    runs++;
    balance = 0;
    async_task *first = async_create_task(deposit);
    async_sleep(0);
    async_task *second = async_create_task(deposit);
    int code = async_gather(first, second);
    return code < 0 ? code : balance == 2 ? 0 : async_raise(-EIO, "lost %d", 2 - balance);
}

static const char *wants_few(int code, void *most)
{
    (void)code;
    return runs <= *(int *)most ? NULL : "my own judgement";
}

static void test_wrong_ones(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* hundreds of forked children, each of which takes a second */
#endif
    check_fatal_ones();
    assert_found(leaves_descriptor, &(async_test_options){.name = "leaves"}, 0,
                 "it leaves a descriptor open");
    assert_found(gives_another_code, NULL, 0, "the code does not fit; it gave EPERM (\"my own\")");
    assert_found(hangs, &(async_test_options){.kinds = 1u << ASYNC_FAULT_AWAIT, .limit = 1}, 0,
                 "it hangs: ");
    assert_found(counts_on_order, &(async_test_options){.name = "order"}, 1000, "order, seed ");
    int none = 0;
    assert_found(pass_on, &(async_test_options){.check = wants_few, .data = &none}, 0,
                 "my own judgement");
}

static void test_arguments(void **state)
{
    (void)state;
    assert_false(async_test_faults(NULL, NULL, NULL));
    assert_non_null(strstr(async_test_failure(), "the scenario is NULL"));
    assert_false(async_test_seeds(NULL, NULL, 1, NULL));
    runs = 0;
    assert_true(async_test_faults(
        pass_on, NULL, &(async_test_options){.kinds = 1u << ASYNC_FAULT_AWAIT, .seeds = 1}));
    int few = runs;
    assert_true(few > 0 && few < 50);
    static const int errors[] = {EIO};
    assert_true(async_test_faults(reads_file, NULL,
                                  &(async_test_options){.kinds = 1u << ASYNC_FAULT_SYSTEM_CALL,
                                                        .errors = errors,
                                                        .error_count = 1}));
}

/* ---- one fault ---- */

static int fails_once(void *unused)
{
    (void)unused;
    assert_int_equal(async_test_fail_at(ASYNC_FAULT_ALLOCATION, 2, 0), 0);
    async_queue *first = async_queue_new(sizeof(int), 1);
    assert_non_null(first);
    long count = async_test_count(ASYNC_FAULT_ALLOCATION);
    assert_int_equal(count, 1);
    assert_null(async_queue_new(sizeof(int), 1));
    assert_int_equal(async_error_code(), -ENOMEM);
    async_queue_free(first);
    assert_int_equal(async_test_fail_at(ASYNC_FAULT_ALLOCATION, 0, 0), 0);

    assert_int_equal(async_test_fail_at(ASYNC_FAULT_AWAIT, 1, 0), 0);
    assert_int_equal(async_sleep(1), -ECANCELED);
    assert_true(async_uncancel(async_current_task()));
    assert_int_equal(async_sleep(1), 0);

    assert_int_equal(async_test_fail_at(ASYNC_FAULT_KINDS, 1, 0), -EINVAL);
    assert_int_equal(async_test_fail_at(ASYNC_FAULT_AWAIT, -1, 0), -EINVAL);
    assert_int_equal(async_test_count(ASYNC_FAULT_KINDS), 0);
    return 0;
}

static void test_one_fault(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(fails_once, NULL, &(async_run_options){.loop = {.virtual_clock = true}}), 0);
}

/* ---- checkpoints ---- */

static int checkpoints(void *unused)
{
    (void)unused;
    async_lock lock = ASYNC_LOCK_INIT;
    async_assert_checkpoint()
    {
        assert_int_equal(async_lock_acquire(&lock), 0); /* also where it need not wait */
    }
    async_assert_no_checkpoint()
    {
        async_lock_release(&lock);
        async_cancel(async_current_task(), NULL);
        async_uncancel(async_current_task());
    }
    async_assert_checkpoint() async_sleep(1);
    for (int i = 0; i < 3; i++) {
        async_assert_checkpoint()
        {
            if (i == 1) break; /* leaves the block, which is not judged */
            async_sleep(0);
        }
    }
    return 0;
}

static int has_none(void *unused)
{
    (void)unused;
    async_assert_checkpoint() async_now();
    return 0;
}

static int has_one(void *unused)
{
    (void)unused;
    async_assert_no_checkpoint() async_checkpoint();
    return 0;
}

static void test_checkpoints(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(checkpoints, NULL, &(async_run_options){.loop = {.virtual_clock = true}}),
        0);
    int status = in_child(has_none, NULL, 1, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "test_sweeps.c:"));
    assert_non_null(strstr(said, "the block has run no checkpoint"));
    status = in_child(has_one, NULL, 1, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "the block has run a checkpoint"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_ones), cmocka_unit_test(test_debug_mode),
        cmocka_unit_test(test_wrong_ones), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_one_fault),  cmocka_unit_test(test_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
