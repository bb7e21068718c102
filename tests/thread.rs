//! `corde::thread`: spawning, joining, panics, names, settings, `go!` and `run`.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::hint;
use std::io;
use std::panic::{self, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corde::go;
use corde::thread::{self, Builder};
use rstest::{Context, rstest};
use util::threads::{Kind, OnDrop, Payload, is_quiet_panic, panic_quietly, wait_until};
use util::{LIMIT, child, full_name, scaled};

// Results.

#[rstest]
#[timeout(LIMIT)]
fn join_returns_the_result(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let ended = thread::spawn(|| String::from("early"));
        wait_until(|| ended.is_finished());
        assert_eq!(ended.join().unwrap(), "early");

        let parked = thread::spawn(|| {
            thread::park();
            "late"
        });
        let target = parked.thread().clone();
        let waker = thread::spawn(move || target.unpark());
        assert_eq!(parked.join().unwrap(), "late");
        waker.join().unwrap();
    });
}

#[rstest]
#[case::literal(|| panic!("plain"), |payload: &Payload| payload.downcast_ref() == Some(&"plain"))]
#[case::formatted(
    || panic!("number {}", hint::black_box(7)),
    |payload: &Payload| payload.downcast_ref::<String>().is_some_and(|text| text == "number 7")
)]
#[case::any(|| panic::panic_any(7_u8), |payload: &Payload| payload.downcast_ref() == Some(&7_u8))]
#[case::resumed(|| resume_unwind(Box::new(7_i64)), |payload: &Payload| payload.downcast_ref() == Some(&7_i64))]
#[timeout(LIMIT)]
fn join_returns_the_payload_of_a_panic(
    #[case] panicking: fn(),
    #[case] is_payload: fn(&Payload) -> bool,
    #[values(Kind::Green, Kind::Os)] joiner: Kind,
) {
    joiner.run(move || {
        let payload = thread::spawn(panicking).join().unwrap_err();
        assert!(is_payload(&*payload));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_is_nobody_elses() {
    const ROUNDS: usize = 10;
    let threads: Vec<_> = (0..400)
        .map(|i| {
            thread::spawn(move || {
                // Must not let others run under the panic.
                let _yields = (i % 4 == 0).then(|| OnDrop(thread::yield_now));
                for round in 0..ROUNDS {
                    if i % 4 == 0 && round == i / 4 % ROUNDS {
                        resume_unwind(Box::new(i));
                    }
                    assert!(!thread::panicking());
                    thread::yield_now();
                }
                i
            })
        })
        .collect();
    for (i, thread) in threads.into_iter().enumerate() {
        match thread.join() {
            Ok(result) => assert!(result == i && i % 4 != 0),
            Err(payload) => assert!(payload.downcast_ref() == Some(&i) && i % 4 == 0),
        }
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_detached_panic_harms_nobody() {
    const THREADS: usize = 50;
    /// Counts the payloads that were dropped.
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..THREADS {
        let payload = Counted(dropped.clone());
        drop(thread::spawn(move || {
            thread::yield_now();
            resume_unwind(Box::new(payload));
        }));
    }
    wait_until(|| dropped.load(Ordering::Relaxed) == THREADS);
    let after: Vec<_> = (0..THREADS).map(|i| thread::spawn(move || i)).collect();
    for (i, thread) in after.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), i);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn is_finished_tells_whether_join_would_wait() {
    let parked = thread::spawn(thread::park);
    let panicking = thread::spawn(|| panic_quietly());
    wait_until(|| panicking.is_finished());
    assert!(!parked.is_finished());
    parked.thread().unpark();
    wait_until(|| parked.is_finished());
    parked.join().unwrap();
    assert!(is_quiet_panic(&*panicking.join().unwrap_err()));
}

#[rstest]
#[timeout(LIMIT)]
fn dropping_the_handle_detaches() {
    let (sender, receiver) = mpsc::channel();
    let detached = thread::spawn(move || {
        thread::park();
        sender.send("done").unwrap();
    });
    let target = detached.thread().clone();
    drop(detached);
    target.unpark();
    assert_eq!(receiver.recv(), Ok("done"));
}

#[rstest]
#[timeout(LIMIT)]
fn a_result_is_dropped_once(#[values(false, true)] joined: bool) {
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = drops.clone();
    let thread = thread::spawn(move || {
        OnDrop(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        })
    });
    if joined {
        let result = thread.join();
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(result);
    } else {
        drop(thread);
    }
    // The counter's handle goes after the result.
    wait_until(|| Arc::strong_count(&drops) == 1);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// Its destructor panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the destructor of a result");
    }
}

#[rstest]
#[case::by_the_thread(|| {
    let detached = thread::spawn(|| {
        thread::park();
        Bomb
    });
    let target = detached.thread().clone();
    drop(detached);
    target.unpark();
})]
#[case::by_the_handle(|| {
    let ended = thread::spawn(|| Bomb);
    wait_until(|| ended.is_finished());
    drop(ended);
})]
#[case::payload_of_a_panic(|| {
    let ended = thread::spawn(|| resume_unwind(Box::new(Bomb)));
    wait_until(|| ended.is_finished());
    drop(ended);
})]
fn a_panic_in_dropping_an_untaken_result_aborts(#[context] context: Context, #[case] body: fn()) {
    let outcome = child::run(&full_name(&context), &[], || {
        corde::run(|| {
            body();
            loop {
                thread::park();
            }
        });
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    let reason = "corde: the result of a green thread panicked when it was dropped, aborting";
    assert!(outcome.stderr.contains(reason), "{outcome:#?}");
}

#[rstest]
#[timeout(LIMIT)]
fn a_chain_of_joins_unwinds_from_its_end() {
    let links = scaled(10_000);
    let first = thread::spawn(|| {
        thread::park();
        0
    });
    let start = first.thread().clone();
    let last = (0..links).fold(first, |previous, _| {
        thread::spawn(move || previous.join().unwrap() + 1)
    });
    start.unpark();
    assert_eq!(last.join().unwrap(), links);
}

// Who is who.

#[rstest]
#[timeout(LIMIT)]
fn ids_are_unique_and_stay() {
    let ids = |kind: Kind| {
        kind.run(|| {
            let before = thread::current().id();
            thread::yield_now();
            assert_eq!(thread::current().id(), before);
            before
        })
    };
    let mut seen: HashSet<_> = (0..20)
        .flat_map(|_| [Kind::Green, Kind::Os])
        .map(ids)
        .collect();
    let threads: Vec<_> = (0..1000)
        .map(|_| thread::spawn(|| thread::current().id()))
        .collect();
    for thread in threads {
        let from_outside = thread.thread().id();
        assert_eq!(thread.join().unwrap(), from_outside);
        seen.insert(from_outside);
    }
    seen.insert(thread::current().id());
    assert_eq!(seen.len(), 20 * 2 + 1000 + 1);
}

#[test]
#[should_panic(expected = "thread name may not contain interior null bytes")]
fn a_name_with_a_null_byte_is_refused_as_by_std() {
    let _ = Builder::new().name("a\0b".into()).spawn(|| ());
}

#[test]
fn a_name_is_seen_from_inside_and_outside() {
    let name = || thread::current().name().map(str::to_owned);
    let named = Builder::new().name("worker".into()).spawn(name).unwrap();
    assert_eq!(named.thread().name(), Some("worker"));
    assert!(format!("{named:?}").contains("worker"));
    assert_eq!(named.join().unwrap().as_deref(), Some("worker"));

    let unnamed = thread::spawn(name);
    assert_eq!(unnamed.thread().name(), None);
    assert_eq!(unnamed.join().unwrap(), None);
}

#[rstest]
#[timeout(LIMIT)]
fn an_os_thread_has_its_name_of_std() {
    let os = std::thread::Builder::new().name("plain".into());
    let plain = os.spawn(thread::current).unwrap().join().unwrap();
    assert_eq!(plain.name(), Some("plain"));
    let unnamed = std::thread::spawn(thread::current).join().unwrap();
    assert_eq!(unnamed.name(), None);
}

// Settings.

#[rstest]
#[timeout(LIMIT)]
fn a_large_stack_holds_large_frames() {
    const FRAME: usize = 4 << 20;
    // Without optimisation there are several copies of it.
    let builder = Builder::new().stack_size(4 * FRAME);
    let thread = builder.spawn(|| {
        let frame = hint::black_box([1_u8; FRAME]);
        thread::yield_now();
        frame.iter().map(|&byte| usize::from(byte)).sum::<usize>()
    });
    assert_eq!(thread.unwrap().join().unwrap(), FRAME);
}

#[rstest]
#[timeout(LIMIT)]
fn an_impossible_stack_size_is_an_error_at_once() {
    let captured = Arc::new(());
    let theirs = captured.clone();
    let spawned = Builder::new()
        .stack_size(usize::MAX)
        .spawn(move || drop(theirs));
    assert_eq!(spawned.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(Arc::strong_count(&captured), 1);
}

/// Possible for an address space, though not for this one.
const UNOBTAINABLE: usize = 1 << 60;

#[rstest]
#[timeout(LIMIT)]
fn a_stack_that_cannot_be_had_is_an_error_of_join() {
    let captured = Arc::new(());
    let theirs = captured.clone();
    let refused = Builder::new()
        .stack_size(UNOBTAINABLE)
        .spawn(move || drop(theirs));
    let payload = refused.unwrap().join().unwrap_err();
    let error = payload.downcast_ref::<io::Error>().unwrap();
    assert!(error.to_string().contains("address space"), "{error}");
    assert_eq!(Arc::strong_count(&captured), 1);
    assert_eq!(
        thread::spawn(|| "others go on").join().unwrap(),
        "others go on"
    );
}

/// The closure of a thread that gets no stack is dropped, and its destructors may want to wait.
#[rstest]
fn a_refused_closure_may_wait_in_its_destructor(#[context] context: Context) {
    let body = || {
        let (sender, receiver) = mpsc::channel();
        let captured = OnDrop(move || {
            thread::yield_now();
            thread::sleep(Duration::from_millis(1));
            sender.send(()).unwrap();
        });
        let refused = Builder::new()
            .stack_size(UNOBTAINABLE)
            .spawn(move || drop(captured));
        assert!(refused.unwrap().join().unwrap_err().is::<io::Error>());
        assert_eq!(receiver.try_recv(), Ok(()));
    };
    child::run(&full_name(&context), &[], body).assert_success();
}

#[rstest]
#[timeout(LIMIT)]
fn go_takes_all_its_forms() {
    fn named() -> (Option<String>, u32) {
        (thread::current().name().map(str::to_owned), 7)
    }
    let unnamed = (None, 7);
    assert_eq!(go!(|| (named().0, 7)).join().unwrap(), unnamed);
    assert_eq!(go!(named).join().unwrap(), unnamed);
    assert_eq!(go!(named,).join().unwrap(), unnamed);
    assert_eq!(go!({ named() }).join().unwrap(), unnamed);

    let called = |name: &str| (Some(name.to_owned()), 7);
    assert_eq!(go!(name = "a"; named).join().unwrap(), called("a"));
    assert_eq!(
        go!(name = "b"; || (named().0, 7)).join().unwrap(),
        called("b")
    );
    assert_eq!(go!(name = "c"; { named() }).join().unwrap(), called("c"));
    assert_eq!(go!(name = "d",; { named() }).join().unwrap(), called("d"));
    let owned = format!("{}-{}", "e", 1);
    assert_eq!(go!(name = owned; named).join().unwrap(), called("e-1"));

    fn needs_a_large_stack() -> (Option<String>, u32) {
        let frame = hint::black_box([1_u8; corde::stack::DEFAULT_SIZE]);
        let (name, _) = named();
        (name, frame.iter().map(|&byte| u32::from(byte)).sum())
    }
    const LARGE: usize = 4 * corde::stack::DEFAULT_SIZE;
    let sum = u32::try_from(corde::stack::DEFAULT_SIZE).unwrap();
    let large = |name: Option<&str>| (name.map(str::to_owned), sum);
    assert_eq!(
        go!(stack = LARGE; needs_a_large_stack).join().unwrap(),
        large(None)
    );
    assert_eq!(
        go!(stack = LARGE,; { needs_a_large_stack() })
            .join()
            .unwrap(),
        large(None)
    );
    assert_eq!(
        go!(name = "f", stack = LARGE; needs_a_large_stack)
            .join()
            .unwrap(),
        large(Some("f"))
    );
    assert_eq!(
        go!(stack = LARGE, name = "g"; { needs_a_large_stack() })
            .join()
            .unwrap(),
        large(Some("g"))
    );
}

#[rstest]
#[timeout(LIMIT)]
fn a_block_of_go_moves_what_it_uses() {
    let text = String::from("moved");
    let thread = go!({ text.len() });
    assert_eq!(thread.join().unwrap(), 5);
}

#[rstest]
#[timeout(LIMIT)]
fn go_panics_with_an_impossible_stack() {
    let panic = catch_unwind(|| go!(stack = usize::MAX; || ()));
    let payload = panic.unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("stack"), "{message}");
}

// `run`.

#[rstest]
#[timeout(LIMIT)]
fn run_borrows_from_the_caller(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    caller.run(|| {
        let words = [String::from("plain"), String::from("blocking")];
        let mut lengths = Vec::new();
        let first = corde::run(|| {
            lengths.extend(words.iter().map(String::len));
            thread::yield_now();
            &words[0]
        });
        assert_eq!((first.as_str(), &lengths[..]), ("plain", &[5, 8][..]));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn run_panics_with_the_payload(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    caller.run(|| {
        let panic = catch_unwind(|| corde::run(|| panic_quietly()));
        assert!(is_quiet_panic(&*panic.unwrap_err()));
        assert!(!thread::panicking());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn run_in_a_green_thread_stays_in_it() {
    let id = || thread::current().id();
    let (outer, inner) = corde::run(|| (id(), corde::run(|| corde::run(id))));
    assert_eq!(outer, inner);
    assert_ne!(outer, id());
}

#[rstest]
#[timeout(LIMIT)]
fn run_from_several_os_threads_at_once() {
    let sums: Vec<_> = (0..8)
        .map(|i| {
            std::thread::spawn(move || {
                corde::run(|| {
                    let threads: Vec<_> = (0..50).map(|j| go!(move || i * j)).collect();
                    threads.into_iter().map(|t| t.join().unwrap()).sum::<u32>()
                })
            })
        })
        .collect();
    for (i, sum) in (0..).zip(sums) {
        assert_eq!(sum.join().unwrap(), i * 50 * 49 / 2);
    }
}

/// A thread at its end may still spawn and wait.
#[rstest]
#[timeout(LIMIT)]
fn destructors_of_thread_locals_may_join() {
    struct Last(mpsc::Sender<u32>);
    impl Drop for Last {
        fn drop(&mut self) {
            let sum = corde::run(|| thread::spawn(|| 3).join().unwrap() + 4);
            self.0.send(sum).unwrap();
        }
    }
    thread_local! {
        static LAST: OnceCell<Last> = const { OnceCell::new() };
    }

    // Of the thread's locals, corde's own is destroyed before or after this one.
    for first in [true, false] {
        let (sender, receiver) = mpsc::channel();
        let ends = move || {
            if first {
                let _ = thread::current();
            }
            LAST.with(|last| last.set(Last(sender)).is_ok());
            let _ = thread::current();
        };
        std::thread::spawn(ends).join().unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
}

// What a green thread may hold.

#[rstest]
#[timeout(LIMIT)]
fn locals_that_are_not_send_live_across_suspensions() {
    let threads: Vec<_> = (0..100)
        .map(|i| {
            thread::spawn(move || {
                let count = Rc::new(Cell::new(0));
                let other = Rc::clone(&count);
                for round in 0..30 {
                    other.set(other.get() + round);
                    match (i + round) % 3 {
                        0 => thread::yield_now(),
                        1 => thread::sleep(Duration::from_micros(10)),
                        _ => {
                            thread::current().unpark();
                            thread::park();
                        }
                    }
                }
                count.get()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 30 * 29 / 2);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_green_thread_stays_on_the_os_thread_where_it_began() {
    let threads: Vec<_> = (0..64)
        .map(|_| {
            thread::spawn(|| {
                let os_thread = std::thread::current().id();
                for round in 0..50 {
                    match round % 3 {
                        0 => thread::yield_now(),
                        1 => thread::sleep(Duration::from_micros(20)),
                        _ => {
                            // Wherever that one runs, it wakes this one up here.
                            let me = thread::current();
                            thread::spawn(move || me.unpark());
                            thread::park();
                        }
                    }
                    assert_eq!(std::thread::current().id(), os_thread);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
