//! Green threads that wait for a moment: a timer wheel for each worker, touched by its OS thread alone.
//!
//! Time is counted in ticks of 2^10 ns from the making of the wheel; a deadline is the first tick that is not before it. This is
//! the hierarchical wheel of Varghese and Lauck ("Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7). A slot
//! of level `n` is a list of timers whose ticks, divided by 64^n, are the same number; modulo 128 it is the slot's own. A timer is put
//! on the lowest level where 128 slots reach far enough: as far as the end of the slot after the present one of the level above. Nine
//! levels are all of the 2^64 ns that the wheel tells apart. What is due later still (584 years) never is.
//!
//! # No long stops
//!
//! The timers of a slot have to move a level down before the first of them is due. All at once it would be tens of milliseconds for
//! a million, each in a cold cache line. That is what the second 64 slots of a level are for: they have room for the timers of the next
//! slot above, which move a few at a time while the present one lasts. Only when there was no time for that, all that are left in a
//! slot move when the first of them is due. A timer moves eight times at most, mostly twice or less.
//!
//! # Order
//!
//! The slots of a level follow each other in time, and levels overlap. A slot knows when its first timer is due, so the
//! earliest of all is in one of at most nine slots, each found by counting the zeros of a bitmap. Timers of one tick fire in order of
//! arming: the later one was armed, the lower the level it was put on, at the end of the list there; and they move from
//! the end of a list to the front of the one below.
//!
//! # Invariants
//!
//! The wheel allocates nothing. A [`Timer`] has its own links, and lies in the frame of the green thread that waits.
//!
//! 1. `elapsed` never decreases, and no armed timer is due before it.
//! 2. A timer is in a list of its wheel if and only if it has a `place`; that is the list. It is on the level that it was put on when
//!    armed, or on a lower one, but on none where 128 slots do not reach it.
//! 3. What a timer in a list occupies is never used for anything else before the timer is dropped, because it was pinned to be armed.
//!    Dropping takes it out. A timer which is never dropped, like those in the frames of a leaked green thread, stays, and its
//!    links stay good.
//! 4. A bit of `occupied` is set if and only if its slot's list is not empty. Then no timer in it is due before the slot's
//!    `earliest`, which is exact unless the earliest one was disarmed.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// log2 of a tick's nanoseconds. A system call and a few switches take as long: finer ones would tell apart what cannot be kept.
const TICK_BITS: u32 = 10;

/// log2 of how many slots of a level are one of the level above.
const DIGIT_BITS: u32 = 6;

/// log2 of a level's slots.
const SLOT_BITS: u32 = DIGIT_BITS + 1;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;

/// The tick which is never reached.
const NEVER: u64 = u64::MAX >> TICK_BITS;

/// Timers moved ahead of time in one go: 3 us. Looking at timers each 100 us, a million that are due in a minute move in
/// time.
const AHEAD: usize = 64;

/// The timers of one worker. `T` is what they are to wake.
pub(super) struct Timers<T> {
    base: Instant,
    elapsed: Cell<u64>,
    occupied: [Cell<u128>; LEVELS],
    slots: [Slot<T>; LEVELS * SLOTS],
    alarm: Cell<Option<Instant>>,
}

struct Slot<T> {
    first: Link<T>,
    last: Link<T>,
    earliest: Cell<u64>,
}

type Link<T> = Cell<Option<NonNull<Node<T>>>>;

struct Node<T> {
    next: Link<T>,
    previous: Link<T>,
    tick: Cell<u64>,
    place: Cell<Option<Place>>,
    target: NonNull<T>,
}

/// Where to put a timer in a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// The place of a slot: the level, then the number on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(u16);

impl Place {
    /// Where a timer is put that is armed for `tick`, which is not before `elapsed`.
    #[inline]
    fn of(tick: u64, elapsed: u64) -> Place {
        let level = ((tick - elapsed) | 1).ilog2() / DIGIT_BITS;
        // The next slot on this level reaches to the same moment as the level below.
        let is_next = distance(level, tick, elapsed) <= 1;
        Place::on(level.saturating_sub(is_next.into()), tick)
    }

    /// The slot of a tick on a level.
    #[inline]
    fn on(level: u32, tick: u64) -> Place {
        let number = tick >> (level * DIGIT_BITS) & (SLOTS as u64 - 1);
        Place((level << SLOT_BITS) as u16 | number as u16)
    }

    #[inline]
    fn level(self) -> u32 {
        u32::from(self.0) >> SLOT_BITS
    }

    /// The slot's bit in its level's `occupied`.
    #[inline]
    fn bit(self) -> u128 {
        1 << (usize::from(self.0) & (SLOTS - 1))
    }
}

/// From the slot of one tick to that of a later one, on a level.
#[inline]
fn distance(level: u32, tick: u64, elapsed: u64) -> u64 {
    let shift = level * DIGIT_BITS;
    (tick >> shift) - (elapsed >> shift)
}

impl<T> Timers<T> {
    pub(super) fn new() -> Timers<T> {
        Timers {
            base: Instant::now(),
            elapsed: Cell::new(0),
            occupied: [const { Cell::new(0) }; LEVELS],
            slots: [const {
                Slot {
                    first: Cell::new(None),
                    last: Cell::new(None),
                    earliest: Cell::new(0),
                }
            }; LEVELS * SLOTS],
            alarm: Cell::new(None),
        }
    }

    /// Sets a time at which the worker itself has to be awake.
    pub(super) fn set_alarm(&self, at: Option<Instant>) {
        self.alarm.set(at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.occupied.iter().all(|level| level.get() == 0)
    }

    /// How long after `now` to ask again for what is due; never, if none is armed.
    ///
    /// That is when the next timer is due, or when one would have been that has been disarmed, or at the alarm.
    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        let timer = self.first().map(|(earliest, _)| {
            let due = earliest << TICK_BITS;
            Duration::from_nanos(due.saturating_sub(self.nanoseconds(now)))
        });
        let alarm = self.alarm.get();
        let alarm = alarm.map(|alarm| alarm.saturating_duration_since(now));
        timer.into_iter().chain(alarm).min()
    }

    /// Disarms the next timer that is due at `now`, and returns what it is to wake.
    ///
    /// They come by tick, those of one tick in order of arming; a deadline that was over when it was armed counts as the latest
    /// `now` before.
    pub(super) fn pop_due(&self, now: Instant) -> Option<NonNull<T>> {
        let now = (self.nanoseconds(now) >> TICK_BITS).min(NEVER - 1);
        while let Some((earliest, place)) = self.first().filter(|(earliest, _)| *earliest <= now) {
            self.advance(earliest);
            if place.level() == 0 {
                return self.pop(place);
            }
            while self.move_down(place) {}
        }
        self.advance(now);
        self.move_ahead();
        None
    }

    fn advance(&self, tick: u64) {
        self.elapsed.set(tick.max(self.elapsed.get()));
    }

    #[inline]
    fn nanoseconds(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.base);
        let seconds = elapsed.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(elapsed.subsec_nanos().into())
    }

    #[inline]
    fn slot(&self, place: Place) -> &Slot<T> {
        &self.slots[usize::from(place.0)]
    }

    #[inline]
    fn occupied(&self, place: Place) -> &Cell<u128> {
        &self.occupied[place.level() as usize]
    }

    /// The first slot in use of a level, and how far from the present one.
    #[inline]
    fn first_on(&self, level: u32) -> Option<(u32, Place)> {
        let occupied = self.occupied[level as usize].get();
        if occupied == 0 {
            return None;
        }
        let elapsed = self.elapsed.get();
        let present = (elapsed >> (level * DIGIT_BITS)) as u32 & (SLOTS as u32 - 1);
        let distance = occupied.rotate_right(present).trailing_zeros();
        let tick = elapsed + (u64::from(distance) << (level * DIGIT_BITS));
        Some((distance, Place::on(level, tick)))
    }

    /// The slot with the timer that is due first, and when that is; of several slots the one on the highest level.
    fn first(&self) -> Option<(u64, Place)> {
        let mut first = None;
        for level in 0..LEVELS as u32 {
            if let Some((_, place)) = self.first_on(level) {
                let earliest = self.slot(place).earliest.get();
                if first.is_none_or(|(so_far, _)| earliest <= so_far) {
                    first = Some((earliest, place));
                }
            }
        }
        first
    }

    /// Moves timers of the present and the next slots to the levels below, while it has time.
    fn move_ahead(&self) {
        let mut left = AHEAD;
        for level in 1..LEVELS as u32 {
            while let Some((0 | 1, place)) = self.first_on(level) {
                while self.move_down(place) {
                    left -= 1;
                    if left == 0 {
                        return;
                    }
                }
            }
        }
    }

    /// Moves the last timer of a slot, which is a present or a next one, to the front of its slot on the level below.
    /// Returns whether there was one.
    fn move_down(&self, place: Place) -> bool {
        let Some(pointer) = self.slot(place).last.get() else {
            return false;
        };
        // SAFETY: it is in a list, so it is there (invariant 3).
        let node = unsafe { pointer.as_ref() };
        // SAFETY: it is in a list of this wheel.
        unsafe { self.remove(node) };
        let below = Place::on(place.level() - 1, node.tick.get());
        // SAFETY: it is in no list now, and stays where it is, as it did in the last one.
        unsafe { self.insert(pointer, below, End::Front) };
        true
    }

    /// Disarms the first timer of a slot.
    fn pop(&self, place: Place) -> Option<NonNull<T>> {
        let first = self.slot(place).first.get()?;
        // SAFETY: it is in a list, so it is there (invariant 3).
        let first = unsafe { first.as_ref() };
        // SAFETY: it is in a list of this wheel.
        unsafe { self.remove(first) };
        Some(first.target)
    }

    /// Puts a timer into a list.
    ///
    /// # Safety
    /// It is in no list, and stays where it is until it is removed, or for ever.
    #[inline]
    unsafe fn insert(&self, pointer: NonNull<Node<T>>, place: Place, end: End) {
        // SAFETY: it is there, by contract.
        let node = unsafe { pointer.as_ref() };
        let slot = self.slot(place);
        let (previous, next) = match end {
            End::Front => (None, slot.first.get()),
            End::Back => (slot.last.get(), None),
        };
        let mut earliest = node.tick.get();
        let occupied = self.occupied(place);
        if previous.or(next).is_some() {
            earliest = earliest.min(slot.earliest.get());
        } else {
            occupied.set(occupied.get() | place.bit());
        }
        slot.earliest.set(earliest);
        node.place.set(Some(place));
        node.previous.set(previous);
        node.next.set(next);
        // SAFETY: they are in the list, or none.
        unsafe { slot.set_next(previous, Some(pointer)) };
        // SAFETY: as above.
        unsafe { slot.set_previous(next, Some(pointer)) };
    }

    /// Takes a timer out of the list that it is in, if it is in one.
    ///
    /// # Safety
    /// That is a list of this wheel.
    #[inline]
    unsafe fn remove(&self, node: &Node<T>) {
        let Some(place) = node.place.take() else {
            return;
        };
        let slot = self.slot(place);
        let (previous, next) = (node.previous.get(), node.next.get());
        // SAFETY: they are in the list, or none.
        unsafe { slot.set_next(previous, next) };
        // SAFETY: as above.
        unsafe { slot.set_previous(next, previous) };
        if previous.or(next).is_none() {
            let occupied = self.occupied(place);
            occupied.set(occupied.get() & !place.bit());
        }
    }
}

impl<T> Slot<T> {
    /// Sets what comes after `previous`, or first.
    ///
    /// # Safety
    /// `previous` is in this list.
    #[inline]
    unsafe fn set_next(&self, previous: Option<NonNull<Node<T>>>, next: Option<NonNull<Node<T>>>) {
        match previous {
            // SAFETY: it is in a list, so it is there (invariant 3).
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.first.set(next),
        }
    }

    /// Sets what comes before `next`, or last.
    ///
    /// # Safety
    /// `next` is in this list.
    #[inline]
    unsafe fn set_previous(
        &self,
        next: Option<NonNull<Node<T>>>,
        previous: Option<NonNull<Node<T>>>,
    ) {
        match next {
            // SAFETY: it is in a list, so it is there (invariant 3).
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.last.set(previous),
        }
    }
}

/// A timer of a wheel, to be made in the frame that waits. Dropping it disarms it.
pub(super) struct Timer<'a, T> {
    timers: &'a Timers<T>,
    node: Node<T>,
    _pinned: PhantomPinned,
}

impl<'a, T> Timer<'a, T> {
    /// Makes a timer that is not armed. [`Timers::pop_due`] hands out `target`, which is not looked at.
    #[inline]
    pub(super) fn new(timers: &'a Timers<T>, target: NonNull<T>) -> Timer<'a, T> {
        Timer {
            timers,
            node: Node {
                next: Cell::new(None),
                previous: Cell::new(None),
                tick: Cell::new(0),
                place: Cell::new(None),
                target,
            },
            _pinned: PhantomPinned,
        }
    }

    /// Has it come due at `deadline`, and no more at the one it was armed for before.
    #[inline]
    pub(super) fn arm(self: Pin<&Self>, deadline: Instant) {
        self.disarm();
        let timers = self.timers;
        let elapsed = timers.elapsed.get();
        let tick = timers.nanoseconds(deadline).div_ceil(1 << TICK_BITS);
        let tick = tick.clamp(elapsed, NEVER);
        self.node.tick.set(tick);
        let node = NonNull::from(&self.get_ref().node);
        // SAFETY: it is in no list now. It is pinned: it stays where it is until it is dropped, which removes it, or for ever.
        unsafe { timers.insert(node, Place::of(tick, elapsed), End::Back) };
    }

    #[inline]
    fn disarm(&self) {
        // What is not armed may even have outlived the wheel, if that was freed by force.
        if self.node.place.get().is_some() {
            // SAFETY: only `arm` puts it into a list, of the same wheel.
            unsafe { self.timers.remove(&self.node) };
        }
    }
}

impl<T> Drop for Timer<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.disarm();
    }
}

#[cfg(test)]
mod tests {
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
}
