//! A process that was forked has no workers: using corde in it is a panic and no hang.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rstest::rstest;
use util::child;

/// Forks; tells what `f` panicked with in the child, which ends with it.
fn in_fork(f: impl FnOnce()) -> i32 {
    // SAFETY: the child only runs `f`, which ends in a panic, and leaves without destructors.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        let told = panic
            .downcast_ref::<&str>()
            .is_some_and(|it| it.contains("child of a fork"));
        let _ = io::stdout().flush();
        // SAFETY: ends the process.
        unsafe { libc::_exit(if told { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    status
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
        assert_eq!(in_fork(call), 0);
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
            assert_eq!(in_fork(call), 0);
            assert_eq!(corde::go!(|| 7).join().unwrap(), 7);
        });
    })
    .assert_success();
}
