/* resolver.c - names to addresses, by the system's getaddrinfo.
 *
 * Only getaddrinfo follows the whole configuration of a system (hosts, nsswitch, mDNS, resolv.conf),
 * and it blocks, for up to half a minute where a name server does not answer. So it runs in threads.
 * A look-up whose caller is cancelled is abandoned: its thread frees it when getaddrinfo returns.
 *
 * Numeric addresses need no thread: async__lookup_numeric answers at once. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <casyncio/errors.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

/* A look-up hardly computes, it waits: for half a minute where no name server answers, also after
 * it has been abandoned, since getaddrinfo cannot be interrupted. So the pool does not queue a
 * look-up behind others that may be stuck: it makes another thread. The bound is for a program
 * whose every look-up is stuck; each thread costs a stack and a socket. */
enum {
    RESOLVER_THREADS = 64,
    RESOLVER_THREADS_KEPT = 4, /* when no look-up is under way */
};

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *result = async__alloc(size);
    return result ? memcpy(result, text, size) : NULL;
}

static int ask(const char *host, const char *service, const struct addrinfo *hints,
               struct addrinfo **list)
{
#ifdef ASYNC_FAULTS
    if (ASYNC__CALL(0) < 0) return EAI_SYSTEM;
#endif
    return getaddrinfo(host, service, hints, list);
}

static void look_up(async_job *job)
{
    struct async__lookup *self = async__container(job, struct async__lookup, job);
    struct addrinfo hints = {
        .ai_family = self->family,
        .ai_socktype = self->type,
        .ai_protocol = self->protocol,
        .ai_flags = self->flags,
    };
    errno = 0;
    self->error = ask(self->host, self->service, &hints, &self->list);
    if (self->error == EAI_SYSTEM) self->system_error = errno;
    if (self->error) self->list = NULL; /* POSIX does not say what an error leaves in it */
}

static void looked_up(async_job *job)
{
    struct async__lookup *self = async__container(job, struct async__lookup, job);
    self->done(self);
}

static void dropped(async_job *job)
{
    async__lookup_free(async__container(job, struct async__lookup, job));
}

void async__lookup_free(struct async__lookup *lookup)
{
    if (lookup->list) freeaddrinfo(lookup->list);
    async__free(lookup->host);
    async__free(lookup->service);
    async__free(lookup);
}

int async__resolver_submit(async_loop *loop, async_job *job)
{
    if (!loop->resolver)
        loop->resolver = async__pool_new(RESOLVER_THREADS, RESOLVER_THREADS_KEPT, "async-name");
    return loop->resolver ? async__pool_submit(loop->resolver, loop, job) : -ENOMEM;
}

struct async__lookup *async__lookup_start(async_loop *loop, const char *host, const char *service,
                                          int family, int type, int protocol, int flags,
                                          void (*done)(struct async__lookup *), void *data,
                                          int *code)
{
    *code = -ENOMEM;
    struct async__lookup *lookup = async__alloc_zeroed(sizeof *lookup);
    if (!lookup) return NULL;
    lookup->job = (async_job){.work = look_up, .done = looked_up, .drop = dropped};
    lookup->family = family;
    lookup->type = type;
    lookup->protocol = protocol;
    lookup->flags = flags;
    lookup->done = done;
    lookup->data = data;
    if (host && !(lookup->host = copy(host))) goto failed;
    if (service && !(lookup->service = copy(service))) goto failed;
    *code = async__resolver_submit(loop, &lookup->job);
    if (*code < 0) goto failed;
    return lookup;

failed:
    async__lookup_free(lookup);
    return NULL;
}

void async__lookup_abandon(struct async__lookup *lookup) { async_job_abandon(&lookup->job); }

int async__lookup_numeric(const char *host, const char *service, int family, int type, int protocol,
                          int flags, struct addrinfo **list)
{
    /* With AI_ADDRCONFIG glibc reads all addresses of the machine over netlink, and refuses ::1 on a
     * machine without another IPv6 address. */
    struct addrinfo hints = {
        .ai_family = family,
        .ai_socktype = type,
        .ai_protocol = protocol,
        .ai_flags = (flags & ~AI_ADDRCONFIG) | AI_NUMERICHOST | AI_NUMERICSERV,
    };
    *list = NULL;
    int error = ask(host, service, &hints, list);
    if (error) *list = NULL;
    return error;
}

int async__lookup_error(int eai, int system_error)
{
    switch (eai) {
    case 0: return 0;
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
        return ASYNC_ENONAME;
    case EAI_AGAIN: return ASYNC_ETRYNAME;
    case EAI_MEMORY: return -ENOMEM;
    case EAI_SYSTEM: return system_error > 0 ? -system_error : ASYNC_ENAME;
    case EAI_FAMILY:
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY: /* the name is there, but not in this family */
#endif
        return -EAFNOSUPPORT;
    case EAI_SOCKTYPE: return -ESOCKTNOSUPPORT;
    case EAI_BADFLAGS: return -EINVAL;
    case EAI_SERVICE: return -EINVAL; /* no such service, or not for this type of socket */
    default: return ASYNC_ENAME;
    }
}
