/*
 * The stack switch on x86_64 (System V), for ELF and Mach-O.
 *
 * Operations. A *resumer* runs a coroutine until the coroutine suspends or finishes:
 *
 *     resume    resumer   -> coroutine   entered by `call`, from inline assembly in src/arch/x86_64.rs
 *     suspend   coroutine -> resumer     entered by `jmp`,  from inline assembly in src/arch/x86_64.rs
 *     finish    coroutine -> resumer     entered by `jmp` or `call`, never to come back
 *     entry     where the first resume of a coroutine lands
 *     mistrust  makes the guess wrong, see below; an ordinary function
 *
 * Interface:
 *
 *     rdi   one word of data, untouched on its way across
 *     rsi   before: frame record of the side to switch to (not for `suspend`, which finds it)
 *           after:  in the resumer, frame record of the coroutine (from `finish`, how it ended); undefined in the coroutine
 *     rdx   for `resume`: a signal, untouched on its way to the coroutine; for `finish`: how it ended
 *     rcx   for `resume` and `suspend`: the coroutine's root
 *
 * What is saved. The inline call sites declare every register clobbered that inline assembly can name, so the compiler
 * spills just the values that are alive there. Left for us are the three that it cannot name: rsp, rbp, rbx (LLVM keeps
 * rbx for itself). The other callee-saved registers of the ABI (r12-r15) are clobbers of the call site.
 *
 * What is not saved. MXCSR and the x87 control word belong to the OS thread, not to the coroutine: Rust code may not
 * change them (it assumes the default environment), and saving them would cost 6 ns on a switch of 2 ns. For C code that does change
 * them, a coroutine can have its own, which its Rust side exchanges.
 * Shadow stacks (CET SS) are not supported: a return that lands on another stack is what they exist to stop.
 *
 * The stack of a side that was left, around its frame record, the address that stands for it:
 *
 *     record + 8   where to go on    resumer: pushed by its `call`; coroutine: pushed by `suspend`, at first `entry`
 *     record + 0   rbp               at first the root
 *     record - 8   rbx               at first the function that `entry` jumps to
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
 * Paired returns. The processor predicts a `ret` by remembering the `call`s. The resumer's `call` of `resume` is
 * answered by the `ret` of `suspend` or `finish`; a coroutine is left and entered by `jmp` alone. A mispredicted return
 * costs about 7 ns, more than the rest of a round trip.
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
# define FUNCTION(name) .protected SYMBOL(name); .type SYMBOL(name), @function
# define END(name) .size SYMBOL(name), . - SYMBOL(name)
#endif

#define NOT_RUNNING 2               /* as in src/arch/mod.rs */
#define ASIDE 3

/*
 * The guess, by a TLS descriptor: in an executable the linker makes the first two instructions one that loads a constant. In a library
 * they call a resolver, which changes no register but rax. (The initial-exec model would do without, but takes all thread-locals of a
 * library out of the little room that is kept for those loaded later.) Elsewhere than build.rs says every guess is wrong.
 */
#ifdef CORDE_GUESS
# define SET_GUESS(record) \
    leaq SYMBOL(guess)@tlsdesc(%rip), %rax; \
    call *SYMBOL(guess)@tlscall(%rax); \
    movq record, %fs:(%rax)
# define GET_GUESS(record) \
    leaq SYMBOL(guess)@tlsdesc(%rip), %rax; \
    call *SYMBOL(guess)@tlscall(%rax); \
    movq %fs:(%rax), record
# define SPOIL_GUESS \
    leaq SYMBOL(guess)@tlsdesc(%rip), %rax; \
    call *SYMBOL(guess)@tlscall(%rax); \
    movq $1, %fs:(%rax)

    .section .tdata, "awT", @progbits
    .globl SYMBOL(guess)
    .protected SYMBOL(guess)
    .type SYMBOL(guess), @object
    .size SYMBOL(guess), 8
    .p2align 3
SYMBOL(guess):
    .quad 1                         /* nobody's record, nor null */

/* The words of src/arch/words.rs, found in the same way from there. */
    .globl SYMBOL(words)
    .protected SYMBOL(words)
    .type SYMBOL(words), @object
    .size SYMBOL(words), 32
SYMBOL(words):
    .quad 0, 0, 0, 0
#else
# define SET_GUESS(record)
# define GET_GUESS(record) movq $1, record
# define SPOIL_GUESS
#endif

    .text

/*
 * resume
 *   on entry   rdi = word, rsi = the coroutine's frame record, rdx = signal, rcx = the coroutine's root; called, so
 *              (rsp) = where the resumer goes on
 *   on exit    in the coroutine: rdi = word, rdx = signal; the resumer's frame record is in the link
 *   clobbered  rax, rsi; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(resume)
    FUNCTION(resume)
SYMBOL(resume):
    .cfi_startproc
    pushq %rbp                      /* the resumer's frame, laid out as drawn above */
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq %rsp, (%rcx)               /* its record is the link */
    SET_GUESS(%rsp)
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    leaq -8(%rsi), %rsp             /* from here on the coroutine's stack: it has the same layout, the CFI stays true */
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
 *   on entry   rdi = word, rcx = the coroutine's root, rsi = where the coroutine goes on; jumped to
 *   on exit    in the resumer, behind its call of `resume`: rdi = word, rsi = the coroutine's frame record;
 *              if the coroutine does not run, or its flags say so: where rsi says, rdx = NOT_RUNNING or ASIDE, rdi = word
 *   clobbered  rax, rdx, rsi; everything else is the call site's business
 */
    .p2align 4
    .globl SYMBOL(suspend)
    FUNCTION(suspend)
SYMBOL(suspend):
    .cfi_startproc
    .cfi_def_cfa_offset 0           /* jumped to: nothing is on the stack yet */
    .cfi_register %rip, %rsi
    .cfi_remember_state
    GET_GUESS(%rdx)
    cmpq (%rcx), %rdx
    jne 1f
0:  movq $0, (%rcx)                 /* the way back is taken once */
    pushq %rsi                      /* as if called, so that both sides have one layout */
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rip, 0
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq %rsp, %rsi                 /* the coroutine's record */
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    leaq -8(%rdx), %rsp             /* the resumer's stack: same layout, the CFI stays true */
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    retq                            /* answers the `call` of `resume` */
    .cfi_restore_state
1:  movq (%rcx), %rdx               /* guessed wrong */
    testq %rdx, %rdx
    jz 2f
    testb $1, 16(%rcx)
    jz 0b
    movl $ASIDE, %edx
    jmpq *%rsi
2:  movl $NOT_RUNNING, %edx
    jmpq *%rsi
    .cfi_endproc
    END(suspend)

/*
 * finish
 *   on entry   rdi = word, rsi = the resumer's frame record, rdx = how it ended
 *   on exit    in the resumer, behind its call of `resume`: rdi = word, rsi = how it ended
 *   clobbered  nothing besides; the coroutine's stack is left without a trace and may be used anew
 */
    .p2align 4
    .globl SYMBOL(finish)
    FUNCTION(finish)
SYMBOL(finish):
    .cfi_startproc
    .cfi_def_cfa %rsi, 16           /* the frame that `resume` left behind */
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    leaq -8(%rsi), %rsp
    .cfi_def_cfa %rsp, 24
    movq %rdx, %rsi                 /* in the place of a record: there is nothing to resume any more */
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
 * mistrust: has the next `suspend` look at the link and the flags, if no `resume` comes before; called as a C function without arguments
 *   clobbered  rax
 */
    .p2align 4
    .globl SYMBOL(mistrust)
    FUNCTION(mistrust)
SYMBOL(mistrust):
    .cfi_startproc
    subq $8, %rsp                   /* the resolver may want an aligned stack */
    .cfi_adjust_cfa_offset 8
    SPOIL_GUESS
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    retq
    .cfi_endproc
    END(mistrust)

/*
 * entry: the first resume comes here with an empty stack
 *   on entry   rdi = word, rbx = function(word, root), rsp = rbp = root
 *   on exit    in the function: rdi as it was, rsi = root
 *   clobbered  rax
 */
    .p2align 4
    .globl SYMBOL(entry)
    FUNCTION(entry)
SYMBOL(entry):
    .cfi_startproc
    .cfi_signal_frame               /* tells gdb that the caller's frame may lie on the wrong side of this one */
    /*
     * The caller is the latest resumer. CFA = *rbp + 16, as rbp is the root, where the link is, in all of this frame's life:
     *   0x0f DW_CFA_def_cfa_expression, 5 bytes: 0x76 0x00 DW_OP_breg6 (rbp) + 0, 0x06 DW_OP_deref,
     *   0x23 0x10 DW_OP_plus_uconst 16
     */
    .cfi_escape 0x0f, 5, 0x76, 0x00, 0x06, 0x23, 0x10
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    movq %rsp, %rsi
    leaq 2f(%rip), %rax             /* a call without `call`, which would have no `ret` to answer it */
    pushq %rax
    jmpq *%rbx
2:  ud2                             /* the function never returns */
    .cfi_endproc
    END(entry)

#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", @progbits     /* the stack need not be executable */
#endif
