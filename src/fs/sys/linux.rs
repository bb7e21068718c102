//! Linux: `preadv2` with `RWF_NOWAIT`.

use std::ffi::c_long;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

pub(in crate::fs) fn read_cached(
    file: &File,
    buf: &mut [u8],
    offset: Option<u64>,
) -> io::Result<usize> {
    // To the system -1 is the cursor, and what is negative otherwise is an error that std tells of.
    let offset = match offset.map(c_long::try_from) {
        None => -1,
        Some(Ok(offset)) => offset,
        Some(Err(_)) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // The C library's own function is not in each that std runs with. On 64 bits the second half of the offset counts for nothing.
    // SAFETY: what is written to is `buf`, which is ours until the call returns.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            c_long::from(file.as_raw_fd()),
            &raw const part,
            1 as c_long,
            offset,
            0 as c_long,
            c_long::from(libc::RWF_NOWAIT),
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

pub(in crate::fs) fn is_direct(file: &File) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    // An error is -1: then it is not known, and taken for true.
    flags & libc::O_DIRECT != 0
}
