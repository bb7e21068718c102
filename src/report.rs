//! Lines on standard error, from where nobody can be given an error.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes a line. Unlike `eprintln!` it does not panic when that fails: who reports is in the middle of something.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "corde: {text}");
}
