/* casyncio's loop inside of GLib's: coroutines and GLib's callbacks take turns in one thread, as in a
 * program with a GTK window. Python: PyGObject's
 * gi.events */
#include <casyncio.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a GSource that runs a casyncio loop: all that is needed to put one into GLib ---- */

struct loop_source {
    GSource source;
    async_loop *loop;
    gpointer fd;
};

static gboolean prepare(GSource *source, gint *timeout)
{
    double seconds = async_loop_timeout(((struct loop_source *)source)->loop);
    *timeout = seconds == 0                   ? 0
               : seconds > INT_MAX / 1000 - 1 ? INT_MAX
                                              : (gint)(seconds * 1000) + 1;
    return seconds == 0;
}

static gboolean check(GSource *source)
{
    struct loop_source *self = (struct loop_source *)source;
    return g_source_query_unix_fd(source, self->fd) || async_loop_timeout(self->loop) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    async_loop_run_once(((struct loop_source *)source)->loop, 0);
    return G_SOURCE_CONTINUE;
}

static GSource *attach(async_loop *loop)
{
    static GSourceFuncs functions = {.prepare = prepare, .check = check, .dispatch = dispatch};
    GSource *source = g_source_new(&functions, sizeof(struct loop_source));
    struct loop_source *self = (struct loop_source *)source;

    self->loop = loop;
    self->fd = g_source_add_unix_fd(source, async_loop_fd(loop), G_IO_IN);
    g_source_attach(source, NULL);
    return source;
}

/* ---- the program ---- */

static async_event pressed = ASYNC_EVENT_INIT;

static int in_thread(void *unused) { return 42; }

static int main_task(void)
{
    puts("coroutine: waits for GLib");
    int code = async_event_wait(&pressed);
    if (code < 0) return code;
    puts("coroutine: was woken by GLib");
    code = async_sleep(0.05);
    if (code < 0) return code;
    puts("coroutine: has slept");
    code = async_to_thread(in_thread, NULL);
    printf("coroutine: a thread gave %d\n", code);
    return code;
}

/* A callback of GLib's is no task: it may not wait, and may do all else. */
static gboolean on_button(gpointer unused)
{
    puts("GLib: the button was pressed");
    async_event_set(&pressed);
    return G_SOURCE_REMOVE;
}

static GMainLoop *main_loop;
static void on_done(async_callback *done) { g_main_loop_quit(main_loop); }

int main(void)
{
    async_runner *runner = async_runner_new(NULL);
    if (!runner) {
        fprintf(stderr, "%s\n", async_error_message());
        return EXIT_FAILURE;
    }
    main_loop = g_main_loop_new(NULL, FALSE);
    GSource *source = attach(async_runner_get_loop(runner));
    g_timeout_add(50, on_button, NULL);

    static async_done_callback done = {.callback = {.run = on_done}};
    async_task *task = async_loop_create_task(async_runner_get_loop(runner), main_task);
    if (async_task_add_done_callback(task, &done) == 0) g_main_loop_run(main_loop);
    int result = async_task_result(task);
    printf("GLib: the main loop has ended, the coroutine gave %d\n", result);

    async_detach(task);
    g_source_destroy(source); /* before the loop is closed, whose descriptor it watches */
    g_source_unref(source);
    g_main_loop_unref(main_loop);
    return async_runner_close(runner) < 0 || result != 42;
}
