/* probe.c - one loop for each thing whose instructions tests/bench/test_counts.sh counts, under
 * valgrind's callgrind. What is counted is dumped under the description "NAME/UNITS".
 *
 * The clock is virtual: looks outside are then counted and not timed, so that each run executes the same
 * instructions. Each loop runs a little before it is counted: what is made at its first use is there. */
#include <casyncio.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#define CALLGRIND_ZERO_STATS (void)0
#define CALLGRIND_DUMP_STATS_AT(text) (void)(text)
#endif

enum { UNITS = 2000, WARM = 300, TASKS = 1000, MESSAGE = 64 };

static void begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

static void end(const char *name, int units)
{
    char text[64];
    snprintf(text, sizeof text, "%s/%d", name, units);
    CALLGRIND_DUMP_STATS_AT(text);
    CALLGRIND_STOP_INSTRUMENTATION;
}

/* ---- tasks ---- */

static bool over;

static int yields(void *unused)
{
    (void)unused;
    while (!over)
        async_sleep(0);
    return 0;
}

/* To another task and back. */
static void switching(void)
{
    over = false;
    async_task *other = async_create_task(yields, NULL);
    for (int i = 0; i < WARM; i++)
        async_sleep(0);
    begin();
    for (int i = 0; i < UNITS; i++)
        async_sleep(0);
    end("switch", UNITS);
    over = true;
    async_await(other);
}

static int nothing(void *unused) { return (void)unused, 0; }

static void create(int count)
{
    for (int i = 0; i < count; i++)
        async_await(async_create_task(nothing, NULL));
}

static void creating(void)
{
    create(WARM);
    begin();
    create(UNITS);
    end("create+await", UNITS);
}

static int yields_once(void *unused) { return (void)unused, async_sleep(0); }

static void gather(async_task **tasks)
{
    for (int i = 0; i < TASKS; i++)
        tasks[i] = async_create_task(yields_once, NULL);
    async_gather_array(tasks, TASKS);
}

/* A task that is made among others, yields once and is gathered. */
static void gathering(void)
{
    async_task *tasks[TASKS];
    gather(tasks);
    begin();
    gather(tasks);
    end("gather", TASKS);
}

static void sleep_often(int count)
{
    for (int i = 0; i < count; i++)
        async_sleep(0.001);
}

static void sleeping(void)
{
    sleep_often(WARM);
    begin();
    sleep_often(UNITS);
    end("timer", UNITS);
}

static void limit(int count)
{
    for (int i = 0; i < count; i++) {
        async_scope scope;
        async_timeout_enter(&scope, 10);
        async_scope_leave(&scope);
    }
}

static void limiting(void)
{
    limit(WARM);
    begin();
    limit(UNITS);
    end("timeout", UNITS);
}

/* ---- two that answer each other: a message there, and one back ---- */

static async_queue *there, *back;

static int queue_answers(void *unused)
{
    int item;
    (void)unused;
    while (async_queue_get(there, &item) == 0)
        async_queue_put(back, &item);
    return 0;
}

static void queue_trips(int count)
{
    for (int i = 0; i < count; i++) {
        async_queue_put(there, &i);
        async_queue_get(back, &i);
    }
}

static void queues(void)
{
    there = async_queue_new(sizeof(int), 0);
    back = async_queue_new(sizeof(int), 0);
    async_task *other = async_create_task(queue_answers, NULL);
    queue_trips(WARM);
    begin();
    queue_trips(UNITS);
    end("queue", UNITS);
    async_queue_shutdown(there, true);
    async_await(other);
    async_queue_free(there);
    async_queue_free(back);
}

static int stream_answers(void *stream)
{
    char message[MESSAGE];
    ssize_t n;
    while ((n = async_stream_read(stream, message, sizeof message)) > 0)
        async_stream_write(stream, message, (size_t)n);
    return async_stream_close(stream);
}

static void stream_trips(async_stream *stream, int count)
{
    char message[MESSAGE] = "";
    for (int i = 0; i < count; i++) {
        async_stream_write(stream, message, sizeof message);
        async_stream_read(stream, message, sizeof message);
    }
}

static void streams(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return;
    async_stream *stream = async_stream_from_fd(pair[0]);
    async_task *other = async_create_task(stream_answers, async_stream_from_fd(pair[1]));
    stream_trips(stream, WARM);
    begin();
    stream_trips(stream, UNITS);
    end("echo", UNITS);
    async_stream_close(stream);
    async_await(other);
}

/* With room for more than a message, as programs have. */
static int raw_answers(void *fd)
{
    char message[2 * MESSAGE];
    ssize_t n;
    while ((n = async_recv(*(int *)fd, message, sizeof message, 0)) > 0)
        async_sendall(*(int *)fd, message, (size_t)n, NULL);
    return async_close(*(int *)fd);
}

static void raw_trips(int fd, int count)
{
    char message[2 * MESSAGE] = "";
    for (int i = 0; i < count; i++) {
        async_sendall(fd, message, MESSAGE, NULL);
        async_recv(fd, message, sizeof message, 0);
    }
}

static void descriptors(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return;
    async_task *other = async_create_task(raw_answers, &pair[1]);
    raw_trips(pair[0], WARM);
    begin();
    raw_trips(pair[0], UNITS);
    end("raw", UNITS);
    async_close(pair[0]);
    async_await(other);
}

static int main_task(void *unused)
{
    (void)unused;
    switching();
    creating();
    queues();
    sleeping();
    limiting();
    streams();
    descriptors();
    gathering(); /* the last: to give the memory of its stacks back takes time, by the real clock */
    return 0;
}

int main(void)
{
    return async_run_with(
               main_task, NULL,
               &(async_run_options){.loop = {.virtual_clock = true, .backend = "epoll"}}) < 0;
}
