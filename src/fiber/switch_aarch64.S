/* switch_aarch64.S - the context switch, AAPCS64.
 *
 * What the ABI has a call preserve is x19-x29, the low halves of v8-v15, and the stack pointer;
 * fpcr belongs to the thread here, not to the fiber. The registers go on the stack, so that a fiber
 * that does not run is one pointer. The way back is a ret: an indirect branch would want a landing
 * pad where branch target identification is on.
 *
 * The call-frame information holds at every instruction: on both stacks the saved registers lie in
 * the same places, so that it need not know where the stack pointer changes. */
#if defined(__aarch64__)

    .text

/* A hint, which processors that know no BTI take for a nop. */
#define LANDING_PAD hint #34 /* bti c */

    .macro saved_registers
    .cfi_def_cfa sp, 160
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    .cfi_rel_offset x19, 16
    .cfi_rel_offset x20, 24
    .cfi_rel_offset x21, 32
    .cfi_rel_offset x22, 40
    .cfi_rel_offset x23, 48
    .cfi_rel_offset x24, 56
    .cfi_rel_offset x25, 64
    .cfi_rel_offset x26, 72
    .cfi_rel_offset x27, 80
    .cfi_rel_offset x28, 88
    .cfi_rel_offset b8, 96
    .cfi_rel_offset b9, 104
    .cfi_rel_offset b10, 112
    .cfi_rel_offset b11, 120
    .cfi_rel_offset b12, 128
    .cfi_rel_offset b13, 136
    .cfi_rel_offset b14, 144
    .cfi_rel_offset b15, 152
    .endm

    .globl async__switch
    .hidden async__switch
    .type async__switch, %function
    .p2align 5
async__switch: /* x0: void **from, x1: void *to */
    .cfi_startproc
    LANDING_PAD
    stp x29, x30, [sp, #-160]!
    .cfi_def_cfa_offset 160
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    saved_registers
    mov x9, sp
    str x9, [x0]
    mov sp, x1
.Lresume:
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldp x29, x30, [sp], #160
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore b8
    .cfi_restore b9
    .cfi_restore b10
    .cfi_restore b11
    .cfi_restore b12
    .cfi_restore b13
    .cfi_restore b14
    .cfi_restore b15
    ret
    .cfi_endproc
    .size async__switch, . - async__switch

    .globl async__jump
    .hidden async__jump
    .type async__jump, %function
    .p2align 4
async__jump: /* x0: void *to */
    .cfi_startproc
    LANDING_PAD
    mov sp, x0
    saved_registers
    b .Lresume
    .cfi_endproc
    .size async__jump, . - async__jump

    .globl async__call_on
    .hidden async__call_on
    .type async__call_on, %function
    .p2align 4
async__call_on: /* x0: void *sp, x1: void (*function)(void *), x2: void *argument */
    .cfi_startproc
    LANDING_PAD
    stp x29, x30, [sp, #-16]!
    .cfi_def_cfa_offset 16
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mov x29, sp
    .cfi_def_cfa_register x29
    mov sp, x0
    mov x0, x2
    blr x1
    mov sp, x29
    .cfi_def_cfa_register sp
    ldp x29, x30, [sp], #16
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size async__call_on, . - async__call_on

/* A fiber's first frame, where its first switch "returns" to: x19 is the entry, x20 its argument,
 * x29 is 0. The nop is for unwinders, which look up a return address less one. */
    .globl async__fiber_start
    .hidden async__fiber_start
    .type async__fiber_start, %function
    .p2align 4
    .cfi_startproc
    .cfi_undefined x30
    nop
async__fiber_start:
    mov x0, x20
    mov x30, #0
    blr x19
    brk #0x3e8 /* entry has returned: it must not */
    .cfi_endproc
    .size async__fiber_start, . - async__fiber_start

/* The linker switches BTI off for the whole library if one object does not say that it has it. */
#if defined(__ARM_FEATURE_BTI_DEFAULT)
    .pushsection .note.gnu.property, "a", %note
    .p2align 3
    .word 4, 16, 5
    .asciz "GNU"
    .word 0xc0000000, 4, 1, 0
    .popsection
#endif

#endif
    .section .note.GNU-stack, "", %progbits
