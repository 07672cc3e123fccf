/* The file and the picture of a trace, of events that make no sense (a ring that was overwritten while it was read), and of
 * files that are broken: a file is always whole, and a picture is there or it is said why not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inspect/image.h>
#include <inspect/trace.h>
#include <loop/trace_events.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 200, BEGIN = 1000000, LENGTH = 100000, RUNS = 400 };

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL % below;
}

static const char *text_of_address(void *data, uint64_t address)
{
    (void)data;
    return address % 3 ? "a \"text\" <&>\xff\n" : NULL;
}

static void function_of_address(void *data, uint64_t address, char *name, size_t size)
{
    (void)data;
    snprintf(name, size, "%s", address % 2 ? "function" : "");
}

static void make_events(struct async__trace_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t time = BEGIN + (int64_t)draw(LENGTH);
        events[i] = (struct async__trace_event){.time = time,
                                                .task = draw(6),
                                                .other = draw(6),
                                                .text = draw(100),
                                                .value = (int32_t)draw(10) - 1,
                                                .kind = 1 + (uint32_t)draw(ASYNC__TRACE_DROPPED)};
        if (events[i].kind == ASYNC__TRACE_JOB)
            events[i].text = BEGIN + draw((uint64_t)time - BEGIN + 1);
    }
}

/* The file of some of them, to be freed. */
static char *make_file(struct async__trace_event *events, size_t count, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    struct async__trace_task tasks[] = {{1, "one", "main", "sleep", true},
                                        {9, NULL, NULL, NULL, false}};
    struct async__trace_writer writer = {.out = out,
                                         .process = 1,
                                         .title = "a \"title\"",
                                         .text = text_of_address,
                                         .function = function_of_address};
    struct async__trace_record record = {.events = events,
                                         .count = count,
                                         .lost = draw(2),
                                         .begin = BEGIN,
                                         .end = BEGIN + LENGTH,
                                         .loop = 1,
                                         .others = draw(2),
                                         .tasks = tasks,
                                         .task_count = 2};

    assert_non_null(out);
    async__trace_file_begin(&writer, BEGIN);
    assert_true(async__trace_file_add(&writer, &record));
    async__trace_file_end(&writer);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Whether there is one; it is whole then. */
static bool has_picture(const char *text, size_t length)
{
    char *picture = NULL;
    size_t size;
    FILE *out = open_memstream(&picture, &size);

    assert_non_null(out);
    char *problem = trace_picture(text, length, out);
    assert_int_equal(fclose(out), 0);
    if (problem)
        assert_int_equal(size, 0);
    else
        assert_string_equal(picture + size - 7, "</svg>\n");
    bool there = !problem;
    free(problem);
    free(picture);
    return there;
}

static void test_events(void **unused)
{
    struct async__trace_event events[EVENTS];

    (void)unused;
    for (unsigned run = 0; run < RUNS; run++) {
        size_t size, count = run % EVENTS;
        state = 2 * run + 1;
        make_events(events, count);
        char *text = make_file(events, count, &size);
        assert_true(has_picture(text, size)); /* the two tasks have slices in any case */
        free(text);
    }
}

static void test_broken(void **unused)
{
    struct async__trace_event events[EVENTS];
    unsigned whole = 0;
    size_t size;

    (void)unused;
    state = 1;
    make_events(events, EVENTS);
    char *text = make_file(events, EVENTS, &size), *broken = malloc(size);
    assert_non_null(broken);
    for (unsigned run = 0; run < 2 * RUNS; run++) {
        size_t length = run % 2 ? size : draw(size); /* cut: it cannot be whole */
        memcpy(broken, text, size);
        for (uint64_t changes = run % 2 ? 1 + draw(4) : 0; changes > 0; changes--)
            broken[draw(size)] = "{}[]\",:0e\\u-\0\xff"[draw(14)];
        bool there = has_picture(broken, length);
        if (run % 2 == 0) assert_false(there);
        whole += there;
    }
    assert_true(whole > 0); /* most changes are in a text, or a number */
    free(text);
    free(broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_events),
                                       cmocka_unit_test(test_broken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
