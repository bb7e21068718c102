//! Generators: iterators written as plain functions, which stop in the middle.
//! Run with `cargo run --example generator`.

use corde::coroutine::Yielder;
use corde::generator;

/// Walks a tree of nested brackets, and gives each one with its depth.
fn walk(text: &mut std::str::Chars<'_>, depth: usize, out: &Yielder<(), (usize, char)>) {
    while let Some(next) = text.next() {
        match next {
            '(' => walk(text, depth + 1, out),
            ')' => return,
            letter => out.suspend((depth, letter)),
        }
    }
}

/// The step that a debugger or a profiler sees: called by the consumer, on the consumer's stack.
#[inline(never)]
fn next_of(numbers: &mut impl Iterator<Item = u64>) -> Option<u64> {
    numbers.next()
}

fn main() {
    let letters = generator(|out| walk(&mut "a(b(c)d)e".chars(), 0, out));
    for (depth, letter) in letters {
        println!("{:depth$}{letter}", "");
    }

    let mut fibonacci = generator(|out| {
        let (mut a, mut b) = (0, 1);
        loop {
            out.suspend(a);
            (a, b) = (b, a + b);
        }
    });
    let first = std::iter::from_fn(|| next_of(&mut fibonacci)).take(10);
    println!("{:?}", first.collect::<Vec<_>>());
    // Never asked for more: dropped here in the middle of its loop.
    drop(fibonacci);
    println!("done");
}
