/* Asks a mail server whether it speaks TLS, and does so on the same connection.
 * asyncio: StreamWriter.start_tls
 *
 *     18_starttls HOST PORT [CA-FILE] */
#include <casyncio.h>
#include <casyncio/tls.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **words;

/* Sends a command, unless it is NULL, and reads its answer: the number, or a code. */
static int command(async_stream *stream, const char *text)
{
    char line[512];
    if (text && async_stream_printf(stream, "%s\r\n", text) < 0) return async_error_code();
    do {
        ssize_t n = async_stream_readline(stream, line, sizeof line);
        if (n < 0) return (int)n;
        if (n < 4) return async_raise(-EPROTO, "the server has left, or speaks no SMTP");
        printf("%s", line);
    } while (line[3] == '-');
    return atoi(line);
}

static int greet(async_stream *stream, async_tls_context *context)
{
    int answer = command(stream, NULL);
    if (answer == 220) answer = command(stream, "EHLO client.test");
    if (answer == 250) answer = command(stream, "STARTTLS");
    if (answer == 220) {
        int code = async_stream_start_tls(stream, context, words[0]);
        if (code < 0) return code;
        async_tls_certificate *certificate = async_tls_peer_certificate(stream);
        if (!certificate) return async_error_code();
        printf("-- %s, %s, of %s\n", async_tls_version(stream), certificate->subject,
               certificate->issuer);
        async_tls_certificate_free(certificate);
        answer = command(stream, "EHLO client.test");
        if (answer == 250) answer = command(stream, "QUIT");
        if (answer == 221) return 0;
    }
    return answer < 0 ? answer : async_raise(-EPROTO, "the server's answer was %d", answer);
}

static int ask(void *unused)
{
    int code = 0;
    async_tls_context *context =
        async_tls_client_context(&(async_tls_options){.ca_file = words[2]});
    if (!context) return async_error_code();
    async_timeout (30)
        async_with_stream(stream, async_open_connection(words[0], atoi(words[1]))) code =
            greet(stream, context);
    async_tls_context_free(context);
    return code < 0 ? code : async_block_error();
}

int main(int argc, char **argv)
{
    words = argv + 1;
    if (argc != 3 && argc != 4) errx(2, "usage: 18_starttls HOST PORT [CA-FILE]");
    if (async_run(ask, NULL) < 0) errx(1, "%s", async_run_error_message());
    return 0;
}
