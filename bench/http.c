/* http: GETs by libcasyncio-http beside libcurl's multi interface used bare, the limit: CPU time of the
 * client for a request, in microseconds.
 *
 * Both keep their connections and their easy handles, set the same options, and copy the body and look
 * at each header line. The server is nginx if it is installed, else a plain loop that always gives the
 * same answer; it runs on another processor. */
#include "bench.h"

#include <casyncio.h>
#include <casyncio/http.h>
#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../tests/http/nginx.h"
#include "support/child.h"

enum { CONCURRENT = 32, REQUESTS = 1500, TURNS = 15, BODY = 612, EVENTS = 64 };

static const char *url;

/* ---- the limit: curl_multi_socket_action and a plain epoll loop ---- */

struct transfer {
    CURL *easy;
    char body[4 * BODY];
    size_t length, headers;
};

static struct bare {
    CURLM *multi;
    CURLSH *share;
    int epoll;
    double due; /* wall time at which curl wants to be called; 0: never */
    struct transfer transfers[CONCURRENT];
    int begun, ended, count;
} bare;

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *unused, void *known)
{
    (void)easy, (void)unused;
    struct epoll_event event = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) |
                                          (what & CURL_POLL_OUT ? EPOLLOUT : 0u),
                                .data.fd = fd};
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(bare.epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    epoll_ctl(bare.epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    curl_multi_assign(bare.multi, fd, &bare);
    return 0;
}

static int on_timer(CURLM *multi, long milliseconds, void *unused)
{
    (void)multi, (void)unused;
    bare.due = milliseconds < 0 ? 0 : bench_wall() + (double)milliseconds * 1e6;
    return 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *transfer)
{
    (void)line;
    ((struct transfer *)transfer)->headers++;
    return size * count;
}

static size_t on_body(char *data, size_t size, size_t count, void *argument)
{
    struct transfer *transfer = argument;
    size *= count;
    if (transfer->length + size > sizeof transfer->body) return 0;
    memcpy(transfer->body + transfer->length, data, size);
    transfer->length += size;
    return size;
}

static void bare_open(void)
{
    bare.epoll = epoll_create1(EPOLL_CLOEXEC);
    bare.multi = curl_multi_init();
    bare.share = curl_share_init();
    curl_share_setopt(bare.share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_share_setopt(bare.share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE);
    curl_multi_setopt(bare.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(bare.multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(bare.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 100L);
    curl_multi_setopt(bare.multi, CURLMOPT_MAXCONNECTS, 100L);
    for (int i = 0; i < CONCURRENT; i++) {
        struct transfer *transfer = &bare.transfers[i];
        CURL *easy = transfer->easy = curl_easy_init();
        curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
        curl_easy_setopt(easy, CURLOPT_SHARE, bare.share);
        curl_easy_setopt(easy, CURLOPT_COOKIEFILE, "");
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "casyncio/" ASYNC_VERSION);
        curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 30000L);
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    }
}

static void bare_begin(struct transfer *transfer)
{
    bare.begun++;
    transfer->length = transfer->headers = 0;
    curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
    curl_easy_setopt(transfer->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_multi_add_handle(bare.multi, transfer->easy);
}

static void bare_collect(void)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(bare.multi, &left))) {
        struct transfer *transfer;
        CURL *easy = message->easy_handle;
        if (message->data.result != CURLE_OK) {
            fprintf(stderr, "http: %s\n", curl_easy_strerror(message->data.result));
            exit(1);
        }
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        curl_multi_remove_handle(bare.multi, easy);
        bare.ended++;
        if (bare.begun < bare.count) bare_begin(transfer);
    }
}

static double bare_gets(int concurrent)
{
    struct epoll_event events[EVENTS];
    int running;
    double start = bench_cpu();

    bare.begun = bare.ended = 0;
    bare.count = REQUESTS;
    for (int i = 0; i < concurrent; i++)
        bare_begin(&bare.transfers[i]);
    while (bare.ended < bare.count) {
        int timeout = -1;
        if (bare.due) {
            double left = (bare.due - bench_wall()) * 1e-6;
            timeout = left > 0 ? (int)left + 1 : 0;
        }
        int ready = timeout == 0 ? 0 : epoll_wait(bare.epoll, events, EVENTS, timeout);
        if (ready <= 0) {
            bare.due = 0;
            curl_multi_socket_action(bare.multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        for (int i = 0; i < ready; i++) {
            int what = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                       (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
            curl_multi_socket_action(bare.multi, events[i].data.fd, what, &running);
        }
        bare_collect();
    }
    return (bench_cpu() - start) / REQUESTS;
}

static void bare_close(void)
{
    for (int i = 0; i < CONCURRENT; i++)
        curl_easy_cleanup(bare.transfers[i].easy);
    curl_multi_cleanup(bare.multi);
    curl_share_cleanup(bare.share);
    close(bare.epoll);
}

/* ---- ours ---- */

struct fetch {
    async_http_session *session;
    int *left;
};

static int fetch(struct fetch *self)
{
    while ((*self->left)-- > 0) {
        async_with_http_get (response, self->session, url)
            if (!async_http_read(response, NULL)) return async_error_code();
    }
    return 0;
}

static double our_gets(async_http_session *session, int concurrent)
{
    int left = REQUESTS;
    double start = bench_cpu();
    async_task *tasks[CONCURRENT];

    for (int i = 0; i < concurrent; i++)
        tasks[i] = async_spawn(fetch, .session = session, .left = &left);
    if (async_gather_array(tasks, (size_t)concurrent) < 0) {
        fprintf(stderr, "http: %s\n", async_error_message());
        exit(1);
    }
    return (bench_cpu() - start) / REQUESTS;
}

static int compare(void *unused)
{
    (void)unused;
    async_http_session *session = async_http_session_new(NULL);
    if (!session) return async_error_code();
    bare_open();
    bench_heading();
    for (int concurrent = 1; concurrent <= CONCURRENT; concurrent += CONCURRENT - 1) {
        struct bench_pair pairs[TURNS];
        bare_gets(concurrent);
        our_gets(session, concurrent);
        for (int turn = 0; turn < TURNS; turn++) {
            pairs[turn].limit = bare_gets(concurrent) * 1e-3;
            pairs[turn].ours = our_gets(session, concurrent) * 1e-3;
        }
        struct bench_pair median = bench_median(pairs, TURNS);
        bench_row(concurrent == 1 ? "HTTP GET, one after another" : "HTTP GET, 32 at a time", "us",
                  median.ours, median.limit, "1.10 x");
    }
    bare_close();
    async_http_session_free(session);
    return 0;
}

/* ---- the server ---- */

/* As nginx would answer, one request a read. */
static void run_plain_server(void *unused)
{
    char response[BODY + 512], request[4096];
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int port, epoll = epoll_create1(EPOLL_CLOEXEC), listener = bench_listen(&port);
    int length =
        snprintf(response, sizeof response,
                 "HTTP/1.1 200 OK\r\nServer: plain\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                 "Content-Type: text/html\r\nContent-Length: %d\r\n"
                 "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n"
                 "ETag: \"0\"\r\nAccept-Ranges: bytes\r\n\r\n%*s",
                 BODY, BODY, "");
    (void)unused;

    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    bench_tell(port);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (event.data.fd >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
            } else if (recv(fd, request, sizeof request, 0) <= 0 ||
                       send(fd, response, (size_t)length, MSG_NOSIGNAL) != length) {
                close(fd);
            }
        }
    }
}

static bool start_nginx(struct nginx *nginx)
{
    char path[96];

    if (system("PATH=$PATH:/usr/sbin:/sbin command -v nginx >/dev/null") != 0) return false;
    if (!nginx_prepare(nginx)) return false;
    snprintf(path, sizeof path, "%s/www/index.html", nginx->dir);
    FILE *file = fopen(path, "w");
    if (!file) return false;
    fprintf(file, "%*s", BODY, "");
    fclose(file);
    return nginx_start(nginx, "server { listen 127.0.0.1:@0@; root @dir@/www; "
                              "keepalive_requests 1000000; }\n");
}

int main(void)
{
    char plain_url[64];
    struct nginx nginx = {0};
    pid_t plain = 0;

    bench_pin(1); /* the server inherits it */
    if (start_nginx(&nginx)) {
        url = nginx_url(&nginx, "/index.html");
    } else {
        plain = bench_child(1, run_plain_server, NULL);
        snprintf(plain_url, sizeof plain_url, "http://127.0.0.1:%d/", bench_hear());
        url = plain_url;
    }
    bench_pin(0);
    int code = async_run(compare, NULL);
    nginx_stop(&nginx);
    if (plain) bench_end(plain);
    return code < 0;
}
