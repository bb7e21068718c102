//! Values on their way across a switch: in the register if they fit, otherwise by one copy out of the sender's frame.

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::ptr;

use crate::arch::Word;

/// A value that is being sent. It is not dropped here: the receiver takes it out.
pub(super) struct Parcel<T> {
    value: UnsafeCell<ManuallyDrop<T>>,
}

const fn fits_word<T>() -> bool {
    size_of::<T>() <= size_of::<Word>() && align_of::<T>() <= align_of::<Word>()
}

impl<T> Parcel<T> {
    #[inline(always)]
    pub(super) fn new(value: T) -> Parcel<T> {
        Parcel {
            value: UnsafeCell::new(ManuallyDrop::new(value)),
        }
    }

    /// The word that stands for the value: itself, or its address, which is good while the parcel stays where it is.
    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        if !fits_word::<T>() {
            return MaybeUninit::new(self.value.get().cast());
        }
        let mut word = Word::uninit();
        // SAFETY: the value fits a word in size and alignment; bytes that it does not initialise stay uninitialised in a
        // MaybeUninit.
        unsafe {
            ptr::copy_nonoverlapping(
                self.value.get().cast::<T>(),
                word.as_mut_ptr().cast::<T>(),
                1,
            )
        };
        word
    }
}

/// Takes a value out of its parcel.
///
/// # Safety
/// `word` is that of a `Parcel<T>` still in place, and each parcel is received at most once.
#[inline(always)]
pub(super) unsafe fn receive<T>(word: Word) -> T {
    if fits_word::<T>() {
        // SAFETY: `Parcel::word` put the bytes of a `T` at the start of the word.
        return unsafe { ptr::read(word.as_ptr().cast::<T>()) };
    }
    // SAFETY: the word of a larger value is an initialised pointer.
    let address = unsafe { word.assume_init() };
    // SAFETY: it points to the parcel's value, which the caller says is in place and is read once.
    unsafe { ptr::read(address.cast::<T>()) }
}
