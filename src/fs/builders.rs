//! `OpenOptions` and `DirBuilder`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::File;
use crate::thread::blocking;

/// How to open a file; as [`std::fs::OpenOptions`].
///
/// [`OpenOptionsExt`] sets the mode of a new file, and further flags.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use corde::fs::{self, OpenOptions};
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-OpenOptions-{}", std::process::id()));
///     for line in ["one", "two"] {
///         let mut log = OpenOptions::new().append(true).create(true).open(&path)?;
///         writeln!(log, "{line}")?;
///     }
///     assert_eq!(fs::read_to_string(&path)?, "one\ntwo\n");
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Makes options with nothing set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::OpenOptions;
    ///
    /// // A file is opened for something.
    /// assert!(OpenOptions::new().open("/").is_err());
    /// ```
    #[expect(clippy::new_without_default, reason = "std has none")]
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// Sets whether to open for reading.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::OpenOptions;
    ///
    /// assert!(OpenOptions::new().read(true).open("/").is_ok());
    /// ```
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// Sets whether to open for writing. What is in the file is overwritten, and stays beyond that, unless it is
    /// [truncated](OpenOptions::truncate).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::OpenOptions;
    ///
    /// assert!(OpenOptions::new().write(true).open("/").is_err(), "a directory");
    /// ```
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// Sets whether to open for writing at the end, wherever that is at each write.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use corde::fs::{self, OpenOptions};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-append-{}", std::process::id()));
    /// fs::write(&path, "one")?;
    /// OpenOptions::new().append(true).open(&path)?.write_all(b", two")?;
    /// assert_eq!(fs::read_to_string(&path)?, "one, two");
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// Sets whether to empty the file. Needs [`write`](OpenOptions::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::{self, OpenOptions};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-truncate-{}", std::process::id()));
    /// fs::write(&path, "before")?;
    /// let file = OpenOptions::new().write(true).truncate(true).open(&path)?;
    /// assert_eq!(file.metadata()?.len(), 0);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// Sets whether to make a file if there is none. Needs [`write`](OpenOptions::write) or [`append`](OpenOptions::append).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::{self, OpenOptions};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-create-{}", std::process::id()));
    /// OpenOptions::new().write(true).create(true).open(&path)?;
    /// assert!(fs::exists(&path)?);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// Sets whether to make a file, and to fail if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use corde::fs::{self, OpenOptions};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-create_new-{}", std::process::id()));
    /// let open = || OpenOptions::new().write(true).create_new(true).open(&path);
    /// assert!(open().is_ok());
    /// assert_eq!(open().unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.0.create_new(create_new);
        self
    }

    /// Opens a file.
    ///
    /// Suspends, and is not interrupted once begun. Opening a FIFO waits for somebody to open the other end, for ever if nobody does; with
    /// `O_NONBLOCK` among the [`custom_flags`](OpenOptionsExt::custom_flags) it does not wait.
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::OpenOptions::open`]: [`NotFound`](io::ErrorKind::NotFound), [`PermissionDenied`](io::ErrorKind::PermissionDenied),
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), [`InvalidInput`](io::ErrorKind::InvalidInput) for options that contradict each other, and
    /// those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::OpenOptions;
    ///
    /// corde::run(|| assert!(OpenOptions::new().read(true).open("/dev/null").is_ok()));
    /// ```
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let path = path.as_ref();
        blocking(|| self.0.open(path)).map(File::from)
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How to make a directory; as [`std::fs::DirBuilder`].
///
/// [`DirBuilderExt`] sets its mode.
///
/// # Examples
///
/// ```
/// use corde::fs::{self, DirBuilder};
/// use corde::os::unix::fs::{DirBuilderExt, PermissionsExt};
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-DirBuilder-{}", std::process::id()));
///     DirBuilder::new().mode(0o700).create(&path)?;
///     assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o700);
///     fs::remove_dir(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DirBuilder(fs::DirBuilder);

impl DirBuilder {
    /// Makes options with nothing set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::DirBuilder;
    ///
    /// assert!(DirBuilder::new().create("/").is_err(), "it is there");
    /// ```
    #[expect(clippy::new_without_default, reason = "std has none")]
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(fs::DirBuilder::new())
    }

    /// Sets whether to make the directories above, too, where there are none, and to be content with a directory that is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::DirBuilder;
    ///
    /// assert!(DirBuilder::new().recursive(true).create("/").is_ok());
    /// ```
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Makes a directory.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), unless it is [recursive](DirBuilder::recursive) and that is a directory;
    /// [`NotFound`](io::ErrorKind::NotFound), unless it is recursive, if there is nothing to make it in; and those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::{self, DirBuilder};
    ///
    /// # let outer = std::env::temp_dir().join(format!("corde-DirBuilder-create-{}", std::process::id()));
    /// DirBuilder::new().recursive(true).create(outer.join("middle/inner"))?;
    /// assert!(fs::exists(outer.join("middle/inner"))?);
    /// # fs::remove_dir_all(outer)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        blocking(|| self.0.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.0.mode(mode);
        self
    }
}

impl fmt::Debug for DirBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
