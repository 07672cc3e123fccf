/* The demo's own HTTP server, for programs that want somebody to talk to. */
#ifndef DEMO_SERVER_H
#define DEMO_SERVER_H

#include <casyncio.h>

/* Serves until it is cancelled. The server is the coroutine's from here:
 *     async_spawn(demo_server, .server = async_start_server("127.0.0.1", 0, NULL))
 *
 *     GET /get         a few lines of text
 *     GET /stream      five chunks, one every 0.2 seconds
 *     GET /status/N    an answer with that status, 200 to 599 */
struct demo_server {
    async_server *server;
};
int demo_server(struct demo_server *self);

/* `url` if that is not NULL. Else the address of `path` on the demo's own server: the one that the
 * environment's CASYNCIO_DEMO_URL tells of, or one that begins to serve here, as a task in the
 * background, until the end of the run. NULL: it could not be started; async_error_code() says why.
 * Good until the next call. */
const char *demo_server_url(const char *url, const char *path);

#endif
