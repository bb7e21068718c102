//! Processor affinity, processor time and memory.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use corde::stack::{DEFAULT_SIZE, DefaultStack};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
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

/// Resident memory of another process in bytes.
pub(crate) fn resident_memory_of(process: i32) -> f64 {
    bytes(&format!("/proc/{process}/status"), "VmRSS:")
}

/// The most resident memory that this process ever had, in bytes.
pub(crate) fn peak_memory() -> f64 {
    bytes("/proc/self/status", "VmHWM:")
}

/// Memory of this process's page tables in bytes.
pub(crate) fn page_tables() -> f64 {
    bytes("/proc/self/status", "VmPTE:")
}

/// Tells whether there can be a million stacks at once: they take 4.4 GB, and there are many more of them than a process may have mappings.
pub(crate) fn holds_a_million_stacks() -> Result<(), &'static str> {
    const MEMORY: f64 = (8_u64 << 30) as f64;

    if available_memory() < MEMORY {
        return Err("as less than 8 GiB of memory are available");
    }
    if !has_guard_markers() {
        return Err("as guards are not markers (Linux 6.13) but take mappings");
    }
    Ok(())
}

/// Memory in bytes that the system can still give without swapping.
fn available_memory() -> f64 {
    bytes("/proc/meminfo", "MemAvailable:")
}

/// Tells whether corde's guards leave mappings whole, so that `vm.max_map_count` does not limit the number of stacks.
fn has_guard_markers() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let before = mappings();
        let stacks =
            [(); 32].map(|()| DefaultStack::new(DEFAULT_SIZE).expect("a stack can be had"));
        mappings() - before < stacks.len()
    })
}

/// Mappings that this process has.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines().count()
}

/// Has the calling thread, and those it will start, sleep as long as they ask for: the kernel adds up to 50 us otherwise.
pub(crate) fn make_sleeps_exact() {
    set_timerslack(1).expect("the kernel knows of it");
}

/// What threads have used of the processors.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    /// Time in user and in kernel mode.
    pub(crate) time: Duration,
    /// How often a thread went to sleep.
    pub(crate) waits: i64,
}

/// What all threads of this process have used.
pub(crate) fn used() -> Use {
    used_by(UsageWho::RUSAGE_SELF)
}

/// What all threads of this process but the calling one have used.
pub(crate) fn used_by_others() -> Use {
    let (all, own) = (used(), used_by(UsageWho::RUSAGE_THREAD));
    Use {
        time: all.time.saturating_sub(own.time),
        waits: all.waits - own.waits,
    }
}

fn used_by(who: UsageWho) -> Use {
    let usage = getrusage(who).expect("the kernel knows");
    let micros = |time: fn(&Usage) -> _| TimeValLike::num_microseconds(&time(&usage));
    let micros: i64 = micros(Usage::user_time) + micros(Usage::system_time);
    Use {
        time: Duration::from_micros(micros.unsigned_abs()),
        waits: usage.voluntary_context_switches(),
    }
}

/// Reads the line that begins with `field`.
fn bytes(file: &str, field: &str) -> f64 {
    let lines = fs::read_to_string(file).expect("/proc is mounted");
    let line = lines.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kibibytes.expect("the kernel tells it in kB") * 1024.0
}
