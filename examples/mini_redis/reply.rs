//! Composing replies, which are gathered in a buffer.

use std::io::Write;

/// A buffer of replies.
pub(crate) type Replies = Vec<u8>;

pub(crate) const OK: &[u8] = b"+OK\r\n";
pub(crate) const NIL: &[u8] = b"$-1\r\n";

pub(crate) fn integer(number: i64, replies: &mut Replies) {
    line(b':', number, replies);
}

/// A count, of which there are never too many for the protocol's numbers.
pub(crate) fn count(number: usize, replies: &mut Replies) {
    integer(i64::try_from(number).unwrap_or(i64::MAX), replies);
}

pub(crate) fn bulk(bytes: &[u8], replies: &mut Replies) {
    line(b'$', bytes.len() as i64, replies);
    replies.extend_from_slice(bytes);
    replies.extend_from_slice(b"\r\n");
}

/// The value, or nil.
pub(crate) fn maybe(bytes: Option<&[u8]>, replies: &mut Replies) {
    match bytes {
        Some(bytes) => bulk(bytes, replies),
        None => replies.extend_from_slice(NIL),
    }
}

/// The beginning of an array, to be followed by so many replies.
pub(crate) fn array(length: usize, replies: &mut Replies) {
    line(b'*', length as i64, replies);
}

/// An error: a word that tells its kind, and what there is to say. It must fit on a line.
pub(crate) fn error(text: &str, replies: &mut Replies) {
    replies.push(b'-');
    replies.extend(text.bytes().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        _ => byte,
    }));
    replies.extend_from_slice(b"\r\n");
}

fn line(kind: u8, number: i64, replies: &mut Replies) {
    replies.push(kind);
    if let Ok(digit @ 0..=9) = u8::try_from(number) {
        replies.push(b'0' + digit);
    } else {
        // A vector takes everything.
        let _ = write!(replies, "{number}");
    }
    replies.extend_from_slice(b"\r\n");
}
