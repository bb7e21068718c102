//! A receiver in a selection.

use super::Receiver;
use super::error::RecvError;
use crate::runtime::wait_list::Node;
use crate::sync::channel::select::{Change, Exclusive, Take, Taking};

impl<T> Change for Receiver<T> {
    type Arm<'a>
        = Taking<'a, Receiver<T>>
    where
        T: 'a;
}

impl<T> Take for Receiver<T> {
    type Output = Result<(), RecvError>;

    fn take(&mut self) -> Result<(), RecvError> {
        let news = self.shared.look(&mut self.version);
        news.expect("nobody else marks it as seen")
    }
}

impl<T> Exclusive for Receiver<T> {
    type Entry = usize;

    fn entry(&self) -> usize {
        self.version
    }

    fn is_ready(&self) -> bool {
        self.shared.state() != self.version
    }

    unsafe fn announce(&self, node: &Node<usize>) -> bool {
        let mut waiting = self.shared.waiting.lock();
        // Under the lock, as in `Shared::wait`.
        if self.is_ready() {
            return false;
        }
        // SAFETY: passed on.
        unsafe { waiting.receivers.link(node) };
        true
    }

    unsafe fn withdraw(&self, node: &Node<usize>) {
        let mut waiting = self.shared.waiting.lock();
        // SAFETY: passed on.
        unsafe { waiting.receivers.unlink_if_linked(node) };
    }
}
