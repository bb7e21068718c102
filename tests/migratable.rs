//! Migratable green threads: any worker goes on with them, no wake-up is lost on the way, and all else works as with those that stay.
#![cfg(feature = "runtime")]

mod util;

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use corde::coroutine::Coroutine;
use corde::net::{TcpListener, TcpStream};
use corde::runtime::{LocalRuntime, Runtime};
use corde::stack;
use corde::thread::{self, Builder, CancelToken, Cancelled, JoinHandle, JoinSet, Thread};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::{LIMIT, child, full_name, net, stress};

type Worker = std::thread::ThreadId;

/// The OS thread that calls. Not inlined, as std keeps it in a thread-local.
#[inline(never)]
fn worker() -> Worker {
    std::thread::current().id()
}

fn runtime(workers: usize) -> Runtime {
    let builder = Runtime::builder().workers(workers);
    builder.stuck_after(Duration::MAX).build().unwrap()
}

/// What is spawned with this keeps what its `Safety` section asks for: the frames here hold numbers, atomics and handles, and OS threads are asked
/// for by functions that are not inlined.
fn migratable() -> Builder {
    // SAFETY: as just said.
    unsafe { Builder::new().migratable(true) }
}

/// Spawns one in the runtime of the calling green thread.
fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    migratable().spawn(f).unwrap()
}

/// Has `body` run as a migratable green thread of a runtime with two workers, each of which can be occupied. A hang fails.
fn in_motion<T: Send + 'static>(body: impl FnOnce(Arc<Hogs>) -> T + Send + 'static) -> T {
    let runtime = runtime(2);
    let result = runtime.block_on(|| {
        let hogs = Hogs::new(2);
        let theirs = hogs.clone();
        let thread = spawn(move || body(theirs));
        let result = timeout(LIMIT, || thread.join());
        hogs.end();
        result.expect("it hangs")
    });
    let report = runtime.shutdown(LIMIT);
    assert!(report.left().is_empty(), "{report:?}");
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// A green thread on each worker, which parks there, or keeps the worker.
struct Hogs {
    hogs: Vec<OnceLock<Hog>>,
    ending: AtomicBool,
}

struct Hog {
    worker: Worker,
    thread: Thread,
    let_go: AtomicBool,
    is_busy: AtomicBool,
    /// How often it has been.
    times: AtomicUsize,
}

impl Hogs {
    fn new(workers: usize) -> Arc<Hogs> {
        let hogs = Arc::new(Hogs {
            hogs: (0..workers).map(|_| OnceLock::new()).collect(),
            ending: AtomicBool::new(false),
        });
        for place in 0..workers {
            let hogs = hogs.clone();
            thread::spawn(move || hogs.run(place));
        }
        wait_until(|| hogs.all_there());
        hogs
    }

    fn all_there(&self) -> bool {
        self.hogs.iter().all(|hog| hog.get().is_some())
    }

    fn run(&self, place: usize) {
        let hog = self.hogs[place].get_or_init(|| Hog {
            worker: worker(),
            thread: thread::current(),
            let_go: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            times: AtomicUsize::new(0),
        });
        // The others get workers of their own.
        spin_until(|| self.all_there());
        loop {
            thread::park();
            if self.ending.load(Ordering::SeqCst) {
                return;
            }
            hog.times.fetch_add(1, Ordering::SeqCst);
            hog.is_busy.store(true, Ordering::SeqCst);
            spin_until(|| hog.let_go.load(Ordering::SeqCst));
            hog.is_busy.store(false, Ordering::SeqCst);
        }
    }

    fn of(&self, worker: Worker) -> &Hog {
        let mut hogs = self.hogs.iter().filter_map(OnceLock::get);
        hogs.find(|hog| hog.worker == worker)
            .expect("each worker has one")
    }

    /// Occupies the worker of the calling green thread, from its next suspension on until what this returns is dropped.
    fn occupy(&self) -> OnDrop<impl FnMut()> {
        let hog = self.of(worker());
        hog.let_go.store(false, Ordering::SeqCst);
        hog.thread.unpark();
        OnDrop(move || {
            hog.let_go.store(true, Ordering::SeqCst);
            // It has seen that before it is used again.
            spin_until(|| !hog.is_busy.load(Ordering::SeqCst));
        })
    }

    /// Returns whether the worker is occupied.
    fn is_occupied(&self, worker: Worker) -> bool {
        self.of(worker).is_busy.load(Ordering::SeqCst)
    }

    /// Calls `wait` on a worker that is occupied for a while, if it suspends, and which it is on before and afterwards.
    fn stay(&self, wait: impl FnOnce()) {
        let before = worker();
        let occupied = Mutex::new(Some(self.occupy()));
        let is_back = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                spin_until(|| self.is_occupied(before) || is_back.load(Ordering::SeqCst));
                drop(occupied.lock().unwrap().take());
            });
            wait();
            assert_eq!(worker(), before);
            is_back.store(true, Ordering::SeqCst);
        });
    }

    fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        for hog in self.hogs.iter().filter_map(OnceLock::get) {
            hog.thread.unpark();
        }
    }

    /// Has the calling green thread move to another worker.
    #[inline(always)]
    fn move_on(&self) {
        let before = worker();
        let hog = self.of(before);
        let times = hog.times.load(Ordering::SeqCst);
        let occupied = self.occupy();
        // It may have some turns before the other one.
        while worker() == before {
            thread::yield_now();
            let kept = worker() == before && hog.times.load(Ordering::SeqCst) != times;
            assert!(!kept, "it stays with a worker that is busy");
        }
        drop(occupied);
    }
}

/// Waits without suspending, and gives up at some time, so that a test fails instead of hanging.
fn spin_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT / 2;
    while !holds() && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

// Moving.

#[test]
fn one_that_yields_goes_on_while_its_worker_is_busy() {
    in_motion(|hogs| {
        for _ in 0..20 {
            hogs.move_on();
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Waker {
    Os,
    Pinned,
    Migratable,
    OfAnotherRuntime,
}

impl Waker {
    /// Has one of these run `f`; not on worker `not`, if it is a pinned one.
    fn run(self, not: Option<Worker>, f: impl FnOnce() + Send + 'static) {
        match self {
            Waker::Os => drop(std::thread::spawn(f)),
            Waker::Pinned => elsewhere(not, Box::new(f)),
            Waker::Migratable => drop(spawn(f)),
            Waker::OfAnotherRuntime => drop(std::thread::spawn(move || {
                LocalRuntime::new().unwrap().block_on(f);
            })),
        }
    }
}

/// Runs `f` in a pinned green thread, on another worker than `not`.
fn elsewhere(not: Option<Worker>, f: Box<dyn FnOnce() + Send>) {
    drop(thread::spawn(move || match not {
        Some(not) if not == worker() => elsewhere(Some(not), f),
        _ => f(),
    }));
}

#[rstest]
#[case::by_an_os_thread(Waker::Os)]
#[case::by_a_pinned_one(Waker::Pinned)]
#[case::by_a_migratable_one(Waker::Migratable)]
#[case::by_one_of_another_runtime(Waker::OfAnotherRuntime)]
fn one_that_is_woken_goes_on_while_its_worker_is_busy(#[case] waker: Waker) {
    in_motion(move |hogs| {
        for _ in 0..10 {
            let (before, me, theirs) = (worker(), thread::current(), hogs.clone());
            let occupied = hogs.occupy();
            waker.run(Some(before), move || {
                wait_until(|| theirs.is_occupied(before));
                me.unpark();
            });
            thread::park();
            assert_ne!(worker(), before);
            drop(occupied);
        }
    });
}

#[test]
fn one_that_waits_for_a_socket_goes_on_while_its_worker_is_busy_with_another() {
    in_motion(|hogs| {
        let (mut near, mut far) = net::pair();
        let mut byte = [0];
        // Registers the socket with this worker.
        let waited = timeout(Duration::from_millis(1), || near.read(&mut byte));
        assert!(waited.is_err());
        let first = worker();
        hogs.move_on();
        // The worker that reports the socket is not the one that is occupied.
        let (before, theirs) = (worker(), hogs.clone());
        let occupied = hogs.occupy();
        let writer = std::thread::spawn(move || {
            spin_until(|| theirs.is_occupied(before));
            far.write_all(&[2]).unwrap();
        });
        near.read_exact(&mut byte).unwrap();
        assert_eq!((byte, worker()), ([2], first));
        drop(occupied);
        writer.join().unwrap();
    });
}

#[test]
fn others_stay_though_their_worker_is_busy() {
    let runtime = runtime(2);
    runtime.block_on(|| {
        let hogs = Hogs::new(2);
        // SAFETY: it is not.
        let not_migratable = unsafe { migratable().migratable(false) };
        for builder in [Builder::new(), not_migratable] {
            let hogs = hogs.clone();
            let stays = builder.spawn(move || {
                for _ in 0..10 {
                    hogs.stay(thread::yield_now);
                }
            });
            stays.unwrap().join().unwrap();
        }
        hogs.end();
    });
}

// Staying for a time.

#[rstest]
#[case::sleep(|| thread::sleep(Duration::from_micros(200)))]
#[case::park_timeout(|| thread::park_timeout(Duration::from_micros(200)))]
#[case::in_a_timeout(|| timeout(LIMIT, thread::yield_now).unwrap())]
#[case::sleeping_in_a_timeout(|| assert!(timeout(Duration::from_micros(200), thread::park).is_err()))]
#[case::until_cancelled(|| { CancelToken::new().run_until_cancelled(thread::yield_now); })]
#[case::masked(|| thread::without_cancel(thread::yield_now))]
fn it_stays_while_something_of_it_is_its_workers(#[case] wait: fn()) {
    in_motion(move |hogs| {
        for _ in 0..5 {
            // The other worker is idle meanwhile.
            hogs.stay(wait);
            hogs.move_on();
        }
    });
}

#[test]
fn it_waits_in_place_while_it_unwinds() {
    in_motion(|hogs| {
        for round in 0..10 {
            let before = worker();
            let me = thread::current();
            let theirs = hogs.clone();
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _waits = OnDrop(|| {
                    let waker = me.clone();
                    std::thread::spawn(move || waker.unpark());
                    thread::park();
                    thread::yield_now();
                    thread::sleep(Duration::from_micros(50));
                    assert_eq!(worker(), before);
                    assert!(thread::panicking());
                });
                panic_quietly()
            }));
            assert!(is_quiet_panic(&*unwound.unwrap_err()), "round {round}");
            assert!(!thread::panicking());
            theirs.move_on();
            assert!(!thread::panicking());
        }
    });
}

#[test]
fn what_comes_while_it_unwinds_is_there_afterwards() {
    in_motion(|hogs| {
        for _ in 0..10 {
            let woken = Arc::new(AtomicUsize::new(0));
            let me = thread::current();
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _waits = OnDrop(|| {
                    let wakers: Vec<_> = (0..3)
                        .map(|_| {
                            let (me, woken) = (me.clone(), woken.clone());
                            std::thread::spawn(move || {
                                me.unpark();
                                woken.fetch_add(1, Ordering::SeqCst);
                                me.unpark();
                            })
                        })
                        .collect();
                    thread::park();
                    wakers.into_iter().for_each(|waker| waker.join().unwrap());
                });
                panic_quietly()
            }));
            assert!(unwound.is_err());
            // All have woken it; the last token has not been taken.
            assert_eq!(woken.load(Ordering::SeqCst), 3);
            me.unpark();
            thread::park();
            hogs.move_on();
        }
    });
}

// What it finds after it has moved.

#[test]
fn the_runtime_knows_it_wherever_it_is() {
    in_motion(|hogs| {
        let (me, mut workers) = (thread::current().id(), 0);
        let size = 200_000;
        // All in one function, so that the compiler may keep what it takes for constant. (On aarch64, where a thread-local has an address that is
        // worth keeping, this crashes if the worker is in one. In an x86_64 executable it is a constant offset.)
        for _ in 0..50 {
            let before = worker();
            assert_eq!(thread::current().id(), me);
            let left = stack::remaining().unwrap();
            let mut coroutine = Coroutine::new(|yielder, ()| yielder.suspend(())).unwrap();
            coroutine.resume(());
            drop(coroutine);
            hogs.move_on();
            assert_eq!(thread::current().id(), me);
            assert_eq!(stack::remaining(), Some(left));
            assert_eq!(stack::ensure(size, || thread::current().id()), me);
            let mut coroutine = Coroutine::new(|yielder, ()| yielder.suspend(())).unwrap();
            coroutine.resume(());
            drop(coroutine);
            // A stale worker would put it into a queue of the other one, which is not its owner's to touch.
            let child = thread::spawn(move || ());
            child.join().unwrap();
            assert_eq!(thread::current().id(), me);
            workers += usize::from(worker() != before);
        }
        assert!(workers > 0);
    });
}

#[test]
fn coroutines_and_other_stacks_move_along() {
    in_motion(|hogs| {
        let me = thread::current().id();
        let theirs = hogs.clone();
        let mut large = stack::DefaultStack::new(1 << 20).unwrap();
        stack::on_stack(&mut large, || {
            // Nothing in its frames is an OS thread's.
            let mut counter = Coroutine::new(move |yielder, ()| {
                for count in 0..10 {
                    theirs.move_on();
                    assert_eq!(thread::current().id(), me);
                    yielder.suspend(count);
                }
            })
            .unwrap();
            let mut counted = 0;
            loop {
                hogs.move_on();
                counter.resume(());
                if counter.is_done() {
                    break;
                }
                counted += 1;
            }
            assert_eq!(counted, 10);
        });
    });
}

#[rstest]
fn an_overflow_is_reported_with_its_name(#[context] context: Context) {
    #[expect(unconditional_recursion, reason = "it overflows")]
    fn recurse(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        recurse(depth + 1) + frame[0]
    }
    let outcome = child::run(&full_name(&context), &[], || {
        runtime(2).block_on(|| {
            let hogs = Hogs::new(2);
            let named = migratable().name("far from home".to_owned());
            let deep = named.spawn(move || {
                hogs.move_on();
                recurse(0)
            });
            let _ = deep.unwrap().join();
        });
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:?}");
    assert!(
        outcome.stderr.contains("green thread 'far from home'"),
        "{outcome:?}"
    );
}

// Waking.

/// Waits for a number of wake-ups, in random ways.
fn collect(inbox: &AtomicUsize, goal: usize, mut random: Xorshift) {
    let mut got = 0;
    while got < goal {
        match random.next() % 8 {
            0 => thread::yield_now(),
            1 => thread::park_timeout(Duration::from_micros(random.next() % 100)),
            2 => {
                let limit = Duration::from_micros(random.next() % 200);
                let _ = timeout(limit, thread::park);
            }
            _ if inbox.load(Ordering::Acquire) == 0 => thread::park(),
            _ => {}
        }
        got += inbox.swap(0, Ordering::Acquire);
    }
    assert_eq!(got, goal);
}

/// Wakes each of the threads so many times, in random order.
fn wake_all(targets: &[(Arc<AtomicUsize>, Thread)], times: usize, mut random: Xorshift) {
    let mut left: Vec<_> = (0..targets.len() * times)
        .map(|number| number % targets.len())
        .collect();
    while !left.is_empty() {
        let next = random.next() as usize % left.len();
        let (inbox, thread) = &targets[left.swap_remove(next)];
        inbox.fetch_add(1, Ordering::Release);
        thread.unpark();
        if random.next() % 4 == 0 {
            thread::yield_now();
        }
    }
}

#[rstest]
#[case::two_workers(2)]
#[case::three_workers(3)]
#[case::four_workers(4)]
fn no_wake_up_is_lost(#[case] workers: usize) {
    const TARGETS: usize = 6;
    const TIMES: usize = 40;
    let all = [
        Waker::Os,
        Waker::Pinned,
        Waker::Migratable,
        Waker::OfAnotherRuntime,
    ];
    let seed = std::env::var("CORDE_CHAOS").map_or(7, |seed| seed.parse().unwrap());
    for round in 0..10 * stress() {
        let runtime = runtime(workers);
        runtime.block_on(|| {
            let mut random = Xorshift(seed * 1_000_003 + round * 97 + workers as u64);
            let mut next = || Xorshift(random.next() | 1);
            let goal = TIMES * all.len();
            let (threads, targets): (Vec<_>, Vec<_>) = (0..TARGETS)
                .map(|_| {
                    let inbox = Arc::new(AtomicUsize::new(0));
                    let (theirs, random) = (inbox.clone(), next());
                    let thread = spawn(move || collect(&theirs, goal, random));
                    let target = (inbox, thread.thread().clone());
                    (thread, target)
                })
                .unzip();
            for waker in all {
                let (targets, random) = (targets.clone(), next());
                waker.run(None, move || wake_all(&targets, TIMES, random));
            }
            for thread in threads {
                let joined = timeout(LIMIT, || thread.join());
                joined.expect("a wake-up is lost").unwrap();
            }
        });
        let report = runtime.shutdown(LIMIT);
        assert!(report.left().is_empty(), "{report:?}");
    }
}

#[test]
fn two_that_wake_each_other_go_on() {
    in_motion(|_| {
        const ROUNDS: usize = 2_000;
        let me = thread::current();
        let other = spawn(move || {
            for _ in 0..ROUNDS {
                thread::park();
                me.unpark();
            }
        });
        for _ in 0..ROUNDS {
            other.thread().unpark();
            thread::park();
        }
        other.join().unwrap();
    });
}

// Ending.

#[rstest]
#[case::parked(|| thread::park())]
#[case::yielding(|| thread::yield_now())]
#[case::asleep(|| thread::sleep(LIMIT))]
#[case::in_a_timeout(|| timeout(LIMIT, thread::park).unwrap())]
#[case::joining(|| spawn(|| thread::sleep(LIMIT)).join().unwrap())]
#[case::accepting(|| drop(net::listen().0.accept()))]
fn cancelling_ends_it(#[case] wait: fn()) {
    let runtime = runtime(2);
    runtime.block_on(|| {
        for by_os_thread in [false, true] {
            let begun = Arc::new(AtomicUsize::new(0));
            let dropped = Arc::new(AtomicBool::new(false));
            let (theirs, ends) = (begun.clone(), dropped.clone());
            let endless = spawn(move || {
                let _end = OnDrop(|| ends.store(true, Ordering::SeqCst));
                loop {
                    theirs.fetch_add(1, Ordering::SeqCst);
                    wait();
                }
            });
            wait_until(|| begun.load(Ordering::SeqCst) > 0);
            if by_os_thread {
                std::thread::scope(|scope| drop(scope.spawn(|| endless.cancel())));
            } else {
                endless.cancel();
            }
            let ended = timeout(LIMIT, || endless.join()).expect("it hangs");
            assert!(ended.unwrap_err().is::<Cancelled>());
            assert!(dropped.load(Ordering::SeqCst));
        }
    });
}

#[test]
fn panics_reach_whoever_joins() {
    in_motion(|hogs| {
        let theirs = hogs.clone();
        let panicking = spawn(move || {
            theirs.move_on();
            panic_quietly()
        });
        assert!(is_quiet_panic(&*panicking.join().unwrap_err()));
    });
}

#[test]
fn a_shutdown_ends_those_that_wait_anywhere() {
    for round in 0..5 * stress() {
        let runtime = runtime(2);
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let waits: [fn(); 5] = [
            || thread::park(),
            || thread::yield_now(),
            || thread::sleep(LIMIT),
            || timeout(LIMIT, thread::park).unwrap(),
            || thread::park_timeout(Duration::from_micros(10)),
        ];
        let handles: Vec<_> = runtime.block_on(|| {
            let spawn_one = |number: usize| {
                let (begun, ended) = (begun.clone(), ended.clone());
                spawn(move || {
                    let _end = OnDrop(|| {
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                    begun.fetch_add(1, Ordering::SeqCst);
                    loop {
                        waits[number % waits.len()]();
                    }
                })
            };
            (0..10 + round as usize % 7).map(spawn_one).collect()
        });
        let report = runtime.shutdown(LIMIT);
        assert!(report.left().is_empty(), "{report:?}");
        for handle in handles {
            assert!(handle.join().unwrap_err().is::<Cancelled>());
        }
        assert_eq!(begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
    }
}

#[test]
fn a_runtime_waits_for_one_that_goes_on_for_a_while() {
    let runtime = runtime(2);
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    let slow = runtime.block_on(|| {
        let slow = spawn(move || {
            thread::without_cancel(|| {
                theirs.store(true, Ordering::SeqCst);
                thread::park();
            });
            "done"
        });
        wait_until(|| begun.load(Ordering::SeqCst));
        slow
    });
    let thread = slow.thread().clone();
    // The workers wait for it, asleep.
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        thread.unpark();
    });
    let report = runtime.shutdown(LIMIT);
    assert!(report.left().is_empty(), "{report:?}");
    assert_eq!(slow.join().unwrap(), "done");
    waker.join().unwrap();
}

#[rstest]
#[case::parked(|| thread::park())]
#[case::yielding(|| thread::yield_now())]
#[case::asleep(|| thread::park_timeout(Duration::from_micros(50)))]
#[cfg_attr(feature = "asan", ignore = "leaves a green thread behind on purpose")]
fn what_does_not_end_is_reported(#[case] wait: fn()) {
    let runtime = runtime(2);
    let begun = Arc::new(AtomicBool::new(false));
    let stubborn = runtime.block_on(|| {
        let theirs = begun.clone();
        let named = migratable().name("stubborn".to_owned());
        let stubborn = named.spawn(move || {
            theirs.store(true, Ordering::SeqCst);
            thread::without_cancel(|| {
                loop {
                    wait();
                }
            });
        });
        wait_until(|| begun.load(Ordering::SeqCst));
        stubborn.unwrap()
    });
    let report = runtime.shutdown(Duration::from_millis(20));
    let names: Vec<_> = report.left().iter().map(|left| left.name()).collect();
    assert_eq!(names, [Some("stubborn")]);
    // Waking it goes nowhere, and does no harm.
    stubborn.thread().unpark();
    stubborn.cancel();
    assert!(!stubborn.is_finished());
}

// With the rest of the library.

#[test]
fn it_reads_and_writes() {
    const CLIENTS: usize = 8;
    let runtime = runtime(2);
    runtime.block_on(|| {
        let listener = TcpListener::bind(net::LOCALHOST).unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let mut served: JoinSet<io::Result<()>> = JoinSet::new();
            for _ in 0..CLIENTS {
                let (stream, _) = listener.accept().unwrap();
                let echo = move || net::echo(&stream);
                served.spawn_with(migratable(), echo).unwrap();
            }
            assert!(served.join_all().into_iter().all(|it| it.is_ok()));
        });
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let talk = move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..50_u8 {
                        net::expect_echo(&mut stream, &[client as u8, round]);
                        thread::yield_now();
                    }
                };
                migratable().spawn_scoped(scope, talk).unwrap();
            }
        });
        server.join().unwrap();
    });
}

#[test]
fn scopes_borrow_wherever_owner_and_children_are() {
    in_motion(|hogs| {
        let mut sums = [0_u64; 8];
        let numbers: Vec<u64> = (0..1000).collect();
        hogs.move_on();
        thread::scope(|scope| {
            for (sum, chunk) in sums.iter_mut().zip(numbers.chunks(125)) {
                let add = move || {
                    for number in chunk {
                        *sum += number;
                        thread::yield_now();
                    }
                };
                migratable().spawn_scoped(scope, add).unwrap();
            }
            hogs.move_on();
        });
        assert_eq!(sums.iter().sum::<u64>(), 499_500);
    });
}

#[test]
fn it_blocks_elsewhere() {
    in_motion(|hogs| {
        for number in 0..20 {
            assert_eq!(thread::blocking(|| number + 1), number + 1);
            hogs.move_on();
        }
    });
}

#[test]
fn it_has_no_local_ones() {
    in_motion(|_| {
        let refused = Builder::new().spawn_local(|| ());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
    });
}

#[test]
fn a_local_one_stays_though_it_is_to_migrate() {
    let runtime = runtime(2);
    runtime.block_on(|| {
        let here = worker();
        let shared = Rc::new(1);
        let theirs = shared.clone();
        let local = migratable().spawn_local(move || {
            for _ in 0..50 {
                thread::yield_now();
                assert_eq!(worker(), here);
            }
            *theirs
        });
        assert_eq!(local.unwrap().join().unwrap(), *shared);
    });
}

#[test]
fn in_a_runtime_with_one_worker_it_is_as_any_other() {
    let local = LocalRuntime::new().unwrap();
    let sum = local.block_on(|| {
        let sum = spawn(|| {
            thread::yield_now();
            thread::sleep(Duration::from_micros(10));
            // As it stays where it is.
            thread::spawn_local(|| 1).join().unwrap() + thread::spawn(|| 2).join().unwrap()
        });
        sum.join().unwrap()
    });
    assert_eq!(sum, 3);
}
