//! Footprints: the objects that each step of an exploration accesses.
//!
//! Two steps of different threads are independent if they access no object in common, or only in a way whose order
//! makes no difference. Of orders that differ only in the order of independent steps, one is tried. A routine that does
//! not record its accesses is taken to access everything.
//!
//! An object is known by a number that it gets when it is first touched in a schedule, not by its address: two schedules with
//! the same first steps give it the same number, and may have it at different addresses.

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
    /// In any other way.
    Exclusive,
}

/// The accesses of a step.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    everything: bool,
    /// Whether it comes after every step of the other threads, none of which can go on.
    last: bool,
    /// Whether it may have touched objects that no step has touched before, in memory that is freed.
    unnumbered: bool,
    /// The numbers of the objects, in the order in which they were touched, and whether exclusively. An object can be in it more
    /// than once after the step has touched everything.
    objects: SmallVec<[(u32, bool); 6]>,
    /// A bit for each object, of which several share one: most footprints are told apart by it.
    bits: u64,
    /// How many objects had numbers before the step.
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

    /// Whether it comes after every step of the other threads.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    fn add(&mut self, object: u32, access: Access) {
        let exclusive = access == Access::Exclusive;
        let bit = 1 << (object % 64);
        let may_be_in = self.bits & bit != 0 && !self.everything;
        let mut objects = self.objects.iter_mut().filter(|_| may_be_in);
        match objects.find(|(other, _)| *other == object) {
            Some((_, was)) => *was |= exclusive,
            None => self.objects.push((object, exclusive)),
        }
        self.bits |= bit;
    }

    /// Makes it that of a step that has touched nothing so far.
    fn start(&mut self, numbered: u32) {
        self.objects.clear();
        *self = Self {
            numbered,
            objects: std::mem::take(&mut self.objects),
            ..Self::default()
        };
    }

    /// Whether the order of two steps of the same schedule makes a difference.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        if self.everything || other.everything {
            return true;
        }
        self.bits & other.bits != 0 && self.shares(other, u32::MAX)
    }

    /// Whether both touch an object with a number below a limit, one of them exclusively.
    fn shares(&self, other: &Self, limit: u32) -> bool {
        self.objects.iter().any(|(object, exclusive)| {
            let same = other.objects.iter().find(|(other, _)| other == object);
            *object < limit && same.is_some_and(|(_, also)| *exclusive || *also)
        })
    }

    /// Whether the order makes a difference of this step, which was made in an earlier schedule, and of a step of this one which
    /// is made before it now. What the earlier one was the first to touch may have another number now.
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

/// What notes footprints, for the exploration that this thread of the host runs.
#[derive(Default)]
struct Notes {
    /// The number of each object, in the order of their addresses.
    numbers: Vec<(usize, u32)>,
    next: u32,
    /// The objects that were made in this step, which no other thread can have touched.
    made: Vec<u32>,
    step: Footprint,
}

impl Notes {
    fn number(&mut self, address: usize) -> u32 {
        let place = self.numbers.binary_search_by_key(&address, |(at, _)| *at);
        match place {
            Ok(place) => self.numbers[place].1,
            Err(place) => self.number_at(place, address),
        }
    }

    /// Gives an object a number, at its place among the others.
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

    /// Touches the objects in a range, which then are no more.
    fn touch_all_in(&mut self, range: &Range<usize>) {
        let places = self.places_in(range);
        for (_, number) in self.numbers.drain(places) {
            self.step.add(number, Access::Exclusive);
        }
    }
}

/// Which code may touch memory that the model does not see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noting {
    Nothing,
    /// The objects of the kernel.
    Objects,
    /// These, and for every piece of the driver's code the memory of them all.
    Memory,
}

/// What stands for the driver's memory. It is no address of an object.
const MEMORY: usize = 1;

thread_local! {
    static NOTING: Cell<Noting> = const { Cell::new(Noting::Nothing) };
    static NOTES: RefCell<Notes> = RefCell::default();
}

#[inline]
fn note(step: impl FnOnce(&mut Notes)) {
    if NOTING.get() != Noting::Nothing {
        NOTES.with_borrow_mut(step);
    }
}

/// Has footprints noted from now on, at the beginning of a schedule. Code of the driver and of the scenario touches memory that
/// all of it has in common, unless that is `guarded`.
pub(crate) fn begin(guarded: bool) {
    NOTING.set(if guarded {
        Noting::Objects
    } else {
        Noting::Memory
    });
    NOTES.with_borrow_mut(|notes| {
        notes.numbers.clear();
        notes.next = 0;
        notes.made.clear();
        notes.step.start(0);
    });
}

/// Ends a step, and takes what it has touched, if that is not as it was before. Returns whether it is.
pub(crate) fn end_step(before: &mut Footprint) -> bool {
    NOTES.with_borrow_mut(|notes| {
        notes.made.clear();
        let same = *before == notes.step;
        if !same {
            std::mem::swap(before, &mut notes.step);
        }
        notes.step.start(notes.next);
        same
    })
}

/// The step touches the object at an address.
#[inline]
pub(crate) fn touch(address: usize, access: Access) {
    note(|notes| notes.touch(address, access));
}

/// The step does what may concern any other one.
#[inline]
pub(crate) fn touch_everything() {
    note(|notes| {
        notes.step.everything = true;
        notes.step.bits = u64::MAX;
    });
}

/// The step comes after every step of the other threads, none of which can go on.
pub(crate) fn is_last() {
    touch_everything();
    note(|notes| notes.step.last = true);
}

/// The step runs code of the driver or of the scenario.
#[inline]
pub(crate) fn touch_memory() {
    if NOTING.get() == Noting::Memory {
        touch(MEMORY, Access::Exclusive);
    }
}

/// Memory is freed: the step touches whatever is in it, and what is there later is something else.
pub(crate) fn free(range: Range<usize>) {
    note(|notes| {
        notes.touch_all_in(&range);
        notes.step.unnumbered = true;
    });
}

/// An object is initialised, in memory that may have held another one.
pub(crate) fn initialise<T>(object: *const T) {
    note(|notes| {
        let start = object.addr();
        notes.touch_all_in(&(start..start + size_of::<T>()));
        let number = notes.number(start);
        notes.step.add(number, Access::Exclusive);
    });
}

/// An object is made, or memory is allocated, which no other thread knows of until this step is over.
pub(crate) fn make(range: Range<usize>) {
    note(|notes| {
        let places = notes.places_in(&range);
        let place = places.start;
        notes.numbers.drain(places);
        let number = notes.number_at(place, range.start);
        notes.made.push(number);
    });
}

/// Notes footprints no more.
pub(crate) fn end() {
    NOTING.set(Noting::Nothing);
}
