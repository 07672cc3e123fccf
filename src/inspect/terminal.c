/* terminal.c - see terminal.h. */
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct termios before;
static volatile sig_atomic_t is_open, changed;

static const char enter_screen[] = "\033[?1049h\033[?25l", leave_screen[] = "\033[?25h\033[?1049l";

/* ---- to and fro: async-signal-safe, all of it ---- */

static void put(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, text, length);
        if (written < 0 && errno != EINTR) return;
        if (written <= 0) continue;
        text += written;
        length -= (size_t)written;
    }
}

static void take_over(void)
{
    struct termios raw = before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* signals stay: ctrl-C is for all programs alike */
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    put(enter_screen, sizeof enter_screen - 1);
    changed = is_open = true;
}

static void give_back(void)
{
    if (!is_open) return;
    is_open = false;
    put(leave_screen, sizeof leave_screen - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

/* ---- signals ---- */

static const int ends[] = {SIGHUP,  SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGABRT,
                           SIGSEGV, SIGBUS, SIGFPE,  SIGILL,  SIGSYS,  SIGTSTP};

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* The signal then has the effect that it always has; of SIGTSTP that is over when this goes on. */
static void on_end(int number)
{
    int saved = errno;
    sigset_t this_one;

    give_back();
    handle(number, SIG_DFL, 0);
    sigemptyset(&this_one);
    sigaddset(&this_one, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &this_one, NULL);
    handle(number, on_end, 0);
    take_over();
    errno = saved;
}

static void on_change(int number)
{
    (void)number;
    changed = true;
}

bool terminal_open(void)
{
    const char *kind = getenv("TERM");

    if (is_open) return true;
    if (!isatty(STDOUT_FILENO) || !kind || strcmp(kind, "dumb") == 0 ||
        tcgetattr(STDIN_FILENO, &before) < 0)
        return false;
    for (size_t i = 0; i < COUNT(ends); i++)
        handle(ends[i], on_end, 0);
    handle(SIGWINCH, on_change, 0);
    atexit(give_back);
    take_over();
    return true;
}

void terminal_close(void)
{
    if (!is_open) return;
    give_back();
    for (size_t i = 0; i < COUNT(ends); i++)
        handle(ends[i], SIG_DFL, 0);
}

bool terminal_changed(void)
{
    bool was = changed;

    changed = false;
    return was;
}

void terminal_size(int *columns, int *rows)
{
    struct winsize size = {0};

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    *columns = size.ws_col ? size.ws_col : 80;
    *rows = size.ws_row ? size.ws_row : 24;
}

/* ---- keys ---- */

/* 0: nothing; -1: the end. */
static int next_byte(int ms)
{
    struct pollfd wanted = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char byte;

    int got = poll(&wanted, 1, ms);
    if (got <= 0) return got < 0 && errno != EINTR ? -1 : 0;
    ssize_t size = read(STDIN_FILENO, &byte, 1);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
    return size == 1 ? byte : -1;
}

/* What follows an escape comes at once, or it was the key of that name. */
static int escape_sequence(void)
{
    static const struct {
        const char *text;
        int key;
    } known[] = {{"[A", KEY_UP},       {"[B", KEY_DOWN},       {"OA", KEY_UP},   {"OB", KEY_DOWN},
                 {"[5~", KEY_PAGE_UP}, {"[6~", KEY_PAGE_DOWN}, {"[H", KEY_HOME}, {"[F", KEY_END},
                 {"[1~", KEY_HOME},    {"[4~", KEY_END},       {"OH", KEY_HOME}, {"OF", KEY_END}};
    char text[16];
    size_t length = 0;

    while (length < sizeof text - 1) {
        int byte = next_byte(25);
        if (byte <= 0) break;
        text[length++] = (char)byte;
        if (length > 1 && byte >= 0x40 && byte < 0x7F) break;
    }
    text[length] = 0;
    if (length == 0) return ESCAPE;
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(text, known[i].text) == 0) return known[i].key;
    return NO_KEY;
}

int terminal_key(int ms)
{
    int byte = next_byte(ms);

    if (byte < 0) return KEY_GONE;
    if (byte == ESCAPE) return escape_sequence();
    return byte == '\b' ? BACKSPACE : byte;
}

/* ---- the screen ---- */

void write_columns(FILE *out, const char *text, size_t length, int most, int least)
{
    mbstate_t state = {0};
    int used = 0;

    while (length > 0) {
        wchar_t character;
        size_t size = mbrtowc(&character, text, length, &state);
        bool good = size != 0 && size <= length;
        int width = good ? wcwidth(character) : 1;
        if (!good) {
            size = 1;
            state = (mbstate_t){0};
        }
        if (width < 0) good = false, width = 1;
        if (used + width > most) break;
        if (good)
            fwrite(text, 1, size, out);
        else
            fputc('?', out);
        used += width;
        text += size;
        length -= size;
    }
    if (used < least) fprintf(out, "%*s", least - used, "");
}

void terminal_show(const char *text)
{
    char *screen = NULL;
    size_t size = 0;
    int columns, rows;
    FILE *out = open_memstream(&screen, &size);

    if (!out) return;
    terminal_size(&columns, &rows);
    fputs("\033[H", out);
    for (int row = 0; row < rows && *text; row++) {
        size_t length = strcspn(text, "\n");
        if (row > 0) fputc('\n', out);
        write_columns(out, text, length, columns, 0);
        fputs("\033[K", out);
        text += length + (text[length] == '\n');
    }
    fputs("\033[J", out);
    if (fclose(out) == 0) put(screen, size);
    free(screen);
}
