/* server.c - listening: one server, several sockets.
 *
 * A connection that cannot be accepted for lack of descriptors or memory stays in the kernel's queue,
 * and keeps the socket readable: the server would either fail or spin. So it does not watch its
 * sockets for a second, and then tries again, as asyncio does. The stream is allocated before
 * accept4, so that no connection is accepted and then dropped for lack of memory.
 *
 * A server is reference-counted, as streams are: its owner, each call under way, and the iterator
 * have a reference each. Its memory stays until the loop runs on: after Server.close asyncio's programs
 * call wait_closed, and a task that is to serve it may have been made and not yet begun. */
#include "server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RETRY_DELAY ASYNC__SECOND /* asyncio's ACCEPT_RETRY_DELAY */

enum {
    BACKLOG = 100,
    PORT_TRIES = 32, /* attempts to find a port that is free for all the addresses */
};

static void release(async_server *server)
{
    server->gone = true;
    for (size_t i = 0; i < server->count; i++)
        if (server->listeners[i].held >= 0) close(server->listeners[i].held);
    if (server->spare) async__stream_unref(server->spare);
    if (server->drop_filter) server->drop_filter(server->filter_data);
    async_debug_closed(server);
}

static void free_now(async_server *server)
{
    async_callback_cancel(&server->end);
    async_callback_cancel(&server->at_end);
    async__free(server);
}

static void on_end(async_callback *callback)
{
    async_server *server = async__container(callback, async_server, end);
    if (server->references == 0) free_now(server);
}

static void on_loop_end(async_callback *callback)
{
    free_now(async__container(callback, async_server, at_end));
}

void async__server_unref(async_server *server)
{
    async_loop *loop = async__loop();

    if (--server->references > 0) return;
    if (!server->gone) release(server);
    if (!loop) {
        free_now(server);
        return;
    }
    server->end.run = on_end;
    server->at_end.run = on_loop_end;
    async__soon(loop, &server->end);
    async_loop_at_close(loop, &server->at_end);
}

static async_server *new_server(size_t capacity)
{
    async_server *server =
        async__alloc_zeroed(sizeof *server + capacity * sizeof *server->listeners);
    if (!server) {
        async__failf(-ENOMEM, "no memory for a server");
        return NULL;
    }
    server->references = 1;
    async_debug_opened(server, "server");
    return server;
}

static void add_listener(async_server *server, int fd)
{
    struct listener *listener = &server->listeners[server->count++];
    listener->fd = fd;
    listener->held = -1;
}

/* ---- accepting ---- */

struct pause {
    async__wait wait;
    async_timer timer;
};

static void on_interrupt(async__wait *wait) { async__unpark(wait); }

static void on_time(async_callback *callback)
{
    async__unpark(&async__container(callback, struct pause, timer.callback)->wait);
}

static int park(async_server *server, struct pause *pause)
{
    server->waiting = &pause->wait;
    async__park(&pause->wait);
    server->waiting = NULL;
    return pause->wait.interrupted ? async__interrupted(async__current) : 0;
}

static void note_result(async_server *server, const async__op *op)
{
    if (op->result >= 0)
        async__container((async__op *)op, struct listener, op)->held = (int)op->result;
    else if (op->result != -ECANCELED)
        server->accept_error = (int)op->result;
}

static void on_accepted(async__op *op)
{
    async_server *server = op->owner;

    note_result(server, op);
    server->submitted--;
    if (server->waiting) async__unpark(server->waiting);
}

/* Begins to accept on the sockets, round-robin, beginning after the one that gave the last connection:
 * true if one of the operations has ended at once. */
static bool submit_operations(async_server *server)
{
    async_loop *loop = async__loop();

    for (size_t i = 0; i < server->count; i++) {
        struct listener *listener = &server->listeners[(server->turn + i) % server->count];
        listener->op = (async__op){.watch = {.fd = listener->fd, .direction = ASYNC__READ},
                                   .opcode = ASYNC__OP_ACCEPT,
                                   .done = on_accepted,
                                   .owner = server};
        if (loop->poller->submit(loop, &listener->op)) {
            note_result(server, &listener->op);
            return true;
        }
        server->submitted++;
    }
    return false;
}

/* Ends the operations that are under way. One may get a connection all the same. */
static void end_operations(async_server *server)
{
    async_loop *loop = async__loop();
    async__wait wait = {.interrupt = async__stay_parked, .what = "accept", .fd = -1};

    for (size_t i = 0; i < server->count && server->submitted > 0; i++)
        loop->poller->cancel(loop, &server->listeners[i].op, -ECANCELED);
    while (server->submitted > 0) {
        server->waiting = &wait;
        async__park(&wait);
        server->waiting = NULL;
    }
}

static int take_held(async_server *server)
{
    for (size_t i = 0; i < server->count; i++) {
        size_t index = (server->turn + i) % server->count;
        int fd = server->listeners[index].held;
        if (fd < 0) continue;
        server->listeners[index].held = -1;
        server->turn = (index + 1) % server->count;
        return fd;
    }
    return -EAGAIN;
}

/* Waits for a connection: a descriptor or a code, -EAGAIN to call again. */
static int accept_any(async_server *server)
{
    struct pause pause = {
        .wait = {.interrupt = on_interrupt, .what = "accept", .fd = server->listeners[0].fd}};
    int code = 0, fd = take_held(server);

    if (fd >= 0) return fd;
    server->accept_error = -EAGAIN;
    if (!submit_operations(server)) code = park(server, &pause);
    end_operations(server);
    fd = take_held(server);
    if (fd == -EAGAIN) fd = code < 0 ? code : server->accept_error;
    return fd;
}

int async__server_wait_for_resources(async_server *server)
{
    async_loop *loop = async__loop();
    struct pause pause = {
        .wait = {.interrupt = on_interrupt, .what = "accept", .fd = server->listeners[0].fd},
        .timer = {.callback = {.run = on_time}},
    };

    if (async_call_at_ns(loop, &pause.timer,
                         async__deadline(async_loop_time_ns(loop), RETRY_DELAY)) < 0)
        return async__failf(-ENOMEM, "accept: no memory for a timer");
    int code = park(server, &pause);
    async_timer_cancel(loop, &pause.timer);
    return code;
}

/* Errors that belong to the connection, which has ended before it was accepted (accept(2)): the next
 * one is tried. */
static bool is_of_connection(int code)
{
    switch (-code) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case ETIMEDOUT: return true;
    default: return false;
    }
}

static bool is_shortage(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS || code == -ENOMEM;
}

static int closed(void) { return async__failf(-EBADF, "the server has been closed"); }

/* The stream of the next connection, with all that belongs to it: 0 or a code. */
static int make_spare(async_server *server)
{
    if (server->spare) return 0;
    async_stream *stream = async__stream_new();
    if (!stream) return -ENOMEM;
    async__stream_set_fd(stream, -1, true, false);
    int code = server->make_filter ? server->make_filter(server->filter_data, stream) : 0;
    if (code == 0)
        server->spare = stream;
    else
        async__stream_unref(stream);
    return code;
}

/* A descriptor, -EAGAIN to call again, or a code. */
static int accept_once(async_server *server)
{
    int code = async__checkpoint_in("async_server_accept");
    if (code < 0) return code;
    if (server->closed) return closed();
    int fd = make_spare(server);
    if (fd == 0) fd = accept_any(server);
    if (server->closed) {
        if (fd >= 0) close(fd);
        return closed();
    }
    if (fd >= 0 || fd == -EAGAIN || fd == async__current->interrupt) return fd;
    if (is_of_connection(fd)) return -EAGAIN;
    if (!is_shortage(fd)) return async__failf(fd, "accept: %s", async_strerror(fd));
    code = async__server_wait_for_resources(server);
    if (server->closed) return closed();
    return code < 0 ? code : -EAGAIN;
}

int async__server_accept_stream(async_server *server, async_stream **stream)
{
    if (server->accepting)
        return async__failf(-EBUSY, "another task waits for a connection of this server");
    server->references++;
    server->accepting = true;
    int fd;
    do
        fd = accept_once(server);
    while (fd == -EAGAIN);
    server->accepting = false;
    if (fd >= 0) {
        *stream = server->spare;
        server->spare = NULL;
        (*stream)->own.fd = fd;
        async_debug_opened(*stream, "stream");
    }
    async__server_unref(server);
    return fd < 0 ? fd : 0;
}

async_stream *async_server_accept(async_server *server)
{
    async_stream *stream = NULL;
    if (!server) {
        async__null_wait("server");
        return NULL;
    }
    if (async__server_accept_stream(server, &stream) < 0) return NULL;
    return stream;
}

static int next_client(async_iterator *iterator, void *value)
{
    async_server *server = async__container(iterator, async_server, iterator);
    if (server->closed) return 0;
    int code = async__server_accept_stream(server, value);
    if (code < 0) return server->closed ? 0 : code;
    return 1;
}

static void close_clients(async_iterator *iterator)
{
    async_server *server = async__container(iterator, async_server, iterator);
    if (!server->closed) async_server_close(server);
    server->iterating = false;
    async__server_unref(server);
}

async_iterator *async_server_clients(async_server *server)
{
    if (!server) { /* keep the error of the start that failed */
        async__fail_null("async_server_clients: the server");
        return NULL;
    }
    if (server->iterating || server->serving) {
        async__failf(-EBUSY, "another loop takes the connections of this server");
        return NULL;
    }
    server->iterating = true;
    server->references++;
    server->iterator = (async_iterator){
        .next = next_client, .close = close_clients, .size = sizeof(async_stream *)};
    return &server->iterator;
}

int async_server_set_filter(async_server *server, int (*make)(void *data, async_stream *stream),
                            void (*drop)(void *data), void *data)
{
    if (!server) return async__null_wait("server");
    if (server->make_filter) return async__failf(-EBUSY, "the server has a filter already");
    if (server->spare) async__stream_unref(server->spare);
    server->spare = NULL;
    server->make_filter = make;
    server->drop_filter = drop;
    server->filter_data = data;
    return 0;
}

int async_server_port(const async_server *server)
{
    return server ? server->port : async__null("server");
}

int async_server_close(async_server *server)
{
    if (!server) return 0;
    if (server->closed)
        return async__failf(-EBADF, "async_server_close: the server has been closed already");
    server->closed = true;
    /* The file goes first: while the socket is open, no other server takes the path, and the file's
     * inode number is not given to another file. */
    int code = async__unix_file_remove(&server->file);
    for (size_t i = 0; i < server->count; i++)
        async_close(server->listeners[i].fd);
    /* A call under way finds `closed` when it runs; its reference keeps the server until then. */
    if (server->waiting) async__unpark(server->waiting);
    async__server_unref(server);
    return code;
}

/* ---- TCP ---- */

static int set_option(int fd, int level, int option, int value)
{
    return ASYNC__CALL(setsockopt(fd, level, option, &value, sizeof value)) < 0 ? -errno : 0;
}

/* sin_port and sin6_port have the same offset. */
static int port_of(int fd)
{
    struct sockaddr_in6 address = {.sin6_port = 0};
    socklen_t length = sizeof address;

    if (ASYNC__CALL(getsockname(fd, (struct sockaddr *)&address, &length)) < 0) return -errno;
    return ntohs(address.sin6_port);
}

static void set_port(struct addrinfo *address, int port)
{
    if (address->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)address->ai_addr)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)address->ai_addr)->sin_port = htons((uint16_t)port);
}

static int take_options(async_server_options *options, const async_server_options *given,
                        size_t size)
{
    if (async__options(options, sizeof *options, given, size) == 0) return 0;
    return async__failf(-EINVAL, "listen: the options have a member of a newer version");
}

static int backlog_of(const async_server_options *options)
{
    return options->backlog > 0 ? options->backlog : BACKLOG;
}

static int prepare(int fd, const struct addrinfo *address, bool only_ipv6,
                   const async_server_options *options)
{
    int code = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (code == 0 && options->reuse_port) code = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (code == 0 && address->ai_family == AF_INET6 && only_ipv6)
        code = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (code < 0) return code;
    /* The connections inherit both. */
    if (options->keep_alive) code = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (code < 0) return code;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (ASYNC__CALL(bind(fd, address->ai_addr, address->ai_addrlen)) < 0) return -errno;
    if (ASYNC__CALL(listen(fd, backlog_of(options))) < 0) return -errno;
    return 0;
}

static int listen_on(async_server *server, const struct addrinfo *address, bool only_ipv6,
                     const async_server_options *options)
{
    int fd = ASYNC__CALL(socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                                address->ai_protocol));
    if (fd < 0) return -errno;
    int code = prepare(fd, address, only_ipv6, options);
    if (code == 0 && server->port == 0 && (code = port_of(fd)) > 0) {
        server->port = code;
        code = 0;
    }
    if (code < 0) {
        close(fd);
        return code;
    }
    add_listener(server, fd);
    return 0;
}

static void close_listeners(async_server *server)
{
    while (server->count > 0)
        close(server->listeners[--server->count].fd);
}

static bool names_both(const struct addrinfo *list)
{
    bool ipv4 = false, ipv6 = false;
    for (; list; list = list->ai_next) {
        ipv4 = ipv4 || list->ai_family == AF_INET;
        ipv6 = ipv6 || list->ai_family == AF_INET6;
    }
    return ipv4 && ipv6;
}

/* The machine has no such address or family, though its hosts file or a name server lists it. */
static bool is_missing(int code) { return code == -EAFNOSUPPORT || code == -EADDRNOTAVAIL; }

static bool is_repeated(const struct addrinfo *list, const struct addrinfo *address)
{
    for (; list != address; list = list->ai_next)
        if (list->ai_addrlen == address->ai_addrlen &&
            memcmp(list->ai_addr, address->ai_addr, address->ai_addrlen) == 0)
            return true;
    return false;
}

/* Listens on every address of the list: 0, or a code, and *failed is the address it belongs to. */
static int listen_on_all(async_server *server, struct addrinfo *list, int port,
                         const async_server_options *options, const struct addrinfo **failed)
{
    bool only_ipv6 = options->ipv6_only || names_both(list);
    int missing = 0;

    server->port = port;
    for (struct addrinfo *address = list; address; address = address->ai_next) {
        set_port(address, server->port);
        if (is_repeated(list, address)) continue;
        int code = listen_on(server, address, only_ipv6, options);
        if (code == 0) continue;
        *failed = address;
        if (is_missing(code)) {
            missing = code;
            continue;
        }
        close_listeners(server);
        return code;
    }
    return server->count > 0 ? 0 : missing;
}

static int listen_failed(int code, const struct addrinfo *address)
{
    char text[128];
    async__address_text(address->ai_addr, address->ai_addrlen, text, sizeof text);
    return async__failf(code, "listen on %s: %s", text, async_strerror(code));
}

async_server *async__start_server(const char *host, int port, const async_server_options *given,
                                  size_t options_size)
{
    async_server_options options;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP, .ai_flags = AI_PASSIVE};
    struct addrinfo *list;
    const struct addrinfo *failed = NULL;
    char service[16];
    size_t count = 0;

    if (!async__current) {
        async__no_task();
        return NULL;
    }
    if (port < 0 || port > 65535) {
        async__failf(-EINVAL, "listen: port %d is not one of 0 to 65535", port);
        return NULL;
    }
    if (take_options(&options, given, options_size) < 0) return NULL;
    snprintf(service, sizeof service, "%d", port);
    if (host && !*host) host = NULL;
    if (async_getaddrinfo(host, service, &hints, &list) < 0) return NULL;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    async_server *server = new_server(count);
    int code = server ? -EADDRINUSE : -ENOMEM;
    /* With port 0 the kernel picks a port for the first address, which may be taken for another. */
    for (int tries = port ? 1 : PORT_TRIES; server && tries > 0 && code == -EADDRINUSE; tries--)
        code = listen_on_all(server, list, port, &options, &failed);
    if (code < 0 && failed) listen_failed(code, failed);
    freeaddrinfo(list);
    if (code == 0) return server;
    if (server) async__server_unref(server);
    return NULL;
}

/* ---- Unix sockets ---- */

static int listen_unix(async_server *server, const struct sockaddr_un *address, socklen_t length,
                       const async_server_options *options)
{
    int fd = ASYNC__CALL(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd < 0) return -errno;
    int code =
        async__unix_listen(fd, address, length, options->mode, backlog_of(options), &server->file);
    if (code < 0) {
        close(fd);
        return code;
    }
    add_listener(server, fd);
    return 0;
}

async_server *async__start_unix_server(const char *path, const async_server_options *given,
                                       size_t options_size)
{
    async_server_options options;
    struct sockaddr_un address;
    socklen_t length;

    if (take_options(&options, given, options_size) < 0) return NULL;
    if (async__unix_address(path, &address, &length) < 0) return NULL;
    async_server *server = new_server(1);
    if (!server) return NULL;
    int code = listen_unix(server, &address, length, &options);
    if (code == 0) return server;
    async__server_unref(server);
    async__failf(code, "listen on %s: %s", path, async_strerror(code));
    return NULL;
}
