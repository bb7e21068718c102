//! Values that are bound in a thread while a closure runs, and that threads which it spawns inherit.
//!
//! A thread's bindings are a list, the innermost last, that is never changed but replaced, so that a spawn shares it. What is bound twice is in the
//! list twice, for one of the two may end before the other: coroutines that are suspended while they have bound something need not go on in
//! order. So each takes its own out, of the list of the thread that it has bound it in. A thread that inherits gets no more than
//! it can see.

use std::any::Any;
use std::sync::Arc;

use super::extras::{self, Values};
use super::interrupt::Owner;

/// Shared by those that inherit it, on any OS thread.
pub(crate) type Value = Arc<dyn Any + Send + Sync>;

/// None, rather than empty.
pub(crate) type Bindings = Option<Arc<[Binding]>>;

#[derive(Clone)]
pub(crate) struct Binding {
    /// The address of the `static`.
    key: usize,
    value: Value,
}

impl Values {
    pub(super) fn bindings(&self) -> Bindings {
        let bindings = self.bindings.take();
        self.bindings.set(bindings.clone());
        bindings
    }

    /// Replaces the bindings. Those before are dropped afterwards, as destructors may look here.
    fn set_bindings(&self, bindings: impl Iterator<Item = Binding>) {
        let bindings: Arc<[Binding]> = bindings.collect();
        let before = self
            .bindings
            .replace(Some(bindings).filter(|some| !some.is_empty()));
        drop(before);
    }

    #[inline(always)]
    fn inherit_if_any(&self) -> Bindings {
        let bindings = self.bindings.take()?;
        self.bindings.set(Some(bindings.clone()));
        Values::inherited(bindings)
    }

    /// Leaves out what is bound over.
    #[cold]
    fn inherited(bindings: Arc<[Binding]>) -> Bindings {
        let is_seen = |(index, binding): (usize, &Binding)| {
            let inner = &bindings[index + 1..];
            inner.iter().all(|other| other.key != binding.key)
        };
        if bindings.iter().enumerate().all(is_seen) {
            return Some(bindings);
        }
        let all = bindings.iter().enumerate();
        let seen = all.filter(|&entry| is_seen(entry));
        Some(seen.map(|(_, binding)| binding.clone()).collect())
    }
}

/// What a thread inherits from the calling one.
#[inline(always)]
pub(crate) fn inherit() -> Bindings {
    extras::with_current(|values| match values {
        Some(values) => values.inherit_if_any(),
        None => None,
    })
}

/// What is bound to the `static` at `key`, in the calling thread.
pub(crate) fn find(key: usize) -> Option<Value> {
    extras::with_current(|values| {
        let values = values?;
        // Put back rather than counted.
        let bindings = values.bindings.take()?;
        let innermost = bindings.iter().rfind(|binding| binding.key == key);
        let found = innermost.map(|binding| binding.value.clone());
        values.bindings.set(Some(bindings));
        found
    })
}

/// Has a value bound until it is dropped.
pub(crate) struct Bound {
    owner: Owner,
    value: Value,
}

impl Bound {
    pub(crate) fn new(key: usize, value: Value) -> Bound {
        let binding = Binding {
            key,
            value: value.clone(),
        };
        extras::with_current_or_make(|values| {
            let outer = values.bindings();
            let outer = outer.iter().flat_map(|list| list.iter().cloned());
            values.set_bindings(outer.chain([binding]));
        });
        Bound {
            owner: Owner::current(),
            value,
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.owner.with_values(|values| {
            let Some((values, bindings)) = values.and_then(|it| Some((it, it.bindings()?))) else {
                return;
            };
            let others = bindings
                .iter()
                .filter(|binding| !Arc::ptr_eq(&binding.value, &self.value));
            values.set_bindings(others.cloned());
        });
    }
}

/// Runs `f`, on an OS thread, with what another thread has inherited.
pub(crate) fn with_inherited<R>(bindings: Bindings, f: impl FnOnce() -> R) -> R {
    struct Restored(Bindings);
    impl Drop for Restored {
        fn drop(&mut self) {
            let before = self.0.take();
            extras::with_current(|values| values.map(|values| values.bindings.replace(before)));
        }
    }
    if bindings.is_none() {
        return f();
    }
    let before = extras::with_current_or_make(|values| values.bindings.replace(bindings));
    let _restored = Restored(before);
    f()
}
