//! Follows files as `tail -F` does: a green thread for each, their lines merged through a channel, and through a filter, if there is one.
//! Run it with `cargo run --release --example tail_f -- [-n LINES] [-s SECONDS] [--through COMMAND] FILE...`.
//!
//! It begins with the last `LINES` of each file, 10 if not given, and looks for more every `SECONDS`, 1 if not given. A file is followed by its name: one
//! that is replaced, truncated, gone or not there yet is noticed. `COMMAND` is run by the shell, gets all lines, and is started again when it has ended.
//!
//! Ctrl-C ends it when all lines are through, with the counters; a second one at once. SIGHUP opens the files anew, SIGUSR1 prints the counters.
//!
//! `follower.rs` follows a file, `filter.rs` keeps the command running.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::str::FromStr;

use corde::io::{self, ErrorKind, Write};
use corde::process::exit;
use corde::signal::{SignalKind, Signals};
use corde::sync::atomic::{AtomicU64, Ordering};
use corde::sync::channel::{Receiver, bounded};
use corde::thread::{self, CancelToken};
use corde::time::Duration;
use corde::{go, select};
use filter::Filter;
use follower::Follower;

mod filter;
mod follower;

/// How much is read at once.
const BLOCK: usize = 16 * 1024;

/// How many lines wait for being printed; then files are read no further.
const WAITING: usize = 1024;

/// A line with its end, as it is printed.
type Line = Vec<u8>;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let settings = Settings::from_args(env::args().skip(1))?;
    corde::run(|| Ok(Tail::new(settings).run()?))
}

struct Settings {
    last: u64,
    period: Duration,
    filter: Option<String>,
    paths: Vec<PathBuf>,
}

impl Settings {
    fn from_args(args: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut args = args;
        let mut settings = Settings {
            last: 10,
            period: Duration::from_secs(1),
            filter: None,
            paths: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match &*arg {
                "-n" => settings.last = parse(&arg, args.next())?,
                "-s" => {
                    let seconds = Duration::try_from_secs_f64(parse(&arg, args.next())?);
                    settings.period = seconds.map_err(|error| format!("-s: {error}"))?;
                }
                "--through" => settings.filter = Some(parse(&arg, args.next())?),
                _ => settings.paths.push(arg.into()),
            }
        }
        if settings.paths.is_empty() || settings.period.is_zero() {
            return Err("it wants files to follow, and more than 0 seconds".into());
        }
        Ok(settings)
    }
}

fn parse<T: FromStr<Err: Display>>(option: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{option} wants a value"))?;
    let parsed = value.parse();
    parsed.map_err(|error| format!("{option} {value}: {error}"))
}

struct Tail {
    settings: Settings,
    counters: Vec<Counters>,
    filters: AtomicU64,
    /// How often the files were to be opened anew.
    hangups: AtomicU64,
    ending: CancelToken,
}

/// What has been seen of one file.
#[derive(Default)]
struct Counters {
    lines: AtomicU64,
    bytes: AtomicU64,
    opened: AtomicU64,
    truncated: AtomicU64,
}

impl Tail {
    fn new(settings: Settings) -> Tail {
        Tail {
            counters: settings.paths.iter().map(|_| Counters::default()).collect(),
            settings,
            filters: AtomicU64::new(0),
            hangups: AtomicU64::new(0),
            ending: CancelToken::new(),
        }
    }

    /// Follows the files until it is told to end, or nobody takes their lines.
    fn run(&self) -> io::Result<()> {
        let signals = Signals::new([
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::user_defined1(),
        ])?;
        let (sender, lines) = bounded(WAITING);
        let printed = thread::scope(|scope| {
            for number in 0..self.settings.paths.len() {
                let sender = sender.clone();
                go!(scope, move || Follower::new(self, number, sender).follow());
            }
            // Those of the followers are left: when they have ended, there are no further lines.
            drop(sender);
            let mut printer = go!(scope, || self.print(lines));
            let printed = loop {
                select! {
                    join(printer) -> printed => break printed,
                    readable(signals) => if let Some(kind) = signals.try_recv() {
                        self.obey(kind);
                    }
                }
            };
            self.ending.cancel();
            printed.unwrap_or_else(|panic| resume_unwind(panic))
        });
        self.report();
        match printed {
            // As with others that are read by `head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            printed => printed,
        }
    }

    fn obey(&self, kind: SignalKind) {
        if kind == SignalKind::hangup() {
            self.hangups.fetch_add(1, Ordering::Relaxed);
        } else if kind == SignalKind::user_defined1() {
            self.report();
        } else if self.ending.is_cancelled() {
            // Somebody does not want to wait for the filter.
            exit(128 + kind.as_raw());
        } else {
            self.ending.cancel();
        }
    }

    /// Prints the counters, not among the lines.
    fn report(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (path, counters) in self.settings.paths.iter().zip(&self.counters) {
            eprintln!(
                "{}: {} lines, {} bytes; opened {} times, truncated {} times",
                path.display(),
                count(&counters.lines),
                count(&counters.bytes),
                count(&counters.opened),
                count(&counters.truncated),
            );
        }
        if self.settings.filter.is_some() {
            eprintln!("filter: started {} times", count(&self.filters));
        }
    }

    /// Prints lines as they come, until there are no further ones.
    fn print(&self, lines: Receiver<Line>) -> io::Result<()> {
        if let Some(command) = &self.settings.filter {
            let mut filter = Filter::new(command, &self.filters);
            lines.iter().try_for_each(|line| filter.write(&line))?;
            return filter.finish();
        }
        for mut text in &lines {
            // What else is there goes with it.
            let more = lines.try_iter();
            more.take(WAITING).for_each(|line| text.extend(line));
            print(&text)?;
        }
        Ok(())
    }
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()
}
