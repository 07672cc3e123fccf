/* What casyncio ps and pstree read of another process. The input is a row of changes to a recorded one: of
 * each the number of a word that the reader looks at, and what is written over it. The first byte says
 * whether it is read as a process or as a core file. */
#include "../tests/inspect/torn.h"

static struct page whole[PAGES];

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    make_recording();
    for (size_t i = 0; i < recording.page_count; i++)
        whole[i] = *recording.pages[i];
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct {
        uint16_t place;
        uint8_t length, from;
        uint8_t bytes[8];
    } change;

    if (size < 1) return 0;
    bool core = data[0] & 1;
    for (size_t at = 1; at + sizeof change <= size; at += sizeof change) {
        memcpy(&change, data + at, sizeof change);
        uint64_t address = recording.reads[change.place % recording.read_count];
        struct page *page = recorded(address);
        size_t offset = address % PAGE, length = change.length % 9;
        if (!page || offset > PAGE - 8) continue;
        if (change.from) /* a link to another place that is looked at */
            memcpy(page->bytes + offset, &recording.reads[change.from % recording.read_count], 8);
        else
            memcpy(page->bytes + offset, change.bytes, length);
    }
    if (core) {
        int fd = write_core();
        read_core_file(fd);
        close(fd);
    } else {
        replay_all();
    }
    for (size_t i = 0; i < recording.page_count; i++)
        *recording.pages[i] = whole[i];
    return 0;
}
