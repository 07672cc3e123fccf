/* nginx.h - a real nginx for a test: on free loopback ports, in a directory of its own under
 * /tmp, with the test's configuration.
 *
 * It runs as the child of a shell that waits for the end of a pipe whose other end the test
 * holds. So it ends, and its directory is removed, when the test calls nginx_stop, and also when
 * the test crashes, aborts or is killed.
 *
 * The configuration is what stands inside of http { }; in it @0@ to @7@ are free ports
 * (server->port[0] to [7]) and @dir@ is the directory. */
#ifndef TESTS_HTTP_NGINX_H
#define TESTS_HTTP_NGINX_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NGINX_PORTS 8

struct nginx {
    int port[NGINX_PORTS];
    int pipe;
    pid_t shell;
    char dir[64];
};

extern char **environ;

__attribute__((unused)) static int nginx_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* All are held at once, so that they differ. */
static void nginx_free_ports(struct nginx *server)
{
    int fds[NGINX_PORTS];

    for (int i = 0; i < NGINX_PORTS; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bind(fds[i], (struct sockaddr *)&address, sizeof address);
        getsockname(fds[i], (struct sockaddr *)&address, &length);
        server->port[i] = ntohs(address.sin_port);
    }
    for (int i = 0; i < NGINX_PORTS; i++)
        close(fds[i]);
}

static void nginx_write(const struct nginx *server, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/nginx.conf", server->dir);
    FILE *file = fopen(path, "we");
    if (!file) return;

    fprintf(file,
            "daemon off;\nmaster_process off;\nerror_log %s/error.log;\npid %s/pid;\n"
            "events { worker_connections 4096; }\nhttp {\naccess_log off;\n",
            server->dir, server->dir);
    for (const char *kind = "client_body\0proxy\0fastcgi\0uwsgi\0scgi\0"; *kind;
         kind += strlen(kind) + 1)
        fprintf(file, "%s_temp_path %s/%s;\n", kind, server->dir, kind);
    while (*text) {
        if (text[0] == '@' && text[1] >= '0' && text[1] < '0' + NGINX_PORTS && text[2] == '@') {
            fprintf(file, "%d", server->port[text[1] - '0']);
            text += 3;
        } else if (strncmp(text, "@dir@", 5) == 0) {
            fputs(server->dir, file);
            text += 5;
        } else {
            fputc(*text++, file);
        }
    }
    fprintf(file, "}\n");
    fclose(file);
}

/* The directory, and in it `www`. Files may be put there before nginx_start. */
__attribute__((unused)) static bool nginx_prepare(struct nginx *server)
{
    char path[96];

    memset(server, 0, sizeof *server);
    strcpy(server->dir, "/tmp/casyncio-nginx-XXXXXX");
    if (!mkdtemp(server->dir)) return false;
    snprintf(path, sizeof path, "%s/www", server->dir);
    return mkdir(path, 0755) == 0;
}

static bool nginx_spawn(struct nginx *server)
{
    static char script[] = "trap '' INT; PATH=$PATH:/usr/sbin:/sbin; cd \"$0\" || exit 1\n"
                           "nginx -e error.log -p \"$0\" -c nginx.conf </dev/null &\n"
                           "read -r _; kill -9 $! 2>/dev/null; wait; cd /; rm -rf \"$0\"\n";
    char *arguments[] = {"sh", "-c", script, server->dir, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    int code = posix_spawn(&server->shell, "/bin/sh", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    server->pipe = ends[1];
    return code == 0;
}

__attribute__((unused)) static void nginx_stop(struct nginx *server)
{
    if (server->shell <= 0) return;
    close(server->pipe);
    waitpid(server->shell, NULL, 0);
    server->shell = 0;
}

/* Whether nginx listens on @0@, within a minute; if not, its log goes to stderr. */
__attribute__((unused)) static bool nginx_start(struct nginx *server, const char *text)
{
    nginx_free_ports(server);
    nginx_write(server, text);
    if (!nginx_spawn(server)) return false;
    for (int wait = 0; wait < 6000; wait++) {
        int fd = nginx_connect(server->port[0]);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        usleep(10000);
    }
    char command[128];
    snprintf(command, sizeof command, "cat %s/error.log >&2", server->dir);
    if (system(command) != 0) perror("nginx log");
    nginx_stop(server);
    return false;
}

/* In the directory: ca.crt and other-ca.crt; by the former, NAME.crt and NAME.key for `good`
 * (localhost and 127.0.0.1), `stranger` (stranger.example), `expired`, and `client`. */
__attribute__((unused)) static bool nginx_certificates(const struct nginx *server)
{
    static const char script[] =
        "set -e; cd %s; exec >openssl.log 2>&1; touch index.txt; echo 01 >serial\n"
        "cat >ca.cnf "
        "<<END\n[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n"
        "default_md=sha256\npolicy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName="
        "supplied\n"
        "[req]\ndistinguished_name=n\n[n]\n[v3_ca]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nEND\n"
        "key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
        "ca() { key $1; openssl req -x509 -new -key $1.key -subj \"/CN=$1\" -days 30 "
        "-config ca.cnf -extensions v3_ca -out $1.crt; }\n"
        "leaf() { key $1; openssl req -new -key $1.key -subj \"/CN=$1\" -config ca.cnf "
        "-addext \"subjectAltName=$2\" -out $1.csr; openssl ca -batch -notext -config ca.cnf "
        "-cert ca.crt -keyfile ca.key -startdate $3 -enddate $4 -in $1.csr -out $1.crt; }\n"
        "ca ca; ca other-ca; all='20200101000000Z 20491231235959Z'\n"
        "leaf good DNS:localhost,IP:127.0.0.1 $all; leaf stranger DNS:stranger.example $all\n"
        "leaf client DNS:client $all\n"
        "leaf expired DNS:localhost,IP:127.0.0.1 20200101000000Z 20200201000000Z\n";
    char command[sizeof script + sizeof server->dir];

    snprintf(command, sizeof command, script, server->dir);
    return system(command) == 0;
}

/* "http://127.0.0.1:PORT<path>", in a buffer that the next eight calls leave alone. */
__attribute__((unused)) static const char *nginx_url(const struct nginx *server, const char *path)
{
    static __thread char urls[8][512];
    static __thread unsigned next;
    char *url = urls[next++ % 8];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", server->port[0], path);
    return url;
}

#endif
