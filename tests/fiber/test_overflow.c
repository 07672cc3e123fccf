/* test_overflow.c - a fiber that runs into its guard is named in one line, and then the previous
 * handler, or the default action, follows. */
#include "fiber_test.h"

#include <pthread.h>

static async__stack_pool *pool;
static async__fiber thread, fiber;
static const char *name = "Task-7 (recurse)";
static volatile char *volatile nowhere = (char *)16;

static const char *tell_name(void) { return name; }

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[512];
    frame[depth % 512] = (char)depth;
    return depth < 1 << 20 ? recurse(depth + 1) + frame[depth % 512] : 0;
}

static void overflow(void *argument)
{
    (void)argument;
    recurse(0);
    async__fiber_leave(&fiber, &thread);
}

static void run_fiber(void (*entry)(void *))
{
    void *top = async__stack_get(pool);
    async__fiber_init_thread(&thread);
    async__fiber_init(&fiber, async__stack_base(pool, top), top, entry, NULL);
    async__fiber_switch(&thread, &fiber);
    async__fiber_destroy(&fiber);
    async__stack_put(pool, top);
}

static void install(void)
{
    pool = async__stack_pool_new(0);
    if (!pool || async__overflow_install(pool, tell_name) != 0) _exit(90);
}

/* ---- the line on standard error ---- */

static void overflowing(void)
{
    install();
    run_fiber(overflow);
}

static void test_named(void **state)
{
    (void)state;
    assert_int_equal(run_child(overflowing), -SIGSEGV);
    assert_non_null(strstr(output, "casyncio: stack overflow in Task-7 (recurse): all 196 KiB"));
    char *said = strstr(output, "casyncio:"), *end = strchr(said, '\n');
    assert_non_null(end);
    assert_null(strstr(end, "casyncio:")); /* only one line */
}

/* A frame that is larger than the guard, and touched at its far end only. With what pkg-config and
 * CMake give to users the compiler touches each page of it, and so the guard. */
static size_t frame_size;

static __attribute__((noinline)) void large_frame(void *argument)
{
    volatile char *frame = __builtin_alloca(frame_size);
    frame[0] = 1;
    (void)argument;
    async__fiber_leave(&fiber, &thread);
}

static void overstepping(void)
{
    install();
    void *neighbours[16]; /* it is the lowest of its slab's that has neighbours below it */
    for (int i = 0; i < 16; i++)
        neighbours[i] = async__stack_get(pool);
    for (int i = 0; i < 16; i++)
        async__stack_put(pool, neighbours[i]);
    run_fiber(large_frame);
}

static void test_large_frames(void **state)
{
    (void)state;
#ifdef CASYNCIO_STACK_CLASH
    for (frame_size = 200 * 1024; frame_size < 4 * 1024 * 1024; frame_size *= 2) {
        assert_int_equal(run_child(overstepping), -SIGSEGV);
        assert_non_null(strstr(output, "casyncio: stack overflow in Task-7 (recurse): all 196"));
    }
#else
    skip_with("the compiler has no -fstack-clash-protection");
#endif
}

static void test_named_with_mprotect(void **state)
{
    (void)state;
    setenv("CASYNCIO_GUARD", "mprotect", 1);
    test_named(state);
    unsetenv("CASYNCIO_GUARD");
}

static void nameless(void)
{
    name = NULL;
    overflowing();
}

static void long_name(void)
{
    static char text[3000];
    memset(text, 'x', sizeof text - 1);
    name = text;
    overflowing();
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(run_child(nameless), -SIGSEGV);
    assert_non_null(strstr(output, "stack overflow in a fiber: all 196 KiB"));
    assert_int_equal(run_child(long_name), -SIGSEGV);
    assert_non_null(strstr(output, "xxx: all 196 KiB"));
    assert_true(strchr(strstr(output, "xxx"), '\n') - strstr(output, "casyncio:") < 512);
}

static void bad_pointer(void)
{
    install();
    *nowhere = 1;
}

static void bad_pointer_in_fiber(void *argument)
{
    (void)argument;
    *nowhere = 1;
}

static void bad_pointer_on_fiber(void)
{
    install();
    run_fiber(bad_pointer_in_fiber);
}

/* From one stack upwards, into the guard of the next. */
static void overrun(void *argument)
{
    (void)argument;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    volatile char here = 0, *end = (volatile char *)(((uintptr_t)fiber.sp | (page - 1)) + 1);
    (void)here;
    *end = 1;
}

static void overrunning(void)
{
    install();
    run_fiber(overrun);
}

static void test_other_faults_are_not_named(void **state)
{
    (void)state;
    assert_int_equal(run_child(bad_pointer), -SIGSEGV);
    assert_null(strstr(output, "casyncio:"));
    assert_int_equal(run_child(bad_pointer_on_fiber), -SIGSEGV);
    assert_null(strstr(output, "casyncio:"));
    assert_int_equal(run_child(overrunning), -SIGSEGV);
    assert_null(strstr(output, "casyncio:"));
}

/* ---- handlers that were there before ---- */

static void full_handler(int signal, siginfo_t *info, void *context)
{
    _exit(signal == SIGSEGV && info->si_addr && context ? 21 : 22);
}

static void plain_handler(int signal) { _exit(signal == SIGSEGV ? 31 : 32); }

static void set_handler(int flags, void (*full)(int, siginfo_t *, void *), void (*plain)(int))
{
    struct sigaction action = {.sa_flags = flags};
    if (full)
        action.sa_sigaction = full;
    else
        action.sa_handler = plain;
    sigaction(SIGSEGV, &action, NULL);
}

static void after_full(void)
{
    set_handler(SA_SIGINFO, full_handler, NULL);
    overflowing();
}

static void after_plain(void)
{
    set_handler(0, NULL, plain_handler);
    overflowing();
}

static void after_ignore(void)
{
    set_handler(0, NULL, SIG_IGN);
    overflowing();
}

static sigjmp_buf again;
static volatile int jumps;

UNUSED static void jump(int signal)
{
    (void)signal;
    jumps++;
    siglongjmp(again, 1);
}

/* A handler that leaves by a jump is called at the next fault too: the signal is not left
 * blocked. */
UNUSED static void after_jumper(void)
{
    set_handler(SA_NODEFER, NULL, jump);
    install();
    sigsetjmp(again, 0);
    if (jumps < 3) *nowhere = 1;
    _exit(40 + jumps);
}

static void once(int signal)
{
    (void)signal;
    jumps++;
}

static void after_reset(void)
{
    set_handler((int)SA_RESETHAND, NULL, once);
    bad_pointer();
}

static void test_chained(void **state)
{
    (void)state;
    assert_int_equal(run_child(after_full), 21);
    assert_non_null(strstr(output, "stack overflow in Task-7"));
    assert_int_equal(run_child(after_plain), 31);
    assert_non_null(strstr(output, "stack overflow in Task-7"));
    assert_int_equal(run_child(after_ignore), -SIGSEGV);
    assert_non_null(strstr(output, "stack overflow in Task-7"));
#ifndef ASYNC__TSAN           /* which blocks all signals in a handler */
    if (!RUNNING_ON_VALGRIND) /* which counts the bad writes as errors */
        assert_int_equal(run_child(after_jumper), 43);
#endif
    assert_int_equal(run_child(after_reset), -SIGSEGV);
}

static void sent(void)
{
    install();
    kill(getpid(), SIGSEGV);
}

static void sent_and_ignored(void)
{
    set_handler(0, NULL, SIG_IGN);
    install();
    kill(getpid(), SIGSEGV);
    _exit(7);
}

static void test_sent(void **state)
{
    (void)state;
    assert_int_equal(run_child(sent), -SIGSEGV);
    assert_int_equal(run_child(sent_and_ignored), 7);
}

/* ---- coming and going ---- */

static bool handler_is(void (*handler)(int))
{
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    return now.sa_handler == handler;
}

static void coming_and_going(void)
{
    stack_t before, between, after;

    sigaltstack(NULL, &before);
    for (int i = 0; i < 3; i++) {
        install();
        sigaltstack(NULL, &between);
        if (between.ss_flags & SS_DISABLE) _exit(1);
        if (async__overflow_install(pool, tell_name) != 0) _exit(2); /* a second call is allowed */
        if (handler_is(SIG_DFL)) _exit(3);
        async__overflow_release();
        async__overflow_release();
        if (!handler_is(SIG_DFL)) _exit(4);
        sigaltstack(NULL, &after);
        if (after.ss_flags != before.ss_flags) _exit(5);
        async__stack_pool_free(pool);
    }
}

static void later_handler(void)
{
    install();
    set_handler(0, NULL, plain_handler);
    async__overflow_release();
    async__stack_pool_free(pool);
    if (!handler_is(plain_handler)) _exit(1);
    install();
    if (!handler_is(plain_handler)) _exit(2); /* the later handler is still installed */
    async__overflow_release();
    async__stack_pool_free(pool);
    if (!handler_is(plain_handler)) _exit(3);
}

static struct sigaction theirs;

static void polite_handler(int signal, siginfo_t *info, void *context)
{
    theirs.sa_sigaction(signal, info, context);
}

/* A handler was installed later that chains to ours: the two must not call each other for ever. */
static void later_chainer(void)
{
    install();
    sigaction(SIGSEGV, NULL, &theirs);
    set_handler(SA_SIGINFO | SA_ONSTACK, polite_handler, NULL);
    async__overflow_release();
    async__stack_pool_free(pool);
    overflowing();
}

static char own_stack[128 * 1024];

static void own_alternate_stack(void)
{
    stack_t own = {.ss_sp = own_stack, .ss_size = sizeof own_stack}, now;
    sigaltstack(&own, NULL);
    install();
    sigaltstack(NULL, &now);
    if (now.ss_sp != own_stack) _exit(1);
    async__overflow_release();
    sigaltstack(NULL, &now);
    if (now.ss_sp != own_stack || (now.ss_flags & SS_DISABLE)) _exit(2);
    async__stack_pool_free(pool);
    overflowing();
}

static void test_installing(void **state)
{
    (void)state;
    assert_int_equal(run_child(coming_and_going), 0);
    assert_int_equal(run_child(later_handler), 0);
    assert_int_equal(run_child(later_chainer), -SIGSEGV);
    assert_non_null(strstr(output, "stack overflow in Task-7"));
    assert_int_equal(run_child(own_alternate_stack), -SIGSEGV);
    assert_non_null(strstr(output, "stack overflow in Task-7"));
}

/* ---- threads ---- */

static void *other_thread(void *argument)
{
    async__stack_pool *other = async__stack_pool_new(0);
    (void)argument;
    if (async__overflow_install(other, tell_name) != 0) _exit(91);
    async__overflow_release();
    async__stack_pool_free(other);
    return NULL;
}

static void *overflowing_thread(void *argument)
{
    (void)argument;
    name = "Task-1 of a thread";
    overflowing();
    return NULL;
}

static void in_a_thread(void)
{
    pthread_t thread_id;
    async__stack_pool *mine = async__stack_pool_new(0);
    if (async__overflow_install(mine, tell_name) != 0) _exit(92);
    pthread_create(&thread_id, NULL, other_thread, NULL);
    pthread_join(thread_id, NULL);
    pthread_create(&thread_id, NULL, overflowing_thread, NULL);
    pthread_join(thread_id, NULL);
}

static void test_thread(void **state)
{
    (void)state;
    assert_int_equal(run_child(in_a_thread), -SIGSEGV);
    assert_non_null(strstr(output, "casyncio: stack overflow in Task-1 of a thread: all 196 KiB"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_named_with_mprotect),
        cmocka_unit_test(test_large_frames),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_faults_are_not_named),
        cmocka_unit_test(test_chained),
        cmocka_unit_test(test_sent),
        cmocka_unit_test(test_installing),
        cmocka_unit_test(test_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
