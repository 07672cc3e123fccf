/* datagram.c - making and closing datagram endpoints, their names; datagram_receive.c and
 * datagram_send.c have the calls that wait.
 *
 * An endpoint is no stream: messages have no place to be kept in but the kernel's queues, and each
 * call is one system call that takes or gives whole datagrams. So there is no buffer here, and
 * nothing that a cancelled call could leave half-way.
 *
 * It is counted as streams are: the owner, each call under way and each iterator have a reference.
 * A close takes the descriptor away, which wakes the tasks that wait for it; the last to leave frees
 * the struct. */
#include "datagram.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef UDP_GRO /* Linux 5.0; musl and older headers lack it */
#define UDP_GRO 104
#endif

int async__datagram_null(const char *call)
{
    return async__misuse(async__null_in(call, "datagram endpoint"));
}

static int no_address(const char *call)
{
    return async__failf(-EINVAL, "%s: the address is NULL", call);
}

int async__datagram_closed(void)
{
    return async__failf(-EBADF, "the datagram endpoint has been closed");
}

void async__datagram_unref(async_datagram_endpoint *endpoint)
{
    if (--endpoint->references > 0) return;
    async_debug_closed(endpoint);
    async__free(endpoint);
}

static async_datagram_endpoint *new_endpoint(void)
{
    async_datagram_endpoint *endpoint = async__alloc_zeroed(sizeof *endpoint);
    if (!endpoint) {
        async__failf(-ENOMEM, "no memory for a datagram endpoint");
        return NULL;
    }
    endpoint->fd = -1;
    endpoint->references = 1;
    async_debug_opened(endpoint, "datagram endpoint");
    return endpoint;
}

/* ---- names ---- */

/* glibc and musl declare them with different types of pointers. */
static int ask_peer(int fd, struct sockaddr *address, socklen_t *length)
{
    return getpeername(fd, address, length);
}

static int ask_own(int fd, struct sockaddr *address, socklen_t *length)
{
    return getsockname(fd, address, length);
}

static int ask_name(int fd, int (*ask)(int, struct sockaddr *, socklen_t *), async_address *address)
{
    *address = (async_address){.length = sizeof address->storage};
    if (ASYNC__CALL(ask(fd, (struct sockaddr *)&address->storage, &address->length)) == 0) return 0;
    address->length = 0;
    return -errno;
}

int async_datagram_sockname(const async_datagram_endpoint *endpoint, async_address *address)
{
    if (!address) return no_address(__func__);
    address->length = 0;
    if (!endpoint) return async__datagram_null(__func__);
    int code = ask_name(endpoint->fd, ask_own, address);
    return code == 0 ? 0
                     : async__failf(code, "sockname of descriptor %d: %s", endpoint->fd,
                                    async_strerror(code));
}

int async_datagram_peername(const async_datagram_endpoint *endpoint, async_address *address)
{
    if (!address) return no_address(__func__);
    address->length = 0;
    if (!endpoint) return async__datagram_null(__func__);
    if (!endpoint->connected)
        return async__failf(-ENOTCONN, "the datagram endpoint is not connected: it has no peer");
    *address = endpoint->peer;
    return 0;
}

int async_datagram_port(const async_datagram_endpoint *endpoint)
{
    async_address address;

    if (!endpoint) return async__datagram_null(__func__);
    int code = async_datagram_sockname(endpoint, &address);
    if (code < 0) return code;
    switch (address.storage.ss_family) {
    case AF_INET: return ntohs(((struct sockaddr_in *)&address.storage)->sin_port);
    case AF_INET6: return ntohs(((struct sockaddr_in6 *)&address.storage)->sin6_port);
    default: return 0;
    }
}

int async_datagram_fd(const async_datagram_endpoint *endpoint)
{
    return endpoint ? endpoint->fd : async__datagram_null(__func__);
}

/* ---- of a descriptor ---- */

/* What the socket is: its family, and its peer if it has one. 0 or a code. */
static int describe(async_datagram_endpoint *endpoint)
{
    int family = 0;
    socklen_t size = sizeof family;

    if (ASYNC__CALL(getsockopt(endpoint->fd, SOL_SOCKET, SO_DOMAIN, &family, &size)) < 0)
        return -errno;
    endpoint->family = (sa_family_t)family;
    if (family == AF_INET6) {
        int only = 0;
        size = sizeof only;
        if (ASYNC__CALL(getsockopt(endpoint->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size)) < 0)
            return -errno;
        endpoint->ipv6_only = only;
    }
    int code = ask_name(endpoint->fd, ask_peer, &endpoint->peer);
    endpoint->connected = code == 0;
    return code == -ENOTCONN ? 0 : code;
}

async_datagram_endpoint *async_datagram_from_fd(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;

    if (ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) < 0) {
        int code = -errno;
        async__failf(code, "a datagram endpoint of descriptor %d: %s", fd, async_strerror(code));
        return NULL;
    }
    if (type != SOCK_DGRAM) {
        async__failf(-EPROTOTYPE, "descriptor %d is a socket, but not a datagram socket", fd);
        return NULL;
    }
    async_datagram_endpoint *endpoint = new_endpoint();
    if (!endpoint) return NULL;
    endpoint->fd = fd;
    int code = describe(endpoint);
    if (code == 0) return endpoint;
    async__datagram_unref(endpoint);
    async__failf(code, "a datagram endpoint of descriptor %d: %s", fd, async_strerror(code));
    return NULL;
}

/* ---- closing ---- */

int async_datagram_close(async_datagram_endpoint *endpoint)
{
    if (!endpoint) return 0;
    if (endpoint->closed)
        return async__failf(-EBADF, "the datagram endpoint has been closed already");
    endpoint->closed = true;
    /* The file goes first: while the socket is open, its inode's number is not given to another. */
    int code = async__unix_file_remove(&endpoint->file);
    async__wake_all(&endpoint->senders);
    int closed = async_close(endpoint->fd);
    endpoint->fd = -1;
    async__datagram_unref(endpoint);
    if (code < 0 || closed == 0) return code;
    return async__failf(closed, "close a datagram endpoint: %s", async_strerror(closed));
}

/* ---- making ---- */

static int set_option(int fd, int level, int option, int value)
{
    return ASYNC__CALL(setsockopt(fd, level, option, &value, sizeof value)) < 0 ? -errno : 0;
}

static int set_options(async_datagram_endpoint *endpoint, const async_datagram_options *options)
{
    int fd = endpoint->fd, code = 0;

    if (options->reuse_port) code = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (code == 0 && options->allow_broadcast) code = set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (code == 0 && endpoint->family == AF_INET6)
        code = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->ipv6_only);
    if (code == 0 && options->report_errors)
        code = async__datagram_keep_errors(fd, endpoint->family);
    if (code < 0) return code;
    endpoint->ipv6_only = options->ipv6_only;
    endpoint->report_errors = options->report_errors;
    if (options->gro) {
        code = set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
        endpoint->gro = true;
        if (code == -ENOPROTOOPT) code = 0; /* an old kernel: each comes by itself */
    }
    return code;
}

/* Opens the endpoint's socket, binds and connects it to those of the addresses that are not NULL: 0,
 * or a code and *what and *failed say of what; then the endpoint has no descriptor. */
static int open_socket(async_datagram_endpoint *endpoint, int family, const struct addrinfo *local,
                       const struct addrinfo *remote, const async_datagram_options *options,
                       const char **what, const struct addrinfo **failed)
{
    *what = "make";
    *failed = NULL;
    endpoint->fd = ASYNC__CALL(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (endpoint->fd < 0) return -errno;
    endpoint->family = (sa_family_t)family;
    int code = set_options(endpoint, options);
    if (code == 0 && local) {
        *what = "bind";
        *failed = local;
        if (ASYNC__CALL(bind(endpoint->fd, local->ai_addr, local->ai_addrlen)) < 0) code = -errno;
    }
    if (code == 0 && remote) {
        *what = "connect";
        *failed = remote;
        if (ASYNC__CALL(connect(endpoint->fd, remote->ai_addr, remote->ai_addrlen)) < 0)
            code = -errno;
        if (code == 0) code = ask_name(endpoint->fd, ask_peer, &endpoint->peer);
        endpoint->connected = code == 0;
    }
    if (code == 0) return 0;
    close(endpoint->fd);
    endpoint->fd = -1;
    return code;
}

static int failed_at(int code, const char *what, const struct addrinfo *address)
{
    char text[ASYNC__ADDRESS_TEXT] = "";
    if (address) async__address_text(address->ai_addr, address->ai_addrlen, text, sizeof text);
    return async__failf(code, "%s a datagram endpoint%s%s: %s", what, address ? " to " : "", text,
                        async_strerror(code));
}

/* The pairs of addresses of one family, in the order of the remote ones; the first that works. */
static int open_ip(async_datagram_endpoint *endpoint, const struct addrinfo *locals,
                   const struct addrinfo *remotes, const async_datagram_options *options)
{
    const struct addrinfo *failed = NULL, *at;
    const char *what = "", *at_what;
    int error = 0;

    for (const struct addrinfo *remote = remotes; remote || !remotes; remote = remote->ai_next) {
        for (const struct addrinfo *local = locals; local || !locals; local = local->ai_next) {
            if (local && remote && local->ai_family != remote->ai_family) continue;
            const struct addrinfo *either = local ? local : remote;
            int code = open_socket(endpoint, either ? either->ai_family : options->family, local,
                                   remote, options, &at_what, &at);
            if (code == 0) return 0;
            if (error == 0) {
                error = code;
                failed = at;
                what = at_what;
            }
            if (!locals) break;
        }
        if (!remotes) break;
    }
    if (error < 0) return failed_at(error, what, failed);
    return async__failf(-EAFNOSUPPORT,
                        "a datagram endpoint at %s cannot have the peer %s: no family is common "
                        "to their addresses",
                        options->local_addr.host ? options->local_addr.host : "",
                        options->remote_addr.host);
}

static int look_up(const char *host, int port, int family, int flags, struct addrinfo **list)
{
    struct addrinfo hints = {.ai_family = family,
                             .ai_socktype = SOCK_DGRAM,
                             .ai_protocol = IPPROTO_UDP,
                             .ai_flags = flags};
    char service[16];

    snprintf(service, sizeof service, "%d", port);
    return async_getaddrinfo(host, service, &hints, list);
}

static int create_ip(async_datagram_endpoint *endpoint, const async_datagram_options *options)
{
    const char *here = options->local_addr.host, *there = options->remote_addr.host;
    struct addrinfo *locals = NULL, *remotes = NULL;
    int code = 0;

    if (here || options->local_addr.port)
        code = look_up(here && *here ? here : NULL, options->local_addr.port, options->family,
                       AI_PASSIVE, &locals);
    if (code == 0 && there)
        code = look_up(there, options->remote_addr.port, options->family, 0, &remotes);
    if (code == 0) code = open_ip(endpoint, locals, remotes, options);
    if (locals) freeaddrinfo(locals);
    if (remotes) freeaddrinfo(remotes);
    return code;
}

/* ---- Unix sockets ---- */

static int bind_unix(async_datagram_endpoint *endpoint, const async_datagram_options *options)
{
    const char *path = options->local_addr.host;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address.sun_family;
    int code;

    if (!path) { /* the kernel gives a socket that is bound to the family alone an abstract name */
        code =
            ASYNC__CALL(bind(endpoint->fd, (struct sockaddr *)&address, length)) < 0 ? -errno : 0;
        return code == 0 ? 0 : failed_at(code, "bind", NULL);
    }
    code = async__unix_address(path, &address, &length);
    if (code < 0) return code;
    code = async__unix_bind(endpoint->fd, &address, length, options->mode, &endpoint->file);
    return code == 0 ? 0
                     : async__failf(code, "bind a datagram endpoint to %s: %s", path,
                                    async_strerror(code));
}

static int connect_unix(async_datagram_endpoint *endpoint, const char *path)
{
    struct sockaddr_un address;
    socklen_t length;
    int code = async__unix_address(path, &address, &length);

    if (code < 0) return code;
    if (ASYNC__CALL(connect(endpoint->fd, (struct sockaddr *)&address, length)) < 0) code = -errno;
    if (code == 0) code = ask_name(endpoint->fd, ask_peer, &endpoint->peer);
    endpoint->connected = code == 0;
    return code == 0 ? 0
                     : async__failf(code, "connect a datagram endpoint to %s: %s", path,
                                    async_strerror(code));
}

static int create_unix(async_datagram_endpoint *endpoint, const async_datagram_options *options)
{
    const struct addrinfo *failed;
    const char *what;
    int code = open_socket(endpoint, AF_UNIX, NULL, NULL, options, &what, &failed);

    if (code < 0) return failed_at(code, what, NULL);
    code = bind_unix(endpoint, options);
    if (code == 0 && options->remote_addr.host)
        code = connect_unix(endpoint, options->remote_addr.host);
    if (code == 0) return 0;
    async__unix_file_remove(&endpoint->file);
    close(endpoint->fd);
    endpoint->fd = -1;
    return code;
}

/* ---- what was asked for ---- */

static int check_port(const char *which, int port, int least)
{
    if (port >= least && port <= 65535) return 0;
    return async__failf(-EINVAL, "a datagram endpoint's %s port %d is not one of %d to 65535",
                        which, port, least);
}

static int check_unix(const async_datagram_options *options)
{
    if (options->local_addr.port || options->remote_addr.port)
        return async__failf(-EINVAL, "a Unix datagram endpoint has no port");
    if (options->reuse_port || options->allow_broadcast || options->ipv6_only ||
        options->report_errors || options->gro)
        return async__failf(-EINVAL, "a Unix datagram endpoint has none of IP's options");
    return 0;
}

static int check(const async_datagram_options *options)
{
    const char *here = options->local_addr.host, *there = options->remote_addr.host;
    int code;

    if (options->family == AF_UNIX) return check_unix(options);
    if (options->family && options->family != AF_INET && options->family != AF_INET6)
        return async__failf(-EAFNOSUPPORT, "a datagram endpoint cannot be of family %d",
                            options->family);
    code = check_port("local", options->local_addr.port, 0);
    if (code == 0 && (there || options->remote_addr.port))
        code = check_port("remote", options->remote_addr.port, 1);
    if (code < 0) return code;
    if (options->remote_addr.port && !there)
        return async__failf(-EINVAL, "a datagram endpoint's remote_addr has a port and no host");
    if (!here && !options->local_addr.port && !there && !options->family)
        return async__failf(-EINVAL, "a datagram endpoint needs an address or a family");
    return 0;
}

async_datagram_endpoint *async__create_datagram_endpoint(const async_datagram_options *given,
                                                         size_t options_size)
{
    async_datagram_options options;

    if (async__options(&options, sizeof options, given, options_size) < 0) {
        async__failf(-EINVAL, "a datagram endpoint: the options have a member of a newer version");
        return NULL;
    }
    if (check(&options) < 0) return NULL;
    async_datagram_endpoint *endpoint = new_endpoint();
    if (!endpoint) return NULL;
    int code =
        options.family == AF_UNIX ? create_unix(endpoint, &options) : create_ip(endpoint, &options);
    if (code == 0) return endpoint;
    async__datagram_unref(endpoint);
    return NULL;
}

/* ---- addresses of others ---- */

int async_datagram_lookup(async_datagram_endpoint *endpoint, const char *host, int port,
                          async_address *address)
{
    struct addrinfo *list;
    int code;

    if (!address) return no_address(__func__);
    address->length = 0;
    if (!endpoint) return async__datagram_null(__func__);
    if (!host) return async__failf(-EINVAL, "there is no host to look up: it is NULL");
    if (endpoint->family == AF_UNIX) {
        if (port) return async__failf(-EINVAL, "a Unix datagram endpoint has no port");
        return async__unix_address(host, (struct sockaddr_un *)&address->storage, &address->length);
    }
    if (port < 1 || port > 65535)
        return async__failf(-EINVAL, "look up %.255s: port %d is not one of 1 to 65535", host,
                            port);
    bool mapped = endpoint->family == AF_INET6 && !endpoint->ipv6_only;
    code = look_up(host, port, endpoint->family, mapped ? AI_V4MAPPED : 0, &list);
    if (code < 0) return code;
    if (list->ai_addrlen > sizeof address->storage)
        code = async__failf(ASYNC_ENONAME, "the host name %s has no address", host);
    else
        memcpy(&address->storage, list->ai_addr, address->length = list->ai_addrlen);
    freeaddrinfo(list);
    return code;
}
