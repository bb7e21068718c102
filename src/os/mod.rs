//! What is particular to some systems, with the names of [`std::os`].
//!
//! # Examples
//!
//! ```
//! assert_ne!(corde::os::unix::process::parent_id(), corde::process::id());
//! ```

pub mod unix;
