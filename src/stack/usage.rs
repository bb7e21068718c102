//! How much of a stack was used.

use std::ptr::NonNull;

use super::page_size;

/// Bytes from the lowest one that was used up to `top`, as far as resident pages and non-zero bytes tell.
pub(super) fn high_water(bottom: NonNull<u8>, top: NonNull<u8>) -> usize {
    let (start, end) = (bottom.as_ptr() as usize, top.as_ptr() as usize);
    let pages = (end - start).div_ceil(page_size());
    let mut resident = vec![0; pages];
    // SAFETY: the stack begins at a page and is mapped up to the end of the page that its top is in (slab.rs); the vector has a byte for
    // each of these pages.
    let result = unsafe {
        libc::mincore(
            bottom.as_ptr().cast(),
            pages * page_size(),
            resident.as_mut_ptr().cast(),
        )
    };
    if result != 0 {
        return 0;
    }
    let Some(lowest) = resident.iter().position(|&state| state & 1 != 0) else {
        return 0;
    };
    let page = start + lowest * page_size();
    let words = (page..end.min(page + page_size())).step_by(size_of::<usize>());
    let used = words.take_while(|&address| {
        let word = bottom
            .as_ptr()
            .wrapping_add(address - start)
            .cast::<usize>();
        // SAFETY: the address is aligned and on the stack, which is mapped, and on which nobody runs: that takes a mutable
        // borrow of it, or of the coroutine that has it.
        let value = unsafe { word.read_volatile() };
        value == 0
    });
    end - (page + used.count() * size_of::<usize>()).min(end)
}
