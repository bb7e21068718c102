//! `sync::mpsc`: std's words and errors. (What it shows in comparison with std's is in `sync_channel_random.rs`.)
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use corde::runtime::LocalRuntime;
use corde::sync::mpsc::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError,
    TrySendError, channel, sync_channel,
};
use corde::thread::{Cancelled, spawn_local, yield_now};
use rstest::rstest;
use util::LIMIT;
use util::threads::Kind;

const SHORT: Duration = Duration::from_millis(2);

/// A sending end of either kind.
#[derive(Clone)]
enum Either {
    Unbounded(Sender<u32>),
    Bounded(SyncSender<u32>),
}

impl Either {
    fn send(&self, message: u32) -> Result<(), SendError<u32>> {
        match self {
            Either::Unbounded(sender) => sender.send(message),
            Either::Bounded(sender) => sender.send(message),
        }
    }
}

fn ends(bound: Option<usize>) -> (Either, Receiver<u32>) {
    match bound {
        Some(bound) => {
            let (sender, receiver) = sync_channel(bound);
            (Either::Bounded(sender), receiver)
        }
        None => {
            let (sender, receiver) = channel();
            (Either::Unbounded(sender), receiver)
        }
    }
}

#[rstest]
#[timeout(LIMIT)]
fn ends_meet_whatever_kinds_of_threads_they_are_on(
    #[values(Kind::Green, Kind::Os)] sending: Kind,
    #[values(Kind::Green, Kind::Os)] receiving: Kind,
    #[values(Some(0), Some(1), Some(5), None)] bound: Option<usize>,
) {
    let (sender, receiver) = ends(bound);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sender = sender.clone();
            sending.spawn(move || (0..250).for_each(|number| sender.send(number).unwrap()))
        })
        .collect();
    drop(sender);
    let received = receiving.spawn(move || receiver.into_iter().map(u64::from).sum::<u64>());
    threads.into_iter().for_each(|thread| thread.join());
    assert_eq!(received.join(), 4 * (0..250).sum::<u64>());
}

#[rstest]
#[case::recv(|receiver: &Receiver<u32>| receiver.recv().ok())]
#[case::try_recv(|receiver: &Receiver<u32>| receiver.try_recv().ok())]
#[case::recv_timeout(|receiver: &Receiver<u32>| receiver.recv_timeout(Duration::MAX).ok())]
#[case::iter(|receiver: &Receiver<u32>| receiver.iter().next())]
#[case::try_iter(|receiver: &Receiver<u32>| receiver.try_iter().next())]
#[case::by_reference(|receiver: &Receiver<u32>| receiver.into_iter().next())]
#[timeout(LIMIT)]
fn messages_are_received_in_order_up_to_the_end(
    #[case] next: fn(&Receiver<u32>) -> Option<u32>,
    #[values(Some(3), None)] bound: Option<usize>,
) {
    let (sender, receiver) = ends(bound);
    (0..3).for_each(|number| sender.send(number).unwrap());
    let other = sender.clone();
    drop(sender);
    assert_eq!(next(&receiver), Some(0));
    drop(other);
    assert_eq!([(); 3].map(|()| next(&receiver)), [Some(1), Some(2), None]);
}

#[rstest]
#[timeout(LIMIT)]
fn each_error_says_why(#[values(Some(0), Some(1), None)] bound: Option<usize>) {
    let (sender, receiver) = ends(bound);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    assert_eq!(receiver.try_iter().next(), None);
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(
        receiver.recv_timeout(SHORT),
        Err(RecvTimeoutError::Disconnected)
    );

    let (sender, receiver) = ends(bound);
    if let (Either::Bounded(sender), Some(bound)) = (&sender, bound) {
        (0..bound).for_each(|_| sender.send(0).unwrap());
        assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
    }
    drop(receiver);
    assert_eq!(sender.send(8), Err(SendError(8)));
    if let Either::Bounded(sender) = &sender {
        assert_eq!(sender.try_send(9), Err(TrySendError::Disconnected(9)));
    }
}

#[rstest]
#[timeout(LIMIT)]
fn waits_can_be_cancelled() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (sender, receiver) = sync_channel(0);
        let waiting = spawn_local(move || {
            let _ = sender.send(1);
        });
        yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert_eq!(receiver.recv(), Err(RecvError));
        let (sender, receiver) = channel::<u32>();
        let waiting = spawn_local(move || receiver.recv());
        yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert_eq!(sender.send(2), Err(SendError(2)));
    });
}

/// Whether a type has a trait, as a value: a method of the type itself comes before that of a trait.
macro_rules! has {
    ($type:ty: $trait:path) => {{
        struct Probe<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "for a type without the trait")]
        trait Otherwise {
            fn has(&self) -> bool {
                false
            }
        }
        impl<T> Otherwise for Probe<T> {}
        #[allow(dead_code, reason = "for a type with the trait")]
        impl<T: $trait> Probe<T> {
            fn has(&self) -> bool {
                true
            }
        }
        Probe::<$type>(std::marker::PhantomData).has()
    }};
}

/// Of each type with each of these messages, the auto traits.
macro_rules! traits {
    ($library:ident: $($end:ident),*) => {
        [$(
            has!($library::$end<u32>: Send), has!($library::$end<u32>: Sync),
            has!($library::$end<*const u32>: Send), has!($library::$end<*const u32>: Sync),
            has!($library::$end<Cell<u32>>: Send), has!($library::$end<Cell<u32>>: Sync),
            has!($library::$end<&'static mut Cell<u32>>: UnwindSafe),
            has!($library::$end<&'static mut Cell<u32>>: RefUnwindSafe),
            has!($library::$end<u32>: Unpin), has!($library::$end<u32>: Clone),
        )*]
    };
}

#[test]
fn types_have_the_traits_of_stds() {
    assert_eq!(
        traits!(mpsc: Sender, SyncSender, Receiver, IntoIter),
        traits!(std_mpsc: Sender, SyncSender, Receiver, IntoIter),
    );
}
