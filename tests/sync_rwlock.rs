//! `sync::RwLock`: who is together with whom, order of arrival, poisoning, and that nothing is lost when those who wait are interrupted.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
#[cfg(target_os = "linux")]
use std::sync::mpsc;
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, panic_quietly, wait_until};
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

fn poison<T>(lock: &RwLock<T>) {
    catch(|| {
        let _writing = lock.write();
        panic_quietly();
    });
}

/// What threads have done: their names, with what they have begun (`+`) and ended (`-`).
type Log = Rc<RefCell<Vec<String>>>;

/// Spawns one that reads if its name begins with an `r`, and writes otherwise: logs its name when it gets in, lets the others run, and logs when
/// it goes out. If it has to wait it does so already.
fn spawn_one(lock: &Rc<RwLock<()>>, log: &Log, name: &'static str) -> LocalJoinHandle<()> {
    let (lock, log, begun) = (lock.clone(), log.clone(), Rc::new(Cell::new(false)));
    let theirs = begun.clone();
    let thread = spawn_local(move || {
        theirs.set(true);
        let body = || {
            log.borrow_mut().push(format!("+{name}"));
            (0..5).for_each(|_| yield_now());
            log.borrow_mut().push(format!("-{name}"));
        };
        if name.starts_with('r') {
            let _reading = lock.read().unwrap();
            body();
        } else {
            let _writing = lock.write().unwrap();
            body();
        }
    });
    wait_until(|| begun.get());
    thread
}

fn join_all(threads: impl IntoIterator<Item = LocalJoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// The log as groups of those who were in together: `r1 r2 | w1`.
fn groups(log: &Log) -> String {
    let (mut groups, mut group, mut inside) = (Vec::new(), Vec::new(), 0);
    let log = log.borrow();
    for event in &*log {
        let (what, name) = event.split_at(1);
        if what == "+" {
            group.push(name);
            inside += 1;
        } else {
            inside -= 1;
            if inside == 0 {
                groups.push(group.join(" "));
                group.clear();
            }
        }
    }
    groups.join(" | ")
}

#[rstest]
#[case::green(&[Kind::Green; 9])]
#[case::os(&[Kind::Os; 4])]
#[case::mixed(&[Kind::Green, Kind::Os, Kind::Green, Kind::Os, Kind::Green, Kind::Green])]
#[timeout(LIMIT)]
fn a_writer_is_alone_and_readers_are_not(
    #[case] kinds: &[Kind],
    #[values(false, true)] yielding: bool,
) {
    const ROUNDS: usize = 300;
    // With -1 for a writer.
    let inside = Arc::new(AtomicIsize::new(0));
    let lock = Arc::new(RwLock::new(0));
    let threads: Vec<_> = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| {
            let (lock, inside) = (lock.clone(), inside.clone());
            kind.spawn(move || {
                for round in 0..ROUNDS {
                    let pause = || {
                        if yielding {
                            yield_now();
                        }
                    };
                    if (round + number) % 3 == 0 {
                        let mut count = lock.write().unwrap();
                        assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 0);
                        let before = *count;
                        pause();
                        *count = before + 1;
                        inside.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let count = lock.read().unwrap();
                        assert!(inside.fetch_add(1, Ordering::Relaxed) >= 0);
                        let before = *count;
                        pause();
                        assert_eq!(*count, before);
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    assert_eq!(*lock.read().unwrap(), kinds.len() * ROUNDS / 3);
}

#[rstest]
#[timeout(LIMIT)]
fn what_the_writer_did_is_seen(
    #[values(Kind::Green, Kind::Os)] writer: Kind,
    #[values(Kind::Green, Kind::Os)] reader: Kind,
) {
    let lock = Arc::new(RwLock::new(Vec::new()));
    let (theirs, told) = (lock.clone(), Arc::new(AtomicUsize::new(0)));
    let locked = told.clone();
    let writing = writer.spawn(move || {
        let mut words = theirs.write().unwrap();
        locked.store(1, Ordering::Relaxed);
        (0..100).for_each(|_| yield_now());
        words.push("written".to_owned());
    });
    wait_until(|| told.load(Ordering::Relaxed) == 1);
    assert_eq!(
        reader.run(move || lock.read().unwrap().clone()),
        ["written"]
    );
    writing.join();
}

#[test]
fn trying_does_not_wait() {
    let lock = RwLock::new(1);
    let first = lock.try_read().unwrap();
    let second = lock.try_read().unwrap();
    assert_eq!(*first, *second);
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(first);
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(second);
    let mut writing = lock.try_write().unwrap();
    *writing += 1;
    assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(writing);
    poison(&lock);
    match lock.try_read() {
        Err(TryLockError::Poisoned(error)) => assert_eq!(**error.get_ref(), 2),
        other => panic!("{other:?}"),
    }
    match lock.try_write() {
        Err(TryLockError::Poisoned(error)) => assert_eq!(**error.get_ref(), 2),
        other => panic!("{other:?}"),
    }
}

// Order.

#[rstest]
#[case::readers_together("r1 r2 r3", "r1 r2 r3")]
#[case::writers_in_turn("w1 w2", "w1 | w2")]
#[case::a_writer_divides_readers("r1 r2 w1 r3 r4", "r1 r2 | w1 | r3 r4")]
#[case::writer_first("w1 r1 r2 w2 w3 r3", "w1 | r1 r2 | w2 | w3 | r3")]
#[timeout(LIMIT)]
fn they_get_in_in_the_order_of_their_arrival(#[case] names: &'static str, #[case] expected: &str) {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let writing = lock.write().unwrap();
        let threads: Vec<_> = names
            .split(' ')
            .map(|name| spawn_one(&lock, &log, name))
            .collect();
        assert!(log.borrow().is_empty());
        drop(writing);
        join_all(threads);
        assert_eq!(groups(&log), expected);
        assert!(lock.try_write().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_reader_waits_behind_a_writer_that_waits() {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let reading = lock.read().unwrap();
        let writer = spawn_one(&lock, &log, "w1");
        let reader = spawn_one(&lock, &log, "r1");
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        (0..5).for_each(|_| yield_now());
        assert!(log.borrow().is_empty());
        drop(reading);
        join_all([writer, reader]);
        assert_eq!(groups(&log), "w1 | r1");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_last_of_the_readers_lets_the_writer_in() {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let readers = [(); 3].map(|()| lock.read().unwrap());
        let writer = spawn_one(&lock, &log, "w1");
        for reading in readers {
            assert!(log.borrow().is_empty());
            drop(reading);
            yield_now();
        }
        assert_eq!(*log.borrow(), ["+w1"]);
        join_all([writer]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_downgrade_lets_readers_in_but_no_writer() {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let writing = lock.write().unwrap();
        let names = ["r1", "r2", "w1", "r3"];
        let threads = names.map(|name| spawn_one(&lock, &log, name));
        let reading = RwLockWriteGuard::downgrade(writing);
        (0..20).for_each(|_| yield_now());
        assert_eq!(*log.borrow(), ["+r1", "+r2", "-r1", "-r2"]);
        drop(reading);
        join_all(threads);
        assert_eq!(groups(&log), "r1 r2 | w1 | r3");
        // Nobody waits.
        let reading = RwLockWriteGuard::downgrade(lock.write().unwrap());
        assert!(lock.try_read().is_ok());
        assert!(lock.try_write().is_err());
        drop(reading);
        assert!(lock.try_write().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_writer_does_not_starve_among_readers(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let runtime = workers(2);
    let lock = Arc::new(RwLock::new(false));
    // There is always one that reads.
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let lock = lock.clone();
            runtime.spawn(move || {
                loop {
                    let done = lock.read().unwrap();
                    yield_now();
                    if *done {
                        return;
                    }
                }
            })
        })
        .collect();
    let theirs = lock.clone();
    kind.run(move || {
        for _ in 0..100 {
            drop(theirs.write().unwrap());
        }
        *theirs.write().unwrap() = true;
    });
    for reader in readers {
        reader.join().unwrap();
    }
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_wait(#[values(1, 2)] workers_: usize, #[values(1, 3)] writes_in: usize) {
    let many = scaled(10_000);
    let runtime = workers(workers_);
    let lock = Arc::new(RwLock::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let writing = lock.write().unwrap();
    let threads: Vec<_> = (0..many)
        .map(|n| {
            let (lock, begun) = (lock.clone(), begun.clone());
            runtime.spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                // Many readers in a row, if there are no more writers than one in a thousand.
                if n % (writes_in * 1000) < 1000 / writes_in / writes_in {
                    *lock.write().unwrap() += 1;
                    1
                } else {
                    assert!(*lock.read().unwrap() <= many);
                    0
                }
            })
        })
        .collect();
    wait_until(|| begun.load(Ordering::Relaxed) == many);
    drop(writing);
    let written: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(*lock.try_read().unwrap(), written);
}

// Interrupts.

#[rstest]
#[case::a_writer_lets_readers_join_readers("r0", "w1 r1 r2", "w1", "r1 r2")]
#[case::a_writer_that_is_not_the_first("w0", "w1 w2 r1", "w2", "w1 | r1")]
#[case::a_writer_between_readers("w0", "r1 w1 r2", "w1", "r1 r2")]
#[case::a_reader("w0", "r1 r2 w1", "r1", "r2 | w1")]
#[case::the_only_reader("w0", "r1", "r1", "")]
#[case::the_only_writer("r0", "w1", "w1", "")]
#[timeout(LIMIT)]
fn a_cancelled_one_does_not_keep_others_out(
    #[case] owner: &str,
    #[case] names: &'static str,
    #[case] victim: &str,
    #[case] expected: &str,
) {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let (reading, writing) = match owner {
            "r0" => (Some(lock.read().unwrap()), None),
            _ => (None, Some(lock.write().unwrap())),
        };
        let mut others = Vec::new();
        let mut cancelled = None;
        for name in names.split(' ') {
            let thread = spawn_one(&lock, &log, name);
            if name == victim {
                cancelled = Some(thread);
            } else {
                others.push(thread);
            }
        }
        let cancelled = cancelled.unwrap();
        cancelled.cancel();
        assert_cancelled(cancelled.join());
        if owner == "r0" {
            // Readers get in at once.
            let readers = others.len();
            wait_until(|| log.borrow().len() == 2 * readers);
        }
        drop((reading, writing));
        join_all(others);
        assert_eq!(groups(&log), expected);
        assert!(!lock.is_poisoned());
        assert!(lock.try_write().is_ok());
    });
}

#[rstest]
#[case::reader("r1")]
#[case::writer("w1")]
#[timeout(LIMIT)]
fn one_that_was_admitted_keeps_it_though_it_is_cancelled(#[case] name: &'static str) {
    alone(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let writing = lock.write().unwrap();
        let waiting = spawn_one(&lock, &log, name);
        drop(writing);
        waiting.cancel();
        // It yields when it is in, where that strikes.
        assert_cancelled(waiting.join());
        assert_eq!(*log.borrow(), [format!("+{name}")]);
        assert!(lock.try_write().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_ends_the_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let lock = Arc::new(RwLock::new(0));
    let theirs = lock.clone();
    let writing = lock.write().unwrap();
    kind.run(move || {
        assert!(timeout(SHORT, || drop(theirs.read())).is_err());
        assert!(timeout(SHORT, || drop(theirs.write())).is_err());
    });
    drop(writing);
    let theirs = lock.clone();
    let reading = lock.read().unwrap();
    kind.run(move || {
        assert!(timeout(SHORT, || drop(theirs.write())).is_err());
        // It does not wait behind the writer that has left.
        assert!(theirs.try_read().is_ok());
    });
    drop(reading);
    assert!(lock.try_write().is_ok());
}

/// The system's number of the calling OS thread.
#[cfg(target_os = "linux")]
fn own_number() -> i64 {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Waits until this OS thread is blocked in a system call.
#[cfg(target_os = "linux")]
fn wait_until_asleep(number: i64) {
    let path = format!("/proc/self/task/{number}/stat");
    wait_until(|| {
        let stat = std::fs::read_to_string(&path).unwrap();
        // Behind the name, which may contain anything.
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    });
}

/// It holds up its worker, where one that has come before it could not go on.
#[cfg(target_os = "linux")]
#[rstest]
#[timeout(LIMIT)]
fn one_that_unwinds_goes_before_the_others(
    #[values(false, true)] reads: bool,
    #[values(false, true)] before_reads: bool,
) {
    for _ in 0..20 {
        let lock = Arc::new(RwLock::new(()));
        let (locked, begun) = (mpsc::channel(), mpsc::channel());
        let theirs = lock.clone();
        let owner = std::thread::spawn(move || {
            let owned = theirs.write().unwrap();
            locked.0.send(()).unwrap();
            // Given to the one before, which its worker does not run, it would never be free again.
            wait_until_asleep(begun.1.recv().unwrap());
            drop(owned);
        });
        let enter = |lock: &RwLock<()>, reads: bool| {
            if reads {
                drop(lock.read().unwrap());
            } else {
                drop(lock.write().unwrap());
            }
        };
        locked.1.recv().unwrap();
        alone(|| {
            let theirs = lock.clone();
            let before = spawn_local(move || enter(&theirs, before_reads));
            yield_now();
            catch(|| {
                let _locking = OnDrop(|| {
                    begun.0.send(own_number()).unwrap();
                    enter(&lock, reads);
                });
                panic_quietly();
            });
            before.join().unwrap();
        });
        owner.join().unwrap();
    }
}

// Poisoning.

#[rstest]
#[timeout(LIMIT)]
fn a_writer_that_panics_poisons_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let lock = Arc::new(RwLock::new(1));
    let theirs = lock.clone();
    kind.run(move || poison(&theirs));
    assert!(lock.is_poisoned());
    assert_eq!(**lock.read().unwrap_err().get_ref(), 1);
    assert_eq!(**lock.write().unwrap_err().get_ref(), 1);
    lock.clear_poison();
    assert!(lock.write().is_ok());

    let mut lock = Arc::into_inner(lock).unwrap();
    poison(&lock);
    assert_eq!(**lock.get_mut().unwrap_err().get_ref(), 1);
    assert_eq!(lock.into_inner().unwrap_err().into_inner(), 1);
}

#[test]
fn a_reader_that_panics_does_not_poison_it() {
    let lock = RwLock::new(1);
    catch(|| {
        let _reading = lock.read();
        panic_quietly();
    });
    catch(|| {
        let writing = lock.write().unwrap();
        let _reading = RwLockWriteGuard::downgrade(writing);
        panic_quietly();
    });
    catch(|| {
        let _adding = OnDrop(|| *lock.write().unwrap() += 1);
        panic_quietly();
    });
    assert_eq!(*lock.read().unwrap(), 2);
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupt_does_not_poison_it() {
    alone(|| {
        let lock = Rc::new(RwLock::new(()));
        let theirs = lock.clone();
        let owner = spawn_local(move || {
            let _writing = theirs.write();
            thread::park();
        });
        yield_now();
        owner.cancel();
        assert_cancelled(owner.join());
        assert!(lock.write().is_ok());
    });
}

// As std's.

#[rstest]
#[case::free(|lock: &RwLock<u32>| format!("{lock:?} {lock:#?}"), |lock: &std::sync::RwLock<u32>| format!("{lock:?} {lock:#?}"))]
#[case::read(
    |lock: &RwLock<u32>| { let guard = lock.read().unwrap(); format!("{lock:?} {guard:?} {guard}") },
    |lock: &std::sync::RwLock<u32>| { let guard = lock.read().unwrap(); format!("{lock:?} {guard:?} {guard}") }
)]
#[case::written(
    |lock: &RwLock<u32>| { let mut guard = lock.write().unwrap(); *guard = 8; format!("{lock:?} {guard:?} {guard}") },
    |lock: &std::sync::RwLock<u32>| { let mut guard = lock.write().unwrap(); *guard = 8; format!("{lock:?} {guard:?} {guard}") }
)]
#[case::poisoned(
    |lock: &RwLock<u32>| {
        catch(|| { let _writing = lock.write(); panic_quietly() });
        format!("{lock:?} {:?} {:?}", lock.read(), lock.try_write())
    },
    |lock: &std::sync::RwLock<u32>| {
        catch(|| { let _writing = lock.write(); panic_quietly() });
        format!("{lock:?} {:?} {:?}", lock.read(), lock.try_write())
    }
)]
fn it_is_shown_as_std_shows_its_own(
    #[case] ours: fn(&RwLock<u32>) -> String,
    #[case] stds: fn(&std::sync::RwLock<u32>) -> String,
) {
    assert_eq!(ours(&RwLock::new(7)), stds(&std::sync::RwLock::new(7)));
}

#[test]
fn it_is_made_as_stds() {
    static COUNT: RwLock<u32> = RwLock::new(1);
    *COUNT.write().unwrap() += 1;
    assert_eq!(*COUNT.read().unwrap(), 2);
    assert_eq!(RwLock::from(3).into_inner().unwrap(), 3);
    let mut lock = RwLock::<u32>::default();
    *lock.get_mut().unwrap() += 4;
    assert_eq!(lock.into_inner().unwrap(), 4);
}

#[test]
fn its_value_need_not_be_sized() {
    let slice: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
    slice.write().unwrap()[0] = 4;
    assert_eq!(*slice.read().unwrap(), [4, 2, 3]);
    let shown: &RwLock<dyn Debug + Send + Sync> = &RwLock::new("text");
    assert_eq!(format!("{:?}", &*shown.read().unwrap()), "\"text\"");
}

#[test]
fn its_value_is_dropped_once() {
    let drops = Cell::new(0);
    let counting = || OnDrop(|| drops.set(drops.get() + 1));
    drop(RwLock::new(counting()));
    assert_eq!(drops.get(), 1);
    drop(RwLock::new(counting()).into_inner().unwrap());
    assert_eq!(drops.get(), 2);
}

#[test]
fn it_goes_where_stds_goes() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    fn send<T: Send + UnwindSafe + RefUnwindSafe>() {}
    fn guard<T: Sync + UnwindSafe>() {}
    anywhere::<RwLock<u32>>();
    send::<RwLock<Cell<u32>>>();
    guard::<RwLockReadGuard<'static, u32>>();
    guard::<RwLockWriteGuard<'static, u32>>();
}

/// As std's guard for reading, and not that for writing.
#[test]
fn a_guard_for_reading_may_be_taken_for_one_of_less() {
    fn shorten<'short>(
        guard: RwLockReadGuard<'short, &'static str>,
        _text: &'short str,
    ) -> RwLockReadGuard<'short, &'short str> {
        guard
    }
    let lock = RwLock::new("static");
    let text = "local".to_owned();
    assert_eq!(*shorten(lock.read().unwrap(), &text), "static");
}

#[rstest]
#[case::one_worker(1, 7)]
#[case::two_workers(2, 11)]
#[case::four_workers(4, 13)]
#[timeout(LIMIT)]
fn stress_with_interrupts(#[case] workers_: usize, #[case] seed: u64) {
    let rounds = 200 * stress() as usize;
    let runtime = workers(workers_);
    // With -1 for a writer.
    let inside = Arc::new(AtomicIsize::new(0));
    let lock = Arc::new(RwLock::new(()));
    let body = |seed: u64| {
        let (lock, inside) = (lock.clone(), inside.clone());
        move || {
            let mut random = Xorshift(seed);
            for _ in 0..rounds {
                let (kind, yields) = (random.next() % 8, random.next() % 2);
                let pause = || (0..yields).for_each(|_| yield_now());
                let read = |_guard: RwLockReadGuard<'_, ()>| {
                    assert!(inside.fetch_add(1, Ordering::Relaxed) >= 0);
                    let _leaving = OnDrop(|| {
                        inside.fetch_sub(1, Ordering::Relaxed);
                    });
                    pause();
                };
                let write = |guard: RwLockWriteGuard<'_, ()>, downgrade: bool| {
                    assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 0);
                    let leaving = OnDrop(|| {
                        inside.fetch_add(1, Ordering::Relaxed);
                    });
                    pause();
                    drop(leaving);
                    if downgrade {
                        read(RwLockWriteGuard::downgrade(guard));
                    }
                };
                let time = Duration::from_micros(random.next() % 50);
                match kind {
                    0 => write(lock.write().unwrap(), false),
                    1 => write(lock.write().unwrap(), true),
                    2 => drop(timeout(time, || write(lock.write().unwrap(), false))),
                    3 => drop(timeout(time, || read(lock.read().unwrap()))),
                    4 => {
                        if let Ok(guard) = lock.try_write() {
                            write(guard, true);
                        }
                    }
                    5 => {
                        if let Ok(guard) = lock.try_read() {
                            read(guard);
                        }
                    }
                    _ => read(lock.read().unwrap()),
                }
            }
        }
    };
    let mut random = Xorshift(seed);
    let os: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(body(random.next() | 1)))
        .collect();
    let green: Vec<_> = (0..20)
        .map(|_| runtime.spawn(body(random.next() | 1)))
        .collect();
    for thread in &green {
        if random.next() % 3 == 0 {
            thread.cancel();
        }
        yield_now();
    }
    for thread in green {
        if let Err(payload) = thread.join() {
            assert!(payload.is::<Cancelled>());
        }
    }
    os.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(lock.try_write().is_ok(), "it is free, and not poisoned");
    assert_eq!(inside.load(Ordering::Relaxed), 0);
}
