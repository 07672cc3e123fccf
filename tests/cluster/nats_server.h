/* nats_server.h - a real nats-server for a test: on a free port of the loopback, with a store of its own in a
 * temporary directory. It dies with the test, and is started anew on the same port by nats_restart(). */
#ifndef TESTS_CLUSTER_NATS_SERVER_H
#define TESTS_CLUSTER_NATS_SERVER_H

#include "run.h"

#include <casyncio/cluster.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct nats_server {
    pid_t pid;
    int port;
    char dir[64], url[64];
    const char *config; /* more lines of its configuration; NULL: none */
    const char *limits; /* of JetStream; NULL: none */
    bool no_jetstream;
    const char *name; /* of one of several; NULL: the server's own */
};

__attribute__((unused)) static void nap(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static const char *nats_program(void)
{
    static const char *const places[] = {"/usr/sbin/nats-server", "/usr/bin/nats-server",
                                         "/usr/local/bin/nats-server"};
    for (size_t i = 0; i < COUNT(places); i++)
        if (access(places[i], X_OK) == 0) return places[i];
    return NULL;
}

/* For main(): 77 and a reason where there is no server. */
#define NATS_SKIP()                                                                                \
    do {                                                                                           \
        signal(SIGPIPE, SIG_IGN);                                                                  \
        if (!nats_program()) {                                                                     \
            puts("skipped: there is no nats-server (Debian: nats-server)");                        \
            return 77;                                                                             \
        }                                                                                          \
    } while (0)

/* The same, or where valgrind runs the client library's threads by turns, thirty times slower than the server that
 * they answer: for tests with much to do, or with times. */
#define NATS_SKIP_VALGRIND()                                                                       \
    do {                                                                                           \
        NATS_SKIP();                                                                               \
        if (getenv("CASYNCIO_TEST_WRAPPER")) {                                                     \
            puts("skipped: too slow under valgrind for a server that is not");                     \
            return 77;                                                                             \
        }                                                                                          \
    } while (0)

static int nats_remove(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void nats_write_config(const struct nats_server *server)
{
    char path[96];
    snprintf(path, sizeof path, "%s/config", server->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "listen: 127.0.0.1:%d\n", server->port ? server->port : -1);
    if (!server->no_jetstream)
        fprintf(file, "jetstream { store_dir: \"%s/store\"\n%s }\n", server->dir,
                server->limits ? server->limits : "");
    if (server->name) fprintf(file, "server_name: %s\n", server->name);
    if (server->config) fputs(server->config, file);
    assert_int_equal(fclose(file), 0);
}

/* The server tells its port in a file, once it listens. */
static bool nats_read_port(struct nats_server *server)
{
    char path[128], line[512] = "";
    snprintf(path, sizeof path, "%s/nats-server_%d.ports", server->dir, (int)server->pid);
    FILE *file = fopen(path, "r");
    if (!file) return false;
    size_t got = fread(line, 1, sizeof line - 1, file);
    line[got] = 0;
    fclose(file);
    const char *at = strstr(line, "127.0.0.1:");
    if (!at) return false;
    server->port = atoi(at + strlen("127.0.0.1:"));
    return server->port > 0;
}

/* (Re)starts it, and waits until it listens. */
__attribute__((unused)) static void nats_restart(struct nats_server *server)
{
    char config[96];
    pid_t parent = getpid();

    nats_write_config(server);
    snprintf(config, sizeof config, "%s/config", server->dir);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        char log[96];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        snprintf(log, sizeof log, "%s/log", server->dir);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execl(nats_program(), "nats-server", "-c", config, "--ports_file_dir", server->dir, NULL);
        _exit(127);
    }
    for (int i = 0; i < 3000 && !nats_read_port(server); i++)
        nap(0.01);
    assert_true(server->port > 0);
    snprintf(server->url, sizeof server->url, "nats://127.0.0.1:%d", server->port);
}

__attribute__((unused)) static void nats_start(struct nats_server *server)
{
    strcpy(server->dir, "/tmp/casyncio-nats-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    nats_restart(server);
}

__attribute__((unused)) static void nats_kill(struct nats_server *server, int signal_number)
{
    if (server->pid <= 0) return;
    kill(server->pid, signal_number);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

__attribute__((unused)) static void nats_stop(struct nats_server *server)
{
    nats_kill(server, SIGKILL);
    nftw(server->dir, nats_remove, 16, FTW_DEPTH | FTW_PHYS);
    server->port = 0;
}

/* A coroutine on the real clock: what the server does takes time of its own. */
__attribute__((unused)) static int run_real(async_coroutine main, void *argument)
{
    return async_run_with(main, argument, NULL);
}

/* test_<coroutine>: it is run on the real clock, and gives 0. */
#define REAL(coroutine)                                                                            \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(run_real((async_coroutine)(void (*)(void))coroutine, NULL), 0);           \
    }

#endif
