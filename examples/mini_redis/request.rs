//! Commands, as they come in.

use std::borrow::Cow;
use std::ops::{Index, Range};
use std::str;

/// How long a line may be: an inline command, or a length.
const MAX_LINE: usize = 64 * 1024;

/// How many arguments a command may have, and how many bytes.
const MAX_ARGUMENTS: i64 = 1024 * 1024;
pub(crate) const MAX_COMMAND: usize = 64 * 1024 * 1024;

/// What is wrong with the input, in Redis' words. The connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(pub(crate) Cow<'static, str>);

/// Parses a command, which may come in many parts: what has been understood is not looked at again.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// Where the arguments are, counted from the beginning of the command; in `inline`, if there is one.
    ranges: Vec<Range<usize>>,
    /// How many arguments are still to come; none, if that is not known yet.
    missing: Option<usize>,
    /// The length of the argument that is just coming.
    coming: Option<usize>,
    /// How many bytes have been understood.
    position: usize,
    /// How many bytes behind these have been searched for the end of a line.
    searched: usize,
    /// The arguments of a command without lengths, one after the other.
    inline: Option<Vec<u8>>,
}

/// The name of a command, and what comes after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl Parser {
    /// Goes on with `input`, which begins where the command does. Returns the command's length when it is complete.
    pub(crate) fn parse(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let complete = match input.first() {
            None => return Ok(None),
            Some(b'*') => self.parse_array(input)?,
            Some(_) => self.parse_inline(input)?,
        };
        Ok(complete.then_some(self.position))
    }

    /// Returns the arguments of a complete command. There may be none.
    pub(crate) fn arguments<'a>(&'a self, input: &'a [u8]) -> Arguments<'a> {
        Arguments {
            bytes: self.inline.as_deref().unwrap_or(input),
            ranges: &self.ranges,
        }
    }

    /// Prepares for the next command.
    pub(crate) fn reset(&mut self) {
        self.ranges.clear();
        self.ranges.shrink_to(1024);
        self.missing = None;
        self.coming = None;
        self.position = 0;
        self.searched = 0;
        self.inline = None;
    }

    fn parse_array(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some(count) = self.line(input, "too big mbulk count string")? else {
                    return Ok(false);
                };
                let count = integer(&count[1..]).filter(|count| *count <= MAX_ARGUMENTS);
                let count = count.ok_or(error("invalid multibulk length"))?;
                usize::try_from(count).unwrap_or(0)
            }
        };
        self.missing = Some(missing);
        for left in (0..missing).rev() {
            if !self.parse_bulk(input)? {
                return Ok(false);
            }
            self.missing = Some(left);
        }
        Ok(true)
    }

    fn parse_bulk(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let length = match self.coming {
            Some(length) => length,
            None => {
                let Some(line) = self.line(input, "too big bulk count string")? else {
                    return Ok(false);
                };
                let [b'$', length @ ..] = line else {
                    let got = char::from(*line.first().unwrap_or(&b'\r'));
                    let error = format!("expected '$', got '{}'", got.escape_default());
                    return Err(ProtocolError(error.into()));
                };
                let length = integer(length).and_then(|length| usize::try_from(length).ok());
                length
                    .filter(|length| *length <= MAX_COMMAND)
                    .ok_or(error("invalid bulk length"))?
            }
        };
        self.coming = Some(length);
        let end = self.position + length;
        if end > MAX_COMMAND {
            return Err(error("too big command"));
        }
        if input.len() < end + 2 {
            return Ok(false);
        }
        self.ranges.push(self.position..end);
        self.position = end + 2;
        self.coming = None;
        Ok(true)
    }

    fn parse_inline(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(input, "too big inline request")? else {
            return Ok(false);
        };
        let words = split(line).ok_or(error("unbalanced quotes in request"))?;
        let mut inline = Vec::new();
        for word in words {
            self.ranges.push(inline.len()..inline.len() + word.len());
            inline.extend_from_slice(&word);
        }
        self.inline = Some(inline);
        Ok(true)
    }

    /// Takes a line, if it is complete; without its end.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        too_long: &'static str,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &input[self.position..];
        let new = rest.get(self.searched..).unwrap_or_default();
        match new.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                let line = &rest[..self.searched + length];
                self.position += line.len() + 1;
                self.searched = 0;
                Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
            }
            None if rest.len() >= MAX_LINE => Err(error(too_long)),
            None => {
                self.searched = rest.len();
                Ok(None)
            }
        }
    }
}

impl<'a> Arguments<'a> {
    pub(crate) fn len(self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    /// Those from number `first` on.
    pub(crate) fn iter(self, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.ranges[first..]
            .iter()
            .map(move |range| &self.bytes[range.clone()])
    }
}

impl Index<usize> for Arguments<'_> {
    type Output = [u8];

    fn index(&self, number: usize) -> &[u8] {
        &self.bytes[self.ranges[number].clone()]
    }
}

fn error(what: &'static str) -> ProtocolError {
    ProtocolError(what.into())
}

/// The number that `text` is, if it is written in the one way in which a number can be.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-").unwrap_or(text) {
        b"0" if text.len() == 1 => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            str::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Splits a line into words, which may be quoted: in `"` with the escapes of C, in `'` as they are. None, if a quote has no end or something
/// follows it directly.
pub(crate) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        words.push(word);
    }
    Some(words)
}

/// Appends the first word of `text`, without its quotes, to `word`. Returns what comes after it.
fn take_word<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut quote = None;
    loop {
        let (first, rest) = match (text, quote) {
            ([], None) => return Some(text),
            ([first, ..], None) if first.is_ascii_whitespace() => return Some(text),
            ([], Some(_)) => return None,
            ([first, rest @ ..], _) => (*first, rest),
        };
        text = rest;
        match (quote, first, rest) {
            (None, b'"' | b'\'', _) => quote = Some(first),
            (Some(open), _, _) if first == open => {
                let ended = rest.first().is_none_or(u8::is_ascii_whitespace);
                return ended.then_some(rest);
            }
            (Some(b'"'), b'\\', [b'x', high, low, ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digits = str::from_utf8(&rest[1..3]).ok()?;
                word.push(u8::from_str_radix(digits, 16).ok()?);
                text = &rest[3..];
            }
            (Some(b'"'), b'\\', [escaped, ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                text = &rest[1..];
            }
            (Some(b'\''), b'\\', [b'\'', ..]) => {
                word.push(b'\'');
                text = &rest[1..];
            }
            _ => word.push(first),
        }
    }
}
