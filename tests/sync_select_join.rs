//! `select!` over the ends of green threads.
#![cfg(feature = "runtime")]

mod util;

use std::rc::Rc;
use std::time::Duration;

use corde::sync::channel::{after, bounded, never};
use corde::{go, select, thread};
use rstest::rstest;
use util::LIMIT;

#[rstest]
#[timeout(LIMIT)]
fn a_green_thread_that_ends_is_selected_with_its_result() {
    let (sender, receiver) = bounded::<()>(0);
    let mut thread = go!({ receiver.recv().is_err() });
    drop(sender);
    let disconnected = select! {
        join(thread) -> result => result.unwrap(),
        recv(never::<()>()) -> _ => false,
    };
    assert!(disconnected);
}

#[rstest]
#[timeout(LIMIT)]
fn its_panic_is_the_result() {
    let mut thread = go!({
        std::panic::resume_unwind(Box::new("gone"));
    });
    let payload = select! { join(thread) -> result => result.unwrap_err() };
    assert_eq!(payload.downcast_ref(), Some(&"gone"));
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_does_not_end_stays_joinable() {
    let (sender, receiver) = bounded(0);
    let mut thread = go!({ receiver.recv().unwrap() });
    for _ in 0..3 {
        select! {
            join(thread) => panic!("it waits"),
            recv(after(Duration::from_millis(1))) -> _ => {}
        }
        select! {
            join(thread) => panic!("it waits"),
            default => {}
        }
    }
    sender.send(7).unwrap();
    assert_eq!(thread.join().unwrap(), 7);
}

#[rstest]
#[timeout(LIMIT)]
fn the_first_of_several_is_taken_on_os_threads_and_green_ones(#[values(false, true)] green: bool) {
    let first_of_two = || {
        let (quit, wait) = bounded::<()>(0);
        let mut slow = go!({ wait.recv().is_err() });
        let mut quick = go!(|| 1);
        let first = select! {
            join(slow) -> _ => 0,
            join(quick) -> result => result.unwrap(),
        };
        drop(quit);
        first
    };
    let first = if green {
        corde::run(first_of_two)
    } else {
        first_of_two()
    };
    assert_eq!(first, 1);
}

#[rstest]
#[timeout(LIMIT)]
fn handles_of_scopes_local_ones_and_of_blocking_closures_are_selected() {
    let word = String::from("borrowed");
    corde::run(move || {
        let length = thread::scope(|scope| {
            let mut child = scope.spawn(|| word.len());
            select! {
                join(child) -> result => result.unwrap(),
                recv(never::<()>()) -> _ => 0,
            }
        });
        assert_eq!(length, 8);
        let failed: Result<(), ()> = thread::try_scope(|scope| {
            let mut child = scope.spawn(|| Err::<(), ()>(()));
            select! {
                join(child) => {}
                recv(never::<()>()) -> _ => {}
            }
            Ok(())
        });
        assert_eq!(failed, Err(()));
        let count = Rc::new(6);
        let theirs = count.clone();
        let mut local = thread::spawn_local(move || *theirs + 1);
        let (sender, receiver) = bounded::<()>(0);
        let mut blocked = thread::spawn_blocking(move || receiver.recv().is_err());
        let first = select! {
            join(local) -> result => result.unwrap(),
            join(blocked) => panic!("it waits"),
        };
        assert_eq!((first, *count), (7, 6));
        drop(sender);
        let second = select! {
            join(blocked) -> result => result.unwrap(),
            recv(never::<()>()) -> _ => false,
        };
        assert!(second);
    });
}
