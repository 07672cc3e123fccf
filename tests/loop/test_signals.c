/* test_signals.c - signals arrive in the right loop, and leave no trace behind them. */
#include "../../src/base/faults.h"
#include "../../src/loop/loop_internal.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct catcher {
    async_callback callback;
    async_loop *loop;
    int caught;
    pthread_t thread;
};

static void on_signal(async_callback *callback)
{
    struct catcher *self = async__container(callback, struct catcher, callback);
    self->caught++;
    self->thread = pthread_self();
    async_loop_stop(self->loop);
}

static struct catcher catcher_for(async_loop *loop)
{
    return (struct catcher){.callback.run = on_signal, .loop = loop};
}

static async_loop *new_loop(void)
{
    async_loop *loop = async_loop_new(NULL);
    assert_non_null(loop);
    return loop;
}

static void *disposition(int number)
{
    struct sigaction action;
    assert_int_equal(sigaction(number, NULL, &action), 0);
    return (void *)action.sa_handler;
}

static bool woken(async_loop *loop)
{
    struct pollfd entry = {.fd = loop->wake_fd, .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

static void test_the_callback_runs_in_the_loop(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    assert_int_equal(loop->signals, 1);
    for (int i = 1; i <= 3; i++) {
        errno = 4711;
        raise(SIGUSR1);
        assert_int_equal(errno, 4711);
        assert_int_equal(catcher.caught, i - 1);
        assert_int_equal(async_loop_run(loop), 0);
        assert_int_equal(catcher.caught, i);
    }
    assert_true(async_remove_signal_handler(loop, SIGUSR1));
    assert_false(async_remove_signal_handler(loop, SIGUSR1));
    assert_int_equal(loop->signals, 0);
    assert_int_equal(async_loop_run(loop), -EDEADLK);
    async_loop_close(loop);
}

static void *signal_from_outside(void *argument)
{
    sem_wait(argument);
    kill(getpid(), SIGUSR2);
    return NULL;
}

struct starter {
    async_callback callback;
    sem_t go;
};

static void post_semaphore(async_callback *callback)
{
    sem_post(&async__container(callback, struct starter, callback)->go);
}

static void test_a_signal_wakes_a_loop_that_waits(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    struct starter starter = {.callback.run = post_semaphore};
    pthread_t thread;
    sem_init(&starter.go, 0, 0);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR2, &catcher.callback), 0);
    assert_int_equal(pthread_create(&thread, NULL, signal_from_outside, &starter.go), 0);
    async_call_soon(loop, &starter.callback);
    assert_int_equal(async_loop_run(loop), 0);
    pthread_join(thread, NULL);
    assert_int_equal(catcher.caught, 1);
    assert_true(pthread_equal(catcher.thread, pthread_self()));
    async_loop_close(loop);
}

static void nothing(int number) { (void)number; }

static void something(int number) { (void)number; }

static void test_the_disposition_comes_back(void **state)
{
    (void)state;
    struct sigaction before = {.sa_handler = nothing, .sa_flags = SA_NODEFER}, after;
    sigemptyset(&before.sa_mask);
    sigaddset(&before.sa_mask, SIGTERM);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    assert_int_equal(sigaction(SIGUSR1, NULL, &after), 0);
    assert_true(after.sa_flags & SA_RESTART);
    assert_true(async_remove_signal_handler(loop, SIGUSR1));
    assert_int_equal(sigaction(SIGUSR1, NULL, &after), 0);
    assert_ptr_equal(after.sa_handler, nothing);
    assert_true(after.sa_flags & SA_NODEFER);
    assert_int_equal(sigismember(&after.sa_mask, SIGTERM), 1);

    /* What the program puts there in the meantime is its own affair. */
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    void *ours = disposition(SIGUSR1);
    signal(SIGUSR1, something);
    assert_true(async_remove_signal_handler(loop, SIGUSR1));
    assert_ptr_equal(disposition(SIGUSR1), something);

    /* Even if it is our own handler, from long ago: that goes nowhere, but does no harm. */
    signal(SIGUSR1, (void (*)(int))ours);
    raise(SIGUSR1);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    assert_true(async_remove_signal_handler(loop, SIGUSR1));
    assert_ptr_equal(disposition(SIGUSR1), SIG_DFL);

    assert_int_equal(async_add_signal_handler(loop, SIGUSR2, &catcher.callback), 0);
    assert_ptr_not_equal(disposition(SIGUSR2), SIG_DFL);
    async_loop_close(loop); /* removes it as well */
    assert_ptr_equal(disposition(SIGUSR2), SIG_DFL);
    assert_int_equal(catcher.caught, 0);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    async_loop *loop = new_loop(), *other = new_loop();
    struct catcher catcher = catcher_for(loop);
    static const int bad[] = {-1, 0, 65, 1000, SIGKILL, SIGSTOP};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(async_add_signal_handler(loop, bad[i], &catcher.callback), -EINVAL);
        assert_false(async_remove_signal_handler(loop, bad[i]));
    }
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), -EBUSY);
    assert_int_equal(async_add_signal_handler(other, SIGUSR1, &catcher.callback), -EBUSY);
    assert_false(async_remove_signal_handler(other, SIGUSR1));
    assert_int_equal(loop->signals, 1);
    assert_int_equal(other->signals, 0);

    assert_true(async_remove_signal_handler(loop, SIGUSR1));
    catcher.loop = other;
    assert_int_equal(async_add_signal_handler(other, SIGUSR1, &catcher.callback), 0);
    raise(SIGUSR1);
    assert_int_equal(async_loop_run(other), 0);
    assert_int_equal(catcher.caught, 1);
    assert_false(woken(loop));
    async_loop_close(loop);
    async_loop_close(other);
}

static void test_nothing_comes_after_removal(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop), second = catcher_for(loop);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    raise(SIGUSR1);
    async__signals_dispatch(loop);
    assert_true(async_remove_signal_handler(loop, SIGUSR1)); /* in the ready queue */
    assert_null(catcher.callback.next);

    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    raise(SIGUSR1);
    assert_true(async_remove_signal_handler(loop, SIGUSR1)); /* pending */
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &second.callback), 0);
    async__signals_dispatch(loop);
    assert_null(second.callback.next);
    async_loop_close(loop);
    assert_int_equal(catcher.caught + second.caught, 0);
}

static void test_the_users_handler_displaces_the_loops_own(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    struct catcher own = catcher_for(loop), user = catcher_for(loop);
    assert_int_equal(async__signal_add(loop, SIGINT, &own.callback, false), 0);
    assert_int_equal(loop->signals, 0); /* and so it keeps no loop alive */
    assert_int_equal(async_loop_run(loop), -EDEADLK);
    assert_false(async_remove_signal_handler(loop, SIGINT));
    raise(SIGINT);
    async_loop_share(loop);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(own.caught, 1);

    assert_int_equal(async_add_signal_handler(loop, SIGINT, &user.callback), 0);
    raise(SIGINT);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(user.caught, 1);
    assert_int_equal(own.caught, 1);

    assert_true(async_remove_signal_handler(loop, SIGINT));
    raise(SIGINT);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(own.caught, 2);
    assert_true(async__signal_remove(loop, SIGINT, false));
    assert_ptr_equal(disposition(SIGINT), SIG_DFL);
    async_loop_close(loop);
}

static void test_several_signals_at_once(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    int numbers[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD, SIGRTMIN + 1};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    struct catcher catchers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        catchers[i] = catcher_for(loop);
        assert_int_equal(async_add_signal_handler(loop, numbers[i], &catchers[i].callback), 0);
    }
    for (int i = 0; i < 3 * COUNT; i++)
        raise(numbers[i % COUNT]);
    assert_int_equal(async_loop_run(loop), 0);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(catchers[i].caught, 1);
    async_loop_close(loop);
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(disposition(numbers[i]), SIG_DFL);
}

static void assert_died_of(pid_t child, int number)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), number);
}

static void test_a_child_has_the_dispositions_of_before(void **state)
{
    (void)state;
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    assert_int_equal(async_add_signal_handler(loop, SIGTERM, &catcher.callback), 0);
    pid_t child = fork();
    if (child == 0) {
        raise(SIGTERM);
        _exit(1);
    }
    assert_died_of(child, SIGTERM);

    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); /* behind fork's back */
    if (child == 0) {
        kill(getpid(), SIGTERM); /* musl's raise would take itself for the parent's thread */
        _exit(1);
    }
    assert_died_of(child, SIGTERM);
    assert_false(woken(loop));

    raise(SIGTERM); /* and the parent's handler is where it was */
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(catcher.caught, 1);
    async_loop_close(loop);
}

static void test_a_child_can_have_a_loop_of_its_own(void **state)
{
    (void)state;
    static async_loop *loop; /* where valgrind finds it in the child, too */
    loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    assert_int_equal(async_add_signal_handler(loop, SIGTERM, &catcher.callback), 0);
    pid_t child = fork();
    if (child == 0) {
        async__signals_close(loop);
        async_loop *own = async_loop_new(NULL);
        catcher = catcher_for(own);
        if (async_add_signal_handler(own, SIGTERM, &catcher.callback) != 0) _exit(1);
        raise(SIGTERM);
        if (async_loop_run(own) != 0 || catcher.caught != 1) _exit(2);
        async_loop_close(own);
        _exit(disposition(SIGTERM) == SIG_DFL ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(woken(loop));
    async_loop_close(loop);
}

/* One thread opens and closes loops while signals rain on both. */
static void *open_and_close(void *argument)
{
    atomic_bool *end = argument;
    for (int i = 0; i < 300; i++) {
        async_loop *loop = async_loop_new(NULL);
        struct catcher catcher = catcher_for(loop);
        if (async_add_signal_handler(loop, SIGUSR1, &catcher.callback) != 0) break;
        async__signals_dispatch(loop);
        async_loop_close(loop);
    }
    atomic_store(end, true);
    return NULL;
}

static void test_close_while_signals_arrive(void **state)
{
    (void)state;
    if (getenv("CASYNCIO_EMULATED")) {
        print_message("skipped: qemu's own handling of signals does not survive a storm of them\n");
        skip();
    }
    atomic_bool end = false;
    pthread_t thread;
    signal(SIGUSR1, SIG_IGN);
    assert_int_equal(pthread_create(&thread, NULL, open_and_close, &end), 0);
    while (!atomic_load(&end))
        kill(getpid(), SIGUSR1);
    pthread_join(thread, NULL);
    assert_ptr_equal(disposition(SIGUSR1), SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
}

static void test_faults(void **state)
{
    (void)state;
#ifdef ASYNC_FAULTS
    struct async__fault_counter *calls = &async__faults[ASYNC__FAULT_SYSTEM_CALL];
    struct async__fault_counter *memory = &async__faults[ASYNC__FAULT_ALLOCATION];
    async_loop *loop = new_loop();
    struct catcher catcher = catcher_for(loop);
    memory->at = memory->count + 1;
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), -ENOMEM);
    calls->at = calls->count + 1;
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback),
                     -async__fault_errno);
    assert_int_equal(loop->signals, 0);
    assert_int_equal(async_add_signal_handler(loop, SIGUSR1, &catcher.callback), 0);
    async_loop_close(loop);
#else
    print_message("needs a build with ASYNC_FAULTS\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_callback_runs_in_the_loop),
        cmocka_unit_test(test_a_signal_wakes_a_loop_that_waits),
        cmocka_unit_test(test_the_disposition_comes_back),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_nothing_comes_after_removal),
        cmocka_unit_test(test_the_users_handler_displaces_the_loops_own),
        cmocka_unit_test(test_several_signals_at_once),
        cmocka_unit_test(test_a_child_has_the_dispositions_of_before),
        cmocka_unit_test(test_a_child_can_have_a_loop_of_its_own),
        cmocka_unit_test(test_close_while_signals_arrive),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
