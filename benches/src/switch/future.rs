//! `async` blocks, boxed, polled by hand. A word each way goes through a cell beside the future, as a poll brings nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Library;

pub(super) struct Async;

pub(super) struct Coroutine {
    future: Pin<Box<dyn Future<Output = ()>>>,
    word: Rc<Cell<u64>>,
}

impl Coroutine {
    fn new<F: Future<Output = ()> + 'static>(function: impl FnOnce(Suspender) -> F) -> Coroutine {
        let word = Rc::new(Cell::new(0));
        let future = Box::pin(function(Suspender(word.clone())));
        Coroutine { future, word }
    }

    #[inline(always)]
    fn resume(&mut self, word: u64) -> u64 {
        self.word.set(word);
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.future.as_mut().poll(&mut context);
        self.word.get()
    }
}

/// The inner side of a coroutine.
struct Suspender(Rc<Cell<u64>>);

impl Suspender {
    async fn suspend(&self, word: u64) -> u64 {
        self.0.set(word);
        let mut resumed = false;
        poll_fn(|_| {
            if resumed {
                return Poll::Ready(());
            }
            resumed = true;
            Poll::Pending
        })
        .await;
        self.0.get()
    }
}

async fn add(suspender: Suspender) {
    let mut sum = 0_u64;
    let mut word = suspender.0.get();
    while word != 0 {
        sum = sum.wrapping_add(word);
        word = suspender.suspend(sum).await;
    }
    suspender.0.set(sum);
}

async fn count(suspender: Suspender) {
    for number in 0..u64::MAX {
        suspender.suspend(number).await;
    }
}

impl Library for Async {
    type Adder = Coroutine;

    fn adder() -> Self::Adder {
        Coroutine::new(add)
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        adder.resume(word)
    }

    type Numbers = Coroutine;

    fn numbers() -> Self::Numbers {
        Coroutine::new(count)
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        numbers.resume(0)
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        |word| Self::resume(&mut Self::adder(), word)
    }
}
