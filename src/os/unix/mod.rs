//! What is particular to Unix, with the names of [`std::os::unix`].
//!
//! # Examples
//!
//! ```
//! use corde::os::unix::process::CommandExt;
//!
//! let output = corde::process::Command::new("sh").arg0("another name").args(["-c", "echo $0"]).output()?;
//! assert_eq!(output.stdout, b"another name\n");
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod process;
