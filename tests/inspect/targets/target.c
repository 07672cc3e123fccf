/* A program to be looked into: says "ready" once what its first argument names is so, and stays so. */
#include <casyncio.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipe_ends[2];

static void ready(void)
{
    puts("ready");
    fflush(stdout);
}

/* Two frames, none of which is left by a jump. */
__attribute__((noinline)) static int nap(void)
{
    int code = async_sleep(3600);
    __asm__ volatile("");
    return code;
}

static int sleeper(void *argument)
{
    (void)argument;
    int code = nap();
    __asm__ volatile("");
    return code;
}

static int reader(void *argument)
{
    char byte;

    (void)argument;
    return (int)async_stream_read(async_stream_from_fd(pipe_ends[0]), &byte, 1);
}

static async_lock lock;

static int holder(void *argument)
{
    (void)argument;
    async_lock_acquire(&lock);
    return async_sleep(3600);
}

static int waiter(void *argument)
{
    (void)argument;
    return async_lock_acquire(&lock);
}

static int announcer(void *argument)
{
    (void)argument;
    ready();
    return async_sleep(3600);
}

/* Everything at once: await, gather, a group, a lock, a descriptor. */
static int all_kinds(void *argument)
{
    (void)argument;
    async_task *named = async_create_task_with(
        sleeper, NULL,
        &(async_task_options){.name = "a \033[31mred\n name", .coroutine = "sleeper"});
    async_with_group (group) {
        async_group_create_task(group, holder);
        async_group_create_task(group, waiter);
        async_group_create_task(group, reader);
        async_task *rest[] = {named, async_create_task(announcer)};
        async_gather_array(rest, 2);
    }
    return 0;
}

static int many(void *argument)
{
    int count = *(int *)argument;

    async_with_group (group) {
        for (int i = 0; i < count; i++)
            async_group_create_task(group, sleeper);
        async_group_create_task(group, announcer);
    }
    return 0;
}

static int chain(void *argument)
{
    intptr_t left = (intptr_t)argument;

    if (left == 0) {
        ready();
        return async_sleep(3600);
    }
    return async_await(async_create_task_with(chain, (void *)(left - 1),
                                              &(async_task_options){.coroutine = "chain"}));
}

/* Tasks come and go all the time. */
static int brief(void *argument)
{
    (void)argument;
    return async_sleep(0);
}

static int churn(void *argument)
{
    async_task *tasks[50];

    (void)argument;
    async_detach(async_create_task(announcer));
    int code = 0;
    while (code == 0) {
        for (int i = 0; i < 50; i++)
            tasks[i] = async_create_task(brief);
        for (int i = 0; i < 50 && code == 0; i++)
            code = async_await(tasks[i]);
    }
    return code;
}

/* One task computes half of the time, one has jobs done in threads, and others wait. */
static int burner(void *argument)
{
    int code = 0;

    (void)argument;
    while (code == 0) {
        double until = async_loop_time(async_get_running_loop()) + 0.01;
        while (async_loop_time(async_get_running_loop()) < until)
            continue;
        code = async_sleep(0.01);
    }
    return code;
}

static int job(void *argument)
{
    (void)argument;
    usleep(1000);
    return 0;
}

static int worker(void *argument)
{
    int code = 0;

    (void)argument;
    while (code >= 0)
        code = async_to_thread(job, NULL);
    return code;
}

static int busy(void *argument)
{
    (void)argument;
    async_with_group (group) {
        async_group_create_task(group, burner);
        async_group_create_task(group, worker);
        async_group_create_task(group, reader);
        async_group_create_task(group, announcer);
    }
    return 0;
}

__attribute__((noinline)) static void spin(void)
{
    for (volatile unsigned long turns = 0;; turns++)
        ;
}

static int wedged(void *argument)
{
    (void)argument;
    async_detach(async_create_task(sleeper));
    async_sleep(0);
    ready();
    spin();
    return 0;
}

static int blocked(void *argument)
{
    char byte;

    (void)argument;
    async_detach(async_create_task(sleeper));
    async_sleep(0);
    ready();
    ssize_t got = read(pipe_ends[0], &byte, 1);
    return (int)got;
}

/* A deadlock that the loop cannot see, since it watches a descriptor. */
static async_lock first, second;

static int one_way(void *argument)
{
    (void)argument;
    async_lock_acquire(&first);
    async_sleep(0);
    return async_lock_acquire(&second);
}

static int other_way(void *argument)
{
    (void)argument;
    async_lock_acquire(&second);
    async_sleep(0);
    return async_lock_acquire(&first);
}

static int deadlock(void *argument)
{
    (void)argument;
    async_with_group (group) {
        async_group_create_task(group, reader);
        async_group_create_task(group, one_way);
        async_group_create_task(group, other_way);
        for (int i = 0; i < 5; i++)
            async_sleep(0);
        ready();
    }
    return 0;
}

static int crash(void *argument)
{
    (void)argument;
    async_detach(async_create_task(sleeper));
    async_sleep(0);
    ready();
    raise(SIGABRT);
    return 0;
}

/* What a program has by its address alone. */
static async_queue *some_queue;
static async_stream *some_stream;
static async_file *volatile some_file; /* for the debugger alone */
static async_group *volatile some_group;

static int puts_one_more(void *argument)
{
    int item = 3;

    (void)argument;
    return async_queue_put(some_queue, &item);
}

static int reads_some(void *argument)
{
    char byte;

    (void)argument;
    return (int)async_stream_read(some_stream, &byte, 1);
}

static int objects(void *argument)
{
    (void)argument;
    some_queue = async_queue_new(sizeof(int), 2);
    some_stream = async_stream_from_fd(pipe_ends[0]);
    some_file = async_file_open("/dev/null", "r");
    async_queue_put_nowait(some_queue, &(int){1});
    async_queue_put_nowait(some_queue, &(int){2});
    async_with_group (group) {
        some_group = group;
        async_group_create_task(group, puts_one_more);
        async_group_create_task(group, reads_some);
        async_group_create_task(group, announcer);
    }
    return 0;
}

static int graph(void *argument)
{
    (void)argument;
    async_detach(async_create_task(sleeper));
    async_detach(async_create_task(holder));
    async_detach(async_create_task(waiter));
    async_sleep(0);
    async_sleep(0);
    char *text = async_format_call_graph();
    fputs(text ? text : "?\n", stdout);
    free(text);
    ready();
    return pause();
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    static int number;
    static const struct {
        const char *name;
        async_coroutine run;
    } known[] = {{"all", all_kinds},     {"many", many},       {"churn", churn},
                 {"wedged", wedged},     {"blocked", blocked}, {"deadlock", deadlock},
                 {"crash", crash},       {"graph", graph},     {"chain", chain},
                 {"sleeper", announcer}, {"busy", busy},       {"objects", objects}};

    if (pipe(pipe_ends) < 0) return 1;
    number = count > 2 ? atoi(arguments[2]) : 10;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, what) == 0) {
            void *argument = strcmp(what, "chain") == 0 ? (void *)(intptr_t)number : &number;
            return async_run(known[i].run, argument) < 0;
        }
    return 2;
}
