//! The macros of the front door.

/// Spawns a green thread and returns its handle: a [`JoinHandle`](crate::thread::JoinHandle), or that of a scope.
///
/// Takes a closure, or a block, which becomes the body of a `move` closure. Settings come first, before a semicolon:
/// `name`, anything that becomes a `String`, and `stack`, a size in bytes; see [`Builder`](crate::thread::Builder).
///
/// Before all that, and a comma, there may be a [`Scope`](crate::thread::Scope) or [`TryScope`](crate::thread::TryScope) to spawn in, or a
/// [`JoinSet`](crate::thread::JoinSet). In these a block becomes a closure without `move`, which borrows what it can: write a `move` closure where
/// it is to take what it uses.
///
/// # Panics
///
/// As [`thread::spawn`](crate::thread::spawn) does; with an impossible `stack`, too.
///
/// # Examples
///
/// ```
/// use corde::go;
///
/// let greeting = String::from("hello");
/// let length = go!({ greeting.len() });
/// let square = go!(|| 12 * 12);
/// let named = go!(name = "worker 7", stack = 256 * 1024; {
///     corde::thread::current().name().map(str::to_owned)
/// });
/// assert_eq!(length.join().unwrap(), 5);
/// assert_eq!(square.join().unwrap(), 144);
/// assert_eq!(named.join().unwrap().as_deref(), Some("worker 7"));
/// ```
///
/// In a scope:
///
/// ```
/// use corde::{go, thread};
///
/// let words = ["borrowed", "by", "both"];
/// let longest = thread::scope(|scope| {
///     go!(scope, { println!("{words:?}") });
///     for word in &words {
///         go!(scope, name = *word; move || println!("{word}"));
///     }
///     go!(scope, || words.iter().map(|word| word.len()).max()).join().unwrap()
/// });
/// assert_eq!(longest, Some(8));
/// ```
///
/// There are no other settings:
///
/// ```compile_fail
/// corde::go!(stack_size = 4096; { 1 });
/// ```
///
/// And what is neither a closure nor a block does not run in the green thread:
///
/// ```compile_fail,E0277
/// corde::go!(println!("at once, here"));
/// ```
#[macro_export]
macro_rules! go {
    // How each is spawned: by a builder, or in a scope or set, with a builder.
    (@spawn [] $builder:expr; $body:block) => {
        $crate::go!(@value $builder.spawn(move || $body))
    };
    (@spawn [] $builder:expr; $body:expr) => {
        $crate::go!(@value $builder.spawn($body))
    };
    (@spawn [$scope:expr] $builder:expr; $body:block) => {
        $crate::go!(@value $scope.spawn_with($builder, || $body))
    };
    (@spawn [$scope:expr] $builder:expr; $body:expr) => {
        $crate::go!(@value $scope.spawn_with($builder, $body))
    };
    (@spawn $scope:tt $builder:expr; $($body:tt)*) => {
        ::core::compile_error!(
            "`go!` takes a closure or a block: `go!(|| ..)`, `go!({ .. })`, `go!(name = ..; { .. })`, `go!(scope, { .. })`"
        )
    };
    (@value $result:expr) => {
        match $result {
            ::std::result::Result::Ok(handle) => handle,
            ::std::result::Result::Err(error) => {
                ::std::panic!("the green thread could not be spawned: {error}")
            }
        }
    };
    (@named $name:expr) => {
        $crate::thread::Builder::new().name(::std::string::String::from($name))
    };

    // The settings.
    (@set $scope:tt name = $name:expr $(,)?; $($body:tt)*) => {
        $crate::go!(@spawn $scope $crate::go!(@named $name); $($body)*)
    };
    (@set $scope:tt stack = $stack:expr $(,)?; $($body:tt)*) => {
        $crate::go!(@spawn $scope $crate::thread::Builder::new().stack_size($stack); $($body)*)
    };
    (@set $scope:tt name = $name:expr, stack = $stack:expr $(,)?; $($body:tt)*) => {
        $crate::go!(@spawn $scope $crate::go!(@named $name).stack_size($stack); $($body)*)
    };
    (@set $scope:tt stack = $stack:expr, name = $name:expr $(,)?; $($body:tt)*) => {
        $crate::go!(@spawn $scope $crate::go!(@named $name).stack_size($stack); $($body)*)
    };
    (@set $($wrong:tt)*) => {
        ::core::compile_error!(
            "the settings of `go!` are `name = ..` and `stack = ..`, each once, and a semicolon before the body"
        )
    };

    ($body:block $(,)?) => {
        $crate::thread::spawn(move || $body)
    };
    ($setting:ident = $($rest:tt)*) => {
        $crate::go!(@set [] $setting = $($rest)*)
    };
    ($body:expr $(,)?) => {
        $crate::thread::spawn($body)
    };
    ($scope:expr, $setting:ident = $($rest:tt)*) => {
        $crate::go!(@set [$scope] $setting = $($rest)*)
    };
    ($scope:expr, $body:block $(,)?) => {
        $scope.spawn(|| $body)
    };
    ($scope:expr, $body:expr $(,)?) => {
        $scope.spawn($body)
    };
    ($($wrong:tt)*) => {
        $crate::go!(@spawn [] wrong;)
    };
}

/// Runs closures at once, which may borrow, and returns their results as a tuple when all have ended.
///
/// Each is a closure, or a block, which becomes the body of one without `move`. The last one runs on the calling thread, the others in green threads
/// of a [`scope`](crate::thread::scope()), on all workers; so only the last one may use what is not `Send`. Works on OS threads, too.
///
/// # Panics
///
/// With the panic of the first in the list that has panicked, when all have ended. With a message, if one could not get a stack. And as
/// [`thread::spawn`](crate::thread::spawn).
///
/// # Cancellation
///
/// If the caller is interrupted here, all are cancelled, and the caller unwinds when they have ended.
///
/// # Examples
///
/// ```
/// use corde::join;
///
/// fn sum(numbers: &[u64]) -> u64 {
///     if numbers.len() < 100 {
///         return numbers.iter().sum();
///     }
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     let (left, right) = join!(|| sum(left), || sum(right));
///     left + right
/// }
///
/// let numbers: Vec<u64> = (1..=1000).collect();
/// assert_eq!(sum(&numbers), 500_500);
///
/// // Blocks will do; and each may change what is its own.
/// let (mut a, mut b) = (1, 2);
/// join!({ a += 1 }, { b += 1 });
/// assert_eq!((a, b), (2, 3));
/// ```
#[macro_export]
macro_rules! join {
    (@spawn $scope:ident [$($handle:ident)*] $last:block $(,)?) => {
        $crate::join!(@spawn $scope [$($handle)*] || $last)
    };
    (@spawn $scope:ident [$($handle:ident)*] $last:expr $(,)?) => {{
        let last = $crate::thread::__in_place($last);
        // All are joined before the first panic is passed on.
        let ($($handle,)*) = ($($handle.join(),)*);
        ($($crate::thread::__unwrap($handle),)* $crate::thread::__unwrap(last),)
    }};
    (@spawn $scope:ident [$($handle:ident)*] $body:block, $($rest:tt)+) => {
        $crate::join!(@spawn $scope [$($handle)*] || $body, $($rest)+)
    };
    (@spawn $scope:ident [$($handle:ident)*] $body:expr, $($rest:tt)+) => {{
        let handle = $scope.spawn($body);
        $crate::join!(@spawn $scope [$($handle)* handle] $($rest)+)
    }};
    () => {
        ()
    };
    ($($bodies:tt)+) => {
        $crate::thread::scope(|scope| $crate::join!(@spawn scope [] $($bodies)+))
    };
}

/// Runs closures that return a `Result` at once, as [`join!`], until one of them returns an error.
///
/// The first error cancels the others, and is returned when they have ended; see [`try_scope`](crate::thread::try_scope). If there is none, the
/// result is a tuple of the values, in `Ok`. In a block `?` and `return` leave that block alone, as it becomes a closure.
///
/// # Panics
///
/// With the first panic, if that comes before an error; it cancels the others, too. And as [`join!`].
///
/// # Cancellation
///
/// As [`join!`].
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use corde::{thread, try_join};
///
/// let parse = |text: &str| text.parse::<i32>();
/// let (one, two) = try_join!(|| parse("1"), { Ok(parse("1")? + 1) })?;
/// assert_eq!((one, two), (1, 2));
///
/// let failed: Result<(i32, ()), ParseIntError> = try_join!(|| parse("one"), || loop { thread::park() });
/// assert!(failed.is_err());
/// # Ok::<(), ParseIntError>(())
/// ```
#[macro_export]
macro_rules! try_join {
    (@spawn $scope:ident [$($handle:ident)*] $last:block $(,)?) => {
        $crate::try_join!(@spawn $scope [$($handle)*] || $last)
    };
    (@spawn $scope:ident [$($handle:ident)*] $last:expr $(,)?) => {
        match $crate::thread::__call($last) {
            ::std::result::Result::Ok(last) => {
                ::std::result::Result::Ok(($($handle.join(),)* last,))
            }
            ::std::result::Result::Err(error) => ::std::result::Result::Err(error),
        }
    };
    (@spawn $scope:ident [$($handle:ident)*] $body:block, $($rest:tt)+) => {
        $crate::try_join!(@spawn $scope [$($handle)*] || $body, $($rest)+)
    };
    (@spawn $scope:ident [$($handle:ident)*] $body:expr, $($rest:tt)+) => {{
        let handle = $scope.spawn($body);
        $crate::try_join!(@spawn $scope [$($handle)* handle] $($rest)+)
    }};
    ($($bodies:tt)+) => {
        $crate::thread::try_scope(|scope| $crate::try_join!(@spawn scope [] $($bodies)+))
    };
}

/// Declares values of which each thread, green or not, has its own: [`LocalKey`](crate::thread::LocalKey)s; as [`std::thread_local!`].
///
/// Several declarations are separated by semicolons. An initializer runs when a thread first uses the value; one in `const { .. }` is
/// evaluated by the compiler.
///
/// # Examples
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use corde::{green_local, thread};
///
/// green_local! {
///     /// How deep the calling green thread is nested.
///     pub static DEPTH: Cell<u32> = const { Cell::new(0) };
///     static NAMES: RefCell<Vec<String>> = RefCell::new(vec!["root".to_owned()]);
/// }
///
/// corde::run(|| {
///     DEPTH.set(5);
///     NAMES.with_borrow_mut(|names| names.push("child".to_owned()));
///     thread::spawn(|| {
///         assert_eq!(DEPTH.get(), 0);
///         assert_eq!(NAMES.take(), ["root"]);
///     })
///     .join()
///     .unwrap();
///     assert_eq!((DEPTH.get(), NAMES.take().len()), (5, 2));
/// });
/// ```
///
/// What is in `const { .. }` has to be constant:
///
/// ```compile_fail,E0015
/// corde::green_local! { static WORDS: Vec<i32> = const { vec![1, 2, 3] } }
/// ```
#[macro_export]
macro_rules! green_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = const $init:block $(; $($rest:tt)*)?) => {
        $crate::green_local!(@key [$(#[$attribute])*] [$visibility] $name $type, const $init);
        $($crate::green_local!($($rest)*);)?
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $crate::green_local!(@key [$(#[$attribute])*] [$visibility] $name $type, $init);
        $($crate::green_local!($($rest)*);)?
    };
    (@key [$($attributes:tt)*] [$visibility:vis] $name:ident $type:ty, $init:expr) => {
        $($attributes)*
        $visibility static $name: $crate::thread::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::thread::LocalKey::__new(init)
        };
    };
}

/// Waits until one of several operations can be done without waiting, does it, and runs the code beside it; in the syntax of crossbeam-channel.
///
/// | case | what it is |
/// | --- | --- |
/// | `recv(receiver) -> result => body` | receives; `result` is what [`recv`](crate::sync::channel::Receiver::recv) returns |
/// | `send(sender, message) -> result => body` | sends; `result` is what [`send`](crate::sync::channel::Sender::send) returns |
/// | `recv(&mut receiver) -> result => body` | receives from a [`oneshot`](crate::sync::oneshot::Receiver) or a [`broadcast`](crate::sync::broadcast::Receiver) channel, with the result of its `recv` |
/// | `changed(&mut receiver) -> result => body` | when there is a value that the receiver of a [`watch`](crate::sync::watch::Receiver) channel has not seen, which is marked then; `result` is what [`changed`](crate::sync::watch::Receiver::changed) returns |
/// | `notified(notify) => body` | when a [`Notify`](crate::sync::Notify) notifies it, or has a permit, which is taken; or a [`Notified`](crate::sync::Notified) |
/// | `cancelled(token) => body` | when a [`CancelToken`](crate::thread::CancelToken) is cancelled |
/// | `join(handle) -> result => body` | joins a green thread; `handle` is a `mut` variable with its [`JoinHandle`](crate::thread::JoinHandle), or one of a scope, a local one, or of [`spawn_blocking`](crate::thread::spawn_blocking), which is moved if this is chosen |
/// | `join(handle) => body` | when it has ended: then [`join`](crate::thread::JoinHandle::join) does not wait |
/// | `readable(socket) => body`, `writable(socket) => body` | when a [socket](crate::net::Socket) can be read from, or accepted from, or written to, or has an error to tell; nothing is done with it |
/// | `default => body` | if none can be done at once |
/// | `default(timeout) => body` | if none could be done for so long |
///
/// If several could be done, one is chosen at random. The others have no effect: the message of a `send` is not even made before the
/// case has been chosen, nothing is received, marked as seen, or moved on, and a notification goes to the next who waits for it. Cases are separated by
/// commas, which may be left out after a block. The macro's value is that of the body.
///
/// What is in parentheses is evaluated first, in the order of writing; [`notify_waiters`](crate::sync::Notify::notify_waiters) counts from then on. What stays as
/// it is would be chosen again and again in a loop: a cancelled token, a socket with something to read, a channel without senders, a oneshot receiver that has
/// received.
///
/// Who reads a socket through a buffer, of a [`BufReader`](std::io::BufReader) or of TLS, should look there first: `readable` tells of the socket, which is silent
/// when all that has come is in the buffer.
///
/// For operations that are not known beforehand see [`Select`](crate::sync::channel::Select); for the first that is ready in the order
/// of writing, [`select_biased!`](crate::select_biased).
///
/// # Panics
///
/// Without any case it is a compile error, unless there is a `default`.
///
/// # Examples
///
/// ```
/// use corde::{go, select};
/// use corde::sync::channel::{bounded, unbounded};
/// use std::time::Duration;
///
/// let (numbers, quit) = (unbounded::<u32>(), bounded::<()>(0));
/// let summing = go!({
///     let mut sum = 0;
///     loop {
///         select! {
///             recv(numbers.1) -> number => sum += number.unwrap(),
///             recv(quit.1) -> _ => break sum,
///             default(Duration::from_secs(60)) => panic!("nobody sends"),
///         }
///     }
/// });
/// numbers.0.send(30).unwrap();
/// numbers.0.send(12).unwrap();
/// while !numbers.0.is_empty() {
///     corde::thread::yield_now();
/// }
/// drop(quit.0);
/// assert_eq!(summing.join().unwrap(), 42);
/// ```
///
/// A service that listens to everything that concerns it:
///
/// ```
/// use corde::{go, select};
/// use corde::sync::{broadcast, channel::unbounded, oneshot, watch};
/// use corde::thread::CancelToken;
///
/// let (requests, inbox) = unbounded::<oneshot::Sender<u32>>();
/// let (set_limit, mut limit) = watch::channel(1);
/// let (news, mut heard) = broadcast::channel(16);
/// let stop = CancelToken::new();
/// let stopped = stop.clone();
///
/// let service = go!({
///     let mut log = Vec::new();
///     loop {
///         select! {
///             recv(inbox) -> request => {
///                 // Who has asked may be gone.
///                 let _ = request.unwrap().send(*limit.borrow());
///             }
///             changed(&mut limit) -> changed => {
///                 changed.unwrap();
///                 log.push(format!("limit {}", *limit.borrow()));
///             }
///             recv(&mut heard) -> line => log.push(line.unwrap()),
///             cancelled(stopped) => break log,
///         }
///     }
/// });
/// set_limit.send(10).unwrap();
/// let (ask, mut answer) = oneshot::channel();
/// requests.send(ask).unwrap();
/// select! {
///     recv(&mut answer) -> limit => assert_eq!(limit, Ok(10)),
///     cancelled(stop) => unreachable!("nobody has cancelled it"),
/// }
/// news.send("news".to_owned()).unwrap();
/// while !news.is_empty() {
///     corde::thread::yield_now();
/// }
/// stop.cancel();
/// assert!(service.join().unwrap().contains(&"news".to_owned()));
/// ```
#[macro_export]
macro_rules! select {
    ($($cases:tt)*) => {
        $crate::select_cases!(false; [] [] $($cases)*)
    };
}

/// Like [`select!`](crate::select), but of several operations that could be done it takes the first.
///
/// # Examples
///
/// ```
/// use corde::select_biased;
/// use corde::sync::channel::unbounded;
///
/// let (urgent, usual) = (unbounded(), unbounded());
/// usual.0.send("usual").unwrap();
/// urgent.0.send("urgent").unwrap();
/// let first = select_biased! {
///     recv(urgent.1) -> message => message,
///     recv(usual.1) -> message => message,
/// };
/// assert_eq!(first, Ok("urgent"));
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($cases:tt)*) => {
        $crate::select_cases!(true; [] [] $($cases)*)
    };
}

/// Takes the cases of `select!` apart: `biased; [cases so far] [default] rest`. A case is `(kind handle (message) pattern body)`.
#[doc(hidden)]
#[macro_export]
macro_rules! select_cases {
    // The end of a case: a block with or without a comma, or an expression with one.
    (@body $biased:tt [$($done:tt)*] $default:tt ($($case:tt)*) $body:block, $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)* ($($case)* ($body))] $default $($rest)*)
    };
    (@body $biased:tt [$($done:tt)*] $default:tt ($($case:tt)*) $body:block $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)* ($($case)* ($body))] $default $($rest)*)
    };
    (@body $biased:tt [$($done:tt)*] $default:tt ($($case:tt)*) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)* ($($case)* ($body))] $default $($rest)*)
    };
    (@body $biased:tt [$($done:tt)*] $default:tt ($($case:tt)*) $body:expr) => {
        $crate::select_cases!($biased; [$($done)* ($($case)* ($body))] $default)
    };
    (@default $biased:tt [$($done:tt)*] ($($timeout:expr)?) $body:block, $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)*] [($($timeout)?) ($body)] $($rest)*)
    };
    (@default $biased:tt [$($done:tt)*] ($($timeout:expr)?) $body:block $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)*] [($($timeout)?) ($body)] $($rest)*)
    };
    (@default $biased:tt [$($done:tt)*] ($($timeout:expr)?) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!($biased; [$($done)*] [($($timeout)?) ($body)] $($rest)*)
    };
    (@default $biased:tt [$($done:tt)*] ($($timeout:expr)?) $body:expr) => {
        $crate::select_cases!($biased; [$($done)*] [($($timeout)?) ($body)])
    };

    // All taken apart: the operations as a list, then a chain of comparisons with the number that was chosen.
    (@number $count:expr; [$($listed:tt)*] ($kind:ident $handle:ident ($($message:expr)?) ($($pattern:pat)?) ($body:expr)) $($rest:tt)*) => {
        $crate::select_cases!(@number $count + 1; [$($listed)* ($count, $kind $handle)] $($rest)*)
    };
    (@number $count:expr; [$(($index:expr, $kind:ident $handle:ident))*]) => {
        [$($crate::sync::channel::internal::Case::$kind($handle, $index)),*]
    };
    (@complete $operation:ident $count:expr;) => {
        ::std::unreachable!("one of the cases was chosen")
    };
    (@complete $operation:ident $count:expr; (recv $handle:ident () ($pattern:pat) ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            let $pattern = $operation.recv($handle);
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    (@complete $operation:ident $count:expr; (send $handle:ident ($message:expr) ($pattern:pat) ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            let $pattern = $operation.send($handle, $message);
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    (@complete $operation:ident $count:expr; (ready $handle:ident () () ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            $operation.done();
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    (@complete $operation:ident $count:expr; (take $handle:ident () ($pattern:pat) ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            $operation.done();
            let $pattern = $handle.take();
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    (@complete $operation:ident $count:expr; (join $handle:ident ($joined:expr) () ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            $operation.done();
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    (@complete $operation:ident $count:expr; (join $handle:ident ($joined:expr) ($pattern:pat) ($body:expr)) $($rest:tt)*) => {
        if $operation.index() == $count {
            $operation.done();
            let $pattern = $joined.join();
            $body
        } else {
            $crate::select_cases!(@complete $operation $count + 1; $($rest)*)
        }
    };
    ($biased:tt; [] []) => {
        ::std::compile_error!("`select!` needs a case to wait for, or a `default`")
    };
    ($biased:tt; [] [() ($default:expr)]) => {
        $default
    };
    ($biased:tt; [] [($timeout:expr) ($default:expr)]) => {{
        $crate::thread::sleep($timeout);
        $default
    }};

    // Only receiving: first the short way (`sync/channel/glance.rs`), with a variable for what each receives.
    ($biased:tt; [$((recv $handle:ident () ($pattern:pat) ($body:expr)))+] []) => {
        $crate::select_cases!(@slots ($biased waiting) () [] $((recv $handle () ($pattern) ($body)))+)
    };
    ($biased:tt; [$((recv $handle:ident () ($pattern:pat) ($body:expr)))+] [() ($default:expr)]) => {
        $crate::select_cases!(@slots ($biased new) (() ($default)) [] $((recv $handle () ($pattern) ($body)))+)
    };
    ($biased:tt; [$((recv $handle:ident () ($pattern:pat) ($body:expr)))+] [($timeout:expr) ($default:expr)]) => {{
        let timeout = $timeout;
        $crate::select_cases!(@slots ($biased waiting) ((timeout) ($default)) [] $((recv $handle () ($pattern) ($body)))+)
    }};
    // Two at a time, as macros nest only so deep.
    (@slots $how:tt $default:tt [$($slotted:tt)*]
        (recv $handle:ident () ($pattern:pat) ($body:expr))
        (recv $other:ident () ($other_pattern:pat) ($other_body:expr))
        $($rest:tt)*
    ) => {{
        let mut slot = ::std::option::Option::None;
        let mut other_slot = ::std::option::Option::None;
        $crate::select_cases!(@slots $how $default [
            $($slotted)*
            (recv $handle (slot) ($pattern) ($body))
            (recv $other (other_slot) ($other_pattern) ($other_body))
        ] $($rest)*)
    }};
    (@slots $how:tt $default:tt [$($slotted:tt)*] (recv $handle:ident () ($pattern:pat) ($body:expr)) $($rest:tt)*) => {{
        let mut slot = ::std::option::Option::None;
        $crate::select_cases!(@slots $how $default [$($slotted)* (recv $handle (slot) ($pattern) ($body))] $($rest)*)
    }};
    (@slots ($biased:tt $order:ident) $default:tt [$((recv $handle:ident ($slot:ident) ($pattern:pat) ($body:expr)))+]) => {{
        let count = [$(::std::stringify!($handle)),+].len();
        let mut order = $crate::sync::channel::internal::Order::$order(count, $biased);
        let found = loop {
            match order.next() {
                ::std::option::Option::Some(index) => {
                    match $crate::select_cases!(@glance index 0; $($handle $slot)+) {
                        $crate::sync::channel::internal::Found::Nothing => {}
                        $crate::sync::channel::internal::Found::Result => {
                            break ::std::result::Result::Ok(index);
                        }
                        $crate::sync::channel::internal::Found::Selection => {
                            break ::std::result::Result::Err(true);
                        }
                    }
                }
                ::std::option::Option::None => break ::std::result::Result::Err(false),
            }
        };
        $crate::select_cases!(@found found $biased $default $((recv $handle ($slot) ($pattern) ($body)))+)
    }};
    (@glance $index:ident $count:expr; $handle:ident $slot:ident) => {
        $crate::sync::channel::internal::glance($handle, &mut $slot)
    };
    (@glance $index:ident $count:expr; $handle:ident $slot:ident $($rest:tt)+) => {
        if $index == $count {
            $crate::sync::channel::internal::glance($handle, &mut $slot)
        } else {
            $crate::select_cases!(@glance $index $count + 1; $($rest)+)
        }
    };
    (@found $found:ident $biased:tt () $((recv $handle:ident ($slot:ident) ($pattern:pat) ($body:expr)))+) => {{
        let (index, operation) = match $found {
            ::std::result::Result::Ok(index) => (index, ::std::option::Option::None),
            ::std::result::Result::Err(_) => {
                let operation = $crate::sync::channel::internal::select(
                    &mut $crate::select_cases!(@number 0; [] $((recv $handle () (_) (())))+),
                    $biased,
                );
                (operation.index(), ::std::option::Option::Some(operation))
            }
        };
        $crate::select_cases!(@received_at index operation 0; $((recv $handle ($slot) ($pattern) ($body)))+)
    }};
    (@found $found:ident $biased:tt (() ($default:expr)) $((recv $handle:ident ($slot:ident) ($pattern:pat) ($body:expr)))+) => {{
        let operation = match $found {
            ::std::result::Result::Ok(index) => ::std::option::Option::Some((index, ::std::option::Option::None)),
            ::std::result::Result::Err(false) => ::std::option::Option::None,
            ::std::result::Result::Err(true) => {
                $crate::sync::channel::internal::try_select(
                    &mut $crate::select_cases!(@number 0; [] $((recv $handle () (_) (())))+),
                    $biased,
                )
                .map(|operation| (operation.index(), ::std::option::Option::Some(operation)))
            }
        };
        match operation {
            ::std::option::Option::Some((index, operation)) => {
                $crate::select_cases!(@received_at index operation 0; $((recv $handle ($slot) ($pattern) ($body)))+)
            }
            ::std::option::Option::None => $default,
        }
    }};
    (@found $found:ident $biased:tt (($timeout:ident) ($default:expr)) $((recv $handle:ident ($slot:ident) ($pattern:pat) ($body:expr)))+) => {{
        let operation = match $found {
            ::std::result::Result::Ok(index) => ::std::option::Option::Some((index, ::std::option::Option::None)),
            ::std::result::Result::Err(_) => {
                $crate::sync::channel::internal::select_timeout(
                    &mut $crate::select_cases!(@number 0; [] $((recv $handle () (_) (())))+),
                    $biased,
                    $timeout,
                )
                .map(|operation| (operation.index(), ::std::option::Option::Some(operation)))
            }
        };
        match operation {
            ::std::option::Option::Some((index, operation)) => {
                $crate::select_cases!(@received_at index operation 0; $((recv $handle ($slot) ($pattern) ($body)))+)
            }
            ::std::option::Option::None => $default,
        }
    }};
    (@received_at $index:ident $operation:ident $count:expr;) => {
        ::std::unreachable!("one of the cases was chosen")
    };
    (@received_at $index:ident $operation:ident $count:expr; (recv $handle:ident ($slot:ident) ($pattern:pat) ($body:expr)) $($rest:tt)*) => {
        if $index == $count {
            let $pattern = $crate::sync::channel::internal::received($handle, $slot, $operation);
            $body
        } else {
            $crate::select_cases!(@received_at $index $operation $count + 1; $($rest)*)
        }
    };
    ($biased:tt; [$($done:tt)+] []) => {{
        let operation = $crate::sync::channel::internal::select(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
        );
        $crate::select_cases!(@complete operation 0; $($done)+)
    }};
    ($biased:tt; [$($done:tt)+] [() ($default:expr)]) => {{
        let operation = $crate::sync::channel::internal::try_select(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
        );
        if ::std::option::Option::is_some(&operation) {
            let operation = ::std::option::Option::unwrap(operation);
            $crate::select_cases!(@complete operation 0; $($done)+)
        } else {
            // Else its destructor, which does nothing, would keep what the cases borrow from the body.
            ::std::mem::drop(operation);
            $default
        }
    }};
    ($biased:tt; [$($done:tt)+] [($timeout:expr) ($default:expr)]) => {{
        let operation = $crate::sync::channel::internal::select_timeout(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
            $timeout,
        );
        if ::std::option::Option::is_some(&operation) {
            let operation = ::std::option::Option::unwrap(operation);
            $crate::select_cases!(@complete operation 0; $($done)+)
        } else {
            // Else its destructor, which does nothing, would keep what the cases borrow from the body.
            ::std::mem::drop(operation);
            $default
        }
    }};

    // The beginning of a case. What is written as the handle is evaluated once, before anything is tried, and lives as long as the whole.
    ($biased:tt; $done:tt $default:tt recv(&mut $receiver:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        match $crate::sync::channel::internal::receiving(&mut $receiver) {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (take handle () ($pattern)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt recv(&mut $receiver:expr $(,)?) => $($rest:tt)*) => {
        match $crate::sync::channel::internal::receiving(&mut $receiver) {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (take handle () (_)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt recv($receiver:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        match $receiver {
            ref handle => {
                let handle: &$crate::sync::channel::Receiver<_> = handle;
                $crate::select_cases!(@body $biased $done $default (recv handle () ($pattern)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt recv($receiver:expr $(,)?) => $($rest:tt)*) => {
        match $receiver {
            ref handle => {
                let handle: &$crate::sync::channel::Receiver<_> = handle;
                $crate::select_cases!(@body $biased $done $default (recv handle () (_)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt send($sender:expr, $message:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        match $sender {
            ref handle => {
                let handle: &$crate::sync::channel::Sender<_> = handle;
                $crate::select_cases!(@body $biased $done $default (send handle ($message) ($pattern)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt send($sender:expr, $message:expr $(,)?) => $($rest:tt)*) => {
        match $sender {
            ref handle => {
                let handle: &$crate::sync::channel::Sender<_> = handle;
                $crate::select_cases!(@body $biased $done $default (send handle ($message) (_)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt changed(&mut $receiver:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        match $crate::sync::channel::internal::changing(&mut $receiver) {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (take handle () ($pattern)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt changed(&mut $receiver:expr $(,)?) => $($rest:tt)*) => {
        match $crate::sync::channel::internal::changing(&mut $receiver) {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (take handle () (_)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt notified($notify:expr $(,)?) => $($rest:tt)*) => {
        match $crate::sync::__notified(&$notify) {
            ref handle => {
                $crate::select_cases!(@body $biased $done $default (ready handle () ()) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt cancelled($token:expr $(,)?) => $($rest:tt)*) => {
        match $token {
            ref token => {
                let token: &$crate::thread::CancelToken = token;
                match $crate::sync::channel::internal::Cancelling::new(token) {
                    ref handle => {
                        $crate::select_cases!(@body $biased $done $default (ready handle () ()) $($rest)*)
                    }
                }
            }
        }
    };
    ($biased:tt; $done:tt $default:tt readable($socket:expr $(,)?) => $($rest:tt)*) => {
        match $crate::sync::channel::internal::Ready::readable(&$socket) {
            ref handle => {
                $crate::select_cases!(@body $biased $done $default (ready handle () ()) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt writable($socket:expr $(,)?) => $($rest:tt)*) => {
        match $crate::sync::channel::internal::Ready::writable(&$socket) {
            ref handle => {
                $crate::select_cases!(@body $biased $done $default (ready handle () ()) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt join($joined:ident $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        match $joined {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (join handle ($joined) ($pattern)) $($rest)*)
            }
        }
    };
    ($biased:tt; $done:tt $default:tt join($joined:ident $(,)?) => $($rest:tt)*) => {
        match $joined {
            ref mut handle => {
                $crate::select_cases!(@body $biased $done $default (join handle ($joined) ()) $($rest)*)
            }
        }
    };
    ($biased:tt; [$($done:tt)*] [] default => $($rest:tt)*) => {
        $crate::select_cases!(@default $biased [$($done)*] () $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [] default() => $($rest:tt)*) => {
        $crate::select_cases!(@default $biased [$($done)*] () $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [] default($timeout:expr $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@default $biased [$($done)*] ($timeout) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)+] default $($rest:tt)*) => {
        ::std::compile_error!("`select!` takes one `default`")
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] $($rest:tt)+) => {
        ::std::compile_error!(::std::concat!(
            "`select!` expects `recv(receiver) -> result => ..`, `send(sender, message) -> result => ..`, `recv(&mut receiver) -> result => ..`, `changed(&mut receiver) -> result => ..`, `join(handle) -> result => ..`, `notified(notify) => ..`, `cancelled(token) => ..`, `readable(socket) => ..`, `writable(socket) => ..`, `default => ..` or `default(timeout) => ..`, not: `",
            ::std::stringify!($($rest)+),
            "`"
        ))
    };
}
