/* trace_svg.c - a picture of a trace: a row for each lane, its slices as boxes, wake-ups as arrows; what
 * the mouse is on is told by the box's title. Reads the JSON that trace_file.c writes, and whatever else
 * has that shape: nothing in it is believed.
 *
 * A box narrower than a pixel is drawn as one with those after it, and so is an arrow where there is one
 * already: so the picture has a size that does not grow with the trace. */
#include "trace.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEFT = 230, /* pixels: the names of lanes */
    WIDTH = 1200,
    ROW = 20,
    TOP = 40,
    LANES = 300,
    ARROWS = 3000,
    DEPTH = 64, /* of JSON in JSON */
    TEXT = 256,
};

/* ---- JSON ---- */

struct reader {
    const char *at, *end;
    int depth;
    bool bad;
};

static void skip_blanks(struct reader *in)
{
    while (in->at < in->end && strchr(" \t\r\n", *in->at) && *in->at)
        in->at++;
}

/* Whether the next character is this one; then it is taken. */
static bool take(struct reader *in, char wanted)
{
    skip_blanks(in);
    if (in->bad || in->at == in->end || *in->at != wanted) return false;
    in->at++;
    return true;
}

static void expect(struct reader *in, char wanted)
{
    if (!take(in, wanted)) in->bad = true;
}

/* Of an escape, what is kept: what is not in ASCII is a question mark. */
static char unescape(struct reader *in)
{
    char letter = *in->at++;
    unsigned code = 0;

    if (letter != 'u')
        return (char)(letter == 'n' || letter == 't' || letter == 'r' ? ' ' : letter);
    for (int i = 0; i < 4 && in->at < in->end; i++, in->at++)
        code =
            code * 16 + (unsigned)(*in->at <= '9' ? *in->at - '0' : (*in->at | 32) - 'a' + 10) % 16;
    return (char)(code >= 32 && code < 127 ? code : '?');
}

static void read_text(struct reader *in, char *text, size_t size)
{
    size_t length = 0;

    expect(in, '"');
    while (!in->bad && in->at < in->end && *in->at != '"') {
        char letter = *in->at++;
        if (letter == '\\' && in->at < in->end) letter = unescape(in);
        if (length + 1 < size) text[length++] = letter;
    }
    if (size > 0) text[length] = 0;
    expect(in, '"');
}

static double read_number(struct reader *in)
{
    char text[64];
    size_t length = 0;

    skip_blanks(in);
    while (in->at < in->end && length < sizeof text - 1 && *in->at &&
           strchr("+-.0123456789eE", *in->at))
        text[length++] = *in->at++;
    text[length] = 0;
    if (length == 0) in->bad = true;
    double number = strtod(text, NULL);
    return isfinite(number) ? number : 0;
}

static void skip_value(struct reader *in);

/* Calls `member` for each of an object, which takes the value. */
static void read_object(struct reader *in, void (*member)(struct reader *, const char *, void *),
                        void *data)
{
    char key[64];

    expect(in, '{');
    if (take(in, '}')) return;
    if (++in->depth > DEPTH) in->bad = true;
    do {
        read_text(in, key, sizeof key);
        expect(in, ':');
        if (!in->bad) member(in, key, data);
    } while (!in->bad && take(in, ','));
    in->depth--;
    expect(in, '}');
}

static void read_array(struct reader *in, void (*item)(struct reader *, void *), void *data)
{
    expect(in, '[');
    if (take(in, ']')) return;
    if (++in->depth > DEPTH) in->bad = true;
    do
        if (!in->bad) item(in, data);
    while (!in->bad && take(in, ','));
    in->depth--;
    expect(in, ']');
}

static void skip_member(struct reader *in, const char *key, void *data)
{
    (void)key, (void)data;
    skip_value(in);
}

static void skip_item(struct reader *in, void *data)
{
    (void)data;
    skip_value(in);
}

static void skip_value(struct reader *in)
{
    skip_blanks(in);
    if (in->at == in->end)
        in->bad = true;
    else if (*in->at == '"')
        read_text(in, NULL, 0);
    else if (*in->at == '{')
        read_object(in, skip_member, NULL);
    else if (*in->at == '[')
        read_array(in, skip_item, NULL);
    else if (strchr("tfn", *in->at) && *in->at)
        while (in->at < in->end && *in->at >= 'a' && *in->at <= 'z')
            in->at++;
    else
        read_number(in);
}

/* ---- events ---- */

struct event {
    char phase, name[TEXT], category[16], details[TEXT], lane_name[TEXT];
    double tid, time, duration, id;
};

/* Of slices, in the order of the legend. */
struct kind {
    const char *category, *color, *label;
    int gap; /* pixels above and below its boxes */
};
static const struct kind kinds[] = {
    {"run", "#2f9e44", "runs", 3},          {"ready", "#fab005", "ready", 3},
    {"wait", "#ced4da", "waits", 7},        {"look", "#a5d8ff", "looks", 3},
    {"callback", "#7048e8", "callback", 3}, {"job", "#1c7ed6", "job in a thread", 3},
};
static const struct kind other_kind = {"", "#e64980", "", 3};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct slice {
    double begin, end;
    int lane;
    const struct kind *kind;
    char *title;
    unsigned count; /* that are drawn as this one */
};

struct lane {
    double tid, last; /* last: the end of the last box */
    char *name;
    size_t slice; /* of the last box, + 1 */
    int row;      /* -1: it has no boxes, or there are too many lanes */
};

struct arrow {
    double id, from, to;
    int start, end; /* lanes; end: -1 until it is known */
};

struct picture {
    struct lane *lanes;
    struct slice *slices;
    struct arrow *arrows;
    size_t lane_count, slice_count, arrow_count, lane_room, slice_room, arrow_room;
    double begin, end;
    double lost;
    bool some;
};

/* Lanes are numbered in their order, nearly always from 1 on. */
static int lane_of(struct picture *picture, double tid)
{
    if (tid >= 1 && tid <= (double)picture->lane_count &&
        picture->lanes[(size_t)tid - 1].tid == tid)
        return (int)tid - 1;
    for (size_t i = picture->lane_count; i-- > 0 && picture->lane_count - i < 1000;)
        if (picture->lanes[i].tid == tid) return (int)i;
    struct lane *lane = must(async__one_more((void **)&picture->lanes, &picture->lane_count,
                                             &picture->lane_room, sizeof *lane));
    lane->tid = tid;
    lane->last = -1;
    return (int)picture->lane_count - 1;
}

static void read_detail(struct reader *in, const char *key, void *data)
{
    struct event *event = data;
    size_t used = strlen(event->details);
    char text[TEXT];

    skip_blanks(in);
    const char *from = in->at;
    if (strcmp(key, "name") == 0 && from < in->end && *from == '"') {
        read_text(in, event->lane_name, sizeof event->lane_name);
        return;
    }
    skip_value(in);
    size_t size = (size_t)(in->at - from);
    if (size >= sizeof text) size = sizeof text - 1;
    memcpy(text, from, size);
    text[size] = 0;
    snprintf(event->details + used, sizeof event->details - used, ", %.40s %.100s", key, text);
}

static void read_member(struct reader *in, const char *key, void *data)
{
    struct event *event = data;
    char text[8];

    if (strcmp(key, "ph") == 0) {
        read_text(in, text, sizeof text);
        event->phase = text[0];
    } else if (strcmp(key, "name") == 0) {
        read_text(in, event->name, sizeof event->name);
    } else if (strcmp(key, "cat") == 0) {
        read_text(in, event->category, sizeof event->category);
    } else if (strcmp(key, "tid") == 0) {
        event->tid = read_number(in);
    } else if (strcmp(key, "ts") == 0) {
        event->time = read_number(in);
    } else if (strcmp(key, "dur") == 0) {
        event->duration = read_number(in);
    } else if (strcmp(key, "id") == 0) {
        event->id = read_number(in);
    } else if (strcmp(key, "args") == 0) {
        read_object(in, read_detail, event);
    } else {
        skip_value(in);
    }
}

static const struct kind *kind_of(const char *category)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].category, category) == 0) return &kinds[i];
    return &other_kind;
}

static void add_slice(struct picture *picture, const struct event *event)
{
    double end = event->time + event->duration, length = event->duration;
    int index = lane_of(picture, event->tid);
    struct slice *slice = must(async__one_more((void **)&picture->slices, &picture->slice_count,
                                               &picture->slice_room, sizeof *slice));
    const char *unit = length < 1e3 ? "µs" : length < 1e6 ? "ms" : "s";

    if (length >= 1e3) length /= length < 1e6 ? 1e3 : 1e6;
    *slice = (struct slice){event->time, end, index, kind_of(event->category), NULL, 1};
    slice->title = text_of("%s, %.3f %s%s", event->name, length, unit, event->details);
    picture->lanes[index].row = 1;
    if (!picture->some || event->time < picture->begin) picture->begin = event->time;
    if (!picture->some || end > picture->end) picture->end = end;
    picture->some = true;
}

static void add_arrow(struct picture *picture, const struct event *event)
{
    if (event->phase == 's') {
        struct arrow *arrow = must(async__one_more((void **)&picture->arrows, &picture->arrow_count,
                                                   &picture->arrow_room, sizeof *arrow));
        *arrow = (struct arrow){event->id, event->time, 0, lane_of(picture, event->tid), -1};
        return;
    }
    for (size_t i = picture->arrow_count; i-- > 0 && picture->arrow_count - i < 1000;) {
        struct arrow *arrow = &picture->arrows[i];
        if (arrow->id != event->id || arrow->end >= 0) continue;
        arrow->to = event->time;
        arrow->end = lane_of(picture, event->tid);
        return;
    }
}

static void read_event(struct reader *in, void *data)
{
    struct picture *picture = data;
    struct event event = {0};

    read_object(in, read_member, &event);
    if (in->bad) return;
    if (event.phase == 'X' && event.duration >= 0) add_slice(picture, &event);
    if (event.phase == 's' || event.phase == 'f') add_arrow(picture, &event);
    if (event.phase != 'M' || strcmp(event.name, "thread_name") != 0) return;
    int index = lane_of(picture, event.tid); /* may move them */
    struct lane *lane = &picture->lanes[index];
    free(lane->name);
    lane->name = must(strdup(event.lane_name));
}

static void read_other(struct reader *in, const char *key, void *data)
{
    struct picture *picture = data;

    if (strcmp(key, "lost") == 0)
        picture->lost = read_number(in);
    else
        skip_value(in);
}

static void read_top(struct reader *in, const char *key, void *data)
{
    if (strcmp(key, "traceEvents") == 0)
        read_array(in, read_event, data);
    else if (strcmp(key, "otherData") == 0)
        read_object(in, read_other, data);
    else
        skip_value(in);
}

/* ---- drawing ---- */

static void put_text(FILE *out, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        size_t length = async__character((const unsigned char *)text, left);
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        default:
            if (length)
                fwrite(text, 1, length, out);
            else
                fputc('?', out);
        }
        if (length == 0) length = 1;
        text += length;
        left -= length;
    }
}

static double x_of(const struct picture *picture, double time)
{
    double length = picture->end - picture->begin;
    double part = length > 0 ? (time - picture->begin) / length : 0;

    return LEFT + WIDTH * (part < 0 ? 0 : part > 1 ? 1 : part);
}

static double y_of(const struct picture *picture, int lane) /* the middle */
{
    return TOP + ROW * (picture->lanes[lane].row + 0.5);
}

/* Rows, for lanes that have boxes. How many there are, and how many have none for want of room. */
static int place_lanes(struct picture *picture, int *left)
{
    int rows = 0;

    *left = 0;
    for (size_t i = 0; i < picture->lane_count; i++) {
        struct lane *lane = &picture->lanes[i];
        if (lane->row && rows == LANES) ++*left;
        lane->row = lane->row && rows < LANES ? rows++ : -1;
    }
    return rows;
}

static int by_time(const void *a, const void *b)
{
    const struct slice *left = a, *right = b;
    return left->begin < right->begin ? -1 : left->begin > right->begin;
}

/* Joins what is too narrow to be seen with what is drawn before it. */
static void join_slices(struct picture *picture)
{
    double pixel = (picture->end - picture->begin) / WIDTH;

    qsort(picture->slices, picture->slice_count, sizeof *picture->slices, by_time);
    for (size_t i = 0; i < picture->slice_count; i++) {
        struct slice *slice = &picture->slices[i];
        struct lane *lane = &picture->lanes[slice->lane];
        struct slice *last = lane->slice ? &picture->slices[lane->slice - 1] : NULL;
        if (last && slice->end - slice->begin < pixel / 2 && slice->end - last->begin < pixel) {
            if (slice->end > last->end) last->end = slice->end;
            last->count++;
            slice->count = 0;
        } else {
            lane->slice = i + 1;
        }
    }
}

static void draw_slices(const struct picture *picture, FILE *out)
{
    for (size_t i = 0; i < picture->slice_count; i++) {
        const struct slice *slice = &picture->slices[i];
        const struct lane *lane = &picture->lanes[slice->lane];
        if (slice->count == 0 || lane->row < 0) continue;
        double x = x_of(picture, slice->begin), width = x_of(picture, slice->end) - x;
        int gap = slice->kind->gap;
        fprintf(out, "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>",
                x, TOP + ROW * lane->row + gap, width < 0.6 ? 0.6 : width, ROW - 2 * gap,
                slice->kind->color);
        put_text(out, lane->name ? lane->name : "");
        fputs(": ", out);
        put_text(out, slice->title);
        if (slice->count > 1) fprintf(out, ", and %u more", slice->count - 1);
        fputs("</title></rect>\n", out);
    }
}

static void draw_arrows(const struct picture *picture, FILE *out)
{
    double last = -1;
    int drawn = 0, start = -1, end = -1;

    for (size_t i = 0; i < picture->arrow_count && drawn < ARROWS; i++) {
        const struct arrow *arrow = &picture->arrows[i];
        if (arrow->end < 0 || arrow->start == arrow->end || picture->lanes[arrow->start].row < 0 ||
            picture->lanes[arrow->end].row < 0)
            continue;
        double x = x_of(picture, arrow->from), to = x_of(picture, arrow->to);
        if (arrow->start == start && arrow->end == end && fabs(x - last) < 1) continue;
        start = arrow->start, end = arrow->end, last = x;
        fprintf(out, "<path d=\"M%.2f %.1fL%.2f %.1f\"/>\n", x, y_of(picture, arrow->start), to,
                y_of(picture, arrow->end));
        drawn++;
    }
}

/* A step that gives some ten ticks: 1, 2 or 5 times a power of ten. */
static double tick_of(double length)
{
    double step = pow(10, floor(log10(length / 10)));
    return length / step > 50 ? 5 * step : length / step > 20 ? 2 * step : step;
}

static void draw_axis(const struct picture *picture, int rows, FILE *out)
{
    double length = picture->end - picture->begin, step = length > 0 ? tick_of(length) : 0;
    double unit = length < 1e3 ? 1 : length < 1e6 ? 1e3 : 1e6;

    for (int i = 0; step > 0 && i < 60 && i * step <= length; i++) {
        double x = x_of(picture, picture->begin + i * step);
        fprintf(out,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#eee\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g %s</text>\n",
                x, x, TOP - 6, TOP + ROW * rows, x, TOP - 12, i * step / unit,
                unit < 1e3   ? "µs"
                : unit < 1e6 ? "ms"
                             : "s");
    }
}

static void draw_names(const struct picture *picture, FILE *out)
{
    for (size_t i = 0; i < picture->lane_count; i++) {
        const struct lane *lane = &picture->lanes[i];
        if (lane->row < 0) continue;
        fprintf(out, "<text x=\"8\" y=\"%d\"><title>", TOP + ROW * lane->row + 14);
        put_text(out, lane->name ? lane->name : "");
        fputs("</title>", out);
        char name[34 + 1];
        snprintf(name, sizeof name, "%s", lane->name ? lane->name : "");
        put_text(out, name);
        fputs("</text>\n", out);
    }
}

static void draw_legend(const struct picture *picture, int rows, int left, FILE *out)
{
    int y = TOP + ROW * rows + 22, x = LEFT;

    for (size_t i = 0; i < KINDS; i++) {
        fprintf(out,
                "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" "
                "y=\"%d\">%s</text>\n",
                x, y - 10, kinds[i].color, x + 17, y, kinds[i].label);
        x += 40 + 7 * (int)strlen(kinds[i].label);
    }
    if (left) fprintf(out, "<text x=\"%d\" y=\"%d\">%d more lanes</text>\n", x, y, left);
    if (picture->lost > 0)
        fprintf(out, "<text x=\"%d\" y=\"%d\">%.0f events were lost</text>\n", x + 120, y,
                picture->lost);
}

static void draw(struct picture *picture, FILE *out)
{
    int left, rows = place_lanes(picture, &left);
    int width = LEFT + WIDTH + 40, height = TOP + ROW * rows + 40;

    join_slices(picture);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n"
            "<style>rect:hover{stroke:#000}path{stroke:#c92a2a;stroke-width:.7;fill:none;"
            "marker-end:url(#head);pointer-events:none}</style>\n"
            "<defs><marker id=\"head\" markerWidth=\"6\" markerHeight=\"6\" refX=\"5\" refY=\"3\" "
            "orient=\"auto\"><path style=\"marker-end:none;fill:#c92a2a;stroke:none\" "
            "d=\"M0 0L6 3L0 6z\"/></marker></defs>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\" pointer-events=\"none\"/>\n",
            width, height, width, height);
    draw_axis(picture, rows, out);
    draw_names(picture, out);
    draw_slices(picture, out);
    draw_arrows(picture, out);
    draw_legend(picture, rows, left, out);
    fputs("</svg>\n", out);
}

char *trace_picture(const char *text, size_t size, FILE *out)
{
    struct reader in = {text, text + size, 0, false};
    struct picture picture = {0};
    char *problem = NULL;

    read_object(&in, read_top, &picture);
    if (in.bad)
        problem = text_of("that is no trace: it is wrong at byte %zu", (size_t)(in.at - text));
    else if (!picture.some)
        problem = text_of("there is nothing in that trace");
    else
        draw(&picture, out);
    for (size_t i = 0; i < picture.lane_count; i++)
        free(picture.lanes[i].name);
    for (size_t i = 0; i < picture.slice_count; i++)
        free(picture.slices[i].title);
    async__free(picture.lanes);
    async__free(picture.slices);
    async__free(picture.arrows);
    return problem;
}
