//! Following one file by its name.

use std::mem;
use std::path::PathBuf;

use corde::fs::{self, File, Metadata};
use corde::io;
use corde::os::unix::fs::{FileExt, MetadataExt};
use corde::sync::atomic::Ordering;
use corde::sync::channel::{SendError, Sender};
use corde::time::{MissedTickBehavior, interval};

use crate::{BLOCK, Counters, Line, Settings, Tail};

/// A longer line is taken for several.
const LONGEST_LINE: usize = 64 * 1024;

/// Follows one file.
pub(crate) struct Follower<'a> {
    tail: &'a Tail,
    path: &'a PathBuf,
    counters: &'a Counters,
    lines: Sender<Line>,
    /// Begins each line, if there are several files.
    title: Line,
    open: Option<Open>,
    /// Where to begin a file that is there from the beginning; others are read from theirs.
    last: Option<u64>,
    /// The line of which the end has not come yet, with its title.
    line: Line,
    /// The last error, told once.
    trouble: Option<String>,
}

/// The file that is read. As long as it is open, no other one gets its number.
struct Open {
    file: File,
    device: u64,
    number: u64,
    /// Up to here it has been read.
    position: u64,
}

impl Open {
    fn is(&self, other: &Metadata) -> bool {
        (self.device, self.number) == (other.dev(), other.ino())
    }

    /// Reads on, but for what is beyond `end`.
    fn read(&mut self, block: &mut [u8], end: u64) -> io::Result<usize> {
        if self.position >= end {
            return Ok(0);
        }
        let count = self.file.read_at(block, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Why a look at a file has ended early.
enum Stopped {
    Trouble(io::Error),
    NobodyPrints,
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Trouble(error)
    }
}

impl From<SendError<Line>> for Stopped {
    fn from(_: SendError<Line>) -> Stopped {
        Stopped::NobodyPrints
    }
}

impl<'a> Follower<'a> {
    pub(crate) fn new(tail: &'a Tail, index: usize, lines: Sender<Line>) -> Follower<'a> {
        let Settings { paths, last, .. } = &tail.settings;
        let path = &paths[index];
        let title = match paths.len() {
            1 => String::new(),
            _ => format!("{}: ", path.display()),
        };
        Follower {
            tail,
            path,
            counters: &tail.counters[index],
            lines,
            title: title.into(),
            open: None,
            last: Some(*last),
            line: Line::new(),
            trouble: None,
        }
    }

    /// Follows the file to the end of the program.
    pub(crate) fn follow(mut self) {
        let Tail {
            settings,
            hangups,
            ending,
            ..
        } = self.tail;
        let mut ticks = interval(settings.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        // The end strikes between two looks, never in one: no line is lost.
        while ending.run_until_cancelled(|| ticks.tick()).is_some() {
            let before = mem::replace(&mut seen, hangups.load(Ordering::Relaxed));
            if self.look(seen != before).is_err() {
                return;
            }
        }
        // Fails if nobody prints.
        let _ = self.look(false).and_then(|()| self.end_line());
    }

    /// Looks once for what has changed, and tells what is wrong with the file, if that is something new.
    fn look(&mut self, anew: bool) -> Result<(), Stopped> {
        let trouble = match self.read_on(anew) {
            Ok(()) => None,
            Err(Stopped::Trouble(error)) => Some(error.to_string()),
            Err(stopped) => return Err(stopped),
        };
        self.last = None;
        if self.trouble != trouble {
            let now = trouble.as_deref().unwrap_or("is there");
            eprintln!("{}: {now}", self.path.display());
            self.trouble = trouble;
        }
        Ok(())
    }

    /// Reads what is there: of the file that was there before, then of the one that is there now.
    fn read_on(&mut self, anew: bool) -> Result<(), Stopped> {
        let found = fs::metadata(self.path);
        // Whoever writes to it may go on for a while when it has lost its name.
        let read = self.read();
        let found = found?;
        let same = self.open.as_ref().is_some_and(|open| open.is(&found));
        if same && !anew {
            return read;
        }
        if !found.is_file() {
            return Err(io::Error::other("not a regular file").into());
        }
        self.reopen()?;
        self.read()
    }

    /// Opens what has the name now.
    fn reopen(&mut self) -> Result<(), Stopped> {
        let file = File::open(self.path)?;
        let metadata = file.metadata()?;
        let position = match (&self.open, self.last) {
            (Some(open), _) if open.is(&metadata) => open.position,
            (Some(_), _) => {
                eprintln!("{}: replaced", self.path.display());
                self.end_line()?;
                0
            }
            (None, Some(last)) => begin_of_last(last, &file, metadata.len())?,
            (None, None) => 0,
        };
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        self.open = Some(Open {
            file,
            device: metadata.dev(),
            number: metadata.ino(),
            position,
        });
        Ok(())
    }

    /// Reads what has been added to the open file.
    fn read(&mut self) -> Result<(), Stopped> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        // What comes meanwhile is for the next time: a file that grows fast must not keep it from ending.
        let end = open.file.metadata()?.len();
        if end < open.position {
            open.position = 0;
            self.counters.truncated.fetch_add(1, Ordering::Relaxed);
            eprintln!("{}: truncated", self.path.display());
            self.end_line()?;
        }
        let mut block = vec![0; BLOCK];
        while let Some(open) = &mut self.open {
            let count = open.read(&mut block, end)?;
            if count == 0 {
                break;
            }
            let bytes = &self.counters.bytes;
            bytes.fetch_add(count as u64, Ordering::Relaxed);
            for piece in block[..count].split_inclusive(|byte| *byte == b'\n') {
                self.add(piece)?;
            }
        }
        Ok(())
    }

    /// Adds to the line, and sends it, if it has ended.
    fn add(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        if self.line.is_empty() {
            self.line.extend(&self.title);
        }
        self.line.extend(piece);
        if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
            return self.end_line();
        }
        Ok(())
    }

    /// Sends the line, if there is one, as it is.
    fn end_line(&mut self) -> Result<(), Stopped> {
        if self.line.is_empty() {
            return Ok(());
        }
        if !self.line.ends_with(b"\n") {
            self.line.push(b'\n');
        }
        self.lines.send(mem::take(&mut self.line))?;
        self.counters.lines.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Finds where the last lines of a file begin, from its end on.
fn begin_of_last(lines: u64, file: &File, length: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(length);
    }
    let mut block = vec![0; BLOCK];
    let mut missing = lines;
    // The end of the last line does not begin another one.
    let mut end = length.saturating_sub(1);
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - begin) as usize];
        file.read_exact_at(block, begin)?;
        for (place, _) in block.iter().enumerate().rev().filter(|it| *it.1 == b'\n') {
            missing -= 1;
            if missing == 0 {
                return Ok(begin + place as u64 + 1);
            }
        }
        end = begin;
    }
    Ok(0)
}
