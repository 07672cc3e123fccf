/* datagram_multicast.c - membership of multicast groups, and how multicasts go out. All of it is
 * socket options, of which IPv4 and IPv6 have their own. */
#include "datagram.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

struct group {
    union {
        struct in_addr ipv4;
        struct in6_addr ipv6;
    } address;
    bool multicast;
};

static bool parse(int family, const char *text, struct group *group)
{
    if (inet_pton(family, text, &group->address) != 1) return false;
    group->multicast = family == AF_INET ? IN_MULTICAST(ntohl(group->address.ipv4.s_addr))
                                         : IN6_IS_ADDR_MULTICAST(&group->address.ipv6);
    return true;
}

static int check_family(const async_datagram_endpoint *endpoint, const char *call)
{
    if (!endpoint) return async__datagram_null(call);
    if (endpoint->closed) return async__datagram_closed();
    if (endpoint->family == AF_INET || endpoint->family == AF_INET6) return 0;
    return async__failf(-EAFNOSUPPORT, "multicast needs an endpoint of IPv4 or IPv6");
}

static int check_group(const async_datagram_endpoint *endpoint, const char *text,
                       struct group *group)
{
    int family = endpoint->family;

    if (!text) return async__failf(-EINVAL, "there is no multicast group: it is NULL");
    if (!parse(family, text, group)) {
        if (!parse(family == AF_INET ? AF_INET6 : AF_INET, text, group))
            return async__failf(-EINVAL, "the multicast group %.80s is no address", text);
        return async__failf(-EAFNOSUPPORT,
                            "the multicast group %s is of another family than the endpoint", text);
    }
    return group->multicast ? 0 : async__failf(-EINVAL, "%s is no multicast group", text);
}

/* 0 is the kernel's choice. */
static int find_interface(const char *interface, int *index)
{
    *index = 0;
    if (!interface) return 0;
    *index = ASYNC__CALL((int)if_nametoindex(interface));
    if (*index > 0) return 0;
    return async__failf(-ENODEV, "there is no interface %.80s", interface);
}

static int set(const async_datagram_endpoint *endpoint, int option, const void *value,
               socklen_t size)
{
    int level = endpoint->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    return ASYNC__CALL(setsockopt(endpoint->fd, level, option, value, size)) < 0 ? -errno : 0;
}

static int set_either(const async_datagram_endpoint *endpoint, int ipv4, int ipv6, int value)
{
    return set(endpoint, endpoint->family == AF_INET ? ipv4 : ipv6, &value, sizeof value);
}

static int change_membership(async_datagram_endpoint *endpoint, const char *text,
                             const char *interface, const char *what, int ipv4, int ipv6)
{
    struct group group;
    int index = 0, code = check_group(endpoint, text, &group);

    if (code == 0) code = find_interface(interface, &index);
    if (code < 0) return code;
    if (endpoint->family == AF_INET) {
        struct ip_mreqn request = {.imr_multiaddr = group.address.ipv4, .imr_ifindex = index};
        code = set(endpoint, ipv4, &request, sizeof request);
    } else {
        struct ipv6_mreq request = {.ipv6mr_multiaddr = group.address.ipv6,
                                    .ipv6mr_interface = (unsigned)index};
        code = set(endpoint, ipv6, &request, sizeof request);
    }
    if (code == 0) return 0;
    return async__failf(code, "%s the multicast group %s%s%s: %s", what, text,
                        interface ? " on " : "", interface ? interface : "", async_strerror(code));
}

int async_datagram_join(async_datagram_endpoint *endpoint, const char *group, const char *interface)
{
    int code = check_family(endpoint, __func__);
    if (code < 0) return code;
    return change_membership(endpoint, group, interface, "join", IP_ADD_MEMBERSHIP,
                             IPV6_JOIN_GROUP);
}

int async_datagram_leave(async_datagram_endpoint *endpoint, const char *group,
                         const char *interface)
{
    int code = check_family(endpoint, __func__);
    if (code < 0) return code;
    return change_membership(endpoint, group, interface, "leave", IP_DROP_MEMBERSHIP,
                             IPV6_LEAVE_GROUP);
}

int async_datagram_set_multicast_interface(async_datagram_endpoint *endpoint, const char *interface)
{
    int index = 0, code = check_family(endpoint, __func__);

    if (code == 0) code = find_interface(interface, &index);
    if (code < 0) return code;
    if (endpoint->family == AF_INET) {
        struct ip_mreqn request = {.imr_ifindex = index};
        code = set(endpoint, IP_MULTICAST_IF, &request, sizeof request);
    } else {
        code = set(endpoint, IPV6_MULTICAST_IF, &index, sizeof index);
    }
    if (code == 0) return 0;
    return async__failf(code, "send multicasts by the interface %s: %s",
                        interface ? interface : "of the kernel's choice", async_strerror(code));
}

int async_datagram_set_multicast_ttl(async_datagram_endpoint *endpoint, int hops)
{
    int code = check_family(endpoint, __func__);

    if (code < 0) return code;
    if (hops < 0 || hops > 255)
        return async__failf(-EINVAL, "a multicast's TTL of %d is not one of 0 to 255", hops);
    code = set_either(endpoint, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, hops);
    return code == 0 ? 0 : async__failf(code, "set a multicast's TTL: %s", async_strerror(code));
}

int async_datagram_set_multicast_loop(async_datagram_endpoint *endpoint, bool loop)
{
    int code = check_family(endpoint, __func__);

    if (code < 0) return code;
    code = set_either(endpoint, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, loop);
    return code == 0 ? 0 : async__failf(code, "set a multicast's loop: %s", async_strerror(code));
}
