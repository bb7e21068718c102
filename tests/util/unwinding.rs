//! What is dropped and when, and with which message something panics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

/// Names of values, in the order in which they were dropped.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    /// Returns a value that notes `name` here when it is dropped.
    pub(crate) fn on_drop(&self, name: &'static str) -> OnDrop<impl FnMut() + use<>> {
        let log = self.clone();
        OnDrop(move || log.0.borrow_mut().push(name))
    }

    #[track_caller]
    pub(crate) fn assert_dropped(&self, names: &[&str]) {
        assert_eq!(*self.0.borrow(), names);
    }
}

/// Calls a function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Returns the message that `f` panics with.
#[track_caller]
pub(crate) fn panic_message<T>(f: impl FnOnce() -> T) -> String {
    let result = catch_unwind(AssertUnwindSafe(f)).map(drop);
    let payload = result.expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .expect("the payload is a message")
            .to_string(),
    }
}

/// Returns how often the panic hook was called on this OS thread.
pub(crate) fn hook_calls() -> usize {
    static INSTALL: Once = Once::new();
    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            CALLS.set(CALLS.get() + 1);
            before(info);
        }));
    });
    CALLS.get()
}
