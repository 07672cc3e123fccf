/* memory: what a task that waits costs, in bytes resident and bytes of page tables: an idle one, and one
 * that is blocked in a read on an idle connection. The limit is a bare stack with one page touched.
 * The kernel's own memory for sockets is not counted. */
#include "bench.h"

#include <casyncio.h>
#include <fiber/fiber.h>
#include <unistd.h>

#include "support/child.h"

enum { TASKS = 100000, CONNECTIONS = 10000 };

struct memory {
    double resident, tables;
};

static struct memory memory_now(void)
{
    return (struct memory){(double)bench_status("VmRSS"), (double)bench_status("VmPTE")};
}

static struct memory each(struct memory before, int count)
{
    struct memory now = memory_now();
    return (struct memory){(now.resident - before.resident) / count,
                           (now.tables - before.tables) / count};
}

static void row(const char *name, struct memory ours, struct memory limit, const char *resident_aim)
{
    char label[64];
    snprintf(label, sizeof label, "%s, resident", name);
    bench_row(label, "bytes", ours.resident, limit.resident, resident_aim);
    snprintf(label, sizeof label, "%s, page tables", name);
    bench_row(label, "bytes", ours.tables, limit.tables, "512");
}

/* ---- the limit ---- */

static struct memory bare_stacks(void)
{
    struct memory before = memory_now(), used;
    async__stack_pool *pool = async__stack_pool_new(0);
    void **tops = malloc(TASKS * sizeof *tops);

    memset(tops, 1, TASKS * sizeof *tops);
    before.resident += TASKS * sizeof *tops;
    for (int i = 0; i < TASKS; i++) {
        tops[i] = async__stack_get(pool);
        if (!tops[i]) bench_fail(async__stack_error());
        ((char *)tops[i])[-1] = 1;
    }
    used = each(before, TASKS);
    while (async__stack_pool_used(pool) > 0)
        async__stack_put(pool, tops[async__stack_pool_used(pool) - 1]);
    async__stack_pool_free(pool);
    free(tops);
    return used;
}

/* ---- idle tasks ---- */

static async_event never;

static int idle(void *unused)
{
    (void)unused;
    return async_event_wait(&never);
}

static int idle_tasks(void *result)
{
    struct memory before = memory_now();

    for (int i = 0; i < TASKS; i++) {
        async_task *task = async_create_task(idle, NULL);
        if (!task) return -ENOMEM;
        async_detach(task);
    }
    async_sleep(0.01);
    *(struct memory *)result = each(before, TASKS);
    async_event_set(&never);
    return 0;
}

/* ---- idle connections ---- */

struct crowd {
    int port, count;
};

static void connect_and_wait(void *argument)
{
    const struct crowd *crowd = argument;

    bench_files();
    for (int i = 0; i < crowd->count; i++)
        bench_connect(crowd->port);
    bench_tell(crowd->count);
    for (;;)
        pause();
}

struct serve {
    async_stream *client;
};

static int serve(struct serve *self)
{
    char byte;
    ssize_t n = async_stream_read(self->client, &byte, 1);
    async_stream_close(self->client);
    return n < 0 ? (int)n : 0;
}

static int idle_connections(void *result)
{
    int files = bench_files();
    struct crowd crowd = {.count = CONNECTIONS < files - 64 ? CONNECTIONS : files - 64};
    int code = 0;
    async_server *server =
        async_start_server("127.0.0.1", 0, &(async_server_options){.backlog = 4096});
    if (!server) return async_error_code();
    crowd.port = async_server_port(server);
    pid_t clients = bench_child(0, connect_and_wait, &crowd);

    struct memory before = memory_now();
    for (int i = 0; i < crowd.count && code == 0; i++) {
        async_stream *client = async_server_accept(server);
        async_task *task = client ? async_spawn(serve, .client = client) : NULL;
        if (!task) code = async_error_code();
        async_detach(task);
    }
    async_sleep(0.01);
    *(struct memory *)result = each(before, crowd.count);
    bench_end(clients); /* the reads find the end */
    async_server_close(server);
    return code;
}

/* ---- */

int main(void)
{
    struct memory limit = bare_stacks(), task = {0}, connection = {0};
    int code = async_run(idle_tasks, &task);

    if (code == 0) code = async_run(idle_connections, &connection);
    if (code < 0) {
        fprintf(stderr, "memory: %s\n", async_run_error_message());
        return 1;
    }
    bench_heading();
    row("idle task", task, limit, "4400");
    row("idle connection", connection, limit, "4700");
    return 0;
}
