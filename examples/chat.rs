//! A chat room for lines of text, over TCP: a green thread for each guest. Ctrl-C closes the house, with a farewell to all.
//! Run it with `cargo run --release --example chat [ADDRESS [PATIENCE]]`, and come in with `nc 127.0.0.1 7777`.
//!
//! A guest gives a name, and then talks; `/who` tells who is there, `/quit` leaves. Nobody waits for a guest that reads slowly: it misses lines, and is
//! told how many. One that takes nothing at all for `PATIENCE` seconds, 10 if not given, is put out.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::mem;

use corde::net::{TcpListener, TcpStream};
use corde::select;
use corde::sync::atomic::{AtomicU64, Ordering};
use corde::sync::channel::{Receiver, Sender, TrySendError, bounded};
use corde::sync::{Arc, Mutex, MutexGuard, PoisonError};
use corde::thread::{self, CancelToken};
use corde::time::{Duration, timeout};

/// The longest line in bytes, and the longest name in characters.
const LONGEST_LINE: usize = 1024;
const LONGEST_NAME: usize = 20;

/// How many lines wait for a guest; further ones are missed.
const WAITING: usize = 256;

/// How much is written at once, about.
const BATCH: usize = 16 * 1024;

/// A line on its way to all guests.
type Line = Arc<str>;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:7777".into());
    let patience = Duration::try_from_secs_f64(args.next().unwrap_or("10".into()).parse()?)?;
    corde::run(|| {
        let main = thread::current();
        ctrlc::set_handler(move || main.unpark())?;
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        let house = House {
            room: Room::default(),
            patience,
            served: AtomicU64::new(0),
        };
        // Ends when all guests have gone.
        thread::scope(|scope| {
            let doorkeeper = scope.spawn(|| {
                for stream in listener.incoming() {
                    match stream {
                        Ok(stream) => drop(scope.spawn(|| house.serve(stream))),
                        // Out of file descriptors, most likely: some will be closed.
                        Err(error) => {
                            eprintln!("cannot accept: {error}");
                            thread::sleep(Duration::from_millis(100));
                        }
                    }
                }
            });
            thread::park();
            doorkeeper.cancel();
            house.room.closing.cancel();
        });
        println!("served {} guests", house.served.into_inner());
        Ok(())
    })
}

struct House {
    room: Room,
    patience: Duration,
    served: AtomicU64,
}

impl House {
    /// Sees a guest through, from the door to the farewell.
    fn serve(&self, stream: TcpStream) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let mut guest = Guest::new(stream, self.patience);
        let closing = &self.room.closing;
        // Wherever this waits for the guest or for the others, it goes no further when the house closes.
        let stay = closing.run_until_cancelled(|| self.entertain(&mut guest));
        let farewell = match stay {
            Some(Ok(())) => guest.tell("* goodbye"),
            Some(Err(error)) => Err(error),
            None => guest.tell("* the house closes, goodbye"),
        };
        if let Err(error) = farewell {
            eprintln!("a guest is lost: {error}");
        }
    }

    /// Asks for a name, and lets the guest in; returns when the guest leaves.
    fn entertain(&self, guest: &mut Guest) -> io::Result<()> {
        guest.stream.set_nodelay(true)?;
        guest.tell("* what is your name?")?;
        while let Some(name) = guest.wait_for_line()? {
            match self.room.enter(&name) {
                Ok(seat) => return self.chat(guest, &seat),
                Err(why) => guest.tell(&format!("* {why}, what is your name?"))?,
            }
        }
        Ok(())
    }

    /// Passes on what the guest says, and what the others say.
    fn chat(&self, guest: &mut Guest, seat: &Seat<'_>) -> io::Result<()> {
        guest.tell(&self.room.who())?;
        loop {
            // What came with an earlier line is there already, and makes no socket readable.
            while let Some(line) = guest.take_line()? {
                match &*line {
                    "" => {}
                    "/quit" => return Ok(()),
                    "/who" => guest.tell(&self.room.who())?,
                    _ if line.starts_with('/') => guest.tell("* there are /who and /quit")?,
                    _ => self.room.say(&format!("{}: {line}", seat.name), seat.name),
                }
            }
            select! {
                recv(seat.lines) -> line => {
                    let line = line.expect("who sits there is in the room");
                    guest.tell(&seat.gather(&line))?;
                }
                readable(guest.stream) => {
                    if !guest.receive()? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Who is there.
#[derive(Default)]
struct Room {
    places: Mutex<BTreeMap<String, Place>>,
    /// Cancelled when the house closes.
    closing: CancelToken,
}

/// A guest, as the others see it.
struct Place {
    lines: Sender<Line>,
    /// How many lines it has missed. Until it has been told, it gets no others.
    missed: u64,
}

impl Room {
    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a guest in, unless there is something wrong with the name.
    fn enter<'a>(&'a self, name: &'a str) -> Result<Seat<'a>, &'static str> {
        if name.is_empty() || !name.chars().all(char::is_alphanumeric) {
            return Err("a name has letters and digits only");
        }
        if name.chars().count() > LONGEST_NAME {
            return Err("that is too long");
        }
        let (sender, lines) = bounded(WAITING);
        let place = Place {
            lines: sender,
            missed: 0,
        };
        let mut places = self.places();
        if places.contains_key(name) {
            return Err("somebody else has that name");
        }
        places.insert(name.to_owned(), place);
        drop(places);
        self.say(&format!("* {name} is here"), name);
        Ok(Seat {
            room: self,
            name,
            lines,
        })
    }

    /// Has all but one hear a line. Waits for nobody.
    fn say(&self, line: &str, all_but: &str) {
        let line = Line::from(line);
        for (name, place) in &mut *self.places() {
            if name == all_but {
                continue;
            }
            if place.missed > 0 {
                place.missed += 1;
            } else if let Err(TrySendError::Full(_)) = place.lines.try_send(line.clone()) {
                place.missed = 1;
            }
        }
    }

    /// Tells who is there.
    fn who(&self) -> String {
        let places = self.places();
        let names: Vec<&str> = places.keys().map(String::as_str).collect();
        format!("* here are: {}", names.join(", "))
    }
}

/// A guest's place in the room, as the guest sees it, who leaves when this is dropped.
struct Seat<'a> {
    room: &'a Room,
    name: &'a str,
    lines: Receiver<Line>,
}

impl Seat<'_> {
    /// Puts the lines together that wait, after `first`. If those are all: with how many were missed since.
    fn gather(&self, first: &str) -> String {
        let mut text = first.to_owned();
        while text.len() < BATCH {
            if let Ok(line) = self.lines.try_recv() {
                text.push('\n');
                text.push_str(&line);
                continue;
            }
            if let Some(missed) = self.take_missed() {
                // A `String` takes everything.
                let _ = write!(text, "\n* you were too slow, and missed {missed} lines");
            }
            break;
        }
        text
    }

    /// How many lines were missed, if no other line comes before them.
    fn take_missed(&self) -> Option<u64> {
        let mut places = self.room.places();
        let place = places.get_mut(self.name)?;
        // Nobody sends meanwhile, as the places are locked.
        let come_next = place.missed > 0 && self.lines.is_empty();
        come_next.then(|| mem::take(&mut place.missed))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.room.places().remove(self.name);
        if !self.room.closing.is_cancelled() {
            self.room
                .say(&format!("* {} has left", self.name), self.name);
        }
    }
}

/// A connection, and what has come from it.
struct Guest {
    stream: TcpStream,
    patience: Duration,
    /// What has come, from the beginning of a line on.
    input: Vec<u8>,
    /// The beginning of that line was thrown away.
    too_long: bool,
}

impl Guest {
    fn new(stream: TcpStream, patience: Duration) -> Guest {
        Guest {
            stream,
            patience,
            input: Vec::new(),
            too_long: false,
        }
    }

    /// Writes lines: all of them, though the house closes meanwhile. But the guest has to take them in time.
    fn tell(&mut self, lines: &str) -> io::Result<()> {
        let text = format!("{lines}\n");
        let write = || self.stream.write_all(text.as_bytes());
        thread::without_cancel(|| timeout(self.patience, write))?
    }

    /// Waits for a line; none, if there is no further one.
    fn wait_for_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Some(line));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// Receives more. Returns whether there is any.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; LONGEST_LINE];
        let count = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Takes a line out of what has come; none, if there is no whole one.
    fn take_line(&mut self) -> io::Result<Option<String>> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if mem::take(&mut self.too_long) || end > LONGEST_LINE {
                self.tell("* that is too long, nobody has heard it")?;
                continue;
            }
            // Nobody is to play with the terminals of the others.
            let line = String::from_utf8_lossy(&line).replace(char::is_control, "");
            return Ok(Some(line.trim().to_owned()));
        }
        if self.input.len() > LONGEST_LINE {
            self.input.clear();
            self.too_long = true;
        }
        Ok(None)
    }
}
