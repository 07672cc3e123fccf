/* Tasks that can never be woken, and tasks that look so and can: the name of each begins with "lost" or
 * with "live". What they wait for lies in blocks of the heap, in frames and in structs, as in programs. */
#include <casyncio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS(text) (&(async_task_options){.name = text, .coroutine = "case"})

/* What set a case up has gone, and its frames must not look as if it had not. */
__attribute__((noinline)) static void wipe(void)
{
    volatile char old[16384];
    for (size_t i = 0; i < sizeof old; i++)
        old[i] = 0;
}

static void *block(size_t size) { return calloc(1, size); }

/* The frames of those that wait stay: no jump in the place of the last call. */
static int after(int code)
{
    __asm__ volatile("");
    return code;
}

/* ---- a wait for what is given ---- */

static int on_event(void *event) { return after(async_event_wait(event)); }
static int on_lock(void *lock) { return after(async_lock_acquire(lock)); }
static int on_semaphore(void *semaphore) { return after(async_semaphore_acquire(semaphore)); }
static int on_future(void *future) { return after(async_future_wait(future, NULL)); }
static int on_barrier(void *barrier) { return after(async_barrier_wait(barrier)); }
static int on_latch(void *latch) { return after(async_latch_wait(latch)); }
static int on_read(void *rwlock) { return after(async_rwlock_acquire_read(rwlock)); }
static int on_write(void *rwlock) { return after(async_rwlock_acquire_write(rwlock)); }

static int on_get(void *queue)
{
    long item;
    return after(async_queue_get(queue, &item));
}

static int on_put(void *queue)
{
    long item = 1;
    async_queue_put(queue, &item);
    return after(async_queue_put(queue, &item));
}

static int on_condition(void *condition)
{
    async_condition_acquire(condition);
    return after(async_condition_wait(condition));
}

static int sleeps(void *unused)
{
    (void)unused;
    return after(async_sleep(3600));
}

/* ---- something of its own: no other has its address ---- */

static int own_event(void *unused)
{
    async_event event = ASYNC_EVENT_INIT;
    (void)unused;
    return after(async_event_wait(&event));
}

static int own_block_event(void *unused)
{
    (void)unused;
    return after(async_event_wait(block(sizeof(async_event))));
}

static int own_queue(void *unused)
{
    (void)unused;
    return after(on_get(async_queue_new(sizeof(long), 1)));
}

static int own_full_queue(void *unused)
{
    (void)unused;
    return after(on_put(async_queue_new(sizeof(long), 1)));
}

static int own_priority_queue(void *unused)
{
    (void)unused;
    return after(on_get(async_lifo_queue_new(sizeof(long), 0)));
}

static int own_semaphore(void *unused)
{
    async_semaphore semaphore = ASYNC_SEMAPHORE_INIT(0);
    (void)unused;
    return after(async_semaphore_acquire(&semaphore));
}

static int own_future(void *unused)
{
    async_future future = ASYNC_FUTURE_INIT;
    (void)unused;
    return after(async_future_wait(&future, NULL));
}

static int own_latch(void *unused)
{
    async_latch latch = ASYNC_LATCH_INIT(1);
    (void)unused;
    return after(async_latch_wait(&latch));
}

static int own_barrier(void *unused)
{
    async_barrier barrier = ASYNC_BARRIER_INIT(2);
    (void)unused;
    return after(async_barrier_wait(&barrier));
}

static int own_condition(void *unused)
{
    async_condition condition = ASYNC_CONDITION_INIT;
    (void)unused;
    return after(on_condition(&condition));
}

/* ---- locks in circles ---- */

static async_lock locks[5];

struct pair {
    async_lock *mine, *other;
};

static int in_circle(void *argument)
{
    struct pair *pair = argument;
    async_lock_acquire(pair->mine);
    async_sleep(0);
    async_sleep(0);
    return after(async_lock_acquire(pair->other));
}

static int keeps_lock(void *lock)
{
    async_lock_acquire(lock);
    return after(own_event(NULL));
}

static int keeps_lock_for_a_while(void *lock)
{
    async_lock_acquire(lock);
    return after(async_sleep(3600));
}

/* ---- tasks that wait for tasks ---- */

static int groups_lost(void *unused)
{
    (void)unused;
    async_with_group (group) {
        async_group_create_task_with(group, own_event, NULL, OPTIONS("lost in a group"));
        async_group_create_task_with(group, own_queue, NULL, OPTIONS("lost in a group, too"));
    }
    return 0;
}

static int groups_live(void *unused)
{
    (void)unused;
    async_with_group (group) {
        async_group_create_task_with(group, own_event, NULL, OPTIONS("lost beside a sleeper"));
        async_group_create_task_with(group, sleeps, NULL, OPTIONS("live sleeper in a group"));
    }
    return 0;
}

static int awaits_lost(void *unused)
{
    (void)unused;
    return after(async_await(async_create_task_with(own_event, NULL, OPTIONS("lost and awaited"))));
}

static int awaits_awaiter(void *unused)
{
    (void)unused;
    return after(
        async_await(async_create_task_with(awaits_lost, NULL, OPTIONS("lost in the middle"))));
}

static int gathers_lost(void *unused)
{
    (void)unused;
    async_task *tasks[] = {
        async_create_task_with(own_event, NULL, OPTIONS("lost and gathered")),
        async_create_task_with(own_semaphore, NULL, OPTIONS("lost and gathered, too"))};
    return after(async_gather_array(tasks, 2));
}

static int gathers_live(void *unused)
{
    (void)unused;
    async_task *tasks[] = {
        async_create_task_with(own_latch, NULL, OPTIONS("lost, gathered with a sleeper")),
        async_create_task_with(sleeps, NULL, OPTIONS("live, gathered"))};
    return after(async_gather_array(tasks, 2));
}

/* ---- what can still be woken ---- */

static int with_limit(void *unused)
{
    (void)unused;
    async_scope scope = {0};
    async_timeout_enter(&scope, 3600);
    int code = own_event(NULL);
    async_scope_leave(&scope);
    return code;
}

static int awaits_with_limit(void *unused)
{
    (void)unused;
    return after(async_wait_for(
        async_create_task_with(own_event, NULL, OPTIONS("live under its awaiter's limit")), 3600));
}

static int keeps_event(void *event)
{
    void *volatile kept = event;
    async_sleep(3600);
    async_event_set(kept);
    return 0;
}

struct node {
    struct node *next;
    void *event;
};

static int keeps_list(void *argument)
{
    struct node *volatile list = argument;
    async_sleep(3600);
    async_event_set(list->next->next->event);
    return 0;
}

static int keeps_in_frame(void *unused)
{
    async_event event = ASYNC_EVENT_INIT;
    (void)unused;
    async_detach(async_create_task_with(on_event, &event, OPTIONS("live, by a sleeper's frame")));
    async_sleep(3600);
    async_event_set(&event);
    return 0;
}

static int reads(void *argument)
{
    char byte;
    int *ends = argument;
    return (int)async_stream_read(async_stream_from_fd(ends[0]), &byte, 1);
}

static async_event global_event;
static async_queue *global_queue;
static void *volatile table[4];

static void make(async_coroutine coroutine, void *argument, const char *name)
{
    async_detach(async_create_task_with(coroutine, argument, OPTIONS(name)));
}

static void two(async_coroutine coroutine, void *argument, const char *first, const char *second)
{
    make(coroutine, argument, first);
    make(coroutine, argument, second);
}

/* Forgotten: nothing but those that wait has these addresses. */
__attribute__((noinline)) static void plant_forgotten(void)
{
    two(on_event, block(sizeof(async_event)), "lost event", "lost event, second");
    two(on_get, async_queue_new(sizeof(long), 0), "lost getter", "lost getter, second");
    two(on_put, async_queue_new(sizeof(long), 1), "lost putter", "lost putter, second");
    async_barrier *barrier = block(sizeof *barrier);
    *barrier = (async_barrier)ASYNC_BARRIER_INIT(3);
    two(on_barrier, barrier, "lost at a barrier", "lost at a barrier, second");
    async_condition *condition = block(sizeof *condition);
    *condition = (async_condition)ASYNC_CONDITION_INIT;
    two(on_condition, condition, "lost condition", "lost condition, second");
    async_latch *latch = block(sizeof *latch);
    *latch = (async_latch)ASYNC_LATCH_INIT(2);
    make(on_latch, latch, "lost latch");
    make(on_future, block(sizeof(async_future)), "lost future");
    make(on_semaphore, block(sizeof(async_semaphore)), "lost semaphore");
    async_rwlock *rwlock = block(sizeof *rwlock);
    *rwlock = (async_rwlock)ASYNC_RWLOCK_INIT;
    async_rwlock_acquire_write(rwlock);
    make(on_read, rwlock, "lost reader");
    make(on_write, rwlock, "lost writer");
}

__attribute__((noinline)) static void plant_own(void)
{
    make(own_event, NULL, "lost event in its frame");
    make(own_block_event, NULL, "lost event of its own");
    make(own_queue, NULL, "lost queue of its own");
    make(own_full_queue, NULL, "lost full queue of its own");
    make(own_priority_queue, NULL, "lost stack of its own");
    make(own_semaphore, NULL, "lost semaphore in its frame");
    make(own_future, NULL, "lost future in its frame");
    make(own_latch, NULL, "lost latch in its frame");
    make(own_barrier, NULL, "lost barrier in its frame");
    make(own_condition, NULL, "lost condition in its frame");
    make(groups_lost, NULL, "lost owner of a group");
    make(awaits_awaiter, NULL, "lost at the end of a chain");
    make(gathers_lost, NULL, "lost gatherer");
}

__attribute__((noinline)) static void plant_locks(void)
{
    static struct pair pairs[5] = {{&locks[0], &locks[1]},
                                   {&locks[1], &locks[0]},
                                   {&locks[2], &locks[3]},
                                   {&locks[3], &locks[4]},
                                   {&locks[4], &locks[2]}};
    static const char *const names[] = {
        "lost in a circle of two", "lost in a circle of two, second", "lost in a circle of three",
        "lost in a circle of three, second", "lost in a circle of three, third"};
    static async_lock kept, slow;

    for (int i = 0; i < 5; i++)
        make(in_circle, &pairs[i], names[i]);
    make(keeps_lock, &kept, "lost holder of a lock");
    make(on_lock, &kept, "lost behind a lost holder");
    make(keeps_lock_for_a_while, &slow, "live holder of a lock");
    make(on_lock, &slow, "live behind a holder that sleeps");
}

__attribute__((noinline)) static void plant_live(void)
{
    static int ends[2];

    global_queue = async_queue_new(sizeof(long), 0);
    make(on_event, &global_event, "live, of a global event");
    make(on_get, global_queue, "live, of a global queue");
    table[2] = block(sizeof(async_event));
    make(on_event, table[2], "live, of an event in a table");
    void *event = block(sizeof(async_event));
    make(keeps_event, event, "live sleeper with an event");
    make(on_event, event, "live, of an event of a sleeper's");
    struct node *list = NULL;
    event = block(sizeof(async_event));
    for (int i = 0; i < 3; i++) {
        struct node *node = block(sizeof *node);
        *node = (struct node){list, list ? NULL : event};
        list = node;
    }
    make(keeps_list, list, "live sleeper with a list");
    make(on_event, event, "live, of an event at the end of a list");
    make(keeps_in_frame, NULL, "live sleeper with an event in its frame");
    make(with_limit, NULL, "live until its limit");
    make(awaits_with_limit, NULL, "live awaiter with a limit");
    make(groups_live, NULL, "live owner of a group");
    make(gathers_live, NULL, "live gatherer");
    make(sleeps, NULL, "live sleeper");
    if (pipe(ends) == 0) make(reads, ends, "live reader");
}

static int plant(void *unused)
{
    (void)unused;
    plant_forgotten();
    wipe();
    plant_own();
    plant_locks();
    plant_live();
    wipe();
    for (int i = 0; i < 20; i++)
        async_sleep(0);
    wipe();
    puts("ready");
    fflush(stdout);
    return async_sleep(3600);
}

int main(void) { return async_run_with(plant, NULL, &(async_run_options){0}) < 0; }
