/* switch_x86_64.S - the context switch, System V ABI.
 *
 * What the ABI has a call preserve is rbx, rbp, r12-r15 and the stack pointer; mxcsr and the x87
 * control word belong to the thread here, not to the fiber. The registers go on the stack, so that
 * a fiber that does not run is one pointer.
 *
 * The way back is a ret. The processor predicts it from a stack of its own, onto which the call of
 * this function has pushed; a pop and an indirect jump would leave that entry there and so have
 * every return of the fiber that goes on mispredicted: 22 ns a switch through the scheduler instead
 * of 9. (This cannot run under a shadow stack, and the file does not claim that it can.)
 *
 * The call-frame information holds at every instruction: on both stacks the saved registers lie in
 * the same places, so that it need not know where the stack pointer changes. */
#if defined(__x86_64__) && !defined(__ILP32__)

    .text

    .globl async__switch
    .hidden async__switch
    .type async__switch, @function
    .p2align 5
async__switch: /* rdi: void **from, rsi: void *to */
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, (%rdi)
    movq %rsi, %rsp
.Lresume:
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    ret
    .cfi_endproc
    .size async__switch, . - async__switch

    .globl async__jump
    .hidden async__jump
    .type async__jump, @function
    .p2align 4
async__jump: /* rdi: void *to */
    .cfi_startproc
    movq %rdi, %rsp
    .cfi_adjust_cfa_offset 48
    .cfi_rel_offset rbp, 40
    .cfi_rel_offset rbx, 32
    .cfi_rel_offset r12, 24
    .cfi_rel_offset r13, 16
    .cfi_rel_offset r14, 8
    .cfi_rel_offset r15, 0
    jmp .Lresume
    .cfi_endproc
    .size async__jump, . - async__jump

    .globl async__call_on
    .hidden async__call_on
    .type async__call_on, @function
    .p2align 4
async__call_on: /* rdi: void *sp, rsi: void (*function)(void *), rdx: void *argument */
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    movq %rsp, %rbp
    .cfi_def_cfa_register rbp
    movq %rdi, %rsp
    movq %rdx, %rdi
    callq *%rsi
    movq %rbp, %rsp
    .cfi_def_cfa_register rsp
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    ret
    .cfi_endproc
    .size async__call_on, . - async__call_on

/* A fiber's first frame, where its first switch "returns" to: rbx is the entry, r12 its argument,
 * rbp is 0, and so is the word that rsp points at. The nop is for unwinders, which look up a return
 * address less one. */
    .globl async__fiber_start
    .hidden async__fiber_start
    .type async__fiber_start, @function
    .p2align 4
    .cfi_startproc
    .cfi_undefined rip
    nop
async__fiber_start:
    movq %r12, %rdi
    callq *%rbx
    ud2 /* entry has returned: it must not */
    .cfi_endproc
    .size async__fiber_start, . - async__fiber_start

#endif
    .section .note.GNU-stack, "", %progbits
