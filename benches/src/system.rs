//! Processor affinity and memory.

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
    bytes("/proc/self/status", "VmRSS:")
}

/// Memory of this process's page tables in bytes.
pub(crate) fn page_tables() -> f64 {
    bytes("/proc/self/status", "VmPTE:")
}

/// Memory in bytes that the system can still give without swapping.
pub(crate) fn available_memory() -> f64 {
    bytes("/proc/meminfo", "MemAvailable:")
}

/// Mappings that this process has.
pub(crate) fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines().count()
}

/// Reads the line that begins with `field`.
fn bytes(file: &str, field: &str) -> f64 {
    let lines = fs::read_to_string(file).expect("/proc is mounted");
    let line = lines.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kibibytes.expect("the kernel tells it in kB") * 1024.0
}
