/* lookup.c - the resolver (resolver.c) as <casyncio/loop.h> has it: for programs whose main loop is
 * this one, and that have no tasks. */
#include "loop_internal.h"

#include <netdb.h>

/* What runs in the loop when a job is done: the pool's, and the same for all. */
static void (*_Atomic deliver)(async_callback *callback);

async_lookup *async_lookup_start(async_loop *loop, const char *host, const char *service,
                                 const struct addrinfo *hints, void (*done)(async_lookup *lookup),
                                 void *data, int *code)
{
    async_lookup *lookup =
        async__lookup_start(loop, host, service, hints->ai_family, hints->ai_socktype,
                            hints->ai_protocol, hints->ai_flags, done, data, code);
    if (lookup) deliver = lookup->job.callback.run;
    return lookup;
}

void *async_lookup_data(const async_lookup *lookup) { return lookup->data; }

int async_lookup_result(const async_lookup *lookup, int *system_error, struct addrinfo **list)
{
    *system_error = lookup->system_error;
    *list = lookup->list;
    return lookup->error;
}

void async_lookup_free(async_lookup *lookup) { async__lookup_free(lookup); }
void async_lookup_abandon(async_lookup *lookup) { async__lookup_abandon(lookup); }

bool async_is_lookup(const async_callback *callback) { return callback->run == deliver; }
