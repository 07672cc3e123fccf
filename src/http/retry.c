/* retry.c - which requests that failed are made again, and when. */
#include "http_internal.h"

#include <math.h>

#define LONGEST_DELAY 60.0 /* seconds */

/* It may go well the next time. */
static bool may_pass(int code)
{
    static const int codes[] = {-ECONNREFUSED, -ECONNRESET,    -ETIMEDOUT,        -EHOSTUNREACH,
                                -ENETUNREACH,  -EADDRNOTAVAIL, ASYNC_EINCOMPLETE, ASYNC_ENONAME};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == code) return true;
    return false;
}

/* No byte of an answer has come; and to have it done twice is the same, or it cannot have been done. */
bool async__http_may_retry(const async_http_response *response, int code)
{
    const struct async__http_upload *upload = response->source;

    if (response->retries <= 0 || response->header_bytes > 0 || !may_pass(code)) return false;
    if (!response->repeatable && response->sends > 0) return false;
    return !upload || upload->taken == 0 || upload->again_from >= 0;
}

int async__http_wait_to_retry(async_http_response *response)
{
    double delay = response->session->retry_delay * ldexp(1, response->tried);
    async_scope scope;
    int code = async_timeout_enter(&scope, INFINITY);

    if (code < 0) return code;
    response->retries--;
    response->tried++;
    response->interrupt = &scope;
    code = async_sleep(delay < LONGEST_DELAY ? delay : LONGEST_DELAY);
    response->interrupt = NULL;
    async_scope_leave(&scope);
    if (response->finished) return async__http_raise(response, response->code);
    return code;
}
