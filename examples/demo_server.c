/* The demo's own HTTP server: tells its address, and serves until SIGINT or SIGTERM.
 *
 *     demo_server [PORT]      0 or none: any that is free */
#include "demo_server.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>

static async_task *main_of_all;

static void on_sigterm(async_callback *unused) { async_cancel(main_of_all, "SIGTERM"); }

static int main_task(void *port)
{
    static async_callback callback = {.run = on_sigterm};
    main_of_all = async_current_task();
    int code = async_add_signal_handler(async_get_running_loop(), SIGTERM, &callback);
    if (code < 0) return code;

    async_server *server = async_start_server("127.0.0.1", *(int *)port, NULL);
    if (!server) return async_error_code();
    printf("http://127.0.0.1:%d\n", async_server_port(server));
    return demo_server(&(struct demo_server){.server = server});
}

int main(int argc, char **argv)
{
    int port = 0;
    if (argc > 1 && sscanf(argv[1], "%d", &port) != 1) errx(2, "usage: demo_server [PORT]");
    int code = async_run(main_task, &port);
    if (code < 0 && code != -EINTR && code != -ECANCELED) errx(1, "%s", async_run_error_message());
}
