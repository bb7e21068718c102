//! `thread::Inherited`: what is bound where, who inherits it, when it ends.
#![cfg(feature = "runtime")]

mod util;

use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use corde::coroutine::{Coroutine, CoroutineResult};
use corde::runtime::{LocalRuntime, Runtime};
use corde::thread::{self, Builder, Cancelled, Inherited, JoinSet, NotBound};
use corde::time::timeout;
use corde::{go, join};
use rstest::{Context, rstest};
use util::threads::{Kind, OnDrop, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, stress, with_workers};

static NUMBER: Inherited<u32> = Inherited::new();
static OTHER: Inherited<u32> = Inherited::new();
static TEXT: Inherited<String> = Inherited::new();
static UNIT: Inherited<()> = Inherited::new();

fn number() -> Option<u32> {
    NUMBER.try_with(|number| *number).ok()
}

fn both() -> (Option<u32>, Option<u32>) {
    (number(), OTHER.try_with(|number| *number).ok())
}

// In one thread.

#[rstest]
#[timeout(LIMIT)]
fn values_are_bound_while_a_scope_runs(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        assert_eq!(both(), (None, None));
        let result = NUMBER.scope(1, || {
            assert_eq!(both(), (Some(1), None));
            OTHER.scope(2, || assert_eq!(both(), (Some(1), Some(2))));
            NUMBER.scope(3, || {
                assert_eq!(both(), (Some(3), None));
                OTHER.scope(4, || {
                    NUMBER.scope(5, || assert_eq!(both(), (Some(5), Some(4))));
                    assert_eq!(both(), (Some(3), Some(4)));
                });
            });
            assert_eq!(both(), (Some(1), None));
            "result"
        });
        assert_eq!(result, "result");
        assert_eq!(both(), (None, None));
        UNIT.scope((), || UNIT.with(|()| assert_eq!(both(), (None, None))));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_ways_to_look_at_a_value(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        TEXT.scope("value".into(), || {
            assert_eq!(TEXT.get(), "value");
            assert_eq!(TEXT.with(String::len), 5);
            assert_eq!(TEXT.try_with(String::len), Ok(5));
        });
        let error: NotBound = TEXT.try_with(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "no value is bound here");
        let message = "an inherited value was used where none is bound";
        assert_eq!(panic_message(|| TEXT.get()), message);
        assert_eq!(panic_message(|| TEXT.with(|_| ())), message);
    });
}

#[test]
fn keys_have_the_traits_of_a_static() {
    fn key<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>(_: &T) {}
    key(&NUMBER);
    assert_eq!(format!("{NUMBER:?}"), "Inherited { .. }");
}

fn by_panic() {
    panic_quietly();
}

fn by_limit() {
    let ended = timeout(Duration::from_millis(1), || {
        NUMBER.scope(2, || {
            loop {
                thread::park();
            }
        })
    });
    assert!(ended.is_err());
    assert_eq!(number(), Some(1));
    panic_quietly();
}

#[rstest]
#[case::a_panic(by_panic)]
#[case::a_limit(by_limit)]
#[timeout(LIMIT)]
fn unwinding_restores_what_was_bound(
    #[case] unwind: fn(),
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            NUMBER.scope(1, || OTHER.scope(2, unwind));
        }));
        assert!(unwound.is_err());
        assert_eq!(both(), (None, None));
    });
}

#[test]
fn a_destructor_finds_its_own_value_gone_and_the_outer_one_bound() {
    struct Looks(Arc<AtomicBool>);
    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(LOOKS.try_with(|_| ()).is_err());
            assert_eq!(number(), Some(1));
            self.0.store(true, Ordering::Relaxed);
        }
    }
    static LOOKS: Inherited<Looks> = Inherited::new();
    let looked = Arc::new(AtomicBool::new(false));
    NUMBER.scope(1, || LOOKS.scope(Looks(looked.clone()), || ()));
    assert!(looked.load(Ordering::Relaxed));
}

// Children.

#[rstest]
#[case::spawn(|| thread::spawn(both).join().unwrap())]
#[case::a_name(|| Builder::new().name("named".into()).spawn(both).unwrap().join().unwrap())]
#[case::go(|| go!({ both() }).join().unwrap())]
#[case::scope(|| thread::scope(|scope| scope.spawn(both).join().unwrap()))]
#[case::try_scope(|| thread::try_scope(|scope| Ok::<_, ()>(scope.spawn(|| Ok(both())).join())).unwrap())]
#[case::join(|| join!(both, || ()).0)]
#[case::map(|| thread::map([()], 1, |()| both())[0])]
#[case::set(|| JoinSet::from_iter([both]).join_all()[0])]
#[case::grandchild(|| thread::spawn(|| thread::spawn(both).join().unwrap()).join().unwrap())]
#[case::run(|| corde::run(both))]
#[case::runtime(|| {
    let runtime = Runtime::new().unwrap();
    let seen = runtime.block_on(both);
    assert_eq!(runtime.spawn(both).join().unwrap(), seen);
    seen
})]
#[case::spawn_blocking(|| thread::spawn_blocking(both).join().unwrap())]
#[case::blocking(|| thread::blocking(both))]
#[case::from_blocking(|| thread::blocking(|| thread::spawn(both).join().unwrap()))]
#[timeout(LIMIT)]
fn children_inherit(
    #[case] seen_by_child: fn() -> (Option<u32>, Option<u32>),
    #[values(Kind::Green, Kind::Os)] parent: Kind,
) {
    parent.run(move || {
        for _ in 0..3 {
            assert_eq!(seen_by_child(), (None, None));
            NUMBER.scope(1, || {
                assert_eq!(seen_by_child(), (Some(1), None));
                OTHER.scope(2, || {
                    NUMBER.scope(3, || assert_eq!(seen_by_child(), (Some(3), Some(2))));
                });
                assert_eq!(seen_by_child(), (Some(1), None));
            });
            assert_eq!(both(), (None, None));
        }
    });
}

#[test]
fn local_children_inherit() {
    NUMBER.scope(1, || {
        LocalRuntime::new().unwrap().block_on(|| {
            assert_eq!(number(), Some(1));
            assert_eq!(thread::spawn_local(both).join().unwrap(), (Some(1), None));
            let child = OTHER.scope(2, || thread::spawn_local(both));
            assert_eq!(child.join().unwrap(), (Some(1), Some(2)));
        });
    });
}

#[test]
fn a_child_keeps_its_values_when_its_parent_has_left_the_scope() {
    let (child, value) = NUMBER.scope(1, || {
        let value = Arc::new(());
        static VALUE: Inherited<Arc<()>> = Inherited::new();
        let child = VALUE.scope(value.clone(), || {
            thread::spawn(|| {
                thread::park();
                VALUE.with(|_| both())
            })
        });
        (child, value)
    });
    assert_eq!(Arc::strong_count(&value), 2);
    child.thread().unpark();
    assert_eq!(child.join().unwrap(), (Some(1), None));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn what_a_child_binds_is_its_own() {
    corde::run(|| {
        NUMBER.scope(1, || {
            let child = thread::spawn(|| {
                NUMBER.scope(2, || {
                    OTHER.scope(3, || {
                        thread::park();
                        both()
                    })
                })
            });
            thread::yield_now();
            assert_eq!(both(), (Some(1), None));
            child.thread().unpark();
            assert_eq!(child.join().unwrap(), (Some(2), Some(3)));
        });
    });
}

#[rstest]
#[case::never_began(|value| {
    let other = Runtime::new().unwrap();
    let handle = VALUE.scope(value, || other.spawn(|| ()));
    other.shutdown(LIMIT);
    let _ = handle.join();
})]
#[case::returned(|value| VALUE.scope(value, || thread::spawn(|| ())).join().unwrap())]
#[case::panicked(|value| drop(VALUE.scope(value, || thread::spawn(|| panic_quietly())).join().unwrap_err()))]
#[case::cancelled(|value| {
    let handle = VALUE.scope(value, || thread::spawn(|| -> () { loop { thread::park() } }));
    handle.cancel();
    assert!(handle.join().unwrap_err().is::<Cancelled>());
})]
#[case::refused_a_stack(|value| {
    let huge = Builder::new().stack_size(1 << 47);
    let handle = VALUE.scope(value, || huge.spawn(|| ()));
    assert!(handle.unwrap().join().unwrap_err().is::<std::io::Error>());
})]
#[case::blocked(|value| VALUE.scope(value, || thread::spawn_blocking(|| ())).join().unwrap())]
#[timeout(LIMIT)]
fn values_end_with_the_last_that_has_inherited_them(#[case] run: fn(Arc<()>)) {
    let value = Arc::new(());
    run(value.clone());
    // A closure that blocks is joined before its OS thread has left it.
    wait_until(|| Arc::strong_count(&value) == 1);
}

static VALUE: Inherited<Arc<()>> = Inherited::new();

#[test]
fn a_value_whose_destructor_waits_may_end_with_a_child() {
    let ended = Arc::new(AtomicBool::new(false));
    let theirs = ended.clone();
    struct Last(#[expect(dead_code, reason = "for its destructor")] Box<dyn Send + Sync>);
    static LAST: Inherited<Last> = Inherited::new();
    let on_drop = OnDrop(move || {
        thread::sleep(Duration::from_millis(1));
        theirs.store(true, Ordering::Relaxed);
    });
    let child = LAST.scope(Last(Box::new(on_drop)), || thread::spawn(thread::park));
    child.thread().unpark();
    child.join().unwrap();
    assert!(ended.load(Ordering::Relaxed));
}

/// Binds over what it has inherited, has a child do the same, and ends.
fn descend(depth: u32, mut values: Vec<Weak<()>>, last: Sender<usize>) {
    let is_alive = |value: &Weak<()>| value.strong_count() > 0;
    // What nobody can see any more has ended: there is the parent's, which this one has inherited.
    wait_until(|| values.iter().filter(|value| is_alive(value)).count() <= 1);
    if depth == 0 {
        last.send(values.len()).unwrap();
        return;
    }
    let value = Arc::new(());
    values.push(Arc::downgrade(&value));
    VALUE.scope(value, || {
        thread::spawn(move || descend(depth - 1, values, last));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn values_do_not_pile_up_in_a_long_line_of_descendants() {
    let (last, ended) = mpsc::channel();
    descend(100, Vec::new(), last);
    assert_eq!(ended.recv().unwrap(), 100);
}

// Coroutines.

#[test]
fn coroutines_that_leave_out_of_order_each_take_their_own_value_away() {
    let body = |value| {
        Coroutine::<(), (), ()>::new(move |yielder, ()| {
            NUMBER.scope(value, || yielder.suspend(()));
        })
        .unwrap()
    };
    corde::run(|| {
        let (mut first, mut second) = (body(1), body(2));
        first.resume(());
        assert_eq!(number(), Some(1));
        second.resume(());
        assert_eq!(number(), Some(2));
        first.resume(());
        assert_eq!(number(), Some(2));
        second.resume(());
        assert_eq!(number(), None);
    });
}

#[test]
fn a_coroutine_that_another_thread_resumes_takes_its_value_from_where_it_was_bound() {
    LocalRuntime::new().unwrap().block_on(|| {
        let mut coroutine = Coroutine::<(), (), Option<u32>>::new(|yielder, ()| {
            NUMBER.scope(1, || {
                yielder.suspend(());
                number()
            })
        })
        .unwrap();
        coroutine.resume(());
        assert_eq!(number(), Some(1));
        let other = NUMBER.scope(2, || thread::spawn_local(move || coroutine.resume(())));
        assert!(matches!(other.join(), Ok(CoroutineResult::Return(Some(2)))));
        assert_eq!(number(), None);
    });
}

#[test]
fn a_value_that_is_looked_at_outlives_its_binding() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        TEXT.scope("still there".into(), || yielder.suspend(()));
    })
    .unwrap();
    coroutine.resume(());
    TEXT.with(|text| {
        coroutine.resume(());
        assert_eq!(text, "still there");
    });
    assert!(TEXT.try_with(|_| ()).is_err());
}

// Many at once.

#[rstest]
#[timeout(LIMIT)]
fn requests_do_not_mix(#[context] context: Context) {
    with_workers(3, &context, || {
        let rounds = stress() as u32;
        let requests = (0..200 * rounds).map(|request| {
            NUMBER.scope(request, || {
                thread::spawn(move || {
                    for _ in 0..5 {
                        let children = join!(
                            || NUMBER.get(),
                            || {
                                thread::yield_now();
                                NUMBER.scope(NUMBER.get() + 1, || NUMBER.get())
                            },
                            || NUMBER.get()
                        );
                        assert_eq!(children, (request, request + 1, request));
                    }
                })
            })
        });
        let requests: Vec<_> = requests.collect();
        requests
            .into_iter()
            .for_each(|request| request.join().unwrap());
    });
}
