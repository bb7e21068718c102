//! Channels, and who has subscribed to them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corde::sync::Mutex;
use corde::sync::channel::{Receiver, Sender, bounded};

use crate::reply;
use crate::store::Key;

/// How many messages may wait for a subscriber. One for whom more are waiting is too slow, and is disconnected.
const MAX_WAITING: usize = 4096;

/// A message as its subscribers receive it: composed once, for all of them.
pub(crate) type Message = Arc<[u8]>;

#[derive(Debug, Default)]
pub(crate) struct Channels {
    subscribers: Mutex<HashMap<Key, Vec<Arc<Mailbox>>>>,
}

#[derive(Debug)]
struct Mailbox {
    sender: Sender<Message>,
    /// There was a message for which it had no room.
    overrun: AtomicBool,
}

/// What a connection has subscribed to. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscriber<'a> {
    channels: &'a Channels,
    mailbox: Arc<Mailbox>,
    messages: Receiver<Message>,
    subscribed: BTreeSet<Key>,
}

impl Channels {
    /// Sends a message to all who have subscribed to its channel. Returns how many these are. Does not wait for any of them.
    pub(crate) fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        let subscribers = self.subscribers.lock().unwrap();
        let Some(mailboxes) = subscribers.get(channel) else {
            return 0;
        };
        let mut message = Vec::new();
        reply::array(3, &mut message);
        for part in [b"message", channel, payload] {
            reply::bulk(part, &mut message);
        }
        let message = Message::from(message);
        for mailbox in mailboxes {
            if mailbox.sender.try_send(message.clone()).is_err() {
                mailbox.overrun.store(true, Ordering::Relaxed);
            }
        }
        mailboxes.len()
    }

    pub(crate) fn subscriber(&self) -> Subscriber<'_> {
        let (sender, messages) = bounded(MAX_WAITING);
        Subscriber {
            channels: self,
            mailbox: Arc::new(Mailbox {
                sender,
                overrun: AtomicBool::new(false),
            }),
            messages,
            subscribed: BTreeSet::new(),
        }
    }
}

impl Subscriber<'_> {
    /// How many channels it has subscribed to.
    pub(crate) fn count(&self) -> usize {
        self.subscribed.len()
    }

    /// The channels it has subscribed to.
    pub(crate) fn subscribed(&self) -> Vec<Key> {
        self.subscribed.iter().cloned().collect()
    }

    /// Where its messages arrive.
    pub(crate) fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }

    /// Whether it has missed a message.
    pub(crate) fn is_overrun(&self) -> bool {
        self.mailbox.overrun.load(Ordering::Relaxed)
    }

    pub(crate) fn subscribe(&mut self, channel: &[u8]) {
        let channel = Key::from(channel);
        if self.subscribed.insert(channel.clone()) {
            let mut subscribers = self.channels.subscribers.lock().unwrap();
            let mailboxes = subscribers.entry(channel).or_default();
            mailboxes.push(self.mailbox.clone());
        }
    }

    pub(crate) fn unsubscribe(&mut self, channel: &[u8]) {
        if !self.subscribed.remove(channel) {
            return;
        }
        let mut subscribers = self.channels.subscribers.lock().unwrap();
        if let Some(mailboxes) = subscribers.get_mut(channel) {
            mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
            if mailboxes.is_empty() {
                subscribers.remove(channel);
            }
        }
    }
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        for channel in self.subscribed() {
            self.unsubscribe(&channel);
        }
    }
}
