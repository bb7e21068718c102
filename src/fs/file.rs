//! `File`.

use std::fmt::{self, Arguments};
use std::fs::{self, FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use super::OpenOptions;
use super::in_place::InPlace;
use crate::runtime::interrupt;
use crate::thread::blocking;

/// An open file; as [`std::fs::File`].
///
/// Closed when dropped, in place and without telling of errors: [`sync_all`](File::sync_all) does. [`Read`], [`Write`] and [`Seek`] are implemented for it
/// and for a reference to it; [`FileExt`] reads and writes at any place, without the cursor.
///
/// Each call suspends once, while an OS thread of the blocking pool makes it, and is not interrupted once begun; see the
/// [module](super#cancellation). `read_to_end`, `read_exact`, `write_all` and `write!` are one such call. Only these do not wait, and run in place:
/// seeking to a place that does not depend on the file's length, [`try_clone`](File::try_clone), and on Linux reading up to 64 KiB of what the system has in
/// memory. So a read may return what is there and stop before what is not, as [`Read::read`] allows; that of std does so only at the end.
///
/// The cursor belongs to the open file and is shared by its clones. Threads that use it at once wait for each other in the system, as with std. Read and
/// write by [`FileExt`] where several do.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use corde::fs::{self, File};
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-File-{}", std::process::id()));
///     let mut file = File::create_new(&path)?;
///     file.write_all(b"here and back")?;
///     file.rewind()?;
///     let mut text = String::new();
///     file.read_to_string(&mut text)?;
///     assert_eq!(text, "here and back");
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Line by line:
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use corde::fs::{self, File};
///
/// corde::run(|| -> std::io::Result<()> {
/// #   let path = std::env::temp_dir().join(format!("corde-File-lines-{}", std::process::id()));
///     fs::write(&path, "one\ntwo\n")?;
///     let lines: Vec<_> = BufReader::new(File::open(&path)?).lines().collect::<Result<_, _>>()?;
///     assert_eq!(lines, ["one", "two"]);
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    inner: fs::File,
    in_place: InPlace,
}

impl File {
    /// Opens a file for reading.
    ///
    /// Suspends, and is not interrupted once begun; a FIFO waits, as [`OpenOptions::open`] tells.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound), [`PermissionDenied`](io::ErrorKind::PermissionDenied), and others of [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use corde::fs::File;
    ///
    /// corde::run(|| {
    ///     assert!(File::open("/dev/null").is_ok());
    ///     assert_eq!(File::open("/nothing").unwrap_err().kind(), ErrorKind::NotFound);
    /// });
    /// ```
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; makes it if there is none, empties it if there is one.
    ///
    /// Suspends, and is not interrupted once begun; a FIFO waits, as [`OpenOptions::open`] tells.
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use corde::fs::{self, File};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    /// #   let path = std::env::temp_dir().join(format!("corde-File-create-{}", std::process::id()));
    ///     File::create(&path)?.write_all(b"new")?;
    ///     assert_eq!(fs::read(&path)?, b"new");
    ///     fs::remove_file(&path)
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    }

    /// Makes a file, and opens it for reading and writing.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), if there is one, and others of [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-File-create_new-{}", std::process::id()));
    /// assert!(File::create_new(&path).is_ok());
    /// assert_eq!(File::create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    }

    /// Makes [`OpenOptions`] with nothing set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::File;
    ///
    /// assert!(File::options().read(true).open("/dev/null").is_ok());
    /// ```
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Makes a call on an OS thread of the pool.
    fn hand_off<T: Send>(&self, call: impl FnOnce(&fs::File) -> T + Send) -> T {
        let _away = self.in_place.away();
        blocking(|| call(&self.inner))
    }

    fn read_in_place(&self, buf: &mut [u8], offset: Option<u64>) -> Option<usize> {
        self.in_place.read(&self.inner, buf, offset)
    }

    /// Waits until all of the file and its metadata are on the disk.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// Those of the system, which has them of earlier writes, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-sync_all-{}", std::process::id()));
    /// let mut file = File::create(&path)?;
    /// file.write_all(b"to be kept")?;
    /// file.sync_all()?;
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sync_all(&self) -> io::Result<()> {
        self.hand_off(fs::File::sync_all)
    }

    /// Waits until the content of the file is on the disk, and of its metadata what is needed to read that.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// Those of the system, which has them of earlier writes, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-sync_data-{}", std::process::id()));
    /// let mut file = File::create(&path)?;
    /// file.write_all(b"to be kept")?;
    /// file.sync_data()?;
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sync_data(&self) -> io::Result<()> {
        self.hand_off(fs::File::sync_data)
    }

    /// Cuts the file off at `size` bytes, or fills it up with zeros to that. The cursor stays.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), if it is not open for writing or the size is too large, and those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-set_len-{}", std::process::id()));
    /// File::create(&path)?.set_len(3)?;
    /// assert_eq!(fs::read(&path)?, [0; 3]);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.hand_off(|file| file.set_len(size))
    }

    /// Asks for the metadata of the file.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::File;
    ///
    /// corde::run(|| assert!(File::open("/").unwrap().metadata().unwrap().is_dir()));
    /// ```
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.hand_off(fs::File::metadata)
    }

    /// Makes a second handle to the same open file, with the same cursor. Does not suspend.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Seek;
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-try_clone-{}", std::process::id()));
    /// let mut file = File::create(&path)?;
    /// file.try_clone()?.seek_relative(3)?;
    /// assert_eq!(file.stream_position()?, 3);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File {
            inner: self.inner.try_clone()?,
            in_place: self.in_place.of_clone(),
        })
    }

    /// Sets the permissions of the file.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied), if it belongs to somebody else, and those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-File-set_permissions-{}", std::process::id()));
    /// let file = File::create(&path)?;
    /// let mut permissions = file.metadata()?.permissions();
    /// permissions.set_readonly(true);
    /// file.set_permissions(permissions)?;
    /// assert!(fs::metadata(&path)?.permissions().readonly());
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_permissions(&self, perm: Permissions) -> io::Result<()> {
        self.hand_off(|file| file.set_permissions(perm))
    }

    /// Sets the times of the file.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied), if it belongs to somebody else, and those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use corde::fs::{self, File, FileTimes};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-set_times-{}", std::process::id()));
    /// let file = File::create(&path)?;
    /// let epoch = SystemTime::UNIX_EPOCH;
    /// file.set_times(FileTimes::new().set_accessed(epoch).set_modified(epoch))?;
    /// assert_eq!(file.metadata()?.accessed()?, epoch);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.hand_off(|file| file.set_times(times))
    }

    /// Sets when the file was last modified.
    ///
    /// Suspends, and is not interrupted once begun.
    ///
    /// # Errors
    ///
    /// Those of [`set_times`](File::set_times).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use corde::fs::{self, File};
    ///
    /// # let path = std::env::temp_dir().join(format!("corde-set_modified-{}", std::process::id()));
    /// let file = File::create(&path)?;
    /// file.set_modified(SystemTime::UNIX_EPOCH)?;
    /// assert_eq!(file.metadata()?.modified()?, SystemTime::UNIX_EPOCH);
    /// # fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Returns whether the file is a terminal, as [`IsTerminal`] does, which only std can implement. Does not suspend.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!corde::fs::File::open("/dev/null")?.is_terminal());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.inner.is_terminal()
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.read_in_place(buf, None) {
            Some(read) => Ok(read),
            None => self.hand_off(|mut file| file.read(buf)),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.hand_off(|mut file| file.read_vectored(bufs))
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.hand_off(|mut file| file.read_to_end(buf))
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.hand_off(|mut file| file.read_to_string(buf))
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let read = self.read_in_place(buf, None);
        let rest = &mut buf[read.unwrap_or(0)..];
        if rest.is_empty() {
            return Ok(());
        }
        let mut rest = || self.hand_off(|mut file| file.read_exact(rest));
        match read {
            // It would be lost.
            Some(_) => interrupt::masked(rest),
            None => rest(),
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.hand_off(|mut file| file.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.hand_off(|mut file| file.write_vectored(bufs))
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        self.hand_off(|mut file| file.write_all(buf))
    }

    fn write_fmt(&mut self, args: Arguments<'_>) -> io::Result<()> {
        // Formatted here, as that runs code of the caller's; and written at once, not piece by piece.
        match args.as_str() {
            Some(text) => self.write_all(text.as_bytes()),
            None => {
                let mut text = Vec::new();
                text.write_fmt(args)?;
                self.write_all(&text)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.inner).flush()
    }
}

impl Seek for &File {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        // The length is known to the file system alone.
        if matches!(pos, SeekFrom::End(_)) || !self.in_place.may_use_cursor() {
            return self.hand_off(|mut file| file.seek(pos));
        }
        (&self.inner).seek(pos)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        (&*self).read_exact(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        (&*self).write_all(buf)
    }

    fn write_fmt(&mut self, args: Arguments<'_>) -> io::Result<()> {
        (&*self).write_fmt(args)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for File {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        (&*self).seek(pos)
    }
}

impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.read_in_place(buf, Some(offset)) {
            Some(read) => Ok(read),
            None => self.hand_off(|file| file.read_at(buf, offset)),
        }
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_in_place(buf, Some(offset)) {
                Some(read) => {
                    buf = &mut buf[read..];
                    offset += read as u64;
                }
                None => return self.hand_off(|file| file.read_exact_at(buf, offset)),
            }
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.hand_off(|file| file.write_at(buf, offset))
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.hand_off(|file| file.write_all_at(buf, offset))
    }
}

impl From<fs::File> for File {
    fn from(inner: fs::File) -> File {
        File {
            inner,
            in_place: InPlace::new(),
        }
    }
}

impl From<File> for fs::File {
    fn from(file: File) -> fs::File {
        file.inner
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        fs::File::from(fd).into()
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.inner.into()
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.inner.into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: passed on.
        unsafe { fs::File::from_raw_fd(fd) }.into()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.inner.into_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
