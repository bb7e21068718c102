//! `select!` over what is waited for beside channels: oneshot, broadcast and watch receivers, notifications, tokens.
#![cfg(feature = "runtime")]

mod util;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::LocalRuntime;
use corde::sync::channel::{self, never, unbounded};
use corde::sync::{Mutex, Notify, broadcast, oneshot, watch};
use corde::thread::{self, CancelToken, Cancelled, spawn_local, yield_now};
use corde::time::timeout;
use corde::{select, select_biased};
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, wait_until};
use util::{LIMIT, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// What every arm gives.
const GIVEN: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arm {
    Oneshot,
    Broadcast,
    Watch,
    Notify,
    Cancel,
}

/// What the arms wait for.
struct Ends {
    answer: oneshot::Receiver<u32>,
    news: broadcast::Receiver<u32>,
    level: watch::Receiver<u32>,
    notify: Arc<Notify>,
    token: CancelToken,
}

/// Who makes them ready.
struct Source {
    answer: Option<oneshot::Sender<u32>>,
    news: broadcast::Sender<u32>,
    level: watch::Sender<u32>,
    notify: Arc<Notify>,
    token: CancelToken,
}

fn ends() -> (Source, Ends) {
    let (answer, answered) = oneshot::channel();
    let (news, heard) = broadcast::channel(4);
    let (level, levels) = watch::channel(0);
    let notify = Arc::new(Notify::new());
    let token = CancelToken::new();
    let source = Source {
        answer: Some(answer),
        news,
        level,
        notify: notify.clone(),
        token: token.clone(),
    };
    let ends = Ends {
        answer: answered,
        news: heard,
        level: levels,
        notify,
        token,
    };
    (source, ends)
}

impl Source {
    fn make_ready(&mut self, arm: Arm) {
        match arm {
            Arm::Oneshot => self.answer.take().unwrap().send(GIVEN).unwrap(),
            Arm::Broadcast => drop(self.news.send(GIVEN).unwrap()),
            Arm::Watch => self.level.send(GIVEN).unwrap(),
            Arm::Notify => self.notify.notify_one(),
            Arm::Cancel => self.token.cancel(),
        }
    }
}

impl Ends {
    /// Waits for this arm alone.
    fn wait(&mut self, arm: Arm) -> u32 {
        match arm {
            Arm::Oneshot => select! { recv(&mut self.answer) -> value => value.unwrap() },
            Arm::Broadcast => select! { recv(&mut self.news) -> value => value.unwrap() },
            Arm::Watch => select! {
                changed(&mut self.level) -> changed => {
                    changed.unwrap();
                    *self.level.borrow()
                }
            },
            Arm::Notify => select! { notified(self.notify) => GIVEN },
            Arm::Cancel => select! { cancelled(self.token) => GIVEN },
        }
    }

    /// Waits for this arm and for a message; for this only if it is there at once.
    fn wait_with(&mut self, arm: Arm, messages: &channel::Receiver<u32>) -> Result<u32, u32> {
        match arm {
            Arm::Oneshot => select_biased! {
                recv(messages) -> message => Err(message.unwrap()),
                recv(&mut self.answer) -> value => Ok(value.unwrap()),
            },
            Arm::Broadcast => select_biased! {
                recv(messages) -> message => Err(message.unwrap()),
                recv(&mut self.news) -> value => Ok(value.unwrap()),
            },
            Arm::Watch => select_biased! {
                recv(messages) -> message => Err(message.unwrap()),
                changed(&mut self.level) -> changed => {
                    changed.unwrap();
                    Ok(*self.level.borrow())
                }
            },
            Arm::Notify => select_biased! {
                recv(messages) -> message => Err(message.unwrap()),
                notified(&self.notify) => Ok(GIVEN),
            },
            Arm::Cancel => select_biased! {
                recv(messages) -> message => Err(message.unwrap()),
                cancelled(&self.token) => Ok(GIVEN),
            },
        }
    }

    /// Waits for all of them, for `limit` at most.
    fn wait_for_any(&mut self, limit: Duration) -> Option<(Arm, u32)> {
        select! {
            recv(&mut self.answer) -> value => Some((Arm::Oneshot, value.unwrap())),
            recv(&mut self.news) -> value => Some((Arm::Broadcast, value.unwrap())),
            changed(&mut self.level) -> changed => {
                changed.unwrap();
                Some((Arm::Watch, *self.level.borrow()))
            }
            notified(self.notify) => Some((Arm::Notify, GIVEN)),
            cancelled(self.token) => Some((Arm::Cancel, GIVEN)),
            default(limit) => None,
        }
    }

    fn try_any(&mut self) -> Option<Arm> {
        select! {
            recv(&mut self.answer) => Some(Arm::Oneshot),
            recv(&mut self.news) => Some(Arm::Broadcast),
            changed(&mut self.level) => Some(Arm::Watch),
            notified(self.notify) => Some(Arm::Notify),
            cancelled(self.token) => Some(Arm::Cancel),
            default => None,
        }
    }
}

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

/// Lets the others on this OS thread go on until they all wait.
fn settle() {
    for _ in 0..20 {
        yield_now();
    }
}

// Each of them.

#[rstest]
#[timeout(LIMIT)]
fn what_is_ready_is_taken_at_once(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let (mut source, mut given) = ends();
        assert_eq!(given.try_any(), None);
        assert_eq!(given.wait_for_any(SHORT), None);
        source.make_ready(arm);
        assert_eq!(given.wait(arm), GIVEN);
        let (mut source, mut given) = ends();
        source.make_ready(arm);
        assert_eq!(given.wait_for_any(ENDLESS), Some((arm, GIVEN)));
        let (mut source, mut given) = ends();
        source.make_ready(arm);
        assert_eq!(given.try_any(), Some(arm));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_was_taken_is_not_taken_again(
    #[values(Arm::Broadcast, Arm::Watch, Arm::Notify)] arm: Arm,
    #[values(false, true)] waits: bool,
) {
    alone(move || {
        let (mut source, mut given) = ends();
        let taking = spawn_local(move || {
            let taken = given.wait_for_any(ENDLESS);
            (taken, given)
        });
        if waits {
            settle();
        }
        source.make_ready(arm);
        let (taken, mut given) = taking.join().unwrap();
        assert_eq!(taken, Some((arm, GIVEN)));
        assert_eq!(given.try_any(), None);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_is_woken_by_a_green_thread_of_the_same_worker(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
    #[values(false, true)] others: bool,
) {
    alone(move || {
        let (mut source, mut given) = ends();
        let waiting = spawn_local(move || {
            if others {
                given.wait_for_any(ENDLESS).unwrap().1
            } else {
                given.wait(arm)
            }
        });
        settle();
        assert!(!waiting.is_finished(), "it waits");
        source.make_ready(arm);
        assert_eq!(waiting.join().unwrap(), GIVEN);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_is_woken_by_threads_elsewhere(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
    #[values(Kind::Green, Kind::Os)] waits: Kind,
    #[values(Kind::Green, Kind::Os)] wakes: Kind,
) {
    for round in 0..50 {
        let (mut source, mut given) = ends();
        let about = Arc::new(AtomicUsize::new(0));
        let theirs = about.clone();
        let waiting = waits.spawn(move || {
            theirs.store(1, Ordering::SeqCst);
            if round % 2 == 0 {
                given.wait(arm)
            } else {
                given.wait_for_any(ENDLESS).unwrap().1
            }
        });
        let waking = wakes.spawn(move || {
            wait_until(|| about.load(Ordering::SeqCst) == 1);
            // It may wait by now, or not yet, or just begin to.
            (0..round).for_each(|_| yield_now());
            source.make_ready(arm);
            source
        });
        assert_eq!(waiting.join(), GIVEN);
        waking.join();
    }
}

// Losing.

#[rstest]
#[timeout(LIMIT)]
fn one_that_is_not_chosen_keeps_what_it_has(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
) {
    let (mut source, mut given) = ends();
    let (sender, messages) = unbounded();
    source.make_ready(arm);
    for message in 0..3 {
        sender.send(message).unwrap();
        assert_eq!(given.wait_with(arm, &messages), Err(message));
    }
    assert_eq!(given.wait_with(arm, &messages), Ok(GIVEN));
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_has_waited_and_lost_gets_what_comes_later(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
) {
    alone(move || {
        let (mut source, mut given) = ends();
        let (sender, messages) = unbounded();
        let waiting = spawn_local(move || {
            assert_eq!(given.wait_with(arm, &messages), Err(1));
            given.wait_with(arm, &messages)
        });
        settle();
        sender.send(1).unwrap();
        settle();
        assert!(!waiting.is_finished(), "it waits again");
        source.make_ready(arm);
        assert_eq!(waiting.join().unwrap(), Ok(GIVEN));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_comes_with_a_message_is_there_afterwards_whichever_is_first(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
    #[values(false, true)] message_first: bool,
) {
    alone(move || {
        let (mut source, mut given) = ends();
        let (sender, messages) = unbounded();
        let waiting = spawn_local(move || {
            let first = given.wait_with(arm, &messages);
            let second = given.wait_with(arm, &messages);
            (first, second)
        });
        settle();
        // It does not run in between.
        if message_first {
            sender.send(1).unwrap();
            source.make_ready(arm);
        } else {
            source.make_ready(arm);
            sender.send(1).unwrap();
        }
        let (first, second) = waiting.join().unwrap();
        let mut both = [first, second];
        both.sort();
        assert_eq!(both, [Ok(GIVEN), Err(1)]);
    });
}

// Each's own.

#[rstest]
#[timeout(LIMIT)]
fn ends_that_are_gone_are_told_as_elsewhere(#[values(false, true)] waits: bool) {
    alone(move || {
        let (source, mut given) = ends();
        let told = spawn_local(move || {
            let answer = select! { recv(&mut given.answer) -> answer => answer };
            let news = select! { recv(&mut given.news) -> news => news };
            let level = select! { changed(&mut given.level) -> level => level };
            assert!(answer.is_err() && level.is_err());
            assert_eq!(news, Err(broadcast::error::RecvError::Closed));
        });
        if waits {
            settle();
            assert!(!told.is_finished());
        }
        drop(source);
        told.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_answer_comes_once() {
    let (sender, mut answer) = oneshot::channel();
    sender.send(1).unwrap();
    let mut wait = || select! { recv(&mut answer) -> answer => answer };
    assert_eq!(wait(), Ok(1));
    assert!(wait().is_err());
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_lags_is_told_so_and_goes_on() {
    let (sender, mut receiver) = broadcast::channel(2);
    for i in 1..=5 {
        sender.send(i).unwrap();
    }
    let mut wait = || select! { recv(&mut receiver) -> value => value };
    assert_eq!(wait(), Err(broadcast::error::RecvError::Lagged(3)));
    assert_eq!((wait(), wait()), (Ok(4), Ok(5)));
}

#[rstest]
#[timeout(LIMIT)]
fn a_notification_goes_to_the_next_if_the_first_has_chosen_something_else(
    #[values(false, true)] last: bool,
) {
    alone(move || {
        let (notify, order) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let (sender, messages) = unbounded::<()>();
        let plain = |name: &'static str| {
            let (notify, order) = (notify.clone(), order.clone());
            spawn_local(move || {
                notify.notified();
                order.lock().unwrap().push(name);
            })
        };
        let selecting = || {
            let (notify, order, messages) = (notify.clone(), order.clone(), messages.clone());
            spawn_local(move || {
                select! {
                    notified(notify) => order.lock().unwrap().push("selection"),
                    recv(messages) -> _ => order.lock().unwrap().push("message"),
                }
            })
        };
        let threads = if last {
            let plain = plain("plain");
            settle();
            [plain, selecting()]
        } else {
            let selecting = selecting();
            settle();
            [selecting, plain("plain")]
        };
        settle();
        // None of them runs before both have been done.
        sender.send(()).unwrap();
        if last {
            notify.notify_last();
        } else {
            notify.notify_one();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let mut order = order.lock().unwrap().clone();
        order.sort_unstable();
        assert_eq!(order, ["message", "plain"]);
        assert!(
            !notify.notified_timeout(Duration::ZERO),
            "there is no other"
        );
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_is_notified_in_its_turn() {
    alone(|| {
        let (notify, order) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let threads: Vec<_> = (0..4)
            .map(|place| {
                let (notify, order) = (notify.clone(), order.clone());
                let thread = spawn_local(move || {
                    if place % 2 == 0 {
                        select! {
                            notified(notify) => {}
                            recv(never::<()>()) -> _ => {}
                        }
                    } else {
                        notify.notified();
                    }
                    order.lock().unwrap().push(place);
                });
                settle();
                thread
            })
            .collect();
        for expected in [[0].as_slice(), &[0, 1], &[0, 1, 2], &[0, 1, 2, 3]] {
            notify.notify_one();
            settle();
            assert_eq!(*order.lock().unwrap(), expected);
        }
        threads.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn all_are_notified_and_selections_with_them() {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let threads: Vec<_> = (0..100)
            .map(|place| {
                let notify = notify.clone();
                spawn_local(move || {
                    if place % 2 == 0 {
                        select! { notified(notify) => {} }
                    } else {
                        notify.notified();
                    }
                })
            })
            .collect();
        settle();
        notify.notify_waiters();
        threads.into_iter().for_each(|it| it.join().unwrap());
        assert!(
            !notify.notified_timeout(Duration::ZERO),
            "there is no permit"
        );
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_notification_of_all_counts_since_the_case_was_evaluated_or_since_listening() {
    let notify = Notify::new();
    let told = select! {
        notified(notify) => true,
        recv({ notify.notify_waiters(); never::<()>() }) -> _ => false,
    };
    assert!(told);
    let change = notify.listen();
    let early = select! {
        notified(change) => true,
        default => false,
    };
    assert!(!early);
    notify.notify_waiters();
    select! { notified(change) => {} }
    let late = select! {
        notified(notify) => true,
        default => false,
    };
    assert!(!late);
}

#[rstest]
#[timeout(LIMIT)]
fn a_token_is_heeded_that_its_parent_cancels(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (all, (sender, messages)) = (CancelToken::new(), unbounded());
    let child = all.child_token();
    let counting = kind.spawn(move || {
        let mut count = 0;
        loop {
            select! {
                recv(messages) -> message => count += message.unwrap(),
                cancelled(child) => break count,
            }
        }
    });
    (0..10).for_each(|_| sender.send(1).unwrap());
    wait_until(|| sender.is_empty());
    all.cancel();
    assert_eq!(counting.join(), 10);
}

// Leaving without a choice.

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_or_out_of_time_has_taken_nothing(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
    #[values(false, true)] cancelled: bool,
) {
    alone(move || {
        let (mut source, given) = ends();
        let given = Arc::new(Mutex::new(given));
        let theirs = given.clone();
        let wait = move || theirs.lock().unwrap().wait_for_any(ENDLESS);
        if cancelled {
            let waiting = spawn_local(wait);
            settle();
            waiting.cancel();
            assert!(waiting.join().unwrap_err().is::<Cancelled>());
        } else {
            assert!(timeout(SHORT, wait).is_err());
        }
        let mut given = given.lock().unwrap();
        assert_eq!(given.try_any(), None);
        source.make_ready(arm);
        assert_eq!(given.try_any(), Some(arm));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_was_given_before_the_cancellation_is_returned(
    #[values(Arm::Oneshot, Arm::Broadcast, Arm::Watch, Arm::Notify, Arm::Cancel)] arm: Arm,
) {
    alone(move || {
        let (mut source, mut given) = ends();
        let taken = Arc::new(Mutex::new(None));
        let theirs = taken.clone();
        let waiting = spawn_local(move || {
            let got = given.wait_for_any(ENDLESS);
            *theirs.lock().unwrap() = got;
            thread::park();
        });
        settle();
        source.make_ready(arm);
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert_eq!(*taken.lock().unwrap(), Some((arm, GIVEN)));
    });
}

// Many at once.

/// What they share who select.
struct Shared {
    token: CancelToken,
    notify: Notify,
    /// How many notifications have come.
    come: AtomicUsize,
}

/// What one of them waits for, and what it has got.
struct Selector {
    messages: channel::Receiver<u64>,
    /// Where it asks for an answer, each time for one.
    asks: channel::Sender<oneshot::Sender<u64>>,
    answer: oneshot::Receiver<u64>,
    news: broadcast::Receiver<u64>,
    level: watch::Receiver<u64>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    messages: u64,
    answers: u64,
    heard: u64,
    level: u64,
}

impl Selector {
    fn ask(&mut self) {
        let (sender, answer) = oneshot::channel();
        self.answer = answer;
        self.asks.send(sender).unwrap();
    }

    /// The values are numbered.
    fn hear(&mut self, value: u64) {
        assert_eq!(value, self.tally.heard);
        self.tally.heard += 1;
    }

    fn look(&mut self) {
        let level = *self.level.borrow();
        assert!(level >= self.tally.level);
        self.tally.level = level;
    }

    fn run(mut self, shared: &Shared) -> Tally {
        self.ask();
        loop {
            select! {
                recv(self.messages) -> message => self.tally.messages += message.unwrap(),
                recv(&mut self.answer) -> answer => {
                    self.tally.answers += answer.unwrap();
                    self.ask();
                }
                recv(&mut self.news) -> value => self.hear(value.unwrap()),
                changed(&mut self.level) -> changed => {
                    changed.unwrap();
                    self.look();
                }
                notified(shared.notify) => {
                    shared.come.fetch_add(1, Ordering::SeqCst);
                }
                cancelled(shared.token) => break,
            }
        }
        self.tally.messages += self.messages.try_iter().sum::<u64>();
        self.tally.answers += self.answer.try_recv().unwrap_or(0);
        while let Ok(value) = self.news.try_recv() {
            self.hear(value);
        }
        self.look();
        self.tally
    }
}

/// Waits for notifications and nothing else, until the token is cancelled.
fn wait_for_notifications(shared: &Shared) -> Tally {
    while !shared.token.is_cancelled() {
        if shared.notify.notified_timeout(SHORT) {
            shared.come.fetch_add(1, Ordering::SeqCst);
        }
    }
    Tally::default()
}

#[rstest]
#[timeout(LIMIT)]
fn nothing_is_lost_or_doubled(
    #[values(1, 2, 3)] seed: u64,
    #[values(Kind::Green, Kind::Os)] gives: Kind,
) {
    const SELECTORS: [Kind; 3] = [Kind::Green, Kind::Os, Kind::Green];
    let rounds = 10_000 * stress();
    let shared = Arc::new(Shared {
        token: CancelToken::new(),
        notify: Notify::new(),
        come: AtomicUsize::new(0),
    });
    let (sender, messages) = unbounded();
    let (asks, asked) = unbounded();
    let (news, heard) = broadcast::channel(rounds as usize);
    let (level, levels) = watch::channel(0);
    let mut threads: Vec<_> = SELECTORS
        .into_iter()
        .map(|kind| {
            let selector = Selector {
                messages: messages.clone(),
                asks: asks.clone(),
                answer: oneshot::channel().1,
                news: heard.resubscribe(),
                level: levels.clone(),
                tally: Tally::default(),
            };
            let shared = shared.clone();
            kind.spawn(move || selector.run(&shared))
        })
        .collect();
    let theirs = shared.clone();
    threads.push(Kind::Green.spawn(move || wait_for_notifications(&theirs)));
    drop(heard);

    let theirs = shared.clone();
    let given = gives.run(move || {
        let mut random = Xorshift(seed);
        let mut given = Tally::default();
        let mut notified = 0;
        for _ in 0..rounds {
            match random.next() % 5 {
                0 => {
                    let number = random.next() % 1000;
                    given.messages += number;
                    sender.send(number).unwrap();
                }
                1 => {
                    let number = random.next() % 1000;
                    if let Ok(ask) = asked.try_recv() {
                        given.answers += number;
                        ask.send(number).unwrap();
                    }
                }
                2 => {
                    news.send(given.heard).unwrap();
                    given.heard += 1;
                }
                3 => {
                    given.level += 1;
                    level.send(given.level).unwrap();
                }
                _ => {
                    if random.next() % 2 == 0 {
                        theirs.notify.notify_one();
                    } else {
                        theirs.notify.notify_last();
                    }
                    notified += 1;
                    // As there is one permit at most. If one were lost, this would never end.
                    wait_until(|| theirs.come.load(Ordering::SeqCst) >= notified);
                    assert_eq!(theirs.come.load(Ordering::SeqCst), notified);
                }
            }
        }
        theirs.token.cancel();
        // The others look at them once more.
        (given, notified, sender, news, level, asked)
    });
    let tallies: Vec<_> = threads.into_iter().map(|it| it.join()).collect();
    let (given, notified, ..) = given;
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    assert_eq!(sum(|it| it.messages), given.messages);
    assert_eq!(sum(|it| it.answers), given.answers);
    for tally in &tallies[..SELECTORS.len()] {
        assert_eq!((tally.heard, tally.level), (given.heard, given.level));
    }
    assert_eq!(shared.come.load(Ordering::SeqCst), notified);
    assert!(!shared.notify.notified_timeout(Duration::ZERO));
}
