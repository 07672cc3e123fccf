/* micro: what the engine's single operations cost, in ns, beside a limit that is measured in the same
 * run: the bare switch in assembly without a scheduler, and for a task's life, create and finish on
 * pooled stacks without one. */
#include "bench.h"

#include <casyncio.h>
#include <fiber/fiber.h>

#define SWITCHES 2000000
#define TASKS 1000000

static double best(double a, double b) { return a == 0 || b < a ? b : a; }

/* ---- limits ---- */

static async__stack_pool *pool;
static async__fiber loop_fiber;

struct bare {
    async__fiber fiber;
    void *top;
    int next;
};

static struct bare *bares;
static int bare_turns;

/* Each switches to the next in a ring, by the assembly alone. */
static void bare_entry(void *argument)
{
    struct bare *self = argument;
    for (;;) {
        if (--bare_turns <= 0) async__switch(&self->fiber.sp, loop_fiber.sp);
        async__switch(&self->fiber.sp, bares[self->next].fiber.sp);
    }
}

static void place(struct bare *bare, void *top, void (*entry)(void *), void *argument)
{
    bare->top = top;
    async__fiber_init(&bare->fiber, async__stack_base(pool, top), (char *)top - 512, entry,
                      argument);
}

static double limit_switch(int count)
{
    bares = calloc((size_t)count, sizeof *bares);
    for (int i = 0; i < count; i++) {
        place(&bares[i], async__stack_get(pool), bare_entry, &bares[i]);
        bares[i].next = (i + 1) % count;
    }
    bare_turns = count + 1;
    async__switch(&loop_fiber.sp, bares[0].fiber.sp);
    bare_turns = SWITCHES;
    double start = bench_cpu();
    async__switch(&loop_fiber.sp, bares[0].fiber.sp);
    double each = (bench_cpu() - start) / SWITCHES;
    for (int i = 0; i < count; i++)
        async__stack_put(pool, bares[i].top);
    free(bares);
    return each;
}

static void bare_once(void *argument)
{
    struct bare *self = argument;
    async__switch(&self->fiber.sp, loop_fiber.sp);
}

/* A stack from the pool, one switch there, one back, the stack to the pool: 1,000 at a time. */
static double limit_create(void)
{
    static struct bare alive[1000];
    double start = bench_cpu();
    for (int round = 0; round < TASKS / 1000; round++) {
        for (int i = 0; i < 1000; i++)
            place(&alive[i], async__stack_get(pool), bare_once, &alive[i]);
        for (int i = 0; i < 1000; i++) {
            async__switch(&loop_fiber.sp, alive[i].fiber.sp);
            async__stack_put(pool, alive[i].top);
        }
    }
    return (bench_cpu() - start) / TASKS;
}

/* ---- tasks ---- */

static int switches_each;

static int switcher(void *unused)
{
    (void)unused;
    for (int i = 0; i < switches_each; i++)
        async_sleep(0);
    return 0;
}

static double switching(int count)
{
    async_task **tasks = calloc((size_t)count, sizeof(*tasks));
    switches_each = SWITCHES / count;
    for (int i = 0; i < count; i++)
        tasks[i] = async_create_task(switcher, NULL);
    async_sleep(0);
    double start = bench_cpu();
    async_gather_array(tasks, (size_t)count);
    double each = (bench_cpu() - start) / SWITCHES;
    free(tasks);
    return each;
}

static int nothing(void *unused)
{
    (void)unused;
    return 0;
}

static double creating(void)
{
    static async_task *alive[1000];
    double start = bench_cpu();
    for (int round = 0; round < TASKS / 1000; round++) {
        for (int i = 0; i < 1000; i++)
            alive[i] = async_create_task(nothing, NULL);
        for (int i = 0; i < 1000; i++)
            async_await(alive[i]);
    }
    return (bench_cpu() - start) / TASKS;
}

static double gathering(void)
{
    static async_task *tasks[10000];
    double total = 0;
    for (int round = 0; round < 20; round++) {
        double start = bench_cpu();
        for (int i = 0; i < 10000; i++)
            tasks[i] = async_create_task(nothing, NULL);
        async_gather_array(tasks, 10000);
        total += bench_cpu() - start;
    }
    return total / 20 / 1e6;
}

static async_queue *ping, *pong;

static int answers(void *unused)
{
    int item;
    (void)unused;
    while (async_queue_get(ping, &item) == 0)
        async_queue_put(pong, &item);
    return 0;
}

static double ping_pong(void)
{
    enum { TRIPS = 500000 };
    int item = 0;
    ping = async_queue_new(sizeof(int), 0);
    pong = async_queue_new(sizeof(int), 0);
    async_task *task = async_create_task(answers, NULL);
    double start = bench_cpu();
    for (int i = 0; i < TRIPS; i++) {
        async_queue_put(ping, &item);
        async_queue_get(pong, &item);
    }
    double each = (bench_cpu() - start) / TRIPS;
    async_queue_shutdown(ping, true);
    async_await(task);
    async_queue_free(ping);
    async_queue_free(pong);
    return each;
}

static async_lock lock;

static double locking_free(void)
{
    double start = bench_cpu();
    for (int i = 0; i < SWITCHES; i++) {
        async_lock_acquire(&lock);
        async_lock_release(&lock);
    }
    return (bench_cpu() - start) / SWITCHES;
}

static int contends(void *unused)
{
    (void)unused;
    for (int i = 0; i < SWITCHES / 4; i++) {
        async_lock_acquire(&lock);
        async_sleep(0);
        async_lock_release(&lock);
    }
    return 0;
}

/* Two tasks, each of which finds the lock taken every time. */
static double locking_contended(void)
{
    double start = bench_cpu();
    async_gather(async_create_task(contends, NULL), async_create_task(contends, NULL));
    return (bench_cpu() - start) / (SWITCHES / 2);
}

static void never(async_callback *callback)
{
    (void)callback;
    abort();
}

static double timing(void)
{
    enum { TIMERS = 1000000 };
    async_loop *loop = async_get_running_loop();
    async_timer *timers = calloc(TIMERS, sizeof *timers);
    for (int i = 0; i < TIMERS; i++)
        timers[i].callback.run = never;
    double start = bench_cpu();
    for (int i = 0; i < TIMERS; i++)
        async_call_later(loop, &timers[i], 1000 + (double)(i * 7919L % TIMERS) * 1e-3);
    for (int i = 0; i < TIMERS; i++)
        async_timer_cancel(loop, &timers[i]);
    double each = (bench_cpu() - start) / TIMERS;
    free(timers);
    return each;
}

static int main_task(void *unused)
{
    double two = 0, many = 0, two_limit = 0, many_limit = 0, create = 0, create_limit = 0,
           queue = 0, lock_free = 0, lock_busy = 0, timer = 0, gather = 0;
    (void)unused;

    for (int round = 0; round < ROUNDS; round++) {
        two_limit = best(two_limit, limit_switch(2));
        two = best(two, switching(2));
        many_limit = best(many_limit, limit_switch(10000));
        many = best(many, switching(10000));
        create_limit = best(create_limit, limit_create());
        create = best(create, creating());
        queue = best(queue, ping_pong());
        lock_free = best(lock_free, locking_free());
        lock_busy = best(lock_busy, locking_contended());
        timer = best(timer, timing());
        gather = best(gather, gathering());
    }
    bench_heading();
    bench_row("switch through the scheduler, 2 tasks", "ns", two, two_limit, "8");
    bench_row("switch through the scheduler, 10,000 tasks", "ns", many, many_limit, "10");
    bench_row("create + await, 1,000 alive", "ns", create, create_limit, "45");
    bench_row("queue ping-pong, round trip", "ns", queue, 4 * two_limit, "45");
    bench_row("lock + unlock, free", "ns", lock_free, 0, "4");
    bench_row("lock + unlock, handed over", "ns", lock_busy, 2 * two_limit, "45");
    bench_row("timer create + cancel, a million", "ns", timer, 0, "60");
    bench_row("gather of 10,000", "ms", gather, create_limit / 100, "0.8");
    return 0;
}

int main(void)
{
    pool = async__stack_pool_new(0);
    return pool ? async_run(main_task, NULL) : 1;
}
