//! Processor affinity and resident memory.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps the calling thread, and those it will start, on these processors.
pub(crate) fn pin(processors: impl IntoIterator<Item = usize>) {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(processor).expect("a small number");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("the machine has the processors of this row");
}

/// Resident memory of this process in bytes.
pub(crate) fn resident_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kibibytes.expect("the kernel tells the resident memory") * 1024.0
}
