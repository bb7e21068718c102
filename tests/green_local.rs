//! `green_local!`: a value for each thread, its life, its end, its borrows.
#![cfg(feature = "runtime")]

mod util;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corde::coroutine::{Coroutine, CoroutineResult};
use corde::runtime::{LocalRuntime, Runtime};
use corde::thread::{self, AccessError, Cancelled, JoinSet, LocalKey};
use corde::{green_local, join};
use rstest::{Context, rstest};
use util::threads::{Kind, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, child, full_name, with_workers};

green_local! {
    /// Several in one, with attributes and visibilities.
    pub(crate) static CELL: Cell<i32> = Cell::new(1);
    #[allow(dead_code, reason = "to see that attributes are kept")]
    static UNUSED: u8 = 0;
    static CONST: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
    static BORROWED: RefCell<String> = RefCell::new("first".to_owned())
}

// Access.

#[rstest]
#[timeout(LIMIT)]
fn each_thread_has_its_own(
    #[values(Kind::Green, Kind::Os)] one: Kind,
    #[values(Kind::Green, Kind::Os)] other: Kind,
) {
    one.run(move || {
        CELL.set(2);
        other.run(|| {
            assert_eq!(CELL.get(), 1);
            CELL.set(3);
        });
        assert_eq!(CELL.get(), 2);
    });
}

#[test]
fn green_threads_of_one_worker_keep_theirs_across_suspensions() {
    LocalRuntime::new().unwrap().block_on(|| {
        let threads: Vec<_> = (0..50)
            .map(|i| {
                thread::spawn_local(move || {
                    assert_eq!(CELL.replace(i), 1);
                    for _ in 0..5 {
                        thread::yield_now();
                        assert_eq!(CELL.get(), i);
                    }
                    CELL.with(|cell| {
                        thread::yield_now();
                        assert_eq!(cell.get(), i);
                    });
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(CELL.get(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn cells_have_the_methods_of_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        assert_eq!(CELL.get(), 1);
        assert_eq!(CELL.replace(2), 1);
        assert_eq!(CELL.take(), 2);
        assert_eq!(CELL.get(), 0);
        CELL.set(4);
        assert_eq!(CELL.with(Cell::get), 4);
        assert_eq!(CELL.try_with(Cell::get), Ok(4));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ref_cells_have_the_methods_of_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        assert_eq!(BORROWED.with_borrow(String::len), 5);
        BORROWED.with_borrow_mut(|text| text.push('!'));
        assert_eq!(BORROWED.replace("second".into()), "first!");
        assert_eq!(BORROWED.take(), "second");
        BORROWED.set("third".into());
        assert_eq!(BORROWED.with(|cell| cell.borrow().clone()), "third");
        CONST.with_borrow_mut(|list| list.push(1));
        assert_eq!(CONST.take(), [1]);
        for conflicting in [
            || BORROWED.with_borrow_mut(|_| ()),
            || BORROWED.set("x".into()),
            || drop(BORROWED.take()),
            || drop(BORROWED.replace("x".into())),
        ] {
            let message = BORROWED.with_borrow(|_| panic_message(conflicting));
            assert!(message.contains("already borrowed"), "{message}");
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn set_does_not_run_the_initializer(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    green_local! {
        static IN_CELL: Cell<i32> = panic!("not wanted");
        static IN_REF_CELL: RefCell<i32> = panic!("not wanted");
    }
    kind.run(|| {
        IN_CELL.set(1);
        IN_REF_CELL.set(2);
        assert_eq!((IN_CELL.get(), IN_REF_CELL.take()), (1, 2));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_initializer_runs_once_a_thread_and_again_if_it_panicked(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    green_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
        static FRAGILE: u32 = {
            CALLS.set(CALLS.get() + 1);
            if CALLS.get() == 1 {
                panic_quietly();
            }
            CALLS.get()
        };
    }
    kind.run(|| {
        assert!(catch_unwind(|| FRAGILE.with(|_| ())).is_err());
        assert_eq!(FRAGILE.with(|value| *value), 2);
        assert_eq!(FRAGILE.with(|value| *value), 2);
        assert_eq!(CALLS.get(), 2);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_recursive_initializer_has_the_last_word_as_in_std(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    fn initialize(inner: fn(i32), depth: &Cell<i32>) -> Noted {
        let level = depth.replace(depth.get() + 1);
        if level == 0 {
            inner(level);
        }
        Noted(level)
    }
    struct Noted(i32);
    impl Drop for Noted {
        fn drop(&mut self) {
            // The last ones end after the list.
            let _ = DROPPED.try_with(|dropped| dropped.borrow_mut().push(self.0));
        }
    }
    thread_local! {
        static DEPTH: Cell<i32> = const { Cell::new(0) };
        static DROPPED: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
        static STD: Noted = DEPTH.with(|depth| initialize(|_| STD.with(|it| assert_eq!(it.0, 1)), depth));
    }
    green_local! {
        static GREEN: Noted = DEPTH.with(|depth| initialize(|_| GREEN.with(|it| assert_eq!(it.0, 1)), depth));
    }
    kind.run(|| {
        for with in [|| STD.with(|it| it.0), || GREEN.with(|it| it.0)] {
            DEPTH.set(0);
            assert_eq!(with(), 0);
            assert_eq!(with(), 0);
            assert_eq!(DROPPED.take(), [1]);
        }
    });
}

#[test]
fn many_keys_have_a_value_each() {
    macro_rules! many {
        ($($number:literal)*) => {
            [$({
                green_local! { static KEY: Cell<usize> = const { Cell::new($number) } }
                &KEY
            }),*]
        };
    }
    let keys: [&'static LocalKey<Cell<usize>>; 20] =
        many!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    thread::spawn(move || {
        // From the last on, so that tables grow in one step and have holes.
        for (i, key) in keys.iter().enumerate().rev() {
            assert_eq!(key.replace(i + 100), i);
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(key.get(), i + 100);
        }
    })
    .join()
    .unwrap();
}

#[test]
fn keys_and_errors_have_the_traits_of_std() {
    fn key<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>(_: &T) {}
    green_local! { static NOT_SEND: Rc<RefCell<i32>> = Rc::default() }
    key(&NOT_SEND);
    key(&AccessError_());
    assert_eq!(format!("{NOT_SEND:?}"), "LocalKey { .. }");
    assert_eq!(NOT_SEND.with(Rc::strong_count), 1);
}

/// A value of the type, which cannot be made outside of corde.
#[allow(non_snake_case, reason = "in the place of a constructor")]
fn AccessError_() -> AccessError {
    green_local! { static LAST: Last = Last(None) }
    struct Last(Option<Sender<AccessError>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                sender.send(LAST.try_with(|_| ()).unwrap_err()).unwrap();
            }
        }
    }
    green_local! { static SLOT: RefCell<Option<Last>> = const { RefCell::new(None) } }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        SLOT.set(Some(Last(Some(sender))));
        // Made later, and so dropped before.
        LAST.with(|_| ());
    })
    .join()
    .unwrap();
    receiver.recv().unwrap()
}

#[test]
fn the_error_says_what_that_of_std_says() {
    let error = AccessError_();
    assert_eq!(error, error.clone());
    assert_eq!(error.to_string(), "already destroyed");
    assert_eq!(format!("{error:?}"), "AccessError");
    let _: &dyn std::error::Error = &error;
}

// The end.

type Log = Arc<Mutex<Vec<&'static str>>>;

/// Notes its name when it is dropped.
struct Noted(&'static str, Log);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

green_local! {
    static FIRST: RefCell<Option<Noted>> = const { RefCell::new(None) };
    static SECOND: RefCell<Option<Noted>> = const { RefCell::new(None) };
    static THIRD: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

fn fill(log: &Log) {
    // The order of use, not that of their numbers.
    SECOND.set(Some(Noted("second", log.clone())));
    FIRST.set(Some(Noted("first", log.clone())));
    THIRD.set(Some(Noted("third", log.clone())));
}

const ORDER: [&str; 3] = ["third", "first", "second"];

#[rstest]
#[case::of_a_spawned_one(|log| thread::spawn(move || fill(&log)).join().unwrap())]
#[case::of_an_os_thread(|log| std::thread::spawn(move || fill(&log)).join().unwrap())]
#[case::of_a_local_one(|log| {
    LocalRuntime::new().unwrap().block_on(|| thread::spawn_local(move || fill(&log)).join().unwrap());
})]
#[case::of_the_main_one(|log| LocalRuntime::new().unwrap().block_on(|| fill(&log)))]
#[case::of_a_scoped_one(|log| thread::scope(|scope| { scope.spawn(|| fill(&log)); }))]
#[case::of_one_that_is_joined_in_a_scope(|log| thread::scope(|scope| scope.spawn(|| fill(&log)).join().unwrap()))]
#[case::of_one_in_a_try_scope(|log| {
    thread::try_scope(|scope| { scope.spawn(|| { fill(&log); Ok(()) }); Ok::<(), ()>(()) }).unwrap();
})]
#[case::of_a_member_of_a_set(|log| {
    let mut set = JoinSet::new();
    set.spawn(move || fill(&log));
    set.join_next().unwrap().unwrap();
})]
#[case::of_one_that_maps(|log| drop(thread::map([log], 1, |log| fill(&log))))]
#[case::of_one_that_is_run(|log| corde::run(|| fill(&log)))]
#[case::of_one_that_panics(|log| {
    thread::spawn(move || { fill(&log); panic_quietly() }).join().unwrap_err();
})]
#[case::of_one_that_is_cancelled(|log| {
    let cancelled = thread::spawn(move || { fill(&log); loop { thread::park() } });
    wait_until(|| { cancelled.cancel(); cancelled.is_finished() });
    cancelled.join().unwrap_err();
})]
#[timeout(LIMIT)]
fn values_are_dropped_newest_first_before_a_thread_counts_as_ended(#[case] run: fn(Log)) {
    for _ in 0..20 {
        let log = Log::default();
        let theirs = log.clone();
        // A green thread that did not begin before it was cancelled has made nothing.
        run(theirs);
        let dropped = log.lock().unwrap().clone();
        assert!(dropped == ORDER || dropped.is_empty(), "{dropped:?}");
        if dropped.is_empty() {
            assert_eq!(Arc::strong_count(&log), 1);
        }
    }
}

#[test]
fn destructors_run_on_the_stack_of_their_green_thread() {
    struct Deep(Sender<(bool, Option<String>)>);
    impl Drop for Deep {
        fn drop(&mut self) {
            // More than a worker would have to spare for it if this did not grow with the stack that was asked for.
            let mut large = [0_u8; 512 * 1024];
            std::hint::black_box(&mut large);
            thread::yield_now();
            let name = thread::current().name().map(str::to_owned);
            self.0.send((large[0] == 0, name)).unwrap();
        }
    }
    green_local! { static DEEP: RefCell<Option<Deep>> = const { RefCell::new(None) } }
    let (sender, receiver) = mpsc::channel();
    let builder = thread::Builder::new()
        .name("deep".into())
        .stack_size(1 << 20);
    let spawned = builder.spawn(move || DEEP.set(Some(Deep(sender)))).unwrap();
    spawned.join().unwrap();
    assert_eq!(receiver.recv().unwrap(), (true, Some("deep".into())));
}

/// Uses other values when it is dropped.
struct Busy {
    log: Log,
    sender: Sender<Result<i32, AccessError>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Dropped already; still there; never made; just being dropped.
        self.sender.send(NEWER.try_with(|_| 0)).unwrap();
        self.sender.send(OLDER.try_with(Cell::get)).unwrap();
        self.sender.send(LATE.try_with(|_| 2)).unwrap();
        self.sender.send(BUSY.try_with(|_| 3)).unwrap();
        LATE.set(Some(Noted("late", self.log.clone())));
    }
}

green_local! {
    static OLDER: Cell<i32> = const { Cell::new(0) };
    static BUSY: RefCell<Option<Busy>> = const { RefCell::new(None) };
    static NEWER: Cell<i32> = const { Cell::new(0) };
    static LATE: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

#[rstest]
#[timeout(LIMIT)]
fn what_destructors_make_is_dropped_and_what_is_dropped_is_gone(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (sender, receiver) = mpsc::channel();
    let log = Log::default();
    let theirs = log.clone();
    kind.run(move || {
        OLDER.set(1);
        BUSY.set(Some(Busy {
            log: theirs,
            sender,
        }));
        NEWER.set(1);
    });
    let seen: Vec<_> = receiver.iter().map(Result::ok).collect();
    assert_eq!(seen, [None, Some(1), Some(2), None]);
    assert_eq!(*log.lock().unwrap(), ["late"]);
}

#[test]
fn the_result_of_a_thread_finds_its_values_gone() {
    struct Output(Sender<bool>);
    impl Drop for Output {
        fn drop(&mut self) {
            self.0.send(CELL.try_with(|_| ()).is_err()).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    LocalRuntime::new().unwrap().block_on(|| {
        // Nobody joins it: it drops its result itself.
        thread::spawn_local(move || {
            CELL.set(2);
            Output(sender)
        });
        thread::yield_now();
    });
    assert!(receiver.recv().unwrap());
}

#[test]
fn values_that_the_dropped_result_of_a_local_thread_makes_are_dropped_as_well() {
    struct Output(Log);
    impl Drop for Output {
        fn drop(&mut self) {
            fill(&self.0);
        }
    }
    let log = Log::default();
    let theirs = log.clone();
    LocalRuntime::new().unwrap().block_on(|| {
        thread::spawn_local(move || Output(theirs));
        wait_until(|| log.lock().unwrap().len() == 3);
    });
    assert_eq!(*log.lock().unwrap(), ORDER);
}

#[test]
fn a_value_with_a_waiting_destructor_is_dropped_whole_though_cancelled() {
    struct Waits(Log);
    impl Drop for Waits {
        fn drop(&mut self) {
            for _ in 0..10 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(1));
            self.0.lock().unwrap().push("waited");
        }
    }
    green_local! { static WAITS: RefCell<Option<Waits>> = const { RefCell::new(None) } }
    let log = Log::default();
    let theirs = log.clone();
    let begun = Arc::new(AtomicUsize::new(0));
    let has_begun = begun.clone();
    let thread = thread::spawn(move || -> () {
        WAITS.set(Some(Waits(theirs)));
        has_begun.store(1, Ordering::SeqCst);
        loop {
            thread::park();
        }
    });
    wait_until(|| begun.load(Ordering::SeqCst) == 1);
    thread.cancel();
    assert!(thread.join().unwrap_err().is::<Cancelled>());
    assert_eq!(*log.lock().unwrap(), ["waited"]);
}

#[test]
fn a_local_result_is_dropped_though_its_handle_goes_while_destructors_wait() {
    struct Gate(Rc<Cell<bool>>);
    impl Drop for Gate {
        fn drop(&mut self) {
            wait_until(|| self.0.get());
        }
    }
    green_local! { static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) } }
    struct Output(Rc<Cell<u32>>);
    impl Drop for Output {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    LocalRuntime::new().unwrap().block_on(|| {
        let (open, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let (theirs, counts) = (open.clone(), dropped.clone());
        let handle = thread::spawn_local(move || {
            GATE.set(Some(Gate(theirs)));
            Output(counts)
        });
        thread::yield_now();
        assert!(!handle.is_finished());
        drop(handle);
        assert_eq!(dropped.get(), 0);
        open.set(true);
        wait_until(|| dropped.get() == 1);
    });
}

#[rstest]
#[case::green(Kind::Green)]
#[case::os(Kind::Os)]
#[timeout(LIMIT)]
fn a_panic_of_a_destructor_aborts(#[case] kind: Kind, #[context] context: Context) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic_quietly();
        }
    }
    green_local! { static PANICS: Panics = const { Panics } }
    let outcome = child::run(&full_name(&context), &[], || {
        kind.run(|| PANICS.with(|_| ()));
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("panicked when it was dropped"),
        "{outcome:#?}"
    );
}

#[test]
fn a_green_thread_that_is_left_behind_drops_nothing() {
    let log = Log::default();
    let runtime = Runtime::new().unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let (theirs, has_begun) = (log.clone(), begun.clone());
    let _left = runtime.spawn(move || {
        fill(&theirs);
        thread::without_cancel(|| {
            has_begun.store(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        })
    });
    wait_until(|| begun.load(Ordering::SeqCst) == 1);
    let report = runtime.shutdown(Duration::from_millis(20));
    assert_eq!(report.left().len(), 1);
    assert!(log.lock().unwrap().is_empty());
}

#[test]
fn an_os_thread_that_is_at_its_very_end_has_none() {
    thread_local! {
        static VERY_LAST: RefCell<Option<VeryLast>> = const { RefCell::new(None) };
    }
    struct VeryLast(Sender<Vec<bool>>);
    impl Drop for VeryLast {
        fn drop(&mut self) {
            let never_used = BORROWED.try_with(|_| ());
            let seen = vec![never_used.is_err(), CELL.try_with(|_| ()).is_err()];
            self.0.send(seen).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // std drops the newest first: this one comes after corde's.
        VERY_LAST.set(Some(VeryLast(sender)));
        CELL.set(2);
    })
    .join()
    .unwrap();
    assert_eq!(receiver.recv().unwrap(), [true, true]);
}

// Coroutines.

type Body = Coroutine<(), (), i32>;

#[test]
fn a_coroutine_uses_the_values_of_whoever_resumes_it() {
    LocalRuntime::new().unwrap().block_on(|| {
        let mut coroutine: Body = Coroutine::new(|yielder, ()| {
            CELL.set(5);
            yielder.suspend(());
            CELL.get()
        })
        .unwrap();
        coroutine.resume(());
        assert_eq!(CELL.get(), 5);
        let moved = thread::spawn_local(move || coroutine.resume(()));
        assert!(matches!(moved.join(), Ok(CoroutineResult::Return(1))));
    });
}

/// A coroutine that is suspended inside of a borrow and, resumed, notes the value once more.
fn suspended_in_a_borrow(log: &Log) -> Body {
    let mut coroutine: Body = Coroutine::new(|yielder, ()| {
        FIRST.with(|first| {
            yielder.suspend(());
            match &*first.borrow() {
                Some(noted) => noted.1.lock().unwrap().push("still there"),
                None => unreachable!("it has been set"),
            }
        });
        thread::yield_now();
        0
    })
    .unwrap();
    FIRST.set(Some(Noted("first", log.clone())));
    coroutine.resume(());
    coroutine
}

#[test]
fn a_borrow_outlives_the_thread_in_a_coroutine_that_another_resumes() {
    LocalRuntime::new().unwrap().block_on(|| {
        let log = Log::default();
        let theirs = log.clone();
        let made = thread::spawn_local(move || suspended_in_a_borrow(&theirs));
        let mut coroutine = made.join().unwrap();
        assert!(log.lock().unwrap().is_empty());
        coroutine.resume(());
        assert_eq!(*log.lock().unwrap(), ["still there", "first"]);
    });
}

#[test]
fn a_borrow_ends_with_the_coroutine_that_has_it() {
    LocalRuntime::new().unwrap().block_on(|| {
        let log = Log::default();
        let theirs = log.clone();
        let made = thread::spawn_local(move || suspended_in_a_borrow(&theirs));
        drop(made.join().unwrap());
        assert_eq!(*log.lock().unwrap(), ["first"]);
    });
}

// Many at once.

#[rstest]
#[timeout(LIMIT)]
fn many_green_threads_on_several_workers_keep_theirs(#[context] context: Context) {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted(Cell<usize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    green_local! {
        static COUNTED: Counted = {
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Counted(Cell::new(0))
        };
    }
    with_workers(3, &context, || {
        let threads: Vec<_> = (0..2_000)
            .map(|i| {
                thread::spawn(move || {
                    COUNTED.with(|counted| counted.0.set(i));
                    thread::yield_now();
                    COUNTED.with(|counted| counted.0.get())
                })
            })
            .collect();
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), i);
        }
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_value_need_not_be_send() {
    green_local! { static SHARED: Rc<Cell<u32>> = Rc::default() }
    let (a, b) = join!(|| SHARED.with(|shared| shared.replace(1)), || SHARED
        .with(|shared| shared.replace(2)),);
    assert_eq!((a, b), (0, 0));
    let payload: Box<dyn Any + Send> = thread::spawn(|| {
        SHARED.with(|shared| shared.set(9));
        catch_unwind(AssertUnwindSafe(|| SHARED.with(|_| panic_quietly()))).unwrap_err()
    })
    .join()
    .unwrap();
    assert!(util::threads::is_quiet_panic(&*payload));
}
