//! Tells the sanitizers of switches; without their features there is nothing left of it.
//!
//! AddressSanitizer (feature `asan`) wants the bounds of the stack that is switched to before the switch, and keeps a fake stack for
//! each. ThreadSanitizer (feature `tsan`) wants a fiber for each stack, named before the switch. Both take for granted that no
//! function is entered or left between the announcement and the switch, hence the `inline(always)`.

#[cfg(any(feature = "asan", feature = "tsan"))]
use std::cell::Cell;
#[cfg(any(feature = "asan", feature = "tsan"))]
use std::ffi::c_void;
#[cfg(any(feature = "asan", feature = "tsan"))]
use std::ptr;

/// What the sanitizers know of a coroutine: lies at a place of its own while it lives, in reach of both sides.
pub(crate) struct Fiber {
    #[cfg(feature = "asan")]
    address: AddressFiber,
    #[cfg(feature = "tsan")]
    thread: ThreadFiber,
}

impl Fiber {
    /// For a coroutine whose stack has these bounds.
    #[inline(always)]
    pub(crate) fn new(bottom: *const u8, top: *const u8) -> Fiber {
        let _ = (bottom, top);
        Fiber {
            #[cfg(feature = "asan")]
            address: AddressFiber::new(bottom, top),
            #[cfg(feature = "tsan")]
            thread: ThreadFiber::new(),
        }
    }

    /// Wraps the resumer's switch to the coroutine, until control is back.
    #[inline(always)]
    pub(crate) fn resume<T>(&self, switch: impl FnOnce() -> T) -> T {
        #[cfg(feature = "asan")]
        let mut fake = ptr::null_mut();
        #[cfg(feature = "asan")]
        self.address.leave_resumer(&mut fake);
        #[cfg(feature = "tsan")]
        self.thread.leave_resumer();
        let result = switch();
        #[cfg(feature = "asan")]
        self.address.enter_resumer(fake);
        result
    }

    /// The coroutine's first act.
    #[inline(always)]
    pub(crate) fn entered(&self) {
        #[cfg(feature = "asan")]
        self.address.enter_coroutine(ptr::null_mut());
    }

    /// Wraps the coroutine's switch to its resumer, until control is back.
    #[inline(always)]
    pub(crate) fn suspend<T>(&self, switch: impl FnOnce() -> T) -> T {
        #[cfg(feature = "asan")]
        let mut fake = ptr::null_mut();
        #[cfg(feature = "asan")]
        self.address.leave_coroutine(&raw mut fake);
        #[cfg(feature = "tsan")]
        self.thread.leave_coroutine();
        let result = switch();
        #[cfg(feature = "asan")]
        self.address.enter_coroutine(fake);
        result
    }

    /// The coroutine's last act before it switches for good.
    #[inline(always)]
    pub(crate) fn finishing(&self) {
        #[cfg(feature = "asan")]
        self.address.leave_coroutine(ptr::null_mut());
        #[cfg(feature = "tsan")]
        self.thread.leave_coroutine();
    }

    /// The resumer's last act when the coroutine is done, or was never started.
    #[inline(always)]
    pub(crate) fn done(&self) {
        #[cfg(feature = "tsan")]
        self.thread.destroy();
    }
}

#[cfg(feature = "asan")]
unsafe extern "C" {
    fn __sanitizer_start_switch_fiber(fake: *mut *mut c_void, bottom: *const c_void, size: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, size: usize);
    fn __sanitizer_finish_switch_fiber(
        fake: *mut c_void,
        bottom: *mut *const c_void,
        size: *mut usize,
    );
}

/// The bounds of the two stacks of a switch. That of the coroutine's side is not always its own: a coroutine may be suspended by
/// another one that it has resumed.
#[cfg(feature = "asan")]
struct AddressFiber {
    bottom: Cell<*const c_void>,
    size: Cell<usize>,
    resumer_bottom: Cell<*const c_void>,
    resumer_size: Cell<usize>,
}

#[cfg(feature = "asan")]
impl AddressFiber {
    fn new(bottom: *const u8, top: *const u8) -> AddressFiber {
        let size = top as usize - bottom as usize;
        // SAFETY: the stack is free. Whoever used it last has left it without returning from its first function, whose frame
        // is still marked.
        unsafe { __asan_unpoison_memory_region(bottom.cast(), size) };
        AddressFiber {
            bottom: Cell::new(bottom.cast()),
            size: Cell::new(size),
            resumer_bottom: Cell::new(ptr::null()),
            resumer_size: Cell::new(0),
        }
    }

    #[inline(always)]
    fn leave_resumer(&self, fake: &mut *mut c_void) {
        // SAFETY: announces the switch that follows, to a stack with these bounds.
        unsafe { __sanitizer_start_switch_fiber(fake, self.bottom.get(), self.size.get()) };
    }

    #[inline(always)]
    fn enter_resumer(&self, fake: *mut c_void) {
        let (bottom, size) = (self.bottom.as_ptr(), self.size.as_ptr());
        // SAFETY: ends the switch back; `fake` is what leaving stored; the cells take the bounds of the stack that was left.
        unsafe { __sanitizer_finish_switch_fiber(fake, bottom, size) };
    }

    /// A null `fake` says that it leaves for good.
    #[inline(always)]
    fn leave_coroutine(&self, fake: *mut *mut c_void) {
        let (bottom, size) = (self.resumer_bottom.get(), self.resumer_size.get());
        // SAFETY: announces the switch that follows, to the stack that this one was entered from.
        unsafe { __sanitizer_start_switch_fiber(fake, bottom, size) };
    }

    #[inline(always)]
    fn enter_coroutine(&self, fake: *mut c_void) {
        let (bottom, size) = (self.resumer_bottom.as_ptr(), self.resumer_size.as_ptr());
        // SAFETY: ends the switch to the coroutine; the cells take the bounds of the stack that was left.
        unsafe { __sanitizer_finish_switch_fiber(fake, bottom, size) };
    }
}

#[cfg(feature = "tsan")]
unsafe extern "C" {
    fn __tsan_get_current_fiber() -> *mut c_void;
    fn __tsan_create_fiber(flags: u32) -> *mut c_void;
    fn __tsan_destroy_fiber(fiber: *mut c_void);
    fn __tsan_switch_to_fiber(fiber: *mut c_void, flags: u32);
}

/// The fibers of the two stacks of a switch, and its own.
#[cfg(feature = "tsan")]
struct ThreadFiber {
    own: *mut c_void,
    suspended: Cell<*mut c_void>,
    resumer: Cell<*mut c_void>,
}

#[cfg(feature = "tsan")]
impl ThreadFiber {
    fn new() -> ThreadFiber {
        // SAFETY: makes a fiber, which `destroy` takes back.
        let own = unsafe { __tsan_create_fiber(0) };
        ThreadFiber {
            own,
            suspended: Cell::new(own),
            resumer: Cell::new(ptr::null_mut()),
        }
    }

    #[inline(always)]
    fn leave_resumer(&self) {
        // SAFETY: only asks.
        self.resumer.set(unsafe { __tsan_get_current_fiber() });
        // SAFETY: announces the switch that follows. Flag 0: what was done before happens before what is done there.
        unsafe { __tsan_switch_to_fiber(self.suspended.get(), 0) };
    }

    #[inline(always)]
    fn leave_coroutine(&self) {
        // SAFETY: only asks.
        self.suspended.set(unsafe { __tsan_get_current_fiber() });
        // SAFETY: as above; the resumer's fiber exists, as it waits for this switch.
        unsafe { __tsan_switch_to_fiber(self.resumer.get(), 0) };
    }

    fn destroy(&self) {
        // SAFETY: nobody runs on it any more, and it is destroyed once.
        unsafe { __tsan_destroy_fiber(self.own) };
    }
}
