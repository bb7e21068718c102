//! Disorder on purpose: with `--cfg corde_chaos` the scheduler now and then does what it may do but seldom does, so that stress tests meet it.
//! Without, there is nothing left of it.

/// Returns true once in so many times, at random; never without `--cfg corde_chaos`.
#[inline(always)]
pub(super) fn once_in(times: u32) -> bool {
    imp::once_in(times)
}

#[cfg(not(corde_chaos))]
mod imp {
    #[inline(always)]
    pub(super) fn once_in(_times: u32) -> bool {
        false
    }
}

#[cfg(corde_chaos)]
mod imp {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// `CORDE_CHAOS` in the environment, so that a run can be had again, as far as the system's own schedule allows.
    fn seed() -> u64 {
        static SEED: OnceLock<u64> = OnceLock::new();
        *SEED.get_or_init(|| {
            let text = std::env::var("CORDE_CHAOS").unwrap_or_default();
            text.parse().unwrap_or(1)
        })
    }

    // The thread-local must not be found before a suspension that is between two calls.
    #[inline(never)]
    pub(super) fn once_in(times: u32) -> bool {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            static STATE: Cell<u64> = const { Cell::new(0) };
        }
        STATE.with(|state| {
            if state.get() == 0 {
                let thread = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
                state
                    .set((seed() ^ thread.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            }
            // Marsaglia's xorshift (2003).
            let mut next = state.get();
            next ^= next << 13;
            next ^= next >> 7;
            next ^= next << 17;
            state.set(next);
            next % u64::from(times) == 0
        })
    }
}
