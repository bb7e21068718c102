//! The head of a request.

use std::mem::MaybeUninit;
use std::str;

use httparse::{Error, Header};

use crate::response::Status;
use crate::routes::Route;

/// The longest head in bytes, and the most header lines: larger ones are refused.
pub(crate) const MAX_HEAD: usize = 8 * 1024;
pub(crate) const MAX_HEADERS: usize = 64;

/// What a parser finds at the beginning of its input: its value and length; none, if that is only a part; or why the request is refused.
pub(crate) type Parsed<T> = Result<Option<(T, usize)>, Status>;

/// What there is to know of a request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) route: Option<Route>,
    pub(crate) version: Version,
    pub(crate) body: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) wants_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// What header lines have said so far.
#[derive(Default)]
struct Headers {
    hosts: usize,
    length: Option<u64>,
    /// The codings of the body, in the order in which they were applied.
    codings: Codings,
    close: bool,
    keep_alive: bool,
    wants_continue: bool,
}

#[derive(Default, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    Chunked,
    /// With one that is not known, and ends with `chunked`.
    Unknown,
    /// Nobody can tell where the body ends.
    Endless,
}

impl Request {
    pub(crate) fn parse(input: &[u8]) -> Parsed<Request> {
        let mut headers = [MaybeUninit::uninit(); MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(input, &mut headers) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) | Err(Error::TooManyHeaders) => {
                return Err(Status::HEADERS_TOO_LARGE);
            }
            Err(Error::Version) => return Err(Status::VERSION_NOT_SUPPORTED),
            Err(_) => return Err(Status::BAD_REQUEST),
        };
        let mut said = Headers::default();
        for header in &*parsed.headers {
            said.heed(header)?;
        }
        let version = match parsed.version {
            Some(0) => Version::Http10,
            _ => Version::Http11,
        };
        let request = Request {
            method: Method::named(parsed.method.unwrap_or_default()),
            route: Route::of(path(parsed.path.unwrap_or_default())),
            version,
            body: said.framing(version)?,
            keep_alive: !said.close && (version == Version::Http11 || said.keep_alive),
            wants_continue: said.wants_continue && version == Version::Http11,
        };
        // Whoever forwards a request without a host, or with two, does not agree with us on where it goes.
        if said.hosts > 1 || (said.hosts == 0 && version == Version::Http11) {
            return Err(Status::BAD_REQUEST);
        }
        Ok(Some((request, length)))
    }
}

impl Method {
    fn named(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            _ => Method::Other,
        }
    }
}

impl Headers {
    fn heed(&mut self, header: &Header<'_>) -> Result<(), Status> {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            self.hosts += 1;
        } else if is("connection") {
            for option in options(header.value) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("content-length") {
            let length = content_length(header.value).ok_or(Status::BAD_REQUEST)?;
            if self.length.replace(length).is_some() {
                return Err(Status::BAD_REQUEST);
            }
        } else if is("transfer-encoding") {
            let mut codings = options(header.value).peekable();
            if codings.peek().is_none() {
                self.codings = Codings::Endless;
            }
            codings.for_each(|coding| self.codings.add(coding));
        } else if is("expect") {
            if !header.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Status::EXPECTATION_FAILED);
            }
            self.wants_continue = true;
        }
        Ok(())
    }

    /// Tells how the body ends. All that two servers could take differently is refused: with it a request is smuggled past the first one.
    fn framing(&self, version: Version) -> Result<Framing, Status> {
        match (&self.codings, self.length) {
            (Codings::None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (_, Some(_)) | (Codings::Endless, _) => Err(Status::BAD_REQUEST),
            _ if version == Version::Http10 => Err(Status::BAD_REQUEST),
            (Codings::Unknown, None) => Err(Status::NOT_IMPLEMENTED),
            (Codings::Chunked, None) => Ok(Framing::Chunked),
        }
    }
}

impl Codings {
    fn add(&mut self, coding: &[u8]) {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        *self = match self {
            Codings::None if chunked => Codings::Chunked,
            // It may be applied once, and last.
            Codings::Chunked | Codings::Unknown => Codings::Endless,
            Codings::None | Codings::Endless if !chunked => Codings::Endless,
            _ => Codings::Unknown,
        };
    }
}

/// The elements of a list that are not empty.
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

/// The number that `value` is, if it consists of digits only.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(value).ok()?.parse().ok())?
}

/// The path of a request's target, which may have a host before it and a query after it.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    path.split('?').next().unwrap_or(path)
}
