//! What [`join!`](crate::join) and [`try_join!`](crate::try_join) are made of, besides scopes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Cancelled, Result};
use crate::runtime::interrupt;

/// Runs the last closure of `join!`. Its panic waits for the others; an interrupt of the caller does not.
#[doc(hidden)]
pub fn __in_place<T>(f: impl FnOnce() -> T) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(f));
    match result {
        Err(payload) if interrupt::is_interrupt(&*payload) => resume_unwind(payload),
        result => result,
    }
}

/// Runs the last closure of `try_join!`.
#[doc(hidden)]
pub fn __call<T>(f: impl FnOnce() -> T) -> T {
    f()
}

/// Returns the value of a green thread that has been joined, or passes its panic on.
#[doc(hidden)]
#[track_caller]
pub fn __unwrap<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(payload) if payload.is::<Cancelled>() => {
            panic!("a green thread was cancelled whose result is waited for")
        }
        Err(payload) => match payload.downcast::<io::Error>() {
            Ok(error) => panic!("a green thread could not start: {error}"),
            Err(payload) => resume_unwind(payload),
        },
    }
}
