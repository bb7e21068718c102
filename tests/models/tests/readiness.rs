//! Model of `reactor::Readiness`: several threads try one socket, and wait for edges of its readiness.
//!
//! With a flag that the first waiter takes, an edge that stands for two connections can be lost to the second. With a count of edges
//! that is read before each try, and compared before the wait, it cannot.

use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, Thread};
use shuttle::{check_pct, check_random};

#[derive(Clone, Copy, PartialEq)]
enum Edges {
    /// An event that finds no waiter sets a flag; who is about to wait takes it.
    Flagged,
    /// Each event is counted; who is about to wait compares.
    Counted,
}

#[derive(Default)]
struct Way {
    ready: bool,
    edges: usize,
    waiters: Vec<(usize, Thread)>,
}

struct Socket {
    edges: Edges,
    /// Connections in the queue.
    pending: AtomicUsize,
    way: Mutex<Way>,
}

impl Socket {
    fn deliver(&self) {
        let mut way = self.way.lock().unwrap();
        way.edges += 1;
        way.ready = way.waiters.is_empty();
        for (_, waiter) in way.waiters.drain(..) {
            waiter.unpark();
        }
    }

    fn accept(&self, me: usize) {
        loop {
            let seen = self.way.lock().unwrap().edges;
            let accepted = self
                .pending
                .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
            if accepted.is_ok() {
                return;
            }
            self.wait(me, seen);
        }
    }

    fn wait(&self, me: usize, seen: usize) {
        {
            let mut way = self.way.lock().unwrap();
            let missed = match self.edges {
                Edges::Flagged => std::mem::take(&mut way.ready),
                Edges::Counted => way.edges != seen,
            };
            if missed {
                return;
            }
            way.waiters.push((me, thread::current()));
        }
        while self
            .way
            .lock()
            .unwrap()
            .waiters
            .iter()
            .any(|&(id, _)| id == me)
        {
            thread::park();
        }
    }
}

/// Two acceptors take one connection each; both connections come with one edge.
fn two_acceptors(edges: Edges) {
    let socket = Arc::new(Socket {
        edges,
        pending: AtomicUsize::new(0),
        way: Mutex::default(),
    });
    let acceptors: Vec<_> = (0..2)
        .map(|me| {
            let socket = socket.clone();
            thread::spawn(move || socket.accept(me))
        })
        .collect();
    socket.pending.fetch_add(2, SeqCst);
    socket.deliver();
    for acceptor in acceptors {
        acceptor.join().unwrap();
    }
}

const RUNS: usize = 100_000;

#[test]
fn counted_edges_reach_all() {
    check_random(|| two_acceptors(Edges::Counted), RUNS);
    check_pct(|| two_acceptors(Edges::Counted), RUNS, 4);
}

#[test]
#[should_panic(expected = "deadlock")]
fn flagged_edges_reach_one() {
    check_random(|| two_acceptors(Edges::Flagged), RUNS);
}
