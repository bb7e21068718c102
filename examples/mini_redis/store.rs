//! The data.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub(crate) type Bytes = Vec<u8>;
pub(crate) type Key = Arc<[u8]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    String(Bytes),
    /// Never empty.
    List(VecDeque<Bytes>),
}

/// A value is of another kind than the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType;

/// Keys with their values. A key whose time is over is not there, though it may still take up room until somebody asks for it or
/// [`Store::sweep`] finds it.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: HashMap<Key, Entry>,
    /// All keys that expire, those first that expire first.
    expiring: BTreeSet<(Instant, Key)>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Option<Instant>,
}

impl Store {
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.entry(key).map(|entry| &mut entry.value)
    }

    pub(crate) fn string(&mut self, key: &[u8]) -> Result<Option<&mut Bytes>, WrongType> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(string)) => Ok(Some(string)),
            Some(Value::List(_)) => Err(WrongType),
        }
    }

    pub(crate) fn list(&mut self, key: &[u8]) -> Result<Option<&mut VecDeque<Bytes>>, WrongType> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(Value::String(_)) => Err(WrongType),
        }
    }

    /// Sets a value, and the time from which on it is gone.
    pub(crate) fn set(&mut self, key: &[u8], value: Value, expires: Option<Instant>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = value;
            self.set_expiry(key, expires);
        } else {
            let key = Key::from(key);
            self.entries.insert(
                key.clone(),
                Entry {
                    value,
                    expires: None,
                },
            );
            self.set_expiry(&key, expires);
        }
    }

    /// Removes a key. Returns whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.entry(key).is_some() && self.discard(key)
    }

    /// Removes everything, which the caller may drop when nobody waits for it.
    pub(crate) fn clear(&mut self) -> Store {
        std::mem::take(self)
    }

    /// Returns when a key expires, if it does, and if it is there.
    pub(crate) fn expiry(&mut self, key: &[u8]) -> Option<Option<Instant>> {
        self.entry(key).map(|entry| entry.expires)
    }

    /// Sets when a key expires. Returns whether it is there.
    pub(crate) fn set_expiry(&mut self, key: &[u8], expires: Option<Instant>) -> bool {
        let Some((key, entry)) = self.entries.get_key_value(key) else {
            return false;
        };
        if entry.expires == expires {
            return true;
        }
        let key = key.clone();
        if let Some(before) = entry.expires {
            self.expiring.remove(&(before, key.clone()));
        }
        if let Some(expires) = expires {
            self.expiring.insert((expires, key.clone()));
        }
        self.entries
            .entry(key)
            .and_modify(|entry| entry.expires = expires);
        true
    }

    /// How many keys take up room.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Discards keys that have expired by `now`, but not more than `limit`. Returns whether there may be more.
    pub(crate) fn sweep(&mut self, now: Instant, limit: usize) -> bool {
        for _ in 0..limit {
            match self.expiring.first() {
                Some((expires, key)) if *expires <= now => {
                    let key = key.clone();
                    self.discard(&key);
                }
                _ => return false,
            }
        }
        true
    }

    /// Returns the entry of a key, unless that has expired: then it is gone from here on.
    fn entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let expires = self.entries.get(key)?.expires;
        if expires.is_some_and(|expires| expires <= Instant::now()) {
            self.discard(key);
            return None;
        }
        self.entries.get_mut(key)
    }

    fn discard(&mut self, key: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else {
            return false;
        };
        if let Some(expires) = entry.expires {
            self.expiring.remove(&(expires, key));
        }
        true
    }
}
