//! `ReadDir` and `DirEntry`.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::vec;

use crate::thread::blocking;

/// Entries fetched at once. One takes 0.2 us, so that for as many the hand-off is no longer what counts.
const BATCH: usize = 128;

/// An iterator over the entries of a directory, made by [`read_dir`](super::read_dir()); as [`std::fs::ReadDir`].
///
/// Entries are fetched 128 at a time, and the first of them when the directory is opened, so one of fewer entries takes no
/// further hand-off. What changes in the directory meanwhile may be seen or not, as with std. Each fetch suspends, and is not interrupted
/// once begun.
///
/// # Errors
///
/// An item is an error, as with std, if the system fails to tell more.
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let directory = std::env::temp_dir().join(format!("corde-ReadDir-{}", std::process::id()));
///     fs::create_dir(&directory)?;
///     for name in ["one", "two"] {
///         fs::write(directory.join(name), name)?;
///     }
///     let mut names = Vec::new();
///     for entry in fs::read_dir(&directory)? {
///         names.push(entry?.file_name());
///     }
///     names.sort();
///     assert_eq!(names, ["one", "two"]);
///     fs::remove_dir_all(&directory)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReadDir {
    inner: fs::ReadDir,
    ahead: vec::IntoIter<io::Result<DirEntry>>,
    /// There is nothing left in `inner`.
    ended: bool,
}

// As std's, which holds no error: one that waits here is only ever handed on.
impl UnwindSafe for ReadDir {}
impl RefUnwindSafe for ReadDir {}

impl ReadDir {
    pub(super) fn open(path: &Path) -> io::Result<ReadDir> {
        blocking(|| {
            let mut opened = ReadDir {
                inner: fs::read_dir(path)?,
                ahead: Vec::new().into_iter(),
                ended: false,
            };
            opened.fetch();
            Ok(opened)
        })
    }

    fn fetch(&mut self) {
        let entries = self.inner.by_ref().take(BATCH);
        let batch: Vec<_> = entries.map(|entry| entry.map(DirEntry::new)).collect();
        self.ended = batch.len() < BATCH;
        self.ahead = batch.into_iter();
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.ahead.len() == 0 && !self.ended {
            blocking(|| self.fetch());
        }
        self.ahead.next()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// An entry of a directory; as [`std::fs::DirEntry`].
///
/// # Examples
///
/// ```
/// use corde::fs;
///
/// # let directory = std::env::temp_dir().join(format!("corde-DirEntry-{}", std::process::id()));
/// fs::create_dir(&directory)?;
/// fs::write(directory.join("one"), "1")?;
/// let entry = fs::read_dir(&directory)?.next().unwrap()?;
/// assert_eq!(format!("{entry:?}"), format!("DirEntry({:?})", directory.join("one")));
/// # fs::remove_dir_all(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DirEntry {
    inner: fs::DirEntry,
    /// None, if the system could not tell when it was fetched.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// Made where it may block: some file systems have to be asked for the type.
    fn new(inner: fs::DirEntry) -> DirEntry {
        let file_type = inner.file_type().ok();
        DirEntry { inner, file_type }
    }

    /// Returns the path of the entry: that of the directory, as it was given to [`read_dir`](super::read_dir()), and the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-DirEntry-path-{}", std::process::id()));
    /// fs::create_dir(&directory)?;
    /// fs::write(directory.join("one"), "1")?;
    /// let entry = fs::read_dir(&directory)?.next().unwrap()?;
    /// assert_eq!(entry.path(), directory.join("one"));
    /// # fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.path()
    }

    /// Asks for the metadata of the entry; of a symbolic link itself, as [`symlink_metadata`](super::symlink_metadata()).
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound), if it is not there any more, and those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-DirEntry-metadata-{}", std::process::id()));
    /// fs::create_dir(&directory)?;
    /// fs::write(directory.join("one"), "1")?;
    /// let entry = fs::read_dir(&directory)?.next().unwrap()?;
    /// assert_eq!(entry.metadata()?.len(), 1);
    /// # fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn metadata(&self) -> io::Result<Metadata> {
        blocking(|| self.inner.metadata())
    }

    /// Returns the type of the entry; of a symbolic link itself. It is that at the time when the entry was fetched.
    ///
    /// Does not suspend, unless the system failed to tell it then.
    ///
    /// # Errors
    ///
    /// Those of [`metadata`](DirEntry::metadata), where the type does not come with the entry.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-DirEntry-file_type-{}", std::process::id()));
    /// fs::create_dir_all(directory.join("inner"))?;
    /// let entry = fs::read_dir(&directory)?.next().unwrap()?;
    /// assert!(entry.file_type()?.is_dir());
    /// # fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => blocking(|| self.inner.file_type()),
        }
    }

    /// Returns the name of the entry, without that of the directory.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-DirEntry-file_name-{}", std::process::id()));
    /// fs::create_dir(&directory)?;
    /// fs::write(directory.join("one"), "1")?;
    /// let entry = fs::read_dir(&directory)?.next().unwrap()?;
    /// assert_eq!(entry.file_name(), "one");
    /// # fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.inner.file_name()
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.inner.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
