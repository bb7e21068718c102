//! The settings of a coroutine to be made.

use std::io;

use super::{Coroutine, Yielder};
use crate::stack::{DEFAULT_SIZE, DefaultStack};

/// The settings of a coroutine to be made.
///
/// # Examples
///
/// ```
/// use corde::coroutine::{Builder, CoroutineResult, Yielder};
///
/// let builder = Builder::new().stack_size(1 << 20).guard_size(64 * 1024);
/// let mut deep = builder.build(|_: &Yielder<u32, ()>, input| input + 1)?;
/// assert_eq!(deep.resume(1), CoroutineResult::Return(2));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    stack_size: usize,
    guard_size: usize,
    own_float: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            stack_size: DEFAULT_SIZE,
            guard_size: 0,
            own_float: false,
        }
    }
}

impl Builder {
    /// Makes a builder with the settings of [`Coroutine::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Builder;
    /// use corde::stack::DEFAULT_SIZE;
    ///
    /// let coroutine = Builder::new().build(|yielder, ()| yielder.suspend(()))?;
    /// assert!(coroutine.stack().size() >= DEFAULT_SIZE);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the size of the stack in bytes; see [`DefaultStack::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Builder;
    ///
    /// let coroutine = Builder::new().stack_size(4 << 20).build(|yielder, ()| yielder.suspend(()))?;
    /// assert!(coroutine.stack().size() >= 4 << 20);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = size;
        self
    }

    /// Sets the size of the guard below the stack in bytes; see [`DefaultStack::with_guard`].
    ///
    /// # Examples
    ///
    /// For a C library with large frames:
    ///
    /// ```
    /// use corde::coroutine::{Builder, CoroutineResult};
    ///
    /// let builder = Builder::new().stack_size(256 * 1024).guard_size(1 << 20);
    /// let mut decoder = builder.build(|yielder, block: u32| yielder.suspend(block))?;
    /// assert_eq!(decoder.resume(1), CoroutineResult::Yield(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn guard_size(mut self, size: usize) -> Builder {
        self.guard_size = size;
        self
    }

    /// Sets whether the coroutine has its own floating-point control words (MXCSR and the x87 control word; FPCR), exchanged with
    /// the resumer's at each switch.
    ///
    /// By default they belong to the OS thread and are not touched: Rust code may not change them. For C code that does, and
    /// suspends the coroutine before it has restored them. Costs about 10 ns a round trip on x86_64. It begins with those in force when
    /// the coroutine is made.
    ///
    /// They are exchanged when this coroutine suspends. When it suspends another one, within which it runs (a green thread that waits
    /// in it does that, too), they stay in force for whoever runs then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Builder, CoroutineResult};
    /// use std::ffi::c_int;
    ///
    /// unsafe extern "C" {
    ///     fn fegetround() -> c_int;
    ///     fn fesetround(mode: c_int) -> c_int;
    /// }
    /// const FE_UPWARD: c_int = if cfg!(target_arch = "x86_64") { 0x800 } else { 0x40_0000 };
    ///
    /// let mut rounds_up = Builder::new().own_float_environment(true).build(|yielder, ()| {
    ///     // SAFETY: it stands for C code; no Rust code calculates on this side.
    ///     unsafe { fesetround(FE_UPWARD) };
    ///     yielder.suspend(());
    ///     // SAFETY: only asks.
    ///     unsafe { fegetround() }
    /// })?;
    /// // SAFETY: only asks.
    /// let before = unsafe { fegetround() };
    /// rounds_up.resume(());
    /// // SAFETY: only asks.
    /// assert_eq!(unsafe { fegetround() }, before);
    /// assert_eq!(rounds_up.resume(()), CoroutineResult::Return(FE_UPWARD));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn own_float_environment(mut self, own: bool) -> Builder {
        self.own_float = own;
        self
    }

    /// Makes the coroutine.
    ///
    /// # Panics
    ///
    /// As [`Coroutine::with_stack`].
    ///
    /// # Errors
    ///
    /// Those of [`DefaultStack::with_guard`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Builder, CoroutineResult};
    ///
    /// let mut adder = Builder::new().build(|yielder, mut sum: u64| {
    ///     while sum < 10 {
    ///         sum += yielder.suspend(sum);
    ///     }
    ///     sum
    /// })?;
    /// assert_eq!(adder.resume(7), CoroutineResult::Yield(7));
    /// assert_eq!(adder.resume(8), CoroutineResult::Return(15));
    ///
    /// let too_large = Builder::new().stack_size(usize::MAX).build(|yielder, ()| yielder.suspend(()));
    /// assert_eq!(too_large.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn build<F, Input, Yield, Return>(
        self,
        body: F,
    ) -> io::Result<Coroutine<Input, Yield, Return>>
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
        Input: 'static,
        Yield: 'static,
        Return: 'static,
    {
        let stack = DefaultStack::with_guard(self.stack_size, self.guard_size)?;
        let mut coroutine = Coroutine::with_stack(stack, body);
        if self.own_float {
            coroutine.own_float_environment();
        }
        Ok(coroutine)
    }
}
