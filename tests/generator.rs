//! Generators: iterators written as a function.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corde::coroutine::{Generator, Yielder};
use corde::generator;
use corde::stack::DefaultStack;
use rstest::rstest;

/// Gives the numbers of `range`, each from its own depth of calls.
fn give(out: &Yielder<(), u32>, depth: u32) {
    if depth > 0 {
        give(out, depth - 1);
        out.suspend(depth);
    }
}

#[rstest]
#[case::none(0)]
#[case::one(1)]
#[case::many(100)]
fn items_come_in_order_from_any_depth(#[case] count: u32) {
    let items = generator(move |out| give(out, count));
    assert_eq!(items.collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
}

#[test]
fn nothing_runs_before_an_item_is_asked_for_nor_ahead_of_it() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let theirs = log.clone();
    let mut items = generator(move |out| {
        for item in 0..3 {
            theirs.borrow_mut().push(item);
            out.suspend(item);
        }
    });
    assert!(log.borrow().is_empty());
    assert_eq!(items.next(), Some(0));
    assert_eq!(*log.borrow(), [0]);
    assert_eq!(items.next(), Some(1));
    assert_eq!(*log.borrow(), [0, 1]);
}

#[test]
fn it_is_fused() {
    let mut items = generator(|out| out.suspend("only"));
    assert_eq!(items.next(), Some("only"));
    assert_eq!((items.next(), items.next()), (None, None));
}

#[test]
fn extend_passes_the_items_of_iterators_and_of_generators_on() {
    let items = generator(|out: &Yielder<(), u32>| {
        out.suspend(0);
        out.extend([1, 2]);
        out.extend(generator(|inner| {
            inner.suspend(3);
            inner.extend(4..6);
        }));
        out.extend(None);
        out.suspend(6);
    });
    assert_eq!(items.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn dropping_it_early_runs_destructors_of_the_inner_ones_first() {
    struct Note(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Drop for Note {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    let log = Rc::new(RefCell::new(Vec::new()));
    let (outer, inner) = (Note("outer", log.clone()), Note("inner", log.clone()));
    let mut items = generator(move |out| {
        let _outer = outer;
        out.extend(generator(move |out| {
            let _inner = inner;
            out.extend(0..10);
        }));
    });
    assert_eq!(items.next(), Some(0));
    assert!(log.borrow().is_empty());
    drop(items);
    assert_eq!(*log.borrow(), ["inner", "outer"]);
}

#[test]
fn a_panic_comes_out_of_next_and_ends_it() {
    let mut items = generator(|out| {
        out.suspend(1);
        panic!("no second item");
    });
    assert_eq!(items.next(), Some(1));
    let panic = catch_unwind(AssertUnwindSafe(|| items.next())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"no second item"));
    assert_eq!(items.next(), None);
}

#[test]
fn it_runs_on_a_stack_of_its_user() {
    fn depth(out: &Yielder<(), usize>, left: usize) {
        let page = std::hint::black_box([left; 512]);
        match left {
            0 => out.suspend(page.len()),
            _ => depth(out, left - 1),
        }
        std::hint::black_box(page);
    }

    let stack = DefaultStack::new(16 << 20).unwrap();
    let mut items = Generator::with_stack(stack, |out| depth(out, 300));
    assert_eq!(items.next(), Some(512));
    assert_eq!(items.next(), None);
}

#[test]
fn a_generator_in_a_destructor_works_while_its_owner_unwinds_from_a_panic() {
    struct Sum<'a>(&'a RefCell<u32>);

    impl Drop for Sum<'_> {
        fn drop(&mut self) {
            *self.0.borrow_mut() = generator(|out| out.extend(1..=4)).sum();
        }
    }

    let sum = RefCell::new(0);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _sum = Sum(&sum);
        panic!("of the owner");
    }));
    assert!(unwound.is_err());
    assert_eq!(sum.into_inner(), 10);
}
