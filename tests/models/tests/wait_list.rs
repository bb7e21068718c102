//! Model of `runtime/wait_list.rs`, with the memory orderings as they are (its lock is loom's): a green thread waits in a list with a node in its
//! frame, perhaps gives up; another OS thread grants it a value and wakes it. Then the waiter ends, with its frame.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

/// `Node`, and the frame that it lies in.
struct Node {
    granted: AtomicBool,
    value: UnsafeCell<u32>,
    /// Whether it is there still.
    frame: UnsafeCell<bool>,
}

/// `Task`, of which the waiter has one count, until it ends.
struct Task {
    references: AtomicUsize,
    memory: UnsafeCell<bool>,
    wake: Notify,
}

impl Task {
    fn count(&self) {
        self.memory.with(|alive| assert!(unsafe { *alive }));
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self) {
        if self.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.memory.with_mut(|alive| unsafe { *alive = false });
        }
    }
}

struct World {
    /// Whether the node is in the list.
    linked: Mutex<bool>,
    node: Node,
    task: Task,
}

// SAFETY: loom checks the accesses to the cells.
unsafe impl Sync for World {}
// SAFETY: as for Sync.
unsafe impl Send for World {}

/// When whoever grants makes sure that the thread stays alive until it has been woken.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    BeforeGranting,
    AfterGranting,
}

impl World {
    /// `WaitList::grant_first` and `Wake::wake`; returns whether there was a node.
    fn grant(&self, counts: Counts) -> bool {
        let mut linked = self.linked.lock().unwrap();
        let granted = std::mem::replace(&mut *linked, false);
        if granted {
            self.node.frame.with(|there| assert!(unsafe { *there }));
            self.node.value.with_mut(|value| unsafe { *value = 42 });
            if counts == Counts::BeforeGranting {
                self.task.count();
            }
            self.node.granted.store(true, Ordering::Release);
            if counts == Counts::AfterGranting {
                self.task.count();
            }
        }
        drop(linked);
        if granted {
            self.task.wake.notify();
            self.task.release();
        }
        granted
    }

    fn is_granted(&self) -> bool {
        self.node.granted.load(Ordering::Acquire)
    }

    /// `wait` with the node in the list, after which the thread ends; returns whether it was granted.
    fn wait(&self, gives_up: bool) -> bool {
        let granted = loop {
            if self.is_granted() {
                break true;
            }
            if gives_up {
                // `Linked::unlink`.
                let mut linked = self.linked.lock().unwrap();
                let granted = self.is_granted();
                *linked &= granted;
                break granted;
            }
            self.task.wake.wait();
        };
        if granted {
            self.node
                .value
                .with(|value| assert_eq!(unsafe { *value }, 42));
        }
        self.node.frame.with_mut(|there| unsafe { *there = false });
        self.task.release();
        granted
    }
}

fn model(counts: Counts, gives_up: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let world = Arc::new(World {
            linked: Mutex::new(true),
            node: Node {
                granted: AtomicBool::new(false),
                value: UnsafeCell::new(0),
                frame: UnsafeCell::new(true),
            },
            task: Task {
                references: AtomicUsize::new(1),
                memory: UnsafeCell::new(true),
                wake: Notify::new(),
            },
        });
        let waits = world.clone();
        let waits = thread::spawn(move || waits.wait(gives_up));
        let granted = world.grant(counts);
        assert!(granted || gives_up);
        assert_eq!(waits.join().unwrap(), granted, "both know the same");
    });
}

#[test]
fn what_is_granted_is_got() {
    model(Counts::BeforeGranting, false);
}

#[test]
fn what_is_granted_is_got_by_one_that_gives_up() {
    model(Counts::BeforeGranting, true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_thread_that_is_counted_too_late_may_be_gone() {
    model(Counts::AfterGranting, false);
}
