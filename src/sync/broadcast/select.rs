//! A receiver in a selection.

use super::Receiver;
use super::error::{RecvError, TryRecvError};
use crate::runtime::wait_list::Node;
use crate::sync::channel::select::{Exclusive, Receive, Take, Taking};

impl<T: Clone> Receive for Receiver<T> {
    type Arm<'a>
        = Taking<'a, Receiver<T>>
    where
        T: 'a;
}

impl<T: Clone> Take for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn take(&mut self) -> Result<T, RecvError> {
        self.try_recv().map_err(|error| match error {
            TryRecvError::Lagged(missed) => RecvError::Lagged(missed),
            TryRecvError::Closed => RecvError::Closed,
            TryRecvError::Empty => unreachable!("nobody else receives"),
        })
    }
}

impl<T: Clone> Exclusive for Receiver<T> {
    type Entry = u64;

    fn entry(&self) -> u64 {
        self.next
    }

    fn is_ready(&self) -> bool {
        self.shared.state.lock().has_news(self.next)
    }

    unsafe fn announce(&self, node: &Node<u64>) -> bool {
        let mut state = self.shared.state.lock();
        if state.has_news(self.next) {
            return false;
        }
        // SAFETY: passed on.
        unsafe { state.waiting.link(node) };
        true
    }

    unsafe fn withdraw(&self, node: &Node<u64>) {
        let mut state = self.shared.state.lock();
        // SAFETY: passed on.
        unsafe { state.waiting.unlink_if_linked(node) };
    }
}
