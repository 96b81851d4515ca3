//! The order in which spin locks are acquired: a graph, in which a circle is a deadlock that may come.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Rule,
    bug_check::{BugCheck, callers},
    call::Call,
    wait::locked,
};

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

impl Call {
    /// Stops the system if a lock is about to be acquired under one that comes after it.
    pub(crate) fn check_order(&self, lock: usize) {
        let held: Vec<usize> = locked(&self.held).iter().map(|held| held.lock).collect();
        if held.is_empty() {
            return;
        }
        let order = &self.kernel.lock_order;
        let epoch = order.epoch.load(Ordering::Relaxed);
        let mut known = locked(&self.known_order);
        if known.epoch != epoch {
            known.pairs.clear();
            known.epoch = epoch;
        }
        for outer in held {
            // To acquire a lock that one holds is another violation, found later.
            if outer == lock || !known.pairs.insert((outer, lock)) {
                continue;
            }
            let place = || callers(1).pop().unwrap_or_default();
            if let Some(places) = order.add(outer, lock, place) {
                drop(known);
                let what = format!(
                    "the spin lock {lock:#x} is acquired under {outer:#x}; the other way round was {}",
                    places.join(", then ")
                );
                let bug_check = BugCheck::verifier(0x1001, [lock as u64, 0, 0]);
                self.stop(bug_check, Rule::LockOrder, what);
            }
        }
    }
}
