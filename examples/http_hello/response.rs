//! Composing answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A status line but for the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(&'static str);

impl Status {
    pub(crate) const OK: Status = Status("200 OK");
    pub(crate) const BAD_REQUEST: Status = Status("400 Bad Request");
    pub(crate) const NOT_FOUND: Status = Status("404 Not Found");
    pub(crate) const METHOD_NOT_ALLOWED: Status = Status("405 Method Not Allowed");
    pub(crate) const REQUEST_TIMEOUT: Status = Status("408 Request Timeout");
    pub(crate) const CONTENT_TOO_LARGE: Status = Status("413 Content Too Large");
    pub(crate) const EXPECTATION_FAILED: Status = Status("417 Expectation Failed");
    pub(crate) const HEADERS_TOO_LARGE: Status = Status("431 Request Header Fields Too Large");
    pub(crate) const NOT_IMPLEMENTED: Status = Status("501 Not Implemented");
    pub(crate) const VERSION_NOT_SUPPORTED: Status = Status("505 HTTP Version Not Supported");
}

pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The last chunk of a body, without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How a client finds the end of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Length(usize),
    Chunked,
    Close,
}

/// Whether the connection is kept for further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is, which goes without saying.
    Usual,
    /// It is, which a client of HTTP/1.0 has to be told.
    Told,
    Close,
}

/// The head of an answer.
pub(crate) struct Head<'a> {
    pub(crate) status: Status,
    /// Header lines with their ends.
    pub(crate) headers: &'a str,
    pub(crate) extent: Extent,
    pub(crate) keep: Keep,
}

impl Head<'_> {
    pub(crate) fn write(&self, date: &Date, output: &mut Vec<u8>) {
        let Status(status) = self.status;
        for part in [
            "HTTP/1.1 ",
            status,
            "\r\nDate: ",
            &date.text,
            "\r\n",
            self.headers,
        ] {
            output.extend_from_slice(part.as_bytes());
        }
        match self.extent {
            Extent::Length(length) => {
                output.extend_from_slice(b"Content-Length: ");
                write_number(length, 10, output);
                output.extend_from_slice(b"\r\n");
            }
            Extent::Chunked => output.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Extent::Close => {}
        }
        output.extend_from_slice(match self.keep {
            Keep::Usual => b"\r\n",
            Keep::Told => b"Connection: keep-alive\r\n\r\n",
            Keep::Close => b"Connection: close\r\n\r\n",
        });
    }
}

/// Writes a chunk, which must not be empty: that would be the last one.
pub(crate) fn write_chunk(data: &[u8], output: &mut Vec<u8>) {
    debug_assert!(!data.is_empty());
    write_number(data.len(), 16, output);
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(data);
    output.extend_from_slice(b"\r\n");
}

/// Writes the digits of a number. (The machinery of `write!` would be a fifth of the time of a small answer.)
fn write_number(mut number: usize, base: usize, output: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b"0123456789abcdef"[number % base];
        number /= base;
        if number == 0 {
            break output.extend_from_slice(&digits[begin..]);
        }
    }
}

/// The time in the format of HTTP, made anew once a second.
#[derive(Default)]
pub(crate) struct Date {
    second: u64,
    text: String,
}

impl Date {
    pub(crate) fn set(&mut self, now: SystemTime) {
        // A clock that is set to before 1970 shows that year.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.text.is_empty() || since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = format(self.second);
        }
    }
}

/// Formats a time, in seconds since 1970, like `Sun, 06 Nov 1994 08:49:37 GMT`.
fn format(second: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let (day, time) = (second / 86_400, second % 86_400);
    // Years begin in March here, so that a leap day is the last of its year: then all is in the four-hundred, hundred, four years before.
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    format!(
        "{}, {of_month:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[(day % 7) as usize],
        MONTHS[month as usize],
        era * 400 + year + u64::from(month >= 10),
        time / 3600,
        time / 60 % 60,
        time % 60,
    )
}
