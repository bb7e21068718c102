//! What only some threads have: a name, values that are bound for them, values of their own.
//!
//! All of it is behind one pointer in the task, as each green thread pays for the place; so a green thread without any of it pays for a null
//! check where it spawns and where it ends. An OS thread has it in a `thread_local!`.
//!
//! | field | who may touch it |
//! | --- | --- |
//! | the pointer | set when the task is made, or else once, by the green thread itself; read by anybody |
//! | `name` | anybody; it never changes |
//! | `values` | before the first run, who makes the task; then its home's OS thread alone, or of a migratable one who has the `Runnable` |

use std::cell::Cell;
use std::mem::{self, ManuallyDrop};
use std::process::abort;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::bindings::{self, Bindings};
use super::locals::Locals;
use super::task::Task;
use super::{interrupt, worker};
use crate::report;

/// A task's place for the rest.
pub(crate) struct Extras {
    rest: AtomicPtr<Rest>,
}

struct Rest {
    name: Option<Box<str>>,
    values: Values,
}

/// The values that a thread can reach.
pub(crate) struct Values {
    pub(super) bindings: Cell<Bindings>,
    pub(super) locals: Locals,
}

impl Extras {
    /// For a green thread that the calling thread spawns.
    #[inline(always)]
    pub(crate) fn of_child(name: Option<Box<str>>) -> Extras {
        let bindings = bindings::inherit();
        let rest = if name.is_none() && bindings.is_none() {
            ptr::null_mut()
        } else {
            Extras::make(name, bindings)
        };
        Extras {
            rest: AtomicPtr::new(rest),
        }
    }

    #[cold]
    fn make(name: Option<Box<str>>, bindings: Bindings) -> *mut Rest {
        let values = Values {
            bindings: Cell::new(bindings),
            locals: Locals::new(),
        };
        Box::into_raw(Box::new(Rest { name, values }))
    }

    #[inline(always)]
    fn rest(&self) -> Option<&Rest> {
        // Acquire: for the Release in `values_or_make`.
        let rest = self.rest.load(Ordering::Acquire);
        // SAFETY: null, or from a box that lives until `self` ends.
        unsafe { rest.as_ref() }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.rest()?.name.as_deref()
    }

    /// The values, if there have ever been any.
    #[inline(always)]
    pub(super) fn values(&self) -> Option<&Values> {
        Some(&self.rest()?.values)
    }

    /// Makes room for values if there was none. For the green thread itself.
    fn values_or_make(&self) -> &Values {
        if self.values().is_none() {
            // Nobody else stores one meanwhile.
            self.rest.store(Extras::make(None, None), Ordering::Release);
        }
        match self.values() {
            Some(values) => values,
            None => unreachable!("it has just been stored"),
        }
    }
}

impl Drop for Extras {
    #[inline(always)]
    fn drop(&mut self) {
        let rest = *self.rest.get_mut();
        if !rest.is_null() {
            // SAFETY: it came from a box, and nobody has a reference to the task any more.
            drop(unsafe { Box::from_raw(rest) });
        }
    }
}

/// Ends the process if the destructor of a thread's value panics, as std does.
struct AbortIfPanic;

impl Drop for AbortIfPanic {
    fn drop(&mut self) {
        report::line(format_args!(
            "a local or inherited value of a thread panicked when it was dropped, aborting"
        ));
        abort();
    }
}

impl Values {
    const fn new() -> Values {
        Values {
            bindings: Cell::new(None),
            locals: Locals::new(),
        }
    }

    /// Drops all values, also those that destructors make. No interrupt strikes in there: it would be taken for a panic.
    #[cold]
    pub(super) fn end(&self) {
        if self.locals.is_empty() && self.bindings().is_none() {
            return;
        }
        let guard = AbortIfPanic;
        interrupt::masked(|| {
            loop {
                self.locals.end();
                match self.bindings.take() {
                    Some(bindings) => drop(bindings),
                    None => break,
                }
            }
        });
        mem::forget(guard);
    }
}

thread_local! {
    /// Of an OS thread that runs no green thread. Not dropped by itself: destructors of thread-locals look here, too.
    static OS_THREAD: ManuallyDrop<Values> = const { ManuallyDrop::new(Values::new()) };

    /// Touched by a thread whose values have to be dropped at its end.
    static AT_END: AtEnd = const { AtEnd };
}

struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        OS_THREAD.with(|values| {
            values.end();
            values.locals.close();
        });
    }
}

/// Looks at the values of the calling thread, green or not. `f` runs nothing of the user's.
#[inline(always)]
pub(super) fn with_current<R>(f: impl FnOnce(Option<&Values>) -> R) -> R {
    with_those_of(worker::current_green().map(|(_, task)| task), f)
}

/// Likewise at those of a green thread that has started on this OS thread, or else of the OS thread.
#[inline(always)]
pub(super) fn with_those_of<R>(task: Option<&Task>, f: impl FnOnce(Option<&Values>) -> R) -> R {
    match task {
        Some(task) => f(task.extras.values()),
        None => OS_THREAD.with(|values| f(Some(values))),
    }
}

/// Like [`with_current`], where values are going to be left.
pub(super) fn with_current_or_make<R>(f: impl FnOnce(&Values) -> R) -> R {
    match worker::current_green() {
        Some((_, task)) => f(task.extras.values_or_make()),
        None => {
            // Fails in the thread's last destructors: then it has been touched before, or `Locals` is closed.
            let _ = AT_END.try_with(|_| ());
            OS_THREAD.with(|values| f(values))
        }
    }
}

/// Drops the values of the green thread that calls, whose body has ended.
#[inline(always)]
pub(crate) fn end_current() {
    if let Some((_, task)) = worker::current_green() {
        task.end_values();
    }
}
