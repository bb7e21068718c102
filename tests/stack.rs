//! Stacks: sizes, guards, reuse, and what happens when the system has no more.

mod util;

use std::fs::File;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
#[cfg(target_os = "linux")]
use std::{ffi::c_int, fs, mem::MaybeUninit};

use corde::coroutine::{Coroutine, CoroutineResult};
use corde::stack::{DEFAULT_SIZE, DefaultStack, MIN_SIZE, Stack, stats, trim};
use rstest::rstest;

use util::random::Xorshift;
#[cfg(target_os = "linux")]
use util::{NO_LIMIT_ON_MEMORY, left_out_in_an_emulator};
use util::{SANITIZED, child, left_out_under_valgrind, scaled};

fn page_size() -> usize {
    // SAFETY: sysconf only reads.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("the system has a page size")
}

fn bottom(stack: &DefaultStack) -> usize {
    stack.bottom().as_ptr() as usize
}

fn top(stack: &DefaultStack) -> usize {
    stack.top().as_ptr() as usize
}

/// Finds out whether memory can be accessed by asking the kernel, which answers where the processor would fault.
struct Prober {
    zero: File,
    from_memory: UnixStream,
    back: UnixStream,
}

impl Prober {
    fn new() -> Prober {
        let (from_memory, back) = UnixStream::pair().expect("sockets can be made");
        let zero = File::open("/dev/zero").expect("there is a /dev/zero");
        Prober {
            zero,
            from_memory,
            back,
        }
    }

    /// Writes a zero to a byte of a stack or of its guard, and tells whether that was possible.
    fn can_write(&self, byte: *mut u8) -> bool {
        // SAFETY: nobody uses the byte; the kernel finds out by itself whether it can be written.
        let count = unsafe { libc::read(self.zero.as_raw_fd(), byte.cast(), 1) };
        answer(count)
    }

    /// Reads a byte of a stack or of its guard, and tells whether that was possible.
    fn can_read(&mut self, byte: *mut u8) -> bool {
        // SAFETY: the kernel finds out by itself whether the byte can be read.
        let count = unsafe { libc::write(self.from_memory.as_raw_fd(), byte.cast(), 1) };
        let readable = answer(count);
        if readable {
            self.back.read_exact(&mut [0]).expect("it was just written");
        }
        readable
    }

    /// Checks the ends of a stack that nothing runs on.
    #[track_caller]
    fn assert_guarded(&mut self, stack: &DefaultStack) {
        let bottom = stack.bottom().as_ptr();
        let page = page_size();
        for usable in [bottom, stack.top().as_ptr().wrapping_sub(1)] {
            assert!(self.can_write(usable), "{stack:?}: {usable:?}");
            assert!(self.can_read(usable), "{stack:?}: {usable:?}");
        }
        for below in [1, 8, page / 2, page - 1, page] {
            let guard = bottom.wrapping_sub(below);
            assert!(!self.can_write(guard), "{stack:?}: {guard:?}");
            assert!(!self.can_read(guard), "{stack:?}: {guard:?}");
        }
    }
}

/// Understands what a system call says that was to move one byte.
fn answer(count: isize) -> bool {
    if count == 1 {
        return true;
    }
    let error = io::Error::last_os_error();
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{error}");
    false
}

#[rstest]
#[case::nothing(0, MIN_SIZE)]
#[case::one_byte(1, MIN_SIZE)]
#[case::just_below_the_least(MIN_SIZE - 1, MIN_SIZE)]
#[case::the_least(MIN_SIZE, MIN_SIZE)]
#[case::just_above_the_least(MIN_SIZE + 1, MIN_SIZE + 1)]
#[case::odd(100_001, 100_001)]
#[case::default(DEFAULT_SIZE, DEFAULT_SIZE)]
#[case::larger_than_a_slab(100 << 20, 100 << 20)]
fn size_is_what_was_asked_for_and_little_more(#[case] wanted: usize, #[case] least: usize) {
    let page = page_size();
    let most = least.next_multiple_of(page) + page;
    for stack in take(3, wanted) {
        assert!((least..=most).contains(&stack.size()), "{stack:?}");
        assert_eq!(top(&stack) - bottom(&stack), stack.size());
        assert_eq!(top(&stack) % 16, 0);
        assert_eq!(bottom(&stack) % page, 0);
        Prober::new().assert_guarded(&stack);
    }
}

#[rstest]
#[case::nothing(0)]
#[case::one_byte(1)]
#[case::odd(10_001)]
#[case::several_pages(64 * 1024)]
#[case::larger_than_the_stack(1 << 20)]
fn guard_is_what_was_asked_for_and_at_least_a_page(#[case] wanted: usize) {
    let stack = DefaultStack::with_guard(DEFAULT_SIZE, wanted).unwrap();
    let mut prober = Prober::new();
    prober.assert_guarded(&stack);
    let guard = wanted.max(1).next_multiple_of(page_size());
    let lowest = stack.bottom().as_ptr().wrapping_sub(guard);
    for byte in (0..guard).step_by(512) {
        assert!(!prober.can_write(lowest.wrapping_add(byte)), "{byte}");
    }
}

#[rstest]
#[case::all_bits(usize::MAX, ErrorKind::InvalidInput)]
#[case::just_past_the_limit(isize::MAX as usize / 4 + 1, ErrorKind::InvalidInput)]
#[case::the_limit(isize::MAX as usize / 4, ErrorKind::OutOfMemory)]
#[case::more_than_processors_address(1 << 56, ErrorKind::OutOfMemory)]
fn impossible_size_is_an_error(#[case] size: usize, #[case] kind: ErrorKind) {
    if kind == ErrorKind::OutOfMemory
        && left_out_under_valgrind("it says EINVAL where the system says ENOMEM")
    {
        return;
    }
    let error = DefaultStack::new(size).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains("address space"), "{error}");
}

/// Goes down until less than `margin` bytes are left above `bottom`; returns the number of levels.
fn descend(bottom: usize, margin: usize, level: usize) -> usize {
    let local = black_box([level; 8]);
    let left = (&raw const local as usize) - bottom;
    let levels = match left {
        left if left < margin => level,
        _ => descend(bottom, margin, level + 1),
    };
    assert_eq!(black_box(local), [level; 8], "a frame was overwritten");
    levels
}

#[rstest]
#[case::least(MIN_SIZE)]
#[case::default(DEFAULT_SIZE)]
#[case::large(8 << 20)]
fn recursion_goes_down_to_the_guard(#[case] size: usize) {
    /// For the frame that finds out, and for what it calls.
    const MARGIN: usize = if SANITIZED { 8192 } else { 2048 };

    let stack = DefaultStack::new(size).unwrap();
    let bottom = bottom(&stack);
    let mut coroutine =
        Coroutine::<(), (), _>::with_stack(stack, move |_, ()| descend(bottom, MARGIN, 0));
    let CoroutineResult::Return(levels) = coroutine.resume(()) else {
        panic!("it does not suspend");
    };
    assert!(levels > size / 2048, "{levels} levels");
    Prober::new().assert_guarded(&coroutine.into_stack());
}

#[test]
fn stack_that_was_used_last_is_reused_first() {
    // No other test uses this size, so nobody else takes them.
    const SIZE: usize = 3 << 16;

    let first = DefaultStack::new(SIZE).unwrap();
    let second = DefaultStack::new(SIZE).unwrap();
    let (first_bottom, second_bottom) = (bottom(&first), bottom(&second));
    assert_ne!(first_bottom, second_bottom);
    drop(second);
    drop(first);
    let [again, next] = [(); 2].map(|()| DefaultStack::new(SIZE).unwrap());
    assert_eq!(
        [bottom(&again), bottom(&next)],
        [first_bottom, second_bottom]
    );
    let mut prober = Prober::new();
    prober.assert_guarded(&again);
    prober.assert_guarded(&next);
}

/// Writes to a byte in each of the two highest pages.
fn mark(stack: &DefaultStack) {
    for byte in marks(stack) {
        // SAFETY: it is a byte of the stack, and nothing runs on it.
        unsafe { byte.write_volatile(1) };
    }
}

/// Tells which of the two highest pages have kept what `mark` wrote.
fn marked(stack: &DefaultStack) -> [bool; 2] {
    // SAFETY: as above.
    marks(stack).map(|byte| unsafe { byte.read_volatile() } == 1)
}

fn marks(stack: &DefaultStack) -> [*mut u8; 2] {
    let top = stack.top().as_ptr();
    [1, page_size() + 1].map(|below| top.wrapping_sub(below))
}

#[test]
fn many_idle_stacks_keep_their_top_page_and_give_the_rest_back() {
    /// More than keep all of it.
    const COUNT: usize = 4_600;
    // No other test uses this size.
    const SIZE: usize = 5 << 14;

    let stacks = take(COUNT, SIZE);
    stacks.iter().for_each(mark);
    drop(stacks);
    let again = take(COUNT, SIZE);
    let count = |kept: [bool; 2]| again.iter().filter(|stack| marked(stack) == kept).count();
    let (whole, topped) = (count([true, true]), count([true, false]));
    assert_eq!(whole + topped, COUNT);
    // What a thread keeps for itself makes the difference.
    assert!((4_096..4_200).contains(&whole), "{whole}");
    let mut prober = Prober::new();
    for stack in &again[COUNT - 50..] {
        prober.assert_guarded(stack);
    }
}

#[test]
fn trim_gives_the_memory_of_all_idle_stacks_back() {
    child::run("trim_gives_the_memory_of_all_idle_stacks_back", &[], || {
        const COUNT: usize = 4_600;
        let stacks = take(COUNT, MIN_SIZE);
        stacks.iter().for_each(mark);
        let in_use = DefaultStack::new(MIN_SIZE).unwrap();
        mark(&in_use);
        drop(stacks);
        assert!(stats().warm > 4_000);
        trim();
        let after = stats();
        assert_eq!((after.warm, after.cold), (0, COUNT));
        assert_eq!(marked(&in_use), [true, true]);
        let again = take(COUNT, MIN_SIZE);
        assert_eq!(stats().made, COUNT + 1);
        assert!(again.iter().all(|stack| marked(stack) == [false, false]));
        let mut prober = Prober::new();
        for stack in &again[COUNT - 50..] {
            prober.assert_guarded(stack);
        }
    })
    .assert_success();
}

/// Takes `count` stacks of the same size.
fn take(count: usize, size: usize) -> Vec<DefaultStack> {
    (0..count)
        .map(|_| DefaultStack::new(size).unwrap())
        .collect()
}

#[test]
fn twenty_thousand_stacks_are_distinct_and_guarded() {
    let mut stacks = take(scaled(20_000), MIN_SIZE);
    stacks.sort_by_key(bottom);
    for pair in stacks.windows(2) {
        assert!(
            top(&pair[0]) + page_size() <= bottom(&pair[1]),
            "no room for a guard between {pair:?}"
        );
    }
    let mut prober = Prober::new();
    for stack in stacks.iter().step_by(97) {
        prober.assert_guarded(stack);
    }
}

#[test]
fn threads_never_have_the_same_stack() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 20;
    // No other test uses this size, so that they take each other's.
    const SIZE: usize = 7 << 14;

    let start = Barrier::new(THREADS);
    let use_stacks = |thread: usize| {
        let mut random = Xorshift(thread as u64 + 1);
        start.wait();
        for round in 0..ROUNDS {
            // At times more than a thread keeps for itself.
            let stacks = take(random.next() as usize % 150, SIZE);
            let owner = thread * ROUNDS + round;
            let word = |stack: &DefaultStack| stack.bottom().as_ptr().cast::<usize>();
            for stack in &stacks {
                // SAFETY: the word is the stack's lowest, aligned to a page, and nothing runs on the stack.
                unsafe { word(stack).write_volatile(owner) };
            }
            for stack in &stacks {
                // SAFETY: as above.
                assert_eq!(unsafe { word(stack).read_volatile() }, owner);
            }
        }
    };
    // The second time there are also stacks of threads that have ended.
    for _ in 0..2 {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let use_stacks = &use_stacks;
                scope.spawn(move || use_stacks(thread));
            }
        });
    }
}

/// Counts the process's memory mappings; each line of the file is one.
#[cfg(target_os = "linux")]
fn mappings() -> String {
    fs::read_to_string("/proc/self/maps").expect("the process may look at itself")
}

#[cfg(target_os = "linux")]
#[test]
fn guard_markers_split_no_mapping() {
    if left_out_under_valgrind("it is slow with so many stacks") {
        return;
    }
    child::run(
        "guard_markers_split_no_mapping",
        &[("CORDE_STACK_GUARD", "")],
        || {
            if !kernel_has_markers() {
                return eprintln!("no guard markers in this kernel: nothing to test");
            }
            // With two mappings a stack this is past the default limit of 65530.
            let stacks = take(40_000, MIN_SIZE);
            assert!(mappings().lines().count() < 1000);
            Prober::new().assert_guarded(stacks.last().unwrap());
        },
    )
    .assert_success();
}

/// Tells whether the kernel has guards that split no mapping (Linux 6.13); an emulator only says so.
#[cfg(target_os = "linux")]
fn kernel_has_markers() -> bool {
    const MADV_GUARD_INSTALL: c_int = 102;
    const MADV_GUARD_REMOVE: c_int = 103;

    let stack = DefaultStack::new(MIN_SIZE).unwrap();
    let page = stack.bottom().as_ptr();
    let advise = |advice| {
        // SAFETY: nothing runs on the stack, and what lies there is of no value.
        unsafe { libc::madvise(page.cast(), page_size(), advice) }
    };
    let guarded = advise(MADV_GUARD_INSTALL) == 0 && !Prober::new().can_write(page);
    // It is a stack for others again, and for leak checkers memory to look at.
    advise(MADV_GUARD_REMOVE);
    guarded
}

#[cfg(target_os = "linux")]
#[test]
fn mprotect_guards_fault() {
    child::run("mprotect_guards_fault", FORCE_MPROTECT, || {
        let stack = DefaultStack::new(DEFAULT_SIZE).unwrap();
        Prober::new().assert_guarded(&stack);
        let guard = format!("-{:08x} ---p ", bottom(&stack));
        assert!(mappings().contains(&guard), "{stack:?}\n{}", mappings());
    })
    .assert_success();
}

#[cfg(target_os = "linux")]
const FORCE_MPROTECT: &[(&str, &str)] = &[("CORDE_STACK_GUARD", "mprotect")];

#[cfg(target_os = "linux")]
/// Mappings that a process may have where reaching the limit would take this test too long: the default is a quarter.
const MANY_MAPPINGS: usize = 1 << 18;

#[cfg(target_os = "linux")]
/// Takes stacks until there are no more.
fn exhaust(size: usize) -> (Vec<DefaultStack>, io::Error) {
    // Made in advance, for memory may be what there is no more of.
    let mut stacks = Vec::with_capacity(1 << 16);
    while stacks.len() < MANY_MAPPINGS {
        match DefaultStack::new(size) {
            Ok(stack) => stacks.push(stack),
            Err(error) => return (stacks, error),
        }
    }
    panic!("there is no limit");
}

#[cfg(target_os = "linux")]
#[test]
fn limit_on_mappings_is_an_error_and_leaves_room_for_others() {
    if left_out_under_valgrind("it has room for 30,000 mappings") {
        return;
    }
    child::run(
        "limit_on_mappings_is_an_error_and_leaves_room_for_others",
        FORCE_MPROTECT,
        || {
            let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
            if limit.trim().parse::<usize>().unwrap() > MANY_MAPPINGS {
                return eprintln!("the limit is {limit}: too far away");
            }
            let (mut stacks, error) = exhaust(MIN_SIZE);
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(error.to_string().contains("vm.max_map_count"), "{error}");
            assert!(stacks.len() > 1000, "{}", stacks.len());
            Prober::new().assert_guarded(stacks.last().unwrap());

            // Others can still have mappings: threads do, and large allocations.
            const THREADS: usize = 100;
            let all_run = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        black_box(vec![1_u8; 1 << 20]);
                        all_run.wait();
                    });
                }
            });

            // It stays an error that costs nothing, until a stack is free.
            let before = address_space();
            for _ in 0..10_000 {
                DefaultStack::new(MIN_SIZE).unwrap_err();
            }
            assert!(address_space() < before + 5000 * MIN_SIZE);
            let free = bottom(&stacks.pop().unwrap());
            let stack = DefaultStack::new(MIN_SIZE).unwrap();
            assert_eq!(bottom(&stack), free);
            DefaultStack::new(MIN_SIZE).unwrap_err();
        },
    )
    .assert_success();
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(
    any(feature = "asan", feature = "tsan"),
    ignore = "the sanitizer's own memory meets the limit, too"
)]
fn limit_on_address_space_is_an_error() {
    const SIZE: usize = 1 << 20;
    const ROOM: usize = 48;

    if left_out_in_an_emulator(NO_LIMIT_ON_MEMORY) {
        return;
    }
    child::run("limit_on_address_space_is_an_error", &[], || {
        let used = address_space();
        limit_address_space(used + ROOM * SIZE);
        let (mut stacks, error) = exhaust(SIZE);
        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        // A slab of many stacks that finds no room is not the end: one of a single stack may.
        assert!((40..ROOM).contains(&stacks.len()), "{}", stacks.len());
        let free = bottom(&stacks.pop().unwrap());
        assert_eq!(bottom(&DefaultStack::new(SIZE).unwrap()), free);
        limit_address_space(used + 4 * ROOM * SIZE);
        stacks.extend(take(ROOM, SIZE));
        Prober::new().assert_guarded(stacks.last().unwrap());
    })
    .assert_success();
}

/// Returns how many bytes of address space the process has mapped.
#[cfg(target_os = "linux")]
fn address_space() -> usize {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').next().unwrap().parse().unwrap();
    pages * page_size()
}

#[cfg(target_os = "linux")]
fn limit_address_space(bytes: usize) {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: fills the limit in.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_AS, limit.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: it was just filled in.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = bytes as libc::rlim_t;
    // SAFETY: the limit is valid; what cannot be mapped comes back as an error.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(result, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn locked_memory_is_guarded() {
    child::run("locked_memory_is_guarded", &[], || {
        // From here on guards are known to be made in the usual way,
        let stack = DefaultStack::new(MIN_SIZE).unwrap();
        Prober::new().assert_guarded(&stack);
        // SAFETY: changes how memory is mapped from now on, not what it holds.
        if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
            return eprintln!("no memory may be locked: nothing to test");
        }
        // which takes no locked memory, as that of a new size is.
        let stack = DefaultStack::new(2 * MIN_SIZE).unwrap();
        Prober::new().assert_guarded(&stack);
    })
    .assert_success();
}
