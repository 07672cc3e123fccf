/* live.c - a process that runs: process_vm_readv, which takes nothing from it, and /proc. With `stop` all
 * of its threads are held by ptrace meanwhile, which is no signal to the program. */
#include "image.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, THREADS = 100000 };

struct live {
    int memory; /* /proc/PID/mem, or -1 */
    bool no_vm; /* process_vm_readv does not work here */
    int64_t stopped_at;
};

static ssize_t read_piece(const struct image *self, uint64_t address, void *to, size_t size)
{
    struct live *live = self->data;

    if (!live->no_vm) {
        struct iovec here = {to, size}, there = {(void *)(uintptr_t)address, size};
        ssize_t got = process_vm_readv(self->pid, &here, 1, &there, 1, 0);
        if (got >= 0 || (errno != ENOSYS && errno != EPERM)) return got;
        live->no_vm = true;
    }
    if (live->memory < 0 || address > INT64_MAX) return -1;
    return pread(live->memory, to, size, (off_t)address);
}

bool image_write(const struct image *image, uint64_t address, const void *data, size_t size)
{
    char name[64];
    struct iovec here = {(void *)(uintptr_t)data, size}, there = {(void *)(uintptr_t)address, size};
    ssize_t done = process_vm_writev(image->pid, &here, 1, &there, 1, 0);

    if (done == (ssize_t)size) return true;
    if (done >= 0 || (errno != ENOSYS && errno != EPERM) || address > INT64_MAX) return false;
    snprintf(name, sizeof name, "/proc/%d/mem", image->pid);
    int memory = open(name, O_WRONLY | O_CLOEXEC);
    if (memory < 0) return false;
    done = pwrite(memory, data, size, (off_t)address);
    close(memory);
    return done == (ssize_t)size;
}

/* A piece that cannot be read whole may be so up to the end of a page. */
static size_t read_live(const struct image *self, uint64_t address, void *to, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = read_piece(self, address + done, (char *)to + done, size - done);
        if (got <= 0) {
            size_t page = PAGE - (address + done) % PAGE;
            if (page >= size - done) break;
            got = read_piece(self, address + done, (char *)to + done, page);
            if (got <= 0) break;
        }
        done += (size_t)got;
    }
    return done;
}

/* By what the kernel has mapped, so that a file that was replaced or deleted is the right one, and one
 * of another root directory is found. */
static int open_live(const struct image *self, const struct module *module)
{
    char name[PATH_MAX + 64];
    const struct mapping *mapping = image_mapping(self, module->start);

    if (!mapping) return -1;
    snprintf(name, sizeof name, "/proc/%d/map_files/%llx-%llx", self->pid,
             (unsigned long long)mapping->start, (unsigned long long)mapping->end);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) return fd;
    snprintf(name, sizeof name, "/proc/%d/root%s", self->pid, module->path);
    return open(name, O_RDONLY | O_CLOEXEC);
}

static void close_live(struct image *self)
{
    struct live *live = self->data;

    image_resume(self);
    if (live->memory >= 0) close(live->memory);
    free(live);
}

/* ---- threads ---- */

int64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void image_resume(struct image *image)
{
    struct live *live = image->data; /* only these are stopped */

    if (image->stopped >= 0) return;
    for (size_t i = 0; i < image->thread_count; i++)
        ptrace(PTRACE_DETACH, image->threads[i].id, NULL, NULL);
    image->stopped = (double)(clock_now() - live->stopped_at) * 1e-6;
}

static bool hold(struct image *image, struct thread *thread)
{
    uint64_t registers[64];
    struct iovec all = {registers, sizeof registers};
    int status;

    if (ptrace(PTRACE_SEIZE, thread->id, NULL, NULL) < 0) return false;
    if (ptrace(PTRACE_INTERRUPT, thread->id, NULL, NULL) < 0 ||
        waitpid(thread->id, &status, __WALL) != thread->id || !WIFSTOPPED(status)) {
        ptrace(PTRACE_DETACH, thread->id, NULL, NULL);
        return false;
    }
    if (ptrace(PTRACE_GETREGSET, thread->id, (void *)(uintptr_t)NT_PRSTATUS, &all) == 0)
        thread_set_registers(thread, image->machine, registers, all.iov_len / sizeof *registers);
    return true;
}

/* Of a thread that is in a system call the kernel tells the two registers. */
static void ask_system_call(const struct image *image, struct thread *thread)
{
    char name[64], text[256];
    unsigned long long pc, sp;

    snprintf(name, sizeof name, "/proc/%d/task/%d/syscall", image->pid, thread->id);
    FILE *file = fopen(name, "re");
    if (!file) return;
    char *line = fgets(text, sizeof text, file);
    fclose(file);
    char *before = line ? strrchr(line, ' ') : NULL;
    if (!before || sscanf(before, " 0x%llx", &pc) != 1) return; /* "running" */
    *before = 0;
    before = strrchr(line, ' ');
    if (!before || sscanf(before, " 0x%llx", &sp) != 1) return;
    thread->pc = pc;
    thread->registers[image_sp(image)] = sp;
    thread->known = true;
}

static bool has_thread(const struct image *image, int id)
{
    for (size_t i = 0; i < image->thread_count; i++)
        if (image->threads[i].id == id) return true;
    return false;
}

/* How many threads have been found that were not known: while they are being held others may come. */
static size_t add_threads(struct image *image, bool stop)
{
    char name[64];
    size_t added = 0;

    snprintf(name, sizeof name, "/proc/%d/task", image->pid);
    DIR *directory = opendir(name);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory)) && image->thread_count < THREADS;) {
        struct thread thread = {.id = atoi(entry->d_name)};
        if (thread.id <= 0 || has_thread(image, thread.id)) continue;
        if (stop && !hold(image, &thread)) continue;
        if (!stop) ask_system_call(image, &thread);
        image->threads =
            must(realloc(image->threads, (image->thread_count + 1) * sizeof *image->threads));
        image->threads[image->thread_count++] = thread;
        added++;
    }
    closedir(directory);
    return added;
}

/* ---- what is there ---- */

static void add_mapping(struct image *image, const char *line)
{
    unsigned long long start, end, offset;
    char flags[8];
    int path = 0;

    if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %n", &start, &end, flags, &offset, &path) < 4)
        return;
    if (image->mapping_count % 64 == 0)
        image->mappings =
            must(realloc(image->mappings, (image->mapping_count + 64) * sizeof *image->mappings));
    struct mapping *mapping = &image->mappings[image->mapping_count++];
    *mapping = (struct mapping){start,           end,
                                offset,          flags[0] == 'r',
                                flags[1] == 'w', must(strdup(path ? line + path : ""))};
    mapping->path[strcspn(mapping->path, "\n")] = 0;
}

static bool read_mappings(struct image *image)
{
    char name[64], *line = NULL;
    size_t size = 0;

    snprintf(name, sizeof name, "/proc/%d/maps", image->pid);
    FILE *file = fopen(name, "re");
    if (!file) return false;
    while (getline(&line, &size, file) > 0)
        add_mapping(image, line);
    bool good = !ferror(file);
    int error = errno;
    free(line);
    fclose(file);
    errno = error;
    return good;
}

static void set_title(struct image *image)
{
    char name[64], text[64] = "?";

    snprintf(name, sizeof name, "/proc/%d/comm", image->pid);
    FILE *file = fopen(name, "re");
    if (file) {
        if (!fgets(text, sizeof text, file)) strcpy(text, "?");
        fclose(file);
    }
    text[strcspn(text, "\n")] = 0;
    for (char *at = text; *at; at++)
        if (!isprint((unsigned char)*at)) *at = '?';
    snprintf(image->title, sizeof image->title, "process %d (%s)", image->pid, text);
}

static char *refused(int pid, int error)
{
    if (error == ENOENT || error == ESRCH) return text_of("there is no process %d", pid);
    if (error != EPERM && error != EACCES)
        return text_of("process %d cannot be read: %s", pid, strerror(error));
    return text_of(
        "process %d cannot be read: %s. It takes the same user and group as the process's, "
        "or root; and if /proc/sys/kernel/yama/ptrace_scope is not 0, root or "
        "CAP_SYS_PTRACE",
        pid, strerror(error));
}

/* 0, or the errno for which its memory cannot be read. A process without memory is one that ends. */
static int probe(struct image *image)
{
    char byte;

    if (image->mapping_count == 0) return ESRCH;
    for (size_t i = 0; i < image->mapping_count; i++) {
        if (!image->mappings[i].readable) continue;
        errno = 0;
        if (read_live(image, image->mappings[i].start, &byte, 1) == 1) return 0;
        if (errno == ESRCH || errno == EPERM || errno == EACCES) return errno;
    }
    return errno ? errno : ESRCH;
}

struct image *image_of_process(int pid, bool stop, char **error)
{
    char name[64];
    struct stat status;
    struct image *image = must(calloc(1, sizeof *image));
    struct live *live = must(calloc(1, sizeof *live));

    *image = (struct image){
        .pid = pid, .read = read_live, .open = open_live, .close = close_live, .data = live};
    snprintf(name, sizeof name, "/proc/%d/mem", pid);
    live->memory = open(name, O_RDONLY | O_CLOEXEC);
    snprintf(name, sizeof name, "/proc/%d", pid);
    int code = stat(name, &status) < 0 ? ENOENT : !read_mappings(image) ? errno : probe(image);
    if (code != 0) {
        *error = refused(pid, code);
        image_free(image);
        return NULL;
    }
    set_title(image);
    if (!image_find_modules(image)) {
        *error = text_of("%s has no casyncio in it that this program knows", image->title);
        image_free(image);
        return NULL;
    }
    if (stop) {
        live->stopped_at = clock_now();
        image->stopped = -1;
        for (int rounds = 0; rounds < 10 && add_threads(image, true) > 0; rounds++)
            continue;
        if (image->thread_count == 0) {
            *error = refused(pid, errno);
            image_free(image);
            return NULL;
        }
    } else {
        add_threads(image, false);
    }
    image->now = clock_now();
    return image;
}
