//! `JoinHandle::cancel` and `without_cancel`: where a cancellation strikes, where it does not, and that nothing is lost to it.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::{Read, Write};
use std::net as std_net;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use corde::net::TcpStream;
use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::thread::{
    self, Cancelled, JoinHandle, LocalJoinHandle, park, park_timeout, sleep, spawn_local,
    without_cancel, yield_now,
};
use corde::time::{sleep_until, timeout};
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::unwinding::{Log, hook_calls};
use util::{LIMIT, net, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

fn workers(count: usize) -> Runtime {
    Builder::new().workers(count).build().unwrap()
}

fn wait_for_ever() {
    loop {
        park();
    }
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

/// Where a green thread's handle lies, for itself and for others.
type Slot<T> = Rc<RefCell<Option<LocalJoinHandle<T>>>>;

/// Spawns a green thread that can cancel itself, by a call of what it is given.
fn spawn_self_cancelling<T: 'static>(body: impl FnOnce(&dyn Fn()) -> T + 'static) -> Slot<T> {
    let slot = Slot::default();
    let own = slot.clone();
    let thread = spawn_local(move || body(&|| own.borrow().as_ref().unwrap().cancel()));
    *slot.borrow_mut() = Some(thread);
    slot
}

/// Joins it, when it needs its handle no longer.
fn join_from<T>(slot: &Slot<T>) -> thread::Result<T> {
    wait_until(|| slot.borrow().as_ref().unwrap().is_finished());
    slot.take().unwrap().join()
}

// Where it strikes. Each of these calls `begin` right before it waits.

fn read(begin: &dyn Fn()) {
    let (near, _far) = net::pair();
    begin();
    let _ = (&near).read(&mut [0]);
}

fn write(begin: &dyn Fn()) {
    let (near, _far) = net::pair();
    begin();
    while (&near).write(&[0; 1 << 16]).is_ok() {}
}

fn peek(begin: &dyn Fn()) {
    let (near, _far) = net::pair();
    begin();
    let _ = near.peek(&mut [0]);
}

fn accept(begin: &dyn Fn()) {
    let (listener, _) = net::listen();
    begin();
    let _ = listener.accept();
}

/// Connects to a listener that lets nobody wait.
fn connect(begin: &dyn Fn()) {
    let listener = std_net::TcpListener::bind(net::LOCALHOST).unwrap();
    // SAFETY: changes the length of the queue of an open socket.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    begin();
    // The first few still find room.
    let mut connections = Vec::new();
    while let Ok(connection) = TcpStream::connect(address) {
        connections.push(connection);
    }
}

fn join(begin: &dyn Fn()) {
    let other = spawn_local(wait_for_ever);
    begin();
    let _ = other.join();
}

fn join_other_worker(begin: &dyn Fn()) {
    // Not to be shut down where a test unwinds.
    static OTHER: LazyLock<Runtime> = LazyLock::new(|| workers(1));
    let other = OTHER.spawn(wait_for_ever);
    begin();
    let _ = other.join();
}

#[rstest]
#[case::park(|begin: &dyn Fn()| { begin(); wait_for_ever() })]
#[case::park_timeout(|begin: &dyn Fn()| { begin(); park_timeout(ENDLESS) })]
#[case::sleep(|begin: &dyn Fn()| { begin(); sleep(ENDLESS) })]
#[case::sleep_without_end(|begin: &dyn Fn()| { begin(); sleep(Duration::MAX) })]
#[case::sleep_until(|begin: &dyn Fn()| { begin(); sleep_until(Instant::now() + ENDLESS) })]
#[case::yielding(|begin: &dyn Fn()| { begin(); loop { yield_now() } })]
#[case::in_timeout(|begin: &dyn Fn()| { begin(); let _ = timeout(ENDLESS, wait_for_ever); })]
#[case::join(join)]
#[case::join_other_worker(join_other_worker)]
#[case::read(read)]
#[case::peek(peek)]
#[case::write(write)]
#[case::accept(accept)]
#[case::connect(connect)]
#[timeout(LIMIT)]
fn it_strikes_a_wait(#[case] wait: fn(&dyn Fn())) {
    alone(|| {
        let began = Rc::new(Cell::new(false));
        let through = Rc::new(Cell::new(false));
        let (theirs, after) = (began.clone(), through.clone());
        let waiting = spawn_local(move || {
            wait(&|| theirs.set(true));
            after.set(true);
        });
        // What has begun has come to its wait, as everything is on one OS thread.
        wait_until(|| began.get());
        assert!(!waiting.is_finished());
        waiting.cancel();
        assert_cancelled(waiting.join());
        assert!(!through.get());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn any_thread_may_cancel(#[values(Kind::Green, Kind::Os)] canceller: Kind) {
    let runtime = workers(2);
    let waiting = Arc::new(runtime.spawn(wait_for_ever));
    let theirs = waiting.clone();
    canceller.run(move || theirs.cancel());
    // The other thread's handle is gone with its closure.
    assert_cancelled(Arc::into_inner(waiting).unwrap().join());
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_has_not_begun_never_does() {
    alone(|| {
        let ran = Rc::new(Cell::new(false));
        let dropped = Rc::new(Cell::new(false));
        let (theirs, gone) = (ran.clone(), dropped.clone());
        let on_drop = OnDrop(move || gone.set(true));
        let fresh = spawn_local(move || {
            let _on_drop = &on_drop;
            theirs.set(true);
        });
        fresh.cancel();
        assert_cancelled(fresh.join());
        assert!(!ran.get());
        assert!(dropped.get(), "its closure is dropped");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_has_ended_keeps_its_result() {
    alone(|| {
        let ended = spawn_local(|| 7);
        yield_now();
        assert!(ended.is_finished());
        ended.cancel();
        assert_eq!(ended.join().unwrap(), 7);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn twice_is_as_once() {
    alone(|| {
        let unwound = Rc::new(Cell::new(0));
        let theirs = unwound.clone();
        let waiting = spawn_local(move || {
            let _counting = OnDrop(|| theirs.set(theirs.get() + 1));
            wait_for_ever();
        });
        yield_now();
        waiting.cancel();
        waiting.cancel();
        assert_cancelled(waiting.join());
        assert_eq!(unwound.get(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn it_lets_a_running_one_go_on_to_its_next_wait() {
    alone(|| {
        let (computed, through) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (during, after) = (computed.clone(), through.clone());
        let running = spawn_self_cancelling(move |cancel| {
            cancel();
            during.set(true);
            yield_now();
            after.set(true);
        });
        wait_until(|| computed.get());
        assert_cancelled(join_from(&running));
        assert!(!through.get());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_never_waits_again_returns_its_result() {
    alone(|| {
        let thread = spawn_self_cancelling(|cancel| {
            cancel();
            "result"
        });
        assert_eq!(join_from(&thread).unwrap(), "result");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_detached_one_ends_as_well() {
    alone(|| {
        let ended = Rc::new(Cell::new(false));
        let theirs = ended.clone();
        let waiting = spawn_local(move || {
            let _ended = OnDrop(|| theirs.set(true));
            wait_for_ever();
        });
        yield_now();
        waiting.cancel();
        drop(waiting);
        wait_until(|| ended.get());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_it_has_spawned_goes_on() {
    alone(|| {
        let slot = Rc::new(RefCell::new(None));
        let theirs = slot.clone();
        let parent = spawn_local(move || {
            *theirs.borrow_mut() = Some(spawn_local(|| {
                park();
                "alive"
            }));
            wait_for_ever();
        });
        yield_now();
        parent.cancel();
        assert_cancelled(parent.join());
        let child: LocalJoinHandle<&str> = slot.take().unwrap();
        assert!(!child.is_finished());
        child.thread().unpark();
        assert_eq!(child.join().unwrap(), "alive");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_whose_joiner_was_cancelled_can_still_end() {
    alone(|| {
        let ended = Rc::new(Cell::new(false));
        let theirs = ended.clone();
        let joined = spawn_local(move || {
            park();
            theirs.set(true);
        });
        let thread = joined.thread().clone();
        let joiner = spawn_local(move || drop(joined.join()));
        yield_now();
        joiner.cancel();
        assert_cancelled(joiner.join());
        thread.unpark();
        wait_until(|| ended.get());
    });
}

// Masks.

#[rstest]
#[case::one(1)]
#[case::nested(3)]
#[timeout(LIMIT)]
fn a_mask_holds_it_off_until_it_is_left(#[case] depth: u32) {
    fn masked(depth: u32, body: &mut dyn FnMut()) {
        match depth {
            0 => body(),
            _ => without_cancel(|| masked(depth - 1, body)),
        }
    }
    alone(|| {
        let steps = Rc::new(Cell::new(0));
        let theirs = steps.clone();
        let thread = spawn_local(move || {
            masked(depth, &mut || {
                for _ in 0..3 {
                    park();
                    theirs.set(theirs.get() + 1);
                }
                yield_now();
                sleep(SHORT);
            });
            theirs.set(100);
            yield_now();
            theirs.set(200);
        });
        yield_now();
        thread.cancel();
        for step in 0..3 {
            yield_now();
            assert_eq!(
                steps.get(),
                step,
                "a mask lets no park return without a token"
            );
            thread.thread().unpark();
            wait_until(|| steps.get() > step);
        }
        assert_cancelled(thread.join());
        assert_eq!(steps.get(), 100);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_inner_mask_does_not_end_the_outer_one() {
    alone(|| {
        let thread = spawn_local(|| {
            without_cancel(|| {
                without_cancel(yield_now);
                yield_now();
                "whole"
            })
        });
        yield_now();
        thread.cancel();
        assert_eq!(thread.join().unwrap(), "whole");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_mask_that_is_left_by_a_panic_is_gone() {
    alone(|| {
        let thread = spawn_local(|| {
            let quiet = catch_unwind(|| without_cancel(|| panic_quietly()));
            assert!(quiet.is_err());
            wait_for_ever();
        });
        yield_now();
        thread.cancel();
        assert_cancelled(thread.join());
    });
}

#[test]
fn on_an_os_thread_a_mask_does_nothing() {
    assert_eq!(without_cancel(|| without_cancel(|| 7)), 7);
}

#[rstest]
#[timeout(LIMIT)]
fn a_call_into_another_runtime_is_done_whole() {
    let other = workers(1);
    let handle = other.handle().clone();
    alone(move || {
        let (stage, release) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (theirs, released) = (stage.clone(), release.clone());
        let thread = spawn_local(move || {
            handle.block_on(|| {
                theirs.store(1, Ordering::SeqCst);
                wait_until(|| released.load(Ordering::SeqCst));
                theirs.store(2, Ordering::SeqCst);
            });
            assert_eq!(theirs.swap(3, Ordering::SeqCst), 2);
            yield_now();
            theirs.store(4, Ordering::SeqCst);
        });
        wait_until(|| stage.load(Ordering::SeqCst) == 1);
        thread.cancel();
        (0..10).for_each(|_| yield_now());
        assert!(!thread.is_finished());
        release.store(true, Ordering::SeqCst);
        assert_cancelled(thread.join());
        assert_eq!(stage.load(Ordering::SeqCst), 3);
    });
}

// Unwinding.

#[rstest]
#[timeout(LIMIT)]
fn destructors_run_in_order_and_the_panic_hook_does_not() {
    alone(|| {
        let log = Log::default();
        let theirs = log.clone();
        let before = hook_calls();
        let thread = spawn_local(move || {
            let _first = theirs.on_drop("first");
            let _second = theirs.on_drop("second");
            let inner = || {
                let _third = theirs.on_drop("third");
                wait_for_ever();
            };
            inner();
        });
        yield_now();
        thread.cancel();
        assert_cancelled(thread.join());
        log.assert_dropped(&["third", "second", "first"]);
        assert_eq!(hook_calls(), before);
    });
}

/// Waits in every way that another OS thread or the clock ends.
fn wait_in_destructor() {
    sleep(SHORT);
    park_timeout(SHORT);
    yield_now();
    let (near, mut far) = net::std_pair();
    let near = TcpStream::from(near);
    let writer = std::thread::spawn(move || far.write_all(b"x").unwrap());
    assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
    writer.join().unwrap();
}

#[rstest]
#[timeout(LIMIT)]
fn waits_in_destructors_are_let_finish() {
    alone(|| {
        let finished = Rc::new(Cell::new(false));
        let theirs = finished.clone();
        let thread = spawn_local(move || {
            let _waiting = OnDrop(|| {
                wait_in_destructor();
                theirs.set(true);
            });
            wait_for_ever();
        });
        yield_now();
        thread.cancel();
        assert_cancelled(thread.join());
        assert!(finished.get());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn it_does_not_strike_while_a_panic_unwinds() {
    alone(|| {
        let finished = Rc::new(Cell::new(false));
        let theirs = finished.clone();
        let thread = spawn_self_cancelling(move |cancel| {
            let _waiting = OnDrop(|| {
                wait_in_destructor();
                theirs.set(true);
            });
            cancel();
            panic_quietly();
        });
        let payload = join_from::<()>(&thread).unwrap_err();
        assert!(finished.get());
        assert!(is_quiet_panic(&*payload), "the panic was there first");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_body_that_catches_it_meets_it_at_every_further_wait() {
    alone(|| {
        let thread = spawn_local(|| {
            let waits: [fn(); 4] = [wait_for_ever, yield_now, || sleep(ENDLESS), park];
            let struck = |wait: &fn()| catch_unwind(*wait).is_err_and(|it| it.is::<Cancelled>());
            waits.iter().filter(|wait| struck(wait)).count()
        });
        yield_now();
        thread.cancel();
        assert_eq!(thread.join().unwrap(), 4);
    });
}

#[test]
fn cancelled_is_an_error_that_says_what_happened() {
    let payload = alone(|| {
        let thread = spawn_local(wait_for_ever);
        thread.cancel();
        thread.join().unwrap_err()
    });
    let error: Box<dyn Error + Send + Sync> = payload.downcast::<Cancelled>().unwrap();
    assert_eq!(error.to_string(), "the green thread was cancelled");
}

// What was granted is not lost.

#[rstest]
#[case::unparked_first(true)]
#[case::cancelled_first(false)]
#[timeout(LIMIT)]
fn a_park_that_has_its_token_returns(#[case] unpark_first: bool) {
    alone(|| {
        let steps = Rc::new(Cell::new(0));
        let theirs = steps.clone();
        let thread = spawn_local(move || {
            park();
            theirs.set(1);
            park();
            theirs.set(2);
        });
        yield_now();
        if unpark_first {
            thread.thread().unpark();
            thread.cancel();
        } else {
            thread.cancel();
            thread.thread().unpark();
        }
        assert_cancelled(thread.join());
        assert_eq!(steps.get(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_join_that_has_its_result_returns_it() {
    alone(|| {
        let got = Rc::new(Cell::new(0));
        let theirs = got.clone();
        let child = spawn_local(|| {
            park();
            7
        });
        let waker = child.thread().clone();
        let joiner = spawn_local(move || {
            theirs.set(child.join().unwrap());
            park();
        });
        yield_now();
        yield_now();
        waker.unpark();
        // The child ends before the joiner runs.
        let joiner = {
            let thread = spawn_local(move || {
                joiner.cancel();
                joiner
            });
            thread.join().unwrap()
        };
        assert_cancelled(joiner.join());
        assert_eq!(got.get(), 7);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_read_that_has_data_returns_it() {
    alone(|| {
        let (near, far) = net::pair();
        (&far).write_all(b"granted").unwrap();
        let got = Rc::new(RefCell::new(Vec::new()));
        let theirs = got.clone();
        let reader = spawn_self_cancelling(move |cancel| {
            cancel();
            let mut buffer = [0; 16];
            let len = (&near).read(&mut buffer).unwrap();
            theirs.borrow_mut().extend_from_slice(&buffer[..len]);
            let _ = (&near).read(&mut buffer);
        });
        assert_cancelled(join_from(&reader));
        assert_eq!(&*got.borrow(), b"granted");
    });
}

#[rstest]
#[case::before_the_event(true)]
#[case::with_the_event_under_way(false)]
#[timeout(LIMIT)]
fn of_two_readers_the_one_that_is_left_gets_the_event(
    #[case] cancel_first: bool,
    #[values(0, 1)] cancelled: usize,
) {
    alone(|| {
        let (near, far) = net::pair();
        let near = Rc::new(near);
        let mut readers: Vec<_> = (0..2)
            .map(|_| {
                let near = near.clone();
                spawn_local(move || (&*near).read(&mut [0; 8]).unwrap())
            })
            .collect();
        yield_now();
        if cancel_first {
            readers[cancelled].cancel();
            yield_now();
            (&far).write_all(b"x").unwrap();
        } else {
            (&far).write_all(b"x").unwrap();
            readers[cancelled].cancel();
        }
        assert_cancelled(readers.remove(cancelled).join());
        assert_eq!(readers.remove(0).join().unwrap(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn each_byte_is_read_by_somebody_when_readers_are_cancelled_meanwhile() {
    let runtime = workers(3);
    for round in 0..50 * stress() {
        let (near, far) = net::std_pair();
        let near = Arc::new(TcpStream::from(near));
        let bytes = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (near, bytes) = (near.clone(), bytes.clone());
                runtime.spawn(move || {
                    while let Ok(1) = (&*near).read(&mut [0]) {
                        bytes.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let victim = (round % 2) as usize;
        let writer = std::thread::spawn(move || {
            (0..10).for_each(|_| (&far).write_all(b"x").unwrap());
        });
        readers[victim].cancel();
        writer.join().unwrap();
        // The other one reads what is left, and the end.
        let ends: Vec<_> = readers.into_iter().map(JoinHandle::join).collect();
        assert!(ends[1 - victim].is_ok());
        assert_eq!(bytes.load(Ordering::SeqCst), 10);
    }
}

// Many.

#[rstest]
#[timeout(LIMIT)]
fn many_are_cancelled_at_once() {
    let runtime = workers(2);
    let unwound = Arc::new(AtomicUsize::new(0));
    let count = scaled(10_000);
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let unwound = unwound.clone();
            let unwound = OnDrop(move || {
                unwound.fetch_add(1, Ordering::SeqCst);
            });
            runtime.spawn(move || {
                let _unwound = unwound;
                wait_for_ever();
            })
        })
        .collect();
    threads.iter().for_each(JoinHandle::cancel);
    threads
        .into_iter()
        .for_each(|it| assert_cancelled(it.join()));
    assert_eq!(unwound.load(Ordering::SeqCst), count);
}

/// What a thread of the stress test does at random, until it is cancelled.
fn wander(seed: u64, peers: &[thread::Thread]) {
    let mut random = Xorshift(seed);
    loop {
        match random.next() % 9 {
            0 => yield_now(),
            1 => sleep(Duration::from_micros(random.next() % 200)),
            2 => park_timeout(Duration::from_micros(random.next() % 200)),
            3 => without_cancel(|| (0..3).for_each(|_| yield_now())),
            4 => drop(timeout(Duration::from_micros(random.next() % 100), park).is_ok()),
            5 => assert_eq!(thread::spawn(|| 7).join().unwrap(), 7),
            6 => drop(spawn_local(yield_now).join()),
            7 => {
                let child = thread::spawn(wait_for_ever);
                child.cancel();
                assert_cancelled(child.join());
            }
            _ => {
                if let Some(peer) = peers.get(random.next() as usize % (peers.len() + 1)) {
                    peer.unpark();
                }
            }
        }
    }
}

#[rstest]
#[timeout(LIMIT)]
fn whatever_they_do_the_cancelled_end(
    #[values(1, 4)] count: usize,
    #[values(3, 0xc0_4de)] seed: u64,
) {
    let runtime = workers(count);
    let mut random = Xorshift(seed);
    for _ in 0..10 * stress() {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for _ in 0..50 {
            let seed = random.next();
            let peers: Vec<_> = threads.iter().map(|it| it.thread().clone()).collect();
            alive.fetch_add(1, Ordering::SeqCst);
            let alive = alive.clone();
            let gone = OnDrop(move || {
                alive.fetch_sub(1, Ordering::SeqCst);
            });
            threads.push(runtime.spawn(move || {
                let _gone = gone;
                wander(seed, &peers);
            }));
            if random.next() % 3 == 0 {
                let victim = random.next() as usize % threads.len();
                threads[victim].cancel();
            }
        }
        threads.iter().for_each(JoinHandle::cancel);
        for thread in threads {
            let payload = thread.join().unwrap_err();
            assert!(payload.is::<Cancelled>());
        }
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_caught_cancellation_leaves_the_thread_usable() {
    alone(|| {
        let thread = spawn_self_cancelling(|cancel| {
            cancel();
            let caught = catch_unwind(AssertUnwindSafe(wait_for_ever));
            assert!(caught.is_err());
            without_cancel(|| {
                yield_now();
                spawn_local(|| 6 * 7).join().unwrap()
            })
        });
        assert_eq!(join_from(&thread).unwrap(), 42);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_read_that_need_not_wait_is_not_lost_when_it_is_time_to_let_others_run() {
    const SENT: usize = 1000;
    alone(|| {
        let (near, mut far) = net::pair();
        far.write_all(&[1; SENT]).unwrap();
        let near = Rc::new(near);
        let (stream, count) = (near.clone(), Rc::new(Cell::new(0)));
        let counted = count.clone();
        let slot = spawn_self_cancelling(move |cancel| {
            cancel();
            loop {
                (&*stream).read_exact(&mut [0]).unwrap();
                counted.set(counted.get() + 1);
            }
        });
        assert_cancelled(join_from(&slot));
        assert!(count.get() < SENT, "it was not interrupted");
        drop(far);
        let mut rest = Vec::new();
        (&*near).read_to_end(&mut rest).unwrap();
        assert_eq!(count.get() + rest.len(), SENT);
    });
}
