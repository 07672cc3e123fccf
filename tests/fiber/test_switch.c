/* test_switch.c - the switch keeps what the ABI has a call preserve, and a fiber's first frame is
 * where an unwind ends. */
#include "fiber_test.h"

static async__stack_pool *pool;
static async__fiber thread, fiber;
static void *top;

static int set_up(void **state)
{
    (void)state;
    pool = async__stack_pool_new(0);
    top = async__stack_get(pool);
    async__fiber_init_thread(&thread);
    return pool && top ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    async__stack_put(pool, top);
    async__stack_pool_free(pool);
    async__fiber_destroy(&thread);
    return 0;
}

static void start(void (*entry)(void *), void *argument)
{
    async__fiber_init(&fiber, async__stack_base(pool, top), top, entry, argument);
    async__fiber_switch(&thread, &fiber);
}

/* ---- registers ---- */

static bool stop;

/* Puts -1 into all that is to be preserved, each time it runs. */
static void scribble(void *argument)
{
    (void)argument;
    while (!stop) {
#if defined(__x86_64__)
        __asm__ volatile("movq $-1, %%rbx; movq $-1, %%r12; movq $-1, %%r13; movq $-1, %%r14\n"
                         "movq $-1, %%r15"
                         :
                         :
                         : "rbx", "r12", "r13", "r14", "r15");
#else
        __asm__ volatile("mov x19, #-1; mov x20, #-1; mov x21, #-1; mov x22, #-1; mov x23, #-1\n"
                         "mov x24, #-1; mov x25, #-1; mov x26, #-1; mov x27, #-1; mov x28, #-1\n"
                         "movi d8, #-1; movi d9, #-1; movi d10, #-1; movi d11, #-1\n"
                         "movi d12, #-1; movi d13, #-1; movi d14, #-1; movi d15, #-1"
                         :
                         :
                         : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
                           "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15");
#endif
        async__fiber_switch(&fiber, &thread);
    }
    async__fiber_leave(&fiber, &thread);
}

__attribute__((used)) void round_trip(void) { async__fiber_switch(&thread, &fiber); }

/* Calls round_trip with a value of its own in each register: 0 if all are still there. */
static uint64_t damage(void)
{
    uint64_t damaged;
#if defined(__x86_64__)
    __asm__ volatile(
        "movq %%rsp, %%rax; subq $256, %%rsp; andq $-16, %%rsp\n" /* clear of the red zone */
        "movq %%rax, 0(%%rsp); movq %%rbp, 8(%%rsp)\n"
        "movq $11, %%rbx; movq $12, %%r12; movq $13, %%r13; movq $14, %%r14; movq $15, %%r15\n"
        "movq $16, %%rbp\n"
        "call round_trip\n"
        "xorq $11, %%rbx; xorq $12, %%r12; xorq $13, %%r13; xorq $14, %%r14; xorq $15, %%r15\n"
        "xorq $16, %%rbp; movq %%rbp, %%rax\n"
        "orq %%rbx, %%rax; orq %%r12, %%rax; orq %%r13, %%rax; orq %%r14, %%rax; orq %%r15, %%rax\n"
        "movq 8(%%rsp), %%rbp; movq 0(%%rsp), %%rsp"
        : "=&a"(damaged)
        :
        : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
          "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
#else
    __asm__ volatile(
        "str x29, [sp, #-16]!\n"
        "mov x19, #19; mov x20, #20; mov x21, #21; mov x22, #22; mov x23, #23; mov x24, #24\n"
        "mov x25, #25; mov x26, #26; mov x27, #27; mov x28, #28\n"
        "fmov d8, x19; fmov d9, x20; fmov d10, x21; fmov d11, x22; fmov d12, x23; fmov d13, x24\n"
        "fmov d14, x25; fmov d15, x26\n"
        "bl round_trip\n"
        "fmov x0, d8; fmov x1, d9; fmov x2, d10; fmov x3, d11; fmov x4, d12; fmov x5, d13\n"
        "fmov x6, d14; fmov x7, d15\n"
        "eor x0, x0, x19\n" /* d8 was set to x19, and so on */
        "eor x1, x1, x20; eor x2, x2, x21; eor x3, x3, x22; eor x4, x4, x23; eor x5, x5, x24\n"
        "eor x6, x6, x25; eor x7, x7, x26\n"
        "orr x0, x0, x1; orr x0, x0, x2; orr x0, x0, x3; orr x0, x0, x4; orr x0, x0, x5\n"
        "orr x0, x0, x6; orr x0, x0, x7\n"
        "sub x19, x19, #19; sub x20, x20, #20; sub x21, x21, #21; sub x22, x22, #22\n"
        "sub x23, x23, #23; sub x24, x24, #24; sub x25, x25, #25; sub x26, x26, #26\n"
        "sub x27, x27, #27; sub x28, x28, #28\n"
        "orr x0, x0, x19; orr x0, x0, x20; orr x0, x0, x21; orr x0, x0, x22; orr x0, x0, x23\n"
        "orr x0, x0, x24; orr x0, x0, x25; orr x0, x0, x26; orr x0, x0, x27; orr x0, x0, x28\n"
        "mov %0, x0\n"
        "ldr x29, [sp], #16"
        : "=r"(damaged)
        :
        : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
          "x14", "x15", "x16", "x17", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
          "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
          "v25", "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
#endif
    return damaged;
}

static void test_registers(void **state)
{
    (void)state;
    stop = false;
    start(scribble, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(damage(), 0);
    stop = true;
    async__fiber_switch(&thread, &fiber);
    async__fiber_destroy(&fiber);
}

/* ---- the first run, and the last ---- */

static uintptr_t aligned_at;
static void *given;

static void first_run(void *argument)
{
    _Alignas(16) char local[16];
    __asm__ volatile("" : : "r"(local) : "memory");
    aligned_at = (uintptr_t)local;
    given = argument;
    async__fiber_switch(&fiber, &thread);
    given = NULL;
    async__fiber_leave(&fiber, &thread);
}

static void test_lifetime(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) { /* the same stack, and the same struct, again and again */
        start(first_run, &aligned_at);
        assert_ptr_equal(given, &aligned_at);
        assert_int_equal(aligned_at % 16, 0);
        if (!SANITIZED) /* their locals may lie elsewhere */
            assert_in_range(aligned_at, (uintptr_t)async__stack_base(pool, top), (uintptr_t)top);
        async__fiber_switch(&thread, &fiber);
        assert_null(given);
        async__fiber_destroy(&fiber);
    }
}

static void test_never_run(void **state)
{
    (void)state;
    async__fiber_init(&fiber, async__stack_base(pool, top), top, first_run, NULL);
    async__fiber_destroy(&fiber);
}

#define RING 50
static async__fiber ring[RING];
static int laps[RING];

static void runner(void *argument)
{
    int self = (int)(intptr_t)argument;
    for (laps[self] = 0; laps[self] < 100; laps[self]++)
        async__fiber_switch(&ring[self], &ring[(self + 1) % RING]);
    async__fiber_leave(&ring[self], self + 1 < RING ? &ring[self + 1] : &thread);
}

static void test_ring(void **state)
{
    (void)state;
    void *tops[RING];
    for (int i = 0; i < RING; i++) {
        tops[i] = async__stack_get(pool);
        async__fiber_init(&ring[i], async__stack_base(pool, tops[i]), tops[i], runner,
                          (void *)(intptr_t)i);
    }
    async__fiber_switch(&thread, &ring[0]);
    for (int i = 0; i < RING; i++) {
        assert_int_equal(laps[i], 100);
        async__fiber_destroy(&ring[i]);
        async__stack_put(pool, tops[i]);
    }
}

/* ---- unwinding ---- */

/* gcc's unwinder for glibc does not link with another libc. */
#ifdef __GLIBC__
#include <unwind.h>

void async__fiber_start(void);

static int frames;
static uintptr_t last_function;

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *unused)
{
    (void)unused;
    last_function = _Unwind_GetRegionStart(context);
    return ++frames < 1000 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static __attribute__((noinline)) void descend(int depth)
{
    if (depth > 0)
        descend(depth - 1);
    else
        _Unwind_Backtrace(count_frame, NULL);
    __asm__ volatile("" : : : "memory"); /* no tail call */
}

static void unwinder(void *argument)
{
    (void)argument;
    frames = 0;
    descend(10);
    async__fiber_leave(&fiber, &thread);
}

static void test_unwind_ends(void **state)
{
    (void)state;
    start(unwinder, NULL);
    assert_in_range(frames, 12, 16);
    /* one byte before, there is the nop for unwinders */
    assert_in_range((uintptr_t)async__fiber_start - last_function, 0, 16);
    async__fiber_destroy(&fiber);
}
#else
static void test_unwind_ends(void **state)
{
    (void)state;
    print_message("skipped: gcc's unwinder for glibc does not link with this libc\n");
    skip();
}
#endif

static int links;

static __attribute__((noinline)) void walk(void *argument)
{
    (void)argument;
    void **frame = __builtin_frame_address(0);
    for (links = 0; frame && links < 100; links++)
        frame = *frame;
    async__fiber_leave(&fiber, &thread);
}

static void test_frame_pointers_end(void **state)
{
    (void)state;
    if (SANITIZED) skip_with("there is a frame between, which need not keep the frame pointer");
    start(walk, NULL);
    assert_in_range(links, 1, 4);
    async__fiber_destroy(&fiber);
}

/* ---- calls on another stack ---- */

static const char *called_at;

static void note(void *argument)
{
    called_at = __builtin_frame_address(0);
    *(int *)argument += 1;
}

static void calls(void *argument)
{
    volatile int before = 17, calls = 0;

    for (int i = 0; i < 3; i++)
        async__fiber_call_on(&thread, note, argument);
    calls = *(int *)argument;
    if (before == 17 && calls == 3) *(int *)argument = -1;
    async__fiber_leave(&fiber, &thread);
}

static void test_call_on(void **state)
{
    int count = 0;
    (void)state;

    start(calls, &count);
    assert_int_equal(count, -1);
    /* That of the thread, below this frame. */
    if (!SANITIZED && !getenv("CASYNCIO_TEST_WRAPPER"))
        assert_in_range((const char *)&count - called_at, 1, 64 * 1024);
    async__fiber_destroy(&fiber);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),   cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_never_run),   cmocka_unit_test(test_ring),
        cmocka_unit_test(test_unwind_ends), cmocka_unit_test(test_frame_pointers_end),
        cmocka_unit_test(test_call_on),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
