/* resolve.c - getaddrinfo and getnameinfo for tasks. Numbers are answered at once; names are looked up
 * in the resolver's threads. A task that is cancelled abandons its look-up, whose thread then frees
 * it. */
#include "io.h"

#include <netdb.h>
#include <string.h>

/* ---- names to addresses ---- */

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

    if (!list)
        return async__misuse(
            async__failf(-EINVAL, "async_getaddrinfo: the place for the list is NULL"));
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

/* ---- addresses to names ---- */

struct name_wait {
    async__wait wait;
    struct name_lookup *lookup; /* NULL: it has been abandoned */
};

struct name_lookup {
    async_job job;
    struct sockaddr_storage address;
    socklen_t length;
    int flags;
    int error, system_error; /* EAI_..., and errno for EAI_SYSTEM */
    char host[NI_MAXHOST], service[NI_MAXSERV];
    struct name_wait *waiting;
};

static struct name_lookup *of_job(async_job *job)
{
    return async__container(job, struct name_lookup, job);
}

static int ask_name(struct name_lookup *self)
{
#ifdef ASYNC_FAULTS
    if (ASYNC__CALL(0) < 0) return EAI_SYSTEM;
#endif
    return getnameinfo((struct sockaddr *)&self->address, self->length, self->host,
                       sizeof self->host, self->service, sizeof self->service, self->flags);
}

static void name_work(async_job *job)
{
    struct name_lookup *self = of_job(job);

    errno = 0;
    self->error = ask_name(self);
    self->system_error = errno;
}

static void name_done(async_job *job) { async__unpark(&of_job(job)->waiting->wait); }
static void name_drop(async_job *job) { async__free(of_job(job)); }

static void interrupt_name(async__wait *wait)
{
    struct name_wait *waiting = async__container(wait, struct name_wait, wait);

    async_job_abandon(&waiting->lookup->job);
    waiting->lookup = NULL;
    async__unpark(wait);
}

/* 0; a code, also if a cancellation has abandoned it, which then must not be freed. */
static int run_name_lookup(struct name_lookup *self, bool *abandoned)
{
    struct name_wait waiting = {
        .wait = {.interrupt = interrupt_name, .what = "getnameinfo", .fd = -1}, .lookup = self};
    int code = 0;

    self->job = (async_job){.work = name_work, .done = name_done, .drop = name_drop};
    self->waiting = &waiting;
    if ((self->flags & NI_NUMERICHOST) && (self->flags & NI_NUMERICSERV)) {
        name_work(&self->job);
        return 0;
    }
    code = async__resolver_submit(async__loop(), &self->job);
    if (code < 0)
        return async__failf(code, "getnameinfo: %s",
                            code == -EAGAIN ? "no thread can be made" : async_strerror(code));
    async__park(&waiting.wait);
    *abandoned = !waiting.lookup;
    return *abandoned ? async__interrupted(async__current) : 0;
}

static int give_text(const char *what, const char *text, char *buffer, size_t size)
{
    size_t length = strlen(text);

    if (!buffer || size == 0) return 0;
    if (length >= size)
        return async__failf(-ENOSPC, "getnameinfo: the %s needs %zu bytes, not %zu", what,
                            length + 1, size);
    memcpy(buffer, text, length + 1);
    return 0;
}

static int give_names(const struct name_lookup *self, char *host, size_t host_size, char *service,
                      size_t service_size)
{
    if (self->error) {
        int code = async__lookup_error(self->error, self->system_error);
        return async__failf(code, "getnameinfo: %s",
                            self->error == EAI_SYSTEM ? async_strerror(code)
                                                      : gai_strerror(self->error));
    }
    int code = give_text("host", self->host, host, host_size);
    return code < 0 ? code : give_text("service", self->service, service, service_size);
}

int async_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                      size_t host_size, char *service, size_t service_size, int flags)
{
    bool abandoned = false;
    int code = async__checkpoint();

    if (code < 0) return code;
    if (!address) return async__null("address");
    if (length > sizeof(struct sockaddr_storage))
        return async__failf(-EINVAL, "getnameinfo: an address of %u bytes", (unsigned)length);
    struct name_lookup *self = async__alloc_zeroed(sizeof *self);
    if (!self) return async__failf(-ENOMEM, "no memory to look up a name");
    memcpy(&self->address, address, length);
    self->length = length;
    self->flags = flags;
    code = run_name_lookup(self, &abandoned);
    if (code == 0) code = give_names(self, host, host_size, service, service_size);
    if (!abandoned) async__free(self);
    return code;
}
