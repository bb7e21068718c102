//! What the tests share: of corde's own, what is about processes.
#![allow(dead_code, reason = "each test program uses its part")]

use std::time::Duration;

#[path = "../../../../tests/util/child.rs"]
pub(crate) mod child;
#[path = "../../../../tests/util/program.rs"]
pub(crate) mod program;

/// After this a test is taken for hung and fails. It decides no test that passes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
