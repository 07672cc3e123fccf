/* files.c - answers that are files: conditions, ranges, and a directory that is served.
 *
 * What is served of a directory is found segment by segment, from a descriptor of the directory, and
 * no link is followed; so no path leads out of it, whatever is renamed meanwhile. Disks are asked in a
 * thread. */
#include "server_internal.h"

#include "../../base/faults.h"

#include <casyncio/threads.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE 65536 /* bytes that are read at once */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {"avif", "image/avif"},
        {"css", "text/css; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},
        {"gif", "image/gif"},
        {"gz", "application/gzip"},
        {"htm", "text/html; charset=utf-8"},
        {"html", "text/html; charset=utf-8"},
        {"ico", "image/vnd.microsoft.icon"},
        {"jpeg", "image/jpeg"},
        {"jpg", "image/jpeg"},
        {"js", "text/javascript; charset=utf-8"},
        {"json", "application/json"},
        {"md", "text/markdown; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"mp3", "audio/mpeg"},
        {"mp4", "video/mp4"},
        {"pdf", "application/pdf"},
        {"png", "image/png"},
        {"svg", "image/svg+xml"},
        {"txt", "text/plain; charset=utf-8"},
        {"wasm", "application/wasm"},
        {"webm", "video/webm"},
        {"webp", "image/webp"},
        {"woff2", "font/woff2"},
        {"xml", "application/xml"},
        {"zip", "application/zip"},
    };
    const char *name = strrchr(path, '/'), *ending = strrchr(name ? name : path, '.');

    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (async__http_same(ending + 1, types[i][0])) return types[i][1];
    return "application/octet-stream";
}

/* ---- conditions: RFC 9110, 13 ---- */

struct validators {
    char tag[48]; /* with its quotes */
    char modified[40];
    int64_t time;
};

static void set_validators(struct validators *self, const struct stat *status)
{
    snprintf(self->tag, sizeof self->tag, "\"%llx.%lx-%llx\"",
             (unsigned long long)status->st_mtim.tv_sec, (unsigned long)status->st_mtim.tv_nsec,
             (unsigned long long)status->st_size);
    self->time = status->st_mtim.tv_sec;
    async__http_format_date(self->modified, self->time);
}

/* Seconds since 1970 of a date in any of the three forms; -1: it is none. */
static int64_t parse_date(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {0};
    char month[4] = "";
    int end = 0;

    if (sscanf(text, "%*3[A-Za-z], %2d %3s %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, month, &tm.tm_year,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end) != 6 &&
        sscanf(text, "%*3[A-Za-z] %3s %2d %2d:%2d:%2d %4d%n", month, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &tm.tm_year, &end) != 6) {
        if (sscanf(text, "%*[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm.tm_mday, month,
                   &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end) != 6)
            return -1;
        tm.tm_year += tm.tm_year < 70 ? 2000 : 1900;
    }
    const char *at = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (end == 0 || text[end] || !at || (at - months) % 3 != 0) return -1;
    tm.tm_mon = (int)(at - months) / 3;
    tm.tm_year -= 1900;
    return timegm(&tm);
}

/* Whether a list of tags has this one; `weak` ones count too, or never do. */
static bool has_tag(const char *list, const char *tag, bool weak)
{
    size_t length = strlen(tag);

    while (*list) {
        list += strspn(list, " \t,");
        if (*list == '*') return true;
        bool is_weak = strncmp(list, "W/", 2) == 0;
        if (is_weak) list += 2;
        if (*list != '"') return false;
        size_t size = strcspn(list + 1, "\"") + 2;
        if (size == length && memcmp(list, tag, size) == 0 && (weak || !is_weak)) return true;
        if (!list[size - 1]) return false;
        list += size;
    }
    return false;
}

/* 0, 304 or 412. */
static int judge_conditions(const struct async_http_request *request,
                            const struct validators *validators)
{
    const char *text;
    int64_t date;

    if ((text = async_http_request_header(request, "If-Match"))) {
        if (!has_tag(text, validators->tag, false)) return 412;
    } else if ((text = async_http_request_header(request, "If-Unmodified-Since"))) {
        date = parse_date(text);
        if (date >= 0 && validators->time > date) return 412;
    }
    if ((text = async_http_request_header(request, "If-None-Match")))
        return has_tag(text, validators->tag, true) ? 304 : 0;
    if ((text = async_http_request_header(request, "If-Modified-Since"))) {
        date = parse_date(text);
        if (date >= 0 && validators->time <= date) return 304;
    }
    return 0;
}

/* ---- ranges: RFC 9110, 14 ---- */

struct range {
    int64_t from, size;
};

/* A number, or -1 where there is none; *end is moved behind it. It saturates. */
static int64_t number(const char **text)
{
    int64_t value = -1;

    for (; **text >= '0' && **text <= '9'; ++*text) {
        if (value < 0) value = 0;
        value = value > INT64_MAX / 16 ? INT64_MAX / 16 : value * 10 + (**text - '0');
    }
    return value;
}

/* 206 and the range; 416; or 200 where the whole is to be sent: there is none, it is malformed, there
 * are several. */
static int judge_range(const struct async_http_request *request,
                       const struct validators *validators, int64_t size, struct range *range)
{
    const char *text = async_http_request_header(request, "Range");
    const char *condition = async_http_request_header(request, "If-Range");

    *range = (struct range){.size = size};
    if (!text || strcmp(request->head.method, "GET") != 0) return 200;
    if (condition && *condition != '"' && strcmp(condition, validators->modified) != 0) return 200;
    if (condition && *condition == '"' && strcmp(condition, validators->tag) != 0) return 200;
    if (!async__http_begins(text, "bytes=")) return 200;
    text += 6;
    int64_t first = number(&text);
    if (*text++ != '-') return 200;
    int64_t last = number(&text);
    if (*text || (first < 0 && last < 0) || (first >= 0 && last >= 0 && last < first)) return 200;
    if (first < 0) { /* the last bytes */
        if (last == 0) return 416;
        first = last < size ? size - last : 0;
        last = size - 1;
    }
    if (first >= size) return 416;
    if (last < 0 || last >= size) last = size - 1;
    *range = (struct range){.from = first, .size = last - first + 1};
    return 206;
}

/* ---- sending ---- */

static int read_piece(void *argument)
{
    struct async__http_piece *self = argument;

    self->got = pread(self->fd, self->to, self->size, self->from);
    if (self->got < 0) self->got = -errno;
    return 0;
}

int async__http_read_piece(struct async__http_piece *self)
{
    int code = async_to_thread(read_piece, self);

    if (code < 0 || self->got > 0) return code;
    if (self->got < 0)
        return async_raise_at(NULL, 0, NULL, (int)self->got, "read a file: %s",
                              async_strerror((int)self->got));
    return async_raise_at(NULL, 0, NULL, -EIO, "the file has become shorter");
}

/* What is to be compressed is read. */
static int send_read(struct async_http_request *request, int fd, struct range range)
{
    struct async__http_piece piece = {.fd = fd, .from = range.from, .to = async__alloc(PIECE)};
    int code = piece.to ? 0 : async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a file");

    while (range.size > 0 && code == 0) {
        piece.size = range.size < PIECE ? (size_t)range.size : PIECE;
        code = async__http_read_piece(&piece);
        if (code == 0) code = async_http_respond_write(request, piece.to, (size_t)piece.got);
        piece.from += piece.got;
        range.size -= piece.got;
    }
    async__free(piece.to);
    return code;
}

/* The body of an answer that has begun. */
static int send_range(struct async_http_request *request, int fd, struct range range)
{
    if (request->gzip) return send_read(request, fd, range);
    int code = request->framing->send_file(request, fd, range.from, range.size);

    request->left -= range.size;
    if (code < 0) request->answer = ASYNC__HTTP_BROKEN;
    return code;
}

static int set_headers(struct async_http_request *request, const struct validators *validators)
{
    int code = async_http_set_header(request, "ETag", validators->tag);
    if (code == 0) code = async_http_set_header(request, "Last-Modified", validators->modified);
    return code;
}

static int respond_range(struct async_http_request *request, int fd, int status, int64_t whole,
                         struct range range, const char *type)
{
    char text[80];
    int code = async_http_set_header(request, "Accept-Ranges", "bytes");

    if (status == 206)
        snprintf(text, sizeof text, "bytes %lld-%lld/%lld", (long long)range.from,
                 (long long)(range.from + range.size - 1), (long long)whole);
    else
        snprintf(text, sizeof text, "bytes */%lld", (long long)whole);
    if (code == 0 && status != 200) code = async_http_set_header(request, "Content-Range", text);
    if (code < 0) return code;
    if (status == 416) return async__http_respond_status(request, status);
    code = async_http_respond_begin(request, status, type, range.size);
    if (code == 0 && !request->no_body) code = send_range(request, fd, range);
    return code < 0 ? code : async_http_respond_end(request);
}

/* A regular file that is open; its descriptor stays the caller's. */
static int respond_fd(struct async_http_request *request, int fd, const struct stat *status,
                      const char *type)
{
    struct validators validators;
    struct range range;

    set_validators(&validators, status);
    int result = judge_conditions(request, &validators);
    if (result == 412) return async__http_respond_status(request, 412);
    int code = set_headers(request, &validators);
    if (code < 0) return code;
    if (result == 304) return async_http_respond(request, 304, NULL, NULL, 0);
    result = judge_range(request, &validators, status->st_size, &range);
    return respond_range(request, fd, result, status->st_size, range, type);
}

static bool is_missing(int code)
{
    return code == -ENOENT || code == -ENOTDIR || code == -EACCES || code == -ELOOP ||
           code == -ENAMETOOLONG || code == -EISDIR || code == -ENXIO || code == -EINVAL;
}

/* Whether the method is one for files; if not it has been answered, and *code is what that gave. */
static bool is_read(struct async_http_request *request, int *code)
{
    if (request->is_head || strcmp(request->head.method, "GET") == 0) return true;
    *code = async_http_set_header(request, "Allow", "GET, HEAD");
    if (*code == 0) *code = async__http_respond_status(request, 405);
    return false;
}

/* ---- one file ---- */

int async_http_respond_file(struct async_http_request *request, const char *path,
                            const char *content_type)
{
    struct stat status;
    int code = 0;

    if (!request) return async__http_raise_null("request");
    if (!path) return async__http_raise_null("path");
    if (!is_read(request, &code)) return code;
    async_file *file = async_file_open(path, "r");
    if (!file) {
        code = async_error_code();
        return is_missing(code) ? async__http_respond_status(request, 404) : code;
    }
    code = async_file_stat(file, &status);
    if (code == 0 && !S_ISREG(status.st_mode))
        code = async__http_respond_status(request, 404);
    else if (code == 0)
        code = respond_fd(request, async_file_fd(file), &status,
                          content_type ? content_type : type_of(path));
    int closed = async_file_close(file);
    return code < 0 ? code : closed;
}

/* ---- a directory ---- */

struct async__http_directory {
    struct async__http_directory *next;
    int fd;
};

/* What a thread does: opens the file of that path below the directory. */
struct search {
    int directory;
    char *path; /* is cut into its segments */
    int fd;     /* or the negative of errno */
    struct stat status;
};

static int open_at(int directory, const char *name, int flags)
{
    flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = ASYNC__CALL(openat(directory, name, flags));
    return fd < 0 ? -errno : fd;
}

static int open_below(struct search *self)
{
    int at = self->directory;

    for (char *segment = self->path;;) {
        size_t size = strcspn(segment, "/");
        bool last = !segment[size];
        segment[size] = '\0';
        if (size == 0 && last) segment = "index.html";
        int fd = strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0 || !*segment
                     ? -ENOENT
                     : open_at(at, segment, last ? 0 : O_DIRECTORY);
        if (at != self->directory) close(at);
        if (fd < 0 || last) return fd;
        at = fd;
        segment += size + 1;
    }
}

static int search(void *argument)
{
    struct search *self = argument;

    self->fd = open_below(self);
    if (self->fd >= 0 && ASYNC__CALL(fstat(self->fd, &self->status)) < 0) {
        int code = -errno;
        close(self->fd);
        self->fd = code;
    }
    return 0;
}

static int serve_directory(struct async_http_request *request, void *data)
{
    const struct async__http_directory *directory = data;
    const char *path = async_http_param(request, "path");
    struct search self = {.directory = directory->fd, .fd = -ENOENT};
    int code = 0;

    if (!is_read(request, &code)) return code;
    size_t size = strlen(path);
    self.path = async__http_request_alloc(request, size + 1);
    if (!self.path) return -ENOMEM;
    memcpy(self.path, path, size + 1);
    code = async_to_thread(search, &self);
    if (self.fd >= 0 && code == 0 && S_ISREG(self.status.st_mode))
        code = respond_fd(request, self.fd, &self.status,
                          type_of(size > 0 && path[size - 1] != '/' ? path : "index.html"));
    else if (code == 0 && (self.fd >= 0 || is_missing(self.fd)))
        code = async__http_respond_status(request, 404);
    else if (code == 0)
        code = async_raise_at(NULL, 0, NULL, self.fd, "open %s: %s", request->path,
                              async_strerror(self.fd));
    if (self.fd >= 0) close(self.fd);
    return code;
}

static int add_directory(async_http_server *server, const char *prefix, int fd)
{
    struct async__http_directory *directory = async__alloc(sizeof *directory);
    size_t size = strlen(prefix) + sizeof "{path...}";
    char *pattern = async__alloc(size);
    int code = -ENOMEM;

    if (directory && pattern) {
        snprintf(pattern, size, "%s{path...}", prefix);
        code = async__http_route(server, "GET", pattern, serve_directory, directory);
    } else {
        async_block_fail(async_raise_at(NULL, 0, NULL, code, "no memory for a route"));
    }
    async__free(pattern);
    if (code < 0) {
        async__free(directory);
        return code;
    }
    *directory = (struct async__http_directory){.next = server->directories, .fd = fd};
    server->directories = directory;
    return 0;
}

int async_http_static(async_http_server *server, const char *prefix, const char *directory)
{
    int code;

    if (!server || !directory)
        return async_block_fail(async__http_raise_null(server ? "directory" : "server"));
    if (!prefix || prefix[0] != '/' || prefix[strlen(prefix) - 1] != '/')
        return async_block_fail(async_raise_at(NULL, 0, NULL, -EINVAL,
                                               "the prefix of static files does not begin and end "
                                               "with \"/\""));
    int fd = ASYNC__CALL(open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) {
        code = -errno;
        return async_block_fail(async_raise_at(NULL, 0, NULL, code, "static files of %s: %s",
                                               directory, async_strerror(code)));
    }
    code = add_directory(server, prefix, fd);
    if (code < 0) close(fd);
    return code;
}

void async__http_directories_free(async_http_server *server)
{
    while (server->directories) {
        struct async__http_directory *directory = server->directories;
        server->directories = directory->next;
        close(directory->fd);
        async__free(directory);
    }
}
