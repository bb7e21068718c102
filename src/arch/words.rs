//! Thread-local words that are never found at the address that another OS thread has them at.
//!
//! A compiler takes for granted that a function stays on its OS thread: it may keep the address of a `thread_local!` in a register or in the
//! frame, for all uses in the function. A green thread that may move ([`migratable`](crate::thread::Builder::migratable)) would come back from a
//! suspension and use the other thread's. So what corde itself reads or writes in functions that the compiler may inline into such green
//! threads is not a `thread_local!`, but lies here: inline assembly that is not `pure` finds it anew each time. (Everything
//! else thread-local is behind functions that are never inlined, and do not suspend.) It costs what a `thread_local!` does: in
//! an executable the linker makes of the descriptor a constant offset.
//!
//! Where there are no TLS descriptors, a function that is never inlined does the same.

#[cfg(corde_tls_descriptors)]
use super::imp;

/// A word of each OS thread, 0 at first.
pub(crate) struct ThreadWord<const INDEX: usize>;

/// The worker that it is.
#[cfg(feature = "runtime")]
pub(crate) static WORKER: ThreadWord<0> = ThreadWord;

/// The bounds of the stack that was asked for last.
pub(crate) static KNOWN_BOTTOM: ThreadWord<1> = ThreadWord;
pub(crate) static KNOWN_END: ThreadWord<2> = ThreadWord;

/// Whether its overflows are reported.
pub(crate) static PROTECTED: ThreadWord<3> = ThreadWord;

#[cfg(corde_tls_descriptors)]
impl<const INDEX: usize> ThreadWord<INDEX> {
    #[inline(always)]
    pub(crate) fn get(&self) -> usize {
        imp::word::<INDEX>()
    }

    #[inline(always)]
    pub(crate) fn set(&self, word: usize) {
        imp::set_word::<INDEX>(word);
    }
}

#[cfg(not(corde_tls_descriptors))]
thread_local! {
    static WORDS: [std::cell::Cell<usize>; 4] = const { [const { std::cell::Cell::new(0) }; 4] };
}

#[cfg(not(corde_tls_descriptors))]
impl<const INDEX: usize> ThreadWord<INDEX> {
    #[inline(never)]
    pub(crate) fn get(&self) -> usize {
        WORDS.with(|words| words[INDEX].get())
    }

    #[inline(never)]
    pub(crate) fn set(&self, word: usize) {
        WORDS.with(|words| words[INDEX].set(word));
    }
}
