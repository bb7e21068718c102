//! Tests of the timer wheel, against a model.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::{iter, ptr};

use rstest::rstest;

use super::*;

const TICK: u64 = 1 << TICK_BITS;

/// A target to tell timers apart by.
fn target(number: usize) -> NonNull<u8> {
    NonNull::new(ptr::without_provenance_mut(number + 1)).expect("not 0")
}

fn number(target: NonNull<u8>) -> usize {
    target.as_ptr().addr() - 1
}

impl Timers<u8> {
    fn after(&self, nanoseconds: u64) -> Instant {
        self.base + Duration::from_nanos(nanoseconds)
    }

    fn at_tick(&self, tick: u64) -> Instant {
        self.after(tick * TICK)
    }

    fn new_timer(&self, number: usize) -> Pin<Box<Timer<'_, u8>>> {
        Box::pin(Timer::new(self, target(number)))
    }

    fn drain(&self, now: Instant) -> Vec<usize> {
        iter::from_fn(|| self.pop_due(now)).map(number).collect()
    }

    /// Sleeps as a worker does until all has fired; the times when it woke, in ticks, with what was due then.
    fn sleep_through(&self, mut now: u64) -> Vec<(u64, Vec<usize>)> {
        let mut wakes = Vec::new();
        while let Some(sleep) = self.until_next(self.after(now)) {
            now += u64::try_from(sleep.as_nanos()).expect("it is in the range of a wheel");
            assert_eq!(now % TICK, 0, "a sleep that ends within a tick");
            wakes.push((now / TICK, self.drain(self.after(now))));
        }
        wakes
    }

    /// Asserts the invariants; returns how many are armed.
    fn check(&self) -> usize {
        let mut armed = 0;
        for index in 0..self.slots.len() {
            let place = Place(index as u16);
            let slot = self.slot(place);
            let (mut previous, mut next) = (None, slot.first.get());
            let marked = self.occupied(place).get() & place.bit() != 0;
            assert_eq!(next.is_some(), marked);
            while let Some(pointer) = next {
                // SAFETY: it is in a list, so it is there.
                let node = unsafe { pointer.as_ref() };
                let tick = node.tick.get();
                let (level, elapsed) = (place.level(), self.elapsed.get());
                assert!(tick >= elapsed && tick >= slot.earliest.get());
                assert_eq!(node.place.get(), Some(place));
                assert_eq!(Place::on(level, tick), place);
                assert!(Place::of(tick, elapsed).level() <= level);
                assert!(distance(level, tick, elapsed) < SLOTS as u64);
                assert_eq!(node.previous.get(), previous);
                (previous, next) = (next, node.next.get());
                armed += 1;
            }
            assert!(!marked || slot.last.get() == previous);
        }
        assert_eq!(self.is_empty(), armed == 0);
        armed
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of at most so many bits, each length as likely.
    fn of_any_length(&mut self, bits: u64) -> u64 {
        self.next() >> (63 - self.below(bits))
    }
}

/// What is armed, by when it is due, and the number of its arming.
#[derive(Default)]
struct Model {
    due: BTreeMap<(u64, u64), usize>,
    armed: BTreeMap<usize, (u64, u64)>,
    count: u64,
}

impl Model {
    fn arm(&mut self, number: usize, tick: u64) {
        self.disarm(number);
        self.count += 1;
        self.due.insert((tick, self.count), number);
        self.armed.insert(number, (tick, self.count));
    }

    fn disarm(&mut self, number: usize) {
        if let Some(key) = self.armed.remove(&number) {
            self.due.remove(&key);
        }
    }

    fn pop_due(&mut self, now: u64) -> Option<usize> {
        let first = self.due.first_entry().filter(|it| it.key().0 <= now)?;
        let number = first.remove();
        self.armed.remove(&number);
        Some(number)
    }
}

/// `bits` limits how far deadlines and steps in time go, in nanoseconds.
#[rstest]
#[case::within_a_level(1, 15)]
#[case::within_milliseconds(2, 22)]
#[case::within_seconds(3, 32)]
#[case::within_hours(4, 43)]
#[case::within_centuries(5, 61)]
fn agrees_with_a_sorted_map(#[case] seed: u64, #[case] bits: u64) {
    const STEPS: usize = 10_000;
    const PLACES: u64 = 200;
    let timers = Timers::new();
    let mut places: Vec<_> = (0..PLACES).map(|_| None).collect();
    let (mut model, mut random, mut now) = (Model::default(), Random(seed), 0_u64);
    for step in 0..STEPS {
        let chosen = random.below(PLACES) as usize;
        match random.below(8) {
            0..5 => {
                let deadline = match random.below(8) {
                    0 => now.saturating_sub(random.of_any_length(bits)),
                    1 => now,
                    2 => now / TICK * TICK,
                    // Where others are, too.
                    3 | 4 => (now + random.of_any_length(bits)) >> (bits / 2) << (bits / 2),
                    _ => now + random.of_any_length(bits),
                };
                let timer: &Pin<Box<_>> =
                    places[chosen].get_or_insert_with(|| timers.new_timer(chosen));
                timer.as_ref().arm(timers.after(deadline));
                let tick = deadline.div_ceil(TICK).max(timers.elapsed.get());
                model.arm(chosen, tick);
            }
            5 => {
                places[chosen] = None;
                model.disarm(chosen);
            }
            _ => {
                // Until the next one is due, or somewhere else; at times not to the end of what is due.
                let next = timers.until_next(timers.after(now));
                let first = model.due.first_key_value().map(|(key, _)| key.0 * TICK);
                let until_first =
                    first.map(|first| Duration::from_nanos(first.saturating_sub(now)));
                assert!(next <= until_first && next.is_some() == until_first.is_some());
                now += match (random.below(2), next) {
                    (0, Some(next)) => next.as_nanos() as u64,
                    _ => random.of_any_length(bits) / 8,
                };
                let mut pops = random.below(PLACES);
                while pops > 0 {
                    let popped = timers.pop_due(timers.after(now)).map(number);
                    assert_eq!(popped, model.pop_due(now / TICK), "step {step}");
                    pops = if popped.is_some() { pops - 1 } else { 0 };
                }
            }
        }
        if step % 64 == 0 {
            assert_eq!(timers.check(), model.due.len());
        }
        if now >> (bits + 1) != 0 && bits > 60 {
            break;
        }
    }
    assert!(model.count > 1000, "the time was over too soon");
}

#[rstest]
fn a_timer_at_the_edge_of_a_slot_fires_at_its_tick(
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8)] level: u32,
) {
    for (slots, start) in [1, 2, 62, 63, 64]
        .into_iter()
        .flat_map(|slots| [0, 1, 63, 64, 4095, 4096].map(|start| (slots, start)))
    {
        let edge = (slots << (level * DIGIT_BITS)).min(NEVER - 2);
        for tick in edge - 1..=edge + 1 {
            fires_at(tick, start);
        }
    }
}

/// Arms a timer at tick `start` for the middle of the one before `tick`.
fn fires_at(tick: u64, start: u64) {
    let timers = Timers::new();
    assert_eq!(timers.pop_due(timers.at_tick(start)), None);
    let timer = pin!(Timer::new(&timers, target(7)));
    let deadline = (tick * TICK).saturating_sub(TICK / 2);
    timer.as_ref().arm(timers.after(deadline));
    timers.check();
    let due = tick.max(start);
    let sleep = timers.until_next(timers.at_tick(start));
    assert_eq!(sleep, Some(Duration::from_nanos((due - start) * TICK)));
    if due > start {
        assert_eq!(timers.pop_due(timers.after(due * TICK - 1)), None);
        timers.check();
    }
    assert_eq!(timers.pop_due(timers.at_tick(due)), Some(target(7)));
    assert_eq!(timers.check(), 0);
}

#[test]
fn a_timer_is_never_early_and_never_a_tick_late() {
    let timers = Timers::new();
    let timer = pin!(Timer::new(&timers, target(0)));
    for nanoseconds in (0..5 * TICK).step_by(100) {
        let deadline = timers.after(1_000_000 + nanoseconds * 1000);
        timer.as_ref().arm(deadline);
        let late = deadline + Duration::from_nanos(TICK - 1);
        assert_eq!(timers.pop_due(deadline - Duration::from_nanos(1)), None);
        assert_eq!(timers.pop_due(late), Some(target(0)));
    }
}

#[test]
fn the_overdue_fire_in_order_of_arming() {
    let timers = Timers::new();
    assert!(timers.drain(timers.at_tick(1000)).is_empty());
    let armed = [(0, 5), (1, 3), (2, 1000), (3, 0)].map(|(number, tick)| {
        let timer = timers.new_timer(number);
        timer.as_ref().arm(timers.at_tick(tick));
        timer
    });
    let before = timers.base.checked_sub(Duration::from_secs(1));
    armed[3].as_ref().arm(before.unwrap_or(timers.base));
    let now = timers.at_tick(1000);
    assert_eq!(timers.until_next(now), Some(Duration::ZERO));
    assert_eq!(timers.drain(now), [0, 1, 2, 3]);
}

#[test]
fn what_is_due_in_centuries_does_not_disturb() {
    let timers = Timers::new();
    let far: Vec<_> = [1 << 35, 1 << 40, i64::MAX as u64 / 2]
        .map(Duration::from_secs)
        .into_iter()
        .map(|wait| {
            let timer = timers.new_timer(0);
            timer.as_ref().arm(timers.base + wait);
            timer
        })
        .collect();
    assert_eq!(timers.check(), far.len());
    let near = pin!(Timer::new(&timers, target(1)));
    near.as_ref().arm(timers.at_tick(3));
    assert_eq!(timers.drain(timers.at_tick(3)), [1]);
    let late = timers.base + Duration::from_secs(i64::MAX as u64 / 2);
    assert_eq!(timers.drain(late), [0; 0]);
    drop(far);
    assert!(timers.is_empty());
    assert_eq!(timers.until_next(late), None);
}

#[test]
fn a_sleeper_wakes_for_nothing_but_what_is_due() {
    let (timers, mut random) = (Timers::new(), Random(6));
    let armed: Vec<_> = (0..300)
        .map(|number| {
            let (timer, tick) = (timers.new_timer(number), 1 + random.of_any_length(50));
            timer.as_ref().arm(timers.at_tick(tick));
            (timer, tick)
        })
        .collect();
    let mut expected = BTreeMap::<u64, BTreeSet<usize>>::new();
    for (number, (_, tick)) in armed.iter().enumerate() {
        expected.entry(*tick).or_default().insert(number);
    }
    let wakes = timers.sleep_through(0).into_iter();
    let wakes = wakes.map(|(tick, due)| (tick, due.into_iter().collect()));
    assert!(wakes.eq(expected));
}

#[test]
fn disarmed_timers_wake_a_sleeper_once_a_level_at_most() {
    let timers = Timers::new();
    let last = timers.new_timer(0);
    let tick = NEVER / 2;
    last.as_ref().arm(timers.at_tick(tick));
    for number in 1..2000 {
        let timer = timers.new_timer(number);
        timer
            .as_ref()
            .arm(timers.at_tick(tick - tick / 2000 * number as u64));
    }
    let wakes = timers.sleep_through(0);
    assert_eq!(wakes.last(), Some(&(tick, vec![0])));
    assert!(wakes.len() <= LEVELS, "{wakes:?}");
}

#[test]
fn an_alarm_ends_the_sleep_but_fires_nothing() {
    let timers = Timers::new();
    let timer = pin!(Timer::new(&timers, target(0)));
    timer.as_ref().arm(timers.at_tick(100));
    timers.set_alarm(Some(timers.at_tick(40)));
    let sleep = |tick| timers.until_next(timers.at_tick(tick));
    assert_eq!(sleep(10), Some(Duration::from_nanos(30 * TICK)));
    assert_eq!(sleep(50), Some(Duration::ZERO));
    assert_eq!(timers.drain(timers.at_tick(50)), [0; 0]);
    timers.set_alarm(Some(timers.at_tick(200)));
    assert_eq!(sleep(50), Some(Duration::from_nanos(50 * TICK)));
    timers.set_alarm(None);
    assert_eq!(timers.drain(timers.at_tick(100)), [0]);
    assert_eq!(sleep(100), None);
}

#[test]
fn a_timer_armed_again_forgets_its_first_deadline() {
    let timers = Timers::new();
    let timer = pin!(Timer::new(&timers, target(0)));
    let timer = timer.as_ref();
    timer.arm(timers.at_tick(10));
    timer.arm(timers.at_tick(500));
    assert_eq!(timers.check(), 1);
    assert_eq!(timers.drain(timers.at_tick(499)), [0; 0]);
    assert_eq!(timers.drain(timers.at_tick(500)), [0]);
    timer.arm(timers.at_tick(600));
    assert_eq!(timers.drain(timers.at_tick(600)), [0]);
}

#[test]
fn timers_of_one_tick_fire_in_order_from_whichever_level() {
    let mut random = Random(8);
    for _ in 0..200 {
        let timers = Timers::new();
        let last = 1 + random.of_any_length(36);
        let (mut armed, mut others, mut left) = (Vec::new(), Vec::new(), last);
        while left > 0 {
            let now = last - left;
            let timer = timers.new_timer(armed.len());
            timer.as_ref().arm(timers.at_tick(last));
            armed.push(timer);
            // Those make slots move at once, a look alone makes some move ahead.
            let other = timers.new_timer(usize::MAX - 1);
            other.as_ref().arm(timers.at_tick(now + random.below(left)));
            others.push(other);
            left -= left.min(1 + random.below(left));
            let early = timers.drain(timers.at_tick(last - left.max(1)));
            assert!(early.iter().all(|it| *it == usize::MAX - 1));
        }
        let fired = timers.drain(timers.at_tick(last));
        assert!(fired.iter().copied().eq(0..armed.len()), "{fired:?}");
    }
}

#[test]
fn full_slots_move_a_few_at_a_time() {
    let (timers, mut random) = (Timers::new(), Random(9));
    let slot = 1 << (3 * DIGIT_BITS);
    let armed: Vec<_> = (0..5000)
        .map(|number| {
            let timer = timers.new_timer(number);
            timer
                .as_ref()
                .arm(timers.at_tick(2 * slot + random.below(slot)));
            timer
        })
        .collect();
    let heights = || {
        let places = armed.iter().filter_map(|timer| timer.node.place.get());
        places.map(|place| place.level() as usize).sum::<usize>()
    };
    assert_eq!(heights(), 3 * armed.len());
    let mut before = heights();
    for tick in (slot..3 * slot).step_by(slot as usize / 200) {
        let fired = timers.drain(timers.at_tick(tick)).len();
        let after = heights();
        // What fires comes from level 2 at most.
        let moved = before - after;
        assert!(moved <= AHEAD + fired * 2 + armed.len() / 20, "{moved}");
        before = after;
    }
}

/// Does not compile if the type has the trait.
macro_rules! assert_not {
    ($type:ty: $bound:ident) => {{
        trait Ambiguous<Implementation> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $bound> Ambiguous<u8> for T {}
        <$type as Ambiguous<_>>::check();
    }};
}

#[test]
fn timers_stay_on_their_thread_and_armed_ones_in_their_place() {
    assert_not!(Timer<'static, u8>: Unpin);
    assert_not!(Timer<'static, u8>: Send);
    assert_not!(Timers<u8>: Send);
    assert_not!(Timers<u8>: Sync);
}

#[test]
fn a_million_are_pending_and_a_million_due_at_once() {
    let (timers, mut random) = (Timers::new(), Random(7));
    let count = 1_000_000;
    let armed: Vec<_> = (0..count).map(|number| timers.new_timer(number)).collect();
    for timer in &armed {
        timer
            .as_ref()
            .arm(timers.after(random.below(60_000_000_000)));
    }
    for timer in &armed {
        timer.as_ref().arm(timers.at_tick(1_000_000));
    }
    assert_eq!(timers.pop_due(timers.at_tick(999_999)), None);
    let now = timers.at_tick(2_000_000);
    assert!((0..count / 2).all(|number| timers.pop_due(now) == Some(target(number))));
    drop(armed);
    assert!(timers.is_empty());
}
