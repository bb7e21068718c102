//! `thread::CancelToken`: trees, waiting, ending what runs; and how limits of all kinds meet.
#![cfg(feature = "runtime")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::coroutine::Coroutine;
use corde::net::{TcpListener, TcpStream};
use corde::select;
use corde::sync::Notify;
use corde::sync::channel::unbounded;
use corde::thread::{self, CancelToken, Cancelled, JoinSet, without_cancel};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::{LIMIT, child, full_name, stress, with_workers};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

// Trees.

#[rstest]
#[case::root(0, [true, true, true, true, true])]
#[case::inner(1, [false, true, false, true, true])]
#[case::other_child(2, [false, false, true, false, false])]
#[case::leaf(3, [false, false, false, true, false])]
fn what_is_below_is_cancelled_too(
    #[case] cancelled: usize,
    #[case] expected: [bool; 5],
    #[values(false, true)] by_clone: bool,
) {
    let root = CancelToken::new();
    let (inner, other) = (root.child_token(), root.child_token());
    let (leaf, twin) = (inner.child_token(), inner.child_token());
    let tokens = [root, inner, other, leaf, twin];
    assert!(tokens.iter().all(|token| !token.is_cancelled()));
    if by_clone {
        tokens[cancelled].clone().cancel();
    } else {
        tokens[cancelled].cancel();
    }
    let seen = tokens.each_ref().map(CancelToken::is_cancelled);
    assert_eq!(seen, expected);
    let of_each = tokens.each_ref().map(CancelToken::child_token);
    assert_eq!(of_each.map(|token| token.is_cancelled()), expected);
    // Once more, and from above, changes nothing for those that are.
    tokens[cancelled].cancel();
    tokens[0].cancel();
    assert!(tokens.iter().all(CancelToken::is_cancelled));
}

#[rstest]
#[case::never(false)]
#[case::afterwards(true)]
fn a_token_that_is_dropped_leaves_its_children_to_its_parent(#[case] cancelled: bool) {
    let root = CancelToken::new();
    let inner = root.child_token();
    let leaves = [inner.child_token(), inner.child_token()];
    drop(inner);
    let below = leaves[0].child_token();
    assert!(!below.is_cancelled());
    if cancelled {
        root.cancel();
    } else {
        drop(root);
    }
    assert!(leaves.iter().all(|leaf| leaf.is_cancelled() == cancelled));
    assert_eq!(below.is_cancelled(), cancelled);
    leaves[0].cancel();
    assert!(below.is_cancelled());
}

#[rstest]
fn a_guard_cancels_when_it_is_dropped() {
    let token = CancelToken::new();
    let disarmed = token.clone().drop_guard().disarm();
    drop(disarmed);
    assert!(!token.is_cancelled());
    let guarded = token.clone();
    let result = catch_unwind(move || {
        let _guard = guarded.drop_guard();
        panic_quietly()
    });
    assert!(result.is_err() && token.is_cancelled());
}

/// In a process of its own, where nobody else allocates.
#[rstest]
fn a_long_life_gathers_nothing(#[context] context: Context) {
    child::run(&full_name(&context), &[], || {
        let root = CancelToken::new();
        let mut relay = root.child_token();
        let mut round = || {
            let one = root.child_token();
            let two = one.child_token();
            drop(one);
            assert_eq!(two.run_until_cancelled(|| 1), Some(1));
            assert_eq!(root.run_until_cancelled(|| 2), Some(2));
            select! {
                cancelled(root) => unreachable!("nobody has cancelled it"),
                default(Duration::ZERO) => {}
            }
            two.cancel();
            // Each the child of the one before, which is gone.
            relay = relay.child_token();
        };
        (0..100).for_each(|_| round());
        let before = ALLOCATED.load(Ordering::Relaxed);
        (0..10_000).for_each(|_| round());
        let gathered = ALLOCATED.load(Ordering::Relaxed) - before;
        assert!(gathered < 10_000, "{gathered} bytes");
        root.cancel();
        assert!(relay.is_cancelled());
    })
    .assert_success();
}

/// Neither by recursion: the chain is longer than any stack.
#[rstest]
#[case::from_the_top(false)]
#[case::from_the_bottom(true)]
fn a_deep_tree_is_cancelled_and_dropped(
    #[case] from_the_bottom: bool,
    #[values(false, true)] cancelled: bool,
) {
    thread::spawn(move || {
        let mut chain = vec![CancelToken::new()];
        for i in 0..20_000 {
            chain.push(chain[i].child_token());
        }
        if cancelled {
            chain[0].cancel();
        }
        assert!(chain.iter().all(|token| token.is_cancelled() == cancelled));
        if from_the_bottom {
            while chain.pop().is_some() {}
        } else {
            chain.drain(..).for_each(drop);
        }
    })
    .join()
    .unwrap();
}

// Waiting.

#[rstest]
#[timeout(LIMIT)]
fn cancelling_wakes_all_who_wait(
    #[values(Kind::Green, Kind::Os)] waiting: Kind,
    #[values(Kind::Green, Kind::Os)] cancelling: Kind,
    #[values(false, true)] by_parent: bool,
) {
    let root = CancelToken::new();
    let waits = root.child_token();
    let about_to = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..5)
        .map(|_| {
            let (token, about_to) = (waits.clone(), about_to.clone());
            waiting.spawn(move || {
                about_to.fetch_add(1, Ordering::SeqCst);
                token.cancelled();
                assert!(token.is_cancelled());
            })
        })
        .collect();
    wait_until(|| about_to.load(Ordering::SeqCst) == 5);
    cancelling.run(move || if by_parent { &root } else { &waits }.cancel());
    waiters.into_iter().for_each(|waiter| waiter.join());
}

#[rstest]
#[timeout(LIMIT)]
fn a_wait_for_a_token_is_interrupted() {
    let token = CancelToken::new();
    assert!(timeout(Duration::from_micros(200), || token.cancelled()).is_err());
    let theirs = token.clone();
    let waits = thread::spawn(move || theirs.cancelled());
    waits.cancel();
    assert!(waits.join().unwrap_err().is::<Cancelled>());
    assert!(!token.is_cancelled());
    token.cancel();
    token.cancelled();
}

// Ending what runs.

#[rstest]
#[case::park(|| park_for_ever())]
#[case::park_timeout(|| loop { thread::park_timeout(AN_HOUR) })]
#[case::sleep(|| loop { thread::sleep(AN_HOUR) })]
#[case::yields(|| loop { thread::yield_now(); thread::sleep(Duration::from_micros(20)) })]
#[case::join(|| { let _ = thread::spawn(|| park_for_ever()).join(); })]
#[case::scope(|| thread::scope(|scope| { scope.spawn(|| park_for_ever()); }))]
#[case::try_scope(|| {
    let _ = thread::try_scope(|scope| { scope.spawn(|| -> Result<(), ()> { park_for_ever() }); Ok(()) });
})]
#[case::join_set(|| {
    let mut set = JoinSet::new();
    set.spawn(|| park_for_ever());
    let _: Option<thread::Result<()>> = set.join_next();
})]
#[case::another_token(|| CancelToken::new().cancelled())]
#[case::within_another_token(|| { CancelToken::new().run_until_cancelled(|| park_for_ever()); })]
#[case::within_a_timeout(|| { let _ = timeout(AN_HOUR, || park_for_ever()); })]
#[case::within_its_own_mask_after_all(|| { without_cancel(thread::yield_now); park_for_ever() })]
#[case::caught_on_the_way(|| loop { let _ = catch_unwind(|| park_for_ever()); thread::park() })]
#[timeout(LIMIT)]
fn a_token_ends_any_wait(
    #[case] wait: fn(),
    #[values(Kind::Green, Kind::Os)] running: Kind,
    #[values(Kind::Green, Kind::Os)] cancelling: Kind,
    #[values(false, true)] early: bool,
) {
    let token = CancelToken::new();
    let started = Arc::new(AtomicBool::new(false));
    let (theirs, starts) = (token.clone(), started.clone());
    let runs = running.spawn(move || {
        let unwound = AtomicBool::new(false);
        let result = theirs.run_until_cancelled(|| {
            let _unwinds = OnDrop(|| unwound.store(true, Ordering::Relaxed));
            starts.store(true, Ordering::SeqCst);
            if early {
                // It is over before it waits.
                without_cancel(|| wait_until(|| theirs.is_cancelled()));
            }
            wait();
        });
        assert!(result.is_none() && unwound.into_inner());
        // What comes after is not concerned.
        assert!(timeout(Duration::from_micros(100), || park_for_ever()).is_err());
    });
    wait_until(|| started.load(Ordering::SeqCst));
    cancelling.run(move || token.cancel());
    runs.join();
}

/// On an OS thread it blocks in the system, where no token reaches it.
#[rstest]
#[timeout(LIMIT)]
fn a_token_ends_a_wait_for_a_socket(#[values(Kind::Green, Kind::Os)] cancelling: Kind) {
    let token = CancelToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Arc::new(AtomicBool::new(false));
    let (theirs, starts) = (token.clone(), started.clone());
    let accepts = thread::spawn(move || {
        theirs.run_until_cancelled(|| {
            starts.store(true, Ordering::SeqCst);
            listener.accept().is_ok()
        })
    });
    wait_until(|| started.load(Ordering::SeqCst));
    cancelling.run(move || token.cancel());
    assert_eq!(accepts.join().unwrap(), None);
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_token_runs_nothing(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let token = CancelToken::new();
        token.cancel();
        let result = token.run_until_cancelled(|| unreachable!("it is cancelled"));
        assert!(result.is_none());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_does_not_wait_ends_with_its_result(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let token = CancelToken::new();
        let result = token.run_until_cancelled(|| {
            token.cancel();
            7
        });
        assert_eq!(result, Some(7));
        thread::sleep(Duration::from_nanos(1));
        let panics = catch_unwind(AssertUnwindSafe(|| {
            CancelToken::new().run_until_cancelled(|| panic_quietly())
        }));
        assert!(is_quiet_panic(
            &*panics.map(|_: Option<()>| ()).unwrap_err()
        ));
    });
}

/// Each call finds what it wants.
fn receive() -> impl FnMut() + Send {
    let (sender, receiver) = unbounded();
    move || {
        sender.send(()).unwrap();
        receiver.recv().unwrap();
    }
}

fn be_notified() -> impl FnMut() + Send {
    let notify = Notify::new();
    move || {
        notify.notify_one();
        notify.notified();
    }
}

fn select_a_message() -> impl FnMut() + Send {
    let (sender, receiver) = unbounded();
    let notify = Notify::new();
    move || {
        sender.send(()).unwrap();
        select! {
            recv(receiver) -> message => message.unwrap(),
            notified(notify) => unreachable!("nobody notifies"),
        }
    }
}

fn read() -> impl FnMut() + Send {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    move || {
        near.write_all(&[0]).unwrap();
        far.read_exact(&mut [0]).unwrap();
    }
}

#[rstest]
#[case::of_a_channel(receive)]
#[case::of_a_notification(be_notified)]
#[case::of_a_selection(select_a_message)]
#[case::of_a_socket(read)]
#[timeout(LIMIT)]
fn calls_that_never_have_to_wait_are_ended<F: FnMut() + Send>(
    #[case] prepare: impl FnOnce() -> F + Send,
) {
    corde::run(|| {
        let (token, mut call) = (CancelToken::new(), prepare());
        let ended: Option<()> = token.run_until_cancelled(|| {
            loop {
                call();
                token.cancel();
            }
        });
        assert!(ended.is_none());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn of_nested_limits_the_one_that_is_over_strikes(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    /// Waits in an outer token, a timeout and an inner token, of which some end; tells which one was struck.
    fn struck(end_outer: bool, limit: Duration, end_inner: bool) -> &'static str {
        let (outer, inner) = (CancelToken::new(), CancelToken::new());
        let result = outer.run_until_cancelled(|| {
            timeout(limit, || {
                inner.run_until_cancelled(|| {
                    if end_outer {
                        outer.cancel();
                    }
                    if end_inner {
                        inner.cancel();
                    }
                    park_for_ever()
                })
            })
        });
        match result {
            None => "outer",
            Some(Err(_)) => "timeout",
            Some(Ok(None::<()>)) => "inner",
            Some(Ok(Some(()))) => "none",
        }
    }
    kind.run(move || {
        let (short, long) = (Duration::from_micros(100), AN_HOUR);
        assert_eq!(struck(true, long, false), "outer");
        assert_eq!(struck(false, long, true), "inner");
        assert_eq!(struck(true, long, true), "outer");
        assert_eq!(struck(false, short, false), "timeout");
        assert_eq!(struck(true, Duration::ZERO, true), "outer");
        assert_eq!(struck(false, Duration::ZERO, true), "timeout");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_limit_does_not_strike_under_a_mask_but_after_it(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] by_token: bool,
) {
    kind.run(move || {
        let token = CancelToken::new();
        let masked = AtomicUsize::new(0);
        let body = || {
            without_cancel(|| {
                token.cancel();
                let until = Instant::now() + Duration::from_micros(300);
                while Instant::now() < until {
                    thread::park_timeout(Duration::from_micros(50));
                }
                masked.fetch_add(1, Ordering::Relaxed);
                // Limits that begin under the mask strike there.
                let inner = CancelToken::new();
                let theirs = inner.clone();
                thread::spawn(move || theirs.cancel());
                assert!(inner.run_until_cancelled(|| park_for_ever()).is_none());
                assert!(timeout(Duration::from_micros(50), || park_for_ever()).is_err());
                masked.fetch_add(1, Ordering::Relaxed);
            });
            park_for_ever()
        };
        let ended = if by_token {
            token.run_until_cancelled(body).is_none()
        } else {
            timeout(Duration::from_micros(100), body).is_err()
        };
        assert!(ended);
        assert_eq!(masked.into_inner(), 2);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_caught_timeout_is_met_again(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let mut caught = 0;
        let result = timeout(Duration::from_micros(100), || {
            while caught < 3 {
                assert!(catch_unwind(|| park_for_ever()).is_err());
                caught += 1;
            }
            park_for_ever()
        });
        assert!(result.is_err());
        assert_eq!(caught, 3);
    });
}

/// A coroutine may be suspended inside of limits, and these be left in another order than they were entered, by another thread.
#[rstest]
#[timeout(LIMIT)]
fn limits_in_coroutines_may_be_left_out_of_order(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] resumed: bool,
) {
    kind.run(move || {
        let nested = || {
            Coroutine::<(), (), ()>::new(|yielder, ()| {
                let token = CancelToken::new();
                token.run_until_cancelled(|| {
                    let _ = timeout(AN_HOUR, || without_cancel(|| yielder.suspend(())));
                });
            })
            .unwrap()
        };
        let leave = move |mut coroutine: Coroutine<(), (), ()>| {
            if resumed {
                let _ = coroutine.resume(());
            }
            drop(coroutine);
        };
        let mut first = nested();
        let _ = first.resume(());
        let mut second = nested();
        let outcome = timeout(AN_HOUR, || {
            let _ = second.resume(());
            leave(first);
            3
        });
        assert_eq!(outcome, Ok(3));
        leave(second);
        // The chain is whole: what is set now strikes.
        assert!(timeout(Duration::from_micros(100), || park_for_ever()).is_err());
        if kind == Kind::Green {
            let mut third = nested();
            let _ = third.resume(());
            thread::spawn_local(|| ()).join().unwrap();
            let third = std::rc::Rc::new(std::cell::RefCell::new(Some(third)));
            let theirs = third.clone();
            thread::spawn_local(move || leave(theirs.take().unwrap()))
                .join()
                .unwrap();
            assert!(timeout(Duration::from_micros(100), || park_for_ever()).is_err());
        }
    });
}

// Everything at random.

#[rstest]
fn a_tree_holds_in_a_random_mess(#[context] context: Context) {
    with_workers(4, &context, || {
        for round in 1..=20 * stress() {
            let root = CancelToken::new();
            let ended = Arc::new(AtomicUsize::new(0));
            let set: JoinSet<()> = (1..=4)
                .map(|i| {
                    let (token, ended) = (root.child_token(), ended.clone());
                    move || mess(&token, round * 16 + i, &ended)
                })
                .collect();
            let waiting = root.child_token();
            let waits = thread::spawn(move || waiting.run_until_cancelled(|| park_for_ever()));
            if round % 2 == 0 {
                thread::yield_now();
                root.cancel();
            }
            set.join_all();
            root.cancel();
            assert!(waits.join().unwrap().is_none());
        }
    });
}

/// Makes, drops and cancels tokens below `root`, with threads that wait for them; all of those end when `root` is cancelled at last.
fn mess(root: &CancelToken, seed: u64, ended: &Arc<AtomicUsize>) {
    let mut random = Xorshift(seed);
    let mut tokens = vec![root.clone()];
    let mut set = JoinSet::new();
    for _ in 0..60 {
        let at = random.next() as usize % tokens.len();
        match random.next() % 8 {
            0..=2 => tokens.push(tokens[at].child_token()),
            3 => tokens.push(tokens[at].clone()),
            4 if at != 0 => drop(tokens.swap_remove(at)),
            5 if at != 0 => {
                tokens[at].cancel();
                assert!(tokens[at].is_cancelled() && tokens[at].child_token().is_cancelled());
            }
            6 => {
                let (token, ended) = (tokens[at].clone(), ended.clone());
                set.spawn(move || {
                    assert!(token.run_until_cancelled(|| park_for_ever()).is_none());
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
            _ => thread::yield_now(),
        }
    }
    root.cancel();
    // Somebody else may be about to cancel them from above.
    wait_until(|| tokens.iter().all(CancelToken::is_cancelled));
    set.join_all();
}
