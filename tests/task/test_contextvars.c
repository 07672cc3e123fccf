/* Context variables: what goes with a task, and to those that it makes. */
#include "run.h"

#include <stdatomic.h>

static atomic_int destroyed; /* also by threads of the pool */

static void destroy(void *value)
{
    destroyed++;
    free(value);
}

static async_context_var name = ASYNC_CONTEXT_VAR_INIT("name", destroy);
static async_context_var other = {.fallback = "none"};

static void set_name(const char *to, async_context_token *token)
{
    assert_int_equal(async_context_var_set(&name, strdup(to), token), 0);
}

static const char *get_name(void)
{
    void *value = &value;
    int code = async_context_var_get(&name, &value);
    if (code == 0) return value;
    assert_int_equal(code, -ENOENT);
    assert_null(value);
    return "-";
}

static int sets_and_gets(void *unused)
{
    (void)unused;
    void *value;
    destroyed = 0;
    assert_string_equal(get_name(), "-");
    assert_string_equal(async_error_message(), "async_context_var_get: name is not set here");
    set_name("a", NULL);
    assert_string_equal(get_name(), "a");
    set_name("b", NULL);
    assert_string_equal(get_name(), "b");
    assert_int_equal(destroyed, 1);
    assert_int_equal(async_context_var_get(&other, &value), 0);
    assert_string_equal(value, "none");
    assert_int_equal(async_context_var_set(&other, NULL, NULL), 0);
    assert_int_equal(async_context_var_get(&other, &value), 0);
    assert_null(value);
    assert_int_equal(async_context_var_get(&other, NULL), 0);
    return 0;
}

/* ---- tokens ---- */

static int resets(void *unused)
{
    (void)unused;
    async_context_token first, second, third;
    destroyed = 0;
    set_name("a", &first);
    set_name("b", &second);
    set_name("c", NULL); /* replaces b, and is under the same token */
    assert_int_equal(destroyed, 1);
    assert_string_equal(get_name(), "c");
    assert_int_equal(async_context_var_reset(&second), 0);
    assert_string_equal(get_name(), "a");
    assert_int_equal(async_context_var_reset(&second), -EINVAL);
    assert_non_null(strstr(async_error_message(), "used before"));
    set_name("d", &second);
    set_name("e", &third);
    async_context_token again = third;
    assert_int_equal(async_context_var_reset(&first), 0); /* over the two */
    assert_string_equal(get_name(), "-");
    assert_int_equal(destroyed, 5);
    assert_int_equal(async_context_var_reset(&third), -EINVAL);
    assert_non_null(strstr(async_error_message(), "overtaken"));
    set_name("f", &second);
    set_name("g", &third);
    assert_int_equal(async_context_var_reset(&again), -EINVAL);
    assert_string_equal(get_name(), "g");
    return 0;
}

struct thief {
    async_context_token *token;
};

static int thief(struct thief *self)
{
    assert_int_equal(async_context_var_reset(self->token), -EINVAL);
    assert_non_null(strstr(async_error_message(), "another task's"));
    return 0;
}

static int refuses(void *unused)
{
    (void)unused;
    async_context_token token = {0};
    void *value = &token;
    assert_int_equal(async_context_var_get(NULL, &value), -EBADF);
    assert_null(value);
    assert_int_equal(async_context_var_set(NULL, NULL, NULL), -EBADF);
    assert_int_equal(async_context_var_reset(NULL), -EBADF);
    assert_int_equal(async_context_var_reset(&token), -EINVAL);
    set_name("a", &token);
    return async_await(async_spawn(thief, &token));
}

static void test_without_a_task(void **state)
{
    (void)state;
    void *value = &value;
    async_context_token token = {.var = &name};
    assert_int_equal(async_context_var_get(&name, &value), -EPERM);
    assert_null(value);
    assert_non_null(strstr(async_error_message(), "outside of a task"));
    assert_int_equal(async_context_var_set(&name, NULL, NULL), -EPERM);
    assert_int_equal(async_context_var_reset(&token), -EPERM);
}

static void in_callback(async_callback *self)
{
    assert_int_equal(async_context_var_get(&name, NULL), -EPERM);
    self->prev = NULL;
}

static int not_in_callbacks(void *unused)
{
    (void)unused;
    async_callback callback = {.run = in_callback};
    set_name("a", NULL);
    async_call_soon(async_get_running_loop(), &callback);
    return async_sleep(0);
}

/* ---- tasks that are made ---- */

static int child(void *unused)
{
    (void)unused;
    note("%s", get_name());
    async_sleep(1);
    note("%s", get_name()); /* that of before, whatever the parent has done */
    set_name("child", NULL);
    note("%s", get_name());
    return 0;
}

static int inherits(void *unused)
{
    (void)unused;
    destroyed = 0;
    async_task *none = async_create_task(child);
    set_name("a", NULL);
    async_task *first = async_create_task(child);
    set_name("b", NULL);
    async_task *second = async_create_task(child);
    assert_int_equal(destroyed, 0);
    async_gather(none, first, second);
    assert_notes("- a b - child a child b child ");
    assert_string_equal(get_name(), "b");
    assert_int_equal(destroyed, 4); /* a, and those of the three */
    async_with_group (group) {
        async_group_create_task(group, child);
        set_name("c", NULL);
    }
    assert_notes("b b child ");
    assert_int_equal(destroyed, 6);
    return 0;
}

static int numbers(async_generator *self, void *unused)
{
    (void)unused;
    for (int i = 0;; i++) {
        note("%s", get_name());
        int code = async_yield(self, &i);
        if (code < 0) return code;
    }
}

static int generates(void *unused)
{
    (void)unused;
    async_iterator *iterator = async_generate(numbers, NULL, sizeof(int));
    set_name("a", NULL); /* what its first consumer has counts */
    async_for (int, i, iterator) {
        set_name("b", NULL);
        if (i == 1) break;
    }
    assert_notes("a a ");
    return 0;
}

static int fails_in_destructor(void *unused)
{
    (void)unused;
    set_name("a", NULL);
    return async_raise(-EIO, "the task's own");
}

static void destroy_badly(void *value)
{
    (void)value;
    async_raise(-EINVAL, "a destructor's");
}

static int keeps_its_error(void *unused)
{
    (void)unused;
    static async_context_var bad = ASYNC_CONTEXT_VAR_INIT("bad", destroy_badly);
    assert_int_equal(async_context_var_set(&bad, NULL, NULL), 0);
    return fails_in_destructor(NULL);
}

static int errors_are_kept(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(keeps_its_error)), -EIO);
    assert_string_equal(async_error_message(), "the task's own");
    return 0;
}

/* ---- threads ---- */

static int in_thread(void *unused)
{
    (void)unused;
    async_context_token token;
    if (strcmp(get_name(), "a") != 0) return -EIO;
    set_name("thread", &token);
    if (strcmp(get_name(), "thread") != 0) return -EIO;
    if (async_context_var_reset(&token) < 0 || strcmp(get_name(), "a") != 0) return -EIO;
    set_name("thread", NULL);
    return 0;
}

static int nothing_in_thread(void *unused)
{
    (void)unused;
    return strcmp(get_name(), "-") == 0 ? 0 : -EIO;
}

static int goes_to_threads(void *unused)
{
    (void)unused;
    destroyed = 0;
    assert_int_equal(async_to_thread(nothing_in_thread, NULL), 0);
    set_name("a", NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(async_to_thread(in_thread, NULL), 0);
    assert_string_equal(get_name(), "a");
    assert_int_equal(destroyed, 40);
    return 0;
}

static int changes_much(void *unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        set_name("mine", NULL);
        async_sleep(0);
    }
    return 0;
}

static int asks_much(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        if (strcmp(get_name(), "a") != 0) return -EIO;
    return 0;
}

static int asks_in_thread(void *unused)
{
    (void)unused;
    int code = async_to_thread(asks_much, NULL);
    return code < 0 ? code : async_to_thread(in_thread, NULL);
}

static int shares_with_threads(void *unused)
{
    (void)unused;
    set_name("a", NULL);
    async_with_group (group)
        for (int i = 0; i < 6; i++) {
            async_group_create_task(group, asks_in_thread);
            async_group_create_task(group, changes_much);
        }
    return async_block_error();
}

/* ---- a model: many variables, tasks and resets, against plain arrays ---- */

enum { VARS = 9, STEPS = 60, DEPTH = 4 };

static async_context_var vars[VARS];
static long alive;

static void count_down(void *value)
{
    alive--;
    free(value);
}

static uint64_t state_of_draw;
static unsigned draw(unsigned limit)
{
    state_of_draw = state_of_draw * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state_of_draw >> 33) % limit;
}

struct walk {
    int depth;
    int values[VARS]; /* 0: not set */
};

static void compare(const int *model)
{
    for (int i = 0; i < VARS; i++) {
        void *value;
        int code = async_context_var_get(&vars[i], &value);
        if (model[i])
            assert_int_equal(*(int *)value, model[i]);
        else
            assert_int_equal(code, -ENOENT);
    }
}

static int walk(struct walk *self)
{
    static int number;
    int *model = self->values, saved[DEPTH][2], depth = 0;
    async_context_token tokens[DEPTH];
    async_task *children[STEPS];
    size_t count = 0;

    compare(model);
    for (int i = 0; i < STEPS; i++) {
        unsigned what = draw(10), which = draw(VARS);
        if (what < 6) {
            int *value = malloc(sizeof *value);
            bool keep = what < 3 && depth < DEPTH;
            *value = ++number;
            alive++;
            assert_int_equal(
                async_context_var_set(&vars[which], value, keep ? &tokens[depth] : NULL), 0);
            if (keep) {
                saved[depth][0] = (int)which;
                saved[depth++][1] = model[which];
            }
            model[which] = *value;
        } else if (what == 6 && depth > 0) {
            depth--;
            assert_int_equal(async_context_var_reset(&tokens[depth]), 0);
            model[saved[depth][0]] = saved[depth][1];
        } else if (what == 7 && self->depth < 3 && i % 4 == 0) {
            struct walk next = *self;
            next.depth++;
            children[count++] = async_spawn_copy(walk, next);
        } else {
            async_sleep(0);
        }
        compare(model);
    }
    return async_gather_all(children, count, NULL);
}

static int walks(void *unused)
{
    (void)unused;
    struct walk first = {0};
    return async_await(async_spawn_copy(walk, first));
}

static void test_model(void **state)
{
    (void)state;
    for (int i = 0; i < VARS; i++)
        vars[i] = (async_context_var)ASYNC_CONTEXT_VAR_INIT(NULL, count_down);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        state_of_draw = seed;
        assert_int_equal(run_seeded(walks, NULL, seed), 0);
        assert_int_equal(alive, 0);
    }
}

TEST(sets_and_gets)
TEST(resets)
TEST(refuses)
TEST(not_in_callbacks)
TEST(inherits)
TEST(generates)
TEST(errors_are_kept)
TEST(goes_to_threads)
TEST(shares_with_threads)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets_and_gets),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_without_a_task),
        cmocka_unit_test(test_not_in_callbacks),
        cmocka_unit_test(test_inherits),
        cmocka_unit_test(test_generates),
        cmocka_unit_test(test_errors_are_kept),
        cmocka_unit_test(test_goes_to_threads),
        cmocka_unit_test(test_shares_with_threads),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
