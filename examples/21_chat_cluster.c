/* A chat over several machines: each server has clients of its own, and what one of them says goes by way of
 * NATS to all servers of the room.
 * asyncio: start_server, TaskGroup; nats-py: publish, subscribe
 *
 *     21_chat_cluster URL serve PORT      a server; its clients type lines: nc 127.0.0.1 PORT
 *     21_chat_cluster URL                 a scene: two servers on two ports, Ann at one and Bob at the other */
#include <casyncio.h>
#include <casyncio/cluster.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "127.0.0.1"
#define ROOM "chat.tea"

static const char *url;

/* ---- a server ---- */

struct client {
    async_stream *stream;
    struct client *next;
};

struct chat {
    async_server *server;
    async_cluster *cluster;
    struct client *clients;
};

/* What is said in the room, here or at another server, goes to all clients of this one. A client that does not
 * read is dropped, so that it holds up no other. */
static int hear(void *argument)
{
    struct chat *chat = argument;
    async_for (async_cluster_message *, said, async_cluster_subscribe(chat->cluster, ROOM, NULL))
        for (struct client *each = chat->clients; each; each = each->next)
            if (async_stream_write_nowait(each->stream, said->data, said->size) == -EAGAIN)
                async_stream_abort(each->stream);
    return async_block_error();
}

static int say(struct chat *chat, const char *who, const char *does, const char *what)
{
    char text[4200];
    int size = snprintf(text, sizeof text, "%s%s%.4096s\n", who, does, what);
    return async_cluster_publish(chat->cluster, ROOM, text, (size_t)size);
}

struct serve_client {
    struct chat *chat;
    async_stream *stream;
};

static int serve_client(struct serve_client *self)
{
    struct client client = {self->stream, self->chat->clients};
    char name[32];

    async_with_stream(stream, self->stream)
    {
        if (async_stream_readline(stream, name, sizeof name) <= 0) break;
        name[strcspn(name, "\r\n")] = '\0';
        self->chat->clients = &client;
        say(self->chat, "* ", name, " has joined");
        async_for (char *, line, async_stream_lines(stream))
            if (say(self->chat, name, ": ", line) < 0) break;
        struct client **link = &self->chat->clients;
        while (*link != &client)
            link = &(*link)->next;
        *link = client.next;
        say(self->chat, "* ", name, " has left");
    }
    async_block_error(); /* one client's failure is none of the server's */
    return 0;
}

static int serve(void *argument)
{
    struct chat *chat = argument;
    async_with_cluster (cluster, url, NULL) {
        chat->cluster = cluster;
        async_with_group (group) {
            async_group_create_task(group, hear, chat);
            async_for (async_stream *, stream, async_server_clients(chat->server))
                if (!async_group_spawn(group, serve_client, chat, stream))
                    async_stream_abort(stream);
        }
    }
    return async_block_error();
}

/* ---- a scene ---- */

struct guest {
    const char *name, *cue, *line; /* says its line when it hears its cue */
    int port;
    async_event *there; /* set when it has joined; may be NULL */
};

static int guest(struct guest *self)
{
    char text[100];
    async_with_stream(stream, async_open_connection(HOST, self->port))
    {
        int size = snprintf(text, sizeof text, "%s\n", self->name);
        async_stream_write(stream, text, (size_t)size);
        async_for (char *, line, async_stream_lines(stream)) {
            printf("%s hears \"%s\"\n", self->name, line);
            if (self->there) async_event_set(self->there);
            if (strstr(line, self->cue)) {
                size = snprintf(text, sizeof text, "%s\n", self->line);
                async_stream_write(stream, text, (size_t)size);
            }
            if (strncmp(line, "Bob: ", 5) == 0) break;
        }
    }
    return async_block_error();
}

static int scene(void *unused)
{
    struct chat chats[2] = {{async_start_server(HOST, 0, NULL), NULL, NULL},
                            {async_start_server(HOST, 0, NULL), NULL, NULL}};
    async_event ann_is_there = ASYNC_EVENT_INIT;
    async_task *servers[2], *guests[2];

    if (!chats[0].server || !chats[1].server) return async_error_code();
    for (int i = 0; i < 2; i++)
        servers[i] = async_create_task(serve, &chats[i]);
    while (!chats[0].cluster || !chats[1].cluster) {
        if (async_task_done(servers[0])) return async_await(servers[0]);
        if (async_sleep(0.02) < 0) break;
    }
    async_sleep(0.1); /* both have subscribed */
    guests[0] = async_spawn(guest, "Ann", "Bob has joined", "Is anybody at the other port?",
                            async_server_port(chats[0].server), &ann_is_there);
    async_event_wait(&ann_is_there);
    guests[1] =
        async_spawn(guest, "Bob", "Ann: ", "I am.", async_server_port(chats[1].server), NULL);
    int code = async_gather_array(guests, 2);
    async_cancel(servers[0], NULL);
    async_cancel(servers[1], NULL);
    async_gather_results(servers, 2, NULL);
    return code;
}

static int serve_at(void *port)
{
    struct chat chat = {async_start_server(HOST, atoi(port), NULL), NULL, NULL};
    if (!chat.server) return async_error_code();
    printf("Serving %s on port %d\n", ROOM, async_server_port(chat.server));
    fflush(stdout);
    return serve(&chat);
}

int main(int argc, char **argv)
{
    if (argc != 2 && !(argc == 4 && strcmp(argv[2], "serve") == 0))
        errx(2, "usage: 21_chat_cluster URL [serve PORT]");
    url = argv[1];
    int code = argc == 2 ? async_run(scene, NULL) : async_run(serve_at, argv[3]);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
}
