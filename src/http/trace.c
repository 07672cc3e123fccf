/* trace.c - what a session's on_trace is told.
 *
 * curl says when a name was resolved and a connection stood, but not as it happens: it is asked before
 * the request is sent, or at its end if it never is, and each event has the time of its own. */
#include "http_internal.h"

void async__http_trace(const async_http_response *response, enum async_http_trace_event event,
                       const struct async__http_traced *what)
{
    const async_http_session *session = response->session;
    static const struct async__http_traced nothing;

    if (!session || !session->on_trace || !response->traced) return;
    if (!what) what = &nothing;
    session->on_trace(
        &(async_http_trace){.event = event,
                            .time = what->time > 0 ? what->time : async_loop_time(session->loop),
                            .method = response->method,
                            .url = what->url ? what->url : async_http_url(response),
                            .status = response->status,
                            .code = what->code,
                            .size = what->size,
                            .context = response->trace_context},
        session->trace_data);
}

/* A step towards the connection that curl has taken. */
static void step(const async_http_response *response, CURLINFO info,
                 enum async_http_trace_event event)
{
    curl_off_t microseconds = 0;

    curl_easy_getinfo(response->easy, info, &microseconds);
    if (microseconds <= 0) return;
    async__http_trace(response, event,
                      &(struct async__http_traced){.time = response->transfer_began +
                                                           (double)microseconds * 1e-6});
}

void async__http_trace_connection(async_http_response *response)
{
    long made = 0;

    if (!response->session->on_trace || response->connection_traced) return;
    response->connection_traced = true;
    curl_easy_getinfo(response->easy, CURLINFO_NUM_CONNECTS, &made);
    if (made == 0 && response->sends > 0) {
        async__http_trace(response, ASYNC_HTTP_TRACE_REUSED, NULL);
        return;
    }
    step(response, CURLINFO_NAMELOOKUP_TIME_T, ASYNC_HTTP_TRACE_RESOLVED);
    step(response, CURLINFO_CONNECT_TIME_T, ASYNC_HTTP_TRACE_CONNECTED);
    step(response, CURLINFO_APPCONNECT_TIME_T, ASYNC_HTTP_TRACE_SECURED);
}
