//! Programs that broke other coroutine libraries for Rust: each is shown not to compile here, or to end well, and next to it what is
//! closest to it and does compile.
//!
//! All but one rest on the same fact: any value can be forgotten, so that its destructor never runs. A coroutine that is forgotten while
//! it is suspended keeps its frames, and what they borrow is still in use (above all by the threads of a [`std::thread::scope`] in
//! them), but the borrow checker, who sees only the handle, takes the borrow for ended. Here everything in a handle that can be forgotten is
//! `'static`, its stack too; what borrows is in [`scoped`](super::scoped), out of reach.

/// <https://github.com/Amanieu/corosensei/issues/27>: a borrowing coroutine was forgotten; its scoped thread still read the borrowed
/// text, which was changed meanwhile.
///
/// ```compile_fail,E0597
/// use corde::coroutine::Coroutine;
///
/// let mut text = String::from("borrowed");
/// {
///     let text = text.as_str();
///     let mut coroutine = Coroutine::new(move |yielder, ()| {
///         std::thread::scope(|scope| {
///             scope.spawn(|| assert_eq!(text, "borrowed"));
///             yielder.suspend(());
///         });
///     }).unwrap();
///     coroutine.resume(());
///     std::mem::forget(coroutine);
/// }
/// text.clear();
/// ```
///
/// What is `'static` may be left in use for ever:
///
/// ```
/// use corde::coroutine::Coroutine;
///
/// {
///     let text = "static";
///     let mut coroutine = Coroutine::new(move |yielder, ()| {
///         std::thread::scope(|scope| {
///             scope.spawn(|| assert_eq!(text, "static"));
///             yielder.suspend(());
///         });
///     }).unwrap();
///     coroutine.resume(());
///     std::mem::forget(coroutine);
/// }
/// ```
///
/// And a borrowing one has ended, with its threads, when `scoped` returns: its handle is a reference, and to forget that means nothing.
///
/// ```
/// use corde::coroutine::scoped;
/// use std::sync::mpsc;
///
/// let mut text = String::from("borrowed");
/// let (sender, receiver) = mpsc::channel();
/// let mut read = String::new();
/// scoped(
///     |yielder, ()| {
///         let (text, read) = (&text, &mut read);
///         std::thread::scope(move |scope| {
///             scope.spawn(move || {
///                 receiver.recv().unwrap();
///                 *read = text.clone();
///             });
///             yielder.suspend(());
///             unreachable!("it is not resumed again");
///         });
///     },
///     |coroutine| {
///         coroutine.resume(());
///         // The thread reads while, or before, the body is unwound.
///         sender.send(()).unwrap();
///         std::mem::forget(coroutine);
///     },
/// ).unwrap();
/// text.clear();
/// assert_eq!(read, "borrowed");
/// ```
struct Corosensei27;

/// <https://github.com/Amanieu/corosensei/issues/43>: a coroutine on a borrowed stack was forgotten, and the next one on that stack
/// overwrote frames that were still in use.
///
/// ```compile_fail,E0277
/// use corde::coroutine::{Coroutine, Yielder};
/// use corde::stack::DefaultStack;
///
/// let mut stack = DefaultStack::new(64 * 1024).unwrap();
/// let mut first = Coroutine::with_stack(&mut stack, |yielder: &Yielder<(), ()>, ()| yielder.suspend(()));
/// first.resume(());
/// std::mem::forget(first);
/// let mut second = Coroutine::with_stack(&mut stack, |yielder: &Yielder<(), ()>, ()| yielder.suspend(()));
/// second.resume(());
/// ```
///
/// Nor can a stack of one's own be a borrowed one:
///
/// ```compile_fail,E0478
/// use corde::stack::{DefaultStack, Stack};
/// use std::ptr::NonNull;
///
/// struct Borrowed<'a>(&'a mut DefaultStack);
///
/// // SAFETY: what the trait asks for holds as long as the value lives, which is too short.
/// unsafe impl<'a> Stack for Borrowed<'a> {
///     fn top(&self) -> NonNull<u8> {
///         self.0.top()
///     }
///
///     fn bottom(&self) -> NonNull<u8> {
///         self.0.bottom()
///     }
/// }
/// ```
///
/// A stack that is owned carries the next coroutine when the first is done:
///
/// ```
/// use corde::coroutine::{Coroutine, Yielder};
/// use corde::stack::{DefaultStack, Stack};
/// use std::ptr::NonNull;
///
/// struct Owned(DefaultStack);
///
/// // SAFETY: what the trait asks for holds for the stack inside, which lives as long.
/// unsafe impl Stack for Owned {
///     fn top(&self) -> NonNull<u8> {
///         self.0.top()
///     }
///
///     fn bottom(&self) -> NonNull<u8> {
///         self.0.bottom()
///     }
/// }
///
/// let stack = Owned(DefaultStack::new(64 * 1024).unwrap());
/// let mut first = Coroutine::with_stack(stack, |yielder: &Yielder<(), ()>, ()| yielder.suspend(()));
/// first.resume(());
/// first.unwind();
/// let mut second = Coroutine::with_stack(first.into_stack(), |yielder: &Yielder<(), ()>, ()| yielder.suspend(()));
/// second.resume(());
/// ```
struct Corosensei43;

/// <https://github.com/Amanieu/corosensei/pull/58>: a borrowing coroutine had to be pinned; but what is pinned in a box may be forgotten
/// there, as a pin tells only that memory is not used anew before its value is dropped, not that this comes before a borrow ends.
///
/// ```compile_fail,E0597
/// use corde::coroutine::Coroutine;
///
/// let text = String::from("borrowed");
/// let taken = text.as_str();
/// let mut coroutine = Box::pin(Coroutine::new(move |yielder, ()| {
///     yielder.suspend(());
///     assert_eq!(taken, "borrowed");
/// }).unwrap());
/// coroutine.resume(());
/// std::mem::forget(coroutine);
/// ```
///
/// ```
/// use corde::coroutine::Coroutine;
///
/// let text = String::from("copied");
/// let taken = text.clone();
/// let mut coroutine = Box::pin(Coroutine::new(move |yielder, ()| {
///     yielder.suspend(());
///     assert_eq!(taken, "copied");
/// }).unwrap());
/// coroutine.resume(());
/// coroutine.resume(());
/// std::mem::forget(coroutine);
/// ```
struct Corosensei58;

/// <https://github.com/Amanieu/corosensei/issues/59>: so it was, in a box that was pinned and forgotten, with the thread of #27 in it.
///
/// ```compile_fail,E0507
/// use corde::coroutine::scoped;
///
/// let text = String::from("borrowed");
/// scoped(
///     |yielder, ()| {
///         yielder.suspend(());
///         drop(&text);
///     },
///     |coroutine| {
///         coroutine.resume(());
///         std::mem::forget(Box::pin(*coroutine));
///     },
/// ).unwrap();
/// ```
///
/// A pinned box has the reference alone, cannot leave with it, and ends no borrow when it is forgotten:
///
/// ```compile_fail,E0521
/// use corde::coroutine::scoped;
///
/// let text = String::from("borrowed");
/// let mut kept = None;
/// scoped(
///     |yielder, ()| {
///         yielder.suspend(());
///         drop(&text);
///     },
///     |coroutine| {
///         coroutine.resume(());
///         kept = Some(Box::pin(coroutine));
///     },
/// ).unwrap();
/// ```
///
/// ```
/// use corde::coroutine::scoped;
///
/// let text = std::rc::Rc::new("borrowed");
/// scoped(
///     |yielder, ()| {
///         let _another = text.clone();
///         yielder.suspend(());
///     },
///     |coroutine| {
///         coroutine.resume(());
///         assert_eq!(std::rc::Rc::strong_count(&text), 2);
///         std::mem::forget(Box::pin(coroutine));
///     },
/// ).unwrap();
/// assert_eq!(std::rc::Rc::strong_count(&text), 1);
/// ```
///
/// What a coroutine is resumed with, it may keep until it is unwound, so an input may not be borrowed for less:
///
/// ```compile_fail,E0597
/// use corde::coroutine::scoped;
///
/// scoped(
///     |yielder, text: &str| {
///         yielder.suspend(());
///         assert_eq!(text, "borrowed");
///     },
///     |coroutine| {
///         let text = String::from("borrowed");
///         coroutine.resume(&text);
///     },
/// ).unwrap();
/// ```
///
/// ```
/// use corde::coroutine::scoped;
///
/// let text = String::from("borrowed");
/// scoped(
///     |yielder, text: &str| {
///         yielder.suspend(());
///         assert_eq!(text, "borrowed");
///     },
///     |coroutine| {
///         coroutine.resume(&text);
///     },
/// ).unwrap();
/// ```
struct Corosensei59;

/// <https://github.com/Amanieu/corosensei/pull/60>: of two scopes, one in the other, the handles were exchanged, so that the inner
/// coroutine outlived what it borrowed from between the two.
///
/// ```compile_fail,E0521
/// use corde::coroutine::scoped;
///
/// scoped(
///     |yielder, ()| yielder.suspend(()),
///     |outer| {
///         let mut text = String::from("borrowed");
///         scoped(
///             |yielder, ()| {
///                 yielder.suspend(());
///                 drop(&text);
///             },
///             |inner| {
///                 inner.resume(());
///                 std::mem::swap(inner, outer);
///             },
///         ).unwrap();
///         text.clear();
///         outer.resume(());
///     },
/// ).unwrap();
/// ```
///
/// Each of them may be resumed from within the other scope:
///
/// ```
/// use corde::coroutine::scoped;
///
/// scoped(
///     |yielder, ()| yielder.suspend(()),
///     |outer| {
///         let mut text = String::from("borrowed");
///         scoped(
///             |yielder, ()| {
///                 yielder.suspend(());
///                 drop(&text);
///             },
///             |inner| {
///                 inner.resume(());
///                 outer.resume(());
///             },
///         ).unwrap();
///         text.clear();
///         outer.resume(());
///         assert!(outer.is_done());
///     },
/// ).unwrap();
/// ```
struct Corosensei60;

/// <https://github.com/Xudong-Huang/generator-rs/issues/59>: a scoped generator, which may borrow, was forgotten, as in #27 above.
///
/// ```compile_fail,E0597
/// let mut text = String::from("borrowed");
/// {
///     let text = text.as_str();
///     let mut generator = corde::generator(move |out| {
///         std::thread::scope(|scope| {
///             scope.spawn(|| assert_eq!(text, "borrowed"));
///             out.suspend(());
///         });
///     });
///     generator.next();
///     std::mem::forget(generator);
/// }
/// text.clear();
/// ```
///
/// Nor can its items be borrowed ones:
///
/// ```compile_fail,E0597
/// let mut text = String::from("borrowed");
/// {
///     let text = text.as_str();
///     let mut generator = corde::generator(move |out| out.suspend(text));
///     assert_eq!(generator.next(), Some("borrowed"));
///     std::mem::forget(generator);
/// }
/// text.clear();
/// ```
///
/// ```
/// {
///     let text = "static";
///     let mut generator = corde::generator(move |out| {
///         std::thread::scope(|scope| {
///             scope.spawn(|| assert_eq!(text, "static"));
///             out.suspend(text);
///         });
///     });
///     assert_eq!(generator.next(), Some("static"));
///     std::mem::forget(generator);
/// }
/// ```
struct Generator59;
