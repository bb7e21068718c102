//! Coroutines as futures and as async iterators.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corde::coroutine::{AsyncGenerator, Awaiter, CoroutineFuture};
use rstest::rstest;

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Is ready after `polls` polls that are not, each of which wakes.
fn later(polls: u32) -> impl Future<Output = u32> {
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(polls);
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Awaits from a depth of calls.
fn sum(awaiter: &Awaiter<'_>, depth: u32) -> u32 {
    match depth {
        0 => 0,
        _ => awaiter.block_on(later(depth)) + sum(awaiter, depth - 1),
    }
}

#[rstest]
#[case::never(0, 0)]
#[case::once(1, 1)]
#[case::at_every_depth(5, 15)]
fn it_is_pending_as_often_as_what_it_waits_for(#[case] depth: u32, #[case] polls: u32) {
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(CoroutineFuture::new(move |awaiter| sum(awaiter, depth)).unwrap());
    for _ in 0..polls {
        assert_eq!(future.as_mut().poll(&mut context), Poll::Pending);
    }
    assert_eq!(future.poll(&mut context), Poll::Ready(polls));
    assert_eq!(wakes.0.load(Ordering::Relaxed), polls as usize);
}

#[test]
fn each_poll_brings_its_own_waker() {
    let mut future = CoroutineFuture::new(|awaiter| awaiter.block_on(later(2))).unwrap();
    let both = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
    for wakes in &both {
        let waker = wakes.clone().into();
        let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
        assert_eq!(poll, Poll::Pending);
    }
    assert_eq!(both.map(|wakes| wakes.0.load(Ordering::Relaxed)), [1, 1]);
}

#[test]
fn futures_that_borrow_from_the_body_can_be_awaited() {
    let mut future = CoroutineFuture::new(|awaiter| {
        let text = String::from("on the coroutine's stack");
        awaiter.block_on(async {
            later(1).await;
            text.len()
        })
    })
    .unwrap();
    assert_eq!(poll(&mut future), Poll::Pending);
    assert_eq!(poll(&mut future), Poll::Ready(24));
}

#[test]
fn it_can_be_awaited_by_another() {
    let mut outer = CoroutineFuture::new(|awaiter| {
        let inner = CoroutineFuture::new(|awaiter| awaiter.block_on(later(3))).unwrap();
        awaiter.block_on(inner) + 1
    })
    .unwrap();
    for _ in 0..3 {
        assert_eq!(poll(&mut outer), Poll::Pending);
    }
    assert_eq!(poll(&mut outer), Poll::Ready(4));
}

#[test]
fn dropping_it_while_it_waits_unwinds_it() {
    let value = Rc::new(());
    let theirs = value.clone();
    let mut future = CoroutineFuture::new(move |awaiter| {
        awaiter.block_on(pending::<()>());
        drop(theirs);
    })
    .unwrap();
    assert_eq!(poll(&mut future), Poll::Pending);
    assert_eq!(Rc::strong_count(&value), 2);
    drop(future);
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn a_panic_of_what_it_waits_for_can_be_caught_in_the_body() {
    let mut future = CoroutineFuture::new(|awaiter| {
        let panicking = poll_fn(|_| -> Poll<()> { panic!("of the future") });
        let caught = catch_unwind(AssertUnwindSafe(|| awaiter.block_on(panicking)));
        assert!(caught.is_err());
        awaiter.block_on(later(1))
    })
    .unwrap();
    assert_eq!(poll(&mut future), Poll::Pending);
    assert_eq!(poll(&mut future), Poll::Ready(1));
}

/// The inner wait would suspend the poll of the outer one, whose context ends with it.
#[test]
fn an_awaiter_cannot_be_used_by_the_future_it_is_polling() {
    let mut future = CoroutineFuture::new(|awaiter| {
        let reentering = poll_fn(|context| {
            let inner = catch_unwind(AssertUnwindSafe(|| awaiter.block_on(later(1))));
            assert!(inner.is_err());
            context.waker().wake_by_ref();
            Poll::Ready(())
        });
        awaiter.block_on(reentering);
        "the outer one goes on"
    })
    .unwrap();
    assert_eq!(poll(&mut future), Poll::Ready("the outer one goes on"));
}

fn poll_next<T>(items: &mut AsyncGenerator<T>) -> Poll<Option<T>> {
    Pin::new(items).poll_next(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_async_generator_gives_items_between_waits() {
    let mut items = AsyncGenerator::new(|awaiter| {
        awaiter.suspend_with(awaiter.block_on(ready(1)));
        awaiter.suspend_with(awaiter.block_on(later(2)));
    })
    .unwrap();
    assert_eq!(poll_next(&mut items), Poll::Ready(Some(1)));
    assert_eq!(poll_next(&mut items), Poll::Pending);
    assert_eq!(poll_next(&mut items), Poll::Pending);
    assert_eq!(poll_next(&mut items), Poll::Ready(Some(2)));
    assert_eq!(poll_next(&mut items), Poll::Ready(None));
    assert_eq!(poll_next(&mut items), Poll::Ready(None));
}

#[test]
fn an_async_generator_that_is_dropped_early_is_unwound() {
    let ended = Rc::new(Cell::new(false));

    struct SetOnDrop(Rc<Cell<bool>>);

    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    let guard = SetOnDrop(ended.clone());
    let mut items = AsyncGenerator::new(move |awaiter| {
        let _guard = guard;
        for item in 0.. {
            awaiter.suspend_with(item);
        }
    })
    .unwrap();
    assert_eq!(poll_next(&mut items), Poll::Ready(Some(0)));
    assert!(!ended.get());
    drop(items);
    assert!(ended.get());
}

#[cfg(feature = "futures-core")]
#[test]
fn an_async_generator_is_a_stream() {
    use futures_core::Stream;

    let mut items = AsyncGenerator::new(|awaiter| awaiter.suspend_with('x')).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut next = || Stream::poll_next(Pin::new(&mut items), &mut context);
    assert_eq!(next(), Poll::Ready(Some('x')));
    assert_eq!(next(), Poll::Ready(None));
}
