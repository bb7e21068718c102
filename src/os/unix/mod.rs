//! What is particular to Unix, with the names of [`std::os::unix`].
//!
//! # Examples
//!
//! ```
//! use corde::fs::File;
//! use corde::os::unix::fs::FileExt;
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let mut magic = [0; 4];
//!     File::open(std::env::current_exe()?)?.read_exact_at(&mut magic, 0)?;
//!     assert_ne!(magic, [0; 4]);
//!     Ok(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod fs;
pub mod net;
pub mod process;

pub use std::os::unix::{ffi, io};
