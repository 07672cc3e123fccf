/* A chat in a browser: a page, and a WebSocket for each who has it open. Rooms, names, the last lines for
 * those who come later, and who is there.
 * aiohttp: web.WebSocketResponse, async for message in socket
 *
 *     20_chat_web serve PORT [DIRECTORY]     the page is examples/chat_web, or in that directory
 *     20_chat_web                            a scene, as Ann's page sees it
 *
 * /chat?room=R&name=N is the WebSocket. What a browser sends is what its user says; what it gets is JSON,
 * one object a message. A browser that does not take what is said is dropped and not waited for; it
 * connects again by itself, and gets the last lines. */
#include <casyncio.h>
#include <casyncio/http_server.h>
#include <casyncio/websocket.h>
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HISTORY 100  /* lines that a room keeps */
#define ROOMS 200    /* that there are at once */
#define LONGEST 4000 /* bytes that may be said at once */
#define NAME 64      /* bytes of a name, its end included */

/* ---- rooms ---- */

struct room {
    struct room *next;
    struct member *members;
    char name[NAME];
    char *lines[HISTORY]; /* as they were sent; number n is at n % HISTORY */
    unsigned count;       /* of all that were said */
    int handlers;         /* that have it: it is not freed meanwhile */
};

/* It lies in the frame of its handler. */
struct member {
    struct member *next;
    async_websocket *socket;
    async_task *task;
    char name[NAME];
};

static struct room *rooms;

static void free_room(struct room *room)
{
    for (int i = 0; i < HISTORY; i++)
        free(room->lines[i]);
    free(room);
}

/* The room of that name. Where there are too many, one that is empty makes place; NULL: there is none. */
static struct room *find_room(const char *name)
{
    struct room **empty = NULL;
    int count = 0;

    for (struct room **link = &rooms; *link; link = &(*link)->next) {
        if (strcmp((*link)->name, name) == 0) return *link;
        if ((*link)->handlers == 0) empty = link;
        count++;
    }
    if (count >= ROOMS && !empty) return NULL;
    if (count >= ROOMS) {
        struct room *old = *empty;
        *empty = old->next;
        free_room(old);
    }
    struct room *room = calloc(1, sizeof *room);
    if (!room) return NULL;
    snprintf(room->name, sizeof room->name, "%s", name);
    room->next = rooms;
    rooms = room;
    return room;
}

static struct member **link_of(struct room *room, const char *name)
{
    struct member **link = &room->members;
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

/* ---- JSON ---- */

/* Appends a string with its quotes; the text is UTF-8, which JSON takes as it is. */
static void put_string(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(to, "\\%c", *text);
        else if ((unsigned char)*text < 32)
            fprintf(to, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, to);
    }
    fputc('"', to);
}

/* {"type":"said","from":"Ann","text":"Hello","time":1700000000}; NULL: no memory. */
static char *make_line(const char *type, const char *from, const char *text)
{
    char *line = NULL;
    size_t size;
    FILE *to = open_memstream(&line, &size);

    if (!to) return NULL;
    fprintf(to, "{\"type\":\"%s\",\"from\":", type);
    put_string(to, from);
    fputs(",\"text\":", to);
    put_string(to, text);
    fprintf(to, ",\"time\":%lld}", (long long)time(NULL));
    fclose(to);
    return line;
}

static char *make_list(const struct room *room)
{
    char *line = NULL;
    size_t size;
    FILE *to = open_memstream(&line, &size);

    if (!to) return NULL;
    fputs("{\"type\":\"people\",\"names\":[", to);
    for (struct member *each = room->members; each; each = each->next) {
        put_string(to, each->name);
        if (each->next) fputc(',', to);
    }
    fputs("]}", to);
    fclose(to);
    return line;
}

/* ---- talking ---- */

static void send_all(const struct room *room, const char *line)
{
    for (struct member *each = room->members; each; each = each->next)
        if (async_websocket_send_nowait(each->socket, ASYNC_WEBSOCKET_TEXT, line, strlen(line)) ==
            -EAGAIN)
            async_cancel(each->task, "too slow");
}

static void tell_who_is_there(const struct room *room)
{
    char *line = make_list(room);
    if (line) send_all(room, line);
    free(line);
}

static void say(struct room *room, const char *type, const char *from, const char *text)
{
    char *line = make_line(type, from, text);
    char **place = &room->lines[room->count % HISTORY];

    if (!line) return;
    send_all(room, line);
    free(*place);
    *place = line;
    room->count++;
}

/* A newcomer is told its name and the last lines, and is waited for. */
static int welcome(const struct room *room, struct member *self)
{
    char *line = make_line("hello", self->name, room->name);
    int code = line ? async_websocket_send_text(self->socket, line) : -ENOMEM;

    free(line);
    unsigned i = room->count < HISTORY ? 0 : room->count - HISTORY;
    for (; i < room->count && code == 0; i++) {
        if (room->count - i > HISTORY) continue; /* it has been replaced while this one waited */
        char *copy = strdup(room->lines[i % HISTORY]);
        if (copy) code = async_websocket_send_text(self->socket, copy);
        free(copy);
    }
    return code;
}

static int listen_to(struct room *room, struct member *self)
{
    self->next = room->members;
    room->members = self;
    say(room, "came", self->name, "");
    tell_who_is_there(room);
    async_for (async_websocket_message, message, async_websocket_messages(self->socket))
        if (message.size > 0 && message.size <= LONGEST)
            say(room, "said", self->name, message.data);
    *link_of(room, self->name) = self->next;
    say(room, "left", self->name, "");
    tell_who_is_there(room);
    return async_block_error();
}

/* "Ann", or "Ann 2" where there is one. */
static void choose_name(const struct room *room, char *name, const char *wanted)
{
    snprintf(name, NAME, "%.40s", wanted);
    for (int i = 2; *link_of((struct room *)room, name); i++)
        snprintf(name, NAME, "%.40s %d", wanted, i);
}

static int chat_in(struct room *room, struct async_http_request *request, const char *name)
{
    struct member self = {.task = async_current_task()};

    self.socket = async_websocket_accept(
        request, &(async_websocket_options){.max_message = LONGEST, .heartbeat = 15});
    if (!self.socket) return async_error_code();
    choose_name(room, self.name, name);
    int code = welcome(room, &self);
    if (code < 0) return code;
    choose_name(room, self.name, name); /* another may have come while it waited */
    return listen_to(room, &self);
}

static int chat(struct async_http_request *request)
{
    const char *name = async_http_query(request, "name"), *in = async_http_query(request, "room");

    if (!name || !*name || strlen(name) > 40 || !in || strlen(in) > 40)
        return async_http_respond_text(request, 400, "name and room are to be given\n");
    struct room *room = find_room(in);
    if (!room) return async_http_respond_text(request, 503, "there are too many rooms\n");
    room->handlers++;
    int code = chat_in(room, request, name);
    room->handlers--;
    return code;
}

/* ---- the page ---- */

/* Nothing but what is ours runs in the page, whatever is said. */
static int protect(struct async_http_request *request)
{
    async_http_set_header(request, "Content-Security-Policy",
                          "default-src 'self'; frame-ancestors 'none'; base-uri 'none'");
    async_http_set_header(request, "X-Content-Type-Options", "nosniff");
    async_http_set_header(request, "Referrer-Policy", "no-referrer");
    return async_http_next(request);
}

static void free_rooms(void)
{
    while (rooms) {
        struct room *next = rooms->next;
        free_room(rooms);
        rooms = next;
    }
}

static int port;
static const char *directory = "examples/chat_web";
static async_http_server *running;

static void stop(async_callback *callback) { async_http_shutdown(running); }

static int serve(void *unused)
{
    static async_callback stops[2] = {{.run = stop}, {.run = stop}};

    async_with_http_server (server, "127.0.0.1", port, NULL) {
        running = server;
        async_add_signal_handler(async_get_running_loop(), SIGTERM, &stops[0]);
        async_add_signal_handler(async_get_running_loop(), SIGINT, &stops[1]);
        async_http_use(server, protect);
        async_http_route(server, "GET", "/chat", chat);
        async_http_static(server, "/", directory);
        int code = async_block_error();
        if (code < 0) return code;
        printf("http://127.0.0.1:%d\n", async_http_server_port(server));
        return async_http_serve(server);
    }
    return async_block_error();
}

/* ---- a scene ---- */

static int serve_in_background(void *server) { return async_http_serve(server); }

static async_websocket *join(const char *name)
{
    char url[100];
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/chat?room=sea&name=%s", port, name);
    return async_websocket_connect(url, &(async_websocket_options){.no_compression = true});
}

/* Prints what a page gets, but for the times, until it is this. */
static int see(async_websocket *socket, const char *last)
{
    async_websocket_message message;
    int code;

    while ((code = async_websocket_receive(socket, &message)) > 0) {
        const char *time = strstr(message.data, ",\"time\""), *sung = strstr(message.data, "la la");
        if (!sung)
            printf("%.*s\n", (int)(time ? time - message.data : (long)message.size), message.data);
        if (strstr(message.data, last)) return 0;
    }
    return code < 0 ? code : async_raise(-EPIPE, "the server has hung up");
}

static int sing(async_websocket *bob, async_websocket *ann)
{
    char song[LONGEST];
    int code = 0;

    for (size_t i = 0; i < sizeof song; i++)
        song[i] = "la "[i % 3];
    for (int i = 0; i < 5000 && code == 0; i++) {
        code = async_websocket_send(bob, ASYNC_WEBSOCKET_TEXT, song, sizeof song);
        async_websocket_message message;
        if (code == 0) code = async_websocket_receive(bob, &message);
        if (code > 0) code = async_websocket_receive(ann, &message);
        if (code > 0 && strstr(message.data, "\"left\",\"from\":\"Carol\"")) return 0;
        if (code > 0) code = 0;
    }
    return code < 0 ? code : async_raise(-ETIMEDOUT, "Carol is still there");
}

static int play(void)
{
    int code = 0;

    async_with_websocket(ann, join("Ann"))
    {
        async_with_websocket(bob, join("Bob"))
        {
            async_websocket_send_text(bob, "Hello, \"Ann\" <b>");
            code = see(ann, "Hello");
        }
        if (code == 0) code = see(ann, "[\"Ann\"]");
        async_with_websocket(bob, join("Bob"))
        { /* again: what was said is told */
            if (code == 0) code = see(ann, "[\"Bob\",\"Ann\"]");
            if (code == 0) puts("Bob:");
            if (code == 0) code = see(bob, "[\"Bob\",\"Ann\"]");
            async_with_websocket(carol, join("Carol"))
            { /* she does not read */
                if (code == 0) code = see(ann, "[\"Carol\",");
                if (code == 0) code = see(bob, "[\"Carol\",");
                if (code == 0) code = sing(bob, ann);
                if (code == 0) puts("Carol was dropped");
            }
        }
    }
    return code < 0 ? code : async_block_error();
}

static int scene(void *unused)
{
    int code = 0;

    async_with_http_server (server, "127.0.0.1", 0, NULL) {
        async_http_route(server, "GET", "/chat", chat);
        port = async_http_server_port(server);
        async_task *task = async_create_task(serve_in_background, server);
        code = play();
        async_http_shutdown(server);
        int served = async_await(task);
        if (code == 0) code = served;
    }
    return code < 0 ? code : async_block_error();
}

int main(int argc, char **argv)
{
    bool serving = argc >= 3 && argc <= 4 && strcmp(argv[1], "serve") == 0;
    if (argc > 1 && !serving) errx(2, "usage: %s [serve PORT [DIRECTORY]]", argv[0]);
    if (serving) port = atoi(argv[2]);
    if (argc == 4) directory = argv[3];
    int code = async_run(serving ? serve : scene, NULL);
    free_rooms();
    if (code < 0) errx(1, "%s", async_run_error_message());
    return 0;
}
