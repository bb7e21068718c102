//! What only some operating systems have, with the names of [`std::os`].
//!
//! # Examples
//!
//! ```
//! use corde::os::unix::fs::MetadataExt;
//!
//! corde::run(|| assert!(corde::fs::metadata("/").unwrap().nlink() > 0));
//! ```

#[cfg(target_os = "android")]
pub mod android;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod unix;

pub use std::os::fd;
