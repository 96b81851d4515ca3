//! Vector clocks: whether one thread's access to plain memory happens before another thread's.
//!
//! Each thread counts its steps, and records how many steps of each other thread happened before. It updates this when
//! it waits for or uses an object that another thread has signalled or used before: a lock, an event, a DPC, an IRP, a
//! variable of the `Interlocked` routines. The order is tracked only in explorations, whose threads run one at a time,
//! and only from the first [`Shared`](crate::explore::Shared) on, since other memory is not checked.

use std::{
    collections::{BTreeMap, hash_map::Entry},
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    host::{
        footprint::{self, Access},
        thread::{self, Thread},
        wait::Engine,
    },
    mutex::locked,
};

static TRACKS: AtomicBool = AtomicBool::new(false);

/// Starts to track the order of steps.
pub(crate) fn track() {
    TRACKS.store(true, Relaxed);
}

/// The number of steps of each thread that happened before, by the number of the thread.
#[derive(Default)]
pub(crate) struct VectorClock(SmallVec<[u32; 8]>);

/// Copies all numbers at once. The derived `Clone` copies them one by one.
impl Clone for VectorClock {
    fn clone(&self) -> Self {
        Self(SmallVec::from_slice(&self.0))
    }
}

impl VectorClock {
    pub(crate) fn of(&self, thread: u32) -> u32 {
        self.0.get(thread as usize).copied().unwrap_or_default()
    }

    fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            *ours = (*ours).max(*theirs);
        }
    }

    fn step(&mut self, thread: u32) {
        let index = thread as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        self.0[index] += 1;
    }
}

/// The clock of the last thread that used an object, by the address of the object.
#[derive(Default)]
pub(crate) struct Edges(Mutex<FxHashMap<usize, VectorClock>>);

impl Edges {
    /// Records the clock of the current thread for an object, in an exploration.
    #[inline]
    pub(crate) fn release(object: usize) {
        if TRACKS.load(Relaxed)
            && let Some(thread) = thread::try_current()
        {
            thread.release_to(object);
        }
    }
}

/// The last access to each entry and head of a list, by its address.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<BTreeMap<usize, NodeChange>>);

/// A change of the links of an entry or a head.
#[derive(Clone, Copy)]
pub(crate) struct NodeChange {
    pub(crate) thread: u32,
    pub(crate) routine: &'static str,
    step: u32,
}

impl Nodes {
    /// Removes the records of earlier objects in memory that is allocated or initialised.
    pub(crate) fn forget(&self, range: Range<usize>) {
        if !TRACKS.load(Relaxed) {
            return;
        }
        let mut nodes = locked(&self.0);
        if nodes.range(range.clone()).next().is_some() {
            nodes.retain(|node, _| !range.contains(node));
        }
    }
}

impl Thread {
    /// Records that the thread changes the links of an entry or a head. Returns the last access to them, if that was
    /// another thread's and nothing orders the two.
    #[inline]
    pub(crate) fn touch_node(&self, node: usize, routine: &'static str) -> Option<NodeChange> {
        if self.kernel.engine == Engine::Shuttle {
            return self.note_node(node, routine);
        }
        None
    }

    fn note_node(&self, node: usize, routine: &'static str) -> Option<NodeChange> {
        track();
        let mut clock = locked(&self.order);
        if clock.of(self.number) == 0 {
            clock.step(self.number);
        }
        let now = NodeChange {
            thread: self.number,
            routine,
            step: clock.of(self.number),
        };
        let before = locked(&self.kernel.sleepers.nodes.0).insert(node, now)?;
        let is_ordered = before.thread == self.number || before.step <= clock.of(before.thread);
        (!is_ordered).then_some(before)
    }

    /// Returns the clock of a new thread, which is that of the thread that makes it.
    pub(crate) fn clock_of_maker() -> VectorClock {
        let maker = TRACKS.load(Relaxed).then(thread::try_current).flatten();
        maker.map_or_else(VectorClock::default, |maker| {
            let mut clock = locked(&maker.order);
            let copy = clock.clone();
            clock.step(maker.number);
            copy
        })
    }

    #[inline]
    fn is_tracked(&self) -> bool {
        TRACKS.load(Relaxed) && self.kernel.engine == Engine::Shuttle
    }

    /// Orders the thread before the next thread that uses an object.
    #[inline]
    pub(crate) fn release_to(&self, object: usize) {
        if self.is_tracked() {
            self.release_clock_to(object);
        }
    }

    fn release_clock_to(&self, object: usize) {
        let mut clock = locked(&self.order);
        locked(&self.kernel.sleepers.edges.0)
            .entry(object)
            .or_default()
            .join(&clock);
        clock.step(self.number);
    }

    /// Orders the thread after the threads that used an object before.
    #[inline]
    pub(crate) fn acquire_from(&self, object: usize) {
        if self.is_tracked() {
            self.acquire_clock_from(object);
        }
    }

    fn acquire_clock_from(&self, object: usize) {
        if let Some(clock) = locked(&self.kernel.sleepers.edges.0).get(&object) {
            locked(&self.order).join(clock);
        }
    }

    /// Orders the thread after the threads that used an object before, and before the next one.
    #[inline]
    pub(crate) fn synchronise(&self, object: usize) {
        self.synchronise_as(object, Access::Exclusive);
    }

    /// Like [`Thread::synchronise`], for work whose order may make no difference.
    #[inline]
    pub(crate) fn synchronise_as(&self, object: usize, access: Access) {
        footprint::touch(object, access);
        self.order_by(object);
    }

    /// Orders the thread after the threads that used an object before, and before the next one, without an access of the step.
    #[inline]
    pub(crate) fn order_by(&self, object: usize) {
        if self.is_tracked() {
            self.exchange_clocks_with(object);
        }
    }

    fn exchange_clocks_with(&self, object: usize) {
        let mut clock = locked(&self.order);
        match locked(&self.kernel.sleepers.edges.0).entry(object) {
            Entry::Occupied(mut last) => {
                clock.join(last.get());
                *last.get_mut() = clock.clone();
            }
            Entry::Vacant(none) => {
                none.insert(clock.clone());
            }
        }
        clock.step(self.number);
    }

    /// Returns the thread's clock, if the order is tracked. Its own step count is one more than that which later
    /// threads have recorded.
    pub(crate) fn known(&self) -> Option<VectorClock> {
        self.is_tracked().then(|| {
            let mut clock = locked(&self.order);
            if clock.of(self.number) == 0 {
                clock.step(self.number);
            }
            clock.clone()
        })
    }
}
