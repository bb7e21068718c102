//! What loom watches, with the names of std.
//!
//! loom's own types cannot be made in a `const fn`, as those of std are. So these make theirs when they are first used. As that may be by several
//! threads at once, the atomics have been made before there were others ([`model`]).

use std::cell::OnceCell;

/// Runs `scenario` in all ways in which its threads may run with that many preemptions.
pub fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        sync::atomic::prepare();
        scenario();
    });
}

pub mod sync {
    //! As `std::sync`; the reference counts are std's, which loom does not look at.
    pub use std::sync::*;

    pub mod atomic {
        //! As `std::sync::atomic`.
        pub use loom::sync::atomic::fence;
        pub use std::sync::atomic::Ordering;

        use super::super::OnceCell;
        use std::cell::RefCell;

        macro_rules! atomic {
            ($Atomic:ident, $Value:ty, $prepared:expr, $store:ident, $($method:ident)*) => {
                #[derive(Debug)]
                pub struct $Atomic {
                    initial: $Value,
                    observed: OnceCell<loom::sync::atomic::$Atomic>,
                }

                // SAFETY: loom runs all threads of a model on one OS thread.
                unsafe impl Sync for $Atomic {}

                impl $Atomic {
                    thread_local! {
                        /// Not used yet, with their values.
                        static PREPARED: RefCell<Vec<($Value, loom::sync::atomic::$Atomic)>> =
                            const { RefCell::new(Vec::new()) };
                    }

                    fn prepare() {
                        let prepared = $prepared.map(|initial| {
                            (initial, loom::sync::atomic::$Atomic::new(initial))
                        });
                        Self::PREPARED.set(prepared.into());
                    }

                    pub const fn new(initial: $Value) -> $Atomic {
                        $Atomic {
                            initial,
                            observed: OnceCell::new(),
                        }
                    }

                    fn observed(&self) -> &loom::sync::atomic::$Atomic {
                        self.observed.get_or_init(|| {
                            Self::PREPARED.with_borrow_mut(|prepared| {
                                let fitting = prepared.iter().position(|it| it.0 == self.initial);
                                let index = fitting.expect("one for each has been prepared");
                                prepared.swap_remove(index).1
                            })
                        })
                    }

                    #[track_caller]
                    pub fn load(&self, order: Ordering) -> $Value {
                        self.observed().load(order)
                    }

                    #[track_caller]
                    pub fn store(&self, value: $Value, order: Ordering) {
                        self.observed().$store(value, order);
                    }

                    $(
                        #[track_caller]
                        pub fn $method(&self, value: $Value, order: Ordering) -> $Value {
                            self.observed().$method(value, order)
                        }
                    )*

                    #[track_caller]
                    pub fn compare_exchange(
                        &self,
                        current: $Value,
                        new: $Value,
                        success: Ordering,
                        failure: Ordering,
                    ) -> Result<$Value, $Value> {
                        self.observed().compare_exchange(current, new, success, failure)
                    }

                    #[track_caller]
                    pub fn compare_exchange_weak(
                        &self,
                        current: $Value,
                        new: $Value,
                        success: Ordering,
                        failure: Ordering,
                    ) -> Result<$Value, $Value> {
                        self.observed().compare_exchange_weak(current, new, success, failure)
                    }
                }
            };
        }

        const MAX: usize = usize::MAX;

        // For loom a store does not come after another thread's exchange that it is not ordered with; so a thread might see the lock of
        // `runtime/lock.rs` taken for ever.
        atomic!(AtomicBool, bool, [false; 16], swap, swap fetch_and fetch_or);
        atomic!(AtomicU8, u8, [0; 4], store, swap fetch_and fetch_or);
        // 4: one permit of a semaphore. MAX: the claim of a selection that waits.
        atomic!(AtomicUsize, usize, [0, 0, 1, 1, 4, 4, MAX, MAX, MAX, MAX, MAX, MAX], store, swap fetch_add fetch_sub fetch_and fetch_or);

        pub(crate) fn prepare() {
            AtomicBool::prepare();
            AtomicU8::prepare();
            AtomicUsize::prepare();
        }
    }
}

pub mod cell {
    //! As `std::cell`; loom finds accesses that are not ordered.
    pub use std::cell::*;

    /// Takes every `get` for the beginning of an exclusive use.
    #[derive(Debug)]
    pub struct UnsafeCell<T: ?Sized> {
        observed: OnceCell<loom::cell::UnsafeCell<()>>,
        value: std::cell::UnsafeCell<T>,
    }

    impl<T> UnsafeCell<T> {
        pub const fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell {
                observed: OnceCell::new(),
                value: std::cell::UnsafeCell::new(value),
            }
        }

        #[track_caller]
        pub fn into_inner(self) -> T {
            self.get();
            self.value.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        #[track_caller]
        pub fn get(&self) -> *mut T {
            self.observed
                .get_or_init(|| loom::cell::UnsafeCell::new(()))
                .with_mut(|_| ());
            self.value.get()
        }

        #[track_caller]
        pub fn get_mut(&mut self) -> &mut T {
            self.get();
            self.value.get_mut()
        }
    }

    /// Its end counts as an access, too: that of the frame that it lies in.
    pub struct Cell<T> {
        observed: OnceCell<loom::cell::UnsafeCell<()>>,
        value: std::cell::Cell<T>,
    }

    impl<T> Cell<T> {
        pub const fn new(value: T) -> Cell<T> {
            Cell {
                observed: OnceCell::new(),
                value: std::cell::Cell::new(value),
            }
        }

        fn observed(&self) -> &loom::cell::UnsafeCell<()> {
            self.observed
                .get_or_init(|| loom::cell::UnsafeCell::new(()))
        }

        #[track_caller]
        pub fn set(&self, value: T) {
            self.observed().with_mut(|_| self.value.set(value));
        }

        #[track_caller]
        pub fn get(&self) -> T
        where
            T: Copy,
        {
            self.observed().with(|_| self.value.get())
        }

        #[track_caller]
        pub fn take(&self) -> T
        where
            T: Default,
        {
            self.observed().with_mut(|_| self.value.take())
        }
    }

    impl<T> Drop for Cell<T> {
        fn drop(&mut self) {
            // A model that fails says the first reason.
            if let Some(observed) = self.observed.get().filter(|_| !std::thread::panicking()) {
                observed.with_mut(|_| ());
            }
        }
    }
}

pub mod thread {
    //! As `std::thread`.
    pub use std::thread::*;

    use std::cell::Cell;
    use std::time::Duration;

    pub use loom::thread::yield_now;

    loom::thread_local! {
        static UNWINDS: Cell<bool> = Cell::new(false);
    }

    /// Whether the model says so: std counts the unwinds of the OS thread, on which all threads of a model run.
    pub fn panicking() -> bool {
        UNWINDS.with(Cell::get)
    }

    /// Runs `f` on a thread that unwinds from a panic.
    pub fn unwinding<R>(f: impl FnOnce() -> R) -> R {
        set_unwinding(true);
        let result = f();
        set_unwinding(false);
        result
    }

    /// Says from when to when the calling thread unwinds.
    pub fn set_unwinding(unwinds: bool) {
        UNWINDS.with(|it| it.set(unwinds));
    }

    pub fn sleep(_: Duration) {
        yield_now();
    }
}

pub mod hint {
    //! As `std::hint`.
    pub use std::hint::*;

    use std::cell::Cell;

    thread_local! {
        static YIELDS: Cell<bool> = const { Cell::new(false) };
    }

    /// For a model in which a thread spins until another one has run.
    pub fn yield_in_spin_loops() {
        YIELDS.set(true);
    }

    /// Does nothing, if not told otherwise: loom lets who yields wait until the others have run, and would not see what happens before.
    pub fn spin_loop() {
        if YIELDS.get() {
            loom::hint::spin_loop();
        }
    }
}
