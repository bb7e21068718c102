//! Models of the runtime's protocols. Most mirror the code step by step; the README of `src/runtime` has the numbers.
//!
//! The models of `corde::sync` (`tests/sync`, `tests/lock.rs`) do not: they compile the very files of `src`. There this crate goes by the name of
//! `std`: it is the standard library, but that loom watches the atomics and cells, and decides which thread runs.
#![cfg_attr(
    loom,
    allow(missing_docs, clippy::new_without_default, reason = "std has them")
)]

#[cfg(loom)]
mod observed;

#[cfg(loom)]
pub use ::std::*;
#[cfg(loom)]
pub use observed::{cell, hint, model, sync, thread};
