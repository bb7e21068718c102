/*
 * The stack switch on aarch64 (AAPCS64), for ELF and Mach-O.
 *
 * Operations. A *resumer* runs a coroutine until the coroutine suspends or finishes:
 *
 *     resume    resumer   -> coroutine   entered by `bl`, from inline assembly in src/arch/aarch64.rs
 *     suspend   coroutine -> resumer     entered by `b`,  from inline assembly in src/arch/aarch64.rs
 *     finish    coroutine -> resumer     entered by `b` or `bl`, never to come back
 *     entry     where the first resume of a coroutine lands
 *     resume_with_float   `resume` for a coroutine that has a floating-point control register of its own
 *
 * Interface:
 *
 *     x0    one word of data, untouched on its way across
 *     x1    before: stack pointer of the side to switch to
 *           after:  stack pointer of the side that was left (0 from `finish`)
 *     x2    a signal, untouched on its way across; undefined after `suspend`
 *     x3    for `resume` alone: the coroutine's root
 *
 * What is saved. The inline call sites declare every register clobbered that inline assembly can name, so the compiler
 * spills just the values that are alive there. Left for us are those that it cannot name: sp, x29 (frame pointer), x19
 * (LLVM keeps it for itself), and x30, the address to go on at. The other callee-saved registers of the ABI (x20-x28,
 * d8-d15) are clobbers of the call site. x18 belongs to the platform.
 *
 * What is not saved. FPCR belongs to the OS thread, not to the coroutine: Rust code may not change it (it assumes the
 * default environment). For C code that does change it, a coroutine can have its own: `resume_with_float`. Guarded
 * control stacks (GCS) are not supported.
 *
 * The stack of a side that was left, from its stack pointer upwards:
 *
 *     sp + 24   unused
 *     sp + 16   x19               at first the function that `entry` jumps to
 *     sp +  8   where to go on    x30; at first `entry`
 *     sp +  0   x29               at first the address of the link
 *
 * The top of a coroutine's stack, for as long as it lives:
 *
 *     root      aligned to 16; above it is what the Rust side keeps there
 *     root -  8 an address in `entry`
 *     root - 16 link: where the resumer's x29 is saved (its sp); written by each `resume`
 *
 * The link makes backtraces go on from a coroutine into its resumer, in two ways. Link and address are a frame record
 * (saved frame pointer, return address) as any function's, and what the link points to is the resumer's: a walk along
 * frame pointers, as perf does it, passes through. And the CFI of `entry` computes its caller's frame from the link.
 *
 * Paired returns. The processor predicts a `ret` by remembering the `bl`s. The resumer's `bl` to `resume` is answered by
 * the `ret` of `suspend` or `finish`; a coroutine is left and entered by plain branches alone.
 *
 * Landing pads (BTI). A coroutine is entered by `br x17`, which may land on `bti c` and `bti j` alike: `entry` begins with
 * one, and so does the place behind `suspend` in the inline assembly. The note at the end says so to the linker.
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
# define FUNCTION(name) .protected SYMBOL(name); .type SYMBOL(name), %function
# define END(name) .size SYMBOL(name), . - SYMBOL(name)
#endif

#define BTI_C hint #34              /* `bti c` and `bti jc` as hints: older assemblers and processors take them, too */
#define BTI_JC hint #38

    .text

/*
 * resume
 *   on entry   x0 = word, x1 = the coroutine's stack pointer, x2 = signal, x3 = the coroutine's root,
 *              x30 = where the resumer goes on
 *   on exit    in the coroutine: x0 = word, x1 = the resumer's stack pointer, x2 = signal
 *   clobbered  x9, x17, x30; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(resume)
    FUNCTION(resume)
SYMBOL(resume):
    .cfi_startproc
    BTI_C
    stp x29, x30, [sp, #-32]!       /* the resumer's frame, laid out as drawn above */
    .cfi_adjust_cfa_offset 32
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    str x19, [sp, #16]
    .cfi_rel_offset x19, 16
    mov x9, sp
    str x9, [x3, #-16]              /* the link; nothing on a hot path ever waits for it */
    mov sp, x1                      /* from here on the coroutine's stack: it has the same layout, the CFI stays true */
    mov x1, x9                      /* hand the way back over in a register */
    ldr x19, [sp, #16]
    .cfi_restore x19
    ldp x29, x17, [sp], #32         /* x17: the only kind of branch that may land on either pad */
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_register x30, x17
    br x17                          /* not `ret`: the last `bl` is the resumer's, and `suspend` will answer it */
    .cfi_endproc
    END(resume)

/*
 * suspend
 *   on entry   x0 = word, x1 = the resumer's stack pointer, x30 = where the coroutine goes on; branched to
 *   on exit    in the resumer, behind its call of `resume`: x0 = word, x1 = the coroutine's stack pointer
 *   clobbered  x9, x30; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(suspend)
    FUNCTION(suspend)
SYMBOL(suspend):
    .cfi_startproc
    BTI_C
    stp x29, x30, [sp, #-32]!       /* as if called, so that both sides have one layout */
    .cfi_adjust_cfa_offset 32
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    str x19, [sp, #16]
    .cfi_rel_offset x19, 16
    mov x9, sp
    mov sp, x1                      /* the resumer's stack: same layout, the CFI stays true */
    mov x1, x9
    ldr x19, [sp, #16]
    .cfi_restore x19
    ldp x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_restore x30
    ret                             /* answers the `bl` to `resume` */
    .cfi_endproc
    END(suspend)

/*
 * finish
 *   on entry   x0 = word, x1 = the resumer's stack pointer, x2 = signal
 *   on exit    in the resumer, behind its call of `resume`: x0 = word, x1 = 0, x2 = signal
 *   clobbered  x30; the coroutine's stack is left without a trace and may be used anew
 */
    .p2align 4
    .globl SYMBOL(finish)
    FUNCTION(finish)
SYMBOL(finish):
    .cfi_startproc
    .cfi_def_cfa x1, 32             /* the frame that `resume` left behind */
    .cfi_offset x29, -32
    .cfi_offset x30, -24
    .cfi_offset x19, -16
    BTI_C
    mov sp, x1
    .cfi_def_cfa_register sp
    mov x1, xzr                     /* no stack pointer: there is nothing to resume any more */
    ldr x19, [sp, #16]
    .cfi_restore x19
    ldp x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_restore x30
    ret                             /* answers the `bl` to `resume` */
    .cfi_endproc
    END(finish)

/*
 * resume_with_float: a resume between two exchanges of the control register
 *   on entry   as for `resume`, and x4 = address of the coroutine's FPCR (8 bytes)
 *   on exit    as for `resume`, in the resumer, with its own FPCR in force and the coroutine's stored at x4
 *   clobbered  as by `resume`
 */
    .p2align 4
    .globl SYMBOL(resume_with_float)
    FUNCTION(resume_with_float)
SYMBOL(resume_with_float):
    .cfi_startproc
    BTI_C
    stp x29, x30, [sp, #-32]!
    .cfi_adjust_cfa_offset 32
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mrs x9, fpcr
    stp x4, x9, [sp, #16]           /* no register survives the switch; and room for our own */
    ldr x9, [x4]
    msr fpcr, x9
    bl SYMBOL(resume)               /* its frame is the one that the link leads to; this one comes next */
    ldp x4, x9, [sp, #16]
    mrs x10, fpcr
    str x10, [x4]
    msr fpcr, x9
    ldp x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    END(resume_with_float)

/*
 * entry: the first resume comes here with an empty stack
 *   on entry   x0 = word, x1 = the resumer's stack pointer, x19 = function(word, resumer, root), sp = x29 = root - 16
 *   on exit    in the function: x0, x1 as they were, x2 = root
 *   clobbered  x16, x30
 */
    .p2align 4
    .globl SYMBOL(entry)
    FUNCTION(entry)
SYMBOL(entry):
    .cfi_startproc
    .cfi_signal_frame               /* tells gdb that the caller's frame may lie on the wrong side of this one */
    /*
     * The caller is the latest resumer. CFA = *x29 + 32, as x29 is the address of the link in all of this frame's life:
     *   0x0f DW_CFA_def_cfa_expression, 5 bytes: 0x8d 0x00 DW_OP_breg29 (x29) + 0, 0x06 DW_OP_deref,
     *   0x23 0x20 DW_OP_plus_uconst 32
     */
    .cfi_escape 0x0f, 5, 0x8d, 0x00, 0x06, 0x23, 0x20
    .cfi_offset x29, -32
    .cfi_offset x30, -24
    .cfi_offset x19, -16
    BTI_JC
    add x2, sp, #16
    adr x30, 2f                     /* a call without `bl`, which would have no `ret` to answer it */
    mov x16, x19                    /* x16: allowed to land on the function's `bti c` */
    br x16
2:  brk #1                          /* the function never returns */
    .cfi_endproc
    END(entry)

#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits     /* the stack need not be executable */

    .section .note.gnu.property, "a", %note     /* this file may be linked into a program with BTI turned on */
    .p2align 3
    .word 4                         /* length of the name */
    .word 16                        /* length of the description */
    .word 5                         /* NT_GNU_PROPERTY_TYPE_0 */
    .asciz "GNU"
    .word 0xc0000000                /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
    .word 4                         /* length of the value */
    .word 1                         /* BTI */
    .word 0                         /* padding to 8 */
#endif
