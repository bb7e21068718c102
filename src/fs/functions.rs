//! The free functions.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use super::ReadDir;
use crate::thread::blocking;

/// Reads all of a file; as [`std::fs::read`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-read-{}", std::process::id()));
///     fs::write(&path, [1, 2, 3])?;
///     assert_eq!(fs::read(&path)?, [1, 2, 3]);
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    blocking(|| fs::read(path))
}

/// Reads all of a file that holds text; as [`std::fs::read_to_string`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`InvalidData`](io::ErrorKind::InvalidData) if it is not UTF-8, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-read_to_string-{}", std::process::id()));
///     fs::write(&path, "text")?;
///     assert_eq!(fs::read_to_string(&path)?, "text");
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref();
    blocking(|| fs::read_to_string(path))
}

/// Makes a file, or empties it, and writes all of it; as [`std::fs::write`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of [`File::create`](super::File::create) and of writing.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-write-{}", std::process::id()));
///     fs::write(&path, "before, and longer")?;
///     fs::write(&path, "after")?;
///     assert_eq!(fs::read(&path)?, b"after");
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    blocking(|| fs::write(path, contents))
}

/// Removes a file, or a symbolic link; as [`std::fs::remove_file`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let path = std::env::temp_dir().join(format!("corde-remove_file-{}", std::process::id()));
/// fs::write(&path, "")?;
/// fs::remove_file(&path)?;
/// assert!(!fs::exists(&path)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::remove_file(path))
}

/// Asks for the metadata of a file, of that which a symbolic link leads to; as [`std::fs::metadata`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// assert!(fs::metadata("/")?.is_dir());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    blocking(|| fs::metadata(path))
}

/// Asks for the metadata of a file, of a symbolic link itself; as [`std::fs::symlink_metadata`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let link = std::env::temp_dir().join(format!("corde-symlink_metadata-{}", std::process::id()));
/// corde::os::unix::fs::symlink("/", &link)?;
/// assert!(fs::symlink_metadata(&link)?.is_symlink());
/// assert!(fs::metadata(&link)?.is_dir());
/// # fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    blocking(|| fs::symlink_metadata(path))
}

/// Gives a file another name, in place of what has that name; as [`std::fs::rename`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`CrossesDevices`](io::ErrorKind::CrossesDevices) if the two are on different file systems, and those of
/// the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let from = std::env::temp_dir().join(format!("corde-rename-{}", std::process::id()));
/// # let to = from.with_extension("to");
/// fs::write(&from, "moved")?;
/// fs::rename(&from, &to)?;
/// assert_eq!(fs::read(&to)?, b"moved");
/// assert!(!fs::exists(&from)?);
/// # fs::remove_file(&to)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| fs::rename(from, to))
}

/// Copies the content and the permissions of a file, and returns its length; as [`std::fs::copy`].
///
/// Suspends, and is not interrupted once begun. It may take long; nothing ends it before.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`InvalidInput`](io::ErrorKind::InvalidInput) if `from` is no file, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let from = std::env::temp_dir().join(format!("corde-copy-{}", std::process::id()));
/// #   let to = from.with_extension("to");
///     fs::write(&from, "twice")?;
///     assert_eq!(fs::copy(&from, &to)?, 5);
///     assert_eq!(fs::read(&to)?, fs::read(&from)?);
/// #   fs::remove_file(&from)?;
///     fs::remove_file(&to)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| fs::copy(from, to))
}

/// Gives a file a second name; as [`std::fs::hard_link`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`AlreadyExists`](io::ErrorKind::AlreadyExists), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let original = std::env::temp_dir().join(format!("corde-hard_link-{}", std::process::id()));
/// # let link = original.with_extension("link");
/// fs::write(&original, "one")?;
/// fs::hard_link(&original, &link)?;
/// fs::remove_file(&original)?;
/// assert_eq!(fs::read(&link)?, b"one");
/// # fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    blocking(|| fs::hard_link(original, link))
}

/// Makes a symbolic link; as [`std::fs::soft_link`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of [`symlink`](crate::os::unix::fs::symlink).
///
/// # Examples
///
/// ```
/// #![allow(deprecated)]
/// use corde::fs;
///
/// # let link = std::env::temp_dir().join(format!("corde-soft_link-{}", std::process::id()));
/// fs::soft_link("/", &link)?;
/// assert!(fs::metadata(&link)?.is_dir());
/// # fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[deprecated(note = "std has replaced it: use `corde::os::unix::fs::symlink`")]
pub fn soft_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    crate::os::unix::fs::symlink(original, link)
}

/// Returns where a symbolic link leads to; as [`std::fs::read_link`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`InvalidInput`](io::ErrorKind::InvalidInput) if it is no symbolic link, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let link = std::env::temp_dir().join(format!("corde-read_link-{}", std::process::id()));
/// corde::os::unix::fs::symlink("/somewhere", &link)?;
/// assert_eq!(fs::read_link(&link)?.to_str(), Some("/somewhere"));
/// # fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    blocking(|| fs::read_link(path))
}

/// Returns the absolute path of a file, without `.`, `..` and symbolic links; as [`std::fs::canonicalize`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// assert_eq!(fs::canonicalize("/./dev/..")?.to_str(), Some("/"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    blocking(|| fs::canonicalize(path))
}

/// Makes a directory; as [`std::fs::create_dir`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists), [`NotFound`](io::ErrorKind::NotFound) if there is nothing to make it in, and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let path = std::env::temp_dir().join(format!("corde-create_dir-{}", std::process::id()));
/// fs::create_dir(&path)?;
/// assert!(fs::metadata(&path)?.is_dir());
/// # fs::remove_dir(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::create_dir(path))
}

/// Makes a directory, and those above it, where there are none; as [`std::fs::create_dir_all`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of the system. What has been made before an error stays.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let path = std::env::temp_dir().join(format!("corde-create_dir_all-{}", std::process::id()));
/// fs::create_dir_all(path.join("middle/inner"))?;
/// fs::create_dir_all(path.join("middle/inner"))?;
/// # fs::remove_dir_all(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::create_dir_all(path))
}

/// Removes an empty directory; as [`std::fs::remove_dir`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`DirectoryNotEmpty`](io::ErrorKind::DirectoryNotEmpty), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let path = std::env::temp_dir().join(format!("corde-remove_dir-{}", std::process::id()));
/// fs::create_dir_all(path.join("inner"))?;
/// assert!(fs::remove_dir(&path).is_err());
/// fs::remove_dir(path.join("inner"))?;
/// fs::remove_dir(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::remove_dir(path))
}

/// Removes a directory with all that is in it; as [`std::fs::remove_dir_all`]. Symbolic links are not followed.
///
/// Suspends, and is not interrupted once begun. It may take long; nothing ends it before.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), and those of the system. What has been removed before an error is gone.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-remove_dir_all-{}", std::process::id()));
///     fs::create_dir_all(path.join("inner"))?;
///     fs::write(path.join("inner/file"), "")?;
///     fs::remove_dir_all(&path)?;
///     assert!(!fs::exists(&path)?);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::remove_dir_all(path))
}

/// Returns an iterator over the entries of a directory; as [`std::fs::read_dir`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`NotADirectory`](io::ErrorKind::NotADirectory), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// for entry in fs::read_dir("/")? {
///     assert!(entry?.path().starts_with("/"));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    ReadDir::open(path.as_ref())
}

/// Sets the permissions of a file, of that which a symbolic link leads to; as [`std::fs::set_permissions`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`PermissionDenied`](io::ErrorKind::PermissionDenied), and those of the system.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let path = std::env::temp_dir().join(format!("corde-set_permissions-{}", std::process::id()));
/// fs::write(&path, "")?;
/// let mut permissions = fs::metadata(&path)?.permissions();
/// permissions.set_readonly(true);
/// fs::set_permissions(&path, permissions)?;
/// assert!(fs::metadata(&path)?.permissions().readonly());
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_permissions<P: AsRef<Path>>(path: P, perm: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| fs::set_permissions(path, perm))
}

/// Returns whether there is a file, at the end of symbolic links; as [`std::fs::exists`].
///
/// Suspends, and is not interrupted once begun.
///
/// # Errors
///
/// Those of the system, if it cannot tell.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// assert!(fs::exists("/")?);
/// assert!(!fs::exists("/nothing")?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    let path = path.as_ref();
    blocking(|| fs::exists(path))
}
