//! What is done with an open file on the worker's own OS thread, as it cannot wait there.
//!
//! A hand-off to the blocking pool and back takes 7 us at the best, and 20 to 50 us if an OS thread sleeps on another processor; a read of 8 KiB
//! that the system has in memory takes 0.9 us, and moving the cursor 0.2 us. Asking in vain adds 0.3 us to a hand-off.
//!
//! # What could wait after all
//!
//! * A read that goes past the memory (`O_DIRECT`) waits for the device, whatever it is told: such files are left alone.
//! * Of two calls that use the cursor of a regular file the second waits in the kernel for the first. So those are only made in place while
//!   none is under way in the pool. This does not see calls on another handle of the same open file (`try_clone`), nor one that
//!   begins at the same instant: there a worker waits for as long as the other read does.
//!
//! # Rejected
//!
//! - **Writing in place.** ext4 cannot tell, and what it is told by others changes from kernel to kernel.
//! - **`fstat`, or `lseek` to the end, in place.** Both ask the server of a network file system, and whether it is one takes another call.
//! - **Filling up with a hand-off what was read in part.** Two reads are not one: another thread's could come between.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::io::sys;
use crate::runtime::worker;

/// Nothing is known yet.
const UNTRIED: u8 = 0;
/// Nothing speaks against it. Set by the first read.
const TRIED: u8 = 1;
/// The system cannot tell, or would wait. Set by any read, and for good.
const NEVER: u8 = 2;

/// The longest read that is made in place. Copying as much takes 1.5 us, and so as long as all else that a read costs; with 128 such reads
/// a turn of a green thread takes 0.2 ms. To four times as much a hand-off adds no more than the copy takes.
const LONGEST: usize = 64 * 1024;

/// What is known of an open file. All of it is hints, which order nothing.
pub(super) struct InPlace {
    reads: AtomicU8,
    /// Calls that are under way in the pool, or on OS threads.
    away: AtomicU32,
}

impl InPlace {
    pub(super) const fn new() -> InPlace {
        InPlace {
            reads: AtomicU8::new(UNTRIED),
            away: AtomicU32::new(0),
        }
    }

    /// For another handle of the same open file.
    pub(super) fn of_clone(&self) -> InPlace {
        InPlace {
            reads: AtomicU8::new(self.reads.load(Ordering::Relaxed)),
            away: AtomicU32::new(0),
        }
    }

    /// Notes a call that is not made in place, until its end.
    pub(super) fn away(&self) -> Away<'_> {
        self.away.fetch_add(1, Ordering::Relaxed);
        Away(&self.away)
    }

    /// Whether a call that uses the cursor, and otherwise does not wait, does not wait for another one either.
    pub(super) fn may_use_cursor(&self) -> bool {
        self.away.load(Ordering::Relaxed) == 0
    }

    /// Reads at `offset`, or at the cursor, what is there without waiting: at least a byte. None, if that has to be left to others.
    pub(super) fn read(&self, file: &File, buf: &mut [u8], offset: Option<u64>) -> Option<usize> {
        if buf.len() > LONGEST || worker::current_green().is_none() || !self.may_read(file) {
            return None;
        }
        worker::spend();
        if offset.is_none() && !self.may_use_cursor() {
            return None;
        }
        match sys::read_at_once(file.as_fd(), &mut [IoSliceMut::new(buf)], offset) {
            // Linux 5.9 and 5.10 say so at the end of what is in memory: who can wait finds out.
            Ok(0) => None,
            Ok(read) => Some(read),
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.reads.store(NEVER, Ordering::Relaxed);
                }
                None
            }
        }
    }

    fn may_read(&self, file: &File) -> bool {
        match self.reads.load(Ordering::Relaxed) {
            UNTRIED => {
                let may = !sys::is_direct(file.as_fd());
                self.reads
                    .store(if may { TRIED } else { NEVER }, Ordering::Relaxed);
                may
            }
            tried => tried == TRIED,
        }
    }
}

/// A call that is under way.
pub(super) struct Away<'a>(&'a AtomicU32);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
