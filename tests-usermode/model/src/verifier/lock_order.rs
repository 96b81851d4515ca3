//! The order in which spin locks are acquired: a graph, in which a circle is a deadlock that may come.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{mutex::locked, verifier::callers};

/// Which lock was acquired under which, by their addresses, and where.
#[derive(Default)]
pub(crate) struct LockOrder {
    under: Mutex<HashMap<usize, HashMap<usize, String>>>,
    /// Goes on whenever a lock is forgotten.
    epoch: AtomicU64,
}

/// What a thread has told the graph already: pairs of the outer lock and the inner one, of an epoch.
#[derive(Default)]
pub(crate) struct KnownOrder {
    epoch: u64,
    pairs: HashSet<(usize, usize)>,
}

impl LockOrder {
    /// Forgets a lock: its memory is another's now.
    pub(crate) fn forget(&self, lock: usize) {
        let mut under = locked(&self.under);
        let outer = under.remove(&lock).is_some();
        let mut inner = false;
        for locks in under.values_mut() {
            inner |= locks.remove(&lock).is_some();
        }
        if outer || inner {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a thread acquires a lock under those that it holds. If that closes a circle, it gives the outer lock and the
    /// places where the others were acquired.
    pub(crate) fn find_circle(
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
        // To acquire a lock that one holds is another violation, found later.
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

    /// Adds that `inner` is acquired under `outer`. If `outer` was acquired under `inner` before, directly or over
    /// others, it gives the places where that was.
    fn add(
        &self,
        outer: usize,
        inner: usize,
        place: impl FnOnce() -> String,
    ) -> Option<Vec<String>> {
        let mut under = locked(&self.under);
        if let Some(path) = path(&under, inner, outer, &mut HashSet::new()) {
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

/// The places along a way from one lock to another, each acquired under the one before.
fn path(
    under: &HashMap<usize, HashMap<usize, String>>,
    from: usize,
    to: usize,
    seen: &mut HashSet<usize>,
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
