//! Fault injection: each allocation and each device-creation step fails once per call path.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{mutex::locked, verifier::callers};

/// Selects the requests that fail: the first one on each call path that was not seen before. Several kernels can share
/// a value, and each path then fails once in all of them. So if the same work is repeated, every path fails at some
/// time, and then none.
#[derive(Debug, Default)]
pub struct Faults {
    seen: Mutex<HashSet<u64>>,
    failed: Mutex<Vec<String>>,
    armed: AtomicBool,
    fired: AtomicBool,
}

impl Faults {
    /// Makes the next new path fail, and only that one.
    pub fn arm(&self) {
        self.fired.store(false, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Makes nothing fail until [`Faults::arm`] is called again; returns whether a request failed.
    pub fn disarm(&self) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        self.fired.swap(false, Ordering::SeqCst)
    }

    /// Returns the paths that have failed, each by its innermost functions.
    #[must_use]
    pub fn failed(&self) -> Vec<String> {
        locked(&self.failed).clone()
    }

    /// Returns whether the current request fails.
    pub(crate) fn fails(&self) -> bool {
        if !self.armed.load(Ordering::SeqCst) {
            return false;
        }
        let mut path = DefaultHasher::new();
        let mut frames = 0;
        backtrace::trace(|frame| {
            frame.ip().addr().hash(&mut path);
            frames += 1;
            frames < 48
        });
        if !locked(&self.seen).insert(path.finish()) {
            return false;
        }
        self.armed.store(false, Ordering::SeqCst);
        self.fired.store(true, Ordering::SeqCst);
        locked(&self.failed).push(callers(3).join(" < "));
        true
    }
}
