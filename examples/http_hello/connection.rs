//! One connection: requests in, answers out, as fast as the client keeps to the rules.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use corde::thread::CancelToken;
use corde::time::{timeout, timeout_at};

use crate::chunked;
use crate::request::{Framing, MAX_HEAD, Method, Parsed, Request, Version};
use crate::response::{self, Date, Extent, Head, Keep, Status};
use crate::server::Limits;

/// How much output is gathered before it is written though there is input left to answer.
const FLUSH_AT: usize = 64 * 1024;

/// A connection over `S`, which is a socket, or a stand-in for one.
pub(crate) struct Connection<'a, S> {
    stream: S,
    limits: &'a Limits,
    /// Cancelled when no further request is wanted.
    stop: CancelToken,
    input: Input,
    /// Answers that are not written yet. They are when there is nothing left to answer: see [`Connection::flush`].
    output: Vec<u8>,
    date: Date,
    requests: u64,
}

/// Why a connection ends before its last answer.
#[derive(Debug)]
enum End {
    /// The client has closed it, or it is idle.
    Quiet,
    /// Something is wrong with the request, and where the next one begins is not known.
    Refused(Status),
    Failed(io::Error),
}

impl From<Status> for End {
    fn from(status: Status) -> End {
        End::Refused(status)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Failed(error)
    }
}

impl<'a, S: Read + Write> Connection<'a, S> {
    pub(crate) fn new(stream: S, limits: &'a Limits, stop: CancelToken) -> Connection<'a, S> {
        Connection {
            stream,
            limits,
            stop,
            input: Input::new(),
            output: Vec::new(),
            date: Date::default(),
            requests: 0,
        }
    }

    /// How many requests have been answered.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Answers requests until the last answer has been written. Returns whether there was one: then the client may still be sending.
    pub(crate) fn serve(&mut self) -> io::Result<bool> {
        loop {
            match self.exchange() {
                Ok(Keep::Close) => break,
                Ok(_) if self.output.len() >= FLUSH_AT => self.flush()?,
                Ok(_) => {}
                Err(End::Quiet) => return Ok(false),
                Err(End::Refused(status)) => {
                    self.refuse(status, "", Keep::Close);
                    break;
                }
                Err(End::Failed(error)) => return Err(error),
            }
        }
        self.flush()?;
        Ok(true)
    }

    /// Takes in a request and answers it.
    fn exchange(&mut self) -> Result<Keep, End> {
        if self.input.unread().is_empty() {
            self.wait_for_request()?;
        }
        let mut patience = Patience::new(self.limits.head_time);
        let request = self.take(&mut patience, Request::parse)?;
        let route = match request.route {
            None => Err((Status::NOT_FOUND, "")),
            Some(route) if !route.allows(request.method) => {
                Err((Status::METHOD_NOT_ALLOWED, route.allow()))
            }
            Some(route) => Ok(route),
        };
        // Who waits to be asked for the body may send it even so, or not: the connection is of no further use.
        let unwanted = route.is_err() && request.wants_continue;
        let body = if unwanted {
            Vec::new()
        } else {
            self.body(&request)?
        };
        let keep = match request.version {
            _ if unwanted || !request.keep_alive || self.stop.is_cancelled() => Keep::Close,
            Version::Http10 => Keep::Told,
            Version::Http11 => Keep::Usual,
        };
        self.requests += 1;
        match route {
            Ok(route) => {
                let mut answer = Answer {
                    connection: self,
                    request: &request,
                    keep,
                };
                route.answer(&body, &mut answer)?;
                Ok(answer.keep)
            }
            Err((status, headers)) => {
                self.refuse(status, headers, keep);
                Ok(keep)
            }
        }
    }

    /// Takes in the body of a request.
    fn body(&mut self, request: &Request) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        let mut patience = Patience::new(self.limits.body_time);
        match request.body {
            Framing::Length(0) => return Ok(body),
            Framing::Length(length) if length > self.limits.body as u64 => {
                return Err(Status::CONTENT_TOO_LARGE.into());
            }
            _ if request.wants_continue && self.input.unread().is_empty() => {
                self.output.extend_from_slice(response::CONTINUE);
            }
            _ => {}
        }
        match request.body {
            Framing::Length(length) => self.append(length, &mut body, &mut patience)?,
            Framing::Chunked => loop {
                let size = self.take(&mut patience, chunked::size)?;
                if size == 0 {
                    self.take(&mut patience, chunked::trailers)?;
                    break;
                }
                self.append(size, &mut body, &mut patience)?;
                self.take(&mut patience, chunked::end)?;
            },
        }
        Ok(body)
    }

    /// Moves the next `length` bytes to the end of `body`, if they are not too many.
    fn append(
        &mut self,
        length: u64,
        body: &mut Vec<u8>,
        patience: &mut Patience,
    ) -> Result<(), End> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.limits.body - body.len() {
            return Err(Status::CONTENT_TOO_LARGE.into());
        }
        let there = &self.input.unread()[..length.min(self.input.unread().len())];
        body.extend_from_slice(there);
        let missing = (length - there.len()) as u64;
        self.input.consume(there.len());
        if missing > 0 {
            self.flush()?;
            let rest = (&mut self.stream).take(missing);
            let read = patience.of(|| { rest }.read_to_end(body))?;
            self.date.set(SystemTime::now());
            if (read as u64) < missing {
                return Err(End::Quiet);
            }
        }
        Ok(())
    }

    /// Takes from the input what `parse` finds there, and reads on as long as that is only a part.
    fn take<T>(
        &mut self,
        patience: &mut Patience,
        parse: impl Fn(&[u8]) -> Parsed<T>,
    ) -> Result<T, End> {
        loop {
            if let Some((value, length)) = parse(self.input.unread())? {
                self.input.consume(length);
                return Ok(value);
            }
            self.flush()?;
            let read = patience.of(|| self.input.fill(&mut self.stream))?;
            self.date.set(SystemTime::now());
            if read == 0 {
                return Err(End::Quiet);
            }
        }
    }

    /// Reads the beginning of the next request. A stop ends the connection here.
    fn wait_for_request(&mut self) -> Result<(), End> {
        self.flush()?;
        let time = self.limits.idle_time;
        let (input, stream) = (&mut self.input, &mut self.stream);
        let read = self
            .stop
            .run_until_cancelled(|| timeout(time, || input.fill(stream)));
        self.date.set(SystemTime::now());
        match read {
            Some(Ok(Ok(0))) | Some(Err(_)) | None => Err(End::Quiet),
            Some(Ok(read)) => Ok(read.map(drop)?),
        }
    }

    /// Writes all answers that there are. Whoever is about to read calls it first: so the answers to all requests that came at once
    /// leave at once, and none waits for a client that waits for it.
    fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            let stream = &mut self.stream;
            match timeout(self.limits.write_time, || stream.write(rest))? {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(FLUSH_AT);
        Ok(())
    }

    fn refuse(&mut self, status: Status, headers: &str, keep: Keep) {
        let head = Head {
            status,
            headers,
            extent: Extent::Length(0),
            keep,
        };
        head.write(&self.date, &mut self.output);
    }
}

/// A time that begins to run when it is first waited for.
struct Patience {
    time: Duration,
    end: Option<Instant>,
}

impl Patience {
    fn new(time: Duration) -> Patience {
        Patience { time, end: None }
    }

    /// Runs `read`, as long as the time is not over.
    fn of(&mut self, read: impl FnOnce() -> io::Result<usize>) -> Result<usize, End> {
        let end = *self.end.get_or_insert_with(|| Instant::now() + self.time);
        match timeout_at(end, read) {
            Ok(count) => Ok(count?),
            Err(_) => Err(Status::REQUEST_TIMEOUT.into()),
        }
    }
}

/// What has been read, and not been taken yet.
struct Input {
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
}

impl Input {
    fn new() -> Input {
        Input {
            buffer: vec![0; MAX_HEAD].into(),
            begin: 0,
            end: 0,
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.begin += count;
    }

    /// Reads once, behind what is unread, which must not fill the buffer. Returns how many bytes came.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        loop {
            match stream.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }
}

/// The answer to a request, to be given.
pub(crate) struct Answer<'a, 'b, S> {
    connection: &'a mut Connection<'b, S>,
    request: &'a Request,
    keep: Keep,
}

/// The body of an answer, whose length is not known beforehand.
pub(crate) struct Chunks<'a, 'b, S> {
    connection: &'a mut Connection<'b, S>,
    extent: Extent,
    /// The client has asked for the head alone.
    silent: bool,
}

impl<'b, S: Read + Write> Answer<'_, 'b, S> {
    /// Answers with a body, and further header lines.
    pub(crate) fn whole(&mut self, headers: &str, body: &[u8]) {
        self.head(headers, Extent::Length(body.len()));
        if self.request.method != Method::Head {
            self.connection.output.extend_from_slice(body);
        }
    }

    /// Answers with a body that comes in parts, as they are made.
    pub(crate) fn chunked(&mut self, headers: &str) -> Chunks<'_, 'b, S> {
        let extent = match self.request.version {
            Version::Http10 => {
                self.keep = Keep::Close;
                Extent::Close
            }
            Version::Http11 => Extent::Chunked,
        };
        self.head(headers, extent);
        Chunks {
            connection: self.connection,
            extent,
            silent: self.request.method == Method::Head,
        }
    }

    fn head(&mut self, headers: &str, extent: Extent) {
        let head = Head {
            status: Status::OK,
            headers,
            extent,
            keep: self.keep,
        };
        head.write(&self.connection.date, &mut self.connection.output);
    }
}

impl<S: Read + Write> Chunks<'_, '_, S> {
    /// Adds a part, which must not be empty.
    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        let output = &mut self.connection.output;
        match self.extent {
            _ if self.silent => {}
            Extent::Chunked => response::write_chunk(data, output),
            _ => output.extend_from_slice(data),
        }
        if output.len() >= FLUSH_AT {
            self.connection.flush()?;
        }
        Ok(())
    }

    pub(crate) fn end(self) {
        if self.extent == Extent::Chunked && !self.silent {
            self.connection
                .output
                .extend_from_slice(response::LAST_CHUNK);
        }
    }
}
