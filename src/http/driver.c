/* driver.c - one CURLM on the loop.
 *
 * curl says which descriptors it wants to hear of (on_socket) and when it wants to be called in
 * any case (on_timer); the loop calls curl_multi_socket_action, once for each descriptor that is
 * ready, both directions together. What has finished by then is told to who waits for it.
 *
 * A descriptor is forgotten by the loop as soon as curl loses interest, since curl may close it
 * any time after, and not all closes are announced: not those of the pairs that its resolver's
 * threads signal through, nor (7.88) those of sockets that are still connecting, which are
 * closed without a word before curl says that it has lost interest. The number may even have
 * been given to a new socket by then, of which curl says nothing since it takes it for the same:
 * async__http_open_socket looks for that.
 *
 * Nothing here tells curl of a failure of ours: it would declare the whole CURLM dead. A timer
 * that cannot be set becomes a kick, which is early but harmless; a descriptor that cannot be
 * watched dooms its transfer. */
#include "http_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- what has finished ---- */

void async__http_finish(async_http_response *response, int code)
{
    async_http_session *session = response->session;

    if (response->finished) return;
    response->finished = true;
    response->code = code;
    response->paused = false;
    if (response->running) {
        response->running = false;
        curl_multi_remove_handle(session->multi, response->easy);
    }
    async_timer_cancel(session->loop, &response->timeout);
    async__free(response->upload_copy);
    response->upload_copy = NULL;
    async_event_set(&response->changed);
}

/* The kick is to look at the session's responses. */
static void ask_attention(async_http_session *session)
{
    session->attention = true;
    async_call_soon(session->loop, &session->kick);
}

static void doom(async_http_response *response, int code)
{
    if (!response->doom) response->doom = code;
    ask_attention(response->session);
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
        async__http_finish(response, async__http_code(response, result));
    }
}

/* Has curl run the transfer: what changes between these two calls and back makes it due. */
static void poke(async_http_response *response)
{
    response->poke = false;
    curl_easy_pause(response->easy, CURLPAUSE_SEND);
    curl_easy_pause(response->easy, CURLPAUSE_CONT);
}

/* Ends those that are doomed; with `all` not 0, every one: the CURLM itself has failed. */
static void attend(async_http_session *session, int all)
{
    session->attention = false;
    for (async_http_response *response = session->open; response; response = response->next) {
        if (!response->running) continue;
        int code = response->doom ? response->doom : all;
        if (code < 0)
            async__http_finish(response, code);
        else if (response->poke)
            poke(response);
    }
}

static void drive(async_http_session *session, curl_socket_t fd, int ready)
{
    int running;
    CURLMcode code = curl_multi_socket_action(session->multi, fd, ready, &running);

    collect(session);
    if (code != CURLM_OK && code != CURLM_BAD_SOCKET)
        attend(session, code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO);
    else if (session->attention)
        attend(session, 0);
}

/* ---- time ---- */

static void on_kick(async_callback *callback)
{
    drive(async__http_container(callback, async_http_session, kick), CURL_SOCKET_TIMEOUT, 0);
}

static void on_time(async_callback *callback)
{
    drive(async__http_container(callback, async_http_session, timer.callback), CURL_SOCKET_TIMEOUT,
          0);
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
        async_call_soon(session->loop, &session->kick);
    else if (!session->attention)
        async_callback_cancel(&session->kick);
    return 0;
}

/* ---- descriptors ---- */

static void on_ready(async_watch *watch, int which)
{
    struct async__http_socket *socket =
        async__http_container(watch - which, struct async__http_socket, watch);
    int ready = which == 0 ? CURL_CSELECT_IN : CURL_CSELECT_OUT;

    if (async_callback_cancel(&socket->watch[!which].callback))
        ready = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    drive(socket->session, watch->fd, ready); /* the socket may be gone after this */
}

static void on_readable(async_callback *callback)
{
    on_ready(async__http_container(callback, async_watch, callback), 0);
}

static void on_writable(async_callback *callback)
{
    on_ready(async__http_container(callback, async_watch, callback), 1);
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
    socket->watched = false;
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

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *unused)
{
    async_http_session *session = data;
    struct async__http_socket *socket = find_socket(session, fd);
    const bool want[2] = {what != CURL_POLL_OUT, what != CURL_POLL_IN};
    async_http_response *response = NULL;
    (void)unused;

    if (what == CURL_POLL_REMOVE) {
        if (!socket || !socket->watched) return 0;
        bool connecting = !socket->watch[0].armed && socket->watch[1].armed;
        forget_socket(socket);
        /* An address has failed. 7.88 goes on to the next one only when it is run again, which
         * nothing makes it do before the connection times out. */
        if (connecting) curl_easy_getinfo(easy, CURLINFO_PRIVATE, &response);
        if (response && response->running) {
            response->poke = true;
            ask_attention(session);
        }
        return 0;
    }
    if (!socket) socket = new_socket(session, fd);
    int code = socket ? watch_socket(socket, want) : -ENOMEM;
    if (code == 0) return 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &response);
    if (response && response->running) doom(response, code);
    return 0;
}

curl_socket_t async__http_open_socket(void *data, curlsocktype purpose,
                                      struct curl_sockaddr *address)
{
    async_http_response *response = data;
    (void)purpose;

    int fd = ASYNC__CALL(socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                address->protocol));
    if (fd < 0) {
        response->socket_code = -errno;
        return CURL_SOCKET_BAD;
    }
    struct async__http_socket *socket = find_socket(response->session, fd);
    if (socket && socket->watched) {
        const bool want[2] = {socket->watch[0].armed, socket->watch[1].armed};
        forget_socket(socket);
        int code = watch_socket(socket, want);
        if (code < 0) doom(response, code);
    }
    return fd;
}

static int on_close_socket(void *data, curl_socket_t fd)
{
    struct async__http_socket *socket = find_socket(data, fd);

    if (socket) forget_socket(socket);
    return close(fd);
}

/* ---- */

void async__http_driver_setup(CURL *easy, async_http_session *session)
{
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, session);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, async__http_open_socket);
}

CURLMcode async__http_driver_open(async_http_session *session)
{
    session->kick.run = on_kick;
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
    async_callback_cancel(&session->kick);
}
