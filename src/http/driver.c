/* driver.c - one CURLM on the loop.
 *
 * curl says which descriptors it wants to hear of (on_socket) and when it wants to be called in
 * any case (on_timer); the loop calls curl_multi_socket_action, once for each descriptor that is
 * ready, both directions together. The responses whose transfers have finished by then are told.
 *
 * The loop forgets a descriptor as soon as curl loses interest, since curl may close it any time
 * after, and not all closes are announced: not those of the pairs that its resolver's threads
 * signal through, nor (7.88) those of sockets that are still connecting, which are closed before
 * curl says that it has lost interest. The number may even have been given to a new socket by then,
 * of which curl says nothing since it takes it for the same: open_socket looks for that.
 *
 * The exception is a connection that goes back to curl's pool. curl looks at such a connection only
 * when the next request wants it; until then it would stay in CLOSE_WAIT after the server has closed
 * it. So it is watched here, and shut down when something comes: an answer to nothing, or the end.
 * curl finds it dead and closes the descriptor.
 *
 * Nothing here tells curl of a failure of ours: it would declare the whole CURLM dead. If a timer
 * cannot be set curl is run at once, which is early but harmless; a descriptor that cannot be
 * watched ends its transfer. */
#include "http_internal.h"

#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_DISCARDED = 64 }; /* reads of what nothing was to come for */

static void watch_idle(async_http_session *session, curl_socket_t fd,
                       const async_http_response *last);

/* ---- what has finished ---- */

void async__http_stop(async_http_response *response)
{
    response->paused = false;
    if (!response->running) return;
    response->running = false;
    curl_multi_remove_handle(response->session->multi, response->easy);
}

void async__http_finish(async_http_response *response, int code)
{
    if (response->finished) return;
    response->finished = true;
    response->code = code;
    async__http_stop(response);
    async_timer_cancel(response->session->loop, &response->timeout);
    async_timer_cancel(response->session->loop, &response->read_timer);
    async__http_trace_connection(response);
    async__http_trace(response, ASYNC_HTTP_TRACE_END, &(struct async__http_traced){.code = code});
    response->traced = false;
    async_scope_cancel(response->interrupt);
    async__free(response->upload_copy);
    response->upload_copy = NULL;
    async_event_set(&response->changed);
}

static void defer_work(async_http_session *session)
{
    session->work_deferred = true;
    async_call_soon(session->loop, &session->deferred);
}

void async__http_progress(async_http_response *response)
{
    if (!isinf(response->read_timeout))
        response->last_read = async_loop_time(response->session->loop);
}

void async__http_run_soon(async_http_response *response)
{
    response->due = true;
    defer_work(response->session);
}

/* `code` is what the loop says of a descriptor that it cannot watch. */
static void fail_later(async_http_response *response, int code)
{
    if (!response->failure) {
        response->failure = async__http_code_of_errno(-code);
        async__http_detail(response, "a socket cannot be watched: %s", async_strerror(code));
    }
    defer_work(response->session);
}

/* After a 417 curl itself begins again, unless the server closes the connection. */
static bool refused_unsent(const async_http_response *response)
{
    curl_off_t sent = 1;

    if (!response->refused) return false;
    curl_easy_getinfo(response->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    return sent == 0;
}

/* The end of a transfer is that of the response, unless another one has to follow: then the task
 * that waits for the response begins it, whatever has become of a redirect's body. */
static void on_done(async_http_session *session, async_http_response *response, CURLcode result)
{
    curl_socket_t fd = CURL_SOCKET_BAD; /* unless its connection is in curl's pool now */

    curl_easy_getinfo(response->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (result == CURLE_OK && refused_unsent(response)) response->again = true;
    bool another = response->redirected || response->again;
    int code = another ? 0 : async__http_code(response, result);
    response->again_later = async__http_may_retry(response, code);
    if (another || response->again_later) {
        async__http_trace_connection(response);
        if (response->again_later)
            async__http_trace(response, ASYNC_HTTP_TRACE_RETRY,
                              &(struct async__http_traced){.code = code});
        async__http_stop(response);
        async_event_set(&response->changed);
    } else {
        async__http_finish(response, code);
    }
    watch_idle(session, fd, response);
}

static void collect(async_http_session *session)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(session->multi, &left))) {
        async_http_response *response = NULL;
        CURLcode result = message->data.result;
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &response);
        on_done(session, response, result);
    }
}

/* Has curl run the transfer: what changes between these two calls and back makes it due. */
static void run_transfer(async_http_response *response)
{
    response->due = false;
    curl_easy_pause(response->easy, CURLPAUSE_SEND);
    curl_easy_pause(response->easy, CURLPAUSE_CONT);
}

/* Ends the transfers that have failed; if `all` is not 0, every one with that code: the CURLM
 * itself has failed. */
static void do_deferred_work(async_http_session *session, int all)
{
    session->work_deferred = false;
    for (async_http_response *response = session->open; response; response = response->next) {
        if (!response->running) continue;
        int code = response->failure ? response->failure : all;
        if (code < 0)
            async__http_finish(response, code);
        else if (response->due)
            run_transfer(response);
    }
}

static void drive(async_http_session *session, curl_socket_t fd, int ready)
{
    int running;
    CURLMcode code = curl_multi_socket_action(session->multi, fd, ready, &running);

    collect(session);
    if (code != CURLM_OK && code != CURLM_BAD_SOCKET)
        do_deferred_work(session, code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO);
    else if (session->work_deferred)
        do_deferred_work(session, 0);
}

/* ---- time ---- */

static void on_deferred(async_callback *callback)
{
    drive(async__container(callback, async_http_session, deferred), CURL_SOCKET_TIMEOUT, 0);
}

static void on_time(async_callback *callback)
{
    drive(async__container(callback, async_http_session, timer.callback), CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long milliseconds, void *data)
{
    async_http_session *session = data;
    (void)multi;

    if (milliseconds > 0 &&
        async_call_later(session->loop, &session->timer, (double)milliseconds * 1e-3) < 0)
        milliseconds = 0;
    if (milliseconds <= 0) async_timer_cancel(session->loop, &session->timer);
    if (milliseconds == 0)
        async_call_soon(session->loop, &session->deferred);
    else if (!session->work_deferred)
        async_callback_cancel(&session->deferred);
    return 0;
}

/* ---- descriptors ---- */

static void look_at_idle(struct async__http_socket *socket);

static void on_ready(async_watch *watch, int which)
{
    struct async__http_socket *socket =
        async__container(watch - which, struct async__http_socket, watch);
    int ready = which == 0 ? CURL_CSELECT_IN : CURL_CSELECT_OUT;

    if (socket->idle) {
        look_at_idle(socket);
        return;
    }
    if (async_callback_cancel(&socket->watch[!which].callback))
        ready = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    drive(socket->session, watch->fd, ready); /* the socket may be gone after this */
}

static void on_readable(async_callback *callback)
{
    on_ready(async__container(callback, async_watch, callback), 0);
}

static void on_writable(async_callback *callback)
{
    on_ready(async__container(callback, async_watch, callback), 1);
}

static int port_of(int fd, int (*name_of)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;

    if (name_of(fd, (struct sockaddr *)&address, &length) < 0) return 0;
    if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static struct async__http_socket *find_socket(async_http_session *session, curl_socket_t fd)
{
    return fd >= 0 && fd < session->sockets_length ? session->sockets[fd] : NULL;
}

static struct async__http_socket *new_socket(async_http_session *session, curl_socket_t fd)
{
    if (fd >= session->sockets_length) {
        int length = fd * 2 < 64 ? 64 : fd * 2;
        void *grown = async__realloc(session->sockets, (size_t)length * sizeof *session->sockets);
        if (!grown) return NULL;
        session->sockets = grown;
        memset(session->sockets + session->sockets_length, 0,
               (size_t)(length - session->sockets_length) * sizeof *session->sockets);
        session->sockets_length = length;
    }
    struct async__http_socket *socket = async__alloc_zeroed(sizeof *socket);
    if (!socket) return NULL;
    socket->session = session;
    socket->watch[0].callback.run = on_readable;
    socket->watch[1].callback.run = on_writable;
    socket->watch[0].fd = socket->watch[1].fd = fd;
    return session->sockets[fd] = socket;
}

/* The struct stays, for the next socket of that number. */
static void forget_socket(struct async__http_socket *socket)
{
    async_loop *loop = socket->session->loop;

    if (!socket->watched) return;
    for (int which = 0; which < 2; which++)
        async_remove_watch(loop, &socket->watch[which]);
    async_forget_fd(loop, socket->watch[0].fd);
    socket->watched = socket->idle = false;
}

static int watch_socket(struct async__http_socket *socket, const bool want[2])
{
    async_loop *loop = socket->session->loop;

    socket->watched = true;
    for (int which = 0; which < 2; which++) {
        async_watch *watch = &socket->watch[which];
        int code = 0;
        if (!want[which])
            async_remove_watch(loop, watch);
        else if (!watch->armed)
            code = which == 0 ? async_add_reader(loop, watch->fd, watch)
                              : async_add_writer(loop, watch->fd, watch);
        if (code < 0) return code;
    }
    return 0;
}

/* ---- idle connections ---- */

static void set_low_water(struct async__http_socket *socket, int bytes)
{
    setsockopt(socket->watch[0].fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
    socket->padded = bytes > 1;
}

/* curl does not say that it uses a connection again if at the end of the same call it waits for
 * nothing: if the answer is there at once, and the transfer is paused. CURLINFO_ACTIVESOCKET is
 * set only when a transfer has ended. */
static bool in_use(const struct async__http_socket *socket)
{
    int port = port_of(socket->watch[0].fd, getsockname);

    for (async_http_response *response = socket->session->open; response;
         response = response->next) {
        long its_port = 0;
        if (!response->running || response->sends == 0) continue;
        curl_easy_getinfo(response->easy, CURLINFO_LOCAL_PORT, &its_port);
        if (its_port == port) return true;
    }
    return false;
}

/* Ends a connection that is curl's to close. What has come is thrown away: while there is something to
 * be read curl takes the connection for alive, and the next request is sent into it. */
static void end_idle(int fd)
{
    char data[4096];

    shutdown(fd, SHUT_RDWR);
    for (int i = 0; i < MOST_DISCARDED && recv(fd, data, sizeof data, MSG_DONTWAIT) > 0; i++)
        ;
}

/* With HTTP/2 what comes on an idle connection is mostly a PING or a WINDOW_UPDATE for curl to read
 * later; the socket is to be readable again when more comes, or the end. With HTTP/1.1 nothing may
 * come: it would be taken for the answer to the next request. */
static void look_at_idle(struct async__http_socket *socket)
{
    if (in_use(socket)) {
        forget_socket(socket);
        return;
    }
    int fd = socket->watch[0].fd, pending = 0;
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0 && socket->http2) {
        struct tcp_info info = {0};
        socklen_t length = sizeof info;
        if (ioctl(fd, FIONREAD, &pending) == 0 && pending > 0 &&
            getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
            info.tcpi_state == TCP_ESTABLISHED) {
            set_low_water(socket, pending + 1);
            return;
        }
    }
    end_idle(fd);
    forget_socket(socket);
}

static void set_idle(struct async__http_socket *socket, const async_http_response *last)
{
    socket->idle = true;
    socket->http2 = last->version[0] == '2';
    socket->opener = NULL;
}

/* A socket that has gone to curl's pool, if curl does not use it for another transfer already. Only
 * one whose close is announced. */
static void watch_idle(async_http_session *session, curl_socket_t fd,
                       const async_http_response *last)
{
    static const bool want[2] = {true, false};
    struct async__http_socket *socket = find_socket(session, fd);

    if (!socket || !socket->own || socket->watched) return;
    set_idle(socket, last);
    if (watch_socket(socket, want) < 0) forget_socket(socket);
}

/* ---- connections that meet themselves ---- */

/* A connection to a port of this machine that has no listener meets itself, if the kernel picks
 * that very port for its other end. What was sent comes back, and is no TLS. */
static bool meets_itself(const struct async__http_socket *socket)
{
    int fd = socket->watch[0].fd, port = port_of(fd, getsockname);

    return port > 0 && port == port_of(fd, getpeername);
}

/* curl closes a socket before or after it tells of the failure. */
static void look_at_closing(const struct async__http_socket *socket)
{
    async_http_response *response = socket->session->open;

    if (!socket->own || !socket->opener || !meets_itself(socket)) return;
    while (response && response != socket->opener)
        response = response->next;
    if (response && response->running && response->sends == 0) response->met_itself = true;
}

bool async__http_met_itself(const async_http_response *response)
{
    const async_http_session *session = response->session;

    if (response->met_itself) return true;
    for (int fd = 0; response->sends == 0 && fd < session->sockets_length; fd++) {
        const struct async__http_socket *socket = session->sockets[fd];
        if (socket && socket->own && socket->opener == response && meets_itself(socket))
            return true;
    }
    return false;
}

/* ---- curl's callbacks for sockets ---- */

static void on_uninteresting(struct async__http_socket *socket, async_http_response *response)
{
    bool connecting = !socket->watch[0].armed && socket->watch[1].armed;

    look_at_closing(socket);
    /* Mostly it goes to curl's pool: to go on watching saves the loop two system calls. */
    if (socket->own && socket->watch[0].armed && response && response->sends > 0 &&
        !response->paused) {
        async_remove_watch(socket->session->loop, &socket->watch[1]);
        set_idle(socket, response);
        return;
    }
    forget_socket(socket);
    /* An address has failed. 7.88 goes on to the next one only when it is run again, which
     * nothing makes it do before the connection times out. */
    if (connecting && response && response->running) async__http_run_soon(response);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *unused)
{
    async_http_session *session = data;
    struct async__http_socket *socket = find_socket(session, fd);
    const bool want[2] = {what != CURL_POLL_OUT, what != CURL_POLL_IN};
    async_http_response *response = NULL;
    (void)unused;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &response);
    if (what == CURL_POLL_REMOVE) {
        if (socket && socket->watched) on_uninteresting(socket, response);
        return 0;
    }
    if (!socket) socket = new_socket(session, fd);
    int code = socket ? watch_socket(socket, want) : -ENOMEM;
    if (socket) {
        socket->idle = false;
        if (socket->padded) set_low_water(socket, 1);
    }
    if (code < 0 && response && response->running) fail_later(response, code);
    return 0;
}

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    async_http_response *response = data;
    (void)purpose;

    int fd = ASYNC__CALL(socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                address->protocol));
    if (fd < 0) {
        response->socket_code = async__http_code_of_errno(errno);
        return CURL_SOCKET_BAD;
    }
    struct async__http_socket *socket = find_socket(response->session, fd);
    if (socket && socket->watched) {
        const bool want[2] = {socket->watch[0].armed, socket->watch[1].armed};
        forget_socket(socket);
        int code = watch_socket(socket, want);
        if (code < 0) fail_later(response, code);
    }
    if (!socket) socket = new_socket(response->session, fd);
    if (socket) {
        socket->own = true;
        socket->padded = false;
        socket->opener = response;
    }
    return fd;
}

static int on_close_socket(void *data, curl_socket_t fd)
{
    struct async__http_socket *socket = find_socket(data, fd);

    if (socket) {
        look_at_closing(socket);
        forget_socket(socket);
        socket->own = false;
    }
    return close(fd);
}

/* ---- */

void async__http_driver_setup(CURL *easy, async_http_session *session)
{
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, session);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
}

CURLMcode async__http_driver_open(async_http_session *session)
{
    session->deferred.run = on_deferred;
    session->timer.callback.run = on_time;
    session->multi = curl_multi_init();
    if (!session->multi) return CURLM_OUT_OF_MEMORY;
    curl_multi_setopt(session->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(session->multi, CURLMOPT_SOCKETDATA, session);
    curl_multi_setopt(session->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    return curl_multi_setopt(session->multi, CURLMOPT_TIMERDATA, session);
}

void async__http_driver_close(async_http_session *session)
{
    for (int fd = 0; fd < session->sockets_length; fd++) {
        if (!session->sockets[fd]) continue;
        forget_socket(session->sockets[fd]);
        async__free(session->sockets[fd]);
    }
    async__free(session->sockets);
    async_timer_cancel(session->loop, &session->timer);
    async_callback_cancel(&session->deferred);
}
