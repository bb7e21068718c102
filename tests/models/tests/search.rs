//! Model of `runtime/idle.rs` with `Reactor::sleep` and `Reactor::notify`, under random schedules (README, "Search").
//!
//! Each rule of the protocol can be broken by a flag, and then a run is found in which a fresh green thread is left lying.

use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst, fence};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::{check_pct, check_random, thread};

/// What distinguishes the variants of the protocol.
#[derive(Clone, Copy)]
struct Rules {
    /// A worker enters the list of sleepers when `asleep` is set already.
    enters_after_asleep: bool,
    /// Who ends a search looks once more, and passes the search on when there is something.
    looks_again: bool,
    /// Who has stolen several passes the search on, as nobody could see them on the way.
    tells_of_loot: bool,
}

const ALL: Rules = Rules {
    enters_after_asleep: true,
    looks_again: true,
    tells_of_loot: true,
};

#[derive(Default)]
struct Remote {
    asleep: AtomicBool,
    /// The eventfd's edge.
    edge: Mutex<bool>,
    came: Condvar,
}

impl Remote {
    fn notify(&self) {
        fence(SeqCst);
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            *self.edge.lock().unwrap() = true;
            self.came.notify_one();
        }
    }

    fn sleep(&self, work: impl FnOnce() -> bool) {
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        let found = work();
        let mut edge = self.edge.lock().unwrap();
        while !found && !*edge {
            edge = self.came.wait(edge).unwrap();
        }
        *edge = false;
        drop(edge);
        self.asleep.store(false, SeqCst);
    }
}

#[derive(Default)]
struct Idle {
    sleeping: Mutex<Vec<usize>>,
    sleepers: AtomicUsize,
    searchers: AtomicUsize,
}

impl Idle {
    fn assign_searcher(&self) -> Option<usize> {
        fence(SeqCst);
        if self.sleepers.load(SeqCst) == 0 || self.searchers.load(SeqCst) != 0 {
            return None;
        }
        let mut sleeping = self.sleeping.lock().unwrap();
        if self.searchers.load(SeqCst) != 0 {
            return None;
        }
        let worker = sleeping.pop()?;
        self.sleepers.store(sleeping.len(), SeqCst);
        self.searchers.store(1, SeqCst);
        Some(worker)
    }

    fn end_search(&self) {
        let _sleeping = self.sleeping.lock().unwrap();
        self.searchers.store(0, SeqCst);
    }

    fn enter(&self, worker: usize) {
        let mut sleeping = self.sleeping.lock().unwrap();
        sleeping.push(worker);
        self.sleepers.store(sleeping.len(), SeqCst);
        drop(sleeping);
        fence(SeqCst);
    }

    fn leave(&self, worker: usize) -> bool {
        let mut sleeping = self.sleeping.lock().unwrap();
        let Some(place) = sleeping.iter().position(|&sleeper| sleeper == worker) else {
            return true;
        };
        sleeping.swap_remove(place);
        self.sleepers.store(sleeping.len(), SeqCst);
        false
    }
}

struct Shared {
    rules: Rules,
    /// Fresh green threads that lie in queues.
    fresh: AtomicUsize,
    idle: Idle,
    workers: Vec<Remote>,
    /// Green threads that have run.
    done: Mutex<usize>,
    progress: Condvar,
    /// The `done` at which all stops.
    goal: usize,
}

impl Shared {
    fn new(rules: Rules, workers: usize, goal: usize) -> Arc<Shared> {
        Arc::new(Shared {
            rules,
            fresh: AtomicUsize::new(0),
            idle: Idle::default(),
            workers: (0..workers).map(|_| Remote::default()).collect(),
            done: Mutex::new(0),
            progress: Condvar::new(),
            goal,
        })
    }

    fn spawn(&self) {
        self.fresh.fetch_add(1, SeqCst);
        self.wake_searcher();
    }

    fn wake_searcher(&self) {
        if let Some(worker) = self.idle.assign_searcher() {
            self.workers[worker].notify();
        }
    }

    fn take(&self) -> bool {
        self.fresh
            .fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1))
            .is_ok()
    }

    fn has_fresh(&self) -> bool {
        self.fresh.load(SeqCst) != 0
    }

    fn finished(&self) -> bool {
        *self.done.lock().unwrap() >= self.goal
    }

    fn run_one(&self) {
        let mut done = self.done.lock().unwrap();
        *done += 1;
        self.progress.notify_all();
        if *done >= self.goal {
            drop(done);
            for worker in &self.workers {
                *worker.edge.lock().unwrap() = true;
                worker.came.notify_one();
            }
        }
    }

    fn wait_for(&self, count: usize) {
        let mut done = self.done.lock().unwrap();
        while *done < count {
            done = self.progress.wait(done).unwrap();
        }
    }

    /// A worker; `local_work` is what it runs after a search that found nothing.
    fn work(&self, index: usize, local_work: impl Fn()) {
        while !self.finished() {
            if self.take() {
                self.run_one();
                continue;
            }
            if !self.rules.enters_after_asleep {
                self.idle.enter(index);
            }
            self.workers[index].sleep(|| {
                if self.rules.enters_after_asleep {
                    self.idle.enter(index);
                }
                self.has_fresh() || self.finished()
            });
            if self.idle.leave(index) {
                let found = self.take();
                self.idle.end_search();
                if found {
                    self.fresh.fetch_add(1, SeqCst);
                }
                if found || (self.rules.looks_again && self.has_fresh()) {
                    self.wake_searcher();
                } else {
                    local_work();
                }
            }
        }
    }
}

/// An OS thread hands in green threads, each when the one before has ended.
fn handing_in(rules: Rules) {
    let shared = Shared::new(rules, 2, 2);
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let shared = shared.clone();
            thread::spawn(move || shared.work(index, || ()))
        })
        .collect();
    for count in 1..=2 {
        shared.spawn();
        shared.wait_for(count);
    }
    for worker in workers {
        worker.join().unwrap();
    }
}

/// A busy worker spawns two green threads, runs one itself, and then runs long; so does the one that it woke, while a third sleeps.
fn spawning_while_busy(rules: Rules) {
    let shared = Shared::new(rules, 2, 2);
    let busy = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let (shared, busy) = (shared.clone(), busy.clone());
            let long = move |shared: &Shared| {
                if !busy.swap(true, SeqCst) {
                    shared.wait_for(2);
                }
            };
            thread::spawn(move || shared.work(index, || long(&shared)))
        })
        .collect();
    shared.spawn();
    if shared.take() {
        shared.run_one();
    }
    shared.spawn();
    shared.wait_for(2);
    for worker in workers {
        worker.join().unwrap();
    }
}

/// A worker steals two at once; while it runs the first for long, the second lies in its own queue, and another worker sleeps.
fn stealing_two(rules: Rules) {
    let shared = Shared::new(rules, 2, 2);
    let sleepy = shared.clone();
    let sleepy = thread::spawn(move || sleepy.work(0, || ()));
    let thief = shared.clone();
    let thief = thread::spawn(move || {
        // `steal_batch_and_pop`: for a moment both are in no queue.
        while shared_take_two(&thief) {
            thief.fresh.fetch_add(1, SeqCst);
            if thief.rules.tells_of_loot && thief.has_fresh() {
                thief.wake_searcher();
            }
            // The one that it runs ends after the other.
            thief.wait_for(1);
            thief.run_one();
        }
    });
    shared.fresh.fetch_add(2, SeqCst);
    shared.wake_searcher();
    thief.join().unwrap();
    // If the thief came too late, the sleepy one runs them.
    sleepy.join().unwrap();
}

fn shared_take_two(shared: &Shared) -> bool {
    shared
        .fresh
        .fetch_update(SeqCst, SeqCst, |count| count.checked_sub(2))
        .is_ok()
}

const RUNS: usize = 100_000;

#[test]
fn what_is_handed_in_runs() {
    check_random(|| handing_in(ALL), RUNS);
    check_pct(|| handing_in(ALL), RUNS, 4);
}

#[test]
fn what_a_busy_worker_spawns_runs() {
    check_random(|| spawning_while_busy(ALL), RUNS);
    check_pct(|| spawning_while_busy(ALL), RUNS, 4);
}

#[test]
fn what_a_thief_leaves_runs() {
    check_random(|| stealing_two(ALL), RUNS);
    check_pct(|| stealing_two(ALL), RUNS, 4);
}

#[test]
#[should_panic(expected = "deadlock")]
fn stealing_in_silence_deadlocks() {
    let rules = Rules {
        tells_of_loot: false,
        ..ALL
    };
    check_random(move || stealing_two(rules), RUNS);
}

#[test]
#[should_panic(expected = "deadlock")]
fn entering_before_asleep_deadlocks() {
    let rules = Rules {
        enters_after_asleep: false,
        ..ALL
    };
    check_random(move || handing_in(rules), RUNS);
}

#[test]
#[should_panic(expected = "deadlock")]
fn ending_a_search_without_another_look_deadlocks() {
    let rules = Rules {
        looks_again: false,
        ..ALL
    };
    check_random(move || spawning_while_busy(rules), RUNS);
}
