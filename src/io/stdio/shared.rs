//! Calls on descriptors that are shared with other programs, without changing their flags.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{BorrowedFd, RawFd};

use crate::io::sys::{self, View};
use crate::io::wait::until_ready;
use crate::reactor::Direction;
use crate::runtime::worker;
use crate::thread;

/// Lends out a standard stream's descriptor.
pub(super) fn standard(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: std lends them out for as long in the same way: nobody is to close the standard streams.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// What all handles and locks share: the descriptor, `Debug`.
macro_rules! descriptor {
    ($fd:path: $($handle:ident $(<$lifetime:lifetime>)?),*) => {$(
        impl std::os::fd::AsFd for $handle $(<$lifetime>)? {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                $crate::io::stdio::shared::standard($fd)
            }
        }

        impl std::os::fd::AsRawFd for $handle $(<$lifetime>)? {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                $fd
            }
        }

        impl std::fmt::Debug for $handle $(<$lifetime>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($handle)).finish_non_exhaustive()
            }
        }
    )*};
}

pub(super) use descriptor;

/// Reads what there is, suspending until there is something. A closed descriptor is empty, as std has it.
pub(super) fn read(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let read = call(fd, Direction::Read, |way| match way {
        Way::AtOnce => sys::read_at_once(fd, bufs, None),
        Way::Blocking => (&*View::new(fd)).read_vectored(bufs),
    });
    if is_closed(&read) { Ok(0) } else { read }
}

/// Writes as much as there is room for, suspending until there is some. A closed descriptor takes everything, as std has it.
pub(super) fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let written = call(fd, Direction::Write, |way| match way {
        Way::AtOnce => sys::write_at_once(fd, &[IoSlice::new(buf)]),
        Way::Blocking => (&*View::new(fd)).write(buf),
    });
    if is_closed(&written) {
        Ok(buf.len())
    } else {
        written
    }
}

fn is_closed<T>(result: &io::Result<T>) -> bool {
    let error = result.as_ref().err();
    error.and_then(io::Error::raw_os_error) == Some(libc::EBADF)
}

/// How a call is to be made.
enum Way {
    /// So that it answers `WouldBlock` instead of waiting, or `Unsupported`.
    AtOnce,
    Blocking,
}

/// Makes a call that may have to wait, without changing the descriptor's flags; see the module `stdio`.
fn call<R: Send>(
    fd: BorrowedFd<'_>,
    direction: Direction,
    mut call: impl FnMut(Way) -> io::Result<R> + Send,
) -> io::Result<R> {
    worker::spend();
    loop {
        match call(Way::AtOnce) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && can_be_waited_for(fd) => {
                until_ready(fd, direction, None)?;
                continue;
            }
            Err(error) if is_refused(&error) => {}
            done => return done,
        }
        let waits = can_be_waited_for(fd);
        if waits {
            until_ready(fd, direction, None)?;
        }
        match thread::blocking(|| call(Way::Blocking)) {
            // Somebody has set it to non-blocking, and somebody has been faster.
            Err(error) if error.kind() == ErrorKind::WouldBlock && waits => {}
            done => return done,
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Unsupported)
}

/// Tells of a descriptor whether the system will say when it is ready.
pub(super) fn can_be_waited_for(fd: BorrowedFd<'_>) -> bool {
    sys::kind(fd).is_ok_and(|kind| !sys::is_on_disk(kind))
}
