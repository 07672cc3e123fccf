/* The shapes in which a C program may use the macros: compiled by test_shapes.sh with every warning an
 * error, and run. With WRONG=1, 2, ... one line is added that must not compile. */
#include <casyncio.h>
#include <stdio.h>
#include <stdlib.h>

static int tick(void)
{
    fputs("tick ", stdout);
    return async_sleep(0.01);
}

static int count(void *number)
{
    ++*(int *)number;
    return 0;
}

struct point {
    int x, y;
};

static int sum(void *argument)
{
    const struct point *point = argument;
    return point->x + point->y;
}

struct greet {
    char name[32];
    int times;
};

static int greet(struct greet *self)
{
    printf("%s*%d ", self->name, self->times);
    return 0;
}

struct fetch {
    const char *url;
    int retries;
};

static int fetch(struct fetch *self)
{
    printf("%s*%d ", self->url, self->retries);
    return self->retries;
}

struct door {
    int number;
};

static void door_exit(struct door *door) { printf("door%d ", door->number); }
static int door_exit_with_code(struct door *door) { return -door->number; }

static int numbers(async_generator *self, void *unused)
{
    (void)unused;
    for (long i = 0; i < 3; i++) {
        int code = async_yield(self, &i);
        if (code < 0) return code;
    }
    return 0;
}

struct large {
    char bytes[ASYNC_ARGUMENT_MAX + 1];
};

static int large(struct large *self) { return self->bytes[0]; }

static int tasks(void)
{
    int number = 0;
    struct greet ada = {.name = "Ada", .times = 2};
    int code = async_gather(async_create_task(count, &number), async_create_task(tick, NULL),
                            async_create_task(tick), async_spawn_copy(greet, ada),
                            async_spawn(fetch, .url = "a,b", .retries = 3),
                            async_create_task(sum, &(struct point){1, 2}),
                            async_create_task(sum, (&(struct point){.x = 1, .y = 2})));
    if (code < 0) return code;
    async_with_group (group) {
        async_group_create_task(group, tick);
        async_group_create_task(group, count, &number);
        async_group_create_task(group, sum, &(struct point){1, 2});
        async_group_spawn(group, fetch, "c", 4);
        async_group_spawn_copy(group, greet, ada);
        async_group_spawn_copy(group, greet, (struct greet){.name = "Bob", .times = 1});
    }
    printf("number=%d\n", number);
    return async_block_error();
}

static int blocks(void)
{
    async_lock lock = ASYNC_LOCK_INIT;
    async_condition changed = ASYNC_CONDITION_INIT;
    async_semaphore places = ASYNC_SEMAPHORE_INIT(1);
    async_rwlock rwlock = ASYNC_RWLOCK_INIT;
    async_future future = ASYNC_FUTURE_INIT;
    async_event event = ASYNC_EVENT_INIT;
    void *(*allocate)(size_t) = malloc;

    async_with (struct door, one, {1}, door_exit)
        async_with (struct door, two, {2}, door_exit_with_code)
            async_with (async_queue *, queue, async_queue_new(sizeof(int), 1), async_queue_free)
                async_with (char *, text, allocate(10), free)
                    async_with (void *, bytes, allocate(10), free)
                        async_with_lock (&lock)
                            async_timeout (1)
                                async_shield () {
                                    if (!queue || !text || !bytes || one.number > two.number)
                                        return -EINVAL;
                                }
    async_with_condition (&changed)
        async_with_semaphore (&places)
            async_with_read_lock (&rwlock)
                if (async_rwlock_try_write(&rwlock) != -EBUSY) return -EINVAL;
    async_with_write_lock (&rwlock)
        if (async_rwlock_try_read(&rwlock) != -EBUSY) return -EINVAL;
    async_for (long, number, async_generate(numbers, NULL, sizeof(long)))
        printf("%ld ", number);
    if (async_future_done(&future) || async_event_is_set(&event)) return -EINVAL;
    puts("");
    return async_block_error();
}

/* Each of these is a mistake that the compiler has to find. */
static int wrong(void)
{
#if WRONG == 1
    async_with (async_stream *, stream, async_stream_from_fd(0), async_file_close)
        return 0;
#elif WRONG == 2
    async_with (struct door, door, {1}, async_queue_free)
        return 0;
#elif WRONG == 3
    async_spawn(large);
#elif WRONG == 4
    async_create_task(greet, NULL);
#elif WRONG == 5
    async_spawn_copy(greet, (struct fetch){.retries = 1});
#elif WRONG == 6
    async_spawn(count, .number = 1);
#elif WRONG == 7
    async_with_group (group)
        async_group_spawn(group, large);
#elif WRONG == 8
    async_shield (async_current_task())
        ;
#elif WRONG == 9
    async_create_task(sum(NULL));
#elif WRONG == 10
    async_run(tick());
#elif WRONG == 11
    async_with_group (group)
        async_group_create_task(group, count(NULL));
#elif WRONG == 12
    async_task *both[2] = {NULL, NULL};
    async_gather(both, 2);
#elif WRONG == 13
    async_gather(tick, tick);
#elif WRONG == 14
    int numbers_of_it[2] = {1, 2};
    async_create_task(sum, &numbers_of_it[0], &numbers_of_it[1]);
#else
    (void)large;
#endif
    return 0;
}

static int main_task(void)
{
    int code = tasks();
    if (code == 0) code = blocks();
    return code == 0 ? wrong() : code;
}

int main(void)
{
    int code = async_run(main_task);
    if (code == 0)
        code = async_run_with(tick, NULL, &(async_run_options){.name = "x", .no_signals = true});
    if (code < 0) printf("%s\n", async_run_error_message());
    return code < 0;
}
