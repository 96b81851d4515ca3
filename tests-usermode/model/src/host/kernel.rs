//! The part of a kernel that every folder sees: its threads, its clock and its violation, and the state of the other
//! folders, whose types only those folders know.

use std::{
    any::Any,
    io::Write,
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use crate::{
    host::{
        Config, OnViolation, Step,
        clock::TimeKeeper,
        footprint::{self, Access},
        special::OpenPages,
        thread::Thread,
        upcalls::Upcalls,
        wait::{Engine, Sleepers, Wait},
    },
    mutex::locked,
    verifier::Violation,
};

/// The state of a folder, as a part of a kernel.
///
/// # Safety
/// The part of every kernel at the index `PLACE` has this type.
pub(crate) unsafe trait Part: Any + Send + Sync {
    /// The index of the state in [`Parts`].
    const PLACE: usize;
}

/// The parts of a kernel.
pub(crate) type Parts = [Box<dyn Any + Send + Sync>; 4];

/// A kernel. A program can have several; each has its own devices, locks and threads.
pub struct Kernel {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) upcalls: &'static Upcalls,
    parts: Parts,
    violation: OnceLock<Violation>,
    halted: AtomicBool,
    threads: Mutex<Vec<Weak<Thread>>>,
    last_thread: AtomicU32,
    pub(crate) sleepers: Sleepers,
    pub(crate) clock: TimeKeeper,
    pub(crate) messages: Mutex<Vec<String>>,
    /// The special pages that are closed when a thread may not access them.
    pub(crate) open_pages: OpenPages,
    pub(crate) steps: Option<Mutex<Vec<Step>>>,
    /// The number of steps of an exploration.
    pub(crate) step_count: AtomicUsize,
}

impl Kernel {
    /// Makes a kernel from the parts of the other folders.
    pub(crate) fn of_parts(
        config: Config,
        engine: Engine,
        steps: bool,
        upcalls: &'static Upcalls,
        parts: Parts,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            upcalls,
            parts,
            violation: OnceLock::new(),
            halted: AtomicBool::new(false),
            threads: Mutex::default(),
            last_thread: AtomicU32::new(0),
            sleepers: Sleepers::new(engine),
            clock: TimeKeeper::new(config.clock, engine),
            messages: Mutex::default(),
            open_pages: OpenPages::default(),
            steps: steps.then(Mutex::default),
            step_count: AtomicUsize::new(0),
            config,
        })
    }

    /// Returns the state of a folder, by its type.
    #[inline]
    pub(crate) fn part<P: Part>(&self) -> &P {
        let part: &dyn Any = &*self.parts[P::PLACE];
        debug_assert!(part.is::<P>(), "a kernel is made with every part");
        // SAFETY: the part has this type, by the contract of the trait. A checked cast takes longer than most of the routines.
        unsafe { &*std::ptr::from_ref(part).cast() }
    }

    /// Returns the violation that stopped the system, if any.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.get()
    }

    /// Returns whether the driver's current request fails, by fault injection.
    pub(crate) fn fails(&self) -> bool {
        let faults = self.config.faults.as_ref();
        faults.is_some_and(|faults| faults.fails())
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Stops the system. Only the first violation is recorded.
    pub(crate) fn stop(&self, violation: Violation) {
        if self.engine == Engine::Shuttle {
            (self.upcalls.end_with)(violation, self);
        }
        if self.violation.set(violation).is_err() {
            return;
        }
        if self.config.on_violation == OnViolation::Abort {
            if let Some(violation) = self.violation() {
                // Not by `eprintln`, whose output the test harness captures until the test ends. An error cannot be
                // reported.
                let _ = writeln!(std::io::stderr(), "{violation}");
            }
            std::process::abort();
        }
        self.halted.store(true, Ordering::SeqCst);
        self.sleepers.wake_all();
    }

    /// Returns the number of a new thread.
    pub(crate) fn next_thread(&self) -> u32 {
        // The order in which threads are made decides on which processors they run.
        footprint::touch((&raw const self.last_thread).addr(), Access::Exclusive);
        self.last_thread.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the number of threads made so far.
    pub(crate) fn threads_so_far(&self) -> u32 {
        self.last_thread.load(Ordering::Relaxed)
    }

    pub(crate) fn add_thread(&self, thread: &Arc<Thread>) {
        let mut threads = locked(&self.threads);
        threads.retain(|thread| thread.strong_count() != 0);
        threads.push(Arc::downgrade(thread));
    }

    /// Returns the threads.
    pub(crate) fn all_threads(&self) -> Vec<Arc<Thread>> {
        let threads = locked(&self.threads);
        threads.iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the thread with a number.
    pub(crate) fn thread(&self, number: u32) -> Option<Arc<Thread>> {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.find(|thread| thread.number == number)
    }

    /// Returns whether any system thread exists.
    pub(crate) fn has_system_thread(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.any(|thread| thread.is_system())
    }

    /// Returns whether a system thread runs instead of waiting.
    fn system_thread_runs(&self) -> bool {
        let threads = locked(&self.threads);
        let mut system = threads
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|thread| thread.is_system());
        system.any(|thread| locked(&thread.waits_for).is_none_or(Wait::is_short))
    }

    /// Lets the system threads run until each of them appears to wait. Under a virtual clock their work comes before
    /// the next timer.
    pub(crate) fn settle(&self) {
        let threads_are_hosts = self.engine == Engine::Host;
        while threads_are_hosts && !self.is_halted() && self.system_thread_runs() {
            std::thread::yield_now();
        }
    }

    /// Returns whether a thread waits for a spin lock.
    pub(crate) fn waits_for_lock(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.any(|thread| {
            matches!(
                *locked(&thread.waits_for),
                Some(Wait::SpinLock(_) | Wait::ReaderWriter(_))
            )
        })
    }

    /// Describes the holder of the object that a thread waits for, if it is known.
    pub(crate) fn holders(&self, wait: Wait) -> Option<String> {
        if let Wait::Object(object) | Wait::Timed(object, _) = wait
            && let Some((owner, _, kind)) = self.owner_in(&(object..object + 1))
        {
            return Some(format!("a {kind}, which {owner} owns"));
        }
        let (Wait::SpinLock(lock) | Wait::ReaderWriter(lock)) = wait else {
            return (self.upcalls.holders)(self, wait);
        };
        let threads: Vec<_> = locked(&self.threads)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut names = threads.iter().filter_map(|thread| {
            let held = thread.held.all();
            let held = held.iter().find(|held| held.lock == lock)?;
            Some(match &held.place {
                Some(place) => format!("which {} holds, acquired by {place}", thread.name()),
                None => format!("which {} holds", thread.name()),
            })
        });
        names.next()
    }

    /// Returns a thread that waits for an object whose memory is in a range, and the object.
    pub(crate) fn any_waited_for_in(&self, range: &Range<usize>) -> Option<(String, usize)> {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.find_map(|thread| match *locked(&thread.waits_for) {
            Some(Wait::Object(object) | Wait::Timed(object, _)) if range.contains(&object) => {
                Some((thread.name().to_owned(), object))
            }
            _ => None,
        })
    }

    /// Returns the waits of the threads.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        let threads = locked(&self.threads);
        let threads = threads.iter().filter_map(Weak::upgrade);
        threads
            .filter_map(|thread| *locked(&thread.waits_for))
            .collect()
    }

    /// Returns the owner of a mutex or a resource in memory, the address of the object, and what it is.
    pub(crate) fn owner_in(&self, memory: &Range<usize>) -> Option<(String, usize, &'static str)> {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        threads.find_map(|thread| {
            let owned = locked(&thread.mutexes);
            let (object, kind) = owned.iter().find(|(object, _)| memory.contains(object))?;
            Some((thread.name().to_owned(), *object, *kind))
        })
    }

    /// Returns whether every thread waits, and no timer is set that could end a wait.
    pub(crate) fn nothing_can_continue(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        let waits = |thread: Arc<Thread>| {
            locked(&thread.waits_for).is_some_and(|wait| !wait.is_short()) || thread.is_of_timers()
        };
        !self.clock.may_end_wait() && threads.all(waits)
    }

    /// Describes every thread that holds or waits for something.
    pub(crate) fn describe_threads(&self) -> Vec<String> {
        let threads: Vec<_> = locked(&self.threads)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let busy = threads.iter().filter(|thread| {
            thread.irql() != 0
                || !thread.held.all().is_empty()
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
