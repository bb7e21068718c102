//! Values that each thread has of its own: a table for each thread, in which each key has a number.
//!
//! A value is counted, and who uses it holds a count. So a coroutine that is suspended while it uses one, and is resumed when the thread
//! has ended, keeps it: what the end of a thread drops is the table's count. All happens on one OS thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::extras;

/// Tells the values of one `static` from those of others, by a number that it gets when it is first used.
pub(crate) struct Key<T> {
    /// 0 until then.
    number: AtomicUsize,
    _value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    pub(crate) const fn new() -> Key<T> {
        Key {
            number: AtomicUsize::new(0),
            _value: PhantomData,
        }
    }

    /// Its place in the tables.
    #[inline(always)]
    fn index(&self) -> usize {
        // Relaxed: the number is all there is.
        match self.number.load(Ordering::Relaxed) {
            0 => self.assign() - 1,
            number => number - 1,
        }
    }

    #[cold]
    fn assign(&self) -> usize {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let assigned =
            self.number
                .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        assigned.map_or_else(|earlier| earlier, |_| number)
    }
}

/// The value was dropped at the thread's end.
pub(crate) struct Destroyed;

/// A thread's values.
pub(super) struct Locals {
    table: RefCell<Table>,
    /// Nobody will drop what comes now.
    closed: Cell<bool>,
}

struct Table {
    slots: Vec<Slot>,
    /// The indices of the values that are there, in the order in which they came.
    order: Vec<usize>,
}

enum Slot {
    Unused,
    Alive(Rc<dyn Any>),
    Destroyed,
}

impl Table {
    const fn new() -> Table {
        Table {
            slots: Vec::new(),
            order: Vec::new(),
        }
    }
}

impl Locals {
    pub(super) const fn new() -> Locals {
        Locals {
            table: RefCell::new(Table::new()),
            closed: Cell::new(false),
        }
    }

    /// The value of `key`; none, if it has not been made.
    #[inline(always)]
    fn get<T: 'static>(&self, key: &Key<T>) -> Result<Option<Rc<T>>, Destroyed> {
        match self.table.borrow().slots.get(key.index()) {
            Some(Slot::Alive(value)) => {
                let value = Rc::into_raw(value.clone());
                // SAFETY: this place is that of one key (`assign`), so `insert` has put a `T` there.
                Ok(Some(unsafe { Rc::from_raw(value.cast::<T>()) }))
            }
            Some(Slot::Destroyed) => Err(Destroyed),
            Some(Slot::Unused) | None if self.closed.get() => Err(Destroyed),
            Some(Slot::Unused) | None => Ok(None),
        }
    }

    /// Makes `value` that of `key`; returns what it replaces.
    fn insert<T: 'static>(
        &self,
        key: &Key<T>,
        value: Rc<T>,
    ) -> Result<Option<Rc<dyn Any>>, Destroyed> {
        if self.closed.get() {
            return Err(Destroyed);
        }
        let index = key.index();
        let table = &mut *self.table.borrow_mut();
        if table.slots.len() <= index {
            table.slots.resize_with(index + 1, || Slot::Unused);
        }
        let slot = &mut table.slots[index];
        match slot {
            Slot::Destroyed => return Err(Destroyed),
            Slot::Unused => table.order.push(index),
            Slot::Alive(_) => {}
        }
        match mem::replace(slot, Slot::Alive(value)) {
            Slot::Alive(replaced) => Ok(Some(replaced)),
            Slot::Unused | Slot::Destroyed => Ok(None),
        }
    }

    /// Drops the values, the newest first, also those that destructors make.
    pub(super) fn end(&self) {
        while let Some(value) = self.take_newest() {
            drop(value);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.borrow().order.is_empty()
    }

    fn take_newest(&self) -> Option<Slot> {
        let table = &mut *self.table.borrow_mut();
        let index = table.order.pop()?;
        Some(mem::replace(&mut table.slots[index], Slot::Destroyed))
    }

    /// Lets no values in any more, after `end`.
    pub(super) fn close(&self) {
        self.closed.set(true);
        *self.table.borrow_mut() = Table::new();
    }
}

/// The calling thread's value of `key`; none, if it has not been made.
#[inline(always)]
pub(crate) fn get<T: 'static>(key: &Key<T>) -> Result<Option<Rc<T>>, Destroyed> {
    extras::with_current(|values| match values {
        Some(values) => values.locals.get(key),
        None => Ok(None),
    })
}

/// Makes `value` the calling thread's value of `key`, in the place of one that was made meanwhile.
pub(crate) fn insert<T: 'static>(key: &Key<T>, value: T) -> Result<Rc<T>, Destroyed> {
    let value = Rc::new(value);
    let replaced = extras::with_current_or_make(|values| values.locals.insert(key, value.clone()))?;
    drop(replaced);
    Ok(value)
}
