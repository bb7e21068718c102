//! What makes the pages below a stack fault: guard markers where the kernel has them, `mprotect` elsewhere.
//!
//! `madvise(MADV_GUARD_INSTALL)` (Linux 6.13) writes a marker into the page table and leaves the mapping whole; `mprotect`
//! splits the mapping, so a stack costs two of the process's `vm.max_map_count`.

use std::env;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::page_size;

/// How guards are made in this process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// `madvise(MADV_GUARD_INSTALL)`: no mapping is split.
    Marker,
    /// `mprotect(PROT_NONE)`: two mappings a stack.
    Protect,
}

/// Mappings left to the rest of the process when guards are made with `mprotect`. Past the system's limit malloc fails,
/// too, so the error has to come well before.
const MAPPINGS_KEPT_FREE: usize = 8192;

/// Guards made with `mprotect` so far; they are never taken back.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// Makes every access to the `bytes` from `start` fault.
///
/// # Safety
/// They are whole pages of a private anonymous mapping which nothing uses.
pub(super) unsafe fn install(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    if mode() == Mode::Marker {
        // SAFETY: passed on.
        if unsafe { install_marker(start, bytes) } {
            return Ok(());
        }
        // Locked memory (mlockall) takes no markers: mprotect does.
    }
    // SAFETY: passed on.
    unsafe { install_protection(start, bytes) }
}

fn mode() -> Mode {
    static MODE: OnceLock<Mode> = OnceLock::new();
    *MODE.get_or_init(|| {
        let forced = env::var_os("CORDE_STACK_GUARD").is_some_and(|value| value == "mprotect");
        if !forced && markers_fault() {
            Mode::Marker
        } else {
            Mode::Protect
        }
    })
}

/// Tells whether the kernel has guard markers that really fault: some emulators answer "done" to any advice.
fn markers_fault() -> bool {
    let Ok(mut map) = memmap2::MmapMut::map_anon(page_size()) else {
        return false;
    };
    let page = NonNull::new(map.as_mut_ptr()).expect("a mapping is not at null");
    // SAFETY: the page is this function's own, and its only use from here on is by the kernel.
    if !unsafe { install_marker(page, page_size()) } {
        return false;
    }
    kernel_write_faults(page)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn install_marker(start: NonNull<u8>, bytes: usize) -> bool {
    const MADV_GUARD_INSTALL: libc::c_int = 102;
    // SAFETY: the caller gives pages that nothing uses, so that nothing is lost when the advice drops their contents.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, MADV_GUARD_INSTALL) == 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn install_marker(_start: NonNull<u8>, _bytes: usize) -> bool {
    false
}

/// Tells whether the kernel, asked to write to `page`, answers that it cannot.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn kernel_write_faults(page: NonNull<u8>) -> bool {
    // SAFETY: the page belongs to the caller, and a byte written there harms nobody; a fault comes back as an error.
    let written = unsafe { libc::getrandom(page.as_ptr().cast(), 1, 0) };
    written < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn kernel_write_faults(_page: NonNull<u8>) -> bool {
    false
}

unsafe fn install_protection(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    let made = PROTECTED.fetch_add(1, Ordering::Relaxed);
    let result = match mapping_limit() {
        Some(limit) if made >= limit.saturating_sub(MAPPINGS_KEPT_FREE) / 2 => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            too_many(made, &format!(" = {limit}")),
        )),
        // SAFETY: the caller gives pages that nothing uses.
        _ => match unsafe { libc::mprotect(start.as_ptr().cast(), bytes, libc::PROT_NONE) } {
            0 => Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", too_many(made, "")),
                ))
            }
        },
    };
    if result.is_err() {
        PROTECTED.fetch_sub(1, Ordering::Relaxed);
    }
    result
}

fn too_many(made: usize, limit: &str) -> String {
    format!(
        "cannot guard another stack: {made} stacks have guard pages made with mprotect, each takes 2 of the process's \
         memory mappings, and vm.max_map_count{limit} limits those (raise it: sysctl -w vm.max_map_count=1048576; \
         Linux 6.13 and later needs no mappings for guards)"
    )
}

/// The system's limit on mappings, where it has one.
fn mapping_limit() -> Option<usize> {
    static LIMIT: OnceLock<Option<usize>> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()?
            .trim()
            .parse()
            .ok()
    })
}
