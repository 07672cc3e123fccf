/* The corpus of odd requests to nginx: where nginx refuses a request, the HTTP server has to as well, or
 * stand in a list with the reason. */
#include "server_test.h"
#include "server_corpus.h"
#include "nginx.h"

static struct nginx nginx;

/* What we take and nginx does not. */
static const char *const taken_by_us[][2] = {
    {"closed is not close", "nginx looks for \"close\" anywhere in a Connection header"},
    {"OPTIONS *", "RFC 9110, 9.3.7; nginx does not do it"},
    {"dots", "it is for the handler: a directory that is served refuses the path"},
    {"empty Host", "RFC 9112, 3.2: what a client sends that has no name for the host"},
};

/* How many requests the answers say have been taken: 2xx. */
static int taken(const char *text, const char *mark)
{
    int count = 0;

    for (const char *at = text; (at = strstr(at, mark)); at++)
        count += at[strlen(mark)] == '2';
    return count;
}

/* Of the corpus's own "200 GET / 0; 400". */
static int taken_here(const char *answers)
{
    int count = answers[0] == '2';
    return count + taken(answers, "; ");
}

static int taken_by_nginx(const struct odd_request *odd)
{
    char answer[65536];
    size_t size = 0;
    ssize_t got;
    int fd = nginx_connect(nginx.port[0]);

    assert_true(fd >= 0);
    struct timeval timeout = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (odd->size > 0) assert_int_equal(send(fd, odd->bytes, odd->size, MSG_NOSIGNAL), odd->size);
    shutdown(fd, SHUT_WR);
    while ((got = recv(fd, answer + size, sizeof answer - 1 - size, 0)) > 0)
        size += (size_t)got;
    close(fd);
    answer[size] = '\0';
    return taken(answer, "HTTP/1.1 ");
}

static void test_not_laxer_than_nginx(void **state)
{
    int stricter = 0, laxer = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(odd_requests); i++) {
        const struct odd_request *odd = &odd_requests[i];
        int ours = taken_here(odd->answers), theirs = taken_by_nginx(odd);
        bool known = false;
        for (size_t j = 0; j < COUNT(taken_by_us); j++)
            known |= strcmp(taken_by_us[j][0], odd->name) == 0;
        stricter += ours < theirs;
        if (ours <= theirs) continue;
        if (known) continue;
        print_error("%s: %d taken, nginx takes %d\n", odd->name, ours, theirs);
        laxer++;
    }
    print_message("of %zu requests nginx takes %d that are refused here\n", COUNT(odd_requests),
                  stricter);
    assert_int_equal(laxer, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_laxer_than_nginx)};

    if (system("PATH=$PATH:/usr/sbin:/sbin command -v nginx >/dev/null") != 0) {
        puts("skipped: nginx is not installed");
        return 77;
    }
    if (!nginx_prepare(&nginx) ||
        !nginx_start(&nginx, "server { listen 127.0.0.1:@0@; keepalive_timeout 20;\n"
                             "location / { return 200 \"x\"; } }\n"))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nginx_stop(&nginx);
    return failed;
}
