/* Echo over TLS: a server with a certificate, and a client that verifies it.
 * asyncio: start_server(ssl=...), open_connection(ssl=...)
 *
 *     17_tls_echo serve PORT CERTIFICATE KEY
 *     17_tls_echo ask HOST PORT CA-FILE LINE... */
#include <casyncio.h>
#include <casyncio/tls.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **words;

/* ---- the server ---- */

struct echo {
    async_stream *client;
};

static int echo(struct echo *self)
{
    /* The handshake is done by the first read, here, so that a slow client delays no other. */
    async_with_stream(client, self->client) async_for (
        char *, line,
        async_stream_lines(client)) if (async_stream_printf(client, "%s\n", line) < 0) break;
    if (async_block_error() < 0) warnx("a client: %s", async_error_message());
    return 0;
}

static int serve(void *unused)
{
    async_tls_context *context =
        async_tls_server_context(&(async_tls_options){.certificate = words[1], .key = words[2]});
    if (!context) return async_error_code();
    async_server *server = async_tls_start_server("localhost", atoi(words[0]), context, NULL);
    async_tls_context_free(context); /* the server has its own part in it */
    if (!server) return async_error_code();
    printf("listening on port %d\n", async_server_port(server));
    async_with_group (group)
        async_for (async_stream *, client, async_server_clients(server))
            async_group_spawn(group, echo, .client = client);
    return async_block_error();
}

/* ---- the client ---- */

static int ask(void *unused)
{
    char line[256];
    async_tls_context *context =
        async_tls_client_context(&(async_tls_options){.ca_file = words[2]});
    if (!context) return async_error_code();
    async_with_stream(stream, async_tls_open_connection(words[0], atoi(words[1]), context))
    {
        printf("%s\n", async_tls_version(stream));
        for (char **word = words + 3; *word; word++) {
            if (async_stream_printf(stream, "%s\n", *word) < 0) break;
            if (async_stream_readline(stream, line, sizeof line) <= 0) break;
            printf("%s", line);
        }
    }
    async_tls_context_free(context);
    return async_block_error();
}

int main(int argc, char **argv)
{
    words = argv + 2;
    int code;
    if (argc == 5 && strcmp(argv[1], "serve") == 0)
        code = async_run(serve, NULL);
    else if (argc >= 5 && strcmp(argv[1], "ask") == 0)
        code = async_run(ask, NULL);
    else
        errx(2, "usage: 17_tls_echo serve PORT CERTIFICATE KEY | ask HOST PORT CA-FILE LINE...");
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
    return 0;
}
