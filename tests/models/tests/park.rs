//! Model of `runtime/task.rs`, `inbox.rs` and `Reactor::sleep`/`notify`, with the memory orderings as they are: one worker, one green
//! thread that parks until its token comes, one thread that unparks it, one that wakes it for nothing.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Notify};
use loom::thread;

const AWAKE: u8 = 0;
const NOTIFIED: u8 = 1;
const PARKED: u8 = 2;
const PARKED_IN_PLACE: u8 = 3;

struct World {
    state: AtomicU8,
    token: AtomicBool,
    home: AtomicUsize,
    /// Touched by the holder of the `Runnable` only.
    stage: UnsafeCell<u32>,
    /// Written before `unpark`, read after `park`.
    message: UnsafeCell<u32>,
    /// The inbox: whether it holds the one `Runnable`.
    inbox: AtomicBool,
    asleep: AtomicBool,
    eventfd: Notify,
}

// SAFETY: loom checks the accesses to the cells.
unsafe impl Sync for World {}

impl World {
    fn wake(&self) {
        match self.state.swap(NOTIFIED, Ordering::AcqRel) {
            PARKED => {
                assert_eq!(self.home.load(Ordering::Relaxed), 7);
                // The `Runnable` is ours, and so is the stage.
                self.stage.with_mut(|stage| unsafe { *stage += 1 });
                assert!(
                    !self.inbox.swap(true, Ordering::SeqCst),
                    "there is one Runnable"
                );
                self.notify();
            }
            PARKED_IN_PLACE => {
                assert_eq!(self.home.load(Ordering::Relaxed), 7);
                self.notify();
            }
            _ => {}
        }
    }

    fn unpark(&self) {
        if !self.token.swap(true, Ordering::Release) {
            self.wake();
        }
    }

    fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.eventfd.notify();
        }
    }

    fn sleep(&self, work: impl FnOnce() -> bool) {
        // A store in corde; see `search.rs`.
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if !work() {
            self.eventfd.wait();
        }
        self.asleep.store(false, Ordering::Relaxed);
    }

    fn take_notification(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
            && self.state.swap(AWAKE, Ordering::Acquire) == NOTIFIED
    }

    /// `Worker::park`, with the worker's side of the switch inlined: returns when the green thread would run again.
    fn park(&self) {
        if self.take_notification() {
            return;
        }
        self.stage.with_mut(|stage| unsafe { *stage += 1 });
        if self
            .state
            .compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            loop {
                if self.inbox.load(Ordering::Relaxed) && self.inbox.swap(false, Ordering::Acquire) {
                    break;
                }
                self.sleep(|| self.inbox.load(Ordering::SeqCst));
            }
        }
        self.stage.with_mut(|stage| unsafe { *stage += 1 });
        self.take_notification();
    }

    fn park_in_place(&self) {
        if self
            .state
            .compare_exchange(AWAKE, PARKED_IN_PLACE, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            self.take_notification();
            return;
        }
        while !self.take_notification() {
            self.sleep(|| self.state.load(Ordering::SeqCst) == NOTIFIED);
        }
    }
}

fn model(in_place: bool, spurious: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let world = Arc::new(World {
            state: AtomicU8::new(AWAKE),
            token: AtomicBool::new(false),
            home: AtomicUsize::new(usize::MAX),
            stage: UnsafeCell::new(0),
            message: UnsafeCell::new(0),
            inbox: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            eventfd: Notify::new(),
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
        world.home.store(7, Ordering::Relaxed);
        while !world.token.swap(false, Ordering::Acquire) {
            if in_place {
                world.park_in_place();
            } else {
                world.park();
            }
        }
        world
            .message
            .with(|message| assert_eq!(unsafe { *message }, 42));
        waker.join().unwrap();
        if let Some(other) = other {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_parked_green_thread_gets_its_token() {
    model(false, false);
}

#[test]
fn a_parked_green_thread_gets_its_token_among_other_wake_ups() {
    model(false, true);
}

#[test]
fn a_green_thread_parked_in_place_gets_its_token_among_other_wake_ups() {
    model(true, true);
}
