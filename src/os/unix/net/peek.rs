//! Peeking, which std has not stabilised for Unix domain sockets.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use socket2::{SockAddr, SockRef};

/// A buffer, for calls that also take one that is not initialised.
fn maybe_uninit(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let pointer: *mut [u8] = buf;
    // SAFETY: same layout, and borrowed for as long. The calls here write initialised bytes alone, as socket2 promises for them.
    unsafe { &mut *(pointer as *mut [MaybeUninit<u8>]) }
}

/// Receives without taking the data off the queue.
///
/// # Errors
/// Those of the system.
pub(super) fn peek(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    SockRef::from(socket).peek(maybe_uninit(buf))
}

/// Receives without taking the data off the queue, and tells from whom it is.
///
/// # Errors
/// Those of the system.
pub(super) fn peek_from(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    SockRef::from(socket).peek_from(maybe_uninit(buf))
}
