//! Asking a worker's OS thread which green thread it runs, and where that is.
//!
//! Only the thread itself can say, so it is sent a signal: `SIGURG`, which is ignored by default. The handler is installed for the moment
//! of asking alone, and not at all if the program has one of its own. A thread that blocks in a system call may see it
//! interrupted; those that are not restarted ([signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)) return `EINTR`.
//!
//! # The slot
//!
//! Question and answer pass through one slot for the process. Who asks holds `ASKING`.
//!
//! | state | who may touch the slot | set by | leaves to |
//! | --- | --- | --- | --- |
//! | [`FREE`] | who asks | who asks | `ASKED` |
//! | [`ASKED`] | nobody; the question can be read | who asks | `TAKEN`; `FREE`, if nobody takes it in time |
//! | [`TAKEN`] | the handler | the handler on the thread that is asked | `ANSWERED` |
//! | [`ANSWERED`] | who asks | the handler | `FREE` |
//!
//! A handler that runs late finds no question, or one for another worker, and does nothing; or one for its own, and answers that.
//!
//! Each change releases what was written before it, and is acquired by the next.
//!
//! # In the handler
//!
//! It allocates nothing and takes no lock of ours. The unwinder finds its tables without a lock in glibc since 2.35, and otherwise by
//! `dl_iterate_phdr`, whose lock in glibc may be taken twice by one thread; in other C libraries not, so that there is no backtrace.
//! It reads the interrupted frames as the unwind tables describe them, which compilers keep right at every instruction.
//! Two places are left out: a thread that unwinds itself, and a coroutine that is just being left, whose link to its resumer is gone.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::monitor::WorkerThread;
use super::task::Task;
use super::{Remote, sys, worker};
use crate::stack::overflow;
use crate::{arch, stack};

/// Return addresses that are kept.
const MAX_FRAMES: usize = 64;

/// Bytes of a name that are kept.
const MAX_NAME: usize = 256;

/// How long the thread may take to begin with its answer: it may not be running, or have the signal blocked.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long it may take to end it.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// Stack that the unwinder has to find: 1.6 KiB measured on x86_64 with libgcc of GCC 12. (The very first time it is 4.7 KiB, when the loader
/// looks up what libgcc calls; so there is a first time before.)
const ROOM: usize = 3 * 1024;

/// Stack that it may need the very first time, with what is called around it.
const ROOM_AT_FIRST: usize = 8 * 1024;

const FREE: u8 = 0;
const ASKED: u8 = 1;
const TAKEN: u8 = 2;
const ANSWERED: u8 = 3;

/// What became of a question.
pub(super) enum Answer {
    Here(Trace),
    /// It is in another turn by now, or in none.
    MovedOn,
    /// There is no answer, for this reason.
    Silence(&'static str),
}

/// A green thread that runs, and where.
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) id: u64,
    /// Innermost first; of calls, one byte into the instruction that calls.
    pub(super) addresses: Vec<usize>,
}

static ASKING: Mutex<()> = Mutex::new(());

static SLOT: Slot = Slot {
    state: AtomicU8::new(FREE),
    remote: AtomicPtr::new(ptr::null_mut()),
    turn: AtomicU32::new(0),
    found: UnsafeCell::new(Found::new()),
};

struct Slot {
    state: AtomicU8,
    /// The question: does this worker run a green thread in this turn?
    remote: AtomicPtr<Remote>,
    turn: AtomicU32,
    found: UnsafeCell<Found>,
}

// SAFETY: `found` is touched as the module's table says; the rest is atomic.
unsafe impl Sync for Slot {}

/// What the handler leaves behind.
struct Found {
    is_there: bool,
    id: u64,
    name: [u8; MAX_NAME],
    name_len: usize,
    addresses: [usize; MAX_FRAMES],
    depth: usize,
}

impl Found {
    const fn new() -> Found {
        Found {
            is_there: false,
            id: 0,
            name: [0; MAX_NAME],
            name_len: 0,
            addresses: [0; MAX_FRAMES],
            depth: 0,
        }
    }

    fn push(&mut self, address: usize) -> bool {
        match self.addresses.get_mut(self.depth) {
            Some(place) => {
                *place = address;
                self.depth += 1;
                true
            }
            None => false,
        }
    }

    fn trace(&self) -> Trace {
        let name = String::from_utf8_lossy(&self.name[..self.name_len]);
        Trace {
            name: name.replace(char::is_control, "?"),
            id: self.id,
            addresses: self.addresses[..self.depth].to_vec(),
        }
    }
}

/// Asks the worker of `remote`, which is alive as long as this takes, what it runs in `turn`.
pub(super) fn ask(remote: &'static Remote, turn: u32) -> Answer {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    match SLOT.state.load(Ordering::Acquire) {
        FREE | ANSWERED => {}
        _ => return Answer::Silence("an earlier question was never answered"),
    }
    let Some(_handler) = Handler::install() else {
        return Answer::Silence("the program handles SIGURG itself");
    };
    // What the unwinder does once only, it does here.
    let mut unused = Found::new();
    unwind(&mut Walk::everything(&mut unused));
    SLOT.remote
        .store(ptr::from_ref(remote).cast_mut(), Ordering::Relaxed);
    SLOT.turn.store(turn, Ordering::Relaxed);
    SLOT.state.store(ASKED, Ordering::Release);
    if !send(&remote.thread) {
        SLOT.state.store(FREE, Ordering::Release);
        return Answer::MovedOn;
    }
    if !wait_until_taken() {
        return Answer::Silence("its thread does not take SIGURG");
    }
    if !wait_while(TAKEN, LONGEST_ANSWER) {
        return Answer::Silence("its thread got no further than half an answer");
    }
    // SAFETY: the state is ANSWERED, and this is who asks.
    let found = unsafe { &*SLOT.found.get() };
    let answer = if found.is_there {
        Answer::Here(found.trace())
    } else {
        Answer::MovedOn
    };
    SLOT.state.store(FREE, Ordering::Release);
    answer
}

/// Waits until the question is taken; takes it back otherwise.
fn wait_until_taken() -> bool {
    wait_while(ASKED, PATIENCE)
        || SLOT
            .state
            .compare_exchange(ASKED, FREE, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
}

/// Waits while the slot is in `state`, for `patience` at most; false, if it still is.
fn wait_while(state: u8, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while SLOT.state.load(Ordering::Acquire) == state {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_micros(200));
    }
    true
}

/// Sends the signal; false, if the thread is not there any more.
fn send(thread: &WorkerThread) -> bool {
    let _staying = thread.lock();
    let number = thread.number();
    // The thread stays while it is locked, and the signal has a handler.
    number != 0 && sys::signal(number)
}

/// Our handler in its place, until this is dropped.
struct Handler {
    previous: libc::sigaction,
}

impl Handler {
    /// None, if the program has a handler of its own.
    fn install() -> Option<Handler> {
        let function: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
        // SAFETY: sigaction is plain data for which zero is valid.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = function as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        overflow::use_alternate_stack(&mut action);
        let previous = exchange(&action)?;
        if previous.sa_sigaction == libc::SIG_DFL || previous.sa_sigaction == libc::SIG_IGN {
            Some(Handler { previous })
        } else {
            exchange(&previous);
            None
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let function: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
        match exchange(&self.previous) {
            // The program has installed one meanwhile.
            Some(found) if found.sa_sigaction != function as usize => {
                exchange(&found);
            }
            _ => {}
        }
    }
}

/// Sets the disposition of the signal and returns what it was.
fn exchange(action: &libc::sigaction) -> Option<libc::sigaction> {
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut previous: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: both pointers are valid; the action came from the system, or its handler does only what is async-signal-safe.
    let result = unsafe { libc::sigaction(libc::SIGURG, action, &mut previous) };
    (result == 0).then_some(previous)
}

extern "C" fn handle(_signal: c_int, _information: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = sys::errno();
    // SAFETY: it is the thread's own.
    let saved = unsafe { errno.read() };
    // SAFETY: the kernel passes a valid context with SA_SIGINFO.
    answer(unsafe { &*context.cast() });
    // SAFETY: as above.
    unsafe { errno.write(saved) };
}

/// Answers the question in the slot, if it is for this thread. Async-signal-safe.
fn answer(context: &libc::ucontext_t) {
    if SLOT.state.load(Ordering::Acquire) != ASKED {
        return;
    }
    let Some(worker) = worker::current() else {
        return;
    };
    let remote = worker.remote();
    let is_meant = ptr::eq(SLOT.remote.load(Ordering::Relaxed), remote);
    if !is_meant
        || SLOT
            .state
            .compare_exchange(ASKED, TAKEN, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    // SAFETY: the state is TAKEN, by this very call.
    let found = unsafe { &mut *SLOT.found.get() };
    found.is_there = false;
    if remote.turn.load(Ordering::Relaxed) == SLOT.turn.load(Ordering::Relaxed) {
        // The task is alive: it is the current one from before it runs until after it has (`Runnable::run`), and this thread gives up its count
        // after that only, with a release that the compiler moves no earlier store behind.
        if let Some((_, task)) = worker::current_green() {
            describe(task, context, found);
        }
    }
    SLOT.state.store(ANSWERED, Ordering::Release);
}

fn describe(task: &Task, context: &libc::ucontext_t, found: &mut Found) {
    found.is_there = true;
    found.id = task.id.as_u64().get();
    let name = task.name().unwrap_or("<unnamed>").as_bytes();
    found.name_len = name.len().min(MAX_NAME);
    found.name[..found.name_len].copy_from_slice(&name[..found.name_len]);
    found.depth = 0;
    let interrupted = sys::program_counter(context);
    if cfg!(target_env = "gnu") && has_room(context) && !thread::panicking() {
        unwind(&mut Walk {
            found,
            // The handler and the kernel's frame come before it.
            from: Some(interrupted),
            task: Some(task),
        });
    }
    if found.depth == 0 {
        found.push(interrupted);
    }
}

/// Returns whether the stack of the handler has room for the unwinder: it is an alternate one, of a size that others have chosen.
fn has_room(context: &libc::ucontext_t) -> bool {
    let stack = &context.uc_stack;
    let used = arch::stack_pointer().wrapping_sub(stack.ss_sp as usize);
    stack.ss_flags & libc::SS_DISABLE == 0 && (ROOM..=stack.ss_size).contains(&used)
}

/// Adds the frames of the calling green thread, `task`, the innermost first; none, if its stack has no room for the unwinder.
pub(super) fn own_frames(task: &Task, frames: &mut Vec<usize>) {
    if stack::remaining().is_none_or(|left| left < ROOM_AT_FIRST) {
        return;
    }
    let mut found = FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
    found.depth = 0;
    unwind(&mut Walk {
        found: &mut found,
        from: None,
        task: Some(task),
    });
    frames.extend_from_slice(&found.addresses[..found.depth]);
}

/// Where those who are asked leave their frames, which take too much room on their stacks.
static FRAMES: Mutex<Found> = Mutex::new(Found::new());

/// The unwinder's view of a frame.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

// The unwinder that std has linked: the Itanium ABI for exceptions, "Level I".
unsafe extern "C" {
    fn _Unwind_Backtrace(
        callback: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, is_before: *mut c_int) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: c_int) -> usize;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
}

/// Of what [`_Unwind_Backtrace`] may be answered: go on, or stop.
const GO_ON: c_int = 0;
const STOP: c_int = 5;

/// The DWARF number of the frame pointer.
const FRAME_POINTER: c_int = if cfg!(target_arch = "x86_64") { 6 } else { 29 };

/// How far from a green thread's root, at most, is what its task knows of its stack. A sixteenth of the smallest stack: no other is so near.
const NEAR: usize = 1024;

/// A walk along the frames of the calling thread.
struct Walk<'a> {
    found: &'a mut Found,
    /// Frames before the one that is here are left out.
    from: Option<usize>,
    /// Frames of its worker are left out.
    task: Option<&'a Task>,
}

impl Walk<'_> {
    fn everything(found: &mut Found) -> Walk<'_> {
        Walk {
            found,
            from: None,
            task: None,
        }
    }

    /// Decides whether to go on from a coroutine with its root here to its resumer.
    fn pass_root(&self, root: usize) -> c_int {
        let top = root.saturating_sub(NEAR)..root.saturating_add(NEAR);
        if self.task.is_some_and(|task| task.starts_in(&top)) {
            return STOP;
        }
        // SAFETY: in the first frame of a coroutine the frame pointer is its root, which is there as long as the frame.
        let root = unsafe { &*(root as *const arch::Root) };
        // If the coroutine is just being left, the way to the resumer leads nowhere.
        if root.is_running() { GO_ON } else { STOP }
    }
}

fn unwind(walk: &mut Walk<'_>) {
    // SAFETY: the callback gets its argument back as what it is.
    unsafe { _Unwind_Backtrace(visit, ptr::from_mut(walk).cast()) };
}

extern "C" fn visit(context: *mut Context, walk: *mut c_void) -> c_int {
    // SAFETY: it is what `unwind` has passed, mutably borrowed for the call.
    let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
    let mut is_before = 0;
    // SAFETY: the context is the unwinder's own.
    let address = unsafe { _Unwind_GetIPInfo(context, &mut is_before) };
    if walk.from.is_some_and(|from| from != address) {
        return GO_ON;
    }
    walk.from = None;
    // SAFETY: as above.
    let function = unsafe { _Unwind_GetRegionStart(context) };
    // SAFETY: as above.
    let root = unsafe { _Unwind_GetGR(context, FRAME_POINTER) };
    if function == arch::first_function() {
        return walk.pass_root(root);
    }
    // A return address may be that of the next line, or the next function.
    let call = address.wrapping_sub(usize::from(is_before == 0));
    if walk.found.push(call) { GO_ON } else { STOP }
}

/// Lists the frames, a line for each.
pub(super) fn frames(addresses: &[usize]) -> String {
    let mut lines = String::new();
    for (index, &address) in addresses.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(lines, "\n  {index:2}: ");
        add_frame(&mut lines, address);
    }
    lines
}

/// Adds the function and the line that an address is in; several, if functions were inlined.
#[cfg(feature = "backtrace")]
fn add_frame(lines: &mut String, address: usize) {
    let mut is_first = true;
    backtrace::resolve(address as *mut c_void, |symbol| {
        let separator = if is_first { "" } else { "\n      " };
        is_first = false;
        let _ = match symbol.name() {
            Some(name) => write!(lines, "{separator}{name:#}"),
            None => write!(lines, "{separator}<unknown>"),
        };
        if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
            let _ = write!(lines, "\n             at {}:{line}", file.display());
        }
    });
    if is_first {
        add_place(lines, address);
    }
}

/// Adds the address as `addr2line` wants it.
#[cfg(not(feature = "backtrace"))]
fn add_frame(lines: &mut String, address: usize) {
    add_place(lines, address);
}

/// Adds the object that an address is in, and how far.
fn add_place(lines: &mut String, address: usize) {
    // SAFETY: Dl_info is plain data for which zero is valid.
    let mut found: libc::Dl_info = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: only looks the address up.
    let is_known = unsafe { libc::dladdr(address as *const c_void, &mut found) } != 0;
    if !is_known || found.dli_fname.is_null() {
        let _ = write!(lines, "{address:#x}");
        return;
    }
    // SAFETY: the name is a string of the loader's, which stays as long as the object is loaded: it has code on this stack.
    let object = unsafe { CStr::from_ptr(found.dli_fname) }.to_string_lossy();
    let offset = address.wrapping_sub(found.dli_fbase as usize);
    let _ = write!(lines, "{object}+{offset:#x}");
}
