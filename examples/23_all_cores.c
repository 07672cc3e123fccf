/* A server on all cores: a loop in each thread, all listening on one port, over which the kernel spreads the
 * connections (SO_REUSEPORT). The threads share nothing but a counter each.
 * asyncio: several processes with reuse_port=True
 *
 *     23_all_cores PORT [THREADS]     an echo server, until Ctrl-C
 *     23_all_cores                    a scene: four threads, and clients until each thread had one */
#include <casyncio.h>
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST = 256 };

struct worker {
    pthread_t thread;
    atomic_int served;
    int code;
};

static struct worker workers[MOST]; /* the first one is the main thread */
static int count = 4, port;
static int stop[2]; /* a pipe: its end is the sign that all threads wait for */

static int echo(async_stream *client, struct worker *worker)
{
    char data[4096];
    ssize_t n;

    worker->served++;
    while ((n = async_stream_read(client, data, sizeof data)) > 0) {
        int code = async_stream_write(client, data, (size_t)n);
        if (code < 0) return code;
    }
    return (int)n;
}

static async_server *listen_too(void)
{
    return async_start_server("127.0.0.1", port, &(async_server_options){.reuse_port = true});
}

/* ---- a thread ---- */

static int close_at_sign(void *server)
{
    int code = async_wait_readable(stop[0]);
    return code < 0 ? code : async_server_close(server);
}

static int serve(void *self)
{
    async_server *server = listen_too();
    async_detach(async_create_task(close_at_sign, server));
    return async_server_serve(server, echo, self);
}

static void *run_thread(void *argument)
{
    struct worker *self = argument;

    self->code = async_run_with(serve, self, &(async_run_options){.no_signals = true});
    if (self->code < 0) warnx("a thread: %s", async_run_error_message());
    return NULL;
}

/* ---- the main thread ---- */

static int ask(void)
{
    char byte = 'x';

    async_with_stream(stream, async_open_connection("127.0.0.1", port))
    {
        int code = async_stream_write(stream, &byte, 1);
        if (code < 0) return code;
        ssize_t n = async_stream_readexactly(stream, &byte, 1);
        if (n < 0) return (int)n;
    }
    return async_block_error();
}

static bool all_have_served(void)
{
    for (int i = 0; i < count; i++)
        if (workers[i].served == 0) return false;
    return true;
}

static int scene(void *server)
{
    int code = 0;

    while (code == 0 && !all_have_served())
        code = ask();
    if (code == 0) printf("Each of %d threads has had a client\n", count);
    async_server_close(server);
    return code;
}

static int main_task(void *argument)
{
    bool is_scene = *(bool *)argument;
    async_server *server = listen_too();
    if (!server) return async_error_code();
    port = async_server_port(server);
    if (!is_scene) printf("Listening on port %d, in %d threads\n", port, count);
    fflush(stdout);
    for (int i = 1; i < count; i++)
        if (pthread_create(&workers[i].thread, NULL, run_thread, &workers[i])) count = i;
    async_task *task = is_scene ? async_create_task(scene, server) : NULL;
    int code = async_server_serve(server, echo, &workers[0]);
    int failed = task ? async_await(task) : 0;
    return code < 0 ? code : failed;
}

int main(int argc, char **argv)
{
    bool is_scene = argc < 2;

    if (!is_scene) {
        port = atoi(argv[1]);
        count = argc > 2 ? atoi(argv[2]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    if (argc > 3 || count < 1 || count > MOST) errx(2, "usage: 23_all_cores [PORT [THREADS]]");
    if (pipe(stop) < 0) err(1, "pipe");
    int code = async_run(main_task, &is_scene);
    close(stop[1]);
    for (int i = 1; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        if (code == 0) code = workers[i].code;
    }
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
}
