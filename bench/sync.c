/* sync: what the primitives of synchronization and the queues cost, in ns. The limit is Go's figure for
 * what is nearest to it there (support/sync.go, on one processor; see peer.h): CPU time, but for the queue
 * between threads, which is wall time. */
#include "peer.h"

#include <casyncio.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

enum { MANY = 1000000, TRIPS = 200000 };

static double since(double start, int count) { return (bench_cpu() - start) / count; }

/* ---- alone ---- */

static double semaphore_free(void)
{
    async_semaphore one = ASYNC_SEMAPHORE_INIT(1);
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        async_semaphore_acquire(&one);
        async_semaphore_release(&one);
    }
    return since(start, MANY);
}

static double rwlock_free(void)
{
    async_rwlock rwlock = ASYNC_RWLOCK_INIT;
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        async_rwlock_acquire_read(&rwlock);
        async_rwlock_release(&rwlock);
    }
    return since(start, MANY);
}

static int nothing(void *unused) { return (void)unused, 0; }

static double once_done(void)
{
    async_once once = ASYNC_ONCE_INIT;
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++)
        async_once_run(&once, nothing, NULL);
    return since(start, MANY);
}

static double latch_open(void)
{
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        async_latch latch = ASYNC_LATCH_INIT(1);
        async_latch_count_down(&latch);
        async_latch_wait(&latch);
    }
    return since(start, MANY);
}

static int by_value(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* With 100 others in the queue. */
static double put_and_get(async_queue *queue)
{
    int item;
    for (int i = 0; i < 100; i++)
        async_queue_put_nowait(queue, &i);
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        item = (int)(i * 7919L % 1000);
        async_queue_put(queue, &item);
        async_queue_get(queue, &item);
    }
    double each = since(start, MANY);
    async_queue_free(queue);
    return each;
}

static double fifo(void) { return put_and_get(async_queue_new(sizeof(int), 0)); }
static double lifo(void) { return put_and_get(async_lifo_queue_new(sizeof(int), 0)); }
static double priority(void)
{
    return put_and_get(async_priority_queue_new(sizeof(int), 0, by_value));
}

static async_queue *left, *right, *back;

static void open_queues(void)
{
    left = async_queue_new(sizeof(int), 0);
    right = async_queue_new(sizeof(int), 0);
    back = async_queue_new(sizeof(int), 0);
}

static void free_queues(void)
{
    async_queue_free(left);
    async_queue_free(right);
    async_queue_free(back);
}

/* Of three cases one is ready, by turns. */
static double select_ready(void)
{
    int item = 0;
    async_event stop = ASYNC_EVENT_INIT;
    open_queues();
    async_case cases[] = {async_case_get(left, &item), async_case_get(right, &item),
                          async_case_event(&stop)};
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        async_queue_put(i & 1 ? left : right, &item);
        async_select(cases, 3);
    }
    double each = since(start, MANY);
    free_queues();
    return each;
}

/* ---- two tasks ---- */

static double with_partner(async_coroutine partner, async_coroutine here)
{
    async_task *task = async_create_task(partner, NULL);
    double start = bench_cpu();
    here(NULL);
    async_await(task);
    return since(start, TRIPS);
}

static async_semaphore place;

static int takes_place(void *unused)
{
    (void)unused;
    for (int i = 0; i < TRIPS / 2; i++) {
        async_semaphore_acquire(&place);
        async_sleep(0);
        async_semaphore_release(&place);
    }
    return 0;
}

static double semaphore_handed_over(void)
{
    place = (async_semaphore)ASYNC_SEMAPHORE_INIT(1);
    return with_partner(takes_place, takes_place);
}

static async_rwlock rwlock;

static int writes(void *unused)
{
    (void)unused;
    for (int i = 0; i < TRIPS / 2; i++) {
        async_rwlock_acquire_write(&rwlock);
        async_sleep(0);
        async_rwlock_release(&rwlock);
    }
    return 0;
}

static double rwlock_handed_over(void) { return with_partner(writes, writes); }

static async_condition changed;
static int turn;

/* Each waits until it is its turn, and then gives the other one its. */
static int takes_turns(int mine)
{
    async_condition_acquire(&changed);
    for (int i = 0; i < TRIPS / 2; i++) {
        while (turn != mine)
            async_condition_wait(&changed);
        turn = !mine;
        async_condition_notify(&changed, 1);
    }
    return async_condition_release(&changed);
}

static int turn_0(void *unused) { return (void)unused, takes_turns(0); }
static int turn_1(void *unused) { return (void)unused, takes_turns(1); }

static double condition(void)
{
    turn = 0;
    return with_partner(turn_1, turn_0);
}

static async_barrier barrier = ASYNC_BARRIER_INIT(2);

static int meets(void *unused)
{
    (void)unused;
    for (int i = 0; i < TRIPS; i++)
        async_barrier_wait(&barrier);
    return 0;
}

static double barrier_of_two(void) { return with_partner(meets, meets); }

static int answers(void *unused)
{
    int item;
    (void)unused;
    async_case cases[] = {async_case_get(left, &item), async_case_get(right, &item)};
    for (int i = 0; i < TRIPS; i++) {
        async_select(cases, 2);
        async_queue_put(back, &item);
    }
    return 0;
}

static int asks(void *unused)
{
    int item = 0;
    (void)unused;
    for (int i = 0; i < TRIPS; i++) {
        async_queue_put(i & 1 ? left : right, &item);
        async_queue_get(back, &item);
    }
    return 0;
}

static double select_ping_pong(void)
{
    open_queues();
    double each = with_partner(answers, asks);
    free_queues();
    return each;
}

/* ---- two threads ---- */

static async_thread_queue *between;

static void *thread_puts(void *unused)
{
    (void)unused;
    for (int i = 0; i < MANY; i++)
        async_thread_queue_put_threadsafe(between, &i, INFINITY);
    return NULL;
}

static double thread_queue(void)
{
    pthread_t thread;
    int item;
    between = async_thread_queue_new(sizeof(int), 1024);
    double start = bench_wall();
    pthread_create(&thread, NULL, thread_puts, NULL);
    for (int i = 0; i < MANY; i++)
        async_thread_queue_get(between, &item);
    double each = (bench_wall() - start) / MANY;
    pthread_join(thread, NULL);
    async_thread_queue_free(between);
    return each;
}

/* ---- the table ---- */

static struct peer_row rows[] = {
    {"semaphore, free", "5", semaphore_free, 0, 0},
    {"semaphore, handed over", "45", semaphore_handed_over, 0, 0},
    {"condition, notify + wait", "90", condition, 0, 0},
    {"barrier of 2, a round", "60", barrier_of_two, 0, 0},
    {"read-write lock, to read, free", "5", rwlock_free, 0, 0},
    {"read-write lock, to write, handed over", "50", rwlock_handed_over, 0, 0},
    {"once, done", "3", once_done, 0, 0},
    {"latch, count down + wait", "5", latch_open, 0, 0},
    {"queue put + get, 100 inside", "10", fifo, 0, 0},
    {"LIFO queue put + get, 100 inside", "12", lifo, 0, 0},
    {"priority queue put + get, 100 inside", "60", priority, 0, 0},
    {"select of 3, one ready", "40", select_ready, 0, 0},
    {"select of 2, ping-pong, round trip", "100", select_ping_pong, 0, 0},
    {"queue between threads, an item", "200", thread_queue, 0, 0},
};

#define ROWS (sizeof rows / sizeof *rows)

static int main_task(void *unused)
{
    (void)unused;
    peer_measure(rows, ROWS);
    return 0;
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) return 1;
    peer_ask_go(rows, ROWS, "sync.go");
    peer_table(rows, ROWS);
    return 0;
}
