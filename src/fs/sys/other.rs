//! Systems that cannot tell what they have in memory.

use std::fs::File;
use std::io;

pub(in crate::fs) fn read_cached(
    _file: &File,
    _buf: &mut [u8],
    _offset: Option<u64>,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::fs) fn is_direct(_file: &File) -> bool {
    false
}
