/* A TCP proxy: whatever connects to the port talks to the host behind it, both ways at once, until both
 * sides have sent their end.
 * asyncio: start_server, and two tasks that read and write
 *
 *     16_proxy PORT HOST PORT      for example: 16_proxy 8080 example.org 80 */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

static const char *host;
static int own_port, port;

static int serve(async_stream *client)
{
    async_with_stream(server, async_open_connection(host, port)) return async_stream_relay(
        client, server, NULL);
    return async_block_error();
}

static int main_task(void *unused)
{
    async_server *server = async_start_server(NULL, own_port, NULL);
    if (server) printf("Listening on port %d\n", async_server_port(server));
    fflush(stdout);
    return async_server_serve(server, serve);
}

int main(int argc, char **argv)
{
    if (argc != 4) errx(2, "usage: 16_proxy PORT HOST PORT");
    own_port = atoi(argv[1]);
    host = argv[2];
    port = atoi(argv[3]);
    int code = async_run(main_task, NULL);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
}
