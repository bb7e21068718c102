//! What the blocking pool does: jobs, and their queue.
//!
//! A job lies in the frame of the green thread that waits for it ([`Frame`]), or on the heap if nobody does ([`Detached`]). The right to do
//! it is a value, the [`JobRef`], of which there is one: it is in the queue, or with an idle thread that is woken for it, or with the thread
//! that does the job.
//!
//! | field | who may touch it |
//! | --- | --- |
//! | `Job::links` | who has locked the pool |
//! | `Frame::content`, `Frame::waiter`, `Detached::body` | the holder of the `JobRef`; of a frame, the green thread again once it is done or withdrawn |
//! | `Frame::done` | set by the holder of the `JobRef`, which then touches the frame no more |

use std::cell::{Cell, UnsafeCell};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::interrupt::Cancelled;
use super::park::Waiter;
use crate::report;

/// Ends the process if the pool panics, or the destructor of a result that nobody takes.
pub(super) struct AbortIfPanic;

impl Drop for AbortIfPanic {
    fn drop(&mut self) {
        report::line(format_args!(
            "the blocking pool panicked outside of the closures that it runs, aborting"
        ));
        abort();
    }
}

/// What the pool sees of a job.
pub(super) struct Job {
    vtable: &'static Vtable,
    links: Cell<Links>,
}

struct Vtable {
    /// Does it to the end; never panics.
    run: unsafe fn(NonNull<Job>),
    /// For a detached one: ends it without doing it.
    refuse: Option<unsafe fn(NonNull<Job>)>,
}

/// A job's place in the queue.
#[derive(Clone, Copy, Default)]
struct Links {
    queued: bool,
    previous: Option<NonNull<Job>>,
    next: Option<NonNull<Job>>,
}

impl Job {
    fn new(vtable: &'static Vtable) -> Job {
        Job {
            vtable,
            links: Cell::default(),
        }
    }
}

/// The right to do a job, which is alive for as long as this exists.
pub(super) struct JobRef(NonNull<Job>);

// SAFETY: closures and results of jobs are Send (`Frame::job`, `Detached::job`), as are waiters; links are touched under the lock.
unsafe impl Send for JobRef {}

impl JobRef {
    /// # Safety
    /// This is the only right to the job, which stays alive and in its place until this is used up.
    pub(super) unsafe fn from_raw(job: NonNull<Job>) -> JobRef {
        JobRef(job)
    }

    pub(super) fn as_raw(&self) -> NonNull<Job> {
        self.0
    }

    /// Gives the right up, for `from_raw`.
    pub(super) fn into_raw(self) -> NonNull<Job> {
        self.0
    }

    fn vtable(&self) -> &'static Vtable {
        // SAFETY: the job is alive.
        unsafe { self.0.as_ref() }.vtable
    }

    /// Returns whether no green thread waits for it in the frame that it lies in.
    pub(super) fn is_detached(&self) -> bool {
        self.vtable().refuse.is_some()
    }

    pub(super) fn run(self) {
        // SAFETY: the vtable was made for this job, and the right to do it is used up.
        unsafe { (self.vtable().run)(self.0) };
    }

    /// Ends a detached job without doing it.
    pub(super) fn refuse(self) {
        let Some(refuse) = self.vtable().refuse else {
            unreachable!("only a detached job is refused");
        };
        // SAFETY: as in `run`.
        unsafe { refuse(self.0) };
    }
}

/// Jobs in the order of their arrival, linked through themselves, so that queueing needs no memory and withdrawing is quick.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<NonNull<Job>>,
    last: Option<NonNull<Job>>,
}

// SAFETY: it owns the rights to its jobs, which are Send.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn push(&mut self, job: JobRef) {
        let raw = job.into_raw();
        let previous = self.last.replace(raw);
        self.change(raw, |links| {
            *links = Links {
                queued: true,
                previous,
                next: None,
            };
        });
        match previous {
            Some(previous) => self.change(previous, |links| links.next = Some(raw)),
            None => self.first = Some(raw),
        }
    }

    pub(super) fn pop(&mut self) -> Option<JobRef> {
        let first = self.first?;
        // SAFETY: what is in the queue is alive, as the queue has the right to it.
        unsafe { self.remove(first) }
    }

    /// Takes a job out, if it is in.
    ///
    /// # Safety
    /// It is alive, and has never been in another queue.
    pub(super) unsafe fn remove(&mut self, job: NonNull<Job>) -> Option<JobRef> {
        // SAFETY: passed on; links are touched under the lock that this queue is under.
        let links = unsafe { job.as_ref() }.links.take();
        if !links.queued {
            return None;
        }
        match links.previous {
            Some(previous) => self.change(previous, |it| it.next = links.next),
            None => self.first = links.next,
        }
        match links.next {
            Some(next) => self.change(next, |it| it.previous = links.previous),
            None => self.last = links.previous,
        }
        // SAFETY: `push` has taken the right over.
        Some(unsafe { JobRef::from_raw(job) })
    }

    /// Takes out all that no green thread waits for.
    pub(super) fn take_detached(&mut self) -> Vec<JobRef> {
        let mut all = mem::take(self);
        let mut detached = Vec::new();
        while let Some(job) = all.pop() {
            if job.is_detached() {
                detached.push(job);
            } else {
                self.push(job);
            }
        }
        detached
    }

    /// Changes the links of a job that is in this queue.
    fn change(&mut self, job: NonNull<Job>, change: impl FnOnce(&mut Links)) {
        // SAFETY: the queue has the right to it, so that it is alive; its links are touched under the lock that this queue is under.
        let cell = unsafe { &job.as_ref().links };
        let mut links = cell.get();
        change(&mut links);
        cell.set(links);
    }
}

/// A job in the frame of the green thread that waits for it.
#[repr(C)]
pub(super) struct Frame<F, T> {
    job: Job,
    content: UnsafeCell<Content<F, T>>,
    waiter: Cell<Option<Waiter>>,
    done: AtomicBool,
}

pub(super) enum Content<F, T> {
    Closure(F),
    Empty,
    Result(thread::Result<T>),
}

impl<F, T> Frame<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        refuse: None,
    };

    /// Makes a job that wakes the calling thread when it is done.
    pub(super) fn new(f: F) -> Frame<F, T> {
        Frame {
            job: Job::new(Self::VTABLE),
            content: UnsafeCell::new(Content::Closure(f)),
            waiter: Cell::new(Some(Waiter::current())),
            done: AtomicBool::new(false),
        }
    }

    pub(super) fn job(&self) -> NonNull<Job> {
        // From the whole, as `run` goes back to it.
        NonNull::from(self).cast()
    }

    /// Returns whether the result is there, and the pool does not touch the frame any more.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn into_content(self) -> Content<F, T> {
        self.content.into_inner()
    }

    /// # Safety
    /// `job` is that of a `Frame<F, T>`; the right to do it is used up.
    unsafe fn run(job: NonNull<Job>) {
        // SAFETY: passed on: the job is the first field (repr(C)), and its pointer came from one to the frame, which stays until it is done.
        let frame = unsafe { job.cast::<Self>().as_ref() };
        // SAFETY: who does the job alone touches its content.
        let content = unsafe { &mut *frame.content.get() };
        let Content::Closure(f) = mem::replace(content, Content::Empty) else {
            unreachable!("a job is done once");
        };
        *content = Content::Result(catch_unwind(AssertUnwindSafe(f)));
        let waiter = frame.waiter.take();
        // Release: pairs with `is_done`. From here on the frame may be gone.
        frame.done.store(true, Ordering::Release);
        waiter.iter().for_each(Waiter::wake);
    }
}

/// A job that nobody waits for in place. What it calls gets an error if it never begins.
#[repr(C)]
pub(super) struct Detached<F> {
    job: Job,
    body: F,
}

impl<F> Detached<F>
where
    F: FnOnce(Result<(), Cancelled>) + Send + 'static,
{
    const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        refuse: Some(Self::refuse),
    };

    pub(super) fn job(body: F) -> JobRef {
        let detached = Box::new(Detached {
            job: Job::new(Self::VTABLE),
            body,
        });
        // SAFETY: this is the only right to the job, which stays on the heap until it is run or refused.
        unsafe { JobRef::from_raw(NonNull::from(Box::leak(detached)).cast()) }
    }

    /// # Safety
    /// `job` came from `Detached<F>::job`; the right to do it is used up.
    unsafe fn into_body(job: NonNull<Job>) -> F {
        // SAFETY: passed on: the job is the first field (repr(C)), and its pointer came from one to the whole.
        unsafe { Box::from_raw(job.cast::<Self>().as_ptr()) }.body
    }

    /// # Safety
    /// As [`into_body`](Detached::into_body).
    unsafe fn run(job: NonNull<Job>) {
        // SAFETY: passed on.
        let body = unsafe { Self::into_body(job) };
        let guard = AbortIfPanic;
        body(Ok(()));
        mem::forget(guard);
    }

    /// # Safety
    /// As [`into_body`](Detached::into_body).
    unsafe fn refuse(job: NonNull<Job>) {
        // SAFETY: passed on.
        let body = unsafe { Self::into_body(job) };
        let guard = AbortIfPanic;
        body(Err(Cancelled::new()));
        mem::forget(guard);
    }
}
