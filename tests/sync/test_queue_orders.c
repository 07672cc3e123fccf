/* Queues in other orders, and what shutting down, joining and misuse do to any of them. */
#include "run.h"

struct job {
    int priority, number;
};

static int by_priority(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    return (x->priority > y->priority) - (x->priority < y->priority);
}

static void put(async_queue *queue, int priority, int number)
{
    struct job job = {priority, number};
    assert_int_equal(async_queue_put(queue, &job), 0);
}

static void note_all(async_queue *queue)
{
    struct job job;
    while (async_queue_get_nowait(queue, &job) == 0)
        note("%d/%d", job.priority, job.number);
}

static int orders(void *unused)
{
    (void)unused;
    async_queue *heap = async_priority_queue_new(sizeof(struct job), 0, by_priority);
    async_queue *stack = async_lifo_queue_new(sizeof(struct job), 0);
    for (int i = 0; i < 12; i++) {
        put(heap, i * 5 % 4, i);
        put(stack, 0, i);
    }
    note_all(heap);
    assert_notes("0/0 0/4 0/8 1/1 1/5 1/9 2/2 2/6 2/10 3/3 3/7 3/11 ");
    note_all(stack);
    assert_notes("0/11 0/10 0/9 0/8 0/7 0/6 0/5 0/4 0/3 0/2 0/1 0/0 ");
    async_queue_free(heap);
    async_queue_free(stack);
    return 0;
}

struct putter {
    async_queue *queue;
    int priority;
};

static int putter(struct putter *self)
{
    struct job job = {self->priority, 0};
    return async_queue_put(self->queue, &job);
}

/* Putters come in as there is room, in their order; what is in the queue comes out in its own. */
static int full(void *unused)
{
    (void)unused;
    async_queue *queue = async_priority_queue_new(sizeof(struct job), 2, by_priority);
    put(queue, 5, 0);
    put(queue, 4, 0);
    async_task *tasks[] = {async_spawn(putter, queue, 3), async_spawn(putter, queue, 1)};
    async_sleep(0);
    note_all(queue);
    assert_int_equal(async_gather_array(tasks, 2), 0);
    assert_notes("4/0 3/0 1/0 5/0 ");
    async_queue_free(queue);
    return 0;
}

/* Against a plain search for the least, over many sizes; items of odd sizes keep their bytes. */
static int agrees(void *unused)
{
    (void)unused;
    enum { MANY = 500 };
    struct odd {
        struct job job;
        char text[13];
    };
    uint64_t state = 1;
    static struct odd model[MANY];
    int count = 0;
    async_queue *queue = async_priority_queue_new(sizeof(struct odd), 0, by_priority);
    for (int i = 0; i < 20000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (count < MANY && (state >> 60) < (i / 1000 % 2 ? 9 : 7)) {
            struct odd odd = {.job = {(int)(state >> 40 & 31), i}};
            snprintf(odd.text, sizeof odd.text, "%d", i);
            model[count++] = odd;
            assert_int_equal(async_queue_put_nowait(queue, &odd), 0);
        } else if (count > 0) {
            int least = 0;
            for (int k = 1; k < count; k++)
                if (model[k].job.priority < model[least].job.priority) least = k;
            struct odd got;
            assert_int_equal(async_queue_get_nowait(queue, &got), 0);
            assert_int_equal(got.job.number, model[least].job.number);
            assert_string_equal(got.text, model[least].text);
            memmove(&model[least], &model[least + 1],
                    (size_t)(--count - least) * sizeof *model); /* keeps their order */
        }
        assert_int_equal(async_queue_size(queue), count);
    }
    async_queue_free(queue);
    return 0;
}

static int joins(void *queue)
{
    int code = async_queue_join(queue);
    note("%s@%d", async_error_name(code), tenths());
    return code;
}

/* cpython 3.13's rules: what is dropped counts as worked off; what has been got does not. */
static int shuts_down(void *unused)
{
    (void)unused;
    for (int kind = 0; kind < 3; kind++) {
        async_queue *queue = kind == 0 ? async_queue_new(sizeof(struct job), 0)
                             : kind == 1
                                 ? async_lifo_queue_new(sizeof(struct job), 0)
                                 : async_priority_queue_new(sizeof(struct job), 0, by_priority);
        struct job job;
        for (int i = 0; i < 3; i++)
            put(queue, 1, i);
        assert_int_equal(async_queue_get(queue, &job), 0);
        async_task *task = async_create_task(joins, queue);
        double start = async_now();
        async_queue_shutdown(queue, false);
        assert_int_equal(async_queue_size(queue), 2);
        async_queue_shutdown(queue, true);
        assert_int_equal(async_queue_size(queue), 0);
        assert_int_equal(async_queue_get(queue, &job), ASYNC_ESHUTDOWN);
        async_sleep(1);
        assert_notes("");
        assert_int_equal(async_queue_task_done(queue), 0);
        assert_int_equal(async_await(task), 0);
        assert_true(async_now() - start > 0.9);
        notes[0] = 0;
        assert_int_equal(async_queue_task_done(queue), -EINVAL);
        async_queue_free(queue);
    }
    return 0;
}

/* task_done for items that are still in the queue, and then these are dropped. */
static int done_too_early(void *unused)
{
    (void)unused;
    async_queue *queue = async_queue_new(sizeof(struct job), 0);
    for (int i = 0; i < 3; i++)
        put(queue, 1, i);
    for (int i = 0; i < 2; i++)
        assert_int_equal(async_queue_task_done(queue), 0);
    async_queue_shutdown(queue, true);
    assert_int_equal(async_queue_join(queue), 0);
    assert_int_equal(async_queue_task_done(queue), -EINVAL);
    async_queue_free(queue);
    return 0;
}

static int misuse(void *unused)
{
    (void)unused;
    struct job job = {0};
    assert_null(async_priority_queue_new(sizeof job, 0, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_string_equal(async_error_message(),
                        "async_priority_queue_new: no function that compares items");
    assert_null(async_priority_queue_new(0, 0, by_priority));
    assert_string_equal(async_error_message(), "async_priority_queue_new: items of 0 bytes");
    assert_null(async_lifo_queue_new(0, 0));
    assert_null(async_queue_new(SIZE_MAX - 3, 0));
    assert_int_equal(async_error_code(), -ENOMEM);
    async_queue *queue = async_lifo_queue_new(SIZE_MAX / 4, 0);
    assert_int_equal(async_queue_put(queue, &job), -ENOMEM);
    assert_int_equal(async_queue_put(queue, NULL), -EINVAL);
    assert_string_equal(async_error_message(), "async_queue_put: the item is NULL");
    assert_int_equal(async_queue_get(queue, NULL), -EINVAL);
    assert_int_equal(async_queue_put_nowait(queue, NULL), -EINVAL);
    assert_int_equal(async_queue_get_nowait(queue, NULL), -EINVAL);
    async_queue_free(queue);
    assert_int_equal(async_queue_put(NULL, &job), -EBADF);
    assert_int_equal(async_queue_task_done(NULL), -EBADF);
    assert_int_equal(async_queue_join(NULL), -EBADF);
    async_queue_shutdown(NULL, true);
    return 0;
}

TEST(orders)
TEST(full)
TEST(agrees)
TEST(shuts_down)
TEST(done_too_early)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),         cmocka_unit_test(test_full),
        cmocka_unit_test(test_agrees),         cmocka_unit_test(test_shuts_down),
        cmocka_unit_test(test_done_too_early), cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
