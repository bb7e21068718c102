//! Standard input.

use std::io::{self, BufRead, ErrorKind, IoSliceMut, Lines, Read};
use std::str;
use std::sync::PoisonError;

use super::shared::{self, descriptor};
use crate::sync::{Mutex, MutexGuard};

/// How much is read at once; std's figure.
const CHUNK: usize = 8 * 1024;

/// What has been read and not been taken.
///
/// Unlike std's buffer it grows until a line is whole: whoever is interrupted while it waits for the rest has taken nothing.
struct Input {
    bytes: Vec<u8>,
    /// Bytes that have been taken.
    taken: usize,
}

static INPUT: Mutex<Input> = Mutex::new(Input {
    bytes: Vec::new(),
    taken: 0,
});

impl Input {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn take(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
    }

    /// Reads more behind what there is; returns how much.
    fn read_more(&mut self) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        // Not into `bytes`, which this may leave by unwinding.
        let mut chunk = [0; CHUNK];
        let count = read(&mut [IoSliceMut::new(&mut chunk)])?;
        self.bytes.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.read_more()?;
        }
        Ok(self.rest())
    }

    /// Returns how many bytes there are up to a `delimiter`, or to the end of the input.
    fn find(&mut self, delimiter: u8) -> io::Result<usize> {
        let mut searched = 0;
        loop {
            let new = self.rest()[searched..].iter();
            if let Some(place) = new.copied().position(|byte| byte == delimiter) {
                return Ok(searched + place + 1);
            }
            searched = self.rest().len();
            match self.read_more() {
                Ok(0) => return Ok(searched),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

fn read(bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    shared::read(shared::standard(libc::STDIN_FILENO), bufs)
}

/// A handle to the standard input of the process; as [`std::io::Stdin`]. See [`stdin`].
///
/// # Examples
///
/// ```no_run
/// let mut name = String::new();
/// corde::io::stdin().read_line(&mut name)?;
/// println!("Hello, {}!", name.trim_end());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Stdin {
    input: &'static Mutex<Input>,
}

/// The [standard input](Stdin), locked; as [`std::io::StdinLock`].
///
/// Whoever waits for the lock is suspended.
///
/// # Examples
///
/// ```no_run
/// use corde::io::{self, BufRead};
///
/// let first = io::stdin().lock().lines().next();
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "if unused stdin will immediately unlock"]
pub struct StdinLock<'a> {
    input: MutexGuard<'a, Input>,
}

/// Returns a handle to the standard input of the process; as [`std::io::stdin`], but reading from it suspends the green thread.
///
/// All handles share one buffer. Std's has another one: what either of them has read the other does not get, so a program should use one of
/// the two. The descriptor itself is not changed, so programs that have it as well are not disturbed.
///
/// # Cancellation
///
/// A read that is interrupted has taken nothing, and neither has [`read_line`](Stdin::read_line), nor [`BufRead::lines`]: the beginning of a line is
/// kept for whoever reads next.
///
/// # Examples
///
/// What is typed, or the clock, whatever comes first:
///
/// ```no_run
/// use corde::{io, time};
/// use std::time::Duration;
///
/// corde::run(|| -> io::Result<()> {
///     let mut answer = String::new();
///     let read = time::timeout(Duration::from_secs(5), || io::stdin().read_line(&mut answer));
///     match read {
///         Ok(read) => println!("{} bytes", read?),
///         Err(_) => println!("too slow"),
///     }
///     Ok(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
#[must_use]
pub fn stdin() -> Stdin {
    Stdin { input: &INPUT }
}

impl Stdin {
    /// Locks the handle, suspending until it can be had.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use corde::io::{self, Read};
    ///
    /// let text = io::read_to_string(io::stdin().lock())?;
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock {
            input: self.input.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Locks the handle and reads a line, which it appends to `buf`, with its line feed; as [`std::io::Stdin::read_line`].
    ///
    /// # Errors
    ///
    /// Those of reading; [`InvalidData`](ErrorKind::InvalidData), if it is not UTF-8.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let mut line = String::new();
    /// while corde::io::stdin().read_line(&mut line)? != 0 {
    ///     print!("{line}");
    ///     line.clear();
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read_line(&self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_line(buf)
    }

    /// Locks the handle and returns an iterator over its lines.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// for line in corde::io::stdin().lines() {
    ///     println!("{}", line?);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "`self` will be dropped if the result is not used"]
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

impl Read for StdinLock<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.rest().is_empty() && buf.len() >= CHUNK {
            return read(&mut [IoSliceMut::new(buf)]);
        }
        let count = self.input.fill()?.read(buf)?;
        self.input.take(count);
        Ok(count)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.input.rest().is_empty() && wanted >= CHUNK {
            return read(bufs);
        }
        let count = self.input.fill()?.read_vectored(bufs)?;
        self.input.take(count);
        Ok(count)
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill()
    }

    fn consume(&mut self, amount: usize) {
        self.input.take(amount);
    }

    fn read_until(&mut self, byte: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let count = self.input.find(byte)?;
        buf.extend_from_slice(&self.input.rest()[..count]);
        self.input.take(count);
        Ok(count)
    }

    // That of the trait takes what comes before it waits for more.
    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        let count = self.input.find(b'\n')?;
        let line = str::from_utf8(&self.input.rest()[..count]);
        let line = line.map(|line| buf.push_str(line));
        // Otherwise it would be in the way for ever.
        self.input.take(count);
        match line {
            Ok(()) => Ok(count),
            Err(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "stream did not contain valid UTF-8",
            )),
        }
    }
}

impl Read for &Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.lock().read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.lock().read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.lock().read_exact(buf)
    }
}

impl Read for Stdin {
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

descriptor!(libc::STDIN_FILENO: Stdin, StdinLock<'_>);
