//! Actors: mailboxes, calls that return an answer, and a supervisor that restarts what fails, as a pattern of some sixty lines.
//! Run it with `cargo run --example actors [SETTING=VALUE...]`, and give it sums, a line each: `6 * 7`, `sleep 500`, `stats`, `1 / 0`.
//!
//! Calculators answer the sums. They share one mailbox, and let it crash: a sum that makes no sense is the end of the calculator that has it, whose
//! caller learns that, and the supervisor starts it anew. A clerk counts the answers; `stats` asks it. At the end of the input all end in order.
//!
//! | setting | default | what it is |
//! | --- | --- | --- |
//! | `calculators` | 2 | how many there are |
//! | `restarts` | 3 | the supervisor gives up if there are more than so many restarts ... |
//! | `within` | 5 | ... in so many seconds |
//! | `patience` | 1 | seconds that a caller waits for an answer, and that the actors have to end |

use std::any::Any;
use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use corde::sync::channel::{self, Receiver, Sender, bounded};
use corde::sync::{Arc, Mutex, PoisonError, oneshot};
use corde::thread::{self, Cancelled, JoinHandle};
use corde::time::{Duration, Elapsed, Instant, sleep, timeout};
use corde::{go, select};

// The pattern: actors.

/// A state that messages work on, one at a time.
trait Actor {
    type Message: Send;

    /// Handles a message. A panic ends the actor, and with it this state.
    fn handle(&mut self, message: Self::Message);
}

/// Where an actor gets its messages, or several that share them. It outlives them: a restarted actor goes on with what is in it.
type Mailbox<M> = Receiver<M>;

/// The right to send messages to a mailbox. When the last one is gone, the actors handle what is left, and end.
struct Address<M>(Sender<M>);

impl<M> Clone for Address<M> {
    fn clone(&self) -> Address<M> {
        Address(self.0.clone())
    }
}

/// Makes a mailbox for so many messages. Who sends one more waits: slow actors slow their callers down.
fn mailbox<M>(capacity: usize) -> (Address<M>, Mailbox<M>) {
    let (sender, receiver) = bounded(capacity);
    (Address(sender), receiver)
}

/// Why a call has no answer.
#[derive(Debug)]
enum CallError {
    /// The actor has failed with this message in its hands.
    Failed,
    /// There is no actor any more.
    Stopped,
    /// It took too long. The message may be handled yet.
    Late,
}

impl<M> Address<M> {
    /// Sends a message, and waits for room in the mailbox.
    fn tell(&self, message: M) -> Result<(), CallError> {
        Ok(self.0.send(message)?)
    }

    /// Sends the message that `ask` makes of the way for the answer, and waits for that. The limit is for both.
    fn call<T>(
        &self,
        limit: Duration,
        ask: impl FnOnce(oneshot::Sender<T>) -> M,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        timeout(limit, || {
            self.tell(ask(reply))?;
            Ok(answer.recv()?)
        })?
    }
}

impl<M> From<channel::SendError<M>> for CallError {
    fn from(_: channel::SendError<M>) -> CallError {
        CallError::Stopped
    }
}

impl From<oneshot::error::RecvError> for CallError {
    fn from(_: oneshot::error::RecvError) -> CallError {
        CallError::Failed
    }
}

impl From<Elapsed> for CallError {
    fn from(_: Elapsed) -> CallError {
        CallError::Late
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallError::Failed => "the actor failed",
            CallError::Stopped => "the actor has stopped",
            CallError::Late => "no answer in time",
        })
    }
}

impl Error for CallError {}

// The pattern: the supervisor.

/// An actor as its supervisor knows it.
struct Child {
    name: String,
    /// Makes the actor and runs it until nobody has its address.
    life: Box<dyn Fn() + Send + Sync>,
}

impl Child {
    fn new<A: Actor>(
        name: impl Into<String>,
        mailbox: Mailbox<A::Message>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Child
    where
        A::Message: 'static,
    {
        let life = move || {
            let mut actor = make();
            for message in &mailbox {
                actor.handle(message);
            }
        };
        Child {
            name: name.into(),
            life: Box::new(life),
        }
    }
}

/// How many restarts are fine, in how much time.
struct Intensity {
    restarts: usize,
    within: Duration,
    recent: Mutex<VecDeque<Instant>>,
}

impl Intensity {
    fn new(restarts: usize, within: Duration) -> Intensity {
        Intensity {
            restarts,
            within,
            recent: Mutex::default(),
        }
    }

    /// Notes a failure. Returns whether a restart is fine.
    fn allows_restart(&self) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recent.retain(|failure| now.duration_since(*failure) < self.within);
        recent.push_back(now);
        recent.len() <= self.restarts
    }
}

/// The supervisor's error: there were too many failures, of which this is the last.
#[derive(Debug)]
struct GaveUp(String);

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the supervisor gave up: {}", self.0)
    }
}

impl Error for GaveUp {}

/// Runs actors until all have ended, and restarts each that fails: one for one.
///
/// Gives up when there are too many restarts: the scope cancels the others then, and this returns when all have ended. The same if the
/// supervisor itself is cancelled. So nothing is left behind either way.
fn supervise(children: Vec<Child>, intensity: &Intensity) -> Result<(), GaveUp> {
    thread::try_scope(|scope| {
        for child in children {
            go!(scope, move || keep(&child, intensity));
        }
        Ok(())
    })
}

/// Runs an actor until it ends without having failed.
fn keep(child: &Child, intensity: &Intensity) -> Result<(), GaveUp> {
    loop {
        // A green thread of its own, whose panic the join returns; linked to this one, for a scope that is cancelled cancels what is in it.
        let life = thread::scope(|scope| go!(scope, name = &*child.name; || (child.life)()).join());
        let Err(payload) = life else {
            return Ok(());
        };
        let failure = format!("{} failed: {}", child.name, message_of(&*payload));
        if !intensity.allows_restart() {
            return Err(GaveUp(failure));
        }
        eprintln!("{failure}; restarted");
    }
}

/// What a panic has said.
fn message_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied())
        .unwrap_or("it did not say why")
}

// The workload.

struct Sum {
    text: String,
    reply: oneshot::Sender<i64>,
}

struct Calculator {
    clerk: Address<ToClerk>,
}

impl Actor for Calculator {
    type Message = Sum;

    fn handle(&mut self, Sum { text, reply }: Sum) {
        // The caller has lost its patience before it was its turn.
        if reply.is_closed() {
            return;
        }
        let value = compute(&text);
        // Told before the answer, so that who has it finds it counted.
        self.clerk
            .tell(ToClerk::Answered)
            .expect("the clerk is there as long as it has callers");
        // Fails if the caller has lost its patience meanwhile.
        let _ = reply.send(value);
    }
}

/// Panics if there is no answer.
fn compute(text: &str) -> i64 {
    let number = |word: &str| word.parse::<i64>().expect("a number is expected");
    let words: Vec<&str> = text.split_whitespace().collect();
    let value = match words[..] {
        ["sleep", milliseconds] => {
            let milliseconds = number(milliseconds);
            sleep(Duration::from_millis(milliseconds.unsigned_abs()));
            Some(milliseconds)
        }
        [left, "+", right] => number(left).checked_add(number(right)),
        [left, "-", right] => number(left).checked_sub(number(right)),
        [left, "*", right] => number(left).checked_mul(number(right)),
        [left, "/", right] => number(left).checked_div(number(right)),
        _ => panic!("that is no sum"),
    };
    value.expect("the sum has no value")
}

enum ToClerk {
    Answered,
    Report(oneshot::Sender<u64>),
}

#[derive(Default)]
struct Clerk {
    answered: u64,
}

impl Actor for Clerk {
    type Message = ToClerk;

    fn handle(&mut self, message: ToClerk) {
        match message {
            ToClerk::Answered => self.answered += 1,
            // Fails if nobody waits for it any more.
            ToClerk::Report(reply) => drop(reply.send(self.answered)),
        }
    }
}

// The program.

/// How many lines are read ahead of the answers, and how many sums the calculators' mailbox holds.
const AHEAD: usize = 64;

struct Settings {
    calculators: usize,
    restarts: usize,
    within: Duration,
    patience: Duration,
}

impl Settings {
    fn from_args(args: impl Iterator<Item = String>) -> Result<Settings, Box<dyn Error>> {
        let mut settings = Settings {
            calculators: 2,
            restarts: 3,
            within: Duration::from_secs(5),
            patience: Duration::from_secs(1),
        };
        for arg in args {
            let (name, value) = arg.split_once('=').ok_or("a setting is NAME=VALUE")?;
            let seconds = || Ok::<_, Box<dyn Error>>(Duration::try_from_secs_f64(value.parse()?)?);
            match name {
                "calculators" => settings.calculators = value.parse()?,
                "restarts" => settings.restarts = value.parse()?,
                "within" => settings.within = seconds()?,
                "patience" => settings.patience = seconds()?,
                _ => return Err(format!("there is no setting {name}").into()),
            }
        }
        Ok(settings)
    }
}

/// The addresses that the program itself has. When it drops them, the calculators end; and when these are gone, the clerk.
#[derive(Clone)]
struct Desk {
    calculators: Address<Sum>,
    clerk: Address<ToClerk>,
    patience: Duration,
}

impl Desk {
    /// Starts everything, and returns the supervisor as well.
    fn open(settings: &Settings) -> (Desk, JoinHandle<Result<(), GaveUp>>) {
        let (clerk, mail) = mailbox(AHEAD);
        let mut children = vec![Child::new("the clerk", mail, Clerk::default)];
        let (calculators, mail) = mailbox(AHEAD);
        for number in 1..=settings.calculators {
            let clerk = clerk.clone();
            let make = move || Calculator {
                clerk: clerk.clone(),
            };
            children.push(Child::new(
                format!("calculator {number}"),
                mail.clone(),
                make,
            ));
        }
        let intensity = Intensity::new(settings.restarts, settings.within);
        let supervisor = go!(name = "supervisor"; { supervise(children, &intensity) });
        let desk = Desk {
            calculators,
            clerk,
            patience: settings.patience,
        };
        (desk, supervisor)
    }

    fn answer(&self, line: &str) -> Result<String, CallError> {
        if line == "stats" {
            let answered = self.clerk.call(self.patience, ToClerk::Report)?;
            return Ok(format!("{answered} answered"));
        }
        let text = line.to_owned();
        let value = self
            .calculators
            .call(self.patience, |reply| Sum { text, reply })?;
        Ok(value.to_string())
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(env::args().skip(1))?;
    let ended = corde::run(|| {
        let (desk, supervisor) = Desk::open(&settings);
        answer_all(desk)?;
        io::Result::Ok(wait_for(supervisor, settings.patience))
    });
    Ok(match ended? {
        Ok(()) => {
            println!("all have ended");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    })
}

/// Answers the lines of standard input: several at once, but in their order.
fn answer_all(desk: Desk) -> io::Result<()> {
    let desk = Arc::new(desk);
    let (calls, begun) = bounded::<(String, JoinHandle<_>)>(AHEAD);
    thread::scope(|scope| {
        let printer = go!(scope, move || {
            for (line, call) in begun {
                match call.join().expect("a call does not panic") {
                    Ok(answer) => writeln!(io::stdout(), "{line}: {answer}")?,
                    Err(error) => writeln!(io::stdout(), "{line}: {error}")?,
                }
            }
            Ok(())
        });
        while let Some(line) = next_line()? {
            let (desk, text) = (desk.clone(), line.clone());
            let call = go!({ desk.answer(&text) });
            if calls.send((line, call)).is_err() {
                // The printer has ended, which tells why.
                break;
            }
        }
        drop(calls);
        printer.join().expect("the printer does not panic")
    })
}

/// The next line of standard input, without its end. An OS thread waits for it.
fn next_line() -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = thread::blocking(|| io::stdin().read_line(&mut line))?;
    Ok((count > 0).then(|| line.trim().to_owned()))
}

/// Waits until the actors have ended, as nobody has their addresses. Those that take too long are cancelled.
fn wait_for(
    mut supervisor: JoinHandle<Result<(), GaveUp>>,
    patience: Duration,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let in_time = select! {
        join(supervisor) => true,
        default(patience) => false,
    };
    if !in_time {
        supervisor.cancel();
    }
    let ended = supervisor.join();
    match ended {
        Ok(ended) => Ok(ended?),
        Err(payload) if payload.is::<Cancelled>() => {
            Err("some actors took too long to end, and were cancelled".into())
        }
        Err(payload) => Err(message_of(&*payload).into()),
    }
}
