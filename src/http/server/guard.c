/* guard.c - what is refused before llhttp sees it.
 *
 * A request that two programs read in two ways can be smuggled past one of them. The guard lets
 * through what RFC 9112's grammar allows and no more, line by line, as soon as a line is whole. It is
 * there because parsers forgive: llhttp 8.1.0, Debian 12's, takes a CR without an LF for the end of a
 * line (CVE-2023-30589) and "Host : a" for a header. It also keeps whatever the parser does from
 * changing with the parser's version. */
#include "server_internal.h"

enum { TOKEN = 1, TARGET = 2, VALUE = 4, HEX = 8, HOST = 16 };

#define WORD (TOKEN | TARGET | VALUE)
#define SIGN (TARGET | VALUE)

/* RFC 9110, 5.6.2 and 5.5; in a target what is visible but "#"; in a host RFC 3986, 3.2.2. */
static const unsigned char kinds[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = WORD | HOST,
    ['"'] = SIGN,
    ['#'] = TOKEN | VALUE,
    ['$' ... '\''] = WORD | HOST,
    ['(' ... ')'] = SIGN | HOST,
    ['*' ... '+'] = WORD | HOST,
    [','] = SIGN,
    ['-' ... '.'] = WORD | HOST,
    ['/'] = SIGN,
    ['0' ... '9'] = WORD | HEX | HOST,
    [':'] = SIGN,
    [';'] = SIGN | HOST,
    ['<'] = SIGN,
    ['='] = SIGN | HOST,
    ['>' ... '@'] = SIGN,
    ['A' ... 'F'] = WORD | HEX | HOST,
    ['G' ... 'Z'] = WORD | HOST,
    ['[' ... ']'] = SIGN,
    ['^'] = WORD,
    ['_'] = WORD | HOST,
    ['`'] = WORD,
    ['a' ... 'f'] = WORD | HEX | HOST,
    ['g' ... 'z'] = WORD | HOST,
    ['{'] = SIGN,
    ['|'] = WORD,
    ['}'] = SIGN,
    ['~'] = WORD | HOST,
    [128 ... 255] = VALUE,
};

/* How many of the bytes are of a kind. */
static size_t span(const char *text, size_t size, int which)
{
    size_t at = 0;

    while (at < size && kinds[(unsigned char)text[at]] & which)
        at++;
    return at;
}

#define EACH(byte) (UINT64_MAX / 255 * (byte))

/* Whether one of eight bytes is below a blank, or DEL. */
static inline bool has_control(const char *text)
{
    uint64_t word, del;

    memcpy(&word, text, sizeof word);
    del = word ^ EACH(0x7f);
    return (((word - EACH(' ')) & ~word) | ((del - EACH(1)) & ~del)) & EACH(0x80);
}

/* Whether all of the bytes are VALUE, as most of a head is: eight at a time, the last overlap. */
static bool is_value(const char *text, size_t size)
{
    size_t at = 0;

    if (size < 8) return span(text, size, VALUE) == size;
    while (at < size - 8 && !has_control(text + at))
        at += 8;
    if (at >= size - 8 && !has_control(text + size - 8)) return true;
    return span(text, size, VALUE) == size; /* a HTAB, perhaps */
}

bool async__http_is_token(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && span(text, size, TOKEN) == size;
}

bool async__http_is_value(const char *text) { return is_value(text, strlen(text)); }

/* "example.org", "example.org:80", "[::1]:80". */
ssize_t async__http_guard_host(const char *text, size_t size)
{
    size_t host = 0;

    if (size > 0 && text[0] == '[') {
        host = 1;
        while (host < size &&
               (kinds[(unsigned char)text[host]] & HEX || text[host] == ':' || text[host] == '.'))
            host++;
        if (host < 3 || host == size || text[host++] != ']') return -1;
    } else {
        host = span(text, size, HOST);
    }
    if (host == size) return (ssize_t)host;
    size_t port = host + 1;
    while (port < size && text[port] >= '0' && text[port] <= '9')
        port++;
    return text[host] == ':' && port == size && port - host <= 6 ? (ssize_t)host : -1;
}

/* "HTTP/1.1", and nothing else. */
static int check_version(const char *text, size_t size, const char **why)
{
    *why = "the version is malformed";
    if (size != 8 || memcmp(text, "HTTP/", 5) != 0 || text[6] != '.') return -400;
    if (text[5] < '0' || text[5] > '9' || text[7] < '0' || text[7] > '9') return -400;
    *why = "the version is neither HTTP/1.1 nor HTTP/1.0";
    return text[5] == '1' && text[7] <= '1' ? 0 : -505;
}

/* Without its CR and LF. */
static int check_request_line(const char *line, size_t size, const char **why)
{
    size_t method = span(line, size, TOKEN);

    *why = "the method is malformed";
    if (method == 0 || method == size || line[method] != ' ') return -400;
    size_t begin = method + 1, target = span(line + begin, size - begin, TARGET);
    size_t end = begin + target;
    *why = "the target is malformed";
    if (target == 0 || end == size || line[end] != ' ') return -400;
    int code = check_version(line + end + 1, size - end - 1, why);
    if (code < 0) return code;
    *why = "CONNECT is not done";
    return method == 7 && memcmp(line, "CONNECT", 7) == 0 ? -501 : 0;
}

static int check_field(const char *line, size_t size, const char **why)
{
    size_t name = span(line, size, TOKEN);

    *why = "a header is malformed";
    if (name == 0 || name == size || line[name] != ':') return -400;
    *why = "a header has a control character in its value";
    return is_value(line + name, size - name) ? 0 : -400;
}

/* The size of the line without its CR and LF; -1: its end has not come; or -400. */
static ssize_t line_size(const char *line, size_t size, const char **why)
{
    const char *end = memchr(line, '\n', size);

    if (!end) return -1;
    *why = "a line ends without a CR";
    return end > line && end[-1] == '\r' ? end - line - 1 : -400;
}

ssize_t async__http_guard_head(struct async__http_guard *guard, const char *data, size_t size,
                               const char **why)
{
    for (;;) {
        const char *line = data + guard->checked;
        ssize_t length = line_size(line, size - guard->checked, why);
        int code = 0;

        if (length == -1) return 0;
        if (length < 0) return length;
        guard->checked += (size_t)length + 2;
        if (length == 0 && guard->lines > 0) return (ssize_t)guard->checked;
        if (length == 0) {
            /* RFC 9112, 2.2: one is forgiven, which old clients send behind a body. */
            *why = "the request begins with empty lines";
            if (guard->blank) return -400;
            guard->blank = true;
            continue;
        }
        code = guard->lines++ == 0 ? check_request_line(line, (size_t)length, why)
                                   : check_field(line, (size_t)length, why);
        if (code < 0) return code;
    }
}

static bool is_name(const char *line, const char *name)
{
    return async__http_begins(line, name) && line[strlen(name)] == ':';
}

ssize_t async__http_guard_trailer(struct async__http_guard *guard, const char *data, size_t size,
                                  const char **why)
{
    static const char *const refused[] = {"Content-Length", "Transfer-Encoding", "Host",
                                          "Trailer",        "Connection",        "Expect",
                                          "Upgrade"};

    for (;;) {
        const char *line = data + guard->checked;
        ssize_t length = line_size(line, size - guard->checked, why);

        if (length == -1) return 0;
        if (length < 0) return length;
        guard->checked += (size_t)length + 2;
        if (length == 0) return (ssize_t)guard->checked;
        guard->lines++;
        int code = check_field(line, (size_t)length, why);
        if (code < 0) return code;
        *why = "a trailer is one that says how the message is framed";
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
            if (is_name(line, refused[i])) return -400;
    }
}

/* 15 digits are the most, so that no size overflows. */
size_t async__http_guard_chunk(const char *line, size_t size)
{
    const char *why;
    ssize_t length = line_size(line, size, &why);
    if (length <= 0) return 0;
    size_t digits = span(line, (size_t)length, HEX), rest = (size_t)length - digits;

    if (digits == 0 || digits > 15) return 0;
    if (rest == 0) return digits;
    return line[digits] == ';' && is_value(line + digits, rest) ? digits : 0;
}
