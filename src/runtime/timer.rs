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
mod tests;
