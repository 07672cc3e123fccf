/* test_pools.c - threads, each with a pool and fibers of its own; stacks that come and go in
 * disorder; fork. */
#include "fiber_test.h"

#include <pthread.h>

#define THREADS 4
#define FIBERS 60
#define ROUNDS 40

struct worker {
    async__stack_pool *pool;
    async__fiber thread, fibers[FIBERS];
    void *tops[FIBERS];
    unsigned seed, sum;
    int depth;
};

struct start {
    struct worker *worker;
    int number;
};

static __attribute__((noinline)) unsigned deep(int depth)
{
    volatile char frame[1000];
    frame[0] = frame[999] = (char)depth;
    return depth > 0 ? deep(depth - 1) + (unsigned char)frame[0] : (unsigned char)frame[999];
}

static void work(void *argument)
{
    struct start start = *(struct start *)argument;
    struct worker *self = start.worker;
    for (int i = 0; i < 3; i++) {
        self->sum += deep(self->depth) == (unsigned)(self->depth * (self->depth + 1) / 2);
        async__fiber_switch(&self->fibers[start.number], &self->thread);
    }
    async__fiber_leave(&self->fibers[start.number], &self->thread);
}

static void *run_worker(void *argument)
{
    struct worker *self = argument;
    struct start starts[FIBERS];

    self->pool = async__stack_pool_new(128 * 1024);
    async__fiber_init_thread(&self->thread);
    for (int round = 0; round < ROUNDS; round++) {
        self->depth = (int)(rand_r(&self->seed) % 22);
        for (int i = 0; i < FIBERS; i++) {
            starts[i] = (struct start){self, i};
            self->tops[i] = async__stack_get(self->pool);
            async__fiber_init(&self->fibers[i], async__stack_base(self->pool, self->tops[i]),
                              (char *)self->tops[i] - 512, work, &starts[i]);
        }
        for (int turn = 0; turn < 4; turn++)
            for (int i = 0; i < FIBERS; i++)
                async__fiber_switch(&self->thread, &self->fibers[i]);
        for (int left = FIBERS; left > 0; left--) {
            int victim = (int)(rand_r(&self->seed) % (unsigned)left);
            async__fiber_destroy(&self->fibers[victim]);
            async__stack_put(self->pool, self->tops[victim]);
            self->fibers[victim] = self->fibers[left - 1];
            self->tops[victim] = self->tops[left - 1];
        }
        async__stack_trim(self->pool);
    }
    async__fiber_destroy(&self->thread);
    async__stack_pool_free(self->pool);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].seed = i;
        assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].sum, FIBERS * ROUNDS * 3);
    }
}

/* A fiber that never returns leaves its frames on its stack: the next fiber there is not
 * affected. */
static async__fiber main_fiber, abandoned;

static void never_returns(void *argument)
{
    char local[4000];
    memset(local, 1, sizeof local);
    __asm__ volatile("" : : "r"(local), "r"(argument) : "memory");
    async__fiber_switch(&abandoned, &main_fiber);
}

static void test_abandoned(void **state)
{
    (void)state;
    async__stack_pool *pool = async__stack_pool_new(0);
    void *top = async__stack_get(pool), *base = async__stack_base(pool, top);
    async__fiber_init_thread(&main_fiber);
    async__fiber_init(&abandoned, base, top, never_returns, NULL);
    async__fiber_switch(&main_fiber, &abandoned);
    async__fiber_destroy(&abandoned);
    async__stack_put(pool, top);
    assert_ptr_equal(async__stack_get(pool), top);
    memset(base, 0, (size_t)((char *)top - (char *)base));
    async__stack_put(pool, top);
    async__stack_pool_free(pool);
}

static async__stack_pool *inherited;

static void child(void)
{
    for (int i = 0; i < 300; i++) {
        char *top = async__stack_get(inherited);
        if (!top) _exit(1);
        top[-1] = 1;
    }
}

static char *forbidden;
static void child_touches(void) { *(volatile char *)forbidden = 1; }

static void test_fork(void **state)
{
    (void)state;
    inherited = async__stack_pool_new(0);
    void *top = async__stack_get(inherited);
    assert_int_equal(run_child(child), 0);
    forbidden = (char *)async__stack_base(inherited, top) - 1;
    assert_int_equal(run_child(child_touches), -SIGSEGV);
    async__stack_put(inherited, top);
    async__stack_pool_free(inherited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
