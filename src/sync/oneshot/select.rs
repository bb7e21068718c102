//! A receiver in a selection.

use std::sync::atomic::Ordering;

use super::error::RecvError;
use super::{RECEIVER, RECEIVER_WAITS, Receiver};
use crate::runtime::wait_list::Node;
use crate::sync::channel::select::{Exclusive, Receive, Take, Taking};

impl<T> Receive for Receiver<T> {
    type Arm<'a>
        = Taking<'a, Receiver<T>>
    where
        T: 'a;
}

impl<T> Take for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn take(&mut self) -> Result<T, RecvError> {
        self.try_recv().map_err(|_| RecvError(()))
    }
}

impl<T> Exclusive for Receiver<T> {
    type Entry = ();

    fn entry(&self) {}

    fn is_ready(&self) -> bool {
        self.shared.load() & RECEIVER.news != 0
    }

    unsafe fn announce(&self, node: &Node<()>) -> bool {
        let mut waiting = self.shared.waiting.lock();
        // As in `Shared::wait`.
        let state = self.shared.state.fetch_or(RECEIVER_WAITS, Ordering::AcqRel);
        if state & RECEIVER.news != 0 {
            return false;
        }
        // SAFETY: passed on.
        unsafe { waiting.receiver.link(node) };
        true
    }

    unsafe fn withdraw(&self, node: &Node<()>) {
        let mut waiting = self.shared.waiting.lock();
        let waits = &self.shared.state;
        waits.fetch_and(!RECEIVER_WAITS, Ordering::AcqRel);
        // SAFETY: passed on.
        unsafe { waiting.receiver.unlink_if_linked(node) };
    }
}
