//! The parts of a chunked body, but for the data.
//!
//! Line ends are taken literally: who puts up with a lone line feed here reads another request than the server in front of it.

use std::str;

use crate::request::{MAX_HEADERS, Parsed};
use crate::response::Status;

/// The longest line with a chunk's size, and the longest trailers, in bytes.
const MAX_LINE: usize = 256;
const MAX_TRAILERS: usize = 4 * 1024;

/// Parses the line before a chunk, with its size; 0 ends the body. Extensions are skipped.
pub(crate) fn size(input: &[u8]) -> Parsed<u64> {
    let Some(length) = input.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return part(input, MAX_LINE, Status::BAD_REQUEST);
    };
    let line = input[..length].strip_suffix(b"\r");
    let size = line.and_then(size_of).ok_or(Status::BAD_REQUEST)?;
    Ok(Some((size, length + 1)))
}

/// Parses what comes after a chunk's data.
pub(crate) fn end(input: &[u8]) -> Parsed<()> {
    match input {
        [b'\r', b'\n', ..] => Ok(Some(((), 2))),
        [] | [b'\r'] => Ok(None),
        _ => Err(Status::BAD_REQUEST),
    }
}

/// Parses the header lines after the last chunk, and drops them.
pub(crate) fn trailers(input: &[u8]) -> Parsed<()> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(input, &mut headers) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(((), length))),
        Ok(httparse::Status::Partial) => part(input, MAX_TRAILERS, Status::HEADERS_TOO_LARGE),
        Err(httparse::Error::TooManyHeaders) => Err(Status::HEADERS_TOO_LARGE),
        Err(_) => Err(Status::BAD_REQUEST),
    }
}

/// There is only a part of what is parsed, which is refused from `limit` bytes on.
fn part<T>(input: &[u8], limit: usize, refusal: Status) -> Parsed<T> {
    if input.len() < limit {
        Ok(None)
    } else {
        Err(refusal)
    }
}

/// The size in a line without its end.
fn size_of(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = line.split_at(digits);
    let extension = extension.trim_ascii_start();
    if !(extension.is_empty() || extension.starts_with(b";")) || extension.contains(&b'\r') {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}
