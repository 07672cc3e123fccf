// The same for C++: functions, upper-case block macros, and no lower-case macro in the way of a
// class's members. Tasks that await inside of a catch block keep their own exceptions.
#include <casyncio.h>
#include <cstdio>
#include <exception>
#include <string>

struct connection {
    template <class Handler, class Token> int async_run(Handler, Token) { return 1; }
    int async_timeout (double delay) { return static_cast<int>(delay); }
    int async_generate(int a, int b, int c) { return a + b + c; }
    int async_with (int a, int b, int c, int d) { return a + b + c + d; }
    int async_for (int a, int b, int c) { return a + b + c; }
    int async_gather(int a) { return a; }
    int async_spawn(int a, int b) { return a + b; }
    int async_create_task(int a) { return a; }
    int async_shield () { return 1; }
    int async_raise(int a) { return a; }
};

struct failure {
    std::string text;
    explicit failure(const char *from) : text(from) {}
};

static int catches(void *name)
{
    const char *expected = static_cast<const char *>(name);
    for (int i = 0; i < 3; i++) {
        try {
            throw failure(expected);
        } catch (const failure &first) {
            async_sleep(expected[0] == 'A' ? 0.001 : 0.002);
            if (first.text != expected) return -EIO;
            try {
                throw;
            } catch (const failure &again) {
                async_sleep(0);
                if (again.text != expected) return -EIO;
            }
        }
    }
    return std::uncaught_exceptions() == 0 ? 0 : -EIO;
}

struct fetch {
    const char *url;
    int retries;
};
static int run_fetch(fetch *self) { return self->retries; }

struct guard {
    int *left;
};
static void leave(guard *self) { ++*self->left; }

static int tick() { return async_sleep(0); }

static int numbers(async_generator *self, void *)
{
    for (int i = 0; i < 3; i++) {
        int code = async_yield(self, &i);
        if (code < 0) return code;
    }
    return 0;
}

static int blocks()
{
    int left = 0, sum = 0;
    async_lock lock = async_lock();
    try {
        ASYNC_WITH(guard, inside, {&left}, leave)
        {
            if (inside.left != &left) return -EINVAL;
            throw failure("leaves the block");
        }
    } catch (const failure &) {
        sum++;
    }
    ASYNC_WITH(async_queue *, queue, async_queue_new(sizeof(int), 1), async_queue_free)
    ASYNC_WITH_LOCK(&lock)
    ASYNC_TIMEOUT(1)
    ASYNC_SHIELD()
    sum += async_queue_empty(queue);
    ASYNC_WITH_GROUP(group)
    {
        async_group_create_task(group, catches, const_cast<char *>("C"));
        async_group_spawn(group, run_fetch, fetch{"b", 2});
        async_group_create_task(group, tick);
    }
    ASYNC_FOR(int, number, async_generate(numbers, nullptr, sizeof(int)))
    sum += number;
    int code = async_block_error();
    if (code < 0) return code;
    return left == 1 && sum == 5 ? 0 : async_raise(-EINVAL, "%d and %d", left, sum);
}

static int synchronizes()
{
    async_lock lock = ASYNC_LOCK_INIT;
    async_semaphore two = ASYNC_BOUNDED_SEMAPHORE_INIT(2), one = ASYNC_SEMAPHORE_INIT(1);
    async_condition changed = ASYNC_CONDITION_INIT, other = ASYNC_CONDITION_INIT_WITH(&lock);
    async_rwlock rwlock = ASYNC_RWLOCK_INIT;
    async_barrier barrier = ASYNC_BARRIER_INIT(1);
    async_once once = ASYNC_ONCE_INIT;
    async_latch latch = ASYNC_LATCH_INIT(1);
    int inside = 0;
    ASYNC_WITH_SEMAPHORE(&two)
    ASYNC_WITH_SEMAPHORE(&one)
    ASYNC_WITH_CONDITION(&changed)
    ASYNC_WITH_CONDITION(&other)
    ASYNC_WITH_READ_LOCK(&rwlock)
    inside++;
    ASYNC_WITH_WRITE_LOCK(&rwlock)
    inside += async_semaphore_value(&two);
    async_case cases[] = {async_case_latch(&latch), async_case_after(0)};
    inside += async_select(cases, 2);
    int code = async_once_run(
        &once, [](void *) { return 1; }, nullptr);
    return inside == 4 && code == 1 && async_barrier_wait(&barrier) == 0 ? 0 : -EINVAL;
}

static int main_task(void *)
{
    char a[] = "A, a text that is long enough for the heap";
    char b[] = "B, a text that is long enough for the heap";
    int code = async_gather(async_create_task(catches, a), async_create_task(catches, b),
                            async_create_task(tick), async_spawn(run_fetch, fetch{"a", 0}));
    if (code == 0) code = blocks();
    if (code == 0) code = synchronizes();
    if (code < 0) return code;
    async_raise(-EIO, "here");
    return std::string(async_error_where()).find("in main_task") == std::string::npos ? -EINVAL : 0;
}

int main()
{
    connection c;
    int members = c.async_run(1, 2) + c.async_timeout (1) + c.async_generate(1, 2, 3) +
                  c.async_with (1, 1, 1, 1) + c.async_for (1, 1, 1) + c.async_gather(1) +
                  c.async_spawn(1, 1) + c.async_create_task(1) + c.async_shield () +
                  c.async_raise(1);
    async_run_options options = async_run_options();
    options.name = "chief";
    int code = async_run(main_task);
    if (code == 0) code = async_run_with(tick, nullptr, &options);
    if (code < 0) std::printf("%s\n", async_run_error_message());
    return code < 0 || members != 21;
}
