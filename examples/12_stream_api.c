/* Reads a slow response chunk by chunk, each as it arrives. aiohttp: response.content.iter_any() */
#include "demo_server.h"

#include <casyncio.h>
#include <casyncio/http.h>
#include <err.h>
#include <stdio.h>

static int main_task(void *argument)
{
    const char *url = demo_server_url(argument, "/stream");
    if (!url) return async_error_code();
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, url) {
            int code = async_http_raise_for_status(response);
            if (code < 0) return code;
            async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                fwrite(chunk.data, 1, chunk.size, stdout);
                fflush(stdout);
            }
        }
    return async_block_error();
}

int main(int argc, char **argv)
{
    if (async_run(main_task, argc > 1 ? argv[1] : NULL) < 0)
        errx(1, "%s", async_run_error_message());
}
