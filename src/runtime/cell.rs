//! The memory of a green thread: header, closure and, later in its place, result, in one allocation.
//!
//! Who has a [`TaskRef`] sees the header, a [`Task`]. What comes behind it depends on the types of closure and result and is
//! reached through the [`Vtable`], by those whose turn it is:
//!
//! | content | from | until | who may touch it |
//! | --- | --- | --- | --- |
//! | `Body` | `new` | the first run | the holder of the `Runnable` |
//! | `Empty` | then | the end | nobody |
//! | `Output` | the end, before the task counts as done | it is taken | the owner of the `JoinHandle`, once the task is done |
//! | `Unhandled` | in place of `Output`, if that is a panic and the runtime wants to know when nobody takes it | | |
//!
//! The last reference drops whatever is there.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::mem;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::panics::Unhandled;
use super::task::Task;
use crate::report;
use crate::thread;

/// References at most; as `Arc`, ends the process well before the count could wrap.
const MAX_REFERENCES: usize = isize::MAX as usize;

/// A counted reference to a green thread.
pub(crate) struct TaskRef {
    task: NonNull<Task>,
}

// SAFETY: the header is Sync; what is behind it is Send, or empty when it leaves its OS thread (`new`), and is touched by one thread at a time, as
// told above.
unsafe impl Send for TaskRef {}
// SAFETY: as for Send.
unsafe impl Sync for TaskRef {}

/// What depends on the types of closure and result.
pub(super) struct Vtable {
    /// Runs the body to its end, on the stack of the green thread or, if it could not get one, on that of the worker.
    run: unsafe fn(NonNull<Task>, io::Result<()>),
    /// Moves the output to a place for a `thread::Result<T>`.
    take: unsafe fn(NonNull<Task>, *mut ()),
    /// Drops the output.
    discard: unsafe fn(NonNull<Task>),
    free: unsafe fn(NonNull<Task>),
}

enum Content<F, T> {
    Body(F),
    Empty,
    Output(thread::Result<T>),
    Unhandled(Box<Unhandled>),
}

#[repr(C)]
struct Whole<F, T> {
    task: Task,
    content: UnsafeCell<Content<F, T>>,
}

impl TaskRef {
    /// Moves a green thread's closure to the heap; `header` makes the rest of it.
    ///
    /// # Safety
    /// The task is done, and its output taken or dropped, before anything ends that `F` or `T` borrow. They are Send, or the task is run
    /// and its output taken by the calling OS thread alone.
    pub(super) unsafe fn new<F, T>(
        body: F,
        header: impl FnOnce(AtomicUsize, &'static Vtable) -> Task,
    ) -> TaskRef
    where
        F: FnOnce() -> T,
    {
        let whole = Box::new(Whole::<F, T> {
            task: header(AtomicUsize::new(1), Whole::<F, T>::VTABLE),
            content: UnsafeCell::new(Content::Body(body)),
        });
        TaskRef {
            task: NonNull::from(Box::leak(whole)).cast(),
        }
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Task> {
        self.task
    }

    /// Gives the reference up, but keeps its count.
    pub(super) fn into_raw(self) -> NonNull<Task> {
        mem::ManuallyDrop::new(self).task
    }

    /// Takes a reference over whose count was kept.
    ///
    /// # Safety
    /// There is a count of `task` that nobody else owns.
    pub(super) unsafe fn from_raw(task: NonNull<Task>) -> TaskRef {
        TaskRef { task }
    }

    /// Makes a new reference.
    ///
    /// # Safety
    /// `task` is alive.
    pub(crate) unsafe fn from_borrowed(task: NonNull<Task>) -> TaskRef {
        let borrowed = mem::ManuallyDrop::new(TaskRef { task });
        TaskRef::clone(&borrowed)
    }

    /// Runs the body to its end.
    ///
    /// # Safety
    /// Called once, by the holder of the `Runnable`, at the first run.
    pub(super) unsafe fn run_body(&self, started: io::Result<()>) {
        // SAFETY: the vtable was made for this task; the rest is the caller's promise.
        unsafe { (self.vtable.run)(self.task, started) };
    }

    /// Takes the result.
    ///
    /// # Safety
    /// `T` is the type of the result; the task is done; called once, by the owner of the `JoinHandle`.
    pub(crate) unsafe fn take_output<T>(&self) -> thread::Result<T> {
        let mut output = mem::MaybeUninit::<thread::Result<T>>::uninit();
        // SAFETY: the vtable was made for this task; the rest is the caller's promise.
        unsafe { (self.vtable.take)(self.task, output.as_mut_ptr().cast()) };
        // SAFETY: `take` has written it.
        unsafe { output.assume_init() }
    }

    /// Drops the result, which nobody will take.
    ///
    /// # Safety
    /// The task is done; called by the owner of the `JoinHandle`, who has not taken it.
    pub(crate) unsafe fn discard_output(&self) {
        // SAFETY: the vtable was made for this task; the rest is the caller's promise.
        unsafe { (self.vtable.discard)(self.task) };
    }
}

impl Deref for TaskRef {
    type Target = Task;

    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: a count keeps it alive, and it is changed through cells and atomics alone.
        unsafe { self.task.as_ref() }
    }
}

impl Clone for TaskRef {
    #[inline]
    fn clone(&self) -> TaskRef {
        // Relaxed: who has a reference already knows the task; as `Arc`.
        if self.references.fetch_add(1, Ordering::Relaxed) > MAX_REFERENCES {
            abort();
        }
        TaskRef { task: self.task }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        // Release and Acquire: what others did through their references comes before the end; as `Arc`.
        if self.references.fetch_sub(1, Ordering::Release) == 1 {
            // A load, where a fence would do: ThreadSanitizer does not know fences.
            self.references.load(Ordering::Acquire);
            // SAFETY: the vtable was made for this task; this was the last reference.
            unsafe { (self.vtable.free)(self.task) };
        }
    }
}

impl<F, T> Whole<F, T>
where
    F: FnOnce() -> T,
{
    const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        take: Self::take,
        discard: Self::discard,
        free: Self::free,
    };

    /// # Safety
    /// `task` is the header of a `Whole<F, T>`, whose content may be touched by the caller alone for as long as it uses the
    /// reference.
    unsafe fn content<'a>(task: NonNull<Task>) -> &'a mut Content<F, T> {
        let content = UnsafeCell::raw_get(
            // The header is the first field (repr(C)).
            task.as_ptr()
                .cast::<Self>()
                .wrapping_byte_add(mem::offset_of!(Self, content))
                .cast(),
        );
        // SAFETY: passed on.
        unsafe { &mut *content }
    }

    /// # Safety
    /// As [`TaskRef::run_body`].
    unsafe fn run(task: NonNull<Task>, started: io::Result<()>) {
        // SAFETY: passed on: before the first run the holder of the `Runnable` alone touches the content.
        let content = unsafe { Self::content(task) };
        let Content::Body(body) = mem::replace(content, Content::Empty) else {
            unreachable!("a body runs once");
        };
        // SAFETY: the `Runnable` keeps it alive.
        let header = unsafe { task.as_ref() };
        let output = match started {
            Ok(()) => {
                let output = catch_unwind(AssertUnwindSafe(body));
                // They may wait; what is looked at and left below must not change meanwhile.
                header.end_values();
                match output {
                    // SAFETY: as above.
                    Err(payload) => match unsafe { Self::leave_unhandled(task, payload) } {
                        Some(payload) => Err(payload),
                        None => return header.complete(),
                    },
                    output => output,
                }
            }
            Err(error) => {
                let output = header.refuse(error, body);
                header.end_values();
                output
            }
        };
        if header.drops_output() {
            Self::drop_quietly(output);
            header.end_values();
        } else {
            // SAFETY: as above; it is not done yet.
            unsafe { *Self::content(task) = Content::Output(output) };
        }
        header.complete();
    }

    /// Leaves the end of a body that has unwound to whoever may take it, and to the policy of the runtime; returns it if it does not concern
    /// that.
    ///
    /// # Safety
    /// As [`TaskRef::run_body`].
    #[cold]
    unsafe fn leave_unhandled(
        task: NonNull<Task>,
        payload: Box<dyn Any + Send>,
    ) -> Option<Box<dyn Any + Send>> {
        // SAFETY: the `Runnable` keeps it alive.
        let header = unsafe { task.as_ref() };
        let unhandled = match Unhandled::new(header, payload) {
            Ok(unhandled) => unhandled,
            Err(payload) => return Some(payload),
        };
        if header.drops_output() {
            Self::drop_quietly(unhandled);
            header.end_values();
        } else {
            // SAFETY: passed on; it is not done yet.
            unsafe { *Self::content(task) = Content::Unhandled(unhandled) };
        }
        None
    }

    /// # Safety
    /// As [`TaskRef::take_output`]; `output` is a place for a `thread::Result<T>`.
    unsafe fn take(task: NonNull<Task>, output: *mut ()) {
        // SAFETY: passed on: once the task is done its joiner alone touches the content.
        let content = unsafe { Self::content(task) };
        let value = match mem::replace(content, Content::Empty) {
            Content::Output(value) => value,
            other => Self::take_unhandled(other),
        };
        // SAFETY: passed on.
        unsafe { output.cast::<thread::Result<T>>().write(value) };
    }

    #[cold]
    #[inline(never)]
    fn take_unhandled(content: Content<F, T>) -> thread::Result<T> {
        match content {
            Content::Unhandled(unhandled) => Err(unhandled.take()),
            _ => unreachable!("a result is taken once"),
        }
    }

    /// # Safety
    /// As [`TaskRef::discard_output`].
    #[cold]
    unsafe fn discard(task: NonNull<Task>) {
        // SAFETY: passed on: once the task is done its joiner alone touches the content.
        let content = unsafe { Self::content(task) };
        Self::drop_quietly(mem::replace(content, Content::Empty));
    }

    /// # Safety
    /// `task` is the header of a `Whole<F, T>`, and nobody has a reference to it any more.
    unsafe fn free(task: NonNull<Task>) {
        // SAFETY: it was leaked from a box (`TaskRef::new`), and the last reference is gone.
        let mut whole = unsafe { Box::from_raw(task.as_ptr().cast::<Self>()) };
        // A result that nobody took, or the closure of a green thread that never ran.
        Self::drop_quietly(mem::replace(whole.content.get_mut(), Content::Empty));
    }

    /// As std, does not let a panic of a destructor out: there is nobody to tell.
    #[inline(always)]
    fn drop_quietly<D>(value: D) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            // Its own destructor may panic as well.
            mem::forget(payload);
            report::line(format_args!(
                "the result of a green thread panicked when it was dropped, aborting"
            ));
            abort();
        }
    }
}
