/* uring_ring.c - see uring_ring.h. */
#include "uring_ring.h"

#ifdef ASYNC_URING

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ENTRIES = 256,      /* of the submission queue: a full one costs a system call */
    COMPLETIONS = 4096, /* what is beyond them the kernel keeps */
    FIRST_BUFFERS = 64, /* their number grows with what one look has needed */
};

__thread uint64_t async__uring_thread;

/* ---- buffers ---- */

#define BUFFERS_BYTES (ASYNC__BUFFERS * sizeof(struct io_uring_buf))

static void give_buffer(struct uring *self, int number)
{
    io_uring_buf_ring_add(self->buffers, async__uring_buffer(self, number), ASYNC__BUFFER_SIZE,
                          (unsigned short)number, ASYNC__BUFFERS - 1, 0);
    io_uring_buf_ring_advance(self->buffers, 1);
}

void async__uring_give_back(struct uring *self, unsigned flags)
{
    if (flags & IORING_CQE_F_BUFFER) give_buffer(self, (int)(flags >> IORING_CQE_BUFFER_SHIFT));
}

void async__uring_add_buffers(struct uring *self)
{
    int count = self->buffer_count ? self->buffer_count * 2 : FIRST_BUFFERS;

    if (count > ASYNC__BUFFERS) count = ASYNC__BUFFERS;
    while (self->buffer_count < count)
        give_buffer(self, self->buffer_count++);
}

static void *map(size_t size)
{
    void *memory =
        ASYNC__MAP(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return memory == MAP_FAILED ? NULL : memory;
}

bool async__uring_map(struct uring *self)
{
    self->buffers = map(BUFFERS_BYTES);
    self->memory = map((size_t)ASYNC__BUFFERS * ASYNC__BUFFER_SIZE);
    if (self->buffers && self->memory) return true;
    async__uring_unmap(self);
    return false;
}

void async__uring_unmap(struct uring *self)
{
    if (self->buffers) munmap(self->buffers, BUFFERS_BYTES);
    if (self->memory) munmap(self->memory, (size_t)ASYNC__BUFFERS * ASYNC__BUFFER_SIZE);
}

static int register_buffers(struct uring *self)
{
    struct io_uring_buf_reg request = {.ring_addr = (uintptr_t)self->buffers,
                                       .ring_entries = ASYNC__BUFFERS,
                                       .bgid = ASYNC__BUFFER_GROUP};

    io_uring_buf_ring_init(self->buffers);
    int code = ASYNC__CALL(0) < 0 ? -errno : io_uring_register_buf_ring(&self->ring, &request, 0);
    if (code < 0) return code;
    self->buffer_count = 0;
    async__uring_add_buffers(self);
    return 0;
}

/* ---- the ring ---- */

/* Linux 5.19 has all that is asked of the ring, and the rings of buffers prove it. 6.1 also runs the
 * work of completions when the loop waits, and at no other time. */
int async__uring_set_up(struct uring *self)
{
    static const unsigned kinds[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                     IORING_SETUP_COOP_TASKRUN};
    int code = -EINVAL;

    for (size_t i = 0; code == -EINVAL && i < sizeof kinds / sizeof *kinds; i++) {
        struct io_uring_params params = {
            .flags = kinds[i] | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED |
                     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = COMPLETIONS};
        code =
            ASYNC__CALL(0) < 0 ? -errno : io_uring_queue_init_params(ENTRIES, &self->ring, &params);
    }
    if (code < 0) return code;
    self->plain_fd = self->ring.enter_ring_fd;
    self->plain_flags = self->ring.int_flags;
    self->thread = ASYNC__NO_THREAD;
    self->polls_epoll = self->epoll_ready = false;
    code = register_buffers(self);
    if (code == 0 && self->event_fd >= 0)
        code = io_uring_register_eventfd(&self->ring, self->event_fd);
    if (code < 0) io_uring_queue_exit(&self->ring);
    return code;
}

/* The registration of the ring's descriptor is the thread's. In another one, or after a fork, the
 * same number may be another ring's. */
void async__uring_take_down(struct uring *self, bool forked)
{
    if (forked || self->thread != async__uring_thread) {
        self->ring.enter_ring_fd = self->plain_fd;
        self->ring.int_flags = (__u8)self->plain_flags;
    }
    io_uring_queue_exit(&self->ring);
}

__attribute__((cold)) int async__uring_enable(struct uring *self)
{
    static _Atomic uint64_t last;

    if (self->thread != ASYNC__NO_THREAD) {
        if (self->under_way > 0) return -EPERM;
        async__uring_take_down(self, false);
        int code = async__uring_set_up(self);
        if (code < 0) return code;
    }
    /* (liburing 2.3 does not export io_uring_enable_rings.) */
    int code = (int)ASYNC__CALL(
        syscall(SYS_io_uring_register, self->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
    if (code < 0) return -errno;
    if (!async__uring_thread) async__uring_thread = ++last;
    self->thread = async__uring_thread;
    (void)io_uring_register_ring_fd(&self->ring); /* without it calls cost a little more */
    return 0;
}

int async__uring_submit(struct uring *self)
{
    int code = async__uring_check_thread(self);

    if (code < 0) return code;
    code = ASYNC__CALL(0) < 0 ? -errno : io_uring_submit_and_get_events(&self->ring);
    return code < 0 ? code : 0;
}

struct io_uring_sqe *async__uring_sqe(struct uring *self)
{
    if (async__uring_check_thread(self) < 0 || ASYNC__CALL(0) < 0) return NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
    if (async__likely(sqe != NULL)) return sqe;
    return async__uring_submit(self) < 0 ? NULL : io_uring_get_sqe(&self->ring);
}

#endif
