//! What there is to ask for.

use std::io::{self, Read, Write};

use crate::connection::Answer;
use crate::request::Method;

const LINES: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Hello,
    Echo,
    Stream,
}

impl Route {
    pub(crate) fn of(path: &str) -> Option<Route> {
        match path {
            "/" => Some(Route::Hello),
            "/echo" => Some(Route::Echo),
            "/stream" => Some(Route::Stream),
            _ => None,
        }
    }

    pub(crate) fn allows(self, method: Method) -> bool {
        match self {
            Route::Hello | Route::Stream => matches!(method, Method::Get | Method::Head),
            Route::Echo => matches!(method, Method::Post | Method::Put),
        }
    }

    /// The header line that lists the methods.
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Route::Hello | Route::Stream => "Allow: GET, HEAD\r\n",
            Route::Echo => "Allow: POST, PUT\r\n",
        }
    }

    pub(crate) fn answer<S>(self, body: &[u8], answer: &mut Answer<'_, '_, S>) -> io::Result<()>
    where
        S: Read + Write,
    {
        match self {
            Route::Hello => answer.whole("Content-Type: text/plain\r\n", b"Hello, World!"),
            Route::Echo => answer.whole("Content-Type: application/octet-stream\r\n", body),
            Route::Stream => {
                let mut chunks = answer.chunked("Content-Type: text/plain\r\n");
                for number in 0..LINES {
                    chunks.push(format!("line {number}\n").as_bytes())?;
                }
                chunks.end();
            }
        }
        Ok(())
    }
}
