/* test_pool.c - the thread pool: every job ends in exactly one way, wherever it is taken back. */
#include "../../src/base/faults.h"
#include "../../src/loop/loop_internal.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct probe {
    async_job job;
    sem_t begun, go, dropped_post;
    bool gated; /* work waits for `go` */
    atomic_int worked, done, dropped;
    pthread_t worker, deliverer;
    int repeat; /* submit again this many times, from done */
};

static void probe_work(async_job *job)
{
    struct probe *self = async__container(job, struct probe, job);
    self->worker = pthread_self();
    sem_post(&self->begun);
    if (self->gated) sem_wait(&self->go);
    atomic_fetch_add(&self->worked, 1);
}

static void probe_done(async_job *job)
{
    struct probe *self = async__container(job, struct probe, job);
    async_loop *loop = job->loop;
    self->deliverer = pthread_self();
    atomic_fetch_add(&self->done, 1);
    if (self->repeat-- > 0)
        assert_int_equal(async_run_in_executor(loop, job), 0);
    else
        async_loop_stop(loop);
}

static void probe_drop(async_job *job)
{
    struct probe *self = async__container(job, struct probe, job);
    atomic_fetch_add(&self->dropped, 1);
    sem_post(&self->dropped_post);
}

static struct probe *probe_init(struct probe *self, bool gated)
{
    memset(self, 0, sizeof *self);
    self->job.work = probe_work;
    self->job.done = probe_done;
    self->job.drop = probe_drop;
    self->gated = gated;
    sem_init(&self->begun, 0, 0);
    sem_init(&self->go, 0, 0);
    sem_init(&self->dropped_post, 0, 0);
    return self;
}

static void assert_ended(struct probe *self, int worked, int done, int dropped)
{
    assert_int_equal(self->worked, worked);
    assert_int_equal(self->done, done);
    assert_int_equal(self->dropped, dropped);
}

static async_loop *new_loop(unsigned threads)
{
    async_loop *loop = async_loop_new(&(async_loop_options){.executor_threads = threads});
    assert_non_null(loop);
    return loop;
}

static int count_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    if (!directory) return -1;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* A detached thread says in no other way that it has gone. */
static void await_threads(int count)
{
    while (count_threads() > count)
        sched_yield();
}

/* A job of a pool with one thread has been given to the loop once the next one's work has begun. */
static void submit_finished(async_loop *loop, struct probe *first, struct probe *second)
{
    assert_int_equal(async_run_in_executor(loop, &first->job), 0);
    assert_int_equal(async_run_in_executor(loop, &second->job), 0);
    sem_wait(&second->begun);
}

static void test_work_in_a_thread_and_done_in_the_loop(void **state)
{
    (void)state;
    async_loop *loop = new_loop(0);
    struct probe probe;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&probe, false)->job), 0);
    assert_int_equal(loop->jobs, 1); /* and so the loop waits: no -EDEADLK */
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&probe, 1, 1, 0);
    assert_false(pthread_equal(probe.worker, pthread_self()));
    assert_true(pthread_equal(probe.deliverer, pthread_self()));
    assert_int_equal(loop->jobs, 0);
    assert_int_equal(async_loop_run(loop), -EDEADLK);
    assert_false(async_job_cancel(&probe.job));
    assert_int_equal(async_loop_close(loop), 0);
}

static void test_done_may_submit_again_and_the_idle_thread_takes_it(void **state)
{
    (void)state;
    int before = count_threads();
    async_loop *loop = new_loop(8);
    struct probe probe;
    probe_init(&probe, false)->repeat = 50;
    assert_int_equal(async_run_in_executor(loop, &probe.job), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&probe, 51, 51, 0);
    /* Now and then done runs before its worker is back at the queue: then there is a second one. */
    assert_true(count_threads() - before <= 2);
    async_loop_close(loop);
}

static pthread_barrier_t meeting;

static void meet(async_job *job)
{
    pthread_barrier_wait(&meeting);
    probe_work(job);
}

static void test_threads_are_made_up_to_the_limit(void **state)
{
    (void)state;
    async_loop *loop = new_loop(4);
    struct probe probes[4], fifth;
    pthread_barrier_init(&meeting, NULL, 5);
    for (int i = 0; i < 4; i++) {
        probe_init(&probes[i], true)->job.work = meet;
        assert_int_equal(async_run_in_executor(loop, &probes[i].job), 0);
    }
    pthread_barrier_wait(&meeting); /* hangs unless all four run at once */
    assert_int_equal(async_run_in_executor(loop, &probe_init(&fifth, false)->job), 0);
    assert_true(async_job_cancel(&fifth.job)); /* all threads are taken */
    assert_ended(&fifth, 0, 0, 0);
    for (int i = 0; i < 4; i++)
        sem_post(&probes[i].go);
    while (loop->jobs)
        assert_int_equal(async_loop_run(loop), 0);
    for (int i = 0; i < 4; i++)
        assert_ended(&probes[i], 1, 1, 0);
    pthread_barrier_destroy(&meeting);
    async_loop_close(loop);
}

static void test_jobs_run_in_order(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe first, middle, last;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&first, true)->job), 0);
    assert_int_equal(async_run_in_executor(loop, &probe_init(&middle, false)->job), 0);
    assert_int_equal(async_run_in_executor(loop, &probe_init(&last, true)->job), 0);
    sem_wait(&first.begun);
    assert_int_equal(sem_trywait(&last.begun), -1);
    sem_post(&first.go);
    sem_wait(&last.begun);
    assert_int_equal(middle.worked, 1);
    sem_post(&last.go);
    while (!last.done)
        assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&first, 1, 1, 0);
    assert_ended(&middle, 1, 1, 0);
    async_loop_close(loop);
}

static void test_cancel(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe running, queued, never;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&running, true)->job), 0);
    sem_wait(&running.begun);
    assert_int_equal(async_run_in_executor(loop, &probe_init(&queued, false)->job), 0);
    assert_false(async_job_cancel(&running.job));
    assert_true(async_job_cancel(&queued.job));
    assert_false(async_job_cancel(&queued.job));
    assert_false(async_job_cancel(&probe_init(&never, false)->job));
    assert_int_equal(loop->jobs, 1);
    sem_post(&running.go);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&running, 1, 1, 0);
    assert_ended(&queued, 0, 0, 0);

    assert_int_equal(async_run_in_executor(loop, &queued.job), 0); /* good as new */
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&queued, 1, 1, 0);
    async_loop_close(loop);
}

static void test_abandon_queued(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe running, queued;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&running, true)->job), 0);
    sem_wait(&running.begun);
    assert_int_equal(async_run_in_executor(loop, &probe_init(&queued, false)->job), 0);
    async_job_abandon(&queued.job);
    assert_ended(&queued, 0, 0, 1);
    sem_post(&running.go);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&running, 1, 1, 0);
    async_loop_close(loop);
}

static void test_abandon_running(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe probe;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&probe, true)->job), 0);
    sem_wait(&probe.begun);
    async_job_abandon(&probe.job);
    assert_int_equal(loop->jobs, 0);
    assert_ended(&probe, 0, 0, 0);
    sem_post(&probe.go);
    sem_wait(&probe.dropped_post);
    assert_ended(&probe, 1, 0, 1);
    assert_int_equal(async_loop_run(loop), -EDEADLK);
    async_loop_close(loop);
}

static void test_abandon_finished(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe finished, running;
    submit_finished(loop, probe_init(&finished, false), probe_init(&running, true));
    async_job_abandon(&finished.job);
    assert_int_equal(loop->jobs, 1);
    sem_post(&running.go);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&finished, 1, 0, 1);
    assert_ended(&running, 1, 1, 0);
    assert_int_equal(loop->jobs, 0);
    async_loop_close(loop);
}

static void test_close_waits_for_what_has_begun_and_drops_all(void **state)
{
    (void)state;
    int before = count_threads();
    async_loop *loop = new_loop(1);
    struct probe finished, running, queued;
    submit_finished(loop, probe_init(&finished, false), probe_init(&running, true));
    assert_int_equal(async_run_in_executor(loop, &probe_init(&queued, false)->job), 0);
    sem_post(&running.go);
    assert_int_equal(async_loop_close(loop), 0);
    assert_ended(&finished, 1, 0, 1);
    assert_int_equal(running.worked, 1);
    assert_int_equal(running.done, 0);
    assert_int_equal(running.dropped, 1);
    assert_int_equal(queued.done, 0); /* its work may have begun after the other's end */
    assert_int_equal(queued.dropped, 1);
    await_threads(before);
}

/* Stands behind a finished job in the ready queue; its drop takes the neighbour out. */
struct neighbour {
    async_callback callback;
    int ran;
};

static void neighbour_run(async_callback *callback)
{
    async__container(callback, struct neighbour, callback)->ran++;
}

static struct neighbour neighbour = {.callback.run = neighbour_run};

static void drop_with_neighbour(async_job *job)
{
    assert_true(async_callback_cancel(&neighbour.callback));
    probe_drop(job);
}

static void test_close_drops_what_is_in_the_ready_queue(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe finished, running;
    probe_init(&finished, false)->job.drop = drop_with_neighbour;
    submit_finished(loop, &finished, probe_init(&running, true));
    async__take_incoming(loop);
    async_call_soon(loop, &neighbour.callback);
    sem_post(&running.go);
    async__pool_close(loop->executor, true);
    loop->executor = NULL;
    assert_ended(&finished, 1, 0, 1);
    assert_ended(&running, 1, 0, 1);
    assert_int_equal(loop->jobs, 0);
    assert_ptr_equal(loop->ready.next, &loop->ready);

    probe_init(&running, false); /* a new pool is made when it is needed */
    assert_int_equal(async_run_in_executor(loop, &running.job), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&running, 1, 1, 0);
    async_loop_close(loop);
}

static void test_close_without_waiting(void **state)
{
    (void)state;
    int before = count_threads();
    async_loop *loop = new_loop(1);
    loop->resolver = async__pool_new(2, 0, "name that is too long for the kernel");
    assert_non_null(loop->resolver);
    struct probe stuck, abandoned, queued;
    assert_int_equal(async__pool_submit(loop->resolver, loop, &probe_init(&stuck, true)->job), 0);
    assert_int_equal(async__pool_submit(loop->resolver, loop, &probe_init(&abandoned, true)->job),
                     0);
    sem_wait(&stuck.begun);
    sem_wait(&abandoned.begun);
    assert_int_equal(async__pool_submit(loop->resolver, loop, &probe_init(&queued, false)->job), 0);
    async_job_abandon(&abandoned.job);
    assert_int_equal(loop->jobs, 2);
    async_loop_close(loop);
    assert_ended(&queued, 0, 0, 1);
    assert_ended(&stuck, 0, 0, 0);

    /* The loop is no more, and the threads go on. */
    sem_post(&stuck.go);
    sem_post(&abandoned.go);
    sem_wait(&stuck.dropped_post);
    sem_wait(&abandoned.dropped_post);
    assert_ended(&stuck, 1, 0, 1);
    assert_ended(&abandoned, 1, 0, 1);
    await_threads(before);
}

static void test_close_of_pools_that_were_never_used(void **state)
{
    (void)state;
    async__pool_close(NULL, true);
    struct async__pool *pool = async__pool_new(0, 0, "unused");
    assert_non_null(pool);
    async__pool_close(pool, false);
    async_loop_close(new_loop(0));
}

struct environment {
    async_job job;
    sigset_t signals;
    char name[16];
    char last;
};

static void look_around(async_job *job)
{
    struct environment *self = async__container(job, struct environment, job);
    volatile char large[512 * 1024];
    pthread_sigmask(SIG_BLOCK, NULL, &self->signals);
    prctl(PR_GET_NAME, self->name);
    for (size_t i = 0; i < sizeof large; i += 1024)
        large[i] = 1;
    self->last = large[0];
}

static void stop(async_job *job) { async_loop_stop(job->loop); }

static void test_what_a_job_finds_in_its_thread(void **state)
{
    (void)state;
    async_loop *loop = new_loop(0);
    struct environment here = {.job.work = look_around, .job.done = stop};
    sigset_t before, after;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(async_run_in_executor(loop, &here.job), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(async_loop_run(loop), 0);
    for (int i = 1; i < 32; i++)
        assert_int_equal(sigismember(&before, i), sigismember(&after, i));
    static const int blocked[] = {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGPROF};
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++)
        assert_int_equal(sigismember(&here.signals, blocked[i]), 1);
    assert_int_equal(sigismember(&here.signals, SIGSEGV), 0);
    assert_string_equal(here.name, "async-work-0");
    assert_int_equal(here.last, 1);
    async_loop_close(loop);
}

/* Two thousand jobs, each of them left alone, cancelled or abandoned at some moment or other. */
struct small {
    async_job job;
    atomic_int worked, ended;
    bool taken;
};

static int smalls_left;

static void small_work(async_job *job)
{
    atomic_fetch_add(&async__container(job, struct small, job)->worked, 1);
}

static void small_done(async_job *job)
{
    struct small *self = async__container(job, struct small, job);
    assert_false(self->taken);
    atomic_fetch_add(&self->ended, 1);
    if (--smalls_left == 0) async_loop_stop(job->loop);
}

static void small_drop(async_job *job)
{
    atomic_fetch_add(&async__container(job, struct small, job)->ended, 1);
}

static void test_every_job_ends_once(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static struct small smalls[COUNT];
    unsigned random = 12345;
    int cancelled = 0;
    async_loop *loop = new_loop(3);
    smalls_left = 1; /* so that the loop is not stopped too early */
    for (int i = 0; i < COUNT; i++) {
        smalls[i].job = (async_job){.work = small_work, .done = small_done, .drop = small_drop};
        smalls_left++;
        assert_int_equal(async_run_in_executor(loop, &smalls[i].job), 0);
        random = random * 1103515245 + 12345;
        int victim = i - (int)(random >> 16) % 8;
        if (victim < 0 || smalls[victim].taken) continue;
        if (random >> 31) {
            if (!async_job_cancel(&smalls[victim].job)) continue;
            cancelled++;
            smalls[victim].ended++;
        } else {
            smalls[victim].taken = true;
            async_job_abandon(&smalls[victim].job);
        }
        smalls[victim].taken = true;
        smalls_left--;
    }
    if (--smalls_left > 0) assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(loop->jobs, 0);
    async_loop_close(loop);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(smalls[i].ended, 1);
    print_message("%d of %d cancelled\n", cancelled, COUNT);
}

static void test_close_in_a_child_does_not_wait_for_the_parents_threads(void **state)
{
    (void)state;
    async_loop *loop = new_loop(1);
    struct probe probe;
    assert_int_equal(async_run_in_executor(loop, &probe_init(&probe, true)->job), 0);
    sem_wait(&probe.begun);
    pid_t child = fork();
    if (child == 0) {
        async__pool_close(loop->executor, true);
        _exit(probe.dropped ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    sem_post(&probe.go);
    assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&probe, 1, 1, 0);
    async_loop_close(loop);
}

static void test_without_threads_or_memory(void **state)
{
    (void)state;
#ifdef ASYNC_FAULTS
    struct async__fault_counter *threads = &async__faults[ASYNC__FAULT_SYSTEM_CALL];
    struct async__fault_counter *memory = &async__faults[ASYNC__FAULT_ALLOCATION];
    async_loop *loop = new_loop(2);
    struct probe first, second;
    probe_init(&first, true);
    probe_init(&second, false);

    memory->at = memory->count + 1; /* the pool */
    assert_int_equal(async_run_in_executor(loop, &first.job), -ENOMEM);
    memory->at = memory->count + 2; /* the thread's own */
    assert_int_equal(async_run_in_executor(loop, &first.job), -EAGAIN);
    threads->at = threads->count + 1;
    assert_int_equal(async_run_in_executor(loop, &first.job), -EAGAIN);
    assert_int_equal(loop->jobs, 0);
    assert_false(async_job_cancel(&first.job));

    assert_int_equal(async_run_in_executor(loop, &first.job), 0);
    sem_wait(&first.begun);
    threads->at = threads->count + 1;
    assert_int_equal(async_run_in_executor(loop, &second.job), 0); /* one thread is enough */
    sem_post(&first.go);
    while (!second.done)
        assert_int_equal(async_loop_run(loop), 0);
    assert_ended(&first, 1, 1, 0);
    assert_ended(&second, 1, 1, 0);
    async_loop_close(loop);
#else
    print_message("needs a build with ASYNC_FAULTS\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_in_a_thread_and_done_in_the_loop),
        cmocka_unit_test(test_done_may_submit_again_and_the_idle_thread_takes_it),
        cmocka_unit_test(test_threads_are_made_up_to_the_limit),
        cmocka_unit_test(test_jobs_run_in_order),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_abandon_queued),
        cmocka_unit_test(test_abandon_running),
        cmocka_unit_test(test_abandon_finished),
        cmocka_unit_test(test_close_waits_for_what_has_begun_and_drops_all),
        cmocka_unit_test(test_close_drops_what_is_in_the_ready_queue),
        cmocka_unit_test(test_close_without_waiting),
        cmocka_unit_test(test_close_of_pools_that_were_never_used),
        cmocka_unit_test(test_what_a_job_finds_in_its_thread),
        cmocka_unit_test(test_every_job_ends_once),
        cmocka_unit_test(test_close_in_a_child_does_not_wait_for_the_parents_threads),
        cmocka_unit_test(test_without_threads_or_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
