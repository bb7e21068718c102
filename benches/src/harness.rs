//! The measuring: rows, peers in processes of their own, interleaved samples, medians.
//!
//! Each peer of a row runs in a child process, a copy of this program, because a runtime is there once in a process and
//! allocators remember what was done before. The child prepares and then waits; for each line it reads, it takes one
//! sample and answers with one number for each metric. The parent asks one peer after the other, round after round,
//! so that a machine that drifts does so under all of them; ratios are taken round by round for the same reason.
//! Where already a first sample leaves something behind, or where memory does not suffice for all peers at once, a process
//! takes one sample and ends before the next one begins.
//!
//! A peer in another language is a program of its own that speaks the same: the child sets its affinity and becomes that program.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::system;

/// The argument that makes a process a peer.
pub(crate) const PEER: &str = "--peer";

/// The argument that makes a process do a given number of rounds, for `../instructions`.
pub(crate) const COUNT: &str = "--count";

/// The least that one sample takes.
const LEAST: Duration = Duration::from_millis(10);

/// How often the processes of a row are started anew: which pages and addresses a process gets makes a difference that no
/// number of samples shows.
const GENERATIONS: usize = 3;

/// Takes samples.
pub(crate) enum Sampler {
    /// Measures the nanoseconds of one operation.
    PerOperation {
        /// Rounds of a sample, at the least.
        rounds: usize,
        /// Operations in a round.
        batch: usize,
        /// Does so many rounds and returns how long they took.
        run: Box<dyn FnMut(usize) -> Duration>,
    },
    /// Takes a whole sample: a value for each metric of the row.
    Whole(Box<dyn FnMut() -> Vec<f64>>),
}

/// Measures the nanoseconds of one operation. `run` does so many rounds of `batch` operations and returns how long they took.
pub(crate) fn per_operation(batch: usize, run: impl FnMut(usize) -> Duration + 'static) -> Sampler {
    per_operation_in(1, batch, run)
}

/// The same, in at least so many rounds a sample: what one round leaves in the caches, and not what the peer before has left there,
/// then decides about the next.
pub(crate) fn per_operation_in(
    rounds: usize,
    batch: usize,
    run: impl FnMut(usize) -> Duration + 'static,
) -> Sampler {
    let run = Box::new(run);
    Sampler::PerOperation { rounds, batch, run }
}

/// Measures whatever the metrics of the row are. If the row is not [fresh](Row::fresh), the first sample of a process does not count.
pub(crate) fn whole(sample: impl FnMut() -> Vec<f64> + 'static) -> Sampler {
    Sampler::Whole(Box::new(sample))
}

impl Sampler {
    /// Makes it ready to take samples: finds out, once, how many rounds take long enough, which warms up as well.
    fn calibrated(self) -> Box<dyn FnMut() -> Vec<f64>> {
        match self {
            Sampler::PerOperation {
                mut rounds,
                batch,
                mut run,
            } => {
                while run(rounds) < LEAST {
                    rounds *= 2;
                }
                Box::new(move || vec![run(rounds).as_nanos() as f64 / (rounds * batch) as f64])
            }
            Sampler::Whole(sample) => sample,
        }
    }
}

/// What a number means.
pub(crate) struct Metric {
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
}

impl Metric {
    /// A number that is the smaller the better.
    fn cost(&self, value: f64) -> f64 {
        if self.more_is_better {
            value.recip()
        } else {
            value
        }
    }
}

/// A metric that is the smaller the better.
pub(crate) const fn cost(unit: &'static str) -> Metric {
    Metric {
        unit,
        more_is_better: false,
    }
}

/// The metric of most rows.
pub(crate) const NANOSECONDS: &[Metric] = &[cost("ns")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Corde,
    /// What corde is compared with.
    Peer,
    /// What bounds it: does less, or is no library. Shown, but not in the ratio.
    Bound,
}

struct Contender {
    name: &'static str,
    kind: Kind,
    by: By,
}

/// Who takes a contender's samples.
enum By {
    /// The child, by what this makes.
    Prepared(Box<dyn Fn() -> Sampler>),
    /// A program, which is told the row as its argument.
    Program(PathBuf),
}

/// One thing that is measured, for several peers.
pub(crate) struct Row {
    name: String,
    metrics: &'static [Metric],
    workers: usize,
    samples: Samples,
    fresh: bool,
    needs: fn() -> Result<(), &'static str>,
    contenders: Vec<Contender>,
    /// Whether there is to be a Go peer but no program for it.
    lacks_go: bool,
}

/// How many samples a generation of processes takes.
#[derive(Clone, Copy)]
struct Samples {
    quick: usize,
    full: usize,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, metrics: &'static [Metric]) -> Row {
        Row {
            name: name.into(),
            metrics,
            workers: 1,
            samples: Samples { quick: 5, full: 14 },
            fresh: false,
            needs: || Ok(()),
            contenders: Vec::new(),
            lacks_go: false,
        }
    }

    /// Sets how many workers a runtime has, and how many processors the peer runs on.
    pub(crate) fn workers(mut self, workers: usize) -> Row {
        self.workers = workers;
        self
    }

    /// Marks a row whose samples take long by nature: it gets fewer of them.
    pub(crate) fn heavy(mut self) -> Row {
        self.samples = Samples { quick: 2, full: 4 };
        self
    }

    /// Marks a row of which a single sample takes seconds.
    pub(crate) fn huge(mut self) -> Row {
        self.samples = Samples { quick: 1, full: 2 };
        self
    }

    /// Gives each sample a process of its own, one at a time.
    pub(crate) fn fresh(mut self) -> Row {
        self.fresh = true;
        self
    }

    /// Sets what the machine must have; if it has not, the row is left out with the reason.
    pub(crate) fn needs(mut self, needs: fn() -> Result<(), &'static str>) -> Row {
        self.needs = needs;
        self
    }

    pub(crate) fn corde(self, prepare: impl Fn() -> Sampler + 'static) -> Row {
        self.contender("corde", Kind::Corde, prepare)
    }

    pub(crate) fn peer(self, name: &'static str, prepare: impl Fn() -> Sampler + 'static) -> Row {
        self.contender(name, Kind::Peer, prepare)
    }

    pub(crate) fn bound(self, name: &'static str, prepare: impl Fn() -> Sampler + 'static) -> Row {
        self.contender(name, Kind::Bound, prepare)
    }

    /// Adds the row of that name in `../go/main.go` as a peer, if `../go/prepare` has built it.
    pub(crate) fn go(mut self) -> Row {
        let Some(program) = go_program() else {
            return self.without_go();
        };
        self.contenders.push(Contender {
            name: "go",
            kind: Kind::Peer,
            by: By::Program(program),
        });
        self
    }

    /// Notes that there is no program in Go.
    pub(crate) fn without_go(mut self) -> Row {
        self.lacks_go = true;
        self
    }

    fn contender(
        mut self,
        name: &'static str,
        kind: Kind,
        prepare: impl Fn() -> Sampler + 'static,
    ) -> Row {
        self.contenders.push(Contender {
            name,
            kind,
            by: By::Prepared(Box::new(prepare)),
        });
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The peer in Go: `../go/prepare` puts it into Cargo's target folder, where this program is, too.
pub(crate) fn go_program() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let target = own.parent()?.parent()?;
    Some(target.join("go/peer")).filter(|program| program.exists())
}

/// Runs `f` and returns how long it took.
pub(crate) fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

/// The main function of a peer's process: prepares, and takes a sample for each line on the standard input.
pub(crate) fn serve_samples(rows: &[Row], row: &str, peer: &str) -> Result<(), Box<dyn Error>> {
    let (row, contender) = find(rows, row, peer)?;
    system::pin(0..row.workers);
    let mut sample = match &contender.by {
        By::Prepared(prepare) => prepare().calibrated(),
        By::Program(program) => {
            let mut program = Command::new(program);
            let program = program.env("GOMAXPROCS", row.workers.to_string());
            // It returns only if it fails.
            return Err(program.arg(&row.name).exec().into());
        }
    };
    println!("ready");
    for line in io::stdin().lines() {
        line?;
        let values: Vec<String> = sample().iter().map(f64::to_string).collect();
        println!("{}", values.join(" "));
    }
    Ok(())
}

/// The main function of a process whose instructions are counted: does `rounds` rounds, no more.
pub(crate) fn count(
    rows: &[Row],
    row: &str,
    peer: &str,
    rounds: &str,
) -> Result<(), Box<dyn Error>> {
    let rounds: usize = rounds.parse()?;
    let (row, contender) = find(rows, row, peer)?;
    system::pin(0..row.workers);
    let By::Prepared(prepare) = &contender.by else {
        return Err("this peer is another program".into());
    };
    match prepare() {
        Sampler::PerOperation { mut run, .. } => {
            run(rounds);
            Ok(())
        }
        Sampler::Whole(_) => Err("this row does not count operations".into()),
    }
}

/// Finds a peer of a row.
fn find<'a>(
    rows: &'a [Row],
    row: &str,
    peer: &str,
) -> Result<(&'a Row, &'a Contender), Box<dyn Error>> {
    let row = rows.iter().find(|known| known.name == row);
    let row = row.ok_or("there is no such row")?;
    let contender = row.contenders.iter().find(|known| known.name == peer);
    Ok((row, contender.ok_or("there is no such peer")?))
}

/// A peer's process.
struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(row: &Row, contender: &Contender) -> Result<Process, Box<dyn Error>> {
        Process::prepared(row, contender)
            .map_err(|error| format!("{} of {}: {error}", contender.name, row.name).into())
    }

    fn prepared(row: &Row, contender: &Contender) -> Result<Process, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .args([PEER, &row.name, contender.name])
            .env("CORDE_WORKERS", row.workers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut process = Process {
            answers: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        };
        process.answer()?;
        Ok(process)
    }

    fn answer(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("it ended before it answered".into()),
            _ => Ok(line),
        }
    }

    fn sample(&mut self) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut requests = self.child.stdin.as_ref().expect("it is piped");
        requests.write_all(b"go\n")?;
        let values = self.answer()?;
        Ok(values
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Closes its standard input, at which it ends.
        let _ = self.child.wait();
    }
}

/// What one contender has shown in one metric, round by round.
struct Column<'a> {
    contender: &'a Contender,
    samples: Vec<f64>,
}

impl Column<'_> {
    fn median(&self) -> f64 {
        quartiles(&self.samples)[1]
    }
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarters| sorted[((sorted.len() - 1) * quarters + 2) / 4])
}

/// Measures all rows and prints them: each in full as it comes, at the end one line each.
pub(crate) fn compare(rows: &[Row], quick: bool) -> Result<(), Box<dyn Error>> {
    let mut summary = String::from(
        "| row | unit | corde | best peer | ratio | quartiles | bound |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        if let Err(reason) = (row.needs)() {
            println!("{}: left out, {reason}\n", row.name);
            continue;
        }
        let rounds = if quick {
            row.samples.quick
        } else {
            row.samples.full
        };
        let results = measure(row, rounds)?;
        for (place, metric) in row.metrics.iter().enumerate() {
            let columns = results.iter().map(|(contender, samples)| Column {
                contender,
                samples: samples.iter().map(|sample| sample[place]).collect(),
            });
            let columns: Vec<_> = columns.collect();
            print_row(row, metric, &columns);
            if row.lacks_go && place == 0 {
                println!("  without go: benches/go/prepare has not built it\n");
            }
            summary += &summary_line(row, metric, &columns);
        }
    }
    println!("{summary}");
    println!(
        "corde, best peer, bound: medians. Ratio: of corde to that peer, and in parentheses to the bound, in each round; below 1 where corde is ahead."
    );
    Ok(())
}

type Results<'a> = Vec<(&'a Contender, Vec<Vec<f64>>)>;

/// Takes `rounds` samples of each contender in each generation of processes, in turn.
fn measure(row: &Row, rounds: usize) -> Result<Results<'_>, Box<dyn Error>> {
    let contenders = row.contenders.iter();
    let mut results: Results<'_> = contenders.map(|c| (c, Vec::new())).collect();
    let count = results.len();
    // Another one begins each time, so that nobody always comes after the same neighbour.
    let turns = |round| (0..count).map(move |turn| (round + turn) % count);
    for generation in 0..GENERATIONS {
        if row.fresh {
            for place in (0..rounds).flat_map(|round| turns(generation * rounds + round)) {
                let (contender, samples) = &mut results[place];
                samples.push(Process::start(row, contender)?.sample()?);
            }
            continue;
        }
        let processes = row.contenders.iter().map(|c| Process::start(row, c));
        let mut processes = processes.collect::<Result<Vec<_>, _>>()?;
        // A first sample does not count: it finds neither stacks nor pages nor caches as they are from then on.
        for process in &mut processes {
            process.sample()?;
        }
        for place in (0..rounds).flat_map(turns) {
            results[place].1.push(processes[place].sample()?);
        }
    }
    Ok(results)
}

fn print_row(row: &Row, metric: &Metric, columns: &[Column<'_>]) {
    println!("{} ({})", row.name, metric.unit);
    println!("  {:<14} {:>9} {:>9} {:>7}", "", "median", "best", "spread");
    for column in columns {
        let [low, median, high] = quartiles(&column.samples);
        let samples = column.samples.iter().copied();
        let best = samples.min_by(|&a, &b| metric.cost(a).total_cmp(&metric.cost(b)));
        println!(
            "  {:<14} {:>9} {:>9} {:>6.1}%",
            column.contender.name,
            short(median),
            short(best.unwrap_or(f64::NAN)),
            if median == 0.0 {
                0.0
            } else {
                (high - low) / median * 100.0
            }
        );
    }
    println!();
}

fn summary_line(row: &Row, metric: &Metric, columns: &[Column<'_>]) -> String {
    let best = |kind| {
        let columns = columns.iter().filter(|c| c.contender.kind == kind);
        columns.min_by(|a, b| metric.cost(a.median()).total_cmp(&metric.cost(b.median())))
    };
    let (corde, peer, bound) = (best(Kind::Corde), best(Kind::Peer), best(Kind::Bound));
    // Round by round.
    let ratios = |other: Option<&Column<'_>>| -> [f64; 3] {
        let (Some(corde), Some(other)) = (corde, other) else {
            return [f64::NAN; 3];
        };
        let pairs = corde.samples.iter().zip(&other.samples);
        let ratios = pairs.map(|(&a, &b)| ratio(metric.cost(a), metric.cost(b)));
        quartiles(&ratios.collect::<Vec<_>>())
    };
    let [low, ratio, high] = ratios(peer);
    let median = |column: &Column<'_>| short(column.median());
    let named = |column: &Column<'_>| format!("{} {}", column.contender.name, median(column));
    format!(
        "| {} | {} | {} | {} | {} | {}-{} | {} |\n",
        row.name,
        metric.unit,
        corde.map(median).unwrap_or_default(),
        peer.map(named).unwrap_or_default(),
        short(ratio),
        short(low),
        short(high),
        bound
            .map(|it| format!("{} ({})", named(it), short(ratios(bound)[1])))
            .unwrap_or_default(),
    )
}

/// What corde costs relative to a peer. Where neither costs anything they are equal.
fn ratio(corde: f64, peer: f64) -> f64 {
    if corde == peer { 1.0 } else { corde / peer }
}

/// Three digits or so, which is more than the spread leaves.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        ..0.1 => format!("{value:.4}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
