/* address.c - socket addresses to text, and paths to socket addresses. */
#include "io.h"

#include <arpa/inet.h>
#include <casyncio/datagrams.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void unix_text(const struct sockaddr_un *address, socklen_t length, char *text, size_t size)
{
    int path = (int)length - (int)offsetof(struct sockaddr_un, sun_path);

    if (path <= 0)
        snprintf(text, size, "%s", "");
    else if (address->sun_path[0])
        snprintf(text, size, "%.*s", path, address->sun_path);
    else
        snprintf(text, size, "@%.*s", path - 1, address->sun_path + 1);
}

static void ipv6_text(const struct sockaddr_in6 *address, char *text, size_t size)
{
    char number[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";

    inet_ntop(AF_INET6, &address->sin6_addr, number, sizeof number);
    if (address->sin6_scope_id) {
        zone[0] = '%';
        if (!if_indextoname(address->sin6_scope_id, zone + 1))
            snprintf(zone + 1, sizeof zone - 1, "%u", address->sin6_scope_id);
    }
    snprintf(text, size, "[%s%s]:%u", number, zone, ntohs(address->sin6_port));
}

void async__address_text(const struct sockaddr *address, socklen_t length, char *text, size_t size)
{
    char number[INET_ADDRSTRLEN];

    if (size == 0) return;
    text[0] = 0;
    if (!address || length < sizeof address->sa_family) return;
    switch (address->sa_family) {
    case AF_INET: {
        const struct sockaddr_in *in = (const void *)address;
        if (length < sizeof *in) return;
        inet_ntop(AF_INET, &in->sin_addr, number, sizeof number);
        snprintf(text, size, "%s:%u", number, ntohs(in->sin_port));
        return;
    }
    case AF_INET6:
        if (length >= sizeof(struct sockaddr_in6)) ipv6_text((const void *)address, text, size);
        return;
    case AF_UNIX: unix_text((const void *)address, length, text, size); return;
    default: snprintf(text, size, "an address of family %d", address->sa_family);
    }
}

void async_address_text(const async_address *address, char *text, size_t size)
{
    if (size > 0) text[0] = 0;
    if (address && address->length > 0)
        async__address_text((const struct sockaddr *)&address->storage, address->length, text,
                            size);
}

bool async_address_equal(const async_address *a, const async_address *b)
{
    if (a->length == 0 || b->length == 0) return a->length == b->length;
    if (a->storage.ss_family != b->storage.ss_family) return false;
    if (a->storage.ss_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)&a->storage, *y = (const void *)&b->storage;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    if (a->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const void *)&a->storage, *y = (const void *)&b->storage;
        return x->sin6_port == y->sin6_port && x->sin6_scope_id == y->sin6_scope_id &&
               memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
    }
    return a->length == b->length && memcmp(&a->storage, &b->storage, a->length) == 0;
}

int async__unix_address(const char *path, struct sockaddr_un *address, socklen_t *length)
{
    size_t size = path ? strlen(path) : 0;

    if (size == 0)
        return async__failf(-EINVAL, "a Unix socket's path is %s", path ? "empty" : "NULL");
    if (size >= sizeof address->sun_path)
        return async__failf(-ENAMETOOLONG,
                            "the path %.40s... of a Unix socket is %zu bytes long: at most %zu",
                            path, size, sizeof address->sun_path - 1);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, size);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    if (path[0] == '@') { /* an abstract name begins with \0, and does not end with one */
        address->sun_path[0] = 0;
        (*length)--;
    }
    return 0;
}

int async__check_host(const char *host)
{
    enum { LONGEST = 255 }; /* the limit of the DNS (RFC 1035), dots included */
    size_t size = strlen(host);

    if (size == 0) return async__failf(ASYNC_ENONAME, "the host name is empty");
    if (size > LONGEST)
        return async__failf(-ENAMETOOLONG,
                            "the host name %.40s... is %zu characters long: at most %d", host, size,
                            LONGEST);
    return 0;
}
