//! `sync::Mutex`: exclusion, order and fairness, poisoning, and that nothing is lost when those who wait are interrupted.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::sync::{Mutex, MutexGuard, TryLockError};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, panic_quietly, spin_until, wait_until};
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

fn workers(count: usize) -> Runtime {
    Builder::new().workers(count).build().unwrap()
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

/// Runs `f`, which panics.
fn catch(f: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
}

fn poison<T>(mutex: &Mutex<T>) {
    catch(|| {
        let _locked = mutex.lock();
        panic_quietly();
    });
}

/// Names in the order in which their threads have got the mutex.
type Order = Rc<RefCell<Vec<&'static str>>>;

/// Spawns one that locks, notes its name, yields so often, and unlocks. It waits already, if the mutex is locked.
fn spawn_locker(
    mutex: &Rc<Mutex<()>>,
    order: &Order,
    name: &'static str,
    yields: u32,
) -> LocalJoinHandle<()> {
    let (mutex, order, begun) = (mutex.clone(), order.clone(), Rc::new(Cell::new(false)));
    let theirs = begun.clone();
    let thread = spawn_local(move || {
        theirs.set(true);
        let _locked = mutex.lock().unwrap();
        order.borrow_mut().push(name);
        (0..yields).for_each(|_| yield_now());
    });
    wait_until(|| begun.get());
    thread
}

#[rstest]
#[case::green(&[Kind::Green; 8])]
#[case::os(&[Kind::Os; 4])]
#[case::mixed(&[Kind::Green, Kind::Os, Kind::Green, Kind::Os, Kind::Green, Kind::Green])]
#[timeout(LIMIT)]
fn one_at_a_time_has_it(#[case] kinds: &[Kind], #[values(false, true)] yielding: bool) {
    const ROUNDS: usize = 500;
    let mutex = Arc::new(Mutex::new(0));
    let inside = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            kind.spawn(move || {
                for _ in 0..ROUNDS {
                    let mut count = mutex.lock().unwrap();
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    let before = *count;
                    if yielding {
                        yield_now();
                    }
                    *count = before + 1;
                    inside.store(false, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    assert_eq!(*mutex.lock().unwrap(), kinds.len() * ROUNDS);
}

#[rstest]
#[timeout(LIMIT)]
fn what_its_owner_did_is_seen_by_the_next(
    #[values(Kind::Green, Kind::Os)] first: Kind,
    #[values(Kind::Green, Kind::Os)] second: Kind,
) {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let (theirs, locked) = (mutex.clone(), Arc::new(AtomicBool::new(false)));
    let told = locked.clone();
    let owner = first.spawn(move || {
        let mut words = theirs.lock().unwrap();
        told.store(true, Ordering::Relaxed);
        (0..100).for_each(|_| yield_now());
        words.push("first".to_owned());
    });
    wait_until(|| locked.load(Ordering::Relaxed));
    let seen = second.run(move || mutex.lock().unwrap().clone());
    owner.join();
    assert_eq!(seen, ["first"]);
}

#[rstest]
#[timeout(LIMIT)]
fn its_guard_may_be_held_across_suspensions() {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let first = spawn_locker(&mutex, &order, "first", 10);
        let second = spawn_locker(&mutex, &order, "second", 0);
        let others = Rc::new(Cell::new(0));
        let theirs = others.clone();
        spawn_local(move || theirs.set(theirs.get() + 1))
            .join()
            .unwrap();
        assert_eq!(others.get(), 1, "the worker is not held up");
        assert!(!first.is_finished());
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(*order.borrow(), ["first", "second"]);
    });
}

#[test]
fn try_lock_does_not_wait() {
    let mutex = Mutex::new(1);
    let locked = mutex.try_lock().unwrap();
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    drop(locked);
    *mutex.try_lock().unwrap() += 1;
    poison(&mutex);
    match mutex.try_lock() {
        Err(TryLockError::Poisoned(error)) => assert_eq!(**error.get_ref(), 2),
        other => panic!("{other:?}"),
    }
    // Its guard was in the error.
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
}

#[rstest]
#[timeout(LIMIT)]
fn try_lock_takes_what_a_woken_one_has_not_taken_yet() {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let locked = mutex.lock().unwrap();
        let waiting = spawn_locker(&mutex, &order, "waiting", 0);
        drop(locked);
        let again = mutex.try_lock().unwrap();
        yield_now();
        assert!(!waiting.is_finished());
        drop(again);
        waiting.join().unwrap();
        assert!(mutex.try_lock().is_ok());
    });
}

// Order and fairness.

#[rstest]
#[timeout(LIMIT)]
fn those_who_wait_get_it_in_the_order_of_their_arrival() {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let locked = mutex.lock().unwrap();
        let names = ["a", "b", "c", "d", "e", "f"];
        let waiting = names.map(|name| spawn_locker(&mutex, &order, name, 1));
        drop(locked);
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.borrow(), names);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_was_overtaken_is_the_next() {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let locked = mutex.lock().unwrap();
        let waiting = spawn_locker(&mutex, &order, "waiting", 0);
        let later = spawn_locker(&mutex, &order, "later", 0);
        drop(locked);
        let again = mutex.lock().unwrap();
        // It tries in vain.
        yield_now();
        drop(again);
        // It has been handed over.
        assert!(mutex.try_lock().is_err());
        waiting.join().unwrap();
        later.join().unwrap();
        assert_eq!(*order.borrow(), ["waiting", "later"]);
        assert!(mutex.try_lock().is_ok());
    });
}

#[rstest]
#[case::on_one_worker(Kind::Green, 1)]
#[case::on_two_workers(Kind::Green, 2)]
#[case::os_thread(Kind::Os, 1)]
#[timeout(LIMIT)]
fn nobody_starves(#[case] kind: Kind, #[case] workers_: usize) {
    const TIMES: usize = 100;
    let runtime = workers(workers_);
    let mutex = Arc::new(Mutex::new(()));
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, over) = (mutex.clone(), done.clone());
    // Has it nearly all the time.
    let greedy = runtime.spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let _locked = theirs.lock().unwrap();
            yield_now();
        }
    });
    let modest = move || {
        for _ in 0..TIMES {
            drop(mutex.lock().unwrap());
            yield_now();
        }
    };
    match kind {
        Kind::Green => runtime.spawn(modest).join().unwrap(),
        Kind::Os => Kind::Os.run(modest),
    }
    done.store(true, Ordering::Relaxed);
    greedy.join().unwrap();
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_wait(#[values(1, 2)] workers_: usize) {
    let many = scaled(10_000);
    let runtime = workers(workers_);
    let mutex = Arc::new(Mutex::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let locked = mutex.lock().unwrap();
    let threads: Vec<_> = (0..many)
        .map(|_| {
            let (mutex, begun) = (mutex.clone(), begun.clone());
            runtime.spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                *mutex.lock().unwrap() += 1;
            })
        })
        .collect();
    wait_until(|| begun.load(Ordering::Relaxed) == many);
    drop(locked);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*mutex.try_lock().unwrap(), many);
}

// Interrupts.

/// How far one that waits has come when it is cancelled.
#[rstest]
#[case::queued(0)]
#[case::woken(1)]
#[case::overtaken(2)]
#[timeout(LIMIT)]
fn a_cancelled_waiter_leaves_it_to_the_next(#[case] progress: u32) {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let mut locked = mutex.lock().unwrap();
        let waiting = spawn_locker(&mutex, &order, "cancelled", 0);
        let next = spawn_locker(&mutex, &order, "next", 0);
        let last = spawn_locker(&mutex, &order, "last", 0);
        if progress >= 1 {
            drop(locked);
            locked = mutex.lock().unwrap();
        }
        if progress >= 2 {
            yield_now();
        }
        waiting.cancel();
        assert_cancelled(waiting.join());
        assert!(order.borrow().is_empty());
        drop(locked);
        next.join().unwrap();
        last.join().unwrap();
        assert_eq!(*order.borrow(), ["next", "last"]);
        assert!(mutex.try_lock().is_ok());
        assert!(!mutex.is_poisoned());
    });
}

#[rstest]
#[case::middle("b", &["a", "c"])]
#[case::last("c", &["a", "b"])]
#[timeout(LIMIT)]
fn a_cancelled_one_need_not_stand_first(
    #[case] victim: &'static str,
    #[case] expected: &[&'static str],
) {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let locked = mutex.lock().unwrap();
        for name in ["a", "b", "c"] {
            let thread = spawn_locker(&mutex, &order, name, 0);
            if name == victim {
                thread.cancel();
                assert_cancelled(thread.join());
            }
        }
        drop(locked);
        wait_until(|| order.borrow().len() == 2);
        assert_eq!(*order.borrow(), expected);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_was_handed_it_keeps_it_though_it_is_cancelled() {
    alone(|| {
        let mutex = Rc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let locked = mutex.lock().unwrap();
        let waiting = spawn_local(move || {
            *theirs.lock().unwrap() = 7;
            yield_now();
        });
        yield_now();
        drop(locked);
        let again = mutex.lock().unwrap();
        yield_now();
        drop(again);
        // It owns it by now.
        assert!(mutex.try_lock().is_err());
        waiting.cancel();
        assert_cancelled(waiting.join());
        assert_eq!(*mutex.try_lock().unwrap(), 7);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_only_one_that_waits_may_leave() {
    alone(|| {
        let (mutex, order) = (Rc::new(Mutex::new(())), Order::default());
        let locked = mutex.lock().unwrap();
        let waiting = spawn_locker(&mutex, &order, "cancelled", 0);
        waiting.cancel();
        assert_cancelled(waiting.join());
        drop(locked);
        assert!(mutex.try_lock().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_ends_the_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let mutex = Arc::new(Mutex::new(0));
    let theirs = mutex.clone();
    let locked = mutex.lock().unwrap();
    let result = kind.run(move || timeout(SHORT, || *theirs.lock().unwrap() = 1));
    assert!(result.is_err());
    assert_eq!(*locked, 0);
    drop(locked);
    assert_eq!(*mutex.try_lock().unwrap(), 0);
}

// Poisoning.

#[rstest]
#[timeout(LIMIT)]
fn a_panic_poisons_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let mutex = Arc::new(Mutex::new(1));
    let theirs = mutex.clone();
    kind.run(move || poison(&theirs));
    assert!(mutex.is_poisoned());
    let guard = mutex.lock().unwrap_err().into_inner();
    assert_eq!(*guard, 1);
    drop(guard);
    assert!(mutex.is_poisoned());
    mutex.clear_poison();
    assert!(mutex.lock().is_ok());

    let mut mutex = Arc::into_inner(mutex).unwrap();
    poison(&mutex);
    assert_eq!(**mutex.get_mut().unwrap_err().get_ref(), 1);
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 1);
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_learns_that_it_was_poisoned() {
    alone(|| {
        let mutex = Rc::new(Mutex::new(()));
        let theirs = mutex.clone();
        let owner = spawn_local(move || {
            let _locked = theirs.lock();
            yield_now();
            panic_quietly();
        });
        yield_now();
        assert!(mutex.lock().is_err());
        assert!(owner.join().is_err());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupt_does_not_poison_it() {
    alone(|| {
        let mutex = Rc::new(Mutex::new(()));
        let theirs = mutex.clone();
        let owner = spawn_local(move || {
            let _locked = theirs.lock();
            thread::park();
        });
        yield_now();
        owner.cancel();
        assert_cancelled(owner.join());
        assert!(mutex.lock().is_ok());
    });
    for kind in [Kind::Green, Kind::Os] {
        kind.run(|| {
            let mutex = Mutex::new(());
            let late = timeout(SHORT, || {
                let _locked = mutex.lock();
                thread::park();
            });
            assert!(late.is_err());
            assert!(!mutex.is_poisoned());
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_of_one_that_has_caught_an_interrupt_poisons_it() {
    let mutex = Rc::new(Mutex::new(()));
    alone(|| {
        let theirs = mutex.clone();
        let caught = spawn_local(move || {
            catch(thread::park);
            poison(&theirs);
        });
        yield_now();
        caught.cancel();
        caught.join().unwrap();
    });
    assert!(mutex.is_poisoned());
    mutex.clear_poison();
    let waits = || {
        catch(thread::park);
        poison(&mutex);
    };
    timeout(SHORT, waits).expect("it has caught the end of its time");
    assert!(mutex.is_poisoned());
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_goes_on_with_an_interrupt_that_it_has_caught_does_not_poison_it() {
    let mutex = Rc::new(Mutex::new(()));
    alone(|| {
        let theirs = mutex.clone();
        let passes_on = spawn_local(move || {
            let first = catch_unwind(thread::park).expect_err("it is cancelled");
            let second = catch_unwind(thread::park).expect_err("it is cancelled still");
            let _locked = theirs.lock();
            // It does not matter that another is gone.
            let _dropped_while_unwinding = first;
            resume_unwind(second);
        });
        yield_now();
        passes_on.cancel();
        assert_cancelled(passes_on.join());
    });
    assert!(!mutex.is_poisoned());
}

#[test]
fn a_guard_that_an_unwinding_thread_has_made_does_not_poison_it() {
    let mutex = Mutex::new(0);
    catch(|| {
        let _adding = OnDrop(|| *mutex.lock().unwrap() += 1);
        panic_quietly();
    });
    assert_eq!(*mutex.lock().unwrap(), 1);
}

/// It holds up its worker, where one that has come before it could not go on. That one waits, or has been woken and overtaken.
#[rstest]
#[timeout(LIMIT)]
fn one_that_unwinds_goes_before_the_others(#[values(false, true)] overtaken: bool) {
    for _ in 0..20 {
        let mutex = Arc::new(Mutex::new(()));
        let (locked, queued, begun) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let theirs = mutex.clone();
        let owner = std::thread::spawn(move || {
            let mut owned = theirs.lock().unwrap();
            locked.0.send(()).unwrap();
            queued.1.recv().unwrap();
            if overtaken {
                drop(owned);
                owned = theirs.lock().unwrap();
            }
            locked.0.send(()).unwrap();
            begun.1.recv().unwrap();
            // So that it mostly waits by now.
            (0..10).for_each(|_| std::thread::yield_now());
            drop(owned);
        });
        locked.1.recv().unwrap();
        alone(|| {
            let theirs = mutex.clone();
            let before = spawn_local(move || drop(theirs.lock().unwrap()));
            yield_now();
            queued.0.send(()).unwrap();
            locked.1.recv().unwrap();
            catch(|| {
                let _locking = OnDrop(|| {
                    begun.0.send(()).unwrap();
                    drop(mutex.lock().unwrap());
                });
                panic_quietly();
            });
            before.join().unwrap();
        });
        owner.join().unwrap();
    }
}

// As std's.

#[rstest]
#[case::free(|mutex: &Mutex<u32>| format!("{mutex:?} {mutex:#?}"), |mutex: &std::sync::Mutex<u32>| format!("{mutex:?} {mutex:#?}"))]
#[case::locked(
    |mutex: &Mutex<u32>| { let _locked = mutex.lock(); format!("{mutex:?}") },
    |mutex: &std::sync::Mutex<u32>| { let _locked = mutex.lock(); format!("{mutex:?}") }
)]
#[case::guard(
    |mutex: &Mutex<u32>| { let guard = mutex.lock().unwrap(); format!("{guard:?} {guard}") },
    |mutex: &std::sync::Mutex<u32>| { let guard = mutex.lock().unwrap(); format!("{guard:?} {guard}") }
)]
#[case::poisoned(
    |mutex: &Mutex<u32>| {
        catch(|| { let _locked = mutex.lock(); panic_quietly() });
        format!("{mutex:?} {:?} {:?}", mutex.lock(), mutex.try_lock())
    },
    |mutex: &std::sync::Mutex<u32>| {
        catch(|| { let _locked = mutex.lock(); panic_quietly() });
        format!("{mutex:?} {:?} {:?}", mutex.lock(), mutex.try_lock())
    }
)]
fn it_is_shown_as_std_shows_its_own(
    #[case] ours: fn(&Mutex<u32>) -> String,
    #[case] stds: fn(&std::sync::Mutex<u32>) -> String,
) {
    assert_eq!(ours(&Mutex::new(7)), stds(&std::sync::Mutex::new(7)));
}

#[test]
fn it_is_made_as_stds() {
    static COUNT: Mutex<u32> = Mutex::new(1);
    *COUNT.lock().unwrap() += 1;
    assert_eq!(*COUNT.lock().unwrap(), 2);
    assert_eq!(Mutex::from(3).into_inner().unwrap(), 3);
    let mut mutex = Mutex::<u32>::default();
    *mutex.get_mut().unwrap() += 4;
    assert_eq!(mutex.into_inner().unwrap(), 4);
}

#[test]
fn its_value_need_not_be_sized() {
    let slice: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    slice.lock().unwrap()[0] = 4;
    assert_eq!(*slice.lock().unwrap(), [4, 2, 3]);
    let shown: &Mutex<dyn Debug + Send> = &Mutex::new("text");
    assert_eq!(format!("{:?}", &*shown.lock().unwrap()), "\"text\"");
}

#[test]
fn its_value_is_dropped_once() {
    let drops = Cell::new(0);
    let counting = || OnDrop(|| drops.set(drops.get() + 1));
    drop(Mutex::new(counting()));
    assert_eq!(drops.get(), 1);
    let value = Mutex::new(counting()).into_inner().unwrap();
    assert_eq!(drops.get(), 1);
    drop(value);
    assert_eq!(drops.get(), 2);
}

#[test]
fn it_goes_where_stds_goes() {
    fn shared<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    fn sync<T: Sync>() {}
    shared::<Mutex<u32>>();
    shared::<Mutex<Cell<u32>>>();
    shared::<Mutex<&'static mut u32>>();
    sync::<MutexGuard<'static, u32>>();
}

#[rstest]
#[case::one_worker(1, 7)]
#[case::two_workers(2, 11)]
#[case::four_workers(4, 13)]
#[timeout(LIMIT)]
fn stress_with_interrupts(#[case] workers_: usize, #[case] seed: u64) {
    let rounds = 300 * stress() as usize;
    let runtime = workers(workers_);
    let mutex = Arc::new(Mutex::new(0_usize));
    let inside = Arc::new(AtomicBool::new(false));
    let mut random = Xorshift(seed);
    let done = Arc::new(AtomicUsize::new(0));
    let body = |seed: u64| {
        let (mutex, inside, done) = (mutex.clone(), inside.clone(), done.clone());
        move || {
            let mut random = Xorshift(seed);
            for _ in 0..rounds {
                let mut section = |mut locked: MutexGuard<'_, usize>| {
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    // Also if a yield is interrupted.
                    let _leaving = OnDrop(|| inside.store(false, Ordering::Relaxed));
                    if random.next() % 4 == 0 {
                        yield_now();
                    }
                    *locked += 1;
                };
                match seed % 3 {
                    0 => {
                        let _ = timeout(Duration::from_micros(seed % 50), || {
                            section(mutex.lock().unwrap());
                        });
                    }
                    1 => {
                        if let Ok(locked) = mutex.try_lock() {
                            section(locked);
                        }
                        yield_now();
                    }
                    _ => section(mutex.lock().unwrap()),
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let os: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(body(random.next() | 1)))
        .collect();
    let green: Vec<_> = (0..20)
        .map(|_| runtime.spawn(body(random.next() | 1)))
        .collect();
    let mut cancelled = 0;
    for thread in &green {
        if random.next() % 3 == 0 {
            thread.cancel();
        }
        yield_now();
    }
    for thread in green {
        match thread.join() {
            Ok(()) => {}
            Err(payload) => {
                assert!(payload.is::<Cancelled>());
                cancelled += 1;
            }
        }
    }
    os.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(done.load(Ordering::Relaxed) + cancelled, 22);
    assert!(mutex.try_lock().is_ok(), "it is free, and not poisoned");
    spin_until(|| !inside.load(Ordering::Relaxed));
}
