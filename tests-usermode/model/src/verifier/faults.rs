//! Fault injection: each allocation and each device-creation step fails once per call path.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{image, mutex::locked, verifier::callers};

/// The number of frames of a call path that are compared.
const MOST_FRAMES: usize = 48;

/// Selects the requests that fail: the first one on each call path that was not seen before. Several kernels can share a
/// value, and each path then fails once in all of them. So if the same work is repeated, every path fails once, and after
/// that none does.
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
            let (address, stack) = (frame.ip().addr(), frame.sp().addr());
            let mut add = |address: usize| {
                // An image can have another address the next time.
                image::offset(address).unwrap_or(address).hash(&mut path);
                frames += 1;
                frames < MOST_FRAMES
            };
            !image::walk(address, stack, &mut add) && add(address)
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
