//! Model of `runtime/migratable.rs`, with the memory orderings as they are: a migratable green thread that parks until its token comes, two
//! workers that may go on with it, and threads that wake it.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

const WOKEN: u32 = 1;
const PARKED: u32 = 1 << 31;

struct World {
    remote: AtomicU32,
    token: AtomicBool,
    /// The green thread's own stack: touched by the worker that runs it.
    frames: UnsafeCell<u32>,
    /// Written before `unpark`, read after `park`.
    message: UnsafeCell<u32>,
    /// A queue that all put into, and workers take from: whether it holds the `Runnable`.
    queued: AtomicBool,
    /// For the worker that waits for it.
    came: Notify,
}

// SAFETY: loom checks the accesses to the cells.
unsafe impl Sync for World {}

impl World {
    /// `Task::wake`.
    fn wake(&self) {
        // Looking would not do: with a load before this, loom finds a lost wake-up.
        let before = self.remote.fetch_or(WOKEN, Ordering::AcqRel);
        if before & WOKEN == 0 && before & PARKED != 0 {
            self.queue();
        }
    }

    fn unpark(&self) {
        if !self.token.swap(true, Ordering::Release) {
            self.wake();
        }
    }

    fn queue(&self) {
        let before = self.queued.swap(true, Ordering::Release);
        assert!(!before, "there is one `Runnable`");
        self.came.notify();
    }

    fn touch_frames(&self) {
        self.frames.with_mut(|frames| unsafe { *frames += 1 });
    }

    /// The green thread, from its resume until it suspends or ends; true, if it has ended. `resumed` says that it has parked before.
    fn run(&self, resumed: bool) -> bool {
        self.touch_frames();
        if resumed {
            self.remote.swap(0, Ordering::AcqRel);
        }
        loop {
            if self.token.load(Ordering::Relaxed) && self.token.swap(false, Ordering::Acquire) {
                self.message
                    .with(|message| assert_eq!(unsafe { *message }, 42));
                self.remote.fetch_or(WOKEN, Ordering::AcqRel);
                return true;
            }
            // `Task::take_woken`.
            if self.remote.load(Ordering::Relaxed) & WOKEN == 0 {
                return false;
            }
            self.remote.fetch_and(!WOKEN, Ordering::AcqRel);
        }
    }

    /// `Runnable::suspend_migratable`.
    fn park(&self) {
        self.touch_frames();
        // Nor would a store: one of the wake-ups would be written over.
        let parked = self
            .remote
            .compare_exchange(0, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if parked.is_err() {
            self.queue();
        }
    }

    /// A worker that goes on with it, perhaps after it has run it itself, until it has ended.
    fn work(&self) {
        loop {
            while !self.queued.swap(false, Ordering::Acquire) {
                self.came.wait();
            }
            if self.run(true) {
                return;
            }
            self.park();
        }
    }
}

fn model(spurious: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let world = Arc::new(World {
            remote: AtomicU32::new(0),
            token: AtomicBool::new(false),
            frames: UnsafeCell::new(0),
            message: UnsafeCell::new(0),
            queued: AtomicBool::new(false),
            came: Notify::new(),
        });
        let waker = world.clone();
        let waker = thread::spawn(move || {
            waker.message.with_mut(|message| unsafe { *message = 42 });
            waker.unpark();
        });
        let other = spurious.then(|| {
            let other = world.clone();
            thread::spawn(move || other.wake())
        });
        // It begins on one worker, and goes on on another one.
        if !world.run(false) {
            let next = world.clone();
            let next = thread::spawn(move || next.work());
            world.park();
            next.join().unwrap();
        }
        waker.join().unwrap();
        if let Some(other) = other {
            other.join().unwrap();
        }
    });
}

#[test]
fn it_goes_on_elsewhere_when_it_gets_its_token() {
    model(false);
}

#[test]
fn it_goes_on_elsewhere_among_other_wake_ups() {
    model(true);
}
