//! The example `chat`, as a process of its own, with guests on std's sockets.
#![cfg(feature = "runtime")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rstest::rstest;
use socket2::{Domain, Socket, Type};
use util::LIMIT;
use util::example::Server;

mod util;

struct House(Server);

impl House {
    /// Opens one that waits so many seconds for a guest to take what it is told.
    fn open(patience: &str) -> House {
        House(Server::start_with("chat", &["127.0.0.1:0", patience]))
    }

    /// Somebody who has come in, and was asked for a name.
    fn visit(&self) -> Guest {
        Guest::new(self.0.connect())
    }

    /// Somebody who has a name, and knows who is there.
    fn guest(&self, name: &str) -> Guest {
        let mut guest = self.visit();
        guest.say(name);
        let here = guest.line();
        assert!(here.starts_with("* here are: "), "{here}");
        guest
    }
}

struct Guest(BufReader<TcpStream>);

impl Guest {
    fn new(stream: TcpStream) -> Guest {
        let mut guest = Guest(BufReader::new(stream));
        guest.hears("* what is your name?");
        guest
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn say(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix('\n').expect("a whole line").to_owned()
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Checks that the connection is closed, and nothing was said that has not been heard.
    #[track_caller]
    fn hears_no_more(&mut self) {
        let mut rest = String::new();
        self.0.read_line(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn a_line_is_heard_by_all_others() {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    let mut cleo = house.guest("cleo");
    anna.hears("* bert is here");
    anna.hears("* cleo is here");
    bert.hears("* cleo is here");
    anna.say("hello");
    bert.hears("anna: hello");
    cleo.hears("anna: hello");
    bert.say("hello, anna");
    anna.hears("bert: hello, anna");
    cleo.hears("bert: hello, anna");
    // Nobody has heard themselves.
    anna.say("/quit");
    anna.hears("* goodbye");
    anna.hears_no_more();
}

#[test]
fn who_tells_who_is_there() {
    let house = House::open("60");
    let mut cleo = house.guest("cleo");
    house.guest("anna").say("/quit");
    cleo.hears("* anna is here");
    cleo.hears("* anna has left");
    let _bert = house.guest("bert");
    let _nobody = house.visit();
    cleo.hears("* bert is here");
    cleo.say("/who");
    cleo.hears("* here are: bert, cleo");
}

#[rstest]
#[case::none("", "a name has letters and digits only")]
#[case::two_words("anna bert", "a name has letters and digits only")]
#[case::a_command("/who", "a name has letters and digits only")]
#[case::too_long("annaannaannaannaannaa", "that is too long")]
#[case::taken("bert", "somebody else has that name")]
fn a_wrong_name_is_asked_for_again(#[case] name: &str, #[case] why: &str) {
    let house = House::open("60");
    let mut bert = house.guest("bert");
    let mut guest = house.visit();
    guest.say(name);
    guest.hears(&format!("* {why}, what is your name?"));
    guest.say("Änne2");
    guest.hears("* here are: bert, Änne2");
    bert.hears("* Änne2 is here");
}

#[test]
fn a_name_is_free_when_its_guest_has_left() {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    anna.say("/quit");
    anna.hears("* goodbye");
    anna.hears_no_more();
    house.guest("anna");
}

#[rstest]
#[case::by_quitting(b"/quit\n")]
#[case::by_closing(b"")]
#[case::in_the_middle_of_a_line(b"half a li")]
fn the_others_hear_that_a_guest_has_left(#[case] last: &[u8]) {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    anna.hears("* bert is here");
    bert.send(last);
    bert.0.get_ref().shutdown(Shutdown::Write).unwrap();
    anna.hears("* bert has left");
    bert.hears("* goodbye");
    bert.hears_no_more();
}

#[test]
fn lines_come_in_pieces_and_several_at_once() {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.visit();
    bert.send(b"bert\none\r\n\n  two  \nthr");
    anna.hears("* bert is here");
    anna.hears("bert: one");
    anna.hears("bert: two");
    bert.send(b"ee\n/who\n/quit\nnobody hears this\n");
    anna.hears("bert: three");
    anna.hears("* bert has left");
    bert.hears("* here are: anna, bert");
    bert.hears("* here are: anna, bert");
    bert.hears("* goodbye");
}

#[test]
fn what_cannot_be_shown_is_left_out() {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    anna.hears("* bert is here");
    bert.send(b"\x1b[31mred\x07\n");
    anna.hears("bert: [31mred");
    bert.send(b"caf\xe9\n");
    anna.hears("bert: caf\u{fffd}");
}

#[rstest]
#[case::in_one_piece(1025)]
#[case::in_several(98_400)]
fn a_line_that_is_too_long_is_heard_by_nobody(#[case] length: usize) {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    anna.hears("* bert is here");
    bert.say(&"b".repeat(length));
    bert.hears("* that is too long, nobody has heard it");
    let longest = "b".repeat(1024);
    bert.say(&longest);
    anna.hears(&format!("bert: {longest}"));
}

#[test]
fn an_unknown_command_is_not_said_aloud() {
    let house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    bert.say("/me waves");
    bert.hears("* there are /who and /quit");
    bert.say("hello");
    anna.hears("* bert is here");
    anna.hears("bert: hello");
}

/// A guest whose side takes little that it does not read, and who has not read anything since its name.
fn slow_guest(house: &House) -> Guest {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: SocketAddr = house.0.address.parse().unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut guest = Guest::new(socket.into());
    guest.say("slow");
    guest.hears("* here are: slow, talker");
    guest
}

#[test]
fn a_slow_guest_misses_lines_and_is_told_how_many() {
    let house = House::open("60");
    let mut talker = house.guest("talker");
    let mut slow = slow_guest(&house);
    talker.hears("* slow is here");
    let padding = "x".repeat(1000);
    // Far more than the buffers of both sides take.
    let sent = 12_000;
    let lines: String = (0..sent)
        .map(|number| format!("{number} {padding}\n"))
        .collect();
    talker.send(lines.as_bytes());
    // What is answered comes after all that was said.
    talker.say("/who");
    talker.hears("* here are: slow, talker");
    let (mut next, mut missed) = (0, 0);
    while next < sent {
        let line = slow.line();
        if let Some(line) = line.strip_prefix("talker: ") {
            assert_eq!(line, format!("{next} {padding}"));
            next += 1;
            continue;
        }
        let count = line.strip_prefix("* you were too slow, and missed ");
        let count = count.and_then(|rest| rest.strip_suffix(" lines"));
        let count: usize = count.expect("it is told what it missed").parse().unwrap();
        next += count;
        missed += count;
    }
    assert_eq!(next, sent);
    assert!(missed > 0, "the buffers took all of it");
    assert!(missed < sent - 256, "it missed what could have waited");
    // And has its place again.
    talker.say("are you there?");
    slow.hears("talker: are you there?");
    slow.say("yes");
    talker.hears("slow: yes");
}

#[test]
fn a_guest_that_takes_nothing_is_put_out() {
    let house = House::open("0.1");
    let mut talker = house.guest("talker");
    let _slow = slow_guest(&house);
    talker.hears("* slow is here");
    talker
        .0
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let lines = ("x".repeat(1000) + "\n").repeat(100);
    let mut line = String::new();
    let begun = Instant::now();
    while talker.0.read_line(&mut line).is_err() {
        assert!(begun.elapsed() < LIMIT, "nobody is put out");
        talker.send(lines.as_bytes());
    }
    assert_eq!(line, "* slow has left\n");
    house.0.wait_for_error("a guest is lost: ");
}

#[test]
fn many_guests_hear_all_of_the_others() {
    const GUESTS: usize = 40;
    let house = House::open("60");
    let mut guests: Vec<Guest> = Vec::new();
    for number in 0..GUESTS {
        let guest = house.guest(&format!("guest{number}"));
        for earlier in &mut guests {
            earlier.hears(&format!("* guest{number} is here"));
        }
        guests.push(guest);
    }
    for guest in &mut guests {
        guest.say("hello");
    }
    for (own, guest) in guests.iter_mut().enumerate() {
        let mut heard: Vec<String> = (1..GUESTS).map(|_| guest.line()).collect();
        heard.sort();
        let mut expected: Vec<String> = (0..GUESTS)
            .filter(|number| *number != own)
            .map(|number| format!("guest{number}: hello"))
            .collect();
        expected.sort();
        assert_eq!(heard, expected);
    }
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ctrl_c_closes_the_house_with_a_farewell_to_all() {
    let mut house = House::open("60");
    let mut anna = house.guest("anna");
    let mut bert = house.guest("bert");
    anna.hears("* bert is here");
    let mut nobody = house.visit();
    house.0.interrupt();
    for guest in [&mut anna, &mut bert, &mut nobody] {
        guest.hears("* the house closes, goodbye");
        guest.hears_no_more();
    }
    assert_eq!(house.0.line(), "served 3 guests");
    house.0.assert_ends_well();
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ctrl_c_does_not_wait_longer_than_patience_for_a_guest_that_takes_nothing() {
    let mut house = House::open("0.5");
    let mut talker = house.guest("talker");
    let _slow = slow_guest(&house);
    talker.hears("* slow is here");
    talker.send(("x".repeat(1000) + "\n").repeat(8_000).as_bytes());
    talker.say("/who");
    talker.line();
    house.0.interrupt();
    assert_eq!(house.0.line(), "served 2 guests");
    assert!(house.0.wait().success());
}
