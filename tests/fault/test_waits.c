/* Sweeps of waits for some of several tasks, context variables, eager tasks, results of groups, and of
 * runners and coroutines that another thread asks for.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <fcntl.h>
#include <math.h>

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

struct nap {
    double seconds;
    int result;
};

static int nap(struct nap *self)
{
    int code = async_sleep(self->seconds);
    return code < 0 ? code : self->result;
}

enum { CREW = 4 };

static void make_crew(async_task **crew)
{
    for (int i = 0; i < CREW; i++)
        crew[i] = async_spawn(nap, .seconds = CREW - i, .result = i);
}

/* The first code that is none of the tasks' own results. */
static int await_crew(async_task *const *crew, size_t count)
{
    int codes[CREW], code = async_gather_all(crew, count, codes);
    for (size_t i = 0; i < count; i++)
        if (codes[i] < 0) assert_true(code < 0);
    return code;
}

/* ---- async_wait ---- */

static int waits(void *unused)
{
    (void)unused;
    async_task *crew[CREW];
    make_crew(crew);
    ssize_t ended = async_wait(crew, CREW, 1.5, ASYNC_ALL_COMPLETED);
    if (ended >= 0) {
        ssize_t count = 0;
        for (int i = 0; i < CREW; i++)
            count += async_task_done(crew[i]);
        assert_int_equal(ended, count);
        ended = async_wait(crew, CREW, INFINITY, ASYNC_FIRST_EXCEPTION);
    }
    int code = await_crew(crew, CREW); /* whatever became of the waits, the handles are there */
    return ended < 0 ? (int)ended : code;
}

/* ---- async_as_completed ---- */

static int completions(void *unused)
{
    (void)unused;
    async_task *crew[CREW];
    int code = 0, given = 0;
    make_crew(crew);
    async_for (async_task *, task, async_as_completed(crew, CREW, 100)) {
        int result = async_await(task);
        if (result < 0 && code == 0) code = result;
        given++;
    }
    int failure = async_block_error();
    if (failure < 0) return failure;
    assert_int_equal(given, CREW);
    if (code < 0) return code;
    make_crew(crew);
    async_for (async_task *, task, async_as_completed(crew, CREW, 2.5)) {
        code = async_await(task);
        if (code < 0) break;
    }
    failure = async_block_error();
    if (failure < 0 && failure != -ETIMEDOUT) return failure;
    assert_int_equal(async_all_tasks(NULL, 0), 1); /* none is left, however it ended */
    return code < 0 ? code : failure == -ETIMEDOUT ? 0 : -ECANCELED;
}

static int left_open(void *unused)
{
    (void)unused;
    async_task *crew[CREW], *first = NULL;
    make_crew(crew);
    async_iterator *iterator = async_as_completed(crew, CREW, INFINITY);
    if (!iterator) return async_error_code();
    int code = iterator->next(iterator, &first);
    return code < 0 ? code : async_await(first) < 0 ? async_error_code() : 0;
}

/* ---- context variables ---- */

static long alive;

static void destroy(void *value)
{
    alive--;
    free(value);
}

static async_context_var name = ASYNC_CONTEXT_VAR_INIT("name", destroy), other;

static int set_name(const char *text, async_context_token *token)
{
    char *copy = strdup(text);
    int code = async_context_var_set(&name, copy, token);
    if (code < 0)
        free(copy);
    else
        alive++;
    return code;
}

static bool is_name(const char *text)
{
    void *value;
    return async_context_var_get(&name, &value) == 0 && strcmp(value, text) == 0;
}

static int in_thread(void *unused)
{
    (void)unused;
    void *value;
    return async_context_var_get(&name, &value) == 0 ? 0 : -EIO;
}

static int child(void *unused)
{
    (void)unused;
    assert_true(is_name("parent"));
    int code = async_sleep(1);
    if (code < 0) return code;
    code = set_name("child", NULL);
    if (code < 0) return code;
    assert_true(is_name("child"));
    return async_to_thread(in_thread, NULL);
}

static int use_names(void)
{
    async_context_token token;
    int code = set_name("parent", NULL);
    if (code < 0) return code;
    for (int i = 0; i < 6; i++) { /* so many that the table grows */
        static async_context_var more[6];
        code = async_context_var_set(&more[i], NULL, NULL);
        if (code < 0) return code;
    }
    async_task *tasks[2] = {async_create_task(child), async_create_task(child)};
    int set = set_name("other", &token);
    if (set == 0) {
        assert_true(is_name("other"));
        set = async_context_var_reset(&token);
        assert_true(is_name(set == 0 ? "parent" : "other"));
    }
    code = async_gather_array(tasks, 2);
    if (code == 0) code = async_context_var_set(&other, NULL, NULL);
    return set < 0 ? set : code;
}

static int uses_names(void *unused)
{
    (void)unused;
    return use_names();
}

static int contexts(void *unused)
{
    (void)unused;
    int code = async_await(async_create_task(uses_names));
    assert_int_equal(alive, 0);
    return code;
}

/* ---- eager tasks, results of a group ---- */

struct told {
    async_done_callback done;
    int count;
};

static void on_done(async_callback *callback) { ((struct told *)callback)->count++; }

static int eager(void *unused)
{
    (void)unused;
    int results[CREW] = {0}, code = 0;
    struct told told = {.done = {.callback = {.run = on_done}}};
    async_with_group (group)
        for (int i = 0; i < CREW; i++) {
            struct nap own = {i % 2, i};
            async_task_options options = {
                .copy = &own, .size = sizeof own, .eager_start = i < 2, .result = &results[i]};
            async_group_create_task_with(group, (async_coroutine)(void (*)(void))nap, NULL,
                                         &options);
        }
    code = async_block_error();
    if (code < 0) return code;
    for (int i = 0; i < CREW; i++) {
        if (results[i] == -ECANCELED) return -ECANCELED;
        assert_int_equal(results[i], i);
    }
    async_task *task = async_spawn_eager(nap, .seconds = 1, .result = 5);
    if (task) assert_int_equal(async_task_add_done_callback(task, &told.done), 0);
    code = async_await(task);
    async_shield () /* if the fault has cancelled this task, what has been queued still runs */
        async_sleep(0);
    if (task) assert_int_equal(told.count, 1);
    return code < 0 ? code : 0;
}

/* ---- another thread ---- */

/* Both in the loop's own pool: main waits for the thread without keeping the loop from running. */
static int give_five(void *unused)
{
    (void)unused;
    int code = async_sleep(0);
    return code < 0 ? code : 5;
}

static int ask(void *loop)
{
    async_concurrent_future *one = async_submit_coroutine_threadsafe(loop, give_five, NULL),
                            *two = async_submit_coroutine_threadsafe(loop, give_five, NULL);
    int code = one ? async_concurrent_future_result(one, INFINITY) : async_error_code();
    async_concurrent_future_cancel(two);
    async_concurrent_future_free(one);
    async_concurrent_future_free(two);
    return code;
}

static int other_threads(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    async_loop_share(loop);
    int code = async_to_thread(ask, loop);
    assert_true(code == 5 || code < 0);
    return code < 0 ? code : 0;
}

/* ---- runners: what async_run_with has inside of the sweep cannot be nested ---- */

static int twice(void *count)
{
    ++*(int *)count;
    int code = async_sleep(1);
    return code < 0 ? code : async_context_var_set(&other, count, NULL);
}

static void run_runner(long n, enum async__fault_kind kind)
{
    int count = 0;
    memset(async__faults, 0, sizeof async__faults);
    async__faults[kind].at = n;
    async__fault_errno = EMFILE;
    async_runner *runner = async_runner_new(
        &(async_run_options){.loop = {.virtual_clock = true}, .handle_sigterm = true});
    if (!runner) {
        assert_true(async_error_code() == -ENOMEM || async_error_code() == -EMFILE);
        return;
    }
    int codes[2];
    for (int i = 0; i < 2; i++) {
        codes[i] = async_runner_run(runner, twice, &count);
        assert_true(codes[i] == 0 || codes[i] == -ENOMEM || codes[i] == -ECANCELED ||
                    codes[i] == -EMFILE);
        assert_int_equal(codes[i] < 0, *async_run_error_message() != 0);
    }
    assert_true(codes[0] == 0 || codes[1] == 0); /* a fault of one run is not the next one's */
    int code = async_runner_close(runner);
    assert_true(code == 0 || code == -EMFILE);
}

static void test_runners(void **state)
{
    (void)state;
    enum async__fault_kind kinds[] = {ASYNC__FAULT_ALLOCATION, ASYNC__FAULT_SYSTEM_CALL,
                                      ASYNC__FAULT_AWAIT, ASYNC__FAULT_WAIT, ASYNC__FAULT_WAKE};
    int before = descriptors();
    for (size_t k = 0; k < COUNT(kinds); k++) {
        long n = 0;
        do
            run_runner(++n, kinds[k]);
        while (async__faults[kinds[k]].count >= n);
        assert_true(n > 1);
        memset(async__faults, 0, sizeof async__faults);
        assert_int_equal(descriptors(), before);
    }
    assert_int_equal(__lsan_do_recoverable_leak_check(), 0);
}

SWEEP(waits, 0)
SWEEP(completions, 0)
SWEEP(left_open, 0)
SWEEP(contexts, 0)
SWEEP(eager, 0)
SWEEP(other_threads, PEERS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),     cmocka_unit_test(test_completions),
        cmocka_unit_test(test_left_open), cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_eager),     cmocka_unit_test(test_other_threads),
        cmocka_unit_test(test_runners),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
