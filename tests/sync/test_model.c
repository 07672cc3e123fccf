/* Random use of every primitive, with cancellations and timeouts at random moments, against what a
 * model says: nothing is lost, nothing doubled, none overtaken, never two where there is room for one.
 *
 * A seed decides everything: what each task does, when it is disturbed, and (every other seed) in which
 * order ready tasks run; in the other half they run in the order in which they became ready, so that
 * the order of service can be checked too. Disturbances run out; what has not ended by then waits
 * without a limit, so that a wake-up that was lost is a deadlock, which the loop reports. Times are
 * small whole numbers, so that much is due in the same turn.
 *
 * ctest: timeout=600 */
#include "run.h"

#include <math.h>

enum { SEEDS = 1000, WORKERS = 6, STEPS = 12 };

static uint64_t state;
static int disturbances;
static bool in_order; /* ready tasks run in the order in which they became ready */
static async_task *workers[WORKERS];

static int chance(int n)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (int)((state * 0x2545F4914F6CDD1DULL >> 33) % (uint64_t)n);
}

static double patience(void)
{
    if (disturbances <= 0 || chance(3) > 0) return INFINITY;
    disturbances--;
    return chance(4);
}

/* In a worker: its call may have been cancelled; the next is to work. */
static void go_on(void) { async_uncancel(async_current_task()); }

static void rest(void)
{
    async_sleep(chance(4));
    go_on();
}

/* Cancels a worker now and then, as long as there are disturbances left. */
static int disturb(void *unused)
{
    (void)unused;
    while (disturbances > 0) {
        disturbances--;
        async_sleep(chance(3));
        async_cancel(workers[chance(WORKERS)], NULL);
    }
    return 0;
}

struct worker {
    int (*work)(int id);
    int id;
};

static int worker(struct worker *self)
{
    int code = self->work(self->id);
    go_on();
    return code;
}

static int scenario(void *work)
{
    async_task *all[WORKERS + 1];
    for (int i = 0; i < WORKERS; i++)
        all[i] = workers[i] = async_spawn(worker, *(int (**)(int))work, i);
    all[WORKERS] = async_create_task(disturb);
    return async_gather_array(all, WORKERS + 1);
}

static void with_seeds(const char *name, void (*begin)(void), int (*work)(int), void (*end)(void))
{
    for (unsigned seed = 1; seed <= fewer_seeds(SEEDS); seed++) {
        state = seed * 0x9E3779B97F4A7C15ULL;
        disturbances = chance(40);
        in_order = seed % 2;
        begin();
        int code = run_seeded(scenario, &work, in_order ? 0 : seed);
        if (code < 0) print_error("%s, seed %u: %s\n", name, seed, async_run_error_message());
        assert_int_equal(code, 0);
        end();
    }
}

/* Those that wait, in the order in which they came. One that comes out while others are before it has
 * overtaken them: they must not come out later, but only give up. */
static struct line {
    int ids[WORKERS * 2];
    bool overtaken[WORKERS], waits[WORKERS];
    int count;
} line;

/* `waits`: whether it will have to. One that need not may come out before others that have been served
 * and not run yet. */
static void join_line(int id, bool waits)
{
    line.overtaken[id] = false;
    line.ids[line.count++] = id;
    line.waits[id] = waits;
}

static void leave_line(int id, bool served)
{
    int at = 0;
    while (line.ids[at] != id)
        at++;
    if (served && in_order && line.waits[id]) {
        assert_false(line.overtaken[id]);
        for (int i = 0; i < at; i++)
            line.overtaken[line.ids[i]] = true;
    }
    memmove(&line.ids[at], &line.ids[at + 1], (size_t)(--line.count - at) * sizeof line.ids[0]);
}

/* ---- lock, semaphore ---- */

static async_lock lock;
static async_semaphore semaphore;
static int inside, most;

static void hold(void)
{
    assert_in_range(++inside, 1, most);
    rest();
    inside--;
}

static void begin_lock(void)
{
    memset(&line, 0, sizeof line);
    lock = (async_lock){0};
    inside = 0;
    most = 1;
}

static int use_lock(int id)
{
    for (int step = 0; step < STEPS; step++) {
        int code = -ETIMEDOUT;
        rest();
        if (chance(5) == 0) {
            if (async_lock_try(&lock) < 0) continue;
            hold();
            assert_int_equal(async_lock_release(&lock), 0);
            continue;
        }
        join_line(id, true);
        async_timeout (patience())
            code = async_lock_acquire(&lock);
        leave_line(id, code == 0);
        go_on();
        if (code < 0) continue;
        hold();
        assert_int_equal(async_lock_release(&lock), 0);
    }
    return 0;
}

static void end_lock(void)
{
    assert_false(async_lock_locked(&lock));
    assert_null(lock.waiters.first);
}

static void begin_semaphore(void)
{
    memset(&line, 0, sizeof line);
    most = 1 + chance(3);
    semaphore = (async_semaphore)ASYNC_BOUNDED_SEMAPHORE_INIT(most);
    inside = 0;
}

static int use_semaphore(int id)
{
    for (int step = 0; step < STEPS; step++) {
        int code = -ETIMEDOUT;
        rest();
        join_line(id, async_semaphore_locked(&semaphore));
        async_timeout (patience())
            code = async_semaphore_acquire(&semaphore);
        leave_line(id, code == 0);
        go_on();
        if (code < 0) continue;
        hold();
        assert_int_equal(async_semaphore_release(&semaphore), 0);
        assert_false(semaphore.value > 0 && semaphore.waiters.first);
    }
    return 0;
}

static void end_semaphore(void)
{
    assert_int_equal(async_semaphore_value(&semaphore), most);
    assert_int_equal(async_semaphore_release(&semaphore), -EINVAL);
}

/* ---- read-write lock ---- */

static async_rwlock rwlock;
static int readers, writers;

static void begin_rwlock(void)
{
    memset(&line, 0, sizeof line);
    rwlock = (async_rwlock){0};
    readers = writers = 0;
}

static int use_rwlock(int id)
{
    for (int step = 0; step < STEPS; step++) {
        bool writes = chance(3) == 0;
        int code = -ETIMEDOUT;
        rest();
        join_line(id, rwlock.waiters.first || rwlock.writer || (writes && rwlock.readers));
        async_timeout (patience())
            code =
                writes ? async_rwlock_acquire_write(&rwlock) : async_rwlock_acquire_read(&rwlock);
        leave_line(id, code == 0);
        go_on();
        if (code < 0) continue;
        writers += writes;
        readers += !writes;
        assert_true(writers ? writers == 1 && readers == 0 : readers > 0);
        rest();
        writers -= writes;
        readers -= !writes;
        assert_int_equal(async_rwlock_release(&rwlock), 0);
    }
    return 0;
}

static void end_rwlock(void)
{
    assert_int_equal(async_rwlock_release(&rwlock), -EPERM);
    assert_null(rwlock.waiters.first);
}

/* ---- condition: a buffer with a bound ---- */

static async_condition not_empty = {.lock = &lock}, not_full = {.lock = &lock};
static int stock, produced, consumed;

static bool has_item(void *unused) { return (void)unused, stock > 0; }
static bool has_room(void *unused) { return (void)unused, stock < 2; }

static void begin_condition(void)
{
    begin_lock();
    stock = produced = consumed = 0;
}

/* Half of them produce, half consume, the same number. */
static int use_condition(int id)
{
    bool produces = id % 2;
    async_condition *mine = produces ? &not_full : &not_empty;
    async_condition *theirs = produces ? &not_empty : &not_full;
    for (int left = STEPS; left > 0;) {
        int code = -ETIMEDOUT;
        rest();
        if (async_condition_acquire(mine) < 0) {
            go_on();
            continue;
        }
        async_timeout (patience())
            code = async_condition_wait_for(mine, produces ? has_room : has_item, NULL);
        go_on();
        assert_int_equal(++inside, 1); /* the lock is held, however the wait has ended */
        if (code == 0) {
            left--;
            stock += produces ? 1 : -1;
            produced += produces;
            consumed += !produces;
            assert_in_range(stock, 0, 2);
            if (chance(2)) rest();
            assert_int_equal(async_condition_notify(theirs, 1), 0);
        }
        inside--;
        assert_int_equal(async_condition_release(mine), 0);
    }
    return 0;
}

static void end_condition(void)
{
    end_lock();
    assert_int_equal(produced, WORKERS / 2 * STEPS);
    assert_int_equal(consumed, produced);
    assert_null(not_empty.waiters.first);
    assert_null(not_full.waiters.first);
}

/* ---- barrier ---- */

static async_barrier barrier;
static int passed[WORKERS], working;

static void begin_barrier(void)
{
    barrier = (async_barrier)ASYNC_BARRIER_INIT(1 + chance(4));
    memset(passed, 0, sizeof passed);
    working = WORKERS;
}

static int use_barrier(int id)
{
    (void)id;
    for (int step = 0; step < STEPS; step++) {
        int result = -ETIMEDOUT;
        rest();
        if (chance(12) == 0) async_barrier_reset(&barrier);
        async_timeout (chance(2) ? chance(4) : 10) /* others may have ended */
            result = async_barrier_wait(&barrier);
        go_on();
        assert_in_range(async_barrier_n_waiting(&barrier), 0, barrier.parties - 1);
        if (result >= 0) passed[result]++;
        if (result < 0)
            assert_true(result == -ETIMEDOUT || result == -ECANCELED ||
                        result == ASYNC_EBROKENBARRIER);
    }
    if (--working == 0) assert_int_equal(async_barrier_n_waiting(&barrier), 0);
    return 0;
}

/* Each round has given each number once. */
static void end_barrier(void)
{
    for (int i = 1; i < barrier.parties; i++)
        assert_int_equal(passed[i], passed[0]);
    assert_null(barrier.waiters.first);
}

/* ---- once, and a latch ---- */

static async_once once;
static async_latch latch;
static int running, runs, succeeded;

static int run_once(void *unused)
{
    (void)unused;
    assert_int_equal(++running, 1);
    runs++;
    int code = async_sleep(1 + chance(3));
    if (code == 0 && chance(3) == 0) code = -EIO;
    running--;
    if (code == 0) assert_int_equal(++succeeded, 1);
    return code < 0 ? code : 5;
}

static void begin_once(void)
{
    once = (async_once){0};
    latch = (async_latch)ASYNC_LATCH_INIT(WORKERS);
    running = runs = succeeded = 0;
}

static int use_once(int id)
{
    int code;
    (void)id;
    do {
        rest();
        code = -ETIMEDOUT;
        async_timeout (patience())
            code = async_once_run(&once, run_once, NULL);
        go_on();
        assert_true(code == 5 || code == -EIO || code == -ETIMEDOUT || code == -ECANCELED);
    } while (code != 5);
    assert_int_equal(succeeded, 1);
    assert_int_equal(async_latch_count_down(&latch), 0);
    do {
        async_timeout (patience())
            code = async_latch_wait(&latch);
        go_on();
        if (code == 0) assert_int_equal(async_latch_count(&latch), 0);
    } while (code < 0);
    return 0;
}

static void end_once(void)
{
    assert_true(async_once_done(&once));
    assert_int_equal(succeeded, 1);
    assert_null(once.waiters.first);
}

/* ---- event and future ---- */

static async_event event;
static async_future future;
static int sets; /* of the event */

static void begin_event(void)
{
    event = (async_event)ASYNC_EVENT_INIT;
    future = (async_future)ASYNC_FUTURE_INIT;
    sets = 0;
}

static void set_event(void)
{
    sets++;
    async_event_set(&event);
}

/* At last it is set for good: a waiter that is not woken then is a deadlock. */
static int drive_event(void)
{
    for (int i = 0; i < STEPS; i++) {
        rest();
        if (chance(2))
            set_event();
        else
            async_event_clear(&event);
    }
    set_event();
    rest();
    assert_int_equal(async_future_set(&future, 5, &event), 0);
    assert_int_equal(async_future_set(&future, 6, NULL), -EALREADY);
    return 0;
}

static int use_event(int id)
{
    int code;

    if (id == 0) return drive_event();
    for (int i = 0; i < STEPS; i++) {
        rest();
        int before = sets - async_event_is_set(&event);
        code = -ETIMEDOUT;
        async_timeout (patience())
            code = async_event_wait(&event);
        go_on();
        if (code == 0)
            assert_true(sets > before); /* it was set when the wait began, or since */
        else
            assert_true(code == -ETIMEDOUT || code == -ECANCELED);
    }
    do {
        void *value = NULL;
        code = -ETIMEDOUT;
        async_timeout (patience())
            code = async_future_wait(&future, &value);
        go_on();
        if (code == 5)
            assert_ptr_equal(value, &event);
        else
            assert_null(value);
    } while (code != 5);
    return 0;
}

static void end_event(void)
{
    assert_null(event.waiters.first);
    assert_null(future.waiters.first);
}

/* ---- queues, in three orders, and the one between threads ---- */

enum { ITEMS = WORKERS / 2 * STEPS };

static async_queue *queues[2];
static async_thread_queue *shared; /* in place of queues[0] */
static int kind, put_count, got_count, finished;
static int last_got[2]; /* by one that need not wait, and by one that must: each kind in order */
static char fate[ITEMS * 8]; /* of each item: 0, put, got */

static int by_number(const void *a, const void *b)
{
    return (*(const int *)a % 5) - (*(const int *)b % 5);
}

static async_queue *new_queue(void)
{
    size_t maxsize = (size_t)chance(3);
    return kind == 0   ? async_queue_new(sizeof(int), maxsize)
           : kind == 1 ? async_lifo_queue_new(sizeof(int), maxsize)
                       : async_priority_queue_new(sizeof(int), maxsize, by_number);
}

static int put(async_queue *queue, const int *number)
{
    return shared ? async_thread_queue_put(shared, number) : async_queue_put(queue, number);
}

static int put_nowait(async_queue *queue, const int *number)
{
    return shared ? async_thread_queue_put_nowait(shared, number)
                  : async_queue_put_nowait(queue, number);
}

static int get(int *number)
{
    return shared ? async_thread_queue_get(shared, number) : async_queue_get(queues[0], number);
}

static bool is_empty(void)
{
    return shared ? async_thread_queue_empty(shared) : async_queue_empty(queues[0]);
}

static int task_done(void)
{
    return shared ? async_thread_queue_task_done(shared) : async_queue_task_done(queues[0]);
}

static int join(void)
{
    return shared ? async_thread_queue_join(shared) : async_queue_join(queues[0]);
}

static int numbers;

static void begin_queue(void)
{
    kind = chance(3);
    queues[0] = new_queue();
    shared = NULL;
    queues[1] = NULL;
    numbers = put_count = got_count = finished = 0;
    last_got[0] = last_got[1] = -1;
    memset(fate, 0, sizeof fate);
}

static void note_put(int number, int code)
{
    if (code < 0) return;
    put_count++;
    assert_true(fate[number] == 0 || fate[number] == 'g'); /* may have been got by now */
    if (fate[number] == 0) fate[number] = 'p';
}

static void note_got(int number, bool waits)
{
    assert_in_range(number, 0, numbers - 1);
    assert_int_not_equal(fate[number], 'g');
    fate[number] = 'g';
    got_count++;
    if (kind == 0 && in_order && !queues[1]) {
        assert_true(number > last_got[waits]);
        last_got[waits] = number;
    }
}

static int produce(async_queue *queue)
{
    int number = numbers++, code = -ETIMEDOUT;
    assert_true(numbers < (int)sizeof fate);
    if (chance(4) == 0)
        code = put_nowait(queue, &number);
    else
        async_timeout (patience())
            code = put(queue, &number);
    go_on();
    note_put(number, code);
    return code;
}

static int use_queue(int id)
{
    for (int left = STEPS; left > 0;) {
        int number = -1, code = -ETIMEDOUT;
        rest();
        if (id % 2) {
            left -= produce(queues[0]) == 0;
            continue;
        }
        bool waits = is_empty();
        async_timeout (patience())
            code = get(&number);
        go_on();
        if (code < 0) {
            assert_int_equal(number, -1);
            continue;
        }
        left--;
        note_got(number, waits);
        assert_int_equal(task_done(), 0);
    }
    if (++finished == WORKERS) assert_int_equal(join(), 0);
    return 0;
}

static void end_queue(void)
{
    assert_int_equal(put_count, ITEMS);
    assert_int_equal(got_count, ITEMS);
    assert_true(is_empty());
    assert_int_equal(task_done(), -EINVAL);
    async_queue_free(queues[0]);
    async_thread_queue_free(shared);
    shared = NULL;
}

static void begin_thread_queue(void)
{
    begin_queue();
    kind = 0;
    shared = async_thread_queue_new(sizeof(int), (size_t)chance(3));
}

/* ---- select: gets from either queue or takes a place of the semaphore ---- */

static async_event event;

static void begin_select(void)
{
    begin_queue();
    begin_semaphore();
    queues[1] = new_queue();
    event = (async_event){0};
}

/* Two produce into either queue, by select too, two consume, one holds places, one sets the event. */
static int produce_either(int left)
{
    while (left > 0) {
        int number = numbers++;
        assert_true(numbers < (int)sizeof fate);
        async_case cases[] = {async_case_put(queues[0], &number),
                              async_case_put(queues[1], &number), async_case_after(patience())};
        rest();
        int which = async_select(cases, 3);
        go_on();
        note_put(number, which == 0 || which == 1 ? 0 : -1);
        left -= which == 0 || which == 1;
    }
    return 0;
}

static int select_all(int left)
{
    while (left > 0) {
        int items[] = {-1, -1};
        async_case cases[] = {
            async_case_get(queues[0], &items[0]), async_case_get(queues[1], &items[1]),
            async_case_semaphore(&semaphore),     async_case_event(&event),
            async_case_task(workers[5]),          async_case_after(patience()),
        };
        /* Only one may wait for a task; and when that has ended it is always ready. */
        if (async_task_done(workers[5]) || chance(2)) cases[4] = (async_case){0};
        rest();
        int which = async_select(cases, 6);
        go_on();
        for (int i = 0; i < 2; i++)
            assert_int_equal(items[i] >= 0, which == i);
        if (which == 0 || which == 1) {
            note_got(items[which], false);
            left--;
        } else if (which == 2) {
            hold();
            assert_int_equal(async_semaphore_release(&semaphore), 0);
        } else if (which == 3) {
            async_event_clear(&event);
        } else {
            assert_true(which == 4 || which == 5 || which == -ECANCELED || which == -EBUSY);
        }
    }
    return 0;
}

static int use_select(int id)
{
    if (id < 2) return produce_either(STEPS);
    if (id < 4) return select_all(STEPS);
    if (id == 4) return use_semaphore(id);
    for (int step = 0; step < STEPS; step++) {
        rest();
        async_event_set(&event);
    }
    return 0;
}

static void end_select(void)
{
    end_semaphore();
    assert_int_equal(put_count, 2 * STEPS);
    assert_int_equal(got_count, 2 * STEPS);
    for (int i = 0; i < 2; i++) {
        assert_true(async_queue_empty(queues[i]));
        async_queue_free(queues[i]);
    }
}

#define MODEL(name) MODEL_AS(name, name)
#define MODEL_AS(name, uses)                                                                       \
    static void test_##name(void **unused)                                                         \
    {                                                                                              \
        (void)unused;                                                                              \
        with_seeds(#name, begin_##name, use_##uses, end_##uses);                                   \
    }

MODEL(lock)
MODEL(semaphore)
MODEL(rwlock)
MODEL(condition)
MODEL(barrier)
MODEL(once)
MODEL(event)
MODEL(queue)
MODEL_AS(thread_queue, queue)
MODEL(select)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock),    cmocka_unit_test(test_semaphore),
        cmocka_unit_test(test_rwlock),  cmocka_unit_test(test_condition),
        cmocka_unit_test(test_barrier), cmocka_unit_test(test_once),
        cmocka_unit_test(test_event),   cmocka_unit_test(test_thread_queue),
        cmocka_unit_test(test_queue),   cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
