//! Tells the sanitizers, and Valgrind, of switches; without their features next to nothing is left of it.
//!
//! AddressSanitizer (feature `asan`) wants the bounds of the stack that is switched to before the switch, and keeps a fake stack for
//! each. Its leak checker is not told of fake stacks that nobody runs on: look for leaks with
//! `ASAN_OPTIONS=detect_stack_use_after_return=0`. ThreadSanitizer (feature `tsan`) wants a fiber for each stack, named before the switch.
//!
//! ThreadSanitizer notes for each fiber which functions have been entered, and crashes when more are left. So nothing may be
//! entered for the one side and left for the other: the function that switches calls [`Fiber::leave_resumer`] or
//! [`Fiber::leave_coroutine`] itself, with nothing in between that ends later. That is why they are `inline(always)`, which a
//! closure cannot be.
//!
//! A fiber takes two of the process's memory mappings, so that there is room for about 32,000 at a time under the usual
//! `vm.max_map_count`; and the functions entered may be 65,536.

#[cfg(any(feature = "asan", feature = "tsan"))]
use std::cell::Cell;
#[cfg(any(feature = "asan", feature = "tsan"))]
use std::ffi::c_void;
#[cfg(any(feature = "asan", feature = "tsan"))]
use std::ptr;

use super::valgrind;

/// What the sanitizers know of a coroutine: lies at a place of its own while it lives, in reach of both sides.
pub(crate) struct Fiber {
    #[cfg(feature = "asan")]
    address: AddressFiber,
    #[cfg(feature = "tsan")]
    thread: ThreadFiber,
}

impl Fiber {
    /// For a coroutine whose stack has these bounds, before anything is put there.
    #[inline(always)]
    pub(crate) fn new(bottom: *const u8, top: *const u8) -> Fiber {
        valgrind::clear_stack(bottom, top);
        Fiber {
            #[cfg(feature = "asan")]
            address: AddressFiber::new(bottom, top),
            #[cfg(feature = "tsan")]
            thread: ThreadFiber::new(),
        }
    }

    /// Wraps the resumer's switch to the coroutine, until control is back. `switch` calls
    /// [`leave_resumer`](Fiber::leave_resumer) right before.
    #[inline(always)]
    pub(crate) fn resume<T>(&self, switch: impl FnOnce() -> T) -> T {
        #[cfg(feature = "asan")]
        let mut fake = ptr::null_mut();
        #[cfg(feature = "asan")]
        self.address.leave_resumer(&mut fake);
        let result = switch();
        #[cfg(feature = "asan")]
        self.address.enter_resumer(fake);
        result
    }

    /// The resumer's last act before it switches to the coroutine.
    #[inline(always)]
    pub(crate) fn leave_resumer(&self) {
        #[cfg(feature = "tsan")]
        self.thread.leave_resumer();
    }

    /// The coroutine's first act.
    #[inline(always)]
    pub(crate) fn entered(&self) {
        #[cfg(feature = "asan")]
        self.address.enter_coroutine(ptr::null_mut());
        #[cfg(feature = "asan")]
        self.address.keep_thread_reachable();
    }

    /// Wraps the coroutine's switch to its resumer, until control is back. `switch` calls
    /// [`leave_coroutine`](Fiber::leave_coroutine) right before.
    #[inline(always)]
    pub(crate) fn suspend<T>(&self, switch: impl FnOnce() -> T) -> T {
        #[cfg(feature = "asan")]
        let mut fake = ptr::null_mut();
        #[cfg(feature = "asan")]
        self.address.leave_coroutine(&raw mut fake);
        let result = switch();
        #[cfg(feature = "asan")]
        self.address.enter_coroutine(fake);
        result
    }

    /// The coroutine's last act before it switches to its resumer.
    #[inline(always)]
    pub(crate) fn leave_coroutine(&self) {
        #[cfg(feature = "tsan")]
        self.thread.leave_coroutine();
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
    fn __lsan_register_root_region(start: *const c_void, size: usize);
    fn __sanitizer_finish_switch_fiber(
        fake: *mut c_void,
        bottom: *mut *const c_void,
        size: *mut usize,
    );
}

/// Tells the leak checker that heap blocks which are known there are not lost. The range may be unmapped later.
#[cfg(feature = "asan")]
pub(crate) fn keep_reachable(bottom: *const u8, size: usize) {
    // SAFETY: the checker looks at what is mapped of it, when everything else stands still.
    unsafe { __lsan_register_root_region(bottom.cast(), size) };
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

    /// While an OS thread runs a coroutine, the leak checker takes that one's stack for the thread's, and overlooks its own.
    #[inline(never)]
    fn keep_thread_reachable(&self) {
        thread_local! {
            static KEPT: Cell<bool> = const { Cell::new(false) };
        }
        // The first coroutine on an OS thread is resumed from the thread's own stack.
        if !KEPT.replace(true) {
            keep_reachable(self.resumer_bottom.get().cast(), self.resumer_size.get());
        }
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
