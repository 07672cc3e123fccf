/* Fetches a page over HTTP. aiohttp: ClientSession, session.get, response.text */
#include "demo_server.h"

#include <casyncio.h>
#include <casyncio/http.h>
#include <err.h>
#include <stdio.h>

static int main_task(void *argument)
{
    const char *url = demo_server_url(argument, "/get");
    if (!url) return async_error_code();
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, url) {
            fputs(async_http_text(response), stdout);
            return async_http_raise_for_status(response);
        }
    return async_block_error();
}

int main(int argc, char **argv)
{
    if (async_run(main_task, argc > 1 ? argv[1] : NULL) < 0)
        errx(1, "%s", async_run_error_message());
}
