//! What there is to ask for. Each command is done under one lock, and none waits there: so they are atomic, as with Redis.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use corde::sync::{Mutex, MutexGuard};

use crate::pubsub::{Channels, Subscriber};
use crate::reply::{self, Replies};
use crate::request::{self, Arguments};
use crate::store::{Bytes, Store, Value, WrongType};

/// What all connections share.
#[derive(Debug, Default)]
pub(crate) struct Database {
    store: Mutex<Store>,
    channels: Channels,
}

/// What belongs to a connection.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) database: &'a Database,
    /// If it has subscribed to something.
    pub(crate) subscriber: Option<Subscriber<'a>>,
    /// The client wants no more.
    pub(crate) quit: bool,
}

/// An error reply.
#[derive(Clone, Debug)]
struct Failure(Cow<'static, str>);

const SYNTAX: Failure = Failure(Cow::Borrowed("ERR syntax error"));
const NOT_AN_INTEGER: Failure =
    Failure(Cow::Borrowed("ERR value is not an integer or out of range"));
const OVERFLOW: Failure = Failure(Cow::Borrowed("ERR increment or decrement would overflow"));
const NOT_POSITIVE: Failure = Failure(Cow::Borrowed("ERR value is out of range, must be positive"));
const NO_SUCH_DATABASE: Failure = Failure(Cow::Borrowed("ERR DB index is out of range"));
const NO_SUCH_PROTOCOL: Failure = Failure(Cow::Borrowed("NOPROTO unsupported protocol version"));

impl From<WrongType> for Failure {
    fn from(_: WrongType) -> Failure {
        Failure("WRONGTYPE Operation against a key holding the wrong kind of value".into())
    }
}

type Done = Result<(), Failure>;
type Run = fn(&mut Session<'_>, Arguments<'_>, &mut Replies) -> Done;

struct Command {
    name: &'static str,
    /// How many arguments it takes, its name included.
    arity: RangeInclusive<usize>,
    /// Whether it may be used by who has subscribed to something.
    by_subscribers: bool,
    run: Run,
}

const ANY: usize = usize::MAX;

static COMMANDS: LazyLock<HashMap<&[u8], Command>> = LazyLock::new(|| {
    let commands: [(&str, RangeInclusive<usize>, Run); 36] = [
        ("command", 1..=ANY, command),
        ("config", 2..=ANY, config),
        ("dbsize", 1..=1, |session, _, replies| {
            reply::count(session.store().len(), replies);
            Ok(())
        }),
        ("decr", 2..=2, |session, arguments, replies| {
            add(session, &arguments[1], -1, replies)
        }),
        ("decrby", 3..=3, |session, arguments, replies| {
            let number = number(&arguments[2])?.checked_neg().ok_or(OVERFLOW)?;
            add(session, &arguments[1], number, replies)
        }),
        ("del", 2..=ANY, |session, arguments, replies| {
            let mut store = session.store();
            let removed = arguments.iter(1).filter(|key| store.remove(key)).count();
            reply::count(removed, replies);
            Ok(())
        }),
        ("echo", 2..=2, |_, arguments, replies| {
            reply::bulk(&arguments[1], replies);
            Ok(())
        }),
        ("exists", 2..=ANY, |session, arguments, replies| {
            let mut store = session.store();
            let there = arguments.iter(1).filter(|key| store.get(key).is_some());
            reply::count(there.count(), replies);
            Ok(())
        }),
        ("expire", 3..=3, |session, arguments, replies| {
            expire(session, arguments, 1000, replies)
        }),
        ("flushall", 1..=2, |session, _, replies| {
            // In two steps: the lock is not held while everything is dropped.
            let all = session.store().clear();
            drop(all);
            replies.extend_from_slice(reply::OK);
            Ok(())
        }),
        ("get", 2..=2, |session, arguments, replies| {
            let mut store = session.store();
            reply::maybe(
                store.string(&arguments[1])?.map(|string| &**string),
                replies,
            );
            Ok(())
        }),
        ("hello", 1..=ANY, hello),
        ("incr", 2..=2, |session, arguments, replies| {
            add(session, &arguments[1], 1, replies)
        }),
        ("incrby", 3..=3, |session, arguments, replies| {
            add(session, &arguments[1], number(&arguments[2])?, replies)
        }),
        ("llen", 2..=2, |session, arguments, replies| {
            let mut store = session.store();
            let length = store.list(&arguments[1])?.map_or(0, |list| list.len());
            reply::count(length, replies);
            Ok(())
        }),
        ("lpop", 2..=3, |session, arguments, replies| {
            pop(session, arguments, VecDeque::pop_front, replies)
        }),
        ("lpush", 3..=ANY, |session, arguments, replies| {
            push(session, arguments, VecDeque::push_front, replies)
        }),
        ("lrange", 4..=4, lrange),
        ("mget", 2..=ANY, |session, arguments, replies| {
            let mut store = session.store();
            reply::array(arguments.len() - 1, replies);
            for key in arguments.iter(1) {
                let string = store.string(key).unwrap_or(None);
                reply::maybe(string.map(|string| &**string), replies);
            }
            Ok(())
        }),
        ("mset", 3..=ANY, mset),
        ("persist", 2..=2, |session, arguments, replies| {
            let mut store = session.store();
            let expires = store.expiry(&arguments[1]).flatten().is_some();
            let done = expires && store.set_expiry(&arguments[1], None);
            reply::integer(done.into(), replies);
            Ok(())
        }),
        ("pexpire", 3..=3, |session, arguments, replies| {
            expire(session, arguments, 1, replies)
        }),
        ("ping", 1..=2, ping),
        ("pttl", 2..=2, |session, arguments, replies| {
            let left = time_left(session, &arguments[1], |left| left.as_millis());
            reply::integer(left, replies);
            Ok(())
        }),
        ("publish", 3..=3, |session, arguments, replies| {
            let channels = &session.database.channels;
            reply::count(channels.publish(&arguments[1], &arguments[2]), replies);
            Ok(())
        }),
        ("quit", 1..=ANY, |session, _, replies| {
            session.quit = true;
            replies.extend_from_slice(reply::OK);
            Ok(())
        }),
        ("rpop", 2..=3, |session, arguments, replies| {
            pop(session, arguments, VecDeque::pop_back, replies)
        }),
        ("rpush", 3..=ANY, |session, arguments, replies| {
            push(session, arguments, VecDeque::push_back, replies)
        }),
        ("select", 2..=2, |_, arguments, replies| {
            match number(&arguments[1])? {
                0 => replies.extend_from_slice(reply::OK),
                _ => return Err(NO_SUCH_DATABASE),
            }
            Ok(())
        }),
        ("set", 3..=ANY, set),
        ("strlen", 2..=2, |session, arguments, replies| {
            let mut store = session.store();
            let length = store
                .string(&arguments[1])?
                .map_or(0, |string| string.len());
            reply::count(length, replies);
            Ok(())
        }),
        ("subscribe", 2..=ANY, subscribe),
        ("ttl", 2..=2, |session, arguments, replies| {
            // To the nearest second.
            let left = time_left(session, &arguments[1], |left| {
                (left.as_millis() + 500) / 1000
            });
            reply::integer(left, replies);
            Ok(())
        }),
        ("type", 2..=2, |session, arguments, replies| {
            let mut store = session.store();
            replies.extend_from_slice(match store.get(&arguments[1]) {
                None => b"+none\r\n",
                Some(Value::String(_)) => b"+string\r\n",
                Some(Value::List(_)) => b"+list\r\n",
            });
            Ok(())
        }),
        ("unsubscribe", 1..=ANY, unsubscribe),
        ("append", 3..=3, append),
    ];
    let for_subscribers = ["ping", "quit", "subscribe", "unsubscribe"];
    let commands = commands.into_iter().map(|(name, arity, run)| {
        let by_subscribers = for_subscribers.contains(&name);
        let command = Command {
            name,
            arity,
            by_subscribers,
            run,
        };
        (name.as_bytes(), command)
    });
    commands.collect()
});

impl Database {
    /// Discards what has expired, a part at a time: commands come in between.
    pub(crate) fn sweep(&self) {
        const PART: usize = 1000;
        while self.store.lock().unwrap().sweep(Instant::now(), PART) {
            corde::thread::yield_now();
        }
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(database: &'a Database) -> Session<'a> {
        Session {
            database,
            subscriber: None,
            quit: false,
        }
    }

    /// Does what a command asks for, and replies to it.
    pub(crate) fn execute(&mut self, arguments: Arguments<'_>, replies: &mut Replies) {
        if let Err(Failure(text)) = self.try_execute(arguments, replies) {
            reply::error(&text, replies);
        }
    }

    fn try_execute(&mut self, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
        // Names are short: a longer one is not looked for.
        let mut name = [0; 16];
        let command = name.get_mut(..arguments[0].len()).and_then(|name| {
            name.copy_from_slice(&arguments[0]);
            name.make_ascii_lowercase();
            COMMANDS.get(&*name)
        });
        let command = command.ok_or_else(|| unknown(arguments))?;
        if !command.arity.contains(&arguments.len()) {
            return Err(wrong_number(command.name));
        }
        if self.subscriber.is_some() && !command.by_subscribers {
            let text = format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            );
            return Err(Failure(text.into()));
        }
        (command.run)(self, arguments, replies)
    }

    fn store(&self) -> MutexGuard<'a, Store> {
        self.database.store.lock().unwrap()
    }
}

fn unknown(arguments: Arguments<'_>) -> Failure {
    let shown = |argument: &[u8]| {
        let argument = &argument[..argument.len().min(128)];
        String::from_utf8_lossy(argument).into_owned()
    };
    let name = shown(&arguments[0]);
    let mut text = format!("ERR unknown command '{name}', with args beginning with: ");
    for argument in arguments.iter(1) {
        if text.len() >= 128 {
            break;
        }
        text += &format!("'{}' ", shown(argument));
    }
    Failure(text.into())
}

fn wrong_number(command: &str) -> Failure {
    Failure(format!("ERR wrong number of arguments for '{command}' command").into())
}

fn wrong_expiry(command: &str) -> Failure {
    Failure(format!("ERR invalid expire time in '{command}' command").into())
}

fn number(argument: &[u8]) -> Result<i64, Failure> {
    request::integer(argument).ok_or(NOT_AN_INTEGER)
}

fn add(session: &Session<'_>, key: &[u8], number: i64, replies: &mut Replies) -> Done {
    let mut store = session.store();
    let string = store.string(key)?;
    let before = string
        .as_ref()
        .map_or(Ok(0), |string| self::number(string))?;
    let sum = before.checked_add(number).ok_or(OVERFLOW)?;
    let digits = sum.to_string().into_bytes();
    match string {
        // It keeps its time.
        Some(string) => *string = digits,
        None => store.set(key, Value::String(digits), None),
    }
    reply::integer(sum, replies);
    Ok(())
}

fn append(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let mut store = session.store();
    let (key, tail) = (&arguments[1], &arguments[2]);
    let length = match store.string(key)? {
        Some(string) if string.len() + tail.len() > request::MAX_COMMAND => {
            let text = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
            return Err(Failure(text.into()));
        }
        Some(string) => {
            string.extend_from_slice(tail);
            string.len()
        }
        None => {
            store.set(key, Value::String(tail.to_vec()), None);
            tail.len()
        }
    };
    reply::count(length, replies);
    Ok(())
}

/// Nobody can do without it, and nobody needs to know more than that.
fn command(_: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    if arguments.len() > 1 && arguments[1].eq_ignore_ascii_case(b"count") {
        reply::count(COMMANDS.len(), replies);
    } else {
        reply::array(0, replies);
    }
    Ok(())
}

/// Tells the settings that clients ask for: nothing is saved.
fn config(_: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    if !arguments[1].eq_ignore_ascii_case(b"get") {
        let text = "ERR unknown subcommand. Try CONFIG GET.";
        return Err(Failure(text.into()));
    }
    if arguments.len() < 3 {
        return Err(wrong_number("config|get"));
    }
    let settings = [("save", ""), ("appendonly", "no")];
    let wanted = |name: &str| {
        let mut names = arguments.iter(2);
        names.any(|wanted| wanted == b"*" || wanted.eq_ignore_ascii_case(name.as_bytes()))
    };
    let found: Vec<_> = settings.iter().filter(|(name, _)| wanted(name)).collect();
    reply::array(2 * found.len(), replies);
    for (name, value) in found {
        reply::bulk(name.as_bytes(), replies);
        reply::bulk(value.as_bytes(), replies);
    }
    Ok(())
}

/// Sets when a key expires, in units of so many milliseconds.
fn expire(
    session: &Session<'_>,
    arguments: Arguments<'_>,
    unit: i64,
    replies: &mut Replies,
) -> Done {
    let time = number(&arguments[2])?;
    let key = &arguments[1];
    let mut store = session.store();
    let done = if time <= 0 {
        store.remove(key)
    } else {
        let name = if unit == 1 { "pexpire" } else { "expire" };
        let expires = after(time, unit).ok_or(wrong_expiry(name))?;
        store.get(key).is_some() && store.set_expiry(key, Some(expires))
    };
    reply::integer(done.into(), replies);
    Ok(())
}

/// The instant that so many units of milliseconds are away, if the clock goes so far.
fn after(time: i64, unit: i64) -> Option<Instant> {
    let milliseconds = u64::try_from(time.checked_mul(unit)?).ok()?;
    Instant::now().checked_add(Duration::from_millis(milliseconds))
}

/// How long a key will be there: -1 if for ever, -2 if it is not there at all.
fn time_left(session: &Session<'_>, key: &[u8], unit: fn(Duration) -> u128) -> i64 {
    match session.store().expiry(key) {
        None => -2,
        Some(None) => -1,
        Some(Some(expires)) => {
            let left = expires.saturating_duration_since(Instant::now());
            i64::try_from(unit(left)).unwrap_or(i64::MAX)
        }
    }
}

fn hello(_: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    match arguments.len() {
        1 => {}
        2 if &arguments[1] == b"2" => {}
        2 if request::integer(&arguments[1]).is_none() => {
            let text = "ERR Protocol version is not an integer or out of range";
            return Err(Failure(text.into()));
        }
        2 => return Err(NO_SUCH_PROTOCOL),
        _ => return Err(SYNTAX),
    }
    let facts = [("server", "mini_redis"), ("version", "0.1.0")];
    reply::array(2 * facts.len() + 2, replies);
    for (name, value) in facts {
        reply::bulk(name.as_bytes(), replies);
        reply::bulk(value.as_bytes(), replies);
    }
    reply::bulk(b"proto", replies);
    reply::integer(2, replies);
    Ok(())
}

fn lrange(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let (first, last) = (number(&arguments[2])?, number(&arguments[3])?);
    let mut store = session.store();
    let Some(list) = store.list(&arguments[1])? else {
        reply::array(0, replies);
        return Ok(());
    };
    // Negative places count from the end.
    let length = list.len() as i64;
    let place = |place: i64| {
        if place < 0 {
            length.saturating_add(place)
        } else {
            place
        }
    };
    let first = place(first).max(0);
    let end = place(last).min(length - 1) + 1;
    if first >= end {
        reply::array(0, replies);
        return Ok(());
    }
    reply::array((end - first) as usize, replies);
    for item in list.range(first as usize..end as usize) {
        reply::bulk(item, replies);
    }
    Ok(())
}

fn mset(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    if arguments.len() % 2 == 0 {
        return Err(wrong_number("mset"));
    }
    let mut store = session.store();
    for (key, value) in arguments
        .iter(1)
        .step_by(2)
        .zip(arguments.iter(2).step_by(2))
    {
        store.set(key, Value::String(value.to_vec()), None);
    }
    replies.extend_from_slice(reply::OK);
    Ok(())
}

fn ping(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let message = (arguments.len() > 1).then(|| &arguments[1]);
    if session.subscriber.is_some() {
        // There everything is an array.
        reply::array(2, replies);
        reply::bulk(b"pong", replies);
        reply::bulk(message.unwrap_or_default(), replies);
    } else if let Some(message) = message {
        reply::bulk(message, replies);
    } else {
        replies.extend_from_slice(b"+PONG\r\n");
    }
    Ok(())
}

fn pop(
    session: &Session<'_>,
    arguments: Arguments<'_>,
    pop: fn(&mut VecDeque<Bytes>) -> Option<Bytes>,
    replies: &mut Replies,
) -> Done {
    let count = match arguments.len() {
        2 => None,
        _ => Some(usize::try_from(number(&arguments[2])?).map_err(|_| NOT_POSITIVE)?),
    };
    let key = &arguments[1];
    let mut store = session.store();
    let Some(list) = store.list(key)? else {
        replies.extend_from_slice(if count.is_some() {
            b"*-1\r\n"
        } else {
            reply::NIL
        });
        return Ok(());
    };
    if let Some(count) = count {
        reply::array(count.min(list.len()), replies);
    }
    for item in (0..count.unwrap_or(1)).map_while(|_| pop(list)) {
        reply::bulk(&item, replies);
    }
    if list.is_empty() {
        store.remove(key);
    }
    Ok(())
}

fn push(
    session: &Session<'_>,
    arguments: Arguments<'_>,
    push: fn(&mut VecDeque<Bytes>, Bytes),
    replies: &mut Replies,
) -> Done {
    let mut store = session.store();
    let key = &arguments[1];
    let mut items = arguments.iter(2).map(<[u8]>::to_vec);
    let length = if let Some(list) = store.list(key)? {
        items.for_each(|item| push(list, item));
        list.len()
    } else {
        let mut list = VecDeque::new();
        items.by_ref().for_each(|item| push(&mut list, item));
        let length = list.len();
        store.set(key, Value::List(list), None);
        length
    };
    reply::count(length, replies);
    Ok(())
}

fn set(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let (key, value) = (&arguments[1], &arguments[2]);
    let (mut expires, mut keep_time) = (None, false);
    // Whether the key must be there, or must not.
    let mut there = None;
    let mut options = arguments.iter(3);
    while let Some(option) = options.next() {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if (is(b"nx") || is(b"xx")) && there.is_none() {
            there = Some(is(b"xx"));
        } else if is(b"keepttl") && expires.is_none() {
            keep_time = true;
        } else if (is(b"ex") || is(b"px")) && expires.is_none() && !keep_time {
            let time = number(options.next().ok_or(SYNTAX)?)?;
            let unit = if is(b"ex") { 1000 } else { 1 };
            let instant = (time > 0).then(|| after(time, unit)).flatten();
            expires = Some(instant.ok_or(wrong_expiry("set"))?);
        } else {
            return Err(SYNTAX);
        }
    }
    let mut store = session.store();
    if there.is_some_and(|there| there != store.get(key).is_some()) {
        replies.extend_from_slice(reply::NIL);
        return Ok(());
    }
    if keep_time {
        expires = store.expiry(key).flatten();
    }
    store.set(key, Value::String(value.to_vec()), expires);
    replies.extend_from_slice(reply::OK);
    Ok(())
}

fn subscribe(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let channels = &session.database.channels;
    let subscriber = session
        .subscriber
        .get_or_insert_with(|| channels.subscriber());
    for channel in arguments.iter(1) {
        subscriber.subscribe(channel);
        reply::array(3, replies);
        reply::bulk(b"subscribe", replies);
        reply::bulk(channel, replies);
        reply::count(subscriber.count(), replies);
    }
    Ok(())
}

/// Ends subscriptions: those that are named, or all.
fn unsubscribe(session: &mut Session<'_>, arguments: Arguments<'_>, replies: &mut Replies) -> Done {
    let all = match &session.subscriber {
        Some(subscriber) if arguments.len() == 1 => subscriber.subscribed(),
        _ => Vec::new(),
    };
    let named = arguments.iter(1);
    let mut channels: Vec<_> = all
        .iter()
        .map(|channel| Some(&**channel))
        .chain(named.map(Some))
        .collect();
    if channels.is_empty() {
        // There is a reply, even so.
        channels.push(None);
    }
    for channel in channels {
        let mut left = 0;
        if let (Some(subscriber), Some(channel)) = (&mut session.subscriber, channel) {
            subscriber.unsubscribe(channel);
            left = subscriber.count();
        }
        reply::array(3, replies);
        reply::bulk(b"unsubscribe", replies);
        reply::maybe(channel, replies);
        reply::count(left, replies);
    }
    if session
        .subscriber
        .as_ref()
        .is_some_and(|subscriber| subscriber.count() == 0)
    {
        session.subscriber = None;
    }
    Ok(())
}
