//! Backtraces across a switch, for those who walk along frame pointers alone (perf does).
//!
//! Only code built with `-C force-frame-pointers=yes` keeps such a chain: `.ci/backtraces` runs this so.
#![cfg(frame_pointers)]

use std::arch::asm;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};

/// A saved frame pointer and a return address, as each function pushes them.
#[repr(C)]
struct Record {
    caller: *const Record,
    _return_address: usize,
}

/// The record of the function that this is inlined into.
#[inline(always)]
fn here() -> *const Record {
    let record;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, rbp", out(reg) record, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mov {}, x29", out(reg) record, options(nomem, nostack, preserves_flags));
    }
    record
}

/// Tells whether the chain that begins at `record` passes through `wanted` within a hundred frames.
fn leads_to(mut record: *const Record, wanted: *const Record) -> bool {
    for _ in 0..100 {
        if record == wanted {
            return true;
        }
        if record.is_null() || !record.is_aligned() {
            return false;
        }
        // SAFETY: all code here keeps the chain, so a record that is not the last one is in a frame of a caller.
        record = unsafe { (*record).caller };
    }
    false
}

/// Resumes from a frame of its own; returns whether the coroutine's chain led to it, and where it was.
#[inline(never)]
fn resume(coroutine: &mut Coroutine<*const Record, bool, ()>) -> (bool, *const Record) {
    let mine = here();
    let linked = coroutine.resume(mine) == CoroutineResult::Yield(true);
    (linked, mine)
}

#[inline(never)]
fn from_further_down(coroutine: &mut Coroutine<*const Record, bool, ()>) -> (bool, *const Record) {
    let padding = std::hint::black_box([0_u8; 300]);
    let result = resume(coroutine);
    std::hint::black_box(padding);
    result
}

#[inline(never)]
fn deeper(yielder: &Yielder<*const Record, bool>, resumer: *const Record) -> *const Record {
    yielder.suspend(leads_to(here(), resumer))
}

#[test]
fn the_chain_of_frame_pointers_leads_from_the_coroutine_to_its_latest_resumer() {
    let mut coroutine = Coroutine::new(|yielder: &Yielder<*const Record, bool>, first| {
        let second = deeper(yielder, first);
        deeper(yielder, second);
    })
    .unwrap();
    let (linked, first) = resume(&mut coroutine);
    assert!(linked);
    let (linked, second) = from_further_down(&mut coroutine);
    assert!(linked);
    assert_ne!(first, second);
}
