//! The hold times of spin locks.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;

use crate::{
    host::Kernel,
    mutex::locked,
    verifier::{callers, held::HeldLock},
};

/// The longest hold time of each spin lock, by the address of the lock, and the code that released it first.
#[derive(Default)]
pub(crate) struct HoldTimes {
    measured: AtomicBool,
    longest: Mutex<FxHashMap<usize, (Duration, String)>>,
}

impl HoldTimes {
    /// Returns the time at which a thread acquires a lock; `None` if hold times are not measured.
    #[inline]
    pub(crate) fn now(&self) -> Option<Duration> {
        self.measured.load(Relaxed).then(thread_time).flatten()
    }

    /// Records that the calling thread releases a lock.
    #[inline]
    pub(crate) fn note(&self, held: &HeldLock) {
        if held.since.is_some() {
            self.note_times(held);
        }
    }

    fn note_times(&self, held: &HeldLock) {
        let (Some(since), Some(now)) = (held.since, self.now()) else {
            return;
        };
        let mut longest = locked(&self.longest);
        let (time, place) = longest.entry(held.lock).or_default();
        *time = (*time).max(now.saturating_sub(since));
        if place.is_empty() {
            // This takes long, and an outer lock may be held. So it is done once per lock.
            *place = callers(3).join(" < ");
        }
    }
}

impl Kernel {
    /// Starts to measure the hold times of spin locks, in processor time of the thread that holds the lock.
    ///
    /// On a host other than Linux nothing is measured.
    pub fn measure_holds(&self) {
        for (time, _) in locked(&self.ke().hold_times.longest).values_mut() {
            *time = Duration::ZERO;
        }
        self.ke().hold_times.measured.store(true, Relaxed);
    }

    /// Stops measuring, and returns the longest hold time of each spin lock since [`Kernel::measure_holds`], the
    /// longest first, with code that releases the lock.
    #[must_use]
    pub fn longest_holds(&self) -> Vec<(Duration, String)> {
        self.ke().hold_times.measured.store(false, Relaxed);
        let longest = locked(&self.ke().hold_times.longest);
        let mut longest: Vec<_> = longest.values().cloned().collect();
        longest.sort_unstable_by(|one, other| other.cmp(one));
        longest
    }
}

/// Returns the processor time that the calling thread has used. It does not include the time in which the host runs
/// another thread.
#[cfg(target_os = "linux")]
fn thread_time() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is valid for writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (result == 0).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(not(target_os = "linux"))]
fn thread_time() -> Option<Duration> {
    None
}
