//! Vector clocks: whether one thread's access to plain memory happens before another thread's.
//!
//! Each thread counts its own steps, and knows of how many steps of each other thread it comes after. It learns that when it
//! waits for, or works on, what the other one has woken it by, or worked on, before: locks, events, DPCs, IRPs, numbers of the
//! `Interlocked` routines. That is tracked in explorations, whose threads run one at a time, and from the first
//! [`Shared`](crate::explore::Shared) on: before it there is no memory to tell of.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{
    host::{
        footprint::{self, Access},
        thread::{self, Thread},
        wait::Engine,
    },
    mutex::locked,
};

static TRACKS: AtomicBool = AtomicBool::new(false);

/// Has the order of steps tracked from now on.
pub(crate) fn track() {
    TRACKS.store(true, Relaxed);
}

/// Of how many steps of each thread something comes after, by the threads' numbers.
#[derive(Clone, Default)]
pub(crate) struct VectorClock(Vec<u32>);

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

/// What was known by whoever worked last on an object, by the objects' addresses.
#[derive(Default)]
pub(crate) struct Edges(Mutex<HashMap<usize, VectorClock>>);

impl Edges {
    /// Notes for an object what the thread that runs knows, if it is one of an exploration.
    pub(crate) fn release(object: usize) {
        if TRACKS.load(Relaxed)
            && let Some(thread) = thread::try_current()
        {
            thread.release_to(object);
        }
    }
}

impl Thread {
    /// What a new thread knows: what the one does that makes it.
    pub(crate) fn clock_of_maker() -> VectorClock {
        let maker = TRACKS.load(Relaxed).then(thread::try_current).flatten();
        maker.map_or_else(VectorClock::default, |maker| {
            let mut clock = locked(&maker.order);
            let copy = clock.clone();
            clock.step(maker.number);
            copy
        })
    }

    fn is_tracked(&self) -> bool {
        TRACKS.load(Relaxed) && self.kernel.engine == Engine::Shuttle
    }

    /// Comes before whoever works on an object next.
    pub(crate) fn release_to(&self, object: usize) {
        if !self.is_tracked() {
            return;
        }
        let mut clock = locked(&self.order);
        locked(&self.kernel.sleepers.edges.0)
            .entry(object)
            .or_default()
            .join(&clock);
        clock.step(self.number);
    }

    /// Comes after whoever worked on an object before.
    pub(crate) fn acquire_from(&self, object: usize) {
        if self.is_tracked()
            && let Some(clock) = locked(&self.kernel.sleepers.edges.0).get(&object)
        {
            locked(&self.order).join(clock);
        }
    }

    /// Comes after whoever worked on an object before, and before whoever does so next.
    pub(crate) fn synchronise(&self, object: usize) {
        self.synchronise_as(object, Access::Exclusive);
    }

    /// As [`Thread::synchronise`], for work whose order may make no difference.
    pub(crate) fn synchronise_as(&self, object: usize, access: Access) {
        footprint::touch(object, access);
        self.acquire_from(object);
        self.release_to(object);
    }

    /// What it knows, if that is tracked; its own part is one more than whoever comes after it knows of.
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
