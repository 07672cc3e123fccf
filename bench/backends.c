/* backends [ROUNDS]: the back end io_uring beside epoll: the CPU time, user and system, of the same program on
 * each, by turns. In these rows the limit is casyncio on epoll.
 *
 * Echo as in bench/echo.c; pipelined: 16 messages of 64 bytes are under way on each connection, and the server
 * reads and answers them one by one. Small files: 10,000 of 4 KiB in the kernel's cache, opened, read to
 * their end and closed by 64 tasks; beside it plain open(2), read(2) and close(2). */
#include "bench.h"

#include <casyncio.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/child.h"
#include "support/load.h"

enum { BUFFER = 16 * 1024, BACKLOG = 1024, MESSAGE = 64, FILES = 10000, READERS = 64 };

static int turns = 15;

/* ---- echo ---- */

struct serve {
    async_stream *client;
    bool one_by_one;
};

static int serve(struct serve *self)
{
    char buffer[BUFFER];
    ssize_t n;

    for (;;) {
        n = self->one_by_one ? async_stream_readexactly(self->client, buffer, MESSAGE)
                             : async_stream_read(self->client, buffer, sizeof buffer);
        if (n <= 0 || async_stream_write(self->client, buffer, (size_t)n) < 0) break;
    }
    return async_stream_close(self->client);
}

static bool one_by_one;

static int serve_all(void *unused)
{
    (void)unused;
    async_server *server =
        async_start_server("127.0.0.1", 0, &(async_server_options){.backlog = BACKLOG});
    if (!server) return async_error_code();
    bench_tell(async_server_port(server));
    async_with_group (group)
        async_for (async_stream *, client, async_server_clients(server))
            async_group_spawn(group, serve, .client = client, .one_by_one = one_by_one);
    return 0;
}

static void run_server(void *backend)
{
    async_run_with(serve_all, NULL, &(async_run_options){.loop = {.backend = backend}});
}

static void on_io_uring(void *unused)
{
    (void)unused;
    run_server("io_uring");
}

static void on_epoll(void *unused)
{
    (void)unused;
    run_server("epoll");
}

static void compare_echo(const char *name, int connections, size_t size, int count)
{
    struct bench_pair pairs[64];
    static char message[BUFFER];
    struct load ring = load_open(on_io_uring, connections, message, size, size);
    struct load plain = load_open(on_epoll, connections, message, size, size);

    load_run(&ring, 4 * connections);
    load_run(&plain, 4 * connections);
    for (int turn = 0; turn < turns; turn++) {
        pairs[turn].limit = load_run(&plain, count);
        pairs[turn].ours = load_run(&ring, count);
    }
    struct bench_pair median = bench_median(pairs, (size_t)turns);
    bench_row(name, "ns", median.ours, median.limit, "-");
    load_close(&ring);
    load_close(&plain);
}

/* ---- files ---- */

static char directory[] = "/tmp/backends.XXXXXX";
static int next_file;

static void name_file(char *path, size_t size, int i)
{
    snprintf(path, size, "%s/%d", directory, i);
}

static int read_files(void *unused)
{
    char path[100], buffer[8192];
    (void)unused;
    while (next_file < FILES) {
        name_file(path, sizeof path, next_file++);
        async_file *file = async_file_open(path, "r");
        while (async_file_read(file, buffer, sizeof buffer) > 0)
            ;
        async_file_close(file);
    }
    return 0;
}

static int read_all(void *unused)
{
    (void)unused;
    next_file = 0;
    async_with_group (group)
        for (int i = 0; i < READERS; i++)
            async_group_create_task(group, read_files, NULL);
    return 0;
}

static double files_on(const char *backend)
{
    double start = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    async_run_with(read_all, NULL, &(async_run_options){.loop = {.backend = backend}});
    return (bench_clock(CLOCK_PROCESS_CPUTIME_ID) - start) / FILES;
}

static double files_plain(void)
{
    char path[100], buffer[8192];
    double start = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < FILES; i++) {
        name_file(path, sizeof path, i);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        while (read(fd, buffer, sizeof buffer) > 0)
            ;
        close(fd);
    }
    return (bench_clock(CLOCK_PROCESS_CPUTIME_ID) - start) / FILES;
}

static void compare_files(void)
{
    struct bench_pair beside_epoll[64], beside_plain[64], epoll_beside_plain[64];
    char path[100], data[4096] = "";

    if (!mkdtemp(directory)) bench_fail("mkdtemp");
    for (int i = 0; i < FILES; i++) {
        name_file(path, sizeof path, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (write(fd, data, sizeof data) != sizeof data) bench_fail("write");
        close(fd);
    }
    for (int turn = 0; turn < turns; turn++) {
        double plain = files_plain(), epoll = files_on("epoll"), ring = files_on("io_uring");
        beside_epoll[turn] = (struct bench_pair){ring, epoll};
        beside_plain[turn] = (struct bench_pair){ring, plain};
        epoll_beside_plain[turn] = (struct bench_pair){epoll, plain};
    }
    struct bench_pair median = bench_median(beside_epoll, (size_t)turns);
    bench_row("10,000 small files, epoll for limit", "ns", median.ours, median.limit, "-");
    median = bench_median(beside_plain, (size_t)turns);
    bench_row("10,000 small files, read(2) for limit", "ns", median.ours, median.limit, "1.10 x");
    median = bench_median(epoll_beside_plain, (size_t)turns);
    bench_row("the same on epoll", "ns", median.ours, median.limit, "1.10 x");
    for (int i = 0; i < FILES; i++) {
        name_file(path, sizeof path, i);
        unlink(path);
    }
    rmdir(directory);
}

int main(int argc, char **argv)
{
    if (argc > 1) turns = atoi(argv[1]);
    if (turns < 1 || turns > 64) turns = 15;
    async_loop *loop = async_loop_new(&(async_loop_options){.backend = "io_uring"});
    if (!loop || strcmp(async_loop_backend(loop), "io_uring") != 0) {
        printf("backends: there is no io_uring\n");
        return 0;
    }
    async_loop_close(loop);
    bench_files();
    bench_pin(0);
    bench_heading();
    compare_echo("io_uring: echo, 64 connections x 64 B", 64, 64, 15000);
    one_by_one = true;
    compare_echo("io_uring: the same, 16 under way", 64, 16 * MESSAGE, 3000);
    one_by_one = false;
    compare_echo("io_uring: echo, 1,000 connections x 1 KiB", 1000, 1024, 15000);
    compare_echo("io_uring: echo, 64 connections x 16 KiB", 64, 16 * 1024, 10000);
    compare_files();
    return 0;
}
