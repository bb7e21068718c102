//! The macros of the front door.

/// Spawns a green thread and returns its [`JoinHandle`](crate::thread::JoinHandle).
///
/// Takes a closure, or a block, which becomes the body of a `move` closure. Settings come first, before a semicolon:
/// `name`, anything that becomes a `String`, and `stack`, a size in bytes; see [`Builder`](crate::thread::Builder).
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
#[macro_export]
macro_rules! go {
    (name = $name:expr $(,)?; $($body:tt)+) => {
        $crate::go!(@spawn $crate::go!(@named $name); $($body)+)
    };
    (stack = $stack:expr $(,)?; $($body:tt)+) => {
        $crate::go!(@spawn $crate::thread::Builder::new().stack_size($stack); $($body)+)
    };
    (name = $name:expr, stack = $stack:expr $(,)?; $($body:tt)+) => {
        $crate::go!(@spawn $crate::go!(@named $name).stack_size($stack); $($body)+)
    };
    (stack = $stack:expr, name = $name:expr $(,)?; $($body:tt)+) => {
        $crate::go!(@spawn $crate::go!(@named $name).stack_size($stack); $($body)+)
    };
    (@named $name:expr) => {
        $crate::thread::Builder::new().name(::std::string::String::from($name))
    };
    (@spawn $builder:expr; $body:block) => {
        $crate::go!(@spawn $builder; move || $body)
    };
    (@spawn $builder:expr; $body:expr) => {
        match $builder.spawn($body) {
            ::std::result::Result::Ok(handle) => handle,
            ::std::result::Result::Err(error) => {
                ::std::panic!("the green thread could not be spawned: {error}")
            }
        }
    };
    ($body:block) => {
        $crate::thread::spawn(move || $body)
    };
    ($body:expr $(,)?) => {
        $crate::thread::spawn($body)
    };
}

/// Waits until one of several operations on channels can be done without waiting, does it, and runs the code beside it; in the syntax of crossbeam-channel.
///
/// | case | what it is |
/// | --- | --- |
/// | `recv(receiver) -> result => body` | receives; `result` is what [`recv`](crate::sync::channel::Receiver::recv) returns |
/// | `send(sender, message) -> result => body` | sends; `result` is what [`send`](crate::sync::channel::Sender::send) returns |
/// | `join(handle) -> result => body` | joins a green thread; `handle` is a `mut` variable with its [`JoinHandle`](crate::thread::JoinHandle), which is moved if this is chosen |
/// | `join(handle) => body` | when it has ended: then [`join`](crate::thread::JoinHandle::join) does not wait |
/// | `readable(socket) => body`, `writable(socket) => body` | when a [socket](crate::net::Socket) can be read from, or accepted from, or written to, or has an error to tell; nothing is done with it |
/// | `default => body` | if none can be done at once |
/// | `default(timeout) => body` | if none could be done for so long |
///
/// If several could be done, one is chosen at random. The others have no effect: the message of a `send` is not even made before the
/// case has been chosen. Cases are separated by commas, which may be left out after a block. The macro's value is that of the body.
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
    (@receive $biased:tt [$($done:tt)*] [$($default:tt)*] ($receiver:expr) ($pattern:pat) $body:block, $($rest:tt)*) => {
        $crate::select_cases!(@received $biased [$($done)*] [$($default)*] ($receiver) ($pattern) ($body) $($rest)*)
    };
    (@receive $biased:tt [$($done:tt)*] [$($default:tt)*] ($receiver:expr) ($pattern:pat) $body:block $($rest:tt)*) => {
        $crate::select_cases!(@received $biased [$($done)*] [$($default)*] ($receiver) ($pattern) ($body) $($rest)*)
    };
    (@receive $biased:tt [$($done:tt)*] [$($default:tt)*] ($receiver:expr) ($pattern:pat) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!(@received $biased [$($done)*] [$($default)*] ($receiver) ($pattern) ($body) $($rest)*)
    };
    (@receive $biased:tt [$($done:tt)*] [$($default:tt)*] ($receiver:expr) ($pattern:pat) $body:expr) => {
        $crate::select_cases!(@received $biased [$($done)*] [$($default)*] ($receiver) ($pattern) ($body))
    };
    // What is written as the handle is evaluated once, before anything is tried, and lives as long as the whole.
    (@received $biased:tt [$($done:tt)*] [$($default:tt)*] ($receiver:expr) ($pattern:pat) ($body:expr) $($rest:tt)*) => {
        match $receiver {
            ref handle => {
                let handle: &$crate::sync::channel::Receiver<_> = handle;
                $crate::select_cases!($biased; [$($done)* (recv handle () ($pattern) ($body))] [$($default)*] $($rest)*)
            }
        }
    };
    (@send $biased:tt [$($done:tt)*] [$($default:tt)*] ($sender:expr) ($message:expr) ($pattern:pat) $body:block, $($rest:tt)*) => {
        $crate::select_cases!(@sent $biased [$($done)*] [$($default)*] ($sender) ($message) ($pattern) ($body) $($rest)*)
    };
    (@send $biased:tt [$($done:tt)*] [$($default:tt)*] ($sender:expr) ($message:expr) ($pattern:pat) $body:block $($rest:tt)*) => {
        $crate::select_cases!(@sent $biased [$($done)*] [$($default)*] ($sender) ($message) ($pattern) ($body) $($rest)*)
    };
    (@send $biased:tt [$($done:tt)*] [$($default:tt)*] ($sender:expr) ($message:expr) ($pattern:pat) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!(@sent $biased [$($done)*] [$($default)*] ($sender) ($message) ($pattern) ($body) $($rest)*)
    };
    (@send $biased:tt [$($done:tt)*] [$($default:tt)*] ($sender:expr) ($message:expr) ($pattern:pat) $body:expr) => {
        $crate::select_cases!(@sent $biased [$($done)*] [$($default)*] ($sender) ($message) ($pattern) ($body))
    };
    (@sent $biased:tt [$($done:tt)*] [$($default:tt)*] ($sender:expr) ($message:expr) ($pattern:pat) ($body:expr) $($rest:tt)*) => {
        match $sender {
            ref handle => {
                let handle: &$crate::sync::channel::Sender<_> = handle;
                $crate::select_cases!($biased; [$($done)* (send handle ($message) ($pattern) ($body))] [$($default)*] $($rest)*)
            }
        }
    };
    (@join $biased:tt [$($done:tt)*] [$($default:tt)*] ($($joined:tt)*) $body:block, $($rest:tt)*) => {
        $crate::select_cases!(@joining $biased [$($done)*] [$($default)*] ($($joined)*) ($body) $($rest)*)
    };
    (@join $biased:tt [$($done:tt)*] [$($default:tt)*] ($($joined:tt)*) $body:block $($rest:tt)*) => {
        $crate::select_cases!(@joining $biased [$($done)*] [$($default)*] ($($joined)*) ($body) $($rest)*)
    };
    (@join $biased:tt [$($done:tt)*] [$($default:tt)*] ($($joined:tt)*) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!(@joining $biased [$($done)*] [$($default)*] ($($joined)*) ($body) $($rest)*)
    };
    (@join $biased:tt [$($done:tt)*] [$($default:tt)*] ($($joined:tt)*) $body:expr) => {
        $crate::select_cases!(@joining $biased [$($done)*] [$($default)*] ($($joined)*) ($body))
    };
    (@readable $($case:tt)*) => {
        $crate::select_cases!(@socket readable $($case)*)
    };
    (@writable $($case:tt)*) => {
        $crate::select_cases!(@socket writable $($case)*)
    };
    (@socket $which:ident $biased:tt [$($done:tt)*] [$($default:tt)*] ($socket:expr) $body:block, $($rest:tt)*) => {
        $crate::select_cases!(@ready $which $biased [$($done)*] [$($default)*] ($socket) ($body) $($rest)*)
    };
    (@socket $which:ident $biased:tt [$($done:tt)*] [$($default:tt)*] ($socket:expr) $body:block $($rest:tt)*) => {
        $crate::select_cases!(@ready $which $biased [$($done)*] [$($default)*] ($socket) ($body) $($rest)*)
    };
    (@socket $which:ident $biased:tt [$($done:tt)*] [$($default:tt)*] ($socket:expr) $body:expr, $($rest:tt)*) => {
        $crate::select_cases!(@ready $which $biased [$($done)*] [$($default)*] ($socket) ($body) $($rest)*)
    };
    (@socket $which:ident $biased:tt [$($done:tt)*] [$($default:tt)*] ($socket:expr) $body:expr) => {
        $crate::select_cases!(@ready $which $biased [$($done)*] [$($default)*] ($socket) ($body))
    };
    (@ready $which:ident $biased:tt [$($done:tt)*] [$($default:tt)*] ($socket:expr) ($body:expr) $($rest:tt)*) => {
        match $crate::sync::channel::Ready::$which(&$socket) {
            ref handle => {
                $crate::select_cases!($biased; [$($done)* (ready handle () () ($body))] [$($default)*] $($rest)*)
            }
        }
    };
    (@joining $biased:tt [$($done:tt)*] [$($default:tt)*] ($joined:ident $($pattern:pat)?) ($body:expr) $($rest:tt)*) => {
        match $joined {
            ref mut handle => {
                let handle: &mut $crate::thread::JoinHandle<_> = handle;
                $crate::select_cases!($biased; [$($done)* (join handle ($joined) ($($pattern)?) ($body))] [$($default)*] $($rest)*)
            }
        }
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
        [$($crate::sync::channel::Case::$kind($handle, $index)),*]
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
    ($biased:tt; [$($done:tt)+] []) => {{
        let operation = $crate::sync::channel::select(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
        );
        $crate::select_cases!(@complete operation 0; $($done)+)
    }};
    ($biased:tt; [$($done:tt)+] [() ($default:expr)]) => {{
        let operation = $crate::sync::channel::try_select(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
        );
        match operation {
            ::std::option::Option::Some(operation) => {
                $crate::select_cases!(@complete operation 0; $($done)+)
            }
            ::std::option::Option::None => $default,
        }
    }};
    ($biased:tt; [$($done:tt)+] [($timeout:expr) ($default:expr)]) => {{
        let operation = $crate::sync::channel::select_timeout(
            &mut $crate::select_cases!(@number 0; [] $($done)+),
            $biased,
            $timeout,
        );
        match operation {
            ::std::option::Option::Some(operation) => {
                $crate::select_cases!(@complete operation 0; $($done)+)
            }
            ::std::option::Option::None => $default,
        }
    }};

    // The beginning of a case.
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] recv($receiver:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::select_cases!(@receive $biased [$($done)*] [$($default)*] ($receiver) ($pattern) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] recv($receiver:expr $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@receive $biased [$($done)*] [$($default)*] ($receiver) (_) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] send($sender:expr, $message:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::select_cases!(@send $biased [$($done)*] [$($default)*] ($sender) ($message) ($pattern) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] send($sender:expr, $message:expr $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@send $biased [$($done)*] [$($default)*] ($sender) ($message) (_) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] readable($socket:expr $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@readable $biased [$($done)*] [$($default)*] ($socket) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] writable($socket:expr $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@writable $biased [$($done)*] [$($default)*] ($socket) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] join($joined:ident $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::select_cases!(@join $biased [$($done)*] [$($default)*] ($joined $pattern) $($rest)*)
    };
    ($biased:tt; [$($done:tt)*] [$($default:tt)*] join($joined:ident $(,)?) => $($rest:tt)*) => {
        $crate::select_cases!(@join $biased [$($done)*] [$($default)*] ($joined) $($rest)*)
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
            "`select!` expects `recv(receiver) -> result => ..`, `send(sender, message) -> result => ..`, `join(handle) -> result => ..`, `readable(socket) => ..`, `writable(socket) => ..`, `default => ..` or `default(timeout) => ..`, not: `",
            ::std::stringify!($($rest)+),
            "`"
        ))
    };
}
