//! A switch keeps what the ABI promises its caller: registers, alignment, and a stack that unwinders can walk.

mod util;

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::hint::black_box;
use std::ptr::NonNull;
use std::rc::Rc;

use corde::coroutine::{Builder, Coroutine, CoroutineResult, Yielder};
use corde::stack::{DEFAULT_SIZE, DefaultStack, Stack};
use rstest::rstest;

use arch::SAVED;
use util::left_out_under_valgrind;

/// Switches in each direction; all meet a different place of the coroutine's life: first, middle, last.
const ROUNDS: u64 = 4;

/// What lies in the registers that a callee has to save.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct Registers {
    saved: [u64; SAVED],
    stack_pointer: u64,
}

/// The registers before and after a call. The assembly below knows the layout.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct Call {
    before: Registers,
    after: Registers,
}

impl Call {
    #[track_caller]
    fn assert_unchanged(&self) {
        assert_ne!(self.before.stack_pointer, 0, "the call was made");
        assert_eq!(self.before, self.after);
    }
}

/// Makes values that differ from each other, and from those of any other seed.
fn patterns(seed: u64) -> [u64; SAVED] {
    std::array::from_fn(|index| {
        // Odd multipliers lose nothing: different numbers stay different.
        (seed << 8 | index as u64 | 1 << 63).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Calls `f` as a C caller would that keeps values in all registers which a callee has to save.
fn call_with_patterns<F: FnOnce()>(seed: u64, f: F) -> Call {
    extern "C" fn run<F: FnOnce()>(f: *mut u8) {
        // SAFETY: it is the address of the `Some` below, which nothing else uses during the call.
        let f = unsafe { &mut *f.cast::<Option<F>>() };
        f.take().expect("it is called once")();
    }
    let registers = |saved| Registers {
        saved,
        stack_pointer: 0,
    };
    let mut call = Call {
        before: registers(patterns(seed)),
        after: registers([0; SAVED]),
    };
    let mut f = Some(f);
    // SAFETY: `run` takes the address of an `Option<F>`.
    unsafe { arch::call(run::<F>, (&raw mut f).cast(), &mut call) };
    call
}

/// Switches to a coroutine and back, each side with patterns of its own; returns what the resumer saw, and the coroutine.
fn switch_with_patterns(builder: Builder) -> (Vec<Call>, Vec<Call>) {
    // Nothing is asserted between the C frames, which a panic could not cross.
    let body = |yielder: &Yielder<u64, u64>, first| {
        let mut seen = Vec::new();
        let mut input = first;
        for round in 1..ROUNDS {
            let mut next = 0;
            seen.push(call_with_patterns(1000 + round, || {
                next = yielder.suspend(input);
            }));
            input = next;
        }
        seen
    };
    let mut coroutine = builder.build(body).unwrap();
    let mut seen = Vec::new();
    let mut answers = Vec::new();
    for round in 1..=ROUNDS {
        seen.push(call_with_patterns(round, || {
            answers.push(coroutine.resume(round));
        }));
    }
    let Some(CoroutineResult::Return(seen_inside)) = answers.pop() else {
        panic!("the coroutine ends in the last round");
    };
    let echoed: Vec<_> = (1..ROUNDS).map(CoroutineResult::Yield).collect();
    assert_eq!(answers, echoed);
    assert_eq!(seen_inside.len() + 1, seen.len());
    (seen, seen_inside)
}

/// A coroutine whose switches exchange the floating-point control words, which another routine does.
fn with_own_float() -> Builder {
    Builder::new().own_float_environment(true)
}

#[rstest]
#[case::plain(Builder::new())]
#[case::with_own_float(with_own_float())]
fn callee_saved_registers_survive_a_resume(#[case] builder: Builder) {
    for call in switch_with_patterns(builder).0 {
        call.assert_unchanged();
    }
}

#[rstest]
#[case::plain(Builder::new())]
#[case::with_own_float(with_own_float())]
fn callee_saved_registers_survive_a_suspend(#[case] builder: Builder) {
    for call in switch_with_patterns(builder).1 {
        call.assert_unchanged();
    }
}

#[rstest]
#[case::plain(Builder::new())]
#[case::with_own_float(with_own_float())]
fn callee_saved_registers_survive_dropping_a_suspended_coroutine(#[case] builder: Builder) {
    let body = |yielder: &Yielder<(), ()>, ()| yielder.suspend(());
    let mut coroutine = builder.build(body).unwrap();
    coroutine.resume(());
    call_with_patterns(1, || drop(coroutine)).assert_unchanged();
}

/// Values in a frame that has to align itself, and so needs its frame pointer to be left.
#[repr(align(64))]
struct Line([u64; 6]);

/// Computes with more values than there are registers, and lets `elsewhere` happen in between.
#[inline(never)]
fn compute(seed: u32, mut elsewhere: impl FnMut()) -> ([f64; 8], [f32; 8], u128, [u64; 6]) {
    let mut doubles: [f64; 8] = std::array::from_fn(|i| f64::from(seed) + i as f64 / 3.0);
    let mut singles: [f32; 8] = std::array::from_fn(|i| seed as f32 - i as f32 / 7.0);
    let mut wide = u128::from(seed) << 64 | 1;
    let mut words = Line(std::array::from_fn(|i| u64::from(seed) + i as u64));
    black_box(&mut words);
    for _ in 0..100 {
        elsewhere();
        for (i, x) in doubles.iter_mut().enumerate() {
            *x = *x * 0.75 + i as f64;
        }
        for (i, x) in singles.iter_mut().enumerate() {
            *x = *x * 0.5 - i as f32;
        }
        wide = wide.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
        for x in &mut words.0 {
            *x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        }
    }
    (doubles, singles, wide, words.0)
}

#[rstest]
#[case::plain(Builder::new())]
#[case::with_own_float(with_own_float())]
fn values_in_use_on_both_sides_survive(#[case] builder: Builder) {
    let body = |yielder: &Yielder<(), ()>, ()| compute(7, || yielder.suspend(()));
    let mut coroutine = builder.build(body).unwrap();
    let mut inside = None;
    let outside = compute(5, || match coroutine.resume(()) {
        CoroutineResult::Yield(()) => {}
        CoroutineResult::Return(result) => inside = Some(result),
    });
    assert_eq!(outside, compute(5, || ()));
    // It takes one resume more than it suspends.
    assert_eq!(inside, None);
    assert_eq!(
        coroutine.resume(()),
        CoroutineResult::Return(compute(7, || ()))
    );
}

/// Returns three floating-point environments: the usual one, and two in which everything that runs here gives the same results.
fn environments() -> [u64; 3] {
    // They change how subnormal numbers and x87 registers are computed with: nothing here uses either.
    let usual = arch::float_control();
    let [first, second] = arch::HARMLESS_BITS.map(|bits| usual ^ bits);
    [usual, first, second]
}

/// Runs `f` in the floating-point environment `inside`; returns its result, and the environment that it left.
fn in_environment<T>(inside: u64, f: impl FnOnce() -> T) -> (T, u64) {
    let usual = arch::float_control();
    // SAFETY: nothing in this file depends on what `environments` changes, and nothing here panics before it is undone.
    unsafe { arch::set_float_control(inside) };
    let result = f();
    let left = arch::float_control();
    // SAFETY: this is what Rust code expects.
    unsafe { arch::set_float_control(usual) };
    (result, left)
}

/// Makes a coroutine that sets the environment, and answers with those that it was resumed in.
fn setting_environment(builder: Builder, environment: u64) -> Coroutine<(), u64, u64> {
    let body = move |yielder: &Yielder<(), u64>, ()| {
        let first = arch::float_control();
        // SAFETY: see `in_environment`.
        unsafe { arch::set_float_control(environment) };
        yielder.suspend(first);
        arch::float_control()
    };
    builder.build(body).unwrap()
}

/// Why Valgrind is no place to test them.
const NO_ENVIRONMENTS: &str = "it keeps the rounding mode alone of what is set";

#[test]
fn float_environment_belongs_to_the_os_thread() {
    if left_out_under_valgrind(NO_ENVIRONMENTS) {
        return;
    }
    let [usual, first, second] = environments();
    let mut coroutine = setting_environment(Builder::new(), second);
    let (answer, left) = in_environment(first, || coroutine.resume(()));
    assert_eq!(answer, CoroutineResult::Yield(first));
    assert_eq!(left, second);
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(usual));
}

#[test]
fn own_float_environment_stays_with_the_coroutine() {
    if left_out_under_valgrind(NO_ENVIRONMENTS) {
        return;
    }
    let [usual, first, second] = environments();
    let mut coroutine = setting_environment(with_own_float(), second);
    let (answer, left) = in_environment(first, || coroutine.resume(()));
    // It began in that in which it was made.
    assert_eq!(answer, CoroutineResult::Yield(usual));
    assert_eq!(left, first);
    let (answer, left) = in_environment(first, || coroutine.resume(()));
    assert_eq!(answer, CoroutineResult::Return(second));
    assert_eq!(left, first);
}

#[test]
fn own_float_environment_ends_when_a_suspended_coroutine_is_dropped() {
    if left_out_under_valgrind(NO_ENVIRONMENTS) {
        return;
    }
    let [_, first, second] = environments();
    let mut coroutine = setting_environment(with_own_float(), second);
    in_environment(first, || coroutine.resume(()));
    let ((), left) = in_environment(first, || drop(coroutine));
    assert_eq!(left, first);
}

/// What the compiler relies on wherever it lays out a frame.
#[derive(Debug, PartialEq, Eq)]
struct Misalignment {
    stack_pointer: usize,
    local: usize,
}

impl Misalignment {
    const NONE: Misalignment = Misalignment {
        stack_pointer: 0,
        local: 0,
    };

    #[inline(never)]
    fn of_a_frame() -> Misalignment {
        #[repr(align(16))]
        struct Aligned(u8);

        let local = Aligned(1);
        // Behind a black box the compiler does not know what it has promised itself.
        let address = black_box(&raw const local.0) as usize;
        Misalignment {
            stack_pointer: arch::stack_pointer() % 16,
            local: address % 16,
        }
    }
}

/// Runs a body whose captures take `SIZE` bytes, which moves the place where the coroutine's frames begin.
fn misalignments_in_a_body_of<const SIZE: usize>() -> [Misalignment; 3] {
    let captured = black_box([1u8; SIZE]);
    let mut coroutine = Coroutine::new(move |yielder, ()| {
        black_box(&captured);
        let at_entry = Misalignment::of_a_frame();
        let body = Misalignment {
            stack_pointer: arch::stack_pointer() % 16,
            local: 0,
        };
        yielder.suspend(());
        [at_entry, body, Misalignment::of_a_frame()]
    })
    .unwrap();
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
    match coroutine.resume(()) {
        CoroutineResult::Return(seen) => seen,
        CoroutineResult::Yield(()) => panic!("it suspends once"),
    }
}

#[rstest]
#[case::nothing_captured(misalignments_in_a_body_of::<0>)]
#[case::one_byte_captured(misalignments_in_a_body_of::<1>)]
#[case::eight_bytes_captured(misalignments_in_a_body_of::<8>)]
#[case::odd_size_captured(misalignments_in_a_body_of::<17>)]
#[case::several_pages_captured(misalignments_in_a_body_of::<10_000>)]
fn stack_is_aligned_in_the_coroutine(#[case] run: fn() -> [Misalignment; 3]) {
    assert_eq!(run(), [const { Misalignment::NONE }; 3]);
}

/// A stack that ends where the ABI allows it, not at the end of a page.
struct Lowered {
    stack: DefaultStack,
    by: usize,
}

// SAFETY: it is a `DefaultStack` but for `by` bytes at its end that nobody uses: few, and a multiple of 16.
unsafe impl Stack for Lowered {
    fn top(&self) -> NonNull<u8> {
        // SAFETY: still inside of the stack.
        unsafe { self.stack.top().sub(self.by) }
    }

    fn bottom(&self) -> NonNull<u8> {
        self.stack.bottom()
    }
}

/// A value that wants more alignment than a stack has by itself; notes where it is dropped.
#[repr(align(128))]
struct Overaligned {
    dropped_at: Rc<Cell<Option<usize>>>,
}

impl Drop for Overaligned {
    fn drop(&mut self) {
        self.dropped_at
            .set(Some(black_box(&raw const *self) as usize));
    }
}

#[rstest]
#[case::page_aligned(0)]
#[case::aligned_to_16(16)]
#[case::aligned_to_32(32)]
#[case::aligned_to_64(64)]
#[case::just_below_128(112)]
fn overaligned_captures_are_aligned(#[case] by: usize, #[values(false, true)] started: bool) {
    let stack = Lowered {
        stack: DefaultStack::new(DEFAULT_SIZE).unwrap(),
        by,
    };
    let dropped_at = Rc::new(Cell::new(None));
    let captured = Overaligned {
        dropped_at: Rc::clone(&dropped_at),
    };
    let mut coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
        yielder.suspend(black_box(&raw const captured) as usize % 128);
    });
    if started {
        assert_eq!(coroutine.resume(()), CoroutineResult::Yield(0));
    }
    drop(coroutine);
    let address = dropped_at.get().expect("what was captured was dropped");
    assert_eq!(address % 128, 0);
}

#[inline(never)]
fn inner_traced_function(suspend: &dyn Fn()) -> String {
    suspend();
    black_box(Backtrace::force_capture().to_string())
}

#[inline(never)]
fn outer_traced_function(suspend: &dyn Fn()) -> String {
    black_box(inner_traced_function(suspend))
}

#[inline(never)]
fn traced_body(yielder: &Yielder<(), ()>, (): ()) -> String {
    outer_traced_function(&|| yielder.suspend(()))
}

// They differ in what they do, lest the compiler makes one function of both.
#[inline(never)]
fn first_resumer(coroutine: &mut Coroutine<(), (), String>) {
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
}

#[inline(never)]
fn latest_resumer(coroutine: &mut Coroutine<(), (), String>) -> String {
    match coroutine.resume(()) {
        CoroutineResult::Return(trace) => trace,
        CoroutineResult::Yield(()) => panic!("it suspends once"),
    }
}

#[test]
fn backtrace_leads_from_the_coroutine_to_its_latest_resumer() {
    let mut coroutine = Coroutine::new(traced_body).unwrap();
    first_resumer(&mut coroutine);
    let trace = latest_resumer(&mut coroutine);
    let frames = [
        "inner_traced_function",
        "outer_traced_function",
        "traced_body",
        "latest_resumer",
        "backtrace_leads_from_the_coroutine_to_its_latest_resumer",
    ];
    let places = frames.map(|frame| {
        trace
            .find(frame)
            .unwrap_or_else(|| panic!("no {frame} in\n{trace}"))
    });
    assert!(places.is_sorted(), "{trace}");
    assert!(!trace.contains("first_resumer"), "{trace}");
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use std::arch::asm;

    use super::Call;

    /// How many registers a callee has to save: rbx, rbp, r12 to r15.
    pub(super) const SAVED: usize = 6;

    /// Calls `function(argument)` with `call.before` in the registers, and notes in `call.after` what it leaves there.
    ///
    /// # Safety
    /// `function` may be called with `argument`.
    #[inline(never)]
    pub(super) unsafe fn call(
        function: extern "C" fn(*mut u8),
        argument: *mut u8,
        call: &mut Call,
    ) {
        // SAFETY: the caller vouches for the call, `Call` for the offsets. rbx and rbp, which inline assembly cannot name,
        // are saved by hand; all other registers are clobbers. The 32 bytes pushed keep the alignment.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "push rax",
                "sub rsp, 8",
                "mov [rax + 48], rsp",
                "mov rbx, [rax]",
                "mov rbp, [rax + 8]",
                "mov r12, [rax + 16]",
                "mov r13, [rax + 24]",
                "mov r14, [rax + 32]",
                "mov r15, [rax + 40]",
                "call rcx",
                "mov rax, [rsp + 8]",
                "mov [rax + 56], rbx",
                "mov [rax + 64], rbp",
                "mov [rax + 72], r12",
                "mov [rax + 80], r13",
                "mov [rax + 88], r14",
                "mov [rax + 96], r15",
                "mov [rax + 104], rsp",
                "add rsp, 16",
                "pop rbp",
                "pop rbx",
                in("rax") std::ptr::from_mut(call),
                in("rcx") function,
                in("rdi") argument,
                lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
                clobber_abi("C"),
            );
        }
    }

    /// Returns the stack pointer of the calling function.
    #[inline(always)]
    pub(super) fn stack_pointer() -> usize {
        let value;
        // SAFETY: reads a register. Without `nostack` it is aligned as at a call.
        unsafe { asm!("mov {}, rsp", out(reg) value) };
        value
    }

    /// First: subnormal results are zero, and x87 has 24 bits. Second: subnormal operands are zero, and x87 has 53.
    pub(super) const HARMLESS_BITS: [u64; 2] = [1 << 15 | 0x300 << 32, 1 << 6 | 0x100 << 32];

    /// Returns the control bits of MXCSR, and above them the x87 control word.
    pub(super) fn float_control() -> u64 {
        let (mut mxcsr, mut x87) = (0u32, 0u16);
        // SAFETY: writes to the two locals.
        unsafe { asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut x87) };
        // Without the flags that computations set.
        u64::from(mxcsr & 0xffc0) | u64::from(x87) << 32
    }

    /// Sets what [`float_control`] returns.
    ///
    /// # Safety
    /// Rust code runs only in the usual environment: nothing may compute with what differs.
    pub(super) unsafe fn set_float_control(control: u64) {
        let (mxcsr, x87) = (control as u32, (control >> 32) as u16);
        // SAFETY: reads the two locals; the caller vouches for the effect.
        unsafe { asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &x87) };
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use std::arch::asm;

    use super::Call;

    /// How many registers a callee has to save: x19 to x29, d8 to d15.
    pub(super) const SAVED: usize = 19;

    /// Calls `function(argument)` with `call.before` in the registers, and notes in `call.after` what it leaves there.
    ///
    /// # Safety
    /// `function` may be called with `argument`.
    #[inline(never)]
    pub(super) unsafe fn call(
        function: extern "C" fn(*mut u8),
        argument: *mut u8,
        call: &mut Call,
    ) {
        // SAFETY: the caller vouches for the call, `Call` for the offsets. x19 and x29, which inline assembly cannot name,
        // are saved by hand; all other registers are clobbers. The 32 bytes pushed keep the alignment.
        unsafe {
            asm!(
                "stp x19, x29, [sp, #-32]!",
                "str x9, [sp, #16]",
                "mov x10, sp",
                "str x10, [x9, #152]",
                "ldp x19, x20, [x9]",
                "ldp x21, x22, [x9, #16]",
                "ldp x23, x24, [x9, #32]",
                "ldp x25, x26, [x9, #48]",
                "ldp x27, x28, [x9, #64]",
                "ldr x29, [x9, #80]",
                "ldp d8, d9, [x9, #88]",
                "ldp d10, d11, [x9, #104]",
                "ldp d12, d13, [x9, #120]",
                "ldp d14, d15, [x9, #136]",
                "blr x8",
                "ldr x9, [sp, #16]",
                "stp x19, x20, [x9, #160]",
                "stp x21, x22, [x9, #176]",
                "stp x23, x24, [x9, #192]",
                "stp x25, x26, [x9, #208]",
                "stp x27, x28, [x9, #224]",
                "str x29, [x9, #240]",
                "stp d8, d9, [x9, #248]",
                "stp d10, d11, [x9, #264]",
                "stp d12, d13, [x9, #280]",
                "stp d14, d15, [x9, #296]",
                "mov x10, sp",
                "str x10, [x9, #312]",
                "ldp x19, x29, [sp], #32",
                in("x9") std::ptr::from_mut(call),
                in("x8") function,
                in("x0") argument,
                lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
                lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
                lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
                lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
                clobber_abi("C"),
            );
        }
    }

    /// Returns the stack pointer of the calling function.
    #[inline(always)]
    pub(super) fn stack_pointer() -> usize {
        let value;
        // SAFETY: reads a register. Without `nostack` it is aligned as at a call.
        unsafe { asm!("mov {}, sp", out(reg) value) };
        value
    }

    /// Flush to zero, and the default NaN.
    pub(super) const HARMLESS_BITS: [u64; 2] = [1 << 24, 1 << 25];

    /// Returns FPCR.
    pub(super) fn float_control() -> u64 {
        let value;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) value) };
        value
    }

    /// Sets what [`float_control`] returns.
    ///
    /// # Safety
    /// Rust code runs only in the usual environment: nothing may compute with what differs.
    pub(super) unsafe fn set_float_control(control: u64) {
        // SAFETY: the caller vouches for the effect.
        unsafe { asm!("msr fpcr, {}", in(reg) control) };
    }
}
