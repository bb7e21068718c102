//! What only some operating systems have, with the names of [`std::os`].
//!
//! # Examples
//!
//! ```
//! use corde::os::unix::fs::MetadataExt;
//!
//! corde::run(|| assert!(corde::fs::metadata("/").unwrap().nlink() > 0));
//! ```

pub mod unix;
