//! Stack overflow: recognised in the fault handler, reported in one line, and the end of the process.
//!
//! The handler runs on an alternate stack (the overflowed one has no room) and does only what is safe in a signal
//! handler: it walks the list of slabs, fills a buffer on its stack, writes it, aborts. A fault that is not in a guard page of
//! ours goes to the handler that was there before, as if this one did not exist; so std's report for OS threads
//! works, and the core dump of an ordinary segmentation fault.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Once, OnceLock};

use memmap2::MmapMut;

use super::{page_size, slab};
use crate::arch::words::PROTECTED;

/// Tells whose stack it is that has these addresses, by adding to the line; false if it is nobody's it knows.
pub(crate) type Describe = fn(stack: &Range<usize>, line: &mut Line) -> bool;

static DESCRIBE: OnceLock<Describe> = OnceLock::new();

/// What was installed before, for SIGSEGV and SIGBUS.
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// What an access to a guard page raises.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Lets `describe` name the owner of a stack in the report. The first one stays.
#[cfg(feature = "runtime")]
pub(crate) fn set_describe(describe: Describe) {
    let _ = DESCRIBE.set(describe);
}

/// Makes overflows on coroutine stacks run by this OS thread be reported: installs the handler once in the process, and an
/// alternate stack on this thread if it has none.
#[inline]
pub(crate) fn protect_thread() {
    if PROTECTED.get() == 0 {
        PROTECTED.set(1);
        protect_new_thread();
    }
}

/// Returns whether the destructors of this OS thread's locals have got to corde's: others may be gone already.
#[inline(never)]
pub(crate) fn thread_is_ending() -> bool {
    ENDING.get()
}

thread_local! {
    static ENDING: Cell<bool> = const { Cell::new(false) };
    static THREAD: Thread = Thread { _alternate: AlternateStack::install() };
}

/// What an OS thread that runs coroutines has, from the first one to its end.
struct Thread {
    _alternate: Option<AlternateStack>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        ENDING.set(true);
    }
}

#[cold]
#[inline(never)]
fn protect_new_thread() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        keep_loaded();
        // In place before the first fault can come to our handler.
        let previous = PREVIOUS.get_or_init(|| SIGNALS.map(|signal| replace_handler(signal, None)));
        for (signal, previous) in SIGNALS.into_iter().zip(previous) {
            // SAFETY: sigaction is plain data for which zero is valid.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            let handler: Handler = handle;
            action.sa_sigaction = handler as usize;
            // As the previous handler wants it, if it is called.
            action.sa_mask = previous.sa_mask;
            // And not interrupted by the monitor's question (`runtime/trace.rs`), for whose handler the alternate stack has no room
            // besides: std gives its threads one of 8 KiB, and the kernel's frame alone can take 3 of them.
            // SAFETY: the mask is valid, and its own.
            unsafe { libc::sigaddset(&mut action.sa_mask, libc::SIGURG) };
            action.sa_flags =
                previous.sa_flags & libc::SA_NODEFER | libc::SA_SIGINFO | libc::SA_ONSTACK;
            replace_handler(signal, Some(&action));
        }
    });
    // While the thread's locals are being destroyed it goes without: its overflow is then a plain fault.
    let _ = THREAD.try_with(|_| ());
}

/// Keeps the library that the handler is in from being unloaded, if it was loaded at run time: the handler stays installed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_loaded() {
    // SAFETY: Dl_info is plain data for which zero is valid.
    let mut found: libc::Dl_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: Handler = handle;
    // SAFETY: only looks the address up.
    if unsafe { libc::dladdr(handler as *const libc::c_void, &mut found) } == 0
        || found.dli_fname.is_null()
    {
        return;
    }
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: the name is that of a loaded object; nothing is loaded. Fails for the executable, which stays anyway.
    unsafe { libc::dlopen(found.dli_fname, flags) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_loaded() {}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Returns the disposition of `signal`, after setting it when there is a new one.
fn replace_handler(signal: c_int, new: Option<&libc::sigaction>) -> libc::sigaction {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut old: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: both pointers are valid or null, and the handler does only what is async-signal-safe.
    let result = unsafe { libc::sigaction(signal, new, &mut old) };
    assert_eq!(
        result,
        0,
        "SIGSEGV and SIGBUS can be handled: {}",
        io::Error::last_os_error()
    );
    old
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid information with SA_SIGINFO.
    let information = unsafe { &*info };
    // Otherwise a process has sent it: there is no address, and it does not come again by itself. (SI_USER and the like are
    // negative or 0 on Linux and have 0x10000 set elsewhere.)
    let is_fault = (1..0x10000).contains(&information.si_code);
    // SAFETY: where the signal carries no address, this reads the bytes in its place, which the kernel has set, too.
    let address = unsafe { information.si_addr() } as usize;
    match slab::find_guard(address) {
        Some(overflow) if is_fault => report(&overflow),
        _ => pass_on(signal, info, context, is_fault),
    }
}

fn report(overflow: &slab::Overflow) -> ! {
    let mut line = Line::new();
    line.text("\n");
    let described = DESCRIBE
        .get()
        .is_some_and(|describe| describe(&overflow.stack, &mut line));
    if !described {
        line.text("a coroutine");
    }
    line.text(" has overflowed its stack of ");
    line.number(overflow.size as u64 / 1024);
    line.text(" KiB: give it a larger one with ");
    line.text(if described {
        "thread::Builder::stack_size or go!(stack = ..; ..)"
    } else {
        "DefaultStack::new"
    });
    line.text("\n");
    line.write_to_stderr();
    // SAFETY: abort is async-signal-safe and does not return.
    unsafe { libc::abort() }
}

fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, is_fault: bool) {
    let previous = PREVIOUS
        .get()
        .map(|both| both[usize::from(signal == libc::SIGBUS)]);
    match previous {
        Some(action)
            if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN =>
        {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: an action with SA_SIGINFO holds a function of this signature.
                let handler = unsafe { std::mem::transmute::<usize, Handler>(action.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: an action without SA_SIGINFO that is neither default nor ignore holds a function of this signature.
                let handler = unsafe {
                    std::mem::transmute::<usize, extern "C" fn(c_int)>(action.sa_sigaction)
                };
                handler(signal);
            }
        }
        Some(action) if action.sa_sigaction == libc::SIG_IGN && !is_fault => {}
        // A fault cannot be ignored: on return it happens again, and the default action ends the process.
        _ => {
            // SAFETY: zero is a valid sigaction and means SIG_DFL.
            let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            // SAFETY: the action is valid; sigaction is async-signal-safe.
            unsafe { libc::sigaction(signal, &default, ptr::null_mut()) };
            if !is_fault {
                // SAFETY: raise is async-signal-safe; the signal is taken when this handler returns.
                unsafe { libc::raise(signal) };
            }
        }
    }
}

/// Has the handler of `action` run on the alternate stack, where nothing but a fault interrupts it. There is no room for several: std gives its threads
/// 8 KiB, and the kernel's frame alone can take 3 of them.
#[cfg(feature = "runtime")]
pub(crate) fn use_alternate_stack(action: &mut libc::sigaction) {
    action.sa_flags |= libc::SA_ONSTACK;
    // SAFETY: the mask is valid.
    unsafe { libc::sigfillset(&mut action.sa_mask) };
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: the mask is valid, and so is the signal.
        unsafe { libc::sigdelset(&mut action.sa_mask, fault) };
    }
}

/// Characters of a green thread's name that a report shows at most.
#[cfg(feature = "runtime")]
const MAX_NAME: usize = 64;

/// A line of text built without allocating; what does not fit is cut off.
pub(crate) struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line {
            bytes: [0; 512],
            len: 0,
        }
    }

    /// Appends a text.
    pub(crate) fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    /// Appends a name, on one line and not at such length that the rest finds no room.
    #[cfg(feature = "runtime")]
    pub(crate) fn name(&mut self, name: &str) {
        for (shown, character) in name.chars().enumerate() {
            let mut bytes = [0; 4];
            match character {
                _ if shown == MAX_NAME => return self.text("..."),
                _ if character.is_control() => self.text("?"),
                _ => self.text(character.encode_utf8(&mut bytes)),
            }
        }
    }

    /// Appends a number in decimal.
    pub(crate) fn number(&mut self, number: u64) {
        if number >= 10 {
            self.number(number / 10);
        }
        let digit = [b'0' + (number % 10) as u8];
        self.text(std::str::from_utf8(&digit).unwrap_or("?"));
    }

    fn write_to_stderr(&self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: the range is initialised; write is async-signal-safe.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written..],
                _ => break,
            }
        }
    }
}

/// An alternate signal stack for a thread that had none, with a guard page; removed when the thread ends.
struct AlternateStack {
    map: MmapMut,
}

impl AlternateStack {
    /// Installs one, unless the thread has one (std gives its own threads one) or memory for it cannot be had.
    fn install() -> Option<AlternateStack> {
        // SAFETY: stack_t is plain data for which zero is valid.
        let mut current: libc::stack_t = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: a null first argument only asks.
        unsafe { libc::sigaltstack(ptr::null(), &mut current) };
        if current.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        let guard = page_size();
        let size = AlternateStack::size().next_multiple_of(guard);
        let mut map = MmapMut::map_anon(guard + size).ok()?;
        let base = NonNull::new(map.as_mut_ptr())?;
        // SAFETY: the page is the start of the new mapping, and unused. Without a guard the stack serves as well.
        unsafe { libc::mprotect(base.as_ptr().cast(), guard, libc::PROT_NONE) };
        let new = libc::stack_t {
            ss_sp: base.as_ptr().wrapping_add(guard).cast(),
            ss_flags: 0,
            ss_size: size,
        };
        // SAFETY: the range is mapped until the thread's locals are destroyed, when Drop takes it out of use first.
        let result = unsafe { libc::sigaltstack(&new, ptr::null_mut()) };
        (result == 0).then_some(AlternateStack { map })
    }

    /// Room for the kernel's frame, which holds all vector registers, and for any handler we pass a fault on to.
    fn size() -> usize {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: getauxval only reads.
        let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let least = 0;
        least + libc::SIGSTKSZ.max(32 * 1024)
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: stack_t is plain data for which zero is valid.
        let mut current: libc::stack_t = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: a null first argument only asks.
        unsafe { libc::sigaltstack(ptr::null(), &mut current) };
        // Somebody may have put another one in its place since.
        if !self
            .map
            .as_ptr_range()
            .contains(&current.ss_sp.cast_const().cast())
        {
            return;
        }
        current.ss_flags = libc::SS_DISABLE;
        // SAFETY: takes the stack out of use before its memory goes; no handler runs on it, for this code does not.
        unsafe { libc::sigaltstack(&current, ptr::null_mut()) };
    }
}
