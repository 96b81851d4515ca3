//! The order in which spin locks are acquired. It is a graph, in which a cycle is a possible deadlock.

use std::{
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{mutex::locked, verifier::callers};

/// For each lock the locks that were acquired while it was held, by their addresses, and the source lines.
#[derive(Default)]
pub(crate) struct LockOrder {
    under: Mutex<FxHashMap<usize, FxHashMap<usize, String>>>,
    /// Increases whenever a lock is removed.
    epoch: AtomicU64,
}

/// The pairs of an outer and an inner lock that a thread has already added to the graph in an epoch.
#[derive(Default)]
pub(crate) struct KnownOrder {
    epoch: u64,
    pairs: FxHashSet<(usize, usize)>,
}

impl LockOrder {
    /// Removes a lock, whose memory is reused.
    pub(crate) fn forget(&self, lock: usize) {
        self.forget_in(&(lock..lock + 1));
    }

    /// Removes the locks in memory that is freed.
    pub(crate) fn forget_in(&self, memory: &Range<usize>) {
        let mut under = locked(&self.under);
        let removed = under.extract_if(|lock, _| memory.contains(lock)).count();
        let mut changed = removed != 0;
        for locks in under.values_mut() {
            let before = locks.len();
            locks.retain(|lock, _| !memory.contains(lock));
            changed |= locks.len() != before;
        }
        if changed {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that a thread acquires a lock while it holds others. If this closes a cycle, returns the outer lock and
    /// the source lines that acquired the others.
    pub(crate) fn check(
        &self,
        known: &mut KnownOrder,
        held: &[usize],
        lock: usize,
    ) -> Option<(usize, Vec<String>)> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        if known.epoch != epoch {
            known.pairs.clear();
            known.epoch = epoch;
        }
        // The acquisition of a lock that the thread holds is another violation, which is detected later.
        held.iter()
            .filter(|outer| **outer != lock)
            .find_map(|outer| {
                if !known.pairs.insert((*outer, lock)) {
                    return None;
                }
                let place = || callers(1).pop().unwrap_or_default();
                Some((*outer, self.add(*outer, lock, place)?))
            })
    }

    /// Records that `inner` is acquired under `outer`. If `outer` was acquired under `inner` before, directly or
    /// through other locks, returns the source lines of those acquisitions.
    fn add(
        &self,
        outer: usize,
        inner: usize,
        place: impl FnOnce() -> String,
    ) -> Option<Vec<String>> {
        let mut under = locked(&self.under);
        if let Some(path) = path(&under, inner, outer, &mut FxHashSet::default()) {
            return Some(path);
        }
        under
            .entry(outer)
            .or_default()
            .entry(inner)
            .or_insert_with(place);
        None
    }
}

/// Returns the source lines along a path from one lock to another, each of which was acquired under the previous one.
fn path(
    under: &FxHashMap<usize, FxHashMap<usize, String>>,
    from: usize,
    to: usize,
    seen: &mut FxHashSet<usize>,
) -> Option<Vec<String>> {
    if !seen.insert(from) {
        return None;
    }
    for (next, place) in under.get(&from)? {
        if *next == to {
            return Some(vec![place.clone()]);
        }
        if let Some(mut rest) = path(under, *next, to, seen) {
            rest.insert(0, place.clone());
            return Some(rest);
        }
    }
    None
}
