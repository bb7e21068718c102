//! `corde::time::timeout`: what it ends, what it leaves alone, and how limits meet each other and cancellation.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::{self, Read, Write};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime};
use corde::thread::{self, Cancelled, park, park_timeout, sleep, spawn_local, yield_now};
use corde::time::{Elapsed, sleep_until, timeout, timeout_at};
use rstest::rstest;
use util::threads::{Kind, is_quiet_panic, panic_quietly};
use util::unwinding::{Log, hook_calls};
use util::{LIMIT, net, scaled};

const SHORT: Duration = Duration::from_millis(5);

/// Longer than any test may take: a limit that must not strike, a wait that must not end by itself.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

fn wait_for_ever() {
    loop {
        park();
    }
}

fn read_for_ever() {
    let (near, _far) = net::pair();
    let _ = (&near).read(&mut [0]);
}

fn write_for_ever() {
    let (near, _far) = net::pair();
    while (&near).write(&[0; 1 << 16]).is_ok() {}
}

fn accept_for_ever() {
    let (listener, _) = net::listen();
    let _ = listener.accept();
}

fn join_for_ever() {
    let _ = spawn_local(wait_for_ever).join();
}

#[rstest]
#[case::park(wait_for_ever)]
#[case::park_timeout(|| park_timeout(ENDLESS))]
#[case::sleep(|| sleep(ENDLESS))]
#[case::sleep_without_end(|| sleep(Duration::MAX))]
#[case::sleep_until(|| sleep_until(Instant::now() + ENDLESS))]
#[case::yielding(|| loop { yield_now() })]
#[case::join(join_for_ever)]
#[case::read(read_for_ever)]
#[case::write(write_for_ever)]
#[case::accept(accept_for_ever)]
#[timeout(LIMIT)]
fn a_limit_ends_the_wait_and_not_before_its_time(#[case] wait: fn()) {
    alone(|| {
        let start = Instant::now();
        assert!(timeout(SHORT, wait).is_err());
        assert!(start.elapsed() >= SHORT);
    });
}

#[rstest]
#[case::park(wait_for_ever)]
#[case::park_timeout(|| park_timeout(ENDLESS))]
#[case::sleep(|| sleep(ENDLESS))]
#[case::join(|| { let _ = LocalRuntime::new().unwrap().handle().spawn(|| ()).join(); })]
#[timeout(LIMIT)]
fn a_limit_ends_the_wait_of_an_os_thread(#[case] wait: fn()) {
    let start = Instant::now();
    assert!(timeout(SHORT, wait).is_err());
    assert!(start.elapsed() >= SHORT);
}

#[rstest]
#[timeout(LIMIT)]
fn a_join_on_another_worker_is_ended_and_can_be_made_again() {
    let runtime = Builder::new().workers(2).build().unwrap();
    let endless = runtime.spawn(wait_for_ever);
    runtime.block_on(|| {
        let slot = RefCell::new(Some(endless));
        assert!(timeout(SHORT, || slot.take().unwrap().join()).is_err());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_ready_is_returned(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        assert_eq!(timeout(ENDLESS, || 7), Ok(7));
        assert_eq!(timeout(Duration::MAX, || 7), Ok(7));
        let woken = timeout(ENDLESS, || {
            thread::current().unpark();
            park();
            "woken"
        });
        assert_eq!(woken, Ok("woken"));
    });
}

#[rstest]
#[case::zero(Duration::ZERO)]
#[case::one_nanosecond(Duration::from_nanos(1))]
#[timeout(LIMIT)]
fn a_limit_that_is_over_at_once_ends_the_first_wait(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[case] duration: Duration,
) {
    kind.run(move || {
        let (mut before, mut after) = (false, false);
        let ended = timeout(duration, || {
            before = true;
            sleep(ENDLESS);
            after = true;
        });
        assert_eq!((before, after, ended.is_err()), (true, false, true));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_deadline_in_the_past_ends_the_first_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let now = Instant::now();
        let past = now.checked_sub(SHORT).unwrap_or(now);
        assert!(timeout_at(past, wait_for_ever).is_err());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_computation_that_does_not_wait_is_not_ended(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let deadline = Instant::now() + SHORT;
        let computed = timeout_at(deadline, || {
            while Instant::now() < deadline + SHORT {
                std::hint::spin_loop();
            }
            "computed"
        });
        assert_eq!(computed, Ok("computed"));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_wait_that_has_its_answer_returns_it_though_the_time_is_over() {
    alone(|| {
        let me = thread::current();
        let reader = Rc::new(Cell::new(false));
        let theirs = reader.clone();
        let deadline = Instant::now() + SHORT;
        // Makes the deadline pass, and only then answers: both wake the one that waits.
        let waker = spawn_local(move || {
            while Instant::now() < deadline {
                std::hint::spin_loop();
            }
            theirs.set(true);
            me.unpark();
        });
        assert_eq!(timeout_at(deadline, park), Ok(()));
        assert!(reader.get());
        waker.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_a_read_has_got_is_not_lost_to_a_limit_that_is_over() {
    alone(|| {
        let (near, far) = net::pair();
        (&far).write_all(b"here").unwrap();
        let mut buffer = [0; 8];
        let read = timeout(Duration::ZERO, || (&near).read(&mut buffer).unwrap());
        assert_eq!(read, Ok(4));
        assert_eq!(&buffer[..4], b"here");
    });
}

// Limits in limits.

/// Which of two limits ended the wait.
#[derive(Debug, PartialEq)]
enum By {
    Outer,
    Inner,
}

fn which(outer: Duration, inner: Duration) -> By {
    let start = Instant::now();
    let ended = timeout_at(start + outer, || timeout_at(start + inner, wait_for_ever));
    match ended {
        Err(_) => By::Outer,
        Ok(Err(_)) => By::Inner,
        Ok(Ok(())) => unreachable!("the wait has no end"),
    }
}

#[rstest]
#[case::earlier_outer(SHORT, ENDLESS, By::Outer)]
#[case::earlier_inner(ENDLESS, SHORT, By::Inner)]
#[case::equal(SHORT, SHORT, By::Outer)]
#[case::both_at_once(Duration::ZERO, Duration::ZERO, By::Outer)]
#[timeout(LIMIT)]
fn the_earliest_of_nested_limits_strikes(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[case] outer: Duration,
    #[case] inner: Duration,
    #[case] by: By,
) {
    assert_eq!(kind.run(move || which(outer, inner)), by);
}

#[rstest]
#[timeout(LIMIT)]
fn after_the_inner_limit_the_outer_one_still_holds(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let mut inner = None;
        let outer = timeout(4 * SHORT, || {
            inner = Some(timeout(SHORT, wait_for_ever));
            wait_for_ever();
        });
        assert!(outer.is_err());
        assert!(inner.unwrap().is_err());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn after_a_limit_waits_are_as_before(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        for _ in 0..3 {
            assert!(timeout(Duration::ZERO, wait_for_ever).is_err());
            assert_eq!(timeout(ENDLESS, || sleep(SHORT)), Ok(()));
            sleep(SHORT);
            thread::current().unpark();
            park();
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ten_limits_deep_the_outermost_that_is_over_strikes() {
    fn nested(depth: u32, ended: &Cell<u32>) {
        if depth == 0 {
            return wait_for_ever();
        }
        // The sixth from within is the first to be over.
        let duration = if depth == 6 { SHORT } else { ENDLESS };
        if timeout(duration, || nested(depth - 1, ended)).is_err() {
            ended.set(depth);
        }
    }
    alone(|| {
        let ended = Cell::new(0);
        nested(10, &ended);
        assert_eq!(ended.get(), 6);
    });
}

// Destructors, panics, cancellation.

#[test]
fn destructors_run_and_the_panic_hook_does_not() {
    alone(|| {
        let log = Log::default();
        let before = hook_calls();
        let ended = timeout(SHORT, || {
            let _outer = log.on_drop("outer");
            let _inner = log.on_drop("inner");
            wait_for_ever();
        });
        assert!(ended.is_err());
        log.assert_dropped(&["inner", "outer"]);
        assert_eq!(hook_calls(), before);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_goes_through(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let payload = catch_unwind(|| timeout(ENDLESS, || timeout(ENDLESS, || panic_quietly())));
        assert!(is_quiet_panic(&*payload.unwrap_err()));
        // Both are out of force.
        assert_eq!(timeout(ENDLESS, || sleep(SHORT)), Ok(()));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_wait_in_a_destructor_is_let_finish() {
    alone(|| {
        struct Sleeper<'a>(&'a Cell<bool>);
        impl Drop for Sleeper<'_> {
            fn drop(&mut self) {
                sleep(SHORT);
                self.0.set(true);
            }
        }
        let slept = Cell::new(false);
        let ended = timeout(Duration::ZERO, || {
            let _sleeper = Sleeper(&slept);
            wait_for_ever();
        });
        assert!(ended.is_err());
        assert!(slept.get());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_thread_leaves_its_limits_behind() {
    alone(|| {
        let ended = Rc::new(Cell::new(false));
        let theirs = ended.clone();
        let cancelled = spawn_local(move || {
            let _ = timeout(ENDLESS, || timeout(ENDLESS, wait_for_ever));
            theirs.set(true);
        });
        yield_now();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert!(!ended.get(), "a cancellation is no limit");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn cancellation_goes_before_a_limit_that_is_over() {
    alone(|| {
        let started = Rc::new(Cell::new(false));
        let theirs = started.clone();
        let thread = spawn_local(move || {
            let _ = timeout(Duration::ZERO, || {
                theirs.set(true);
                thread::without_cancel(yield_now);
                // The first wait that is open to both.
                park();
            });
        });
        yield_now();
        assert!(started.get());
        thread.cancel();
        assert!(thread.join().unwrap_err().is::<Cancelled>());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn without_cancel_keeps_a_limit_from_striking_until_it_is_left(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(|| {
        let mut through = false;
        let ended = timeout(SHORT, || {
            thread::without_cancel(|| sleep(4 * SHORT));
            through = true;
            wait_for_ever();
        });
        assert!(ended.is_err());
        assert!(through);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_limit_inside_of_without_cancel_works(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let ended = timeout(Duration::ZERO, || {
            thread::without_cancel(|| timeout(SHORT, wait_for_ever))
        });
        assert!(matches!(ended, Ok(Err(_))));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn green_threads_spawned_inside_are_not_concerned() {
    alone(|| {
        let slept = timeout(SHORT, || {
            let child = spawn_local(|| sleep(4 * SHORT));
            thread::without_cancel(|| child.join())
        });
        assert!(slept.unwrap().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn many_limits_are_over_at_once() {
    alone(|| {
        let deadline = Instant::now() + SHORT;
        let threads: Vec<_> = (0..scaled(10_000))
            .map(|_| spawn_local(move || timeout_at(deadline, wait_for_ever).is_err()))
            .collect();
        assert!(threads.into_iter().all(|it| it.join().unwrap()));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn many_limits_are_in_force_and_none_is_over() {
    let runtime = Builder::new().workers(2).build().unwrap();
    runtime.block_on(|| {
        let threads: Vec<_> = (0..scaled(10_000))
            .map(|number| {
                corde::go!(move || timeout(ENDLESS, || {
                    yield_now();
                    number
                }))
            })
            .collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), Ok(number));
        }
    });
}

#[test]
fn elapsed_is_an_error_like_that_of_a_socket() {
    let elapsed = timeout(Duration::ZERO, wait_for_ever).unwrap_err();
    assert_eq!(elapsed.to_string(), "the time was over");
    let error = io::Error::from(elapsed);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let inner = error.get_ref().and_then(|it| it.downcast_ref::<Elapsed>());
    assert_eq!(inner, Some(&elapsed));
    let boxed: Box<dyn Error + Send + Sync> = elapsed.into();
    assert!(boxed.is::<Elapsed>());
}

#[rstest]
#[timeout(LIMIT)]
fn the_question_mark_turns_it_into_an_io_error() {
    fn read_all(limit: Duration) -> io::Result<usize> {
        let (near, _far) = net::pair();
        timeout(limit, || (&near).read(&mut [0]))?
    }
    let error = alone(|| read_all(SHORT)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
