//! A process that was forked has no workers: using corde in it is a panic and no hang.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use corde::thread;
use rstest::rstest;
use util::{child, net};

/// Forks; returns whether `f` panics in the child, which ends with it, and says why.
///
/// The child answers through a socket: its exit code is Valgrind's, which counts as lost what the threads had that are no more.
fn is_told_in_fork(f: impl FnOnce()) -> bool {
    let (mut parent, mut child) = UnixStream::pair().unwrap();
    // SAFETY: the child only runs `f`, whose panics end there, and leaves without destructors.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let is_told = catch_unwind(AssertUnwindSafe(f)).is_err_and(|panic| {
            panic
                .downcast_ref::<&str>()
                .is_some_and(|it| it.contains("child of a fork"))
        });
        let _ = child.write_all(&[u8::from(is_told)]);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    drop(child);
    let mut answer = [0];
    // A child that ends without an answer is not told.
    let _ = parent.read_exact(&mut answer);
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    answer == [1]
}

#[rstest]
#[case::spawn("case_1_spawn", || drop(corde::go!(|| ())))]
#[case::run("case_2_run", || corde::run(|| ()))]
#[case::park("case_3_park", corde::thread::park)]
#[case::sleep("case_4_sleep", || corde::thread::sleep(std::time::Duration::from_secs(1)))]
fn the_child_of_a_fork_is_told_that_it_has_no_workers(#[case] name: &str, #[case] call: fn()) {
    let test = format!("the_child_of_a_fork_is_told_that_it_has_no_workers::{name}");
    child::run(&test, &[], || {
        corde::run(|| ());
        assert!(is_told_in_fork(call));
        // The parent goes on.
        assert_eq!(corde::run(|| 7), 7);
    })
    .assert_success();
}

#[rstest]
#[case::park("case_1_park", corde::thread::park)]
#[case::spawn("case_2_spawn", || drop(corde::go!(|| ())))]
fn a_green_thread_that_forks_is_told_so_in_the_child(#[case] name: &str, #[case] call: fn()) {
    let test = format!("a_green_thread_that_forks_is_told_so_in_the_child::{name}");
    child::run(&test, &[], || {
        corde::run(move || {
            assert!(is_told_in_fork(call));
            assert_eq!(corde::go!(|| 7).join().unwrap(), 7);
        });
    })
    .assert_success();
}

#[test]
fn a_socket_that_is_dropped_in_the_child_stays_the_parents() {
    let test = "a_socket_that_is_dropped_in_the_child_stays_the_parents";
    child::run(test, &[("CORDE_WORKERS", "1")], || {
        corde::run(|| {
            let (mut near, mut far) = net::pair();
            let _clone = near.try_clone().unwrap();
            let reading = thread::spawn(move || {
                near.read_exact(&mut [0]).unwrap();
                near
            });
            // It waits.
            (0..10).for_each(|_| thread::yield_now());
            far.write_all(b"1").unwrap();
            let mut near = Some(reading.join().unwrap());
            assert!(!is_told_in_fork(|| drop(near.take())));
            let mut near = near.unwrap();
            let reading = thread::spawn(move || near.read_exact(&mut [0]).unwrap());
            (0..10).for_each(|_| thread::yield_now());
            far.write_all(b"2").unwrap();
            reading.join().unwrap();
        });
    })
    .assert_success();
}
