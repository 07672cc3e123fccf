/* faults.c - the counters of the fault hook (faults.h); empty in an ordinary build. */
#include "faults.h"

#ifdef ASYNC_FAULTS
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__thread struct async__fault_counter async__faults[ASYNC__FAULT_KINDS];
struct async__fault_counter async__worker_faults[ASYNC__FAULT_KINDS];
__thread bool async__fault_worker;
int async__fault_errno = EIO;
void (*async__fault_action)(void);
bool async__fault_virtual_clock;
int async__fault_speed = 1;
int64_t async__fault_tick;
int64_t async__fault_end;

const char *const async__fault_names[ASYNC__FAULT_KINDS] = {
    "allocation", "system_call", "transfer", "await", "wait", "wake", "expire"};
static int report_fd = -1;

/* Atomic, since the threads of the pools share one set of counters. */
bool async__fault(enum async__fault_kind kind)
{
    struct async__fault_counter *counter =
        async__fault_worker ? &async__worker_faults[kind] : &async__faults[kind];
    long at = __atomic_load_n(&counter->at, __ATOMIC_RELAXED);
    long count = __atomic_add_fetch(&counter->count, 1, __ATOMIC_RELAXED);
    bool hit = count == at || (at > 0 && count > at && counter->on);
    if (!hit || !async__fault_action || async__fault_worker) return hit;
    async__fault_action();
    return false;
}

size_t async__fault_size(size_t size)
{
    if (size < 2) return size;
    return async__fault(ASYNC__FAULT_TRANSFER) ? 1 : size;
}

int async__fault_close(int fd)
{
    int result = close(fd); /* a close that fails has released the descriptor all the same */
    return ASYNC__CALL(result);
}

/* ---- control by the environment, for a program that does not set counters itself ---- */

static void choose(const char *text)
{
    static const char worker[] = "worker_";
    struct async__fault_counter *counters = async__faults;
    char name[32];
    long at;

    if (strncmp(text, worker, sizeof worker - 1) == 0) {
        text += sizeof worker - 1;
        counters = async__worker_faults;
    }
    if (sscanf(text, "%31[a-z_+]:%ld:%d", name, &at, &async__fault_errno) < 2) return;
    bool on = name[strlen(name) - 1] == '+';
    if (on) name[strlen(name) - 1] = 0;
    for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++)
        if (strcmp(name, async__fault_names[kind]) == 0)
            counters[kind] = (struct async__fault_counter){.at = at, .on = on};
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *fault = getenv("CASYNCIO_FAULT"), *clock = getenv("CASYNCIO_FAULT_CLOCK");
    const char *report = getenv("CASYNCIO_FAULT_REPORT");

    if (fault) choose(fault);
    if (clock && strncmp(clock, "virtual", 7) == 0) {
        async__fault_virtual_clock = true;
        if (clock[7] == ':') async__fault_tick = atoll(clock + 8);
    } else if (clock && atoi(clock) > 0) {
        async__fault_speed = atoi(clock);
    }
    if (report) report_fd = atoi(report);
}

static int open_descriptors(void)
{
    int count = -1; /* opendir's own is not counted */
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') count++;
    closedir(directory);
    return count;
}

__attribute__((destructor)) static void report_counts(void)
{
    if (report_fd < 0) return;
    for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++) {
        dprintf(report_fd, "%s %ld\n", async__fault_names[kind], async__faults[kind].count);
        dprintf(report_fd, "worker_%s %ld\n", async__fault_names[kind],
                async__worker_faults[kind].count);
    }
    dprintf(report_fd, "end %lld\n", (long long)async__fault_end);
    dprintf(report_fd, "descriptors %d\n", open_descriptors());
}
#else
typedef int async__no_faults; /* a translation unit may not be empty */
#endif
