//! How much of a stack was used.

use std::ptr::NonNull;

use super::page_size;

/// Bytes from the lowest page that is resident up to `top`.
pub(super) fn high_water(bottom: NonNull<u8>, top: NonNull<u8>) -> usize {
    let bytes = top.as_ptr() as usize - bottom.as_ptr() as usize;
    let pages = bytes.div_ceil(page_size());
    let mut resident = vec![0_u8; pages];
    let end = pages * page_size();
    // SAFETY: the stack begins at a page and is mapped up to the end of the page that its top is in (slab.rs); the vector has
    // a byte for each of these pages.
    let result =
        unsafe { libc::mincore(bottom.as_ptr().cast(), end, resident.as_mut_ptr().cast()) };
    let lowest = resident.iter().position(|&state| state & 1 != 0);
    match lowest {
        Some(page) if result == 0 => bytes - page * page_size(),
        _ => 0,
    }
}
