//! The example `mini_redis`: the understanding of commands and the data by themselves; over sockets, with its own client; and as a process.
#![cfg(feature = "runtime")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use corde::net::TcpListener;
use corde::thread::{CancelToken, JoinHandle};
use rstest::rstest;
use util::example::{self, FEW_FILES, Server};
use util::{LIMIT, child, left_out_under_valgrind};

use client::{Client, Value};
use request::{MAX_COMMAND, Parser, ProtocolError};
use server::{Limits, Served};
use store::{Store, WrongType};

#[path = "../examples/mini_redis/client.rs"]
mod client;
#[path = "../examples/mini_redis/commands.rs"]
mod commands;
#[path = "../examples/mini_redis/connection.rs"]
mod connection;
#[path = "../examples/mini_redis/pubsub.rs"]
mod pubsub;
#[path = "../examples/mini_redis/reply.rs"]
mod reply;
#[path = "../examples/mini_redis/request.rs"]
mod request;
#[path = "../examples/mini_redis/server.rs"]
mod server;
#[path = "../examples/mini_redis/store.rs"]
mod store;
mod util;

/// No limit strikes before a test is taken for hung.
const PATIENT: Limits = Limits {
    connections: 100,
    write_time: LIMIT,
    stop_time: LIMIT,
};

/// Never long enough for what a test does not do.
const SHORT: Duration = Duration::from_millis(20);

mod parser {
    use super::*;

    /// Returns the commands in input that comes in these pieces.
    fn parse<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Vec<String>>, ProtocolError> {
        let (mut parser, mut input, mut commands) = (Parser::default(), Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(length) = parser.parse(&input)? {
                let arguments = parser.arguments(&input);
                let text = |argument: &[u8]| argument.escape_ascii().to_string();
                commands.push(arguments.iter(0).map(text).collect());
                parser.reset();
                input.drain(..length);
            }
        }
        Ok(commands)
    }

    #[rstest]
    #[case::array("*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &["GET", "a"])]
    #[case::binary("*2\r\n$1\r\n\0\r\n$6\r\n\r\n*1\r\n\r\n", &["\\x00", "\\r\\n*1\\r\\n"])]
    #[case::empty_argument("*2\r\n$0\r\n\r\n$1\r\na\r\n", &["", "a"])]
    #[case::no_arguments("*0\r\n", &[])]
    #[case::fewer_than_none("*-1\r\n", &[])]
    #[case::long("*1\r\n$12\r\nabcdefghijkl\r\n", &["abcdefghijkl"])]
    #[case::inline("GET  a\tb \r\n", &["GET", "a", "b"])]
    #[case::inline_without_return("GET a\n", &["GET", "a"])]
    #[case::empty_line("\r\n", &[])]
    #[case::quoted("a \"b c\" 'd e' ''\r\n", &["a", "b c", "d e", ""])]
    #[case::escaped(
        concat!(r#""\x00\xFf\xg\n\r\t\b\a\"\\" '\n\'' \n"#, "\n"),
        &["\\x00\\xffxg\\n\\r\\t\\x08\\x07\\\"\\\\", "\\\\n\\'", "\\\\n"]
    )]
    #[case::quoted_in_the_middle("a\"b c\"\r\n", &["ab c"])]
    fn understands_a_command(#[case] command: &str, #[case] expected: &[&str]) {
        let ping = || vec!["PING".to_owned()];
        let input = ["*1\r\n$4\r\nPING\r\n", command, "PING\r\n"].concat();
        let words = expected.iter().map(|word| (*word).to_owned());
        let expected = vec![ping(), words.collect(), ping()];
        let input = input.as_bytes();
        for split in 0..input.len() {
            let (begin, rest) = input.split_at(split);
            assert_eq!(parse([begin, rest]), Ok(expected.clone()), "at {split}");
        }
        assert_eq!(parse(input.chunks(1)), Ok(expected));
    }

    #[rstest]
    #[case::count("*a\r\n", "invalid multibulk length")]
    #[case::count_with_a_sign("*+1\r\n", "invalid multibulk length")]
    #[case::no_count("*\r\n", "invalid multibulk length")]
    #[case::large_count("*1048577\r\n", "invalid multibulk length")]
    #[case::count_past_64_bits("*18446744073709551617\r\n", "invalid multibulk length")]
    #[case::long_count(&format!("*{}", "1".repeat(64 * 1024)), "too big mbulk count string")]
    #[case::other_argument("*1\r\n:1\r\n", "expected '$', got ':'")]
    #[case::no_argument("*1\r\n\r\n", "expected '$', got '\\r'")]
    #[case::length("*1\r\n$a\r\n", "invalid bulk length")]
    #[case::negative_length("*1\r\n$-1\r\n", "invalid bulk length")]
    #[case::large_length("*1\r\n$67108865\r\n", "invalid bulk length")]
    #[case::long_length(&format!("*1\r\n${}", "1".repeat(64 * 1024)), "too big bulk count string")]
    #[case::large_command("*1\r\n$67108864\r\n", "too big command")]
    #[case::long_line(&"a".repeat(64 * 1024), "too big inline request")]
    #[case::open_quote("get \"a\r\n", "unbalanced quotes in request")]
    #[case::open_single_quote("get 'a\r\n", "unbalanced quotes in request")]
    #[case::text_after_a_quote("get \"a\"b\r\n", "unbalanced quotes in request")]
    fn refuses_what_is_no_command(#[case] command: &str, #[case] expected: &str) {
        let expected = Err(ProtocolError(expected.to_owned().into()));
        for pieces in [1, command.len()] {
            assert_eq!(parse(command.as_bytes().chunks(pieces)), expected);
        }
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case("-1", Some(-1))]
    #[case("9223372036854775807", Some(i64::MAX))]
    #[case("-9223372036854775808", Some(i64::MIN))]
    #[case("9223372036854775808", None)]
    #[case("", None)]
    #[case("-", None)]
    #[case("-0", None)]
    #[case("+1", None)]
    #[case("01", None)]
    #[case(" 1", None)]
    #[case("1 ", None)]
    #[case("1.0", None)]
    fn knows_integers(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(request::integer(text.as_bytes()), expected);
    }
}

mod data {
    use super::*;

    fn string(text: &str) -> store::Value {
        store::Value::String(text.into())
    }

    #[test]
    fn a_key_that_has_expired_is_not_there() {
        let mut store = Store::default();
        let now = Instant::now();
        for key in [b"a", b"b", b"c", b"d"] {
            store.set(key, string("1"), Some(now));
        }
        assert_eq!(store.get(b"a"), None);
        assert_eq!(store.expiry(b"b"), None);
        assert!(!store.remove(b"c"));
        assert_eq!(store.len(), 1);
        store.set(b"d", string("2"), None);
        assert_eq!(store.string(b"d"), Ok(Some(&mut b"2".to_vec())));
    }

    #[test]
    fn what_has_expired_is_swept_in_parts() {
        let mut store = Store::default();
        let soon = Instant::now() + LIMIT;
        let later = soon + LIMIT;
        for key in 0_u8..10 {
            store.set(&[key], string(""), Some(soon));
        }
        store.set(b"changed", string(""), Some(soon));
        store.set(b"changed", string(""), Some(later));
        store.set(b"persistent", string(""), Some(soon));
        assert!(store.set_expiry(b"persistent", None));
        store.set(b"removed", string(""), Some(soon));
        assert!(store.remove(b"removed"));
        assert!(!store.set_expiry(b"removed", Some(soon)));
        assert_eq!(store.len(), 12);
        assert!(!store.sweep(Instant::now(), 100));
        assert_eq!(store.len(), 12);
        assert!(store.sweep(soon, 4));
        assert_eq!(store.len(), 8);
        assert!(!store.sweep(soon, 100));
        assert_eq!(store.len(), 2);
        assert!(!store.sweep(later, 100));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut store = Store::default();
        store.set(b"s", string(""), None);
        store.set(b"l", store::Value::List(VecDeque::new()), None);
        assert_eq!(store.list(b"s"), Err(WrongType));
        assert_eq!(store.string(b"l"), Err(WrongType));
        assert!(store.list(b"l").is_ok() && store.string(b"s").is_ok());
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
        Client::connect(&*self.address).unwrap()
    }

    fn stream(&self) -> TcpStream {
        example::connect(&self.address)
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

/// Has a line answered, and returns the reply as it is shown.
fn ask(client: &mut Client, line: &str) -> String {
    let command = request::split(line.as_bytes()).unwrap();
    client.call(&command).unwrap().to_string()
}

#[track_caller]
fn assert_closed(mut stream: &TcpStream, last: &str) {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received.escape_ascii().to_string(), last);
}

const WRONG_TYPE: &str =
    "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "(error) ERR value is not an integer or out of range";
const SYNTAX: &str = "(error) ERR syntax error";

#[rstest]
#[case::nothing(&[
    ("ping", "PONG"),
    ("PING hello", "\"hello\""),
    ("echo \"a b\"", "\"a b\""),
    ("select 0", "OK"),
    ("select 1", "(error) ERR DB index is out of range"),
    ("select a", NO_INTEGER),
    ("command docs", "(empty array)"),
    ("command count", "(integer) 36"),
    ("config get save", "1) \"save\"\n2) \"\""),
    ("config get SAVE appendonly", "1) \"save\"\n2) \"\"\n3) \"appendonly\"\n4) \"no\""),
    ("config get other", "(empty array)"),
    ("config get", "(error) ERR wrong number of arguments for 'config|get' command"),
    ("config set save x", "(error) ERR unknown subcommand. Try CONFIG GET."),
    ("hello 2", "1) \"server\"\n2) \"mini_redis\"\n3) \"version\"\n4) \"0.1.0\"\n5) \"proto\"\n6) (integer) 2"),
    ("hello 3", "(error) NOPROTO unsupported protocol version"),
    ("hello x", "(error) ERR Protocol version is not an integer or out of range"),
    ("hello 2 auth a b", SYNTAX),
])]
#[case::wrong_commands(&[
    ("brew", "(error) ERR unknown command 'brew', with args beginning with: "),
    ("brew tea 'with milk'", "(error) ERR unknown command 'brew', with args beginning with: 'tea' 'with milk' "),
    ("\"a\\nb\"", "(error) ERR unknown command 'a b', with args beginning with: "),
    ("a_very_long_name_that_nobody_knows", "(error) ERR unknown command 'a_very_long_name_that_nobody_knows', with args beginning with: "),
    ("GET", "(error) ERR wrong number of arguments for 'get' command"),
    ("get a b", "(error) ERR wrong number of arguments for 'get' command"),
    ("del", "(error) ERR wrong number of arguments for 'del' command"),
    ("mset a 1 b", "(error) ERR wrong number of arguments for 'mset' command"),
    ("ping a b", "(error) ERR wrong number of arguments for 'ping' command"),
])]
#[case::strings(&[
    ("get a", "(nil)"),
    ("set a 1", "OK"),
    ("GeT a", "\"1\""),
    ("set a \"\"", "OK"),
    ("get a", "\"\""),
    ("strlen a", "(integer) 0"),
    ("append a xy", "(integer) 2"),
    ("append a z", "(integer) 3"),
    ("append b z", "(integer) 1"),
    ("mset a 1 b 2 a 3", "OK"),
    ("mget a none b", "1) \"3\"\n2) (nil)\n3) \"2\""),
    ("exists a a b none", "(integer) 3"),
    ("type a", "string"),
    ("type none", "none"),
    ("dbsize", "(integer) 2"),
    ("del a a none b", "(integer) 2"),
    ("dbsize", "(integer) 0"),
    ("set a 1", "OK"),
    ("flushall", "OK"),
    ("get a", "(nil)"),
])]
#[case::set_if(&[
    ("set a 1 xx", "(nil)"),
    ("set a 1 NX", "OK"),
    ("set a 2 nx", "(nil)"),
    ("get a", "\"1\""),
    ("set a 3 XX", "OK"),
    ("get a", "\"3\""),
    ("set a 1 nx xx", SYNTAX),
    ("set a 1 other", SYNTAX),
    ("set a 1 ex", SYNTAX),
    ("set a 1 ex 1 px 1", SYNTAX),
    ("set a 1 ex 1 keepttl", SYNTAX),
    ("set a 1 ex a", NO_INTEGER),
    ("set a 1 ex 0", "(error) ERR invalid expire time in 'set' command"),
    ("set a 1 px -1", "(error) ERR invalid expire time in 'set' command"),
    ("set a 1 ex 9223372036854775807", "(error) ERR invalid expire time in 'set' command"),
    ("get a", "\"3\""),
    ("ttl a", "(integer) -1"),
])]
#[case::numbers(&[
    ("incr a", "(integer) 1"),
    ("incr a", "(integer) 2"),
    ("decr a", "(integer) 1"),
    ("incrby a 41", "(integer) 42"),
    ("decrby a 52", "(integer) -10"),
    ("get a", "\"-10\""),
    ("incrby a x", NO_INTEGER),
    ("set a 9223372036854775807", "OK"),
    ("incr a", "(error) ERR increment or decrement would overflow"),
    ("get a", "\"9223372036854775807\""),
    ("decrby a -9223372036854775808", "(error) ERR increment or decrement would overflow"),
    ("set a x", "OK"),
    ("incr a", NO_INTEGER),
    ("set a 1.0", "OK"),
    ("incr a", NO_INTEGER),
])]
#[case::lists(&[
    ("lrange l 0 -1", "(empty array)"),
    ("llen l", "(integer) 0"),
    ("rpush l 1 2 3", "(integer) 3"),
    ("lpush l a b", "(integer) 5"),
    ("llen l", "(integer) 5"),
    ("type l", "list"),
    ("lrange l 0 -1", "1) \"b\"\n2) \"a\"\n3) \"1\"\n4) \"2\"\n5) \"3\""),
    ("lrange l 1 2", "1) \"a\"\n2) \"1\""),
    ("lrange l -2 100", "1) \"2\"\n2) \"3\""),
    ("lrange l -100 0", "1) \"b\""),
    ("lrange l 3 2", "(empty array)"),
    ("lrange l 5 6", "(empty array)"),
    ("lrange l -9223372036854775808 9223372036854775807", "1) \"b\"\n2) \"a\"\n3) \"1\"\n4) \"2\"\n5) \"3\""),
    ("lrange l a 1", NO_INTEGER),
    ("lpop l", "\"b\""),
    ("rpop l", "\"3\""),
    ("lpop l 2", "1) \"a\"\n2) \"1\""),
    ("rpop l 0", "(empty array)"),
    ("rpop l -1", "(error) ERR value is out of range, must be positive"),
    ("rpop l 100", "1) \"2\""),
    ("exists l", "(integer) 0"),
    ("rpop l", "(nil)"),
    ("rpop l 1", "(nil)"),
])]
#[case::kinds(&[
    ("rpush l 1", "(integer) 1"),
    ("set s 1", "OK"),
    ("get l", WRONG_TYPE),
    ("incr l", WRONG_TYPE),
    ("append l 1", WRONG_TYPE),
    ("strlen l", WRONG_TYPE),
    ("mget l s", "1) (nil)\n2) \"1\""),
    ("lpush s 1", WRONG_TYPE),
    ("rpop s", WRONG_TYPE),
    ("llen s", WRONG_TYPE),
    ("lrange s 0 1", WRONG_TYPE),
    ("set l 1", "OK"),
    ("get l", "\"1\""),
])]
#[case::expiry(&[
    ("ttl a", "(integer) -2"),
    ("expire a 100", "(integer) 0"),
    ("persist a", "(integer) 0"),
    ("set a 1", "OK"),
    ("ttl a", "(integer) -1"),
    ("pttl a", "(integer) -1"),
    ("persist a", "(integer) 0"),
    ("expire a 1000000", "(integer) 1"),
    ("ttl a", "(integer) 1000000"),
    ("set a 2 keepttl", "OK"),
    ("ttl a", "(integer) 1000000"),
    ("incr a", "(integer) 3"),
    ("ttl a", "(integer) 1000000"),
    ("persist a", "(integer) 1"),
    ("ttl a", "(integer) -1"),
    ("set a 1 ex 2000000", "OK"),
    ("ttl a", "(integer) 2000000"),
    ("set a 1 Px 3000000400", "OK"),
    ("ttl a", "(integer) 3000000"),
    ("pexpire a 4000000400", "(integer) 1"),
    ("ttl a", "(integer) 4000000"),
    ("set a 1", "OK"),
    ("ttl a", "(integer) -1"),
    ("expire a 9223372036854775807", "(error) ERR invalid expire time in 'expire' command"),
    ("expire a x", NO_INTEGER),
    ("expire a 0", "(integer) 1"),
    ("exists a", "(integer) 0"),
])]
fn replies(#[case] exchanges: &[(&str, &str)]) {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    for (command, expected) in exchanges {
        assert_eq!(ask(&mut client, command), *expected, "to {command}");
    }
    // The same, all at once.
    assert_eq!(ask(&mut client, "flushall"), "OK");
    for (command, _) in exchanges {
        client
            .send(&request::split(command.as_bytes()).unwrap())
            .unwrap();
    }
    for (command, expected) in exchanges {
        assert_eq!(
            client.receive().unwrap().to_string(),
            *expected,
            "to {command}"
        );
    }
}

#[test]
fn keys_and_values_may_be_anything() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    let all: Vec<u8> = (0..=255).collect();
    let large = all.repeat(20_000);
    for value in [&all, &large] {
        let command = [&b"SET"[..], &all[..], value];
        assert_eq!(client.call(&command).unwrap(), Value::Status("OK".into()));
        let reply = client.call(&[&b"GET"[..], &all[..]]).unwrap();
        assert!(reply == Value::Bulk(value.clone()), "another value came");
    }
}

#[test]
fn replies_to_more_commands_at_once_than_fit_into_any_buffer() {
    let server = Running::start(PATIENT);
    let mut stream = server.stream();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        for _ in 0..100 {
            sender
                .write_all(&b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n".repeat(1000))
                .unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    let expected: String = (1..=100_000)
        .map(|number| format!(":{number}\r\n"))
        .collect();
    assert!(received == expected, "other replies came");
    sending.join().unwrap();
}

#[test]
fn replies_to_all_commands_that_come_at_once_by_one_write() {
    let server = Running::start(PATIENT);
    let mut stream = server.stream();
    for _ in 0..100 {
        stream
            .write_all(b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n")
            .unwrap();
        // What was written at once can be read at once.
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 3 * "+PONG\r\n".len());
    }
}

#[test]
fn waits_for_the_rest_of_a_command() {
    let server = Running::start(PATIENT);
    let mut stream = server.stream();
    let command = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nabc\r\n";
    for split in 1..command.len() {
        let (begin, rest) = command.split_at(split);
        // The reply tells that the server has read what came with the command.
        stream.write_all(&[b"PING\r\n", begin].concat()).unwrap();
        stream.read_exact(&mut [0; "+PONG\r\n".len()]).unwrap();
        stream.write_all(rest).unwrap();
        stream.read_exact(&mut [0; "+OK\r\n".len()]).unwrap();
    }
    assert_eq!(ask(&mut server.client(), "get a"), "\"abc\"");
}

#[rstest]
#[case::no_command(
    "*1\r\n:1\r\n",
    "-ERR Protocol error: expected \\'$\\', got \\':\\'\\r\\n"
)]
#[case::quote(
    "get \"a\r\n",
    "-ERR Protocol error: unbalanced quotes in request\\r\\n"
)]
#[case::quit("QUIT\r\n", "+OK\\r\\n")]
fn closes_after_the_last_reply(#[case] last: &str, #[case] reply: &str) {
    let server = Running::start(PATIENT);
    let mut stream = server.stream();
    stream
        .write_all(["PING\r\n", last, "PING\r\n"].concat().as_bytes())
        .unwrap();
    assert_closed(&stream, &["+PONG\\r\\n", reply].concat());
    assert_eq!(ask(&mut server.client(), "ping"), "PONG");
}

#[test]
fn counts_right_when_many_count_at_once() {
    let server = Running::start(PATIENT);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = server.client();
                (0..100).for_each(|_| client.send(&["incr", "a"]).unwrap());
                (0..100).for_each(|_| drop(client.receive().unwrap()));
            });
        }
    });
    assert_eq!(ask(&mut server.client(), "get a"), "\"1000\"");
}

#[test]
fn discards_what_has_expired_though_nobody_asks_for_it() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    assert_eq!(ask(&mut client, "set a 1"), "OK");
    for key in 0..3000 {
        client
            .send(&["set", &key.to_string(), "1", "px", "1"])
            .unwrap();
    }
    (0..3000).for_each(|_| drop(client.receive().unwrap()));
    let begun = Instant::now();
    while ask(&mut client, "dbsize") != "(integer) 1" {
        assert!(begun.elapsed() < LIMIT, "they are still there");
    }
    assert_eq!(ask(&mut client, "get a"), "\"1\"");
}

#[test]
fn delivers_messages_to_all_subscribers() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    assert_eq!(ask(&mut client, "publish news 0"), "(integer) 0");
    let (mut one, mut other) = (server.client(), server.client());
    let subscribed = |channel: &str, count: usize| {
        format!("1) \"subscribe\"\n2) \"{channel}\"\n3) (integer) {count}")
    };
    assert_eq!(ask(&mut one, "subscribe news sport"), subscribed("news", 1));
    assert_eq!(one.receive().unwrap().to_string(), subscribed("sport", 2));
    assert_eq!(ask(&mut other, "subscribe news"), subscribed("news", 1));
    assert_eq!(ask(&mut other, "subscribe news"), subscribed("news", 1));
    for number in 1..=1000 {
        client
            .send(&["publish", "news", &number.to_string()])
            .unwrap();
    }
    for _ in 1..=1000 {
        assert_eq!(client.receive().unwrap(), Value::Integer(2));
    }
    assert_eq!(ask(&mut client, "publish sport goal"), "(integer) 1");
    let message = |channel: &str, payload: &str| {
        format!("1) \"message\"\n2) \"{channel}\"\n3) \"{payload}\"")
    };
    for number in 1..=1000 {
        let expected = message("news", &number.to_string());
        assert_eq!(one.receive().unwrap().to_string(), expected);
        assert_eq!(other.receive().unwrap().to_string(), expected);
    }
    assert_eq!(one.receive().unwrap().to_string(), message("sport", "goal"));
    drop(one);
    let begun = Instant::now();
    while ask(&mut client, "publish sport goal") != "(integer) 0" {
        assert!(begun.elapsed() < LIMIT, "a closed connection is subscribed");
    }
    assert_eq!(ask(&mut client, "publish news last"), "(integer) 1");
    assert_eq!(
        other.receive().unwrap().to_string(),
        message("news", "last")
    );
}

#[test]
fn a_subscriber_may_do_nothing_else_until_it_unsubscribes() {
    let server = Running::start(PATIENT);
    let mut client = server.client();
    let unsubscribed = |channel: &str, count: usize| {
        format!("1) \"unsubscribe\"\n2) {channel}\n3) (integer) {count}")
    };
    assert_eq!(ask(&mut client, "unsubscribe"), unsubscribed("(nil)", 0));
    assert_eq!(ask(&mut client, "unsubscribe x"), unsubscribed("\"x\"", 0));
    ask(&mut client, "subscribe a b c");
    (0..2).for_each(|_| drop(client.receive().unwrap()));
    assert_eq!(
        ask(&mut client, "GET a"),
        "(error) ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    assert_eq!(ask(&mut client, "ping"), "1) \"pong\"\n2) \"\"");
    assert_eq!(ask(&mut client, "ping x"), "1) \"pong\"\n2) \"x\"");
    assert_eq!(ask(&mut client, "unsubscribe b"), unsubscribed("\"b\"", 2));
    assert_eq!(ask(&mut server.client(), "publish b x"), "(integer) 0");
    assert_eq!(ask(&mut client, "unsubscribe"), unsubscribed("\"a\"", 1));
    assert_eq!(
        client.receive().unwrap().to_string(),
        unsubscribed("\"c\"", 0)
    );
    assert_eq!(ask(&mut client, "get a"), "(nil)");
    assert_eq!(ask(&mut client, "ping"), "PONG");
}

#[test]
fn a_subscriber_that_does_not_keep_up_is_disconnected() {
    let server = Running::start(PATIENT);
    let mut slow = server.stream();
    slow.write_all(b"SUBSCRIBE a\r\n").unwrap();
    slow.read_exact(&mut [0; 10]).unwrap();
    let mut client = server.client();
    let payload = "x".repeat(16 * 1024);
    // It takes as much as the buffers of both sockets, and its mailbox, hold; nobody waits for it.
    let mut received = 0;
    for _ in 0..6000 {
        assert_eq!(
            client.call(&["publish", "a", &payload]).unwrap(),
            Value::Integer(1)
        );
    }
    let mut buffer = vec![0; 1024 * 1024];
    while let Ok(count @ 1..) = slow.read(&mut buffer) {
        received += count;
    }
    assert!(received < 6000 * payload.len());
    assert_eq!(
        client.call(&["publish", "a", "x"]).unwrap(),
        Value::Integer(0)
    );
}

#[test]
fn gives_up_a_client_that_does_not_read() {
    let server = Running::start(Limits {
        write_time: SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    assert_eq!(
        client.call(&["set", "a", &"x".repeat(1_000_000)]).unwrap(),
        Value::Status("OK".into())
    );
    let mut stream = server.stream();
    // Far more than the buffers of both sockets hold.
    stream.write_all(&b"get a\r\n".repeat(100)).unwrap();
    // The stop waits for the connection, and longer than this test may last.
    stream.read_exact(&mut [0]).unwrap();
    server.stop.cancel();
    server.end();
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(received.len() < 100_000_000);
}

#[test]
fn lets_only_so_many_connections_in() {
    let server = Running::start(Limits {
        connections: 2,
        ..PATIENT
    });
    let mut clients = [server.client(), server.client()];
    for client in &mut clients {
        assert_eq!(ask(client, "ping"), "PONG");
    }
    assert_closed(&server.stream(), "-ERR max number of clients reached\\r\\n");
    drop(clients);
    let begun = Instant::now();
    loop {
        let mut client = server.client();
        if matches!(client.call(&["ping"]), Ok(Value::Status(_))) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "nobody is let in any more");
    }
}

#[test]
fn a_stop_ends_all_connections_that_have_their_replies() {
    let server = Running::start(PATIENT);
    let mut streams = [server.stream(), server.stream(), server.stream()];
    for (stream, (command, length)) in streams.iter_mut().zip([
        ("PING\r\n", "+PONG\r\n".len()),
        (
            "SUBSCRIBE a\r\n",
            "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".len(),
        ),
        ("PING\r\n*2\r\n$3\r\nGE", "+PONG\r\n".len()),
    ]) {
        stream.write_all(command.as_bytes()).unwrap();
        stream.read_exact(&mut vec![0; length]).unwrap();
    }
    server.stop.cancel();
    for stream in &streams {
        assert_closed(stream, "");
    }
    assert_eq!(server.end(), "served 3 connections, 3 commands");
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let server = Running::start(Limits {
        stop_time: SHORT,
        ..PATIENT
    });
    let mut client = server.client();
    client.call(&["set", "a", &"x".repeat(1_000_000)]).unwrap();
    let mut stream = server.stream();
    stream.write_all(&b"get a\r\n".repeat(100)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    server.stop.cancel();
    assert!(server.end().starts_with("served 2 connections, "));
}

#[rstest]
#[case::nothing("")]
#[case::part_of_a_line("+O")]
#[case::part_of_a_value("$5\r\nabc")]
#[case::part_of_an_array("*2\r\n:1\r\n")]
fn a_client_finds_out_that_its_server_has_gone(#[case] reply: &str) {
    let error = error_of_client(reply);
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[rstest]
#[case::nonsense("nonsense\r\n")]
#[case::empty_line("\r\n")]
#[case::no_number(":x\r\n")]
#[case::no_length("$x\r\n")]
#[case::negative_length("$-2\r\n")]
#[case::large_length(&format!("${}\r\n", MAX_COMMAND + 1))]
#[case::endless_array(&"*1\r\n".repeat(100))]
fn a_client_does_not_believe_everything(#[case] reply: &str) {
    let error = error_of_client(reply);
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

/// Returns what a client says to this reply, after which its server closes the connection.
fn error_of_client(reply: &str) -> std::io::Error {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    client.send(&["ping"]).unwrap();
    stream.write_all(reply.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    client.receive().unwrap_err()
}

/// Has the client program talk to a server, and returns what it shows.
fn shown(server: &Server, command: &[&str], input: &str) -> String {
    let program = Command::new("sh")
        .args(["-c", "exec $RUNNER \"$0\" \"$@\""])
        .arg(example::path("mini_redis"))
        .args(["client", &server.address])
        .args(command)
        .env("RUNNER", child::runner())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut program = program.unwrap();
    program
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn the_client_program_asks_the_server_program() {
    let mut server = Server::start("mini_redis");
    assert_eq!(
        shown(&server, &["rpush", "l", "a b", "c"], ""),
        "(integer) 2\n"
    );
    let input = "lpush l \"d\\n\"\n\nget 'x\n  lrange l 0 -1\nbrew";
    assert_eq!(
        shown(&server, &[], input),
        "(integer) 3\nunbalanced quotes\n1) \"d\\n\"\n2) \"a b\"\n3) \"c\"\n(error) ERR unknown command 'brew', with args beginning with: \n"
    );
    server.interrupt();
    assert_eq!(server.line(), "served 2 connections, 4 commands");
    server.assert_ends_well();
}

#[test]
fn goes_on_when_file_descriptors_are_available_again() {
    if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
        return;
    }
    let server = Server::start_by(FEW_FILES, "mini_redis", &["127.0.0.1:0"]);
    let mut clients: Vec<_> = (0..48)
        .map(|_| Client::connect(&*server.address).unwrap())
        .collect();
    let error = server.error_line();
    assert!(error.starts_with("cannot accept: "), "{error}");
    assert_eq!(ask(&mut clients[0], "ping"), "PONG");
    let mut last = clients.pop().unwrap();
    drop(clients);
    assert_eq!(ask(&mut last, "ping"), "PONG");
}
