//! The kernel: everything that its threads share.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Config, OnViolation, Rule, Step, Violation,
    bug_check::BugCheck,
    call::Call,
    clock,
    clock::TimeKeeper,
    dpc::Processors,
    explore,
    handle::Handles,
    inlines,
    io::Io,
    lock_order::LockOrder,
    pool::Pool,
    remove_lock::RemoveLocks,
    spin_lock,
    thread::{Attached, Thread},
    wait::{Engine, Sleepers, Wait, locked},
    work_item::WorkItems,
};

/// A kernel. Several can be in one program; each has its own devices, locks and threads.
pub struct Kernel {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    violation: OnceLock<Violation>,
    halted: AtomicBool,
    threads: Mutex<Vec<Weak<Thread>>>,
    last_thread: AtomicU32,
    pub(crate) sleepers: Sleepers,
    pub(crate) processors: Processors,
    /// The cancel spin lock, as a `KSPIN_LOCK`.
    pub(crate) cancel_lock: AtomicU64,
    pub(crate) lock_order: LockOrder,
    pub(crate) clock: TimeKeeper,
    pub(crate) io: Io,
    pub(crate) pool: Arc<Pool>,
    pub(crate) handles: Handles,
    pub(crate) remove_locks: RemoveLocks,
    pub(crate) work_items: WorkItems,
    pub(crate) messages: Mutex<Vec<String>>,
    pub(crate) steps: Option<Mutex<Vec<Step>>>,
    /// How many steps the threads of an exploration have made.
    pub(crate) step_count: AtomicUsize,
    /// How many threads of the driver's have not ended.
    pub(crate) driver_threads: AtomicUsize,
}

impl Kernel {
    /// Makes a kernel whose threads are the host's.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Self::with_engine(config, Engine::Host, false)
    }

    pub(crate) fn with_engine(config: Config, engine: Engine, steps: bool) -> Arc<Self> {
        inlines::watch();
        let kernel = Arc::new(Self {
            engine,
            violation: OnceLock::new(),
            halted: AtomicBool::new(false),
            threads: Mutex::default(),
            last_thread: AtomicU32::new(0),
            sleepers: Sleepers::default(),
            processors: Processors::new(config.processors),
            cancel_lock: AtomicU64::new(spin_lock::FREE),
            lock_order: LockOrder::default(),
            clock: TimeKeeper::new(config.clock, engine),
            io: Io::default(),
            pool: Arc::default(),
            handles: Handles::default(),
            remove_locks: RemoveLocks::default(),
            work_items: WorkItems::default(),
            messages: Mutex::default(),
            steps: steps.then(Mutex::default),
            step_count: AtomicUsize::new(0),
            driver_threads: AtomicUsize::new(0),
            config,
        });
        clock::start(&kernel);
        kernel
    }

    /// Why the system has stopped, if it has.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.get()
    }

    /// What the driver has said to the debugger.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        locked(&self.messages).clone()
    }

    /// Stops the system unless something holds that a scenario promises: so it is found as a broken rule is, with its
    /// schedule.
    pub fn must(self: &Arc<Self>, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let _attached = Attached::to(self);
            Call::enter("a scenario looks").stop(BugCheck(0, [0; 4]), Rule::Promise, what());
        }
    }

    /// Lets a time pass, by a [virtual](crate::Clock::Virtual) clock: whatever timers expire in it do, and a closed
    /// file whose last request they have ended goes.
    pub fn advance(self: &Arc<Self>, time: Duration) {
        let _attached = Attached::to(self);
        clock::advance(self, time);
        self.close_deferred(&Call::enter("IRP_MJ_CLOSE"));
    }

    /// How often the driver holds its remove locks: once for each IRP and each call that is under way.
    #[must_use]
    pub fn holds(&self) -> i32 {
        self.remove_locks.holds()
    }

    /// How many blocks of the pool the driver has.
    #[must_use]
    pub fn pool_blocks(&self) -> usize {
        self.pool.blocks()
    }

    /// How much of the pool the driver has, in bytes.
    #[must_use]
    pub fn pool_bytes(&self) -> usize {
        self.pool.bytes()
    }

    /// How many device objects the driver has made and not deleted.
    #[must_use]
    pub fn device_objects(&self) -> usize {
        self.io.devices.count()
    }

    /// Whether any timer is set or any DPC queued.
    pub(crate) fn has_timer_or_dpc(&self) -> bool {
        self.processors.waiting() != 0 || self.clock.any_set()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Stops the system: the first violation counts.
    pub(crate) fn stop(&self, violation: Violation) {
        if self.engine == Engine::Shuttle {
            explore::end_with(violation, self);
        }
        if self.violation.set(violation).is_err() {
            return;
        }
        if self.config.on_violation == OnViolation::Abort {
            if let Some(violation) = self.violation() {
                // Not by `eprintln`, whose output a test keeps to itself until it has ended. There is nobody to tell if it
                // cannot be written.
                let _ = writeln!(std::io::stderr(), "{violation}");
            }
            std::process::abort();
        }
        self.halted.store(true, Ordering::SeqCst);
        self.sleepers.wake_all();
    }

    pub(crate) fn next_thread(&self) -> u32 {
        self.last_thread.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add_thread(&self, thread: &Arc<Thread>) {
        let mut threads = locked(&self.threads);
        threads.retain(|thread| thread.strong_count() != 0);
        threads.push(Arc::downgrade(thread));
    }

    /// The thread of a number.
    pub(crate) fn thread(&self, number: u32) -> Option<Arc<Thread>> {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.find(|thread| thread.number == number)
    }

    /// Whether any system thread is left.
    pub(crate) fn has_system_thread(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.any(|thread| thread.is_system())
    }

    /// Whether a system thread does anything, instead of waiting.
    fn system_thread_runs(&self) -> bool {
        let threads = locked(&self.threads);
        let mut system = threads
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|thread| thread.is_system());
        system.any(|thread| locked(&thread.waits_for).is_none_or(Wait::is_short))
    }

    /// Lets the system threads run until each of them waits, as far as that can be told: what they do comes before what time
    /// brings by a virtual clock.
    pub(crate) fn settle(&self) {
        let threads_are_hosts = self.engine == Engine::Host;
        while threads_are_hosts && !self.is_halted() && self.system_thread_runs() {
            std::thread::yield_now();
        }
    }

    /// Whether a thread waits for a spin lock.
    pub(crate) fn waits_for_lock(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.any(|thread| matches!(*locked(&thread.waits_for), Some(Wait::SpinLock(_))))
    }

    /// Every thread that holds or waits for something.
    pub(crate) fn describe_threads(&self) -> Vec<String> {
        let threads: Vec<_> = locked(&self.threads)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let busy = threads.iter().filter(|thread| {
            thread.irql() != 0
                || !locked(&thread.held).is_empty()
                || locked(&thread.waits_for).is_some()
        });
        busy.map(ToString::to_string).collect()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.clock.shut_down();
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
