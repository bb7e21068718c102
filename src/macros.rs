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
