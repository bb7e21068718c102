//! What Unix systems have for files, with the names of [`std::os::unix::fs`].
//!
//! The traits are those of std, implemented for the types of [`corde::fs`](crate::fs). The functions run on the blocking pool,
//! as all of that module does; what is said there of [cancellation](crate::fs#cancellation) holds here.
//!
//! # Examples
//!
//! ```
//! use corde::fs::{self, OpenOptions};
//! use corde::os::unix::fs::{OpenOptionsExt, PermissionsExt};
//!
//! corde::run(|| -> std::io::Result<()> {
//! #   let path = std::env::temp_dir().join(format!("corde-unix-fs-{}", std::process::id()));
//!     OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
//!     assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
//!     fs::remove_file(&path)
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs as std_fs;
use std::path::Path;

use crate::thread::blocking;

pub use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};

/// Makes a symbolic link `link` that leads to `original`; as [`std::os::unix::fs::symlink`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists), if there is a `link`, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::{fs, os::unix::fs::symlink};
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let link = std::env::temp_dir().join(format!("corde-symlink-{}", std::process::id()));
///     symlink("/somewhere", &link)?;
///     assert_eq!(fs::read_link(&link)?.to_str(), Some("/somewhere"));
///     fs::remove_file(&link)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    blocking(|| std_fs::symlink(original, link))
}

/// Changes the owner and the group of a file, or leaves what is `None`; as [`std::os::unix::fs::chown`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied), as mostly only root may do so, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
/// use corde::os::unix::fs::{MetadataExt, chown};
///
/// # let path = std::env::temp_dir().join(format!("corde-chown-{}", std::process::id()));
/// fs::write(&path, "")?;
/// let before = fs::metadata(&path)?;
/// chown(&path, Some(before.uid()), None)?;
/// assert_eq!(fs::metadata(&path)?.uid(), before.uid());
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn chown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    blocking(|| std_fs::chown(dir, uid, gid))
}

/// Changes the owner and the group of an open file, or leaves what is `None`; as [`std::os::unix::fs::fchown`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of [`chown`].
///
/// # Examples
///
/// ```
/// use corde::fs::{self, File};
/// use corde::os::unix::fs::{MetadataExt, fchown};
///
/// # let path = std::env::temp_dir().join(format!("corde-fchown-{}", std::process::id()));
/// let file = File::create(&path)?;
/// let before = file.metadata()?;
/// fchown(&file, None, Some(before.gid()))?;
/// assert_eq!(file.metadata()?.gid(), before.gid());
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn fchown<F: AsFd>(fd: F, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let fd = fd.as_fd();
    blocking(|| std_fs::fchown(fd, uid, gid))
}

/// Changes the owner and the group of a file, of a symbolic link itself, or leaves what is `None`; as [`std::os::unix::fs::lchown`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of [`chown`].
///
/// # Examples
///
/// ```
/// use corde::fs;
/// use corde::os::unix::fs::{MetadataExt, lchown, symlink};
///
/// # let link = std::env::temp_dir().join(format!("corde-lchown-{}", std::process::id()));
/// symlink("/nowhere", &link)?;
/// let before = fs::symlink_metadata(&link)?;
/// lchown(&link, Some(before.uid()), Some(before.gid()))?;
/// # fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lchown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    blocking(|| std_fs::lchown(dir, uid, gid))
}

/// Changes the root directory of the process, with all of its threads; as [`std::os::unix::fs::chroot`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied), as only root may do so, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::os::unix::fs::chroot;
///
/// assert!(chroot("/there/is/no/such/directory").is_err());
/// ```
pub fn chroot<P: AsRef<Path>>(dir: P) -> io::Result<()> {
    let dir = dir.as_ref();
    blocking(|| std_fs::chroot(dir))
}
