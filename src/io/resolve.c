/* resolve.c - getaddrinfo for tasks. Numeric hosts are answered at once; names are looked up in the
 * resolver's threads. A task that is cancelled abandons its look-up, whose thread then frees it. */
#include "io.h"

#include <netdb.h>

struct lookup_wait {
    async__wait wait;
    struct async__lookup *lookup;
};

static void on_answer(struct async__lookup *lookup)
{
    struct lookup_wait *waiting = lookup->data;
    async__unpark(&waiting->wait);
}

static void interrupt(async__wait *wait)
{
    struct lookup_wait *waiting = async__container(wait, struct lookup_wait, wait);

    async__lookup_abandon(waiting->lookup);
    waiting->lookup = NULL;
    async__unpark(wait);
}

static int explain(int code, int eai, const char *host, const char *service)
{
    const char *name = host ? host : "", *what = service ? service : "";

    if (code == ASYNC_ENONAME && !host)
        return async__failf(code, "the service %s is not known", what);
    if (code == ASYNC_ENONAME) return async__failf(code, "the host name %s does not resolve", name);
    if (eai == EAI_SERVICE)
        return async__failf(code, "the service %s of host %s is not known", what, name);
    return async__failf(code, "looking up the host name %s: %s", name,
                        eai == EAI_SYSTEM ? async_strerror(code) : gai_strerror(eai));
}

static int ask_thread(const char *host, const char *service, const struct addrinfo *hints,
                      struct addrinfo **list)
{
    int code;
    struct lookup_wait waiting = {
        .wait = {.interrupt = interrupt, .what = "getaddrinfo", .fd = -1}};

    waiting.lookup =
        async__lookup_start(async__loop(), host, service, hints->ai_family, hints->ai_socktype,
                            hints->ai_protocol, hints->ai_flags, on_answer, &waiting, &code);
    if (!waiting.lookup)
        return async__failf(code, "looking up the host name %s: %s", host ? host : "",
                            code == -EAGAIN ? "no thread can be made" : async_strerror(code));
    async__park(&waiting.wait);

    struct async__lookup *lookup = waiting.lookup;
    if (!lookup) return async__interrupted(async__current);
    *list = lookup->list;
    lookup->list = NULL;
    code = async__lookup_error(lookup->error, lookup->system_error);
    if (code < 0) explain(code, lookup->error, host, service);
    async__lookup_free(lookup);
    return code;
}

int async_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                      struct addrinfo **list)
{
    static const struct addrinfo none;

    *list = NULL;
    int code = async__checkpoint();
    if (code < 0) return code;
    if (!hints) hints = &none;
    if (host && (code = async__check_host(host)) < 0) return code;
    if (!host && !service)
        return async__failf(ASYNC_ENONAME, "getaddrinfo needs a host or a service");

    int error = async__lookup_numeric(host, service, hints->ai_family, hints->ai_socktype,
                                      hints->ai_protocol, hints->ai_flags, list);
    if (error == 0) return 0;
    bool numeric = (hints->ai_flags & AI_NUMERICHOST) && (hints->ai_flags & AI_NUMERICSERV);
    if (numeric || (error != EAI_NONAME && error != EAI_SERVICE)) {
        code = async__lookup_error(error, errno);
        return explain(code, error, host, service);
    }
    return ask_thread(host, service, hints, list);
}
