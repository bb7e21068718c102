//! Model of `runtime/task.rs`, `inbox.rs` and `Reactor::sleep`/`notify`, with the memory orderings as they are: one worker, one green
//! thread that parks until its token comes and then ends, one thread that unparks it, one that wakes it for nothing, perhaps after its end.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::sync::{Arc, Notify};
use loom::thread;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Awake,
    Notified,
    Parked,
    Ended,
}

const WOKEN: u32 = 1;
const HOME: u32 = 2;

struct World {
    remote: AtomicU32,
    token: AtomicBool,
    /// Touched on the home's OS thread only; before the start, by it as well here.
    state: UnsafeCell<State>,
    /// Written before `unpark`, read after `park`.
    message: UnsafeCell<u32>,
    /// The runtime, which ends when the task has ended; whoever puts something into the inbox uses it until then. (The rest of a wake-up
    /// concerns the reactor, which is counted.)
    runtime: UnsafeCell<&'static str>,
    /// The inbox: whether it holds the task.
    inbox: AtomicBool,
    asleep: AtomicBool,
    eventfd: Notify,
}

// SAFETY: loom checks the accesses to the cells.
unsafe impl Sync for World {}

impl World {
    /// `Task::wake_from_afar`.
    fn wake(&self) {
        let before = self.remote.fetch_or(WOKEN, Ordering::AcqRel);
        if before & WOKEN != 0 || before & HOME == 0 {
            return;
        }
        self.runtime
            .with(|runtime| assert_eq!(unsafe { *runtime }, "alive"));
        assert!(
            !self.inbox.swap(true, Ordering::SeqCst),
            "it is in the inbox once"
        );
        self.notify();
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

    fn state(&self) -> State {
        self.state.with(|state| unsafe { *state })
    }

    fn set_state(&self, new: State) {
        self.state.with_mut(|state| unsafe { *state = new });
    }

    /// `Runnable::start`.
    fn start(&self) {
        if self.remote.swap(HOME, Ordering::AcqRel) & WOKEN != 0 {
            self.set_state(State::Notified);
        }
    }

    fn take_notification(&self) -> bool {
        let notified = self.state() == State::Notified;
        if notified {
            self.set_state(State::Awake);
        }
        notified
    }

    /// Empties the inbox; returns whether the task has ended and its last message has come.
    fn accept_inbox(&self) -> bool {
        if !self.inbox.load(Ordering::Relaxed) || !self.inbox.swap(false, Ordering::Acquire) {
            return false;
        }
        match self.state() {
            State::Ended => return true,
            State::Awake | State::Parked => self.set_state(State::Notified),
            State::Notified => {}
        }
        // In corde this comes first; nothing on this thread tells the difference.
        self.remote.fetch_and(!WOKEN, Ordering::AcqRel);
        false
    }

    /// `Worker::park` and the worker's loop: returns when the green thread would run again.
    fn park(&self, in_place: bool) {
        if self.take_notification() {
            return;
        }
        if !in_place {
            self.set_state(State::Parked);
        }
        while self.state() != State::Notified {
            self.accept_inbox();
            if self.state() != State::Notified {
                self.sleep(|| self.inbox.load(Ordering::SeqCst));
            }
        }
        self.take_notification();
    }

    /// `Runnable::finish`, and the worker until it may end.
    fn finish(&self) {
        self.set_state(State::Ended);
        if self.remote.fetch_or(WOKEN, Ordering::AcqRel) & WOKEN != 0 {
            while !self.accept_inbox() {
                self.sleep(|| self.inbox.load(Ordering::SeqCst));
            }
        }
        self.runtime
            .with_mut(|runtime| unsafe { *runtime = "gone" });
    }
}

fn model(in_place: bool, spurious: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let world = Arc::new(World {
            remote: AtomicU32::new(0),
            token: AtomicBool::new(false),
            state: UnsafeCell::new(State::Awake),
            message: UnsafeCell::new(0),
            runtime: UnsafeCell::new("alive"),
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
        world.start();
        while !world.token.swap(false, Ordering::Acquire) {
            world.park(in_place);
        }
        world
            .message
            .with(|message| assert_eq!(unsafe { *message }, 42));
        world.finish();
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
