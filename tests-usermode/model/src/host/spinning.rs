//! Threads that spin for ever: at `DISPATCH_LEVEL`, Windows stops with `DPC_WATCHDOG_VIOLATION`; below, the thread hangs.

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
/// Its first parameter for a thread that stays at `DISPATCH_LEVEL`.
const AT_DISPATCH_LEVEL: u64 = 1;

/// How long a thread of the host may spin at `DISPATCH_LEVEL`, and below. A host that is busy may not run the other thread
/// for a while.
const PATIENCE_AT_DISPATCH: Duration = Duration::from_secs(10);
const PATIENCE_BELOW: Duration = Duration::from_secs(20);

/// How long a thread may do something else between two turns of a loop that it spins in, in milliseconds.
const PAUSE: u64 = 1_000;

/// How many steps the threads of a schedule make at the most. If they make more, those that are left spin.
const MOST_STEPS: usize = 100_000;

/// When a thread began to spin, and when it was last seen to: in milliseconds since the first thread did, and one more. The
/// first is zero if the thread does not spin.
#[derive(Default)]
pub(crate) struct Spinning {
    since: AtomicU64,
    last: AtomicU64,
}

impl Spinning {
    /// The thread does something else: it returns from the driver, or its IRQL changes.
    pub(crate) fn is_over(&self) {
        self.since.store(0, Relaxed);
    }

    /// How long it has spun; it does now.
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
    /// Stops the system if this thread of the host has spun for too long.
    pub(crate) fn watch_spinning(&self, what: &'static str) {
        let patience = if self.irql() >= DISPATCH_LEVEL {
            PATIENCE_AT_DISPATCH
        } else {
            PATIENCE_BELOW
        };
        let time = self.spinning.time();
        if time > patience {
            let says = format!("{self} has spun for {} seconds", time.as_secs());
            Self::spins(what, self.irql(), says);
        }
    }

    /// Counts a step of an exploration, and stops the system if there is no end to them: what can go on then is given turns,
    /// and nothing comes of it.
    pub(crate) fn count_step(&self, routine: &'static str) {
        if self.kernel.step_count.fetch_add(1, Ordering::Relaxed) < MOST_STEPS {
            return;
        }
        let what = format!("{self} spins: no end has come in {MOST_STEPS} steps");
        Self::spins(routine, self.irql(), what);
    }

    fn spins(routine: &'static str, irql: u8, what: String) -> ! {
        let bug_check = if irql >= DISPATCH_LEVEL {
            BugCheck(DPC_WATCHDOG_VIOLATION, [AT_DISPATCH_LEVEL, 0, 0, 0])
        } else {
            BugCheck(0, [0; 4])
        };
        Call::enter(routine).stop(bug_check, Rule::Hang, what)
    }
}
