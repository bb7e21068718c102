/*
 * The stack switch on x86_64 (System V), for ELF and Mach-O.
 *
 * Operations. A *resumer* runs a coroutine until the coroutine suspends or finishes:
 *
 *     resume    resumer   -> coroutine   entered by `call`, from inline assembly in src/arch/x86_64.rs
 *     suspend   coroutine -> resumer     entered by `jmp`,  from inline assembly in src/arch/x86_64.rs
 *     finish    coroutine -> resumer     entered by `jmp` or `call`, never to come back
 *     entry     where the first resume of a coroutine lands
 *     resume_with_float   `resume` for a coroutine that has floating-point control words of its own
 *
 * Interface:
 *
 *     rdi   one word of data, untouched on its way across
 *     rsi   before: stack pointer of the side to switch to
 *           after:  stack pointer of the side that was left (0 from `finish`)
 *     rdx   a signal, untouched on its way across; undefined after `suspend`
 *     rcx   for `resume` alone: the coroutine's root
 *
 * What is saved. The inline call sites declare every register clobbered that inline assembly can name, so the compiler
 * spills just the values that are alive there. Left for us are the three that it cannot name: rsp, rbp, rbx (LLVM keeps
 * rbx for itself). The other callee-saved registers of the ABI (r12-r15) are clobbers of the call site.
 *
 * What is not saved. MXCSR and the x87 control word belong to the OS thread, not to the coroutine: Rust code may not
 * change them (it assumes the default environment), and saving them would cost 6 ns on a switch of 2 ns. For C code that does change
 * them, a coroutine can have its own: `resume_with_float`.
 * Shadow stacks (CET SS) are not supported: a return that lands on another stack is what they exist to stop.
 *
 * The stack of a side that was left, from its stack pointer upwards:
 *
 *     sp + 16   where to go on    resumer: pushed by its `call`; coroutine: pushed by `suspend`, at first `entry`
 *     sp +  8   rbp               at first the address of the link
 *     sp +  0   rbx               at first the function that `entry` jumps to
 *
 * The top of a coroutine's stack, for as long as it lives:
 *
 *     root      aligned to 16; above it is what the Rust side keeps there
 *     root -  8 an address in `entry`
 *     root - 16 link: where the resumer's rbp is saved (its sp + 8); written by each `resume`
 *
 * The link makes backtraces go on from a coroutine into its resumer, in two ways. Link and address are a frame record
 * (saved frame pointer, return address) as any function's, and what the link points to is the resumer's: a walk along
 * frame pointers, as perf does it, passes through. And the CFI of `entry` computes its caller's frame from the link.
 *
 * Paired returns. The processor predicts a `ret` by remembering the `call`s. The resumer's `call` of `resume` is
 * answered by the `ret` of `suspend` or `finish`; a coroutine is left and entered by `jmp` alone. A mispredicted return
 * costs about 7 ns, more than the rest of a round trip.
 *
 * The resumer's stack pointer arrives in a register and goes back in a register: the way back never waits for a load
 * from the coroutine's stack, which is cold when there are many coroutines.
 */

#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)

#if defined(__APPLE__)
# define SYMBOL(name) GLUE(_, GLUE(CORDE_PREFIX, name))
# define FUNCTION(name)
# define END(name)
#else
# define SYMBOL(name) GLUE(CORDE_PREFIX, name)
# define FUNCTION(name) .protected SYMBOL(name); .type SYMBOL(name), @function
# define END(name) .size SYMBOL(name), . - SYMBOL(name)
#endif

    .text

/*
 * resume
 *   on entry   rdi = word, rsi = the coroutine's stack pointer, rdx = signal, rcx = the coroutine's root; called, so
 *              (rsp) = where the resumer goes on
 *   on exit    in the coroutine: rdi = word, rsi = the resumer's stack pointer, rdx = signal
 *   clobbered  rax, r8; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(resume)
    FUNCTION(resume)
SYMBOL(resume):
    .cfi_startproc
    pushq %rbp                      /* the resumer's frame, laid out as drawn above */
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    leaq 8(%rsp), %r8
    movq %r8, -16(%rcx)             /* the link; nothing on a hot path ever waits for it */
    movq %rsp, %rax
    movq %rsi, %rsp                 /* from here on the coroutine's stack: it has the same layout, the CFI stays true */
    movq %rax, %rsi                 /* hand the way back over in a register */
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    popq %rax                       /* not `ret`: the last `call` is the resumer's, and `suspend` will answer it */
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rax
    jmpq *%rax
    .cfi_endproc
    END(resume)

/*
 * suspend
 *   on entry   rdi = word, rsi = the resumer's stack pointer, rax = where the coroutine goes on; jumped to
 *   on exit    in the resumer, behind its call of `resume`: rdi = word, rsi = the coroutine's stack pointer
 *   clobbered  rax; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(suspend)
    FUNCTION(suspend)
SYMBOL(suspend):
    .cfi_startproc
    .cfi_def_cfa_offset 0           /* jumped to: nothing is on the stack yet */
    .cfi_register %rip, %rax
    pushq %rax                      /* as if called, so that both sides have one layout */
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rip, 0
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    movq %rsp, %rax
    movq %rsi, %rsp                 /* the resumer's stack: same layout, the CFI stays true */
    movq %rax, %rsi
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    retq                            /* answers the `call` of `resume` */
    .cfi_endproc
    END(suspend)

/*
 * finish
 *   on entry   rdi = word, rsi = the resumer's stack pointer, rdx = signal
 *   on exit    in the resumer, behind its call of `resume`: rdi = word, rsi = 0, rdx = signal
 *   clobbered  nothing besides; the coroutine's stack is left without a trace and may be used anew
 */
    .p2align 4
    .globl SYMBOL(finish)
    FUNCTION(finish)
SYMBOL(finish):
    .cfi_startproc
    .cfi_def_cfa %rsi, 24           /* the frame that `resume` left behind */
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    movq %rsi, %rsp
    .cfi_def_cfa_register %rsp
    xorl %esi, %esi                 /* no stack pointer: there is nothing to resume any more */
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    retq                            /* answers the `call` of `resume` */
    .cfi_endproc
    END(finish)

/*
 * resume_with_float: a resume between two exchanges of the control words
 *   on entry   as for `resume`, and r9 = address of the coroutine's MXCSR (4 bytes) and x87 control word (2 bytes behind)
 *   on exit    as for `resume`, in the resumer, with its own control words in force and the coroutine's stored at r9
 *   clobbered  as by `resume`
 */
    .p2align 4
    .globl SYMBOL(resume_with_float)
    FUNCTION(resume_with_float)
SYMBOL(resume_with_float):
    .cfi_startproc
    pushq %r9                       /* no register survives the switch */
    .cfi_adjust_cfa_offset 8
    subq $8, %rsp                   /* room for our own words */
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    ldmxcsr (%r9)
    fldcw 4(%r9)
    call SYMBOL(resume)             /* its frame is the one that the link leads to; this one comes next */
    movq 8(%rsp), %r9
    stmxcsr (%r9)
    fnstcw 4(%r9)
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $16, %rsp
    .cfi_adjust_cfa_offset -16
    retq
    .cfi_endproc
    END(resume_with_float)

/*
 * entry: the first resume comes here with an empty stack
 *   on entry   rdi = word, rsi = the resumer's stack pointer, rbx = function(word, resumer, root), rsp = rbp = root - 16
 *   on exit    in the function: rdi, rsi as they were, rdx = root
 *   clobbered  rax
 */
    .p2align 4
    .globl SYMBOL(entry)
    FUNCTION(entry)
SYMBOL(entry):
    .cfi_startproc
    .cfi_signal_frame               /* tells gdb that the caller's frame may lie on the wrong side of this one */
    /*
     * The caller is the latest resumer. CFA = *rbp + 16, as rbp is the address of the link in all of this frame's life:
     *   0x0f DW_CFA_def_cfa_expression, 5 bytes: 0x76 0x00 DW_OP_breg6 (rbp) + 0, 0x06 DW_OP_deref,
     *   0x23 0x10 DW_OP_plus_uconst 16
     */
    .cfi_escape 0x0f, 5, 0x76, 0x00, 0x06, 0x23, 0x10
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    leaq 16(%rsp), %rdx
    leaq 2f(%rip), %rax             /* a call without `call`, which would have no `ret` to answer it */
    pushq %rax
    jmpq *%rbx
2:  ud2                             /* the function never returns */
    .cfi_endproc
    END(entry)

#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", @progbits     /* the stack need not be executable */
#endif
