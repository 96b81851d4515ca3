//! Faults: each thing that the driver may be refused is refused once for each way that leads to it.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{image, mutex::locked, verifier::callers};

/// How many frames of a call path are compared.
const MOST_FRAMES: usize = 48;

/// Which requests fail: the first one on each call path that was not seen before. Kernels that share it refuse each
/// path once, all together; so the same work done again and again comes to an end with every path having failed.
#[derive(Debug, Default)]
pub struct Faults {
    seen: Mutex<HashSet<u64>>,
    failed: Mutex<Vec<String>>,
    armed: AtomicBool,
    fired: AtomicBool,
}

impl Faults {
    /// Lets the next new path fail, and that one alone. What was refused since the last time is forgotten.
    pub fn arm(&self) {
        self.fired.store(false, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Lets nothing fail until it is armed again, and says whether anything has.
    pub fn disarm(&self) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        self.fired.swap(false, Ordering::SeqCst)
    }

    /// The paths that have failed, each by its innermost function.
    #[must_use]
    pub fn failed(&self) -> Vec<String> {
        locked(&self.failed).clone()
    }

    /// Whether a request that is made now fails.
    pub(crate) fn fails(&self) -> bool {
        if !self.armed.load(Ordering::SeqCst) {
            return false;
        }
        let mut path = DefaultHasher::new();
        let mut frames = 0;
        backtrace::trace(|frame| {
            let (address, stack) = (frame.ip().addr(), frame.sp().addr());
            let mut add = |address: usize| {
                // An image may be somewhere else the next time.
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
