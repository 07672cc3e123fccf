/* The corpus of odd requests to Apache, haproxy, node and nginx: the HTTP server takes none that all of them
 * refuse, or it stands in a list with the reason. Those that are not installed are left out.
 *
 * ctest: labels=slow timeout=600 */
#include "server_test.h"
#include "server_corpus.h"
#include "nginx.h"

/* It answers whatever it takes with 200; `script` runs in a directory of its own with the port as $1, and
 * the server in its background. */
struct peer {
    const char *name, *program, *script;
    bool there;
    int port, pipe;
    pid_t shell;
    char directory[64];
    int laxer, stricter; /* than we are */
};

#define END_OF_SCRIPT                                                                              \
    " >log 2>&1 </dev/null &\nread -r _; kill -9 $! 2>/dev/null; wait; cd /; rm -rf \"$0\"\n"

static struct peer peers[] = {
    {.name = "Apache",
     .program = "apache2",
     .script = "m=/usr/lib/apache2/modules; cat >conf <<END\n"
               "ServerRoot $0\nListen 127.0.0.1:$1\nPidFile $0/pid\nServerName a\nErrorLog $0/err\n"
               "LoadModule mpm_event_module $m/mod_mpm_event.so\nUser www-data\nGroup www-data\n"
               "LoadModule authz_core_module $m/mod_authz_core.so\n"
               "LoadModule rewrite_module $m/mod_rewrite.so\nDocumentRoot $0\n"
               "RewriteEngine on\nRewriteRule .* - [R=200,L]\nEND\n"
               "apache2 -X -f $0/conf" END_OF_SCRIPT},
    {.name = "haproxy",
     .program = "haproxy",
     .script = "cat >conf <<END\ndefaults\n mode http\n timeout client 20s\n timeout connect 5s\n"
               " timeout server 20s\nfrontend f\n bind 127.0.0.1:$1\n"
               " http-request return status 200 content-type text/plain string x\nEND\n"
               "haproxy -db -f conf" END_OF_SCRIPT},
    {.name = "node",
     .program = "node",
     .script = "node -e 'require(\"http\").createServer((q, s) => { q.on(\"data\", () => {});"
               " q.on(\"end\", () => s.end(\"x\")) }).listen(+process.argv[1], \"127.0.0.1\")' "
               "$1" END_OF_SCRIPT},
    {.name = "nginx",
     .program = "nginx",
     .script =
         "cat >conf <<END\ndaemon off;\nmaster_process off;\nerror_log $0/error;\npid $0/pid;\n"
         "events {}\nhttp {\naccess_log off;\nclient_body_temp_path $0/b;\nproxy_temp_path $0/p;\n"
         "fastcgi_temp_path $0/f;\nuwsgi_temp_path $0/u;\nscgi_temp_path $0/s;\n"
         "server { listen 127.0.0.1:$1; keepalive_timeout 20;\n"
         "location / { return 200 \"x\"; } }\n}\nEND\n"
         "nginx -e $0/error -p $0 -c $0/conf" END_OF_SCRIPT},
};

/* What we take and none of them does. */
static const char *const taken_by_us[][2] = {
    {"OPTIONS *", "RFC 9110, 9.3.7"},
    {"empty Host", "RFC 9112, 3.2: of a request whose target has no authority; node takes it"},
};

static bool start(struct peer *self, int port)
{
    char command[100], number[16];
    static char path[] = "PATH=$PATH:/usr/sbin:/sbin; cd \"$0\" || exit 1; chmod 755 .\n";
    static char script[4096];
    int ends[2];

    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin command -v %s >/dev/null",
             self->program);
    if (system(command) != 0) {
        print_message("%s is not installed: left out\n", self->name);
        return false;
    }
    strcpy(self->directory, "/tmp/casyncio-peer-XXXXXX");
    assert_non_null(mkdtemp(self->directory));
    self->port = port;
    snprintf(number, sizeof number, "%d", port);
    snprintf(script, sizeof script, "%s%s", path, self->script);
    char *arguments[] = {"sh", "-c", script, self->directory, number, NULL};
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    assert_int_equal(posix_spawn(&self->shell, "/bin/sh", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    self->pipe = ends[1];
    for (int wait = 0; wait < 3000; wait++) {
        int fd = nginx_connect(port);
        if (fd >= 0) close(fd);
        if (fd >= 0) return true;
        usleep(10000);
    }
    snprintf(command, sizeof command, "cat %s/log %s/err* >&2", self->directory, self->directory);
    if (system(command) != 0) perror(self->name);
    fail_msg("%s does not start", self->name);
    return false;
}

static void stop(struct peer *self)
{
    if (!self->there) return;
    close(self->pipe);
    waitpid(self->shell, NULL, 0);
}

/* How many requests have been taken: 2xx. */
static int count(const char *text, const char *mark)
{
    int result = 0;

    for (const char *at = text; (at = strstr(at, mark)); at++)
        result += at[strlen(mark)] == '2';
    return result;
}

static int taken_by(const struct peer *self, const struct odd_request *odd)
{
    static char answer[1 << 20];
    struct timeval timeout = {.tv_sec = 2};
    size_t size = 0;
    ssize_t got;
    int fd = nginx_connect(self->port);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (odd->size > 0) send(fd, odd->bytes, odd->size, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while (size < sizeof answer - 1 &&
           (got = recv(fd, answer + size, sizeof answer - 1 - size, 0)) > 0)
        size += (size_t)got;
    close(fd);
    answer[size] = '\0';
    return count(answer, "HTTP/1.1 ") + count(answer, "HTTP/1.0 ");
}

static void test_never_the_laxest(void **state)
{
    int laxest = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(odd_requests); i++) {
        const struct odd_request *odd = &odd_requests[i];
        int ours = (odd->answers[0] == '2') + count(odd->answers, "; "), most = 0;
        bool known = false;
        for (size_t j = 0; j < COUNT(peers); j++) {
            if (!peers[j].there) continue;
            int theirs = taken_by(&peers[j], odd);
            if (theirs > most) most = theirs;
            peers[j].laxer += theirs > ours;
            peers[j].stricter += theirs < ours;
        }
        for (size_t j = 0; j < COUNT(taken_by_us); j++)
            known |= strcmp(taken_by_us[j][0], odd->name) == 0;
        if (ours <= most || known) continue;
        print_error("%s: %d taken, and by none of the others\n", odd->name, ours);
        laxest++;
    }
    print_message("of %zu requests\n", COUNT(odd_requests));
    for (size_t j = 0; j < COUNT(peers); j++)
        if (peers[j].there)
            print_message(
                "%-8s takes %3d that are refused here, and refuses %d that are taken here\n",
                peers[j].name, peers[j].laxer, peers[j].stricter);
    assert_int_equal(laxest, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_never_the_laxest)};
    struct nginx ports;
    int there = 0;

    nginx_free_ports(&ports);
    for (size_t i = 0; i < COUNT(peers); i++)
        there += peers[i].there = start(&peers[i], ports.port[i]);
    if (there == 0) {
        puts("skipped: none of the other servers is installed");
        return 77;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < COUNT(peers); i++)
        stop(&peers[i]);
    return failed;
}
