//! Footprints: the objects that each step of an exploration accesses.
//!
//! Two steps of different threads are independent if they access no object in common, or only in a way whose order makes no
//! difference. Of several orders that differ only in the order of independent steps, the search tries one. A routine that
//! does not record its accesses counts as one that accesses everything.
//!
//! An object has the number that it gets when it is first accessed in a schedule. Its address is not used, since two
//! schedules with the same first steps give it the same number, but can have it at different addresses.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
};

use smallvec::SmallVec;

/// The way in which a step accesses an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// An access that several steps can make in any order with the same result: it changes a count, or wakes waiting
    /// threads.
    Commuting,
    /// Any other access.
    Exclusive,
}

/// The accesses of a step.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    everything: bool,
    /// Whether the step comes after every step of the other threads, none of which can continue.
    last: bool,
    /// Whether the step can have accessed objects that no earlier step has accessed, in memory that is freed.
    unnumbered: bool,
    /// The numbers of the objects in the order of the accesses, up to the one of everything, and whether each access was exclusive.
    objects: SmallVec<[(u32, bool); 6]>,
    /// A bit for each object, of which several share one. Most footprints without common objects differ in these bits.
    bits: u64,
    /// The number of objects that had numbers before the step.
    numbered: u32,
}

impl Footprint {
    pub(crate) fn everything() -> Self {
        Self {
            everything: true,
            bits: u64::MAX,
            ..Self::default()
        }
    }

    /// Returns whether the step comes after every step of the other threads.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    fn add(&mut self, object: u32, access: Access) {
        if self.everything {
            // It already is dependent on every step.
            return;
        }
        let exclusive = access == Access::Exclusive;
        let bit = 1 << (object % 64);
        let mut objects = self.objects.iter_mut();
        let may_be_in = self.bits & bit != 0;
        match may_be_in.then(|| objects.find(|(other, _)| *other == object)) {
            Some(Some((_, was))) => *was |= exclusive,
            _ => self.objects.push((object, exclusive)),
        }
        self.bits |= bit;
    }

    /// Clears the footprint at the start of a step.
    fn start(&mut self, numbered: u32) {
        self.objects.clear();
        *self = Self {
            numbered,
            objects: std::mem::take(&mut self.objects),
            ..Self::default()
        };
    }

    /// Returns whether the order of two steps of the same schedule makes a difference.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        if self.everything || other.everything {
            return true;
        }
        self.bits & other.bits != 0 && self.shares(other, u32::MAX)
    }

    /// Returns whether both access an object whose number is below a limit, at least one of them exclusively.
    fn shares(&self, other: &Self, limit: u32) -> bool {
        self.objects.iter().any(|(object, exclusive)| {
            let same = other.objects.iter().find(|(other, _)| other == object);
            *object < limit && same.is_some_and(|(_, also)| *exclusive || *also)
        })
    }

    /// Returns whether the order of two steps makes a difference: this one, which was made in an earlier schedule, and a
    /// step of the current schedule that is made before it. An object that the earlier step was the first to access can
    /// have another number now.
    pub(crate) fn conflicts_with_later(&self, later: &Self) -> bool {
        if self.everything || later.everything {
            return true;
        }
        let is_new = |objects: &[(u32, bool)]| objects.iter().any(|(o, _)| *o >= self.numbered);
        let touches_new = self.unnumbered || is_new(&self.objects);
        let new = touches_new && (later.unnumbered || is_new(&later.objects));
        new || self.shares(later, self.numbered)
    }
}

/// The recorder of the footprints of an exploration in this host thread.
#[derive(Default)]
struct Recorder {
    /// The number of each object, in the order of the addresses.
    numbers: Vec<(usize, u32)>,
    next: u32,
    /// The objects that were made in this step, which no other thread can have accessed.
    made: Vec<u32>,
    step: Footprint,
}

impl Recorder {
    fn number(&mut self, address: usize) -> u32 {
        let place = self.numbers.binary_search_by_key(&address, |(at, _)| *at);
        match place {
            Ok(place) => self.numbers[place].1,
            Err(place) => self.number_at(place, address),
        }
    }

    /// Gives an object a number, at its position in the order of the addresses.
    fn number_at(&mut self, place: usize, address: usize) -> u32 {
        let number = self.next;
        self.numbers.insert(place, (address, number));
        self.next += 1;
        number
    }

    fn touch(&mut self, address: usize, access: Access) {
        let number = self.number(address);
        if !self.made.contains(&number) {
            self.step.add(number, access);
        }
    }

    /// Returns the places of the objects in a range of addresses.
    fn places_in(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.numbers.partition_point(|(at, _)| *at < range.start);
        let rest = &self.numbers[start..];
        let count = rest.iter().take_while(|(at, _)| *at < range.end).count();
        start..start + count
    }

    /// Records an access to all objects in a range, which then no longer exist.
    fn touch_all_in(&mut self, range: &Range<usize>) {
        let places = self.places_in(range);
        for (_, number) in self.numbers.drain(places) {
            self.step.add(number, Access::Exclusive);
        }
    }
}

/// The accesses that are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    Nothing,
    /// Those to objects of the kernel.
    Objects,
    /// Those to objects of the kernel, and to the memory that all of the driver's code shares.
    Memory,
}

/// The key of the driver's memory. It is not the address of an object.
const MEMORY: usize = 1;

thread_local! {
    static RECORDING: Cell<Recording> = const { Cell::new(Recording::Nothing) };
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

#[inline]
fn note(step: impl FnOnce(&mut Recorder)) {
    if is_noting() {
        note_step(step);
    }
}

#[cold]
#[inline(never)]
fn note_step(step: impl FnOnce(&mut Recorder)) {
    RECORDER.with_borrow_mut(step);
}

/// Returns whether footprints are recorded.
#[inline]
pub(crate) fn is_noting() -> bool {
    RECORDING.get() != Recording::Nothing
}

/// Starts the recording of footprints at the beginning of a schedule. Code of the driver and of the scenario accesses
/// common memory, unless that is `guarded`.
pub(crate) fn begin(guarded: bool) {
    RECORDING.set(if guarded {
        Recording::Objects
    } else {
        Recording::Memory
    });
    RECORDER.with_borrow_mut(|recorder| {
        recorder.numbers.clear();
        recorder.next = 0;
        recorder.made.clear();
        recorder.step.start(0);
    });
}

/// Ends a step, and stores its footprint if that has changed. Returns whether it has not changed.
pub(crate) fn end_step(before: &mut Footprint) -> bool {
    RECORDER.with_borrow_mut(|recorder| {
        recorder.made.clear();
        let same = *before == recorder.step;
        if !same {
            std::mem::swap(before, &mut recorder.step);
        }
        recorder.step.start(recorder.next);
        same
    })
}

/// Records that the step accesses the object at an address.
#[inline]
pub(crate) fn touch(address: usize, access: Access) {
    note(|recorder| recorder.touch(address, access));
}

/// Records that the step can be dependent on any other one.
#[inline]
pub(crate) fn touch_everything() {
    note(|recorder| {
        recorder.step.everything = true;
        recorder.step.bits = u64::MAX;
    });
}

/// Records that the step comes after every step of the other threads, none of which can continue.
pub(crate) fn is_last() {
    touch_everything();
    note(|recorder| recorder.step.last = true);
}

/// Records that the step runs code of the driver or of the scenario.
#[inline]
pub(crate) fn touch_memory() {
    if RECORDING.get() == Recording::Memory {
        touch_noted_memory();
    }
}

#[inline(never)]
fn touch_noted_memory() {
    note_step(|recorder| recorder.touch(MEMORY, Access::Exclusive));
}

/// Records that memory is freed. The step accesses every object in it, and a later object there is a new one.
pub(crate) fn free(range: Range<usize>) {
    note(|recorder| {
        recorder.touch_all_in(&range);
        recorder.step.unnumbered = true;
    });
}

/// Records that an object is initialised, in memory that can have contained another one.
pub(crate) fn initialise<T>(object: *const T) {
    note(|recorder| {
        let start = object.addr();
        recorder.touch_all_in(&(start..start + size_of::<T>()));
        let number = recorder.number(start);
        recorder.step.add(number, Access::Exclusive);
    });
}

/// Records that an object is made or memory is allocated, which no other thread knows until this step is over.
pub(crate) fn make(range: Range<usize>) {
    note(|recorder| {
        let places = recorder.places_in(&range);
        let place = places.start;
        recorder.numbers.drain(places);
        let number = recorder.number_at(place, range.start);
        recorder.made.push(number);
    });
}

/// Stops the recording of footprints.
pub(crate) fn end() {
    RECORDING.set(Recording::Nothing);
}
