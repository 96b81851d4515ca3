//! The clock, by the host's time or virtual, and the timers.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    host::{
        Clock, Kernel,
        footprint::{self, Access},
        wait::{Engine, Wait},
    },
    mutex::locked,
};

/// The kernel's unit of time, 100 ns.
pub(crate) fn units(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX)
}

/// The number of units of 100 ns between two clock ticks: 15.625 ms.
pub(crate) const TICK: u64 = 156_250;

/// The due time of a timer that is set but does not expire.
pub(crate) const NEVER: u64 = u64::MAX;

/// The clock of a kernel.
pub(crate) struct TimeKeeper {
    /// The current time, if it is virtual.
    now: Option<AtomicU64>,
    timers: Arc<Timers>,
    /// Whether an exploration has a thread that expires timers.
    exploring: AtomicBool,
    /// Whether waits can no longer end by a timer, since the limit of expired timers was reached.
    no_timer_ends_a_wait: AtomicBool,
}

/// The timers that are set. Shared with the thread that waits for them under the host's time.
pub(crate) struct Timers {
    start: Instant,
    /// The time that was skipped.
    skipped: AtomicU64,
    /// The timers by due time, and by a number that distinguishes those with the same due time.
    set: Mutex<BTreeMap<(u64, u64), usize>>,
    last: AtomicU64,
    changed: Condvar,
    ends: AtomicBool,
}

impl Timers {
    /// Returns the host's time plus the time that was skipped.
    fn now(&self) -> u64 {
        units(self.start.elapsed()).saturating_add(self.skipped.load(Ordering::Relaxed))
    }
}

impl Timers {
    /// Waits, by the host's time, until the next timer is due, and returns its due time; `None` if the clock is shut
    /// down.
    pub(crate) fn wait_for_due(&self) -> Option<u64> {
        let mut set = locked(&self.set);
        loop {
            if self.ends.load(Ordering::SeqCst) {
                return None;
            }
            let next = set.first_key_value().map(|(&(due, _), _)| due);
            let now = self.now();
            let left = match next {
                Some(due) if due <= now => return Some(due),
                Some(due) => Duration::from_nanos(100 * (due - now)),
                None => Duration::MAX / 4,
            };
            let woken = self.changed.wait_timeout(set, left);
            (set, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl TimeKeeper {
    pub(crate) fn new(clock: Clock, engine: Engine) -> Self {
        let is_virtual = clock == Clock::Virtual || engine == Engine::Shuttle;
        Self {
            now: is_virtual.then(|| AtomicU64::new(0)),
            timers: Arc::new(Timers {
                start: Instant::now(),
                skipped: AtomicU64::new(0),
                set: Mutex::default(),
                last: AtomicU64::new(0),
                changed: Condvar::new(),
                ends: AtomicBool::new(false),
            }),
            exploring: AtomicBool::new(false),
            no_timer_ends_a_wait: AtomicBool::new(false),
        }
    }

    /// Skips the time until the next timer, after a thread has waited for a while, so that a run does not take longer
    /// than its work.
    pub(crate) fn skip(&self) {
        let timers = &self.timers;
        let set = locked(&timers.set);
        if let Some((&(due, _), _)) = set.first_key_value() {
            let left = due.saturating_sub(timers.now());
            timers.skipped.fetch_add(left, Ordering::Relaxed);
            drop(set);
            timers.changed.notify_all();
        }
    }

    /// Returns whether the time advances only when no thread can run.
    pub(crate) fn is_virtual(&self) -> bool {
        self.now.is_some()
    }

    /// Returns the current time, in units of 100 ns.
    pub(crate) fn now(&self) -> u64 {
        match &self.now {
            Some(now) => now.load(Ordering::Relaxed),
            None => self.timers.now(),
        }
    }

    /// Reads the clock; this advances a virtual clock.
    pub(crate) fn read(&self) -> u64 {
        match &self.now {
            Some(now) => now.fetch_add(1, Ordering::Relaxed) + 1,
            None => self.now(),
        }
    }

    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.timers).addr()
    }

    /// Sets a timer; returns whether it was already set.
    pub(crate) fn set(&self, kernel: &Kernel, timer: usize, due: u64) -> bool {
        footprint::touch(self.key(), Access::Exclusive);
        let mut set = locked(&self.timers.set);
        let before = set.len();
        set.retain(|_, other| *other != timer);
        let was_set = set.len() != before;
        let number = self.timers.last.fetch_add(1, Ordering::Relaxed);
        set.insert((due, number), timer);
        drop(set);
        self.notify();
        kernel.sleepers.wake(Wait::Timer(self.key()));
        was_set
    }

    /// Cancels a timer; returns whether it was set.
    pub(crate) fn cancel(&self, timer: usize) -> bool {
        footprint::touch(self.key(), Access::Exclusive);
        let mut set = locked(&self.timers.set);
        let before = set.len();
        set.retain(|_, other| *other != timer);
        set.len() != before
    }

    /// Returns whether a timer is set.
    pub(crate) fn is_set(&self, timer: usize) -> bool {
        locked(&self.timers.set)
            .values()
            .any(|other| *other == timer)
    }

    /// Returns a timer that is set and whose memory is in a range.
    pub(crate) fn any_set_in(&self, range: &Range<usize>) -> Option<usize> {
        let set = locked(&self.timers.set);
        let mut set = set.values().copied();
        set.find(|timer| range.contains(timer))
    }

    /// Records that waits can no longer end by a timer, since the limit of expired timers was reached.
    pub(crate) fn give_up(&self) {
        self.no_timer_ends_a_wait.store(true, Ordering::Relaxed);
    }

    /// Returns whether a wait can still end by a timer.
    pub(crate) fn may_end_wait(&self) -> bool {
        self.any_expires() && !self.no_timer_ends_a_wait.load(Ordering::Relaxed)
    }

    /// Returns whether a timer that expires is set.
    pub(crate) fn any_expires(&self) -> bool {
        let set = locked(&self.timers.set);
        set.keys().any(|(due, _)| *due != NEVER)
    }

    /// Returns the timers that are set and expire.
    pub(crate) fn expiring(&self) -> Vec<usize> {
        let set = locked(&self.timers.set);
        let expire = set.iter().filter(|((due, _), _)| *due != NEVER);
        expire.map(|(_, timer)| *timer).collect()
    }

    /// Returns whether any timer is set.
    pub(crate) fn any_set(&self) -> bool {
        !locked(&self.timers.set).is_empty()
    }

    /// Removes the next timer if it is due at a time, and calls `fire` before another thread can query the timer. If
    /// `fire` returns a due time, the timer is set again. A virtual clock advances to the due time.
    pub(crate) fn take_next(&self, until: u64, fire: impl FnOnce(usize) -> Option<u64>) -> bool {
        let mut set = locked(&self.timers.set);
        let Some((&(due, number), &timer)) = set.first_key_value() else {
            return false;
        };
        if due > until || due == NEVER {
            return false;
        }
        set.remove(&(due, number));
        self.put_forward(due);
        if let Some(again) = fire(timer) {
            let number = self.timers.last.fetch_add(1, Ordering::Relaxed);
            set.insert((again, number), timer);
        }
        true
    }

    /// Returns the timers, for the thread that waits for them.
    pub(crate) fn timers(&self) -> Arc<Timers> {
        Arc::clone(&self.timers)
    }

    /// Advances a virtual clock.
    pub(crate) fn put_forward(&self, until: u64) {
        if let Some(now) = &self.now {
            now.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Records that an exploration has a thread that expires timers; returns whether it already had one.
    pub(crate) fn is_exploring(&self) -> bool {
        self.exploring.swap(true, Ordering::SeqCst)
    }

    /// Returns whether the clock is shut down.
    pub(crate) fn ends(&self) -> bool {
        self.timers.ends.load(Ordering::SeqCst)
    }

    /// Ends the thread that waits for timers.
    pub(crate) fn shut_down(&self) {
        self.timers.ends.store(true, Ordering::SeqCst);
        drop(locked(&self.timers.set));
        self.notify();
    }

    /// Wakes the thread that waits for timers in the host's time.
    fn notify(&self) {
        if !self.is_virtual() {
            self.timers.changed.notify_all();
        }
    }
}

impl Kernel {
    /// Returns the time since the kernel was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        footprint::touch_everything();
        Duration::from_nanos(self.clock.now().saturating_mul(100))
    }
}
