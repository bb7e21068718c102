//! How long a thread looks at a lock before it waits.

use crate::runtime::worker;

/// Looks at a lock that another processor has. A hundred are some 2 us; a wake-up across processors takes 5 to 35. (64 green threads on two
/// workers that do nothing else: 10, 30, 60, 100 looks 30, 24, 18, 18 ns for each time; more brings nothing.)
const LOOKS: u32 = 100;

/// Returns how often to look: not at all, if who has the lock cannot run meanwhile.
pub(super) fn looks() -> u32 {
    match worker::current_green() {
        Some((worker, _)) if worker.shared().workers.len() == 1 => 0,
        _ => LOOKS,
    }
}
