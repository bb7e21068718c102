/*
 * The stack switch on aarch64 (AAPCS64), for ELF and Mach-O.
 *
 * Operations. A *resumer* runs a coroutine until the coroutine suspends or finishes:
 *
 *     resume    resumer   -> coroutine   entered by `bl`, from inline assembly in src/arch/aarch64.rs
 *     suspend   coroutine -> resumer     entered by `b`,  from inline assembly in src/arch/aarch64.rs
 *     finish    coroutine -> resumer     entered by `b` or `bl`, never to come back
 *     entry     where the first resume of a coroutine lands
 *     mistrust  makes the guess wrong, see below; an ordinary function
 *
 * Interface:
 *
 *     x0    one word of data, untouched on its way across
 *     x1    before: frame record of the side to switch to (not for `suspend`, which finds it)
 *           after:  in the resumer, frame record of the coroutine (from `finish`, how it ended); undefined in the coroutine
 *     x2    for `resume`: a signal, untouched on its way to the coroutine; for `finish`: how it ended
 *     x3    for `resume`: the coroutine's root, which `suspend` takes in x1
 *
 * What is saved. The inline call sites declare every register clobbered that inline assembly can name, so the compiler
 * spills just the values that are alive there. Left for us are those that it cannot name: sp, x29 (frame pointer), x19
 * (LLVM keeps it for itself), and x30, the address to go on at. The other callee-saved registers of the ABI (x20-x28,
 * d8-d15) are clobbers of the call site. x18 belongs to the platform.
 *
 * What is not saved. FPCR belongs to the OS thread, not to the coroutine: Rust code may not change it (it assumes the
 * default environment). For C code that does change it, a coroutine can have its own, which its Rust side exchanges. Guarded
 * control stacks (GCS) are not supported.
 *
 * The stack of a side that was left, from its frame record upwards, the address that stands for it:
 *
 *     record + 24  unused
 *     record + 16  x19               at first the function that `entry` jumps to
 *     record +  8  where to go on    x30; at first `entry`
 *     record +  0  x29               at first the root
 *
 * The root of a coroutine, above its frames for as long as it lives, aligned to 16:
 *
 *     root + 16    flags, a byte; bit 0: `suspend` is to answer ASIDE, unless the guess is right
 *     root + 8     an address in `entry`
 *     root + 0     link: the resumer's frame record; written by each `resume`, taken out by whoever goes back there
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
 * The guess. A coroutine finds the way back in the link, on its own stack. Among many coroutines that memory is cold, and all
 * that the resumer does next would wait for it, as each access to its stack needs its stack pointer. So `resume` leaves its record
 * in a thread-local, too, which is always hot, and `suspend` takes it from there; that it equals the link is checked by a branch, which the
 * processor predicts, so that nothing waits. (The link itself is at hand: `resume` has just stored it.) A wrong guess (the coroutine has
 * itself resumed another one meanwhile) costs a mispredicted branch. With 100,000 coroutines in random order this is the difference
 * between 22 ns and 125 ns a switch.
 *
 * Flags. All other questions are put off until a guess is wrong, so that a switch loads nothing else from the line of the root.
 * A coroutine that has to be asked first makes it wrong, by `mistrust` whenever it was resumed.
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

#define NOT_RUNNING 2               /* as in src/arch/mod.rs */
#define ASIDE 3

#define BTI_C hint #34              /* `bti c` and `bti jc` as hints: older assemblers and processors take them, too */
#define BTI_JC hint #38

/*
 * The guess, by a TLS descriptor: in an executable the linker makes the first four instructions two that load a constant. In a library
 * they call a resolver, which changes no register but x0, x1 and x30. (The initial-exec model would do without, but takes all
 * thread-locals of a library out of the little room that is kept for those loaded later.) Elsewhere than build.rs says every guess is wrong.
 */
#ifdef CORDE_GUESS
    /* Leaves its address, less that of the thread's block, in x0; keeps what x0, x1 and x30 have held in x12, x13 and x14. */
    .macro find_guess
    mov x12, x0
    mov x13, x1
    mov x14, x30
    .cfi_register x30, x14
    adrp x0, :tlsdesc:SYMBOL(guess)
    ldr x1, [x0, :tlsdesc_lo12:SYMBOL(guess)]
    add x0, x0, :tlsdesc_lo12:SYMBOL(guess)
    .tlsdesccall SYMBOL(guess)
    blr x1
    .endm

    .macro set_guess record
    find_guess
    mrs x10, tpidr_el0
    str \record, [x10, x0]
    mov x0, x12
    mov x1, x13
    .endm

    .macro get_guess record
    find_guess
    mrs \record, tpidr_el0
    ldr \record, [\record, x0]
    mov x0, x12
    mov x1, x13
    mov x30, x14
    .cfi_restore x30
    .endm

    .macro spoil_guess
    find_guess
    mrs x10, tpidr_el0
    mov x11, #1
    str x11, [x10, x0]
    mov x30, x14
    .cfi_restore x30
    .endm

    .section .tdata, "awT", %progbits
    .globl SYMBOL(guess)
    .protected SYMBOL(guess)
    .type SYMBOL(guess), %object
    .size SYMBOL(guess), 8
    .p2align 3
SYMBOL(guess):
    .xword 1                        /* nobody's record, nor null */

/* The words of src/arch/words.rs, found in the same way from there. */
    .globl SYMBOL(words)
    .protected SYMBOL(words)
    .type SYMBOL(words), %object
    .size SYMBOL(words), 32
SYMBOL(words):
    .xword 0, 0, 0, 0
#else
    .macro set_guess record
    .endm

    .macro get_guess record
    mov \record, #1
    .endm

    .macro spoil_guess
    .endm
#endif

    .text

/*
 * resume
 *   on entry   x0 = word, x1 = the coroutine's frame record, x2 = signal, x3 = the coroutine's root,
 *              x30 = where the resumer goes on
 *   on exit    in the coroutine: x0 = word, x2 = signal; the resumer's frame record is in the link
 *   clobbered  x9 to x14, x17, x30; everything else is the call site's business
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
    str x9, [x3]                    /* its record is the link */
    set_guess x9
    mov sp, x1                      /* from here on the coroutine's stack: it has the same layout, the CFI stays true */
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
 *   on entry   x0 = word, x1 = the coroutine's root, x30 = where the coroutine goes on; branched to
 *   on exit    in the resumer, behind its call of `resume`: x0 = word, x1 = the coroutine's frame record;
 *              if the coroutine does not run, or its flags say so: where x30 says, x2 = NOT_RUNNING or ASIDE, x0 = word
 *   clobbered  x2, x9 to x14, x30; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(suspend)
    FUNCTION(suspend)
SYMBOL(suspend):
    .cfi_startproc
    BTI_C
    .cfi_remember_state
    get_guess x9
    ldr x11, [x1]
    cmp x9, x11
    b.ne 1f
0:  str xzr, [x1]                   /* the way back is taken once */
    stp x29, x30, [sp, #-32]!       /* as if called, so that both sides have one layout */
    .cfi_adjust_cfa_offset 32
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    str x19, [sp, #16]
    .cfi_rel_offset x19, 16
    mov x1, sp                      /* the coroutine's record */
    mov sp, x9                      /* the resumer's stack: same layout, the CFI stays true */
    ldr x19, [sp, #16]
    .cfi_restore x19
    ldp x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_restore x30
    ret                             /* answers the `bl` to `resume` */
    .cfi_restore_state
1:  mov x9, x11                     /* guessed wrong */
    cbz x9, 2f
    ldrb w2, [x1, #16]
    tbz w2, #0, 0b
    mov x2, #ASIDE
    ret
2:  mov x2, #NOT_RUNNING
    ret
    .cfi_endproc
    END(suspend)

/*
 * finish
 *   on entry   x0 = word, x1 = the resumer's frame record, x2 = how it ended
 *   on exit    in the resumer, behind its call of `resume`: x0 = word, x1 = how it ended
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
    mov x1, x2                      /* in the place of a record: there is nothing to resume any more */
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
 * mistrust: has the next `suspend` look at the link and the flags, if no `resume` comes before; called as a C function without arguments
 *   clobbered  x0, x1, x10 to x14
 */
    .p2align 4
    .globl SYMBOL(mistrust)
    FUNCTION(mistrust)
SYMBOL(mistrust):
    .cfi_startproc
    BTI_C
    spoil_guess
    ret
    .cfi_endproc
    END(mistrust)

/*
 * entry: the first resume comes here with an empty stack
 *   on entry   x0 = word, x19 = function(word, root), sp = x29 = root
 *   on exit    in the function: x0 as it was, x1 = root
 *   clobbered  x16, x30
 */
    .p2align 4
    .globl SYMBOL(entry)
    FUNCTION(entry)
SYMBOL(entry):
    .cfi_startproc
    .cfi_signal_frame               /* tells gdb that the caller's frame may lie on the wrong side of this one */
    /*
     * The caller is the latest resumer. CFA = *x29 + 32, as x29 is the root, where the link is, in all of this frame's life:
     *   0x0f DW_CFA_def_cfa_expression, 5 bytes: 0x8d 0x00 DW_OP_breg29 (x29) + 0, 0x06 DW_OP_deref,
     *   0x23 0x20 DW_OP_plus_uconst 32
     */
    .cfi_escape 0x0f, 5, 0x8d, 0x00, 0x06, 0x23, 0x20
    .cfi_offset x29, -32
    .cfi_offset x30, -24
    .cfi_offset x19, -16
    BTI_JC
    mov x1, sp
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
