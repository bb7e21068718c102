//! Measures corde against its peers; `README.md` tells what each row means.
//!
//! | file | its job |
//! | --- | --- |
//! | `main.rs` | the arguments |
//! | `harness.rs` | rows, peers in processes of their own, interleaved samples, medians |
//! | `system.rs` | processor affinity, processor time, memory |
//! | `peers.rs` | starting the runtimes of the peers |
//! | `switch/` `spawn/` `time/` `workers/` `sync/` `net/` | what is measured, a folder or a file for a layer |
//! | `../go/` | the peer in Go, a program of its own |
//!
//! Inside of those, a module for a peer, with the same functions in each.

#![cfg_attr(
    feature = "nightly",
    feature(coroutines, coroutine_trait, stmt_expr_attributes)
)]

mod harness;
mod net;
mod peers;
mod spawn;
mod switch;
mod sync;
mod system;
mod time;
mod workers;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use harness::Row;

const USAGE: &str = "usage: corde-benches [--quick] [--list] [FILTER...]

  --quick   fewer samples: all rows in six or seven minutes, if the machine is idle
  --list    print the names of the rows
  FILTER    measure only the rows whose name contains one of these";

fn rows() -> Vec<Row> {
    let mut rows = switch::rows();
    rows.extend(spawn::rows());
    rows.extend(time::rows());
    rows.extend(workers::rows());
    rows.extend(sync::rows());
    rows.extend(net::rows());
    rows
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [harness::PEER, row, peer] => harness::serve_samples(&rows(), row, peer),
        [harness::COUNT, row, peer, rounds] => harness::count(&rows(), row, peer, rounds),
        [net::REQUESTS_OF, row, peer] => net::print_requests(row, peer),
        [net::SERVER, peer, service] => net::serve(peer, service),
        _ => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let (options, filters): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|a| a.starts_with('-'));
    if options.iter().any(|o| !matches!(*o, "--quick" | "--list")) {
        return Err(USAGE.into());
    }
    let mut rows = rows();
    rows.retain(|row| filters.is_empty() || filters.iter().any(|f| row.name().contains(f)));
    if rows.is_empty() {
        return Err(format!("no row matches\n\n{USAGE}").into());
    }
    if options.contains(&"--list") {
        rows.iter().for_each(|row| println!("{}", row.name()));
        return Ok(());
    }
    harness::compare(&rows, options.contains(&"--quick"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_in_go_knows_its_rows() {
        const GO: &str = include_str!("../go/main.go");
        // Go has no channels without a bound.
        const NOT_IN_GO: [&str; 1] = ["sync/channel_unbounded"];
        let layers = [spawn::rows(), time::rows(), workers::rows(), sync::rows()];
        for row in layers.iter().flatten() {
            let name = row.name().trim_end_matches("_w2");
            if NOT_IN_GO.contains(&name) {
                continue;
            }
            assert!(GO.contains(&format!("\"{name}\":")), "{name}");
        }
    }
}
