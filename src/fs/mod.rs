//! Files and directories, with the names and the manners of [`std::fs`].
//!
//! No file system tells when a file is ready: a call may have to wait for a disk, or for a network. So a call made by a green thread runs on
//! an OS thread of the [blocking pool](crate::thread::blocking) while the green thread is suspended, and its worker runs others. A call is
//! handed over once, however many system calls std makes of it: [`read`], [`copy`], [`remove_dir_all`], `read_to_end`, `write_all` and
//! `write!` go as a whole, and [`ReadDir`] fetches many entries at a time. Buffers are filled where they are. An OS
//! thread that is no worker, or a closure of [`blocking`](crate::thread::blocking), calls std in place.
//!
//! What cannot wait is done in place by green threads, too: moving a file's cursor, duplicating a file descriptor, and on Linux
//! reading what the system has in memory, if the file system can tell (ext4, XFS, Btrfs can). That takes a microsecond instead of the ten and more of
//! a hand-off. Writing in large pieces, through a [`BufWriter`](std::io::BufWriter), is worth even more than with std.
//!
//! [`FileTimes`], [`FileType`], [`Metadata`] and [`Permissions`] are those of std. Errors are those of std as well.
//!
//! # What to watch
//!
//! * The methods of [`Path`](std::path::Path) that ask the file system (`exists`, `is_dir`, `metadata`, `read_dir` and so on) are std's, and
//!   block the worker. [`exists`], [`metadata`] and [`read_dir`] here do not.
//! * Dropping a [`File`] or a [`ReadDir`] closes it in place, as a destructor should not suspend. A network file system may write back what is
//!   left at that moment: call [`sync_all`](File::sync_all) first, which also tells of errors.
//! * A [`File`] made of a pipe, a terminal or a socket works as with std, but each read that waits holds an OS thread of the pool, as does opening a
//!   FIFO whose other end is not open yet. When all of them are held, 512 unless set otherwise, other calls wait.
//! * std implements `Read`, `Write` and `Seek` for `Arc<File>`, which is reserved to std. Use them on `&*arc`: they are implemented for
//!   `&File`.
//! * [`IsTerminal`](std::io::IsTerminal) can be implemented by std alone; [`File::is_terminal`] is a method of its own.
//! * Locks on files (`File::lock` and its like, of Rust 1.89) are not there yet: corde supports Rust 1.85.
//!
//! # Cancellation
//!
//! Whoever is cancelled, or whose [`timeout`](crate::time::timeout) is over, does not begin a call, and leaves the queue of a pool that
//! is busy. A call that has begun is not interrupted: it works on what the caller has lent. The green thread gets its
//! result, and unwinds where it next waits, so nothing that was read or written is lost. It follows that a call that never ends, on a
//! FIFO or a terminal, cannot be cancelled.
//!
//! # Examples
//!
//! ```
//! use std::io::Write;
//! use corde::fs::{self, File};
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let directory = std::env::temp_dir().join(format!("corde-fs-{}", std::process::id()));
//!     fs::create_dir_all(&directory)?;
//!     let path = directory.join("greeting");
//!     let mut file = File::create(&path)?;
//!     writeln!(file, "hello, {}", "files")?;
//!     assert_eq!(fs::read_to_string(&path)?, "hello, files\n");
//!     assert_eq!(fs::read_dir(&directory)?.count(), 1);
//!     fs::remove_dir_all(&directory)
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod builders;
mod file;
mod functions;
mod in_place;
mod read_dir;

pub use builders::{DirBuilder, OpenOptions};
pub use file::File;
#[allow(deprecated, reason = "std has it, too")]
pub use functions::soft_link;
pub use functions::{
    canonicalize, copy, create_dir, create_dir_all, exists, hard_link, metadata, read, read_dir,
    read_link, read_to_string, remove_dir, remove_dir_all, remove_file, rename, set_permissions,
    symlink_metadata, write,
};
pub use read_dir::{DirEntry, ReadDir};
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};
