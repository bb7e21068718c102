//! Stack overflow and other faults: who is told what, and how the process ends.

mod util;

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
#[cfg(feature = "runtime")]
use std::time::Duration;

use corde::coroutine::{Coroutine, CoroutineResult};
use corde::stack::{DEFAULT_SIZE, DefaultStack, Stack};
use rstest::{Context, rstest};

use util::child::{self, Outcome};
use util::{full_name, left_out_under_valgrind};

/// What precedes, in a child's output, the words that its report has to begin with.
const EXPECTED: &str = "the report should begin with: ";

/// An address where nothing is mapped, and which is no stack's guard.
const NOWHERE: usize = 16;

/// Runs `body` in a process of its own, which the calling rstest case names.
fn run(case: &Context, environment: &[(&str, &str)], body: fn()) -> Outcome {
    child::run(&full_name(case), environment, body)
}

/// Calls itself until the stack is full, and further.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    if depth == u64::MAX {
        return 0;
    }
    let deeper = recurse(depth + 1);
    deeper + black_box(frame)[0]
}

/// Has a frame of 512 KiB, which ends far below the guard of any stack here.
#[inline(never)]
fn use_large_frame() -> u64 {
    let mut frame = [0_u64; 64 * 1024];
    black_box(&mut frame)[7] = 1;
    frame[7]
}

/// Says who is to be reported with a stack of how many bytes.
fn expect(who: &str, size: usize) {
    let size = size / 1024;
    println!("{EXPECTED}{who} has overflowed its stack of {size} KiB");
}

/// Runs `f` in a coroutine with a stack of `size` bytes.
fn in_coroutine(size: usize, f: impl FnOnce() -> u64 + 'static) {
    let stack = DefaultStack::new(size).unwrap();
    Coroutine::<(), (), u64>::with_stack(stack, |_, ()| f()).resume(());
}

fn overflow_coroutine() {
    expect("a coroutine", 64 * 1024);
    in_coroutine(64 * 1024, || recurse(0));
}

fn overflow_coroutine_by_one_frame() {
    expect("a coroutine", DEFAULT_SIZE);
    in_coroutine(DEFAULT_SIZE, use_large_frame);
}

/// Steps over most of a large guard, as C code may do.
fn overflow_coroutine_deep_into_its_guard() {
    const GUARD: usize = 64 * 1024;

    expect("a coroutine", DEFAULT_SIZE);
    let stack = DefaultStack::with_guard(DEFAULT_SIZE, GUARD).unwrap();
    let lowest = stack.bottom().as_ptr().wrapping_sub(GUARD);
    Coroutine::<(), (), u64>::with_stack(stack, move |_, ()| touch(lowest)).resume(());
}

fn overflow_coroutine_in_a_coroutine() {
    in_coroutine(256 * 1024, || {
        overflow_coroutine();
        0
    });
}

fn overflow_coroutine_after_another_was_suspended() {
    let mut suspended = Coroutine::new(|yielder, ()| yielder.suspend(())).unwrap();
    assert_eq!(suspended.resume(()), CoroutineResult::Yield(()));
    overflow_coroutine();
}

fn overflow_coroutine_on_a_std_thread() {
    thread::spawn(overflow_coroutine).join().unwrap();
}

fn overflow_coroutine_without_an_alternate_stack() {
    on_foreign_thread(overflow_coroutine);
}

fn overflow_coroutine_although_the_program_handles_faults() {
    handle_fault_with_information(libc::SIGSEGV);
    overflow_coroutine();
}

/// Runs `body` on a thread that std knows nothing of, and that has no alternate signal stack.
fn on_foreign_thread(body: fn()) {
    extern "C" fn start(body: *mut c_void) -> *mut c_void {
        let off = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: libc::SIGSTKSZ,
        };
        // SAFETY: no handler runs on this thread now.
        unsafe { libc::sigaltstack(&off, ptr::null_mut()) };
        // SAFETY: it points to the `fn()` below, whose owner waits for this thread.
        let body = unsafe { *body.cast::<fn()>() };
        body();
        ptr::null_mut()
    }
    let mut thread = MaybeUninit::uninit();
    let argument = (&raw const body).cast_mut().cast();
    // SAFETY: `start` understands its argument, which lives until the join.
    let result = unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), start, argument) };
    assert_eq!(result, 0);
    // SAFETY: it was just filled in.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: the thread is joined once.
    let result = unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Says that the green thread which calls is to be reported.
#[cfg(feature = "runtime")]
fn expect_this_green_thread(size: usize) {
    let this = corde::thread::current();
    let id: String = format!("{:?}", this.id())
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let name = this.name().unwrap_or("<unnamed>");
    expect(&format!("green thread '{name}' (id {id})"), size);
}

#[cfg(feature = "runtime")]
fn overflow_named_green_thread() {
    corde::run(|| {
        // One more, so that not any id is the right one.
        let other = corde::go!(corde::thread::park);
        let deep = corde::go!(name = "deep", stack = 256 * 1024; {
            expect_this_green_thread(256 * 1024);
            recurse(0)
        });
        deep.join().unwrap();
        drop(other);
    });
}

#[cfg(feature = "runtime")]
fn overflow_unnamed_green_thread() {
    corde::run(|| {
        let deep = corde::go!({
            corde::thread::yield_now();
            expect_this_green_thread(DEFAULT_SIZE);
            recurse(0)
        });
        deep.join().unwrap();
    });
}

#[cfg(feature = "runtime")]
fn overflow_green_thread_by_one_frame() {
    corde::run(|| {
        expect_this_green_thread(DEFAULT_SIZE);
        use_large_frame();
    });
}

#[cfg(feature = "runtime")]
fn overflow_coroutine_on_a_green_thread() {
    corde::run(overflow_coroutine);
}

#[cfg(feature = "runtime")]
#[rstest]
#[case::named_green_thread(overflow_named_green_thread)]
#[case::unnamed_green_thread(overflow_unnamed_green_thread)]
#[cfg_attr(
    any(feature = "asan", feature = "tsan"),
    ignore = "sanitizers turn stack probes off: a large frame steps over the guard"
)]
#[case::green_thread_by_one_frame(overflow_green_thread_by_one_frame)]
fn green_thread_is_reported(#[context] case: Context, #[case] overflow: fn()) {
    assert_reported(&case, overflow, "stack_size");
}

#[rstest]
#[case::on_the_thread_of_the_test(overflow_coroutine)]
#[case::on_a_std_thread(overflow_coroutine_on_a_std_thread)]
#[cfg_attr(
    feature = "runtime",
    case::on_a_green_thread(overflow_coroutine_on_a_green_thread)
)]
#[case::without_an_alternate_stack(overflow_coroutine_without_an_alternate_stack)]
#[case::in_a_coroutine(overflow_coroutine_in_a_coroutine)]
#[case::after_another_was_suspended(overflow_coroutine_after_another_was_suspended)]
#[cfg_attr(
    any(feature = "asan", feature = "tsan"),
    ignore = "sanitizers turn stack probes off: a large frame steps over the guard"
)]
#[case::by_one_frame(overflow_coroutine_by_one_frame)]
#[case::deep_into_its_guard(overflow_coroutine_deep_into_its_guard)]
#[case::in_a_program_that_handles_faults(overflow_coroutine_although_the_program_handles_faults)]
fn coroutine_is_reported(#[context] case: Context, #[case] overflow: fn()) {
    assert_reported(&case, overflow, "DefaultStack::new");
}

/// Checks, with both kinds of guards, that the process aborts after one line that says whose stack it was and what helps.
fn assert_reported(case: &Context, overflow: fn(), advice: &str) {
    for guard in ["", "mprotect"] {
        let outcome = run(case, &[("CORDE_STACK_GUARD", guard)], overflow);
        assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
        let expected = outcome
            .stdout
            .lines()
            .find_map(|line| line.split_once(EXPECTED))
            .map(|(_, expected)| expected)
            .unwrap_or_else(|| panic!("{outcome:#?}"));
        let lines: Vec<_> = outcome.stderr.split_terminator('\n').collect();
        // An empty line sets it apart from what the program may have left unfinished.
        assert!(
            matches!(lines[..], ["", line] if line.starts_with(expected) && line.contains(advice)),
            "{expected:?} {outcome:#?}"
        );
    }
}

/// Lets corde install its handler.
fn start_corde() {
    in_coroutine(DEFAULT_SIZE, || 0);
}

#[test]
fn overflow_of_an_os_thread_is_reported_by_std() {
    let outcome = child::run("overflow_of_an_os_thread_is_reported_by_std", &[], || {
        let body = || {
            start_corde();
            recurse(0)
        };
        let plain = thread::Builder::new().name("plain".into());
        plain.spawn(body).unwrap().join().unwrap();
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    assert!(outcome.stderr.contains("thread 'plain'"), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("has overflowed its stack\n"),
        "{outcome:#?}"
    );
}

/// Writes where nothing can be written.
fn touch(address: *mut u8) -> u64 {
    // SAFETY: a volatile write to memory that is not Rust's does what the machine does: here, it faults.
    unsafe { black_box(address).write_volatile(1) };
    0
}

fn touch_nowhere() -> u64 {
    touch(ptr::without_provenance_mut(NOWHERE))
}

#[rstest]
#[case::on_an_os_thread(|| {
    start_corde();
    touch_nowhere();
})]
#[case::in_a_coroutine(|| in_coroutine(DEFAULT_SIZE, touch_nowhere))]
#[cfg_attr(feature = "runtime", case::in_a_green_thread(|| {
    corde::run(touch_nowhere);
}))]
#[case::in_a_coroutine_on_a_foreign_thread(|| {
    on_foreign_thread(|| in_coroutine(DEFAULT_SIZE, touch_nowhere));
})]
#[case::overflow_of_a_foreign_thread(|| {
    on_foreign_thread(|| {
        start_corde();
        recurse(0);
    });
})]
#[case::although_the_program_ignores_it(|| {
    handle_fault(libc::SIGSEGV, libc::SIG_IGN, 0);
    in_coroutine(DEFAULT_SIZE, touch_nowhere);
})]
fn other_fault_is_a_plain_segmentation_fault(#[context] case: Context, #[case] fault: fn()) {
    let outcome = run(&case, &[], fault);
    assert_eq!(outcome.signal(), Some(libc::SIGSEGV), "{outcome:#?}");
    assert_eq!(outcome.stderr, "");
}

/// Installs a handler as a program would do before it calls corde.
fn handle_fault(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags | libc::SA_ONSTACK;
    // SAFETY: the handler fits the flags, and does only what is async-signal-safe.
    let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    assert_eq!(result, 0);
}

fn handle_fault_with_information(signal: c_int) {
    let handler = handler_with_information as *const ();
    handle_fault(signal, handler as libc::sighandler_t, libc::SA_SIGINFO);
}

/// What a handler of ours exits with, above the signal.
const HANDLED: c_int = 64;

/// Where the fault is that a handler is called for.
static FAULT: AtomicUsize = AtomicUsize::new(NOWHERE);

extern "C" fn handler(signal: c_int) {
    // SAFETY: async-signal-safe, and does not return.
    unsafe { libc::_exit(HANDLED + signal) }
}

extern "C" fn handler_with_information(
    signal: c_int,
    information: *const libc::siginfo_t,
    context: *const c_void,
) {
    // SAFETY: a handler with SA_SIGINFO is given the information.
    let information = unsafe { &*information };
    // SAFETY: both signals have an address.
    let address = unsafe { information.si_addr() } as usize;
    let right = information.si_signo == signal
        && address == FAULT.load(Ordering::Relaxed)
        && !context.is_null();
    handler(if right { signal } else { 0 });
}

/// On the stack that signals have another handler may find no room. The monitor's would come to one that takes its time.
#[cfg(feature = "runtime")]
extern "C" fn handler_without_others(signal: c_int) {
    // SAFETY: a set of signals is plain data for which zero is valid.
    let mut blocked: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: changes nothing, fills the set in, and is async-signal-safe.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut blocked) };
    // SAFETY: the set is valid.
    let is_alone = unsafe { libc::sigismember(&blocked, libc::SIGURG) } == 1;
    handler(if is_alone { signal } else { 0 });
}

/// Reads from a page of a file behind the file's end.
#[cfg(target_os = "linux")]
fn touch_behind_the_end_of_a_file() -> u64 {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    // SAFETY: the name ends with a zero.
    let file = unsafe { libc::memfd_create(c"empty".as_ptr(), 0) };
    // SAFETY: the descriptor is new, and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let (any, file) = (ptr::null_mut(), file.as_raw_fd());
    // SAFETY: a new mapping disturbs nobody.
    let page = unsafe { libc::mmap(any, 1, libc::PROT_READ, libc::MAP_SHARED, file, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    FAULT.store(page as usize, Ordering::Relaxed);
    // SAFETY: a volatile read of memory that is not Rust's does what the machine does: here, it faults.
    u64::from(unsafe { page.cast::<u8>().read_volatile() })
}

#[rstest]
#[case::of_one_argument(|| {
    let handler = handler as *const () as libc::sighandler_t;
    handle_fault(libc::SIGSEGV, handler, 0);
    in_coroutine(DEFAULT_SIZE, touch_nowhere);
}, libc::SIGSEGV)]
#[case::with_information(|| {
    handle_fault_with_information(libc::SIGSEGV);
    in_coroutine(DEFAULT_SIZE, touch_nowhere);
}, libc::SIGSEGV)]
#[cfg_attr(feature = "runtime", case::in_a_green_thread(|| {
    handle_fault_with_information(libc::SIGSEGV);
    // Without a monitor: where the process takes its time to end (under ThreadSanitizer a second), that would be reported.
    let runtime = corde::runtime::Builder::new().stuck_after(Duration::MAX);
    runtime.build().unwrap().block_on(touch_nowhere);
}, libc::SIGSEGV))]
#[cfg_attr(feature = "runtime", case::undisturbed_by_the_monitor(|| {
    let handler = handler_without_others as *const () as libc::sighandler_t;
    handle_fault(libc::SIGSEGV, handler, 0);
    in_coroutine(DEFAULT_SIZE, touch_nowhere);
}, libc::SIGSEGV))]
#[cfg_attr(target_os = "linux", case::for_bus_errors(|| {
    handle_fault_with_information(libc::SIGBUS);
    in_coroutine(DEFAULT_SIZE, touch_behind_the_end_of_a_file);
}, libc::SIGBUS))]
fn handler_of_the_program_gets_other_faults(
    #[context] case: Context,
    #[case] fault: fn(),
    #[case] signal: c_int,
) {
    if left_out_under_valgrind("it changes the exit code, as it counts the fault as an error") {
        return;
    }
    let outcome = run(&case, &[], fault);
    assert_eq!(
        outcome.status.code(),
        Some(HANDLED + signal),
        "{outcome:#?}"
    );
    assert_eq!(outcome.stderr, "");
}
