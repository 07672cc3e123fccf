/* A chat over TCP: a task for each client, and messages that come through async_for as they arrive.
 * asyncio: start_server, open_connection, TaskGroup, async for line in reader
 *
 *     10_chat serve PORT      10_chat join PORT NAME      10_chat (a scene, as Ann sees it)
 *
 * A client that stops reading never stalls the others: its stream keeps what it has not taken, up
 * to a limit; then async_stream_write_nowait says -EAGAIN, where async_stream_write would wait, and
 * the client is dropped. (A queue and a writer task for each could drop messages instead, but would
 * only be a second buffer; and one had better join anew than miss a part of the talk unawares.) */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <string.h>

#define HOST "127.0.0.1"
static int port;
static const char *my_name;

/* ---- the server ---- */

struct client {
    async_stream *stream;
    async_task *task;
    struct client *next;
    char name[32];
};
static struct client *clients; /* those who have sent their first line, the name */

static void tell_all(const struct client *but, const char *who, const char *does, const char *what)
{
    char text[4200];
    int size = snprintf(text, sizeof text, "%s%s%.4096s\n", who, does, what);
    for (struct client *each = clients; each; each = each->next)
        if (each != but && async_stream_write_nowait(each->stream, text, (size_t)size) == -EAGAIN)
            async_cancel(each->task, "too slow");
}

static int client(struct client *self)
{
    if (async_stream_readline(self->stream, self->name, sizeof self->name) > 0) {
        self->name[strcspn(self->name, "\r\n")] = '\0';
        self->task = async_current_task();
        self->next = clients;
        clients = self;
        tell_all(NULL, "* ", self->name, " has joined");
        async_for (char *, line, async_stream_lines(self->stream))
            tell_all(self, self->name, ": ", line);

        struct client **link = &clients;
        while (*link != self)
            link = &(*link)->next;
        *link = self->next;
        /* An error that is asked for is dealt with: one client's is no failure of the server. */
        tell_all(NULL, "* ", self->name, async_block_error() < 0 ? " was dropped" : " has left");
    }
    async_stream_close(self->stream); /* sends what it keeps or, if this was cancelled, drops it */
    return 0;
}

static int serve(void *server)
{
    async_with_group (group) {
        async_for (async_stream *, stream, async_server_clients(server))
            if (!async_group_spawn(group, client, .stream = stream)) async_stream_abort(stream);
        return 0;
    }
    async_server_close(server); /* there was no memory for a group */
    return async_block_error();
}

static int serve_main(void *unused)
{
    async_server *server = async_start_server(HOST, port, NULL);
    if (!server) return async_error_code();
    printf("Serving on port %d\n", async_server_port(server));
    return serve(server);
}

/* ---- a client ---- */

static int send_input(void *stream)
{
    async_with (async_stream *, input, async_stream_from_fd(0), async_stream_abort)
        async_for (char *, line, async_stream_lines(input))
            if (async_stream_printf(stream, "%s\n", line) < 0) break;
    return async_stream_write_eof(stream); /* the server sends the rest, and closes */
}

static int join_main(void *unused)
{
    async_with (async_stream *, stream, async_open_connection(HOST, port), async_stream_abort)
        async_with_group (group) {
            async_stream_printf(stream, "%s\n", my_name);
            async_group_create_task(group, send_input, stream);
            async_for (char *, line, async_stream_lines(stream))
                puts(line);
            async_group_cancel(group); /* the server has closed: there is nothing to send to */
        }
    return 0;
}

/* ---- a scene: when Ann hears one line the next one is said ---- */

static const char song[] = "La la la"; /* goes on and on, until Ann hears of something else */
static const struct {
    enum { ANN, BOB, CAROL } who;
    const char *says; /* first the name; NULL: no more */
} script[] = {{ANN, "Ann"},
              {BOB, "Bob"},
              {CAROL, "Carol"},
              {CAROL, "I shall not read a word of what you say."},
              {BOB, "Then I sing for Ann, until you are gone."},
              {BOB, song},
              {BOB, "Good night, Ann!"},
              {BOB, NULL}};

static int say(async_stream *stream, const char *text)
{
    if (!text) return async_stream_write_eof(stream);
    return async_stream_printf(stream, "%-*s\n", text == song ? 4000 : 0, text);
}

static int play(async_stream *const cast[])
{
    size_t now = 0;
    int code = say(cast[ANN], script[now].says);
    if (code < 0) return code;
    async_for (char *, line, async_stream_lines(cast[ANN])) {
        bool sung = strncmp(line, "Bob: La la la", 13) == 0;
        if (!sung) puts(line);
        if (script[now].says != song && strstr(line, " was dropped"))
            return async_raise(-EPIPE, "not as in the script: %s", line);
        if (!sung && ++now == sizeof script / sizeof *script) return 0;
        if (sung && script[now].says != song) continue;
        code = say(cast[script[now].who], script[now].says);
        if (code < 0) return code;
    }
    code = async_block_error();
    if (code < 0) return code;
    return async_raise(ASYNC_EINCOMPLETE, "the server has hung up on Ann");
}

static int scene(void *unused)
{
    async_server *server = async_start_server(HOST, 0, NULL);
    if (!server) return async_error_code();
    port = async_server_port(server);
    if (!async_create_task(serve, server)) { /* the end of the run will cancel it */
        async_server_close(server);
        return async_error_code();
    }
    async_with (async_stream *, ann, async_open_connection(HOST, port), async_stream_abort)
        async_with (async_stream *, bob, async_open_connection(HOST, port), async_stream_abort)
            async_with (async_stream *, carol, async_open_connection(HOST, port),
                        async_stream_abort)
                async_timeout (10.0)
                    return play((async_stream *[]){ann, bob, carol});
    return async_block_error();
}

int main(int argc, char **argv)
{
    async_coroutine run = NULL;
    if (argc == 1) run = scene;
    if (argc == 3 && strcmp(argv[1], "serve") == 0) run = serve_main;
    if (argc == 4 && strcmp(argv[1], "join") == 0) run = join_main;
    if (!run || (argc > 2 && sscanf(argv[2], "%d", &port) != 1))
        errx(2, "usage: 10_chat [serve PORT | join PORT NAME]");
    my_name = argv[argc - 1];
    int code = async_run(run, NULL);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
}
