//! The scheduler: in which order and on which worker green threads run, and that none of them starves or is forgotten.
//!
//! What depends on the number of workers runs in a child process, where `CORDE_WORKERS` sets it.
#![cfg(feature = "runtime")]

mod util;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use corde::net::{TcpListener, TcpStream};
use corde::thread::{self, Builder, JoinHandle, Thread};
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Handle, Kind, OnDrop, one_on_each_worker, spin_until, wait_until};
use util::{child, full_name, left_out_under_valgrind, stress, with_workers};

// Order.

#[rstest]
#[case::from_a_green_thread(Kind::Green)]
#[case::from_an_os_thread(Kind::Os)]
fn fresh_threads_run_in_the_order_of_spawning(#[context] context: Context, #[case] spawner: Kind) {
    const THREADS: usize = 500;
    with_workers(1, &context, || {
        spawner.run(move || {
            let order = Arc::new(Mutex::new(Vec::new()));
            let threads: Vec<_> = (0..THREADS)
                .map(|i| {
                    let order = order.clone();
                    thread::spawn(move || order.lock().unwrap().push(i))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let mut order = order.lock().unwrap();
            if spawner == Kind::Green {
                // The last one goes first: it is the hottest.
                order.rotate_left(1);
            }
            assert!(order.iter().copied().eq(0..THREADS), "{order:?}");
        });
    });
}

#[rstest]
fn yielding_threads_take_turns(#[context] context: Context) {
    const THREADS: usize = 5;
    const ROUNDS: usize = 20;
    with_workers(1, &context, || {
        corde::run(|| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let parked = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..THREADS)
                .map(|i| {
                    let (order, parked) = (order.clone(), parked.clone());
                    thread::spawn(move || {
                        parked.fetch_add(1, Ordering::Relaxed);
                        thread::park();
                        for _ in 0..ROUNDS {
                            order.lock().unwrap().push(i);
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            wait_until(|| parked.load(Ordering::Relaxed) == THREADS);
            threads.iter().for_each(|thread| thread.thread().unpark());
            for thread in threads {
                thread.join().unwrap();
            }
            let expected = (0..ROUNDS).flat_map(|_| 0..THREADS);
            let order = order.lock().unwrap();
            assert!(order.iter().copied().eq(expected), "{order:?}");
        });
    });
}

#[rstest]
fn threads_woken_from_outside_run_in_the_order_of_waking(#[context] context: Context) {
    const THREADS: usize = 20;
    with_workers(1, &context, || {
        corde::run(|| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let parked = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..THREADS)
                .map(|i| {
                    let (order, parked) = (order.clone(), parked.clone());
                    thread::spawn(move || {
                        parked.fetch_add(1, Ordering::Relaxed);
                        thread::park();
                        order.lock().unwrap().push(i);
                    })
                })
                .collect();
            wait_until(|| parked.load(Ordering::Relaxed) == THREADS);
            // The worker is busy here while all of them are woken, the last one first.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let threads = threads.iter().rev();
                    threads.for_each(|thread| thread.thread().unpark());
                });
            });
            for thread in threads {
                thread.join().unwrap();
            }
            let order = order.lock().unwrap();
            assert!(order.iter().copied().eq((0..THREADS).rev()), "{order:?}");
        });
    });
}

#[rstest]
fn a_yield_lets_a_fresh_thread_run(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let ran = Arc::new(AtomicBool::new(false));
            let theirs = ran.clone();
            thread::spawn(move || theirs.store(true, Ordering::Relaxed));
            assert!(!ran.load(Ordering::Relaxed));
            // Started and fresh threads take turns.
            thread::yield_now();
            thread::yield_now();
            assert!(ran.load(Ordering::Relaxed));
        });
    });
}

// Starvation.

/// Keeps each worker busy with a thread that only yields, for as long as `body` runs on a plain OS thread.
fn among_yielding_threads(workers: usize, body: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let threads = one_on_each_worker(workers, move || {
        wait_until(|| stopped.load(Ordering::Relaxed));
    });
    body();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[rstest]
#[case::a_fresh_thread_of_one_worker(1, spawn_and_join)]
#[case::a_fresh_thread_of_two_workers(2, spawn_and_join)]
#[case::a_fresh_thread_of_four_workers(4, spawn_and_join)]
#[case::a_sleeper_of_one_worker(1, sleep)]
#[case::a_sleeper_of_four_workers(4, sleep)]
#[case::a_reader_of_one_worker(1, read)]
#[case::a_reader_of_four_workers(4, read)]
#[case::an_acceptor_of_one_worker(1, accept)]
fn yield_loops_do_not_starve(
    #[context] context: Context,
    #[case] workers: usize,
    #[case] neighbour: fn(),
) {
    with_workers(workers, &context, || {
        among_yielding_threads(workers, || (0..10).for_each(|_| neighbour()));
    });
}

fn spawn_and_join() {
    thread::spawn(|| thread::spawn(|| ()).join().unwrap())
        .join()
        .unwrap();
}

fn sleep() {
    corde::run(|| {
        thread::sleep(Duration::from_millis(1));
        thread::park_timeout(Duration::from_millis(1));
    });
}

fn read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let mut byte = [0];
        TcpStream::connect(address)?.read_exact(&mut byte)?;
        io::Result::Ok(byte)
    });
    let (mut writer, _) = listener.accept().unwrap();
    writer.write_all(&[7]).unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), [7]);
}

fn accept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = thread::spawn(move || listener.accept().map(drop));
    std::net::TcpStream::connect(address).unwrap();
    acceptor.join().unwrap().unwrap();
}

// Stealing.

/// The spawner computes until its threads have run, which only other workers can do for it.
#[rstest]
#[case::two_workers(2, Kind::Green)]
#[case::four_workers(4, Kind::Green)]
// From the outside one worker may take several at once, and run first the one that waits for the others.
#[case::two_workers_from_outside(2, Kind::Os)]
#[case::four_workers_from_outside(4, Kind::Os)]
fn idle_workers_steal_fresh_threads(
    #[context] context: Context,
    #[case] workers: usize,
    #[case] spawner: Kind,
) {
    const THREADS: usize = 10;
    with_workers(workers, &context, || {
        for _ in 0..200 * stress() {
            spawner.run(move || {
                let ran = Arc::new(AtomicUsize::new(0));
                let spins = (spawner == Kind::Os).then(|| {
                    let ran = ran.clone();
                    thread::spawn(move || spin_until(|| ran.load(Ordering::SeqCst) == THREADS))
                });
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| {
                        let ran = ran.clone();
                        thread::spawn(move || {
                            ran.fetch_add(1, Ordering::SeqCst);
                        })
                    })
                    .collect();
                spin_until(|| ran.load(Ordering::SeqCst) == THREADS);
                for thread in threads.into_iter().chain(spins) {
                    thread.join().unwrap();
                }
            });
        }
    });
}

/// As many threads as workers, each of which computes until all of them do: every worker has to take one.
#[rstest]
#[case::two_workers(2, Kind::Green)]
#[case::four_workers(4, Kind::Green)]
#[case::two_workers_from_outside(2, Kind::Os)]
#[case::four_workers_from_outside(4, Kind::Os)]
fn every_worker_takes_part(
    #[context] context: Context,
    #[case] workers: usize,
    #[case] spawner: Kind,
) {
    with_workers(workers, &context, || {
        for _ in 0..200 * stress() {
            spawner.run(move || {
                let running = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..workers)
                    .map(|_| {
                        let running = running.clone();
                        thread::spawn(move || {
                            running.fetch_add(1, Ordering::SeqCst);
                            spin_until(|| running.load(Ordering::SeqCst) == workers);
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().unwrap();
                }
            });
        }
    });
}

/// Workers fall asleep and are woken all the time here; one that is not woken when it should be hangs the test.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn threads_spawned_one_by_one_from_outside_all_run(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        let spawners: Vec<_> = (0..2)
            .map(|_| {
                std::thread::spawn(|| {
                    for i in 0..2000 * stress() {
                        assert_eq!(thread::spawn(move || i).join().unwrap(), i);
                    }
                })
            })
            .collect();
        for spawner in spawners {
            spawner.join().unwrap();
        }
    });
}

// Limits and settings.

#[rstest]
#[case::zero("0")]
#[case::negative("-1")]
#[case::no_number("abc")]
#[case::empty("")]
#[case::too_many("100000")]
#[case::far_too_many("99999999999999999999")]
fn a_wrong_number_of_workers_is_an_error_that_names_it(
    #[context] context: Context,
    #[case] value: &str,
) {
    let names_it = |message: &str| {
        let clear = message.contains("CORDE_WORKERS") && message.contains(value);
        assert!(clear, "{message}");
    };
    let body = || {
        // As often as one tries: what failed once is not taken for started.
        for _ in 0..2 {
            let captured = Arc::new(());
            let theirs = captured.clone();
            let error = Builder::new().spawn(move || drop(theirs)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            names_it(&error.to_string());
            assert_eq!(Arc::strong_count(&captured), 1);
        }
        let spawned = catch_unwind(|| thread::spawn(|| ()));
        names_it(spawned.unwrap_err().downcast_ref::<String>().unwrap());
        let run = catch_unwind(|| corde::run(|| ()));
        names_it(run.unwrap_err().downcast_ref::<String>().unwrap());
    };
    let environment = [("CORDE_WORKERS", value)];
    child::run(&full_name(&context), &environment, body).assert_success();
}

#[rstest]
fn the_workers_are_as_many_as_set(#[context] context: Context) {
    with_workers(3, &context, || {
        let names = one_on_each_worker(3, || std::thread::current().name().map(str::to_owned));
        let mut names: Vec<_> = names
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["corde-worker-0", "corde-worker-1", "corde-worker-2"]
        );
        let of_the_system = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
            .filter(|name| name.starts_with("corde-worker"));
        assert_eq!(of_the_system.count(), 3);
    });
}

/// The limit on mappings that most systems set; under a larger one the test would need too many threads.
const USUAL_MAPPINGS: usize = 65_530;

#[rstest]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer takes mappings of its own for each green thread, and ends the process when it gets none"
)]
fn threads_past_the_limit_on_mappings_get_an_error(#[context] context: Context) {
    if left_out_under_valgrind("it has room for 30,000 mappings") {
        return;
    }
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if limit.trim().parse::<usize>().unwrap() > USUAL_MAPPINGS {
        eprintln!("not tested: vm.max_map_count is larger than usual");
        return;
    }
    // Each stack takes two mappings, and the process has others.
    const THREADS: usize = USUAL_MAPPINGS / 2;
    let body = || {
        let arrived = Arc::new(AtomicUsize::new(0));
        let threads: Vec<JoinHandle<usize>> = (0..THREADS)
            .map(|i| {
                let arrived = arrived.clone();
                let arrives = OnDrop(move || {
                    arrived.fetch_add(1, Ordering::Relaxed);
                });
                thread::spawn(move || {
                    drop(arrives);
                    thread::park();
                    i
                })
            })
            .collect();
        wait_until(|| arrived.load(Ordering::Relaxed) == THREADS);
        threads.iter().for_each(|thread| thread.thread().unpark());
        let (mut ended, mut refused) = (0, 0);
        for (i, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(result) => {
                    assert_eq!(result, i);
                    ended += 1;
                }
                Err(payload) => {
                    let error = payload.downcast_ref::<io::Error>().unwrap();
                    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
                    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 && ended > THREADS / 2, "{ended} and {refused}");
        // The stacks of those that ended serve others.
        let again: Vec<_> = (0..1000).map(|i| thread::spawn(move || i)).collect();
        for (i, thread) in again.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), i);
        }
    };
    let environment = [("CORDE_STACK_GUARD", "mprotect")];
    let outcome = child::run(&full_name(&context), &environment, body);
    outcome.assert_success();
    assert!(outcome.stderr.contains("could not start"), "{outcome:#?}");
}

/// Processor time that this process has used.
fn processor_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for a write.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the system has filled it.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.try_into().unwrap())
            + Duration::from_micros(time.tv_usec.try_into().unwrap())
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[rstest]
fn waiting_takes_no_processor_time(#[context] context: Context) {
    with_workers(4, &context, || {
        let waiting = Arc::new(AtomicUsize::new(0));
        let waits: [fn(); 3] = [
            thread::park,
            || thread::sleep(Duration::from_secs(3600)),
            || drop(TcpListener::bind("127.0.0.1:0").unwrap().accept()),
        ];
        for wait in waits.repeat(4) {
            let waiting = waiting.clone();
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                wait();
            });
        }
        wait_until(|| waiting.load(Ordering::Relaxed) == 12);
        // What the workers still have to do until they sleep is little enough to count.
        let before = processor_time();
        std::thread::sleep(Duration::from_millis(300));
        let used = processor_time() - before;
        assert!(used < Duration::from_millis(10), "{used:?}");
    });
}

// Stress.

/// A random number below `bound`.
fn below(bound: u64, random: &mut Xorshift) -> u64 {
    random.next() % bound
}

/// What the actors of the stress test pass on. It decides what happens to it, so that a seed decides it for all.
struct Message {
    random: Xorshift,
    hops_left: usize,
}

/// Where an actor finds its messages: a queue that `park` and `unpark` alone make blocking.
#[derive(Default)]
struct Mailbox {
    owner: OnceLock<Thread>,
    messages: Mutex<VecDeque<Option<Message>>>,
}

impl Mailbox {
    /// Sends a message, or none for the last time.
    fn send(&self, message: Option<Message>) {
        self.messages.lock().unwrap().push_back(message);
        self.owner.get().unwrap().unpark();
    }

    fn receive(&self) -> Option<Message> {
        loop {
            // The lock must be free before the park.
            let first = self.messages.lock().unwrap().pop_front();
            match first {
                Some(message) => return message,
                None => thread::park(),
            }
        }
    }
}

/// One round of the stress test.
struct World {
    mailboxes: Vec<Mailbox>,
    under_way: AtomicUsize,
    /// Who waits for the last message to arrive.
    referee: Thread,
}

impl World {
    /// Receives messages until there are none, and returns how many they were.
    fn act(self: Arc<World>, actor: usize) -> usize {
        let mailbox = &self.mailboxes[actor];
        mailbox.owner.set(thread::current()).unwrap();
        let mut received = 0;
        while let Some(message) = mailbox.receive() {
            received += 1;
            self.handle(message);
        }
        received
    }

    /// Suspends in one way or another, then passes the message on.
    fn handle(self: &Arc<World>, mut message: Message) {
        let random = &mut message.random;
        match below(8, random) {
            0 => thread::yield_now(),
            1 => thread::sleep(Duration::from_micros(below(1000, random))),
            // May take the token of a message that has come meanwhile, which is found all the same.
            2 => thread::park_timeout(Duration::from_micros(below(100, random))),
            3 => {
                let yields = below(4, random);
                let child = thread::spawn(move || {
                    (0..yields).for_each(|_| thread::yield_now());
                    yields
                });
                assert_eq!(child.join().unwrap(), yields);
            }
            4 => {
                let joined = below(2, random) == 0;
                let world = self.clone();
                let child = thread::spawn(move || world.pass_on(message));
                if joined {
                    child.join().unwrap();
                }
                return;
            }
            _ => {}
        }
        self.pass_on(message);
    }

    /// Picks one of the mailboxes.
    fn mailbox(&self, random: &mut Xorshift) -> &Mailbox {
        let count = u64::try_from(self.mailboxes.len()).unwrap();
        &self.mailboxes[usize::try_from(below(count, random)).unwrap()]
    }

    fn pass_on(&self, mut message: Message) {
        message.hops_left -= 1;
        if message.hops_left > 0 {
            self.mailbox(&mut message.random).send(Some(message));
        } else if self.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.referee.unpark();
        }
    }
}

/// Plays one round: every message makes all its hops, or some wake-up was lost.
fn play(seed: u64) {
    const GREEN_ACTORS: usize = 12;
    const OS_ACTORS: usize = 3;
    const MESSAGES: usize = 50;
    const HOPS: usize = 60;

    let kinds = std::iter::repeat_n(Kind::Green, GREEN_ACTORS)
        .chain(std::iter::repeat_n(Kind::Os, OS_ACTORS));
    let world = Arc::new(World {
        mailboxes: kinds.clone().map(|_| Mailbox::default()).collect(),
        under_way: AtomicUsize::new(MESSAGES),
        referee: thread::current(),
    });
    let actors: Vec<_> = kinds
        .enumerate()
        .map(|(actor, kind)| {
            let world = world.clone();
            kind.spawn(move || world.act(actor))
        })
        .collect();
    let mailboxes = &world.mailboxes;
    wait_until(|| {
        mailboxes
            .iter()
            .all(|mailbox| mailbox.owner.get().is_some())
    });
    let mut random = Xorshift(seed);
    for _ in 0..MESSAGES {
        let message = Message {
            random: Xorshift(random.next()),
            hops_left: HOPS,
        };
        world.mailbox(&mut random).send(Some(message));
    }
    while world.under_way.load(Ordering::SeqCst) > 0 {
        thread::park();
    }
    mailboxes.iter().for_each(|mailbox| mailbox.send(None));
    let received: usize = actors.into_iter().map(Handle::join).sum();
    assert_eq!(received, MESSAGES * HOPS);
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn no_wake_up_is_lost_in_a_random_mix(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        for seed in 1..=3 * stress() {
            // Shown if the child fails.
            eprintln!("seed {seed}");
            play(seed);
        }
    });
}
