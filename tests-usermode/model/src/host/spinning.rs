//! Threads that spin forever. At `DISPATCH_LEVEL` Windows stops with `DPC_WATCHDOG_VIOLATION`; at a lower IRQL the
//! thread hangs.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{self, Relaxed},
        },
    },
    time::{Duration, Instant},
};

use nt::DISPATCH_LEVEL;

use crate::{
    host::{Call, thread::Thread},
    verifier::{BugCheck, Rule},
};

/// `DPC_WATCHDOG_VIOLATION`
const DPC_WATCHDOG_VIOLATION: u32 = 0x133;
/// The first parameter of the bug check for a thread that stays at `DISPATCH_LEVEL`.
const AT_DISPATCH_LEVEL: u64 = 1;

/// The longest time between two iterations of a spin loop, in milliseconds.
const PAUSE: u64 = 1_000;

/// The maximum number of steps in a schedule. If there are more, the remaining threads spin.
const MOST_STEPS: usize = 100_000;

/// The times at which a thread began to spin and at which it last did, in milliseconds since the first thread began to
/// spin, plus one. `since` is zero if the thread does not spin.
#[derive(Default)]
pub(crate) struct Spinning {
    since: AtomicU64,
    last: AtomicU64,
}

impl Spinning {
    /// Records that the thread does not spin: it returns from the driver, or its IRQL changes.
    pub(crate) fn is_over(&self) {
        self.since.store(0, Relaxed);
    }

    /// Records that the thread spins; returns how long it has been spinning.
    fn time(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = START.get_or_init(Instant::now);
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.last.swap(now, Relaxed);
        let since = self.since.load(Relaxed);
        if since == 0 || now - last > PAUSE {
            self.since.store(now, Relaxed);
            return Duration::ZERO;
        }
        Duration::from_millis(now - since)
    }
}

impl Thread {
    /// Stops the system if this host thread has spun for too long.
    pub(crate) fn watch_spinning(&self, what: &'static str) {
        let most = self.kernel.config.hang_after;
        let patience = if self.irql() >= DISPATCH_LEVEL {
            most / 2
        } else {
            most
        };
        let time = self.spinning.time();
        if time > patience {
            let report = format!("{self} has spun for {} seconds", time.as_secs());
            Self::spins(what, self.irql(), report);
        }
    }

    /// Counts a step of an exploration, and stops the system if there are too many: the threads that can continue make no
    /// progress.
    pub(crate) fn count_step(&self, routine: &'static str) {
        if self.kernel.step_count.fetch_add(1, Ordering::Relaxed) < MOST_STEPS {
            return;
        }
        let what = format!("{self} spins: the schedule did not end within {MOST_STEPS} steps");
        Self::spins(routine, self.irql(), what);
    }

    fn spins(routine: &'static str, irql: u8, what: String) -> ! {
        let bug_check = if irql >= DISPATCH_LEVEL {
            BugCheck(DPC_WATCHDOG_VIOLATION, [AT_DISPATCH_LEVEL, 0, 0, 0])
        } else {
            BugCheck::NONE
        };
        Call::enter(routine).stop(bug_check, Rule::Hang, what)
    }
}
