/* server_programs.h - what the tests of the HTTP server with other programs have in common: a server on a
 * port, two of its handlers, and a shell. */
#ifndef TESTS_HTTP_SERVER_PROGRAMS_H
#define TESTS_HTTP_SERVER_PROGRAMS_H

#include "server_test.h"

#include <casyncio/threads.h>
#include <stdarg.h>
#include <sys/wait.h>

static int port;

static int echo(struct async_http_request *request)
{
    size_t size;
    async_http_set_max_body(request, 100000000);
    const void *body = async_http_request_read(request, &size);
    if (!body) return async_error_code();
    return async_http_respond(request, 200, "application/octet-stream", body, size);
}

static int slow(struct async_http_request *request)
{
    int code = async_sleep(0.3);
    return code < 0 ? code : async_http_respond_text(request, 200, "slow");
}

static int serve(void *server) { return async_http_serve(server); }

/* What the last program has printed. */
static char output[65536];

static int run_shell(void *command)
{
    FILE *pipe = popen(command, "r");
    if (!pipe) return -errno;
    size_t size = fread(output, 1, sizeof output - 1, pipe);
    output[size] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

/* In a thread: the loop serves meanwhile. */
static const char *shell(const char *format, ...)
{
    static char command[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    int code = async_to_thread(run_shell, command);
    if (code != 0) print_error("%d: %s: %s\n", code, command, output);
    assert_int_equal(code, 0);
    return output;
}

#endif
