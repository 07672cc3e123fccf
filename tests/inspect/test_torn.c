/* The reader on pictures that are torn: bytes, words and links changed at random where it has looked, in
 * the memory of a process and in a core file. Nothing may crash, or go on for ever, whatever it says.
 * ctest: timeout=300 */
#include "run.h"
#include "torn.h"

static uint64_t state = 1;

static uint64_t draw(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545F4914F6CDD1DULL >> 16) % below;
}

static unsigned char *byte_at(uint64_t address)
{
    struct page *page = recorded(address);
    return page ? page->bytes + address % PAGE : NULL;
}

/* Of a place that the reader has looked at: a bit, a byte, or a word that is another one's. */
static void tear(void)
{
    uint64_t address = recording.reads[draw(recording.read_count)];
    unsigned char *at = byte_at(address);
    unsigned char *from = byte_at(recording.reads[draw(recording.read_count)]);
    static const uint64_t words[] = {0, 1, UINT64_MAX, INT64_MAX, 1ULL << 20, 1ULL << 47};

    if (!at || !from || address % PAGE > PAGE - 8) return;
    switch (draw(5)) {
    case 0: at[draw(8)] ^= (unsigned char)(1U << draw(8)); break;
    case 1: at[draw(8)] = (unsigned char)draw(256); break;
    case 2: memcpy(at, &words[draw(COUNT(words))], 8); break;
    case 3: memcpy(at, &address, 8); break;
    default:
        if ((uintptr_t)from % 8 == 0) memmove(at, from, 8);
        break;
    }
}

/* $CASYNCIO_TORN_RUNS: as many as one has time for. */
static unsigned runs(void)
{
    const char *wanted = getenv("CASYNCIO_TORN_RUNS");
    return wanted ? (unsigned)atoi(wanted) : fewer_seeds(500);
}

static void test_memory(void **unused)
{
    struct page *whole = must(malloc(recording.page_count * sizeof *whole));
    unsigned good = 0;

    (void)unused;
    for (size_t i = 0; i < recording.page_count; i++)
        whole[i] = *recording.pages[i];
    assert_true(replay_all());
    for (unsigned run = 0; run < runs(); run++) {
        state = 2 * run + 1;
        for (uint64_t tears = 1 + draw(6); tears > 0; tears--)
            tear();
        good += replay_all();
        for (size_t i = 0; i < recording.page_count; i++)
            *recording.pages[i] = whole[i];
    }
    print_message("%u of %u torn pictures could be read\n", good, runs());
    assert_true(good > 0); /* and are not refused at their door */
    assert_true(replay_all());
    free(whole);
}

/* The description at `address`: each of its words in turn, changed to what lies at an edge. */
static void tear_description(uint64_t address)
{
    static const uint32_t edges[] = {1, INT32_MAX, UINT32_MAX - 3, UINT32_MAX};
    struct async__layout_head head;

    memcpy(&head, byte_at(address), sizeof head);
    for (uint32_t i = sizeof head.magic; i < head.size; i += 4) {
        unsigned char *word = byte_at(address + i);
        uint32_t before;
        assert_non_null(word);
        memcpy(&before, word, 4);
        for (size_t j = 0; j < COUNT(edges); j++) {
            memcpy(word, &edges[j], 4);
            replay_all();
        }
        memcpy(word, &before, 4);
    }
}

static void test_descriptions(void **unused)
{
    /* Not by its magic alone: a program that has the reader, as this one, has that as a text, too. */
    static const struct async__layout_head heads[] = {
        {ASYNC__LAYOUT_MAGIC, ASYNC__LAYOUT_VERSION, sizeof(struct async__layout)},
        {ASYNC__TASK_LAYOUT_MAGIC, ASYNC__LAYOUT_VERSION, sizeof(struct async__task_layout)},
    };
    unsigned found = 0;

    (void)unused;
    for (size_t i = 0; i < recording.page_count; i++)
        for (size_t at = 0; at <= PAGE - sizeof *heads; at += 8)
            for (size_t j = 0; j < COUNT(heads); j++)
                if (memcmp(recording.pages[i]->bytes + at, &heads[j], sizeof *heads) == 0) {
                    found++;
                    tear_description(recording.pages[i]->address + at);
                }
    assert_true(found >= COUNT(heads));
    assert_true(replay_all());
}

static void test_core(void **unused)
{
    int fd = write_core();
    off_t length = lseek(fd, 0, SEEK_END);
    unsigned headers =
        (unsigned)(sizeof(Elf64_Ehdr) + (recording.page_count + 1) * sizeof(Elf64_Phdr)) + 4096;

    (void)unused;
    assert_true(read_core_file(fd));
    for (unsigned run = 0; run < runs() / 4; run++) {
        state = 2 * run + 1;
        off_t at = (off_t)draw(run % 2 ? headers : (uint64_t)length - 8);
        unsigned char before[8], now[8];
        assert_int_equal(pread(fd, before, 8, at), 8);
        memcpy(now, before, 8);
        if (draw(2))
            now[draw(8)] ^= (unsigned char)(1U << draw(8));
        else
            memset(now, draw(2) ? 0xFF : 0, 8);
        assert_int_equal(pwrite(fd, now, 8, at), 8);
        read_core_file(fd);
        assert_int_equal(pwrite(fd, before, 8, at), 8);
    }
    assert_true(read_core_file(fd));
    for (off_t cut = length - 1; cut > 0; cut -= length / 40 + 1) {
        assert_int_equal(ftruncate(fd, cut), 0);
        assert_false(read_core_file(fd));
    }
    close(fd);
}

/* The picture that is torn has all of it to be torn. */
static void test_python(void **unused)
{
    static const char *const wanted[] = {
        " (Queue.get)\n  at Queue.get\n",
        "\n  Task-12 (outer): runs\n    at inner (torn.py)\n    at outer (torn.py:113)\n",
        "\n    the task (outer)\n      at Queue.get\n      at inner (torn.py:124)\n",
        " (torn.py:124)\n      at outer (torn.py:13)\n",
        "\"name\": \"Task-12\", \"running\": true, \"awaited_by\": [\"0x",
    };

    (void)unused;
    assert_true(replay_all());
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (!strstr(shown_text, wanted[i])) {
            fputs(shown_text, stderr);
            fail_msg("not in it: %s", wanted[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_python), cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_descriptions),
                                       cmocka_unit_test(test_core)};

    make_recording();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
