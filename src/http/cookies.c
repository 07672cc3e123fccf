/* cookies.c - a session's cookies as a text, and in a file: Netscape's format, as curl and browsers' exports
 * have it. libcurl keeps the cookies, in the session's share; any of its handles gives them out. */
#include "http_internal.h"

#include <casyncio/threads.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEADER "# Netscape HTTP Cookie File\n"

static async_http_response *handle_of(async_http_session *session, int *code)
{
    async_http_response *response = NULL;

    if (!session) {
        async__http_null("session");
        *code = async_error_code();
    } else if (!session->loop || !session->cookies) {
        *code = async_raise_at(NULL, 0, NULL, session->loop ? -EINVAL : -ECONNABORTED,
                               session->loop ? "the HTTP session keeps no cookies"
                                             : "the session's loop has been closed");
    } else if (!(response = async__http_response_take(session))) {
        *code = async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for cookies");
    }
    return response;
}

/* domain, whether its subdomains too, path, secure, expiry, name, value, with tabs between them. */
static bool is_cookie(const char *line)
{
    int tabs = 0;

    if (line[0] == '\t') return false;
    for (const char *c = line; *c; c++) {
        if (*c == '\t') tabs++;
        if ((unsigned char)*c < ' ' && *c != '\t') return false;
    }
    if (tabs != 6 && tabs != 5) return false; /* 5: without a value */
    const char *sub = strchr(line, '\t') + 1, *path = strchr(sub, '\t') + 1;
    const char *secure = strchr(path, '\t') + 1, *expiry = strchr(secure, '\t') + 1;
    const char *end = expiry + strspn(expiry, "0123456789");
    bool known = (strncasecmp(sub, "TRUE\t", 5) == 0 || strncasecmp(sub, "FALSE\t", 6) == 0) &&
                 (strncasecmp(secure, "TRUE\t", 5) == 0 || strncasecmp(secure, "FALSE\t", 6) == 0);
    return known && *path == '/' && end > expiry && *end == '\t' && end[1] && end[1] != '\t';
}

static bool is_comment(const char *line)
{
    return !*line || (*line == '#' && strncmp(line, "#HttpOnly_", 10) != 0);
}

/* The lines of a text, which is cut; first they are checked, then they are kept. */
static int load_lines(async_http_response *response, char *text, bool keep)
{
    int number = 1;

    for (char *line = text, *next; line; line = next, number++) {
        size_t size = strcspn(line, "\n");
        next = line[size] ? line + size + 1 : NULL;
        char end = line[size], before = size > 0 ? line[size - 1] : 0;
        line[size] = 0;
        if (before == '\r') line[size - 1] = 0;
        bool skipped = is_comment(line), good = skipped || is_cookie(line);
        if (keep && !skipped && curl_easy_setopt(response->easy, CURLOPT_COOKIELIST, line))
            return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for cookies");
        if (before == '\r') line[size - 1] = '\r';
        line[size] = end;
        if (!good)
            return async_raise_at(NULL, 0, NULL, -EINVAL, "cookies: line %d is malformed", number);
    }
    return 0;
}

int async_http_cookies_load(async_http_session *session, const char *text)
{
    int code = 0;
    async_http_response *response = handle_of(session, &code);

    if (!response) return code;
    size_t size = text ? strlen(text) + 1 : 0;
    char *own = text ? async__alloc(size) : NULL;
    if (!text)
        code = async_raise_at(NULL, 0, NULL, -EINVAL, "cookies: the text is NULL");
    else if (!own)
        code = async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for cookies");
    if (own) memcpy(own, text, size);
    if (code == 0) code = load_lines(response, own, false);
    if (code == 0) code = load_lines(response, own, true);
    async__free(own);
    async_http_response_free(response);
    return code;
}

int async_http_cookies_clear(async_http_session *session)
{
    int code = 0;
    async_http_response *response = handle_of(session, &code);

    if (!response) return code;
    curl_easy_setopt(response->easy, CURLOPT_COOKIELIST, "ALL");
    async_http_response_free(response);
    return 0;
}

char *async_http_cookies_save(async_http_session *session)
{
    int code = 0;
    struct curl_slist *list = NULL;
    async_http_response *response = handle_of(session, &code);

    if (!response) return NULL;
    CURLcode bad = curl_easy_getinfo(response->easy, CURLINFO_COOKIELIST, &list);
    async_http_response_free(response);
    size_t size = sizeof HEADER;
    for (const struct curl_slist *line = list; line; line = line->next)
        size += strlen(line->data) + 1;
    char *text = bad ? NULL : malloc(size); /* the caller's, to be freed with free() */
    if (text) {
        char *end = stpcpy(text, HEADER);
        for (const struct curl_slist *line = list; line; line = line->next)
            end = stpcpy(stpcpy(end, line->data), "\n");
    } else {
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for cookies");
    }
    curl_slist_free_all(list);
    return text;
}

/* ---- in a file ---- */

#define MOST_BYTES (16 * 1024 * 1024) /* of a file */

struct file_work {
    const char *path;
    char *text;
};

static int read_in_thread(void *data)
{
    struct file_work *work = data;
    int fd = open(work->path, O_RDONLY | O_CLOEXEC);
    size_t size = 0, room = 4096;
    int code = 0;

    if (fd < 0) return -errno;
    work->text = malloc(room);
    while (work->text) {
        ssize_t got = read(fd, work->text + size, room - 1 - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) code = -errno;
        if (got <= 0) break;
        size += (size_t)got;
        if (size + 1 < room) continue;
        if (room > MOST_BYTES) code = -EFBIG;
        char *more = code < 0 ? NULL : realloc(work->text, room *= 2);
        if (code < 0) break;
        if (!more) free(work->text);
        work->text = more;
    }
    close(fd);
    if (!work->text) return -ENOMEM;
    work->text[size] = 0;
    return code == 0 && strlen(work->text) != size ? -EINVAL : code;
}

static int write_all(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) text += n, left -= (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Readable by its owner alone, and never half of it. */
static int write_in_thread(void *data)
{
    struct file_work *work = data;
    size_t size = strlen(work->path) + sizeof ".XXXXXX";
    char *path = malloc(size);
    int code, fd;

    if (!path) return -ENOMEM;
    snprintf(path, size, "%s.XXXXXX", work->path);
    fd = mkostemp(path, O_CLOEXEC);
    code = fd < 0 ? -errno : write_all(fd, work->text);
    if (fd >= 0) close(fd);
    if (code == 0 && rename(path, work->path) < 0) code = -errno;
    if (code < 0 && fd >= 0) unlink(path);
    free(path);
    return code;
}

static int in_thread(int (*function)(void *), struct file_work *work, const char *what)
{
    int code = async_to_thread(function, work);

    if (code == 0 || code == -ECANCELED || code == -ETIMEDOUT) return code;
    return async_raise_at(NULL, 0, NULL, code, "%s cookies in %.200s: %s", what, work->path,
                          async_strerror(code));
}

int async_http_cookies_load_file(async_http_session *session, const char *path)
{
    struct file_work work = {path, NULL};

    if (!session) return async__http_null("session"), async_error_code();
    if (!path) return async_raise_at(NULL, 0, NULL, -EINVAL, "cookies: the path is NULL");
    int code = in_thread(read_in_thread, &work, "load");
    if (code == 0) code = async_http_cookies_load(session, work.text);
    free(work.text);
    return code;
}

int async_http_cookies_save_file(async_http_session *session, const char *path)
{
    struct file_work work = {path, NULL};

    if (!path) return async_raise_at(NULL, 0, NULL, -EINVAL, "cookies: the path is NULL");
    work.text = async_http_cookies_save(session);
    int code = work.text ? in_thread(write_in_thread, &work, "save") : async_error_code();
    free(work.text);
    return code;
}
