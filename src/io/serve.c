/* serve.c - a task for each client of a server.
 *
 * The tasks belong to a group of the call's own, in which a failure is reported and ends nothing
 * else. Each client stands in a list of the server once its task has begun. A client that is accepted
 * and has not begun has a number: so what ends all the clients there are knows of it, too.
 *
 * The task holds a reference to its stream: a handler that closes the stream itself, and a stream
 * that is aborted under it, do no harm. */
#include "server.h"

#include "../task/group.h"

struct async__client {
    async_server *server;
    async_stream *stream;
    async__client_handler *handler;
    void *data;
    uint64_t number;
    async_task *task;
    bool aborted;
    struct async__client *next, *previous;
};

/* ---- a client ---- */

static void link_client(struct async__client *self)
{
    self->next = self->server->clients;
    if (self->next) self->next->previous = self;
    self->server->clients = self;
}

static void unlink_client(struct async__client *self)
{
    if (self->next) self->next->previous = self->previous;
    if (self->previous)
        self->previous->next = self->next;
    else
        self->server->clients = self->next;
}

/* A handler of one parameter is called with two. */
ASYNC__ANY_FUNCTION static int call(const struct async__client *self)
{
    return self->handler(self->stream, self->data);
}

static void abort_client(struct async__client *self)
{
    self->aborted = true;
    async_stream_abort(self->stream);
}

/* The error that the handler ends with is the task's, unless the stream was taken away from it. */
static int close_client(struct async__client *self, int code)
{
    int pending = async_block_error();

    if (code >= 0 && pending < 0) code = pending;
    if (self->aborted) return 0;
    if (self->stream->closed) return code < 0 ? code : 0;
    struct async__record before = async__record_save();
    int closed = async_stream_close(self->stream);
    async__record_restore(&before, code < 0);
    if (self->aborted) return 0;
    return code < 0 ? code : closed;
}

static int serve_client(void *argument)
{
    struct async__client *self = argument;
    async_stream *stream = self->stream;

    self->task = async__current;
    link_client(self);
    stream->references++;
    if (self->number <= self->server->aborted)
        abort_client(self);
    else if (self->number <= self->server->ended)
        async__stream_end_reading(stream);
    int code = close_client(self, call(self));
    unlink_client(self);
    async__stream_unref(stream);
    return code;
}

/* ---- the server ---- */

/* Makes the client's task; without memory for one it tries again a second later: 0 or a code. */
static int add_client(async_group *group, struct async__client *client, const char *name)
{
    async_task_options options = {
        .coroutine = name, .copy = client, .size = sizeof *client, .align = _Alignof(max_align_t)};

    while (!async__group_add(group, serve_client, NULL, &options)) {
        int code = async__server_wait_for_resources(client->server);
        if (code == 0 && client->server->closed) code = -EBADF;
        if (code < 0) return code;
    }
    return 0;
}

static int serve_clients(async_group *group, struct async__client *client, const char *name)
{
    async_server *server = client->server;

    for (;;) {
        int code = async__server_accept_stream(server, &client->stream);
        if (code < 0) return server->closed ? 0 : code;
        client->number = ++server->accepted;
        code = add_client(group, client, name);
        if (code < 0) {
            async_stream_abort(client->stream);
            return server->closed ? 0 : code;
        }
    }
}

static int serve(struct async__client *client, const char *name)
{
    async_server *server = client->server;
    async_group *group = async_group_enter();
    if (!group) {
        int error = async_error_code();
        async_server_close(server);
        return error;
    }
    group->tolerant = true;
    int code = serve_clients(group, client, name), closed = 0;
    struct async__record before = async__record_save();
    if (!server->closed) closed = async_server_close(server);
    if (code < 0) async_group_cancel(group);
    int left = async_group_leave(group);
    bool late = code == 0 && (left < 0 || closed < 0);
    if (late) code = left < 0 ? left : closed;
    async__record_restore(&before, !late);
    return code;
}

int async__server_serve(async_server *server, async__client_handler *handler, void *data,
                        const char *name)
{
    if (!server) return async__fail_null("the server"); /* the error of the start that failed */
    if (server->closed) return async__misuse(async__failf(-EBADF, "the server has been closed"));
    if (server->iterating || server->serving || server->accepting)
        return async__misuse(
            async__failf(-EBUSY, "another task takes the connections of this server"));
    server->references++;
    server->serving = true;
    struct async__client client = {.server = server, .handler = handler, .data = data};
    int code = serve(&client, name);
    server->serving = false;
    async__wake_all(&server->finished);
    async__server_unref(server);
    return code;
}

/* ---- from other tasks ---- */

int async_server_close_clients(async_server *server)
{
    if (!server) return async__null_wait("server");
    server->ended = server->accepted;
    for (struct async__client *client = server->clients; client; client = client->next)
        if (!client->stream->closed) async__stream_end_reading(client->stream);
    return 0;
}

int async_server_abort_clients(async_server *server)
{
    if (!server) return async__null_wait("server");
    server->aborted = server->accepted;
    for (struct async__client *client = server->clients; client; client = client->next)
        abort_client(client);
    return 0;
}

static bool serves_here(const async_server *server)
{
    for (struct async__client *client = server->clients; client; client = client->next)
        if (client->task == async__current) return true;
    return false;
}

int async_server_wait_closed(async_server *server)
{
    if (!server) return async__null_wait("server");
    if (serves_here(server))
        return async__misuse(async__failf(-EDEADLK, "a client of the server waits for its end"));
    server->references++;
    int closed = server->closed ? 0 : async_server_close(server);
    int code = async__checkpoint();
    if (code == 0 && server->serving) code = async__wait_in(&server->finished, "server", NULL);
    async__server_unref(server);
    return code < 0 ? code : closed;
}
