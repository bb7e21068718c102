//! The example `http_hello`: its code over a stand-in for a socket, for all that is about bytes; over sockets, with limits of a test's own; and as
//! a process of its own.
#![cfg(feature = "runtime")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, Shutdown};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use corde::net::TcpListener;
use corde::thread::{CancelToken, JoinHandle};
use rstest::rstest;
use util::example::{self, FEW_FILES, Server};
use util::{LIMIT, left_out_under_valgrind};

use connection::Connection;
use response::{Date, Extent, Head, Keep, Status};
use server::{Limits, Served};

#[path = "../examples/http_hello/chunked.rs"]
mod chunked;
#[path = "../examples/http_hello/connection.rs"]
mod connection;
#[path = "../examples/http_hello/request.rs"]
mod request;
#[path = "../examples/http_hello/response.rs"]
mod response;
#[path = "../examples/http_hello/routes.rs"]
mod routes;
#[path = "../examples/http_hello/server.rs"]
mod server;
mod util;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const LAST: &str = "HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const HELLO: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const LAST_HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// No limit strikes before a test is taken for hung.
const PATIENT: Limits = Limits {
    connections: 100,
    body: 1000,
    head_time: LIMIT,
    body_time: LIMIT,
    idle_time: LIMIT,
    write_time: LIMIT,
    stop_time: LIMIT,
};

/// Never long enough for what a test does not do.
const SHORT: Duration = Duration::from_millis(20);

static STREAM: LazyLock<String> = LazyLock::new(|| {
    (0..10_000)
        .map(|number| format!("line {number}\n"))
        .collect()
});

fn echo(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The answer that says only this, and is the last.
fn refusal(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: test\r\n{headers}\r\n{body}")
}

fn chunked_post(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Answers without what depends on the time.
fn without_dates(answers: &[u8]) -> String {
    let answers = String::from_utf8(answers.to_vec()).unwrap();
    let lines = answers.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

/// Stands in for a socket: each piece is what one read finds, and after the last one the client has closed its side.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    /// What each write has written.
    written: Vec<Vec<u8>>,
}

impl Script {
    fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Script {
        Script {
            pieces: pieces.into_iter().map(<[u8]>::to_vec).collect(),
            written: Vec::new(),
        }
    }

    /// Has a connection served over it, and returns the answers.
    fn answers(&mut self) -> String {
        Connection::new(&mut *self, &PATIENT, CancelToken::new())
            .serve()
            .unwrap();
        without_dates(&self.written.concat())
    }
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return Ok(0);
        };
        let count = piece.len().min(buf.len());
        buf[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.pieces.push_front(piece.split_off(count));
        }
        Ok(count)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written.push(buf.to_vec());
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks the answers to requests that come at once, in two pieces wherever they are split, and byte by byte.
#[track_caller]
fn assert_answers(requests: &str, expected: &str) {
    let requests = requests.as_bytes();
    assert_eq!(Script::new([requests]).answers(), expected, "at once");
    for split in 1..requests.len() {
        let (begin, rest) = requests.split_at(split);
        let answers = Script::new([begin, rest]).answers();
        assert_eq!(answers, expected, "split at {split}");
    }
    let answers = Script::new(requests.chunks(1)).answers();
    assert_eq!(answers, expected, "byte by byte");
}

// Each list of requests ends with `LAST`, whose answer tells that the server is in step; and with more, which it must not answer.
#[rstest]
#[case::usual(GET, HELLO)]
#[case::in_full("GET http://test:80/?a=/b HTTP/1.1\r\nHOST:test\r\n\r\n", HELLO)]
#[case::in_full_without_a_path("GET http://test HTTP/1.1\r\nHost: test\r\n\r\n", HELLO)]
#[case::query("GET /?a=http://b HTTP/1.1\r\nHost: test\r\n\r\n", HELLO)]
#[case::after_empty_lines("\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n", HELLO)]
#[case::other_path(
    "GET /other HTTP/1.1\r\nHost: test\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
)]
#[case::other_method(
    "PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nGET",
    "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n"
)]
#[case::unknown_method(
    "BREW /echo HTTP/1.1\r\nHost: test\r\n\r\n",
    "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST, PUT\r\nContent-Length: 0\r\n\r\n"
)]
#[case::body_that_nobody_wants(
    "GET / HTTP/1.1\r\nHost: test\r\ncontent-length: 4\r\n\r\nGET ",
    HELLO
)]
#[case::body(&post("Content-Length: 5\r\n", "hello"), &echo("hello"))]
#[case::no_body(&post("", ""), &echo(""))]
#[case::empty_body(&post("Content-Length: 0\r\n", ""), &echo(""))]
#[case::chunks(&chunked_post("5\r\nhello\r\n8\r\n, World!\r\n0\r\n\r\n"), &echo("hello, World!"))]
#[case::no_chunks(&chunked_post("0\r\n\r\n"), &echo(""))]
#[case::chunks_with_extensions(&chunked_post("00a ; a=\"b;c\"\r\n0123456789\r\n0;x\r\n\r\n"), &echo("0123456789"))]
#[case::chunk_that_looks_like_others(&chunked_post("A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), &echo("0\r\n\r\n0\r\n\r\n"))]
#[case::trailers(&chunked_post("1\r\na\r\n0\r\nContent-Length: 9\r\nB: c\r\n\r\n"), &echo("a"))]
#[case::coding_in_another_case(
    &post("transfer-encoding: Chunked\r\n", "1\r\na\r\n0\r\n\r\n"),
    &echo("a")
)]
#[case::told_to_keep_http_1_0(
    "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\nHello, World!"
)]
#[case::expects_nothing_in_http_1_0(
    "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
)]
#[case::expects_no_answer_without_a_body(&post("Expect: 100-continue\r\n", ""), &echo(""))]
fn answers_and_goes_on(#[case] requests: &str, #[case] expected: &str) {
    assert_answers(
        &[GET, requests, LAST, GET].concat(),
        &[HELLO, expected, LAST_HELLO].concat(),
    );
}

#[rstest]
#[case::close("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")]
#[case::one_of_several("GET / HTTP/1.1\r\nHost: test\r\nconnection: TE ,, Close\r\n\r\n")]
#[case::against_the_other_one(
    "GET / HTTP/1.1\r\nHost: test\r\nConnection: close, keep-alive\r\n\r\n"
)]
#[case::http_1_0("GET / HTTP/1.0\r\n\r\n")]
fn closes_after_the_answer_when_asked_to(#[case] request: &str) {
    let last = LAST_HELLO.to_owned() + "Hello, World!";
    assert_answers(&[GET, request, GET].concat(), &[HELLO, &last].concat());
}

#[rstest]
#[case::no_request("nonsense\r\n\r\n", "400 Bad Request")]
#[case::no_header("GET / HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request")]
#[case::folded_header("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "400 Bad Request")]
#[case::blank_before_the_colon("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 Bad Request")]
#[case::no_host("GET / HTTP/1.1\r\n\r\n", "400 Bad Request")]
#[case::two_hosts("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 Bad Request")]
#[case::version("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported")]
#[case::expectation(&post("Expect: a miracle\r\n", ""), "417 Expectation Failed")]
#[case::length_with_a_sign(&post("Content-Length: +5\r\n", "hello"), "400 Bad Request")]
#[case::length_without_digits(&post("Content-Length:\r\n", "hello"), "400 Bad Request")]
#[case::length_past_64_bits(&post("Content-Length: 18446744073709551616\r\n", ""), "400 Bad Request")]
#[case::two_lengths(&post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), "400 Bad Request")]
#[case::list_of_lengths(&post("Content-Length: 5, 5\r\n", "hello"), "400 Bad Request")]
#[case::length_and_chunks(
    &post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::chunks_and_length(
    &post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::other_coding_and_length(
    &post("Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::chunks_in_http_1_0(
    "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "400 Bad Request"
)]
#[case::other_coding(&post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501 Not Implemented")]
#[case::other_coding_before(
    &post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    "501 Not Implemented"
)]
#[case::several_other_codings(
    &post("Transfer-Encoding: a, b, chunked\r\n", "0\r\n\r\n"),
    "501 Not Implemented"
)]
#[case::other_coding_last(&post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), "400 Bad Request")]
#[case::other_coding_after_chunks(
    &post("Transfer-Encoding: gzip, chunked, br\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::other_coding_alone(&post("Transfer-Encoding: identity\r\n", ""), "400 Bad Request")]
#[case::chunked_twice(
    &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::chunked_with_a_control_character(
    &post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
    "400 Bad Request"
)]
#[case::empty_coding(&post("Transfer-Encoding: \r\nContent-Length: 5\r\n", "hello"), "400 Bad Request")]
#[case::chunk_without_size(&chunked_post("\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::chunk_with_a_sign(&chunked_post("+1\r\na\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::chunk_with_a_prefix(&chunked_post("0x1\r\na\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::chunk_past_64_bits(&chunked_post("10000000000000000\r\n"), "400 Bad Request")]
#[case::chunk_that_ends_in_a_line_feed(&chunked_post("1\na\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::extension_that_ends_in_a_line_feed(&chunked_post("1;a\na\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::extension_with_a_return(&chunked_post("1;\ra\r\na\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::chunk_longer_than_its_size(&chunked_post("1\r\nab\r\n0\r\n\r\n"), "400 Bad Request")]
#[case::endless_size(&chunked_post(&"0".repeat(256)), "400 Bad Request")]
#[case::wrong_trailers(&chunked_post("0\r\nwrong\r\n\r\n"), "400 Bad Request")]
#[case::too_large_body(&post("Content-Length: 1001\r\n", ""), "413 Content Too Large")]
#[case::far_too_large_body(
    &post("Content-Length: 18446744073709551615\r\n", ""),
    "413 Content Too Large"
)]
#[case::too_large_body_on_demand(
    &post("Expect: 100-continue\r\nContent-Length: 1001\r\n", ""),
    "413 Content Too Large"
)]
#[case::too_large_chunk(&chunked_post("3e9\r\n"), "413 Content Too Large")]
#[case::far_too_large_chunk(&chunked_post("ffffffffffffffff\r\n"), "413 Content Too Large")]
#[case::too_large_chunks(
    &chunked_post(&("1\r\na\r\n".to_owned() + "3e8\r\n")),
    "413 Content Too Large"
)]
fn refuses_and_closes(#[case] request: &str, #[case] status: &str) {
    // Whoever takes the rest for a request answers it.
    assert_answers(
        &[GET, request, GET].concat(),
        &[HELLO, &refusal(status)].concat(),
    );
}

#[rstest]
#[case::head(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(8192)))]
#[case::endless_head(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(100_000)))]
#[case::endless_empty_lines(&"\r\n".repeat(10_000))]
#[case::headers(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: a\r\n".repeat(65)))]
#[case::trailers(&chunked_post(&format!("0\r\nA: {}", "a".repeat(8192))))]
#[case::many_trailers(&chunked_post(&format!("0\r\n{}\r\n", "A: a\r\n".repeat(65))))]
fn refuses_headers_that_are_too_large(#[case] request: &str) {
    let status = "431 Request Header Fields Too Large";
    for pieces in [request.len(), 1000] {
        let mut script = Script::new(request.as_bytes().chunks(pieces));
        assert_eq!(script.answers(), refusal(status));
    }
}

#[test]
fn takes_the_largest_request_that_it_promises() {
    let frame = "GET / HTTP/1.1\r\nHost: test\r\nA: \r\n\r\n".len();
    let padding = "a".repeat(8192 - frame);
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\nA: {padding}\r\n\r\n");
    let headers = format!(
        "GET / HTTP/1.1\r\nHost: test\r\n{}\r\n",
        "A: a\r\n".repeat(63)
    );
    let body = "b".repeat(1000);
    let whole = post("Content-Length: 1000\r\n", &body);
    let size = "0".repeat(251) + "3e8";
    let chunk = chunked_post(&format!("{size}\r\n{body}\r\n0\r\n\r\n"));
    let requests = [GET, &head, &headers, &whole, &chunk, LAST].concat();
    let answers = [HELLO, HELLO, HELLO, &echo(&body), &echo(&body), LAST_HELLO].concat();
    for pieces in [7, 100, 8191, requests.len()] {
        let mut script = Script::new(requests.as_bytes().chunks(pieces));
        assert_eq!(script.answers(), answers, "in pieces of {pieces}");
    }
}

#[test]
fn answers_a_client_that_closes_its_side_after_a_request() {
    let mut script = Script::new([GET.as_bytes()]);
    assert_eq!(script.answers(), HELLO);
}

#[rstest]
#[case::in_the_head("GET / HT")]
#[case::in_the_body(&post("Content-Length: 5\r\n", "hell"))]
#[case::in_a_chunk(&chunked_post("5\r\nhell"))]
#[case::before_the_last_chunk(&chunked_post("5\r\nhello\r\n"))]
fn does_not_answer_a_request_that_has_no_end(#[case] request: &str) {
    assert_answers(&[GET, request].concat(), HELLO);
}

#[test]
fn answers_all_requests_that_come_at_once_by_one_write() {
    let twice = GET.repeat(2);
    let body = post("Content-Length: 5\r\n", "hello");
    let (begin, rest) = GET.split_at(10);
    let pieces = [&[&twice, &body, begin].concat(), rest, GET];
    let mut script = Script::new(pieces.map(str::as_bytes));
    script.answers();
    let written: Vec<_> = script
        .written
        .iter()
        .map(|write| without_dates(write))
        .collect();
    let first = [HELLO, HELLO, &echo("hello")].concat();
    assert_eq!(written, [&first, HELLO, HELLO]);
}

#[test]
fn gathers_no_more_answers_than_fit_into_a_buffer() {
    let requests = post("Content-Length: 1000\r\n", &"a".repeat(1000)).repeat(500);
    // Everything is there, though no read finds more than a part.
    let mut script = Script::new([requests.as_bytes()]);
    assert_eq!(script.answers(), echo(&"a".repeat(1000)).repeat(500));
    assert!(script.written.iter().all(|write| write.len() < 70_000));
    let stream = "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut script = Script::new([stream.as_bytes()]);
    script.answers();
    assert!(script.written.iter().all(|write| write.len() < 70_000));
}

#[test]
fn asks_for_the_body_of_a_client_that_waits_to_be_asked() {
    for (headers, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let head = post(&format!("Expect: 100-Continue\r\n{headers}"), "");
        let mut script = Script::new([&head, body, LAST].map(str::as_bytes));
        let answers = script.answers();
        assert_eq!(answers, [CONTINUE, &echo("hello"), LAST_HELLO].concat());
        assert_eq!(script.written[0], CONTINUE.as_bytes());
        // Who does not wait need not be asked.
        let mut script = Script::new([[&head, body, LAST].concat().as_bytes()]);
        assert_eq!(script.answers(), [&echo("hello"), LAST_HELLO].concat());
    }
}

#[test]
fn does_not_ask_for_a_body_that_it_does_not_want() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let refused = "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_answers(&[request, GET].concat(), refused);
}

#[test]
fn streams_in_chunks() {
    let request = "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";
    let answers = Script::new([[request, LAST].concat().as_bytes()]).answers();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut rest = answers.strip_prefix(head).unwrap();
    let mut body = String::new();
    loop {
        let (size, data) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &data[..size];
        rest = data[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            break;
        }
    }
    assert!(body == *STREAM, "another body came");
    assert_eq!(rest, LAST_HELLO);
}

#[rstest]
#[case::http_1_0(
    "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "Connection: close\r\n\r\n",
    true
)]
#[case::head(
    "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n",
    false
)]
fn streams_without_chunks(#[case] request: &str, #[case] last: &str, #[case] body: bool) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let body = if body { &STREAM } else { "" };
    let answers = Script::new([request.as_bytes()]).answers();
    assert!(
        answers == [head, last, body].concat(),
        "another answer came"
    );
}

#[rstest]
#[case(0, "Thu, 01 Jan 1970 00:00:00")]
#[case(784_111_777, "Sun, 06 Nov 1994 08:49:37")]
#[case(951_868_799, "Tue, 29 Feb 2000 23:59:59")]
#[case(951_868_800, "Wed, 01 Mar 2000 00:00:00")]
#[case(1_709_164_800, "Thu, 29 Feb 2024 00:00:00")]
#[case(1_767_225_599, "Wed, 31 Dec 2025 23:59:59")]
#[case(1_767_225_600, "Thu, 01 Jan 2026 00:00:00")]
#[case(4_107_542_400, "Mon, 01 Mar 2100 00:00:00")]
fn tells_the_date(#[case] second: u64, #[case] expected: &str) {
    let mut date = Date::default();
    // It is made anew when it has changed.
    for second in [second + 1, second] {
        date.set(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    }
    let mut output = Vec::new();
    let head = Head {
        status: Status::OK,
        headers: "",
        extent: Extent::Close,
        keep: Keep::Close,
    };
    head.write(&date, &mut output);
    let expected = format!("HTTP/1.1 200 OK\r\nDate: {expected} GMT\r\nConnection: close\r\n\r\n");
    assert_eq!(String::from_utf8(output).unwrap(), expected);
}

/// A client over a socket.
struct Client(net::TcpStream);

impl Client {
    fn new(address: &str) -> Client {
        Client(example::connect(address))
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Receives these answers, whose dates are left out.
    #[track_caller]
    fn expect(&mut self, answers: &str) {
        let heads = answers.matches("HTTP/1.1 ").count() - answers.matches(CONTINUE).count();
        let dates = heads * "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();
        let mut received = vec![0; answers.len() + dates];
        self.0.read_exact(&mut received).unwrap();
        assert_eq!(without_dates(&received), answers);
    }

    /// Has a request answered, which tells, too, that all sent before has been read.
    #[track_caller]
    fn exchange(&mut self) {
        self.send(GET);
        self.expect(HELLO);
    }

    #[track_caller]
    fn assert_is_closed(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// The server in this process.
struct Running {
    address: String,
    stop: CancelToken,
    serving: JoinHandle<Served>,
}

impl Running {
    fn start(limits: Limits) -> Running {
        Running::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), limits)
    }

    fn start_on(listener: TcpListener, limits: Limits) -> Running {
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancelToken::new();
        let theirs = stop.clone();
        let serving = corde::thread::spawn(move || server::serve(listener, &limits, &theirs));
        Running {
            address,
            stop,
            serving,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// Waits for its end, and returns what it says of itself then.
    fn end(self) -> String {
        let begun = Instant::now();
        while !self.serving.is_finished() {
            assert!(begun.elapsed() < LIMIT, "the server goes on");
            thread::sleep(Duration::from_millis(1));
        }
        self.serving.join().unwrap().to_string()
    }
}

#[test]
fn serves_connections_at_the_same_time() {
    let server = Running::start(PATIENT);
    let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
    for _ in 0..2 {
        for client in clients.iter_mut().rev() {
            client.exchange();
        }
    }
    drop(clients);
    server.stop.cancel();
    assert_eq!(server.end(), "served 50 connections, 100 requests");
}

#[test]
fn answers_more_pipelined_requests_than_fit_into_any_buffer() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    let mut sender = client.0.try_clone().unwrap();
    let sending = thread::spawn(move || sender.write_all(GET.repeat(20_000).as_bytes()).unwrap());
    for _ in 0..200 {
        client.expect(&HELLO.repeat(100));
    }
    sending.join().unwrap();
    client.exchange();
}

#[test]
fn lets_a_client_finish_that_still_sends_after_the_last_answer() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    client.send("nonsense\r\n\r\n");
    client.expect(&refusal("400 Bad Request"));
    client.assert_is_closed();
    // Answered with a reset, all but the first would fail.
    for _ in 0..100 {
        client.send(GET);
    }
}

#[rstest]
#[case::head("GET / HTTP/1.1\r\n")]
#[case::body(&post("Content-Length: 5\r\n", "hell"))]
#[case::chunk(&chunked_post("5\r\nhell"))]
#[case::chunk_size(&chunked_post("5"))]
fn gives_up_a_request_that_is_too_slow(#[case] request: &str) {
    let server = Running::start(Limits {
        head_time: SHORT,
        body_time: SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    client.send(&[GET, request].concat());
    client.expect(&[HELLO, &refusal("408 Request Timeout")].concat());
    client.assert_is_closed();
}

#[test]
fn gives_up_a_request_that_comes_byte_by_byte_for_too_long() {
    let server = Running::start(Limits {
        head_time: 10 * SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    let mut sender = client.0.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
        // Each byte comes in good time.
        while sender.write_all(b"a").is_ok() {
            thread::sleep(SHORT / 20);
        }
    });
    client.expect(&refusal("408 Request Timeout"));
    // The leftovers are still read; closing the socket ends that.
    client.0.shutdown(Shutdown::Both).unwrap();
    sending.join().unwrap();
}

#[rstest]
#[case::before_the_first_request("")]
#[case::between_requests(GET)]
fn closes_an_idle_connection(#[case] request: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Sent before the time begins to run.
    let mut client = Client::new(&listener.local_addr().unwrap().to_string());
    client.send(request);
    let limits = Limits {
        idle_time: SHORT,
        ..PATIENT
    };
    let _server = Running::start_on(listener, limits);
    client.expect(if request.is_empty() { "" } else { HELLO });
    client.assert_is_closed();
}

#[test]
fn gives_up_a_client_that_does_not_read() {
    let server = Running::start(Limits {
        connections: 1,
        write_time: SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    // Far more than the buffers of both sockets hold.
    client.send(&"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200));
    // It is let in when the first one is out.
    server.client().exchange();
    let mut received = Vec::new();
    if let Err(error) = client.0.read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(!received.is_empty() && received.len() < 200 * STREAM.len());
}

#[test]
fn lets_only_so_many_connections_in() {
    let server = Running::start(Limits {
        connections: 2,
        ..PATIENT
    });
    let mut clients = [server.client(), server.client()];
    clients.iter_mut().for_each(Client::exchange);
    let mut third = server.client();
    third.send(GET);
    for _ in 0..10 {
        clients.iter_mut().for_each(Client::exchange);
    }
    third.0.set_nonblocking(true).unwrap();
    let error = third.0.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    third.0.set_nonblocking(false).unwrap();
    drop(clients);
    third.expect(HELLO);
}

#[test]
fn a_stop_lets_requests_in_flight_end() {
    let server = Running::start(PATIENT);
    let mut idle = server.client();
    idle.exchange();
    let (begin, rest) = GET.split_at(20);
    let body = post("Content-Length: 5\r\n", "hell");
    let mut in_flight = [begin, &body].map(|part| {
        let mut client = server.client();
        client.send(&[GET, part].concat());
        client.expect(HELLO);
        client
    });
    server.stop.cancel();
    idle.assert_is_closed();
    let begun = Instant::now();
    while net::TcpStream::connect(&server.address).is_ok() {
        assert!(begun.elapsed() < LIMIT, "it still accepts");
        thread::yield_now();
    }
    let [head, body] = &mut in_flight;
    head.send(&[rest, GET].concat());
    head.expect(&LAST_HELLO.replace("\r\n\r\n", "\r\n\r\nHello, World!"));
    head.assert_is_closed();
    body.send("o");
    body.expect(&echo("hello").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    body.assert_is_closed();
    drop(in_flight);
    let served = server.end();
    assert!(served.ends_with(" 5 requests"), "{served}");
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let server = Running::start(Limits {
        stop_time: SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    client.send(&[GET, "GET / HTTP/1.1\r\n"].concat());
    client.expect(HELLO);
    server.stop.cancel();
    assert_eq!(server.end(), "served 1 connections, 1 requests");
    client.assert_is_closed();
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ends_cleanly_on_ctrl_c() {
    let mut server = Server::start("http_hello");
    let mut client = Client::new(&server.address);
    client.exchange();
    server.interrupt();
    client.assert_is_closed();
    drop(client);
    assert_eq!(server.line(), "served 1 connections, 1 requests");
    server.assert_ends_well();
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ends_at_once_on_a_second_ctrl_c() {
    let mut server = Server::start("http_hello");
    let mut client = Client::new(&server.address);
    client.exchange();
    let mut in_flight = Client::new(&server.address);
    in_flight.send(&[GET, "GET / HT"].concat());
    in_flight.expect(HELLO);
    server.interrupt();
    client.assert_is_closed();
    server.interrupt();
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn goes_on_when_file_descriptors_are_available_again() {
    if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
        return;
    }
    let server = Server::start_by(FEW_FILES, "http_hello", &["127.0.0.1:0"]);
    let mut clients: Vec<_> = (0..48).map(|_| Client::new(&server.address)).collect();
    let error = server.error_line();
    assert!(error.starts_with("cannot accept: "), "{error}");
    clients[0].exchange();
    let mut last = clients.pop().unwrap();
    drop(clients);
    last.exchange();
}
