//! The same random sequences of operations on the channels of corde, crossbeam-channel and std: the same observations, down to the texts of errors.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rstest::rstest;
use util::random::Xorshift;
use util::{LIMIT, stress};

const STEPS: usize = 200;

/// A message that is counted while it is alive.
struct Message {
    id: u32,
    alive: Rc<Cell<isize>>,
}

impl Message {
    fn new(id: u32, alive: &Rc<Cell<isize>>) -> Message {
        alive.set(alive.get() + 1);
        let alive = alive.clone();
        Message { id, alive }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

impl Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)
    }
}

fn text<T: Debug, E: Debug + Display>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        // crossbeam-channel 0.5 shows some as strings, with quotes; std does not.
        Err(error) => format!("{error:?}: {error:>60}").replace('"', ""),
    }
}

/// Bounds of the channels of a run; none is unbounded.
type Bounds = [Option<usize>; 3];

#[derive(Clone, Copy, Debug)]
enum Way {
    Send,
    Recv,
}

/// How a selection goes.
#[derive(Clone, Copy, Debug)]
enum Form {
    TrySelect,
    SelectTimeout,
    Select,
    TryReady,
    ReadyTimeout,
    Ready,
    Macro,
    BiasedMacro,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    TrySend,
    SendTimeout,
    SendDeadline,
    /// As far as it does not wait.
    Send,
    TryRecv,
    RecvTimeout,
    RecvDeadline,
    /// As far as it does not wait.
    Recv,
    Observe,
    CloneSender,
    DropSender,
    CloneReceiver,
    DropReceiver,
    TryIter,
    /// As many as there are.
    Iter,
    /// The whole rest, by value.
    IntoIter,
}

const CASES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Step(Step, usize),
    Select(Form, [(Way, usize); CASES]),
}

fn below(random: &mut Xorshift, bound: usize) -> usize {
    (random.next() >> 20) as usize % bound
}

fn pick<T: Copy>(random: &mut Xorshift, from: &[T]) -> T {
    from[below(random, from.len())]
}

fn random_op(random: &mut Xorshift) -> Op {
    use Step::*;
    let channel = below(random, 3);
    match below(random, 16) {
        0..=3 => Op::Step(
            pick(random, &[TrySend, SendTimeout, SendDeadline, Send]),
            channel,
        ),
        4..=6 => Op::Step(
            pick(random, &[TryRecv, RecvTimeout, RecvDeadline, Recv]),
            channel,
        ),
        7 => Op::Step(pick(random, &[TryIter, Iter]), channel),
        8 => Op::Step(pick(random, &[CloneSender, CloneReceiver]), channel),
        9 => Op::Step(pick(random, &[DropSender, DropReceiver]), channel),
        10 if below(random, 8) == 0 => Op::Step(IntoIter, channel),
        10 | 11 => Op::Step(Observe, channel),
        _ => {
            let form = pick(
                random,
                &[
                    Form::TrySelect,
                    Form::SelectTimeout,
                    Form::Select,
                    Form::TryReady,
                    Form::ReadyTimeout,
                    Form::Ready,
                    Form::Macro,
                    Form::BiasedMacro,
                ],
            );
            let cases =
                [(); CASES].map(|()| (pick(random, &[Way::Send, Way::Recv]), below(random, 3)));
            Op::Select(form, cases)
        }
    }
}

/// What an operation showed: the case that was chosen, if it was a selection, and the rest.
#[derive(Debug, PartialEq)]
struct Seen {
    chosen: Option<usize>,
    text: String,
}

/// Channels of one library.
macro_rules! world {
    ($name:ident, $library:path, $select:path, $select_biased:path) => {
        mod $name {
            use super::*;
            use $library as channel;
            use $select as select;
            use $select_biased as select_biased;

            pub(super) struct World {
                bounds: Bounds,
                senders: [Vec<channel::Sender<Message>>; 3],
                receivers: [Vec<channel::Receiver<Message>>; 3],
                next: u32,
                pub(super) alive: Rc<Cell<isize>>,
            }

            impl World {
                pub(super) fn new(bounds: Bounds) -> World {
                    let ends = bounds.map(|bound| match bound {
                        Some(bound) => channel::bounded(bound),
                        None => channel::unbounded(),
                    });
                    let [a, b, c] = ends;
                    World {
                        bounds,
                        senders: [vec![a.0], vec![b.0], vec![c.0]],
                        receivers: [vec![a.1], vec![b.1], vec![c.1]],
                        next: 0,
                        alive: Rc::default(),
                    }
                }

                fn message(&mut self) -> Message {
                    self.next += 1;
                    Message::new(self.next, &self.alive)
                }

                pub(super) fn step(&mut self, step: Step, at: usize) -> String {
                    let message = self.message();
                    let (senders, receivers) = (&mut self.senders[at], &mut self.receivers[at]);
                    let now = Instant::now();
                    if let Some(sender) = senders.first() {
                        match step {
                            Step::TrySend => return text(sender.try_send(message)),
                            Step::SendTimeout => {
                                return text(sender.send_timeout(message, Duration::ZERO));
                            }
                            Step::SendDeadline => return text(sender.send_deadline(message, now)),
                            Step::Send if receivers.is_empty() || !sender.is_full() => {
                                return text(sender.send(message));
                            }
                            // crossbeam keeps the messages of a bounded channel until the last sender is gone, too.
                            Step::Observe if !receivers.is_empty() || self.bounds[at].is_none() => {
                                return format!(
                                    "{} {} {} {:?} {sender:?}",
                                    sender.len(),
                                    sender.is_empty(),
                                    sender.is_full(),
                                    sender.capacity()
                                );
                            }
                            Step::CloneSender => {
                                let clone = sender.clone();
                                assert!(clone.same_channel(sender));
                                senders.push(clone);
                                return String::new();
                            }
                            Step::DropSender => {
                                senders.pop();
                                return String::new();
                            }
                            _ => {}
                        }
                    }
                    if let Some(receiver) = receivers.first() {
                        match step {
                            Step::TryRecv => return text(receiver.try_recv()),
                            Step::RecvTimeout => {
                                return text(receiver.recv_timeout(Duration::ZERO));
                            }
                            Step::RecvDeadline => return text(receiver.recv_deadline(now)),
                            Step::Recv if senders.is_empty() || !receiver.is_empty() => {
                                return text(receiver.recv());
                            }
                            Step::Observe => {
                                return format!(
                                    "{} {} {} {:?} {receiver:?} {:?} {:?}",
                                    receiver.len(),
                                    receiver.is_empty(),
                                    receiver.is_full(),
                                    receiver.capacity(),
                                    receiver.iter(),
                                    receiver.try_iter(),
                                );
                            }
                            Step::CloneReceiver => {
                                let clone = receiver.clone();
                                assert!(clone.same_channel(receiver));
                                receivers.push(clone);
                            }
                            Step::DropReceiver => drop(receivers.pop()),
                            Step::TryIter => {
                                return format!("{:?}", receiver.try_iter().collect::<Vec<_>>());
                            }
                            Step::Iter => {
                                let messages = receiver.iter().take(receiver.len());
                                return format!("{:?}", messages.collect::<Vec<_>>());
                            }
                            Step::IntoIter => {
                                senders.clear();
                                let messages = receiver.clone().into_iter();
                                return format!("{:?}", messages.collect::<Vec<_>>());
                            }
                            _ => {}
                        }
                    }
                    String::new()
                }

                /// Selects among those `cases` that `allowed` has.
                pub(super) fn select(
                    &mut self,
                    form: Form,
                    cases: &[(Way, usize); CASES],
                    allowed: &[usize],
                ) -> Seen {
                    let message = self.message();
                    let (senders, receivers) = (&self.senders, &self.receivers);
                    let mut places = Vec::new();
                    let mut select = match form {
                        Form::BiasedMacro => channel::Select::new_biased(),
                        _ => channel::Select::new(),
                    };
                    for &place in allowed {
                        let (way, at) = cases[place];
                        match way {
                            Way::Send if !senders[at].is_empty() => select.send(&senders[at][0]),
                            Way::Recv if !receivers[at].is_empty() => {
                                select.recv(&receivers[at][0])
                            }
                            _ => continue,
                        };
                        places.push(place);
                    }
                    let nothing = |text: String| Seen { chosen: None, text };
                    let at = |place: usize| cases[place].1;
                    let is_ready = select.try_ready().is_ok();
                    let selected = match form {
                        Form::TryReady | Form::ReadyTimeout | Form::Ready => {
                            let ready = match form {
                                Form::TryReady => {
                                    select.try_ready().map_err(|error| format!("{error:?}"))
                                }
                                Form::Ready if is_ready => Ok(select.ready()),
                                _ => select
                                    .ready_timeout(Duration::ZERO)
                                    .map_err(|error| format!("{error:?}")),
                            };
                            return match ready {
                                Ok(ready) => Seen {
                                    chosen: Some(places[ready]),
                                    text: format!("{select:?}"),
                                },
                                Err(text) => nothing(text),
                            };
                        }
                        Form::Macro | Form::BiasedMacro
                            if places.len() == 2
                                && matches!(cases[places[0]].0, Way::Send)
                                && matches!(cases[places[1]].0, Way::Recv) =>
                        {
                            let (sender, receiver) =
                                (&senders[at(places[0])][0], &receivers[at(places[1])][0]);
                            let (chosen, text) = match form {
                                Form::Macro => select! {
                                    send(sender, message) -> sent => (Some(places[0]), text(sent)),
                                    recv(receiver) -> received => (Some(places[1]), text(received)),
                                    default => (None, String::new()),
                                },
                                _ => select_biased! {
                                    send(sender, message) -> sent => (Some(places[0]), text(sent)),
                                    recv(receiver) -> received => (Some(places[1]), text(received)),
                                    default(Duration::ZERO) => (None, String::new()),
                                },
                            };
                            return Seen { chosen, text };
                        }
                        Form::Select if is_ready => Ok(select.select()),
                        Form::SelectTimeout | Form::Select => select
                            .select_timeout(Duration::ZERO)
                            .map_err(|error| text::<(), _>(Err(error))),
                        Form::TrySelect | Form::Macro | Form::BiasedMacro => select
                            .try_select()
                            .map_err(|error| text::<(), _>(Err(error))),
                    };
                    let operation = match selected {
                        Ok(operation) => operation,
                        Err(text) => return nothing(text),
                    };
                    assert_eq!(format!("{operation:?}"), "SelectedOperation { .. }");
                    let place = places[operation.index()];
                    let text = match cases[place].0 {
                        Way::Send => text(operation.send(&senders[at(place)][0], message)),
                        Way::Recv => text(operation.recv(&receivers[at(place)][0])),
                    };
                    Seen {
                        chosen: Some(place),
                        text,
                    }
                }
            }
        }
    };
}

world!(
    ours,
    corde::sync::channel,
    corde::select,
    corde::select_biased
);
world!(
    theirs,
    crossbeam_channel,
    crossbeam_channel::select,
    crossbeam_channel::select_biased
);

/// The cases of a selection that either library may choose: those which the other chooses when it has no other choice.
fn compare_with_crossbeam(seed: u64) {
    let mut random = Xorshift(seed);
    let bounds = [(); 3].map(|()| pick(&mut random, &[Some(0), Some(1), Some(2), Some(5), None]));
    let (mut ours, mut theirs) = (ours::World::new(bounds), theirs::World::new(bounds));
    let mut log = Vec::new();
    for _ in 0..STEPS {
        let op = random_op(&mut random);
        let (mine, other) = match op {
            Op::Step(step, at) => {
                let seen = |text| Seen { chosen: None, text };
                (seen(ours.step(step, at)), seen(theirs.step(step, at)))
            }
            Op::Select(form, cases) => {
                let all: Vec<_> = (0..CASES).collect();
                let mine = ours.select(form, &cases, &all);
                // Theirs has no other choice, unless nothing was chosen: then it must not choose, either.
                let allowed = mine.chosen.map_or(all, |chosen| vec![chosen]);
                (mine, theirs.select(form, &cases, &allowed))
            }
        };
        log.push(format!("{op:?}: {mine:?}"));
        assert!(
            mine == other,
            "seed {seed}, bounds {bounds:?}: {} crossbeam: {other:?}",
            log.join("\n")
        );
    }
    let alive = [ours.alive.clone(), theirs.alive.clone()];
    drop((ours, theirs));
    assert_eq!(alive.map(|alive| alive.get()), [0, 0], "seed {seed}");
}

#[rstest]
#[timeout(LIMIT)]
fn random_operations_show_what_they_show_with_crossbeam() {
    for seed in 1..=100 * stress() {
        compare_with_crossbeam(seed);
    }
}

/// One channel of std's kind.
macro_rules! mpsc_world {
    ($name:ident, $library:path) => {
        mod $name {
            use super::*;
            use $library as mpsc;

            enum Sender {
                Unbounded(mpsc::Sender<Message>),
                Bounded(mpsc::SyncSender<Message>),
            }

            pub(super) struct World {
                senders: Vec<Sender>,
                receiver: Option<mpsc::Receiver<Message>>,
                /// Messages that are in it.
                len: usize,
                next: u32,
                pub(super) alive: Rc<Cell<isize>>,
            }

            impl World {
                pub(super) fn new(bound: Option<usize>) -> World {
                    let (sender, receiver) = match bound {
                        Some(bound) => {
                            let (sender, receiver) = mpsc::sync_channel(bound);
                            (Sender::Bounded(sender), receiver)
                        }
                        None => {
                            let (sender, receiver) = mpsc::channel();
                            (Sender::Unbounded(sender), receiver)
                        }
                    };
                    World {
                        senders: vec![sender],
                        receiver: Some(receiver),
                        len: 0,
                        next: 0,
                        alive: Rc::default(),
                    }
                }

                pub(super) fn step(&mut self, step: Step) -> String {
                    self.next += 1;
                    let message = Message::new(self.next, &self.alive);
                    match step {
                        Step::TrySend | Step::Send => {
                            let sent = match self.senders.last() {
                                Some(Sender::Unbounded(sender)) => text(sender.send(message)),
                                Some(Sender::Bounded(sender)) => text(sender.try_send(message)),
                                None => return String::new(),
                            };
                            self.len += usize::from(sent == "()");
                            return sent;
                        }
                        Step::CloneSender => {
                            let clone = match self.senders.last() {
                                Some(Sender::Unbounded(sender)) => {
                                    Sender::Unbounded(sender.clone())
                                }
                                Some(Sender::Bounded(sender)) => Sender::Bounded(sender.clone()),
                                None => return String::new(),
                            };
                            self.senders.push(clone);
                        }
                        Step::DropSender => drop(self.senders.pop()),
                        Step::DropReceiver => drop(self.receiver.take()),
                        _ => {}
                    }
                    let Some(receiver) = &self.receiver else {
                        return String::new();
                    };
                    let received = match step {
                        Step::TryRecv => text(receiver.try_recv()),
                        Step::RecvTimeout => text(receiver.recv_timeout(Duration::ZERO)),
                        Step::Recv if self.len > 0 || self.senders.is_empty() => {
                            text(receiver.recv())
                        }
                        Step::TryIter => {
                            self.len = 0;
                            return format!("{:?}", receiver.try_iter().collect::<Vec<_>>());
                        }
                        Step::Iter => {
                            let messages = receiver.iter().take(self.len).collect::<Vec<_>>();
                            self.len = 0;
                            return format!("{messages:?}");
                        }
                        Step::IntoIter => {
                            self.senders.clear();
                            let messages = self.receiver.take().into_iter().flatten();
                            return format!("{:?}", messages.collect::<Vec<_>>());
                        }
                        Step::Observe => {
                            let sender = match self.senders.last() {
                                Some(Sender::Unbounded(sender)) => format!("{sender:?}"),
                                Some(Sender::Bounded(sender)) => format!("{sender:?}"),
                                None => String::new(),
                            };
                            return format!("{receiver:?} {sender}");
                        }
                        _ => return String::new(),
                    };
                    self.len -= usize::from(received.parse::<u32>().is_ok());
                    received
                }
            }
        }
    };
}

mpsc_world!(our_mpsc, corde::sync::mpsc);
mpsc_world!(std_mpsc, std::sync::mpsc);

fn compare_with_std(seed: u64) {
    let mut random = Xorshift(seed);
    let bound = pick(&mut random, &[Some(0), Some(1), Some(2), Some(5), None]);
    let (mut ours, mut theirs) = (our_mpsc::World::new(bound), std_mpsc::World::new(bound));
    let mut log = Vec::new();
    for _ in 0..STEPS {
        let Op::Step(step, _) = random_op(&mut random) else {
            continue;
        };
        let (mine, other) = (ours.step(step), theirs.step(step));
        log.push(format!("{step:?}: {mine}"));
        let log = log.join("\n");
        assert_eq!(mine, other, "seed {seed}, bound {bound:?}: {log}");
    }
    let alive = [ours.alive.clone(), theirs.alive.clone()];
    drop((ours, theirs));
    assert_eq!(alive.map(|alive| alive.get()), [0, 0], "seed {seed}");
}

#[rstest]
#[timeout(LIMIT)]
fn random_operations_show_what_they_show_with_std() {
    for seed in 1..=100 * stress() {
        compare_with_std(seed);
    }
}
