//! The part of a kernel that every folder sees: its threads, its clock, why it has stopped; and the state of the other folders,
//! which is theirs to name.

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
        thread::Thread,
        upcalls::Upcalls,
        wait::{Engine, Sleepers, Wait},
    },
    mutex::locked,
    verifier::Violation,
};

/// A kernel. Several can be in one program; each has its own devices, locks and threads.
pub struct Kernel {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) upcalls: &'static Upcalls,
    parts: Vec<Box<dyn Any + Send + Sync>>,
    violation: OnceLock<Violation>,
    halted: AtomicBool,
    threads: Mutex<Vec<Weak<Thread>>>,
    last_thread: AtomicU32,
    pub(crate) sleepers: Sleepers,
    pub(crate) clock: TimeKeeper,
    pub(crate) messages: Mutex<Vec<String>>,
    pub(crate) steps: Option<Mutex<Vec<Step>>>,
    /// How many steps the threads of an exploration have made.
    pub(crate) step_count: AtomicUsize,
}

impl Kernel {
    /// Makes a kernel of the parts that the other folders have in it.
    pub(crate) fn of_parts(
        config: Config,
        engine: Engine,
        steps: bool,
        upcalls: &'static Upcalls,
        parts: Vec<Box<dyn Any + Send + Sync>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            upcalls,
            parts,
            violation: OnceLock::new(),
            halted: AtomicBool::new(false),
            threads: Mutex::default(),
            last_thread: AtomicU32::new(0),
            sleepers: Sleepers::default(),
            clock: TimeKeeper::new(config.clock, engine),
            messages: Mutex::default(),
            steps: steps.then(Mutex::default),
            step_count: AtomicUsize::new(0),
            config,
        })
    }

    /// The state of a folder, by its type.
    pub(crate) fn part<P: Any>(&self) -> &P {
        let part = self.parts.iter().find_map(|part| part.downcast_ref());
        part.unwrap_or_else(|| unreachable!("a kernel is made with every part"))
    }

    /// Why the system has stopped, if it has.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.get()
    }

    /// Whether a request of the driver's that is made now fails.
    pub(crate) fn fails(&self) -> bool {
        let faults = self.config.faults.as_ref();
        faults.is_some_and(|faults| faults.fails())
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Stops the system: the first violation counts.
    pub(crate) fn stop(&self, violation: Violation) {
        if self.engine == Engine::Shuttle {
            (self.upcalls.end_with)(violation, self);
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

    /// How many threads there were until now.
    pub(crate) fn threads_so_far(&self) -> u32 {
        self.last_thread.load(Ordering::Relaxed)
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
        threads.any(|thread| {
            matches!(
                *locked(&thread.waits_for),
                Some(Wait::SpinLock(_) | Wait::ReaderWriter(_))
            )
        })
    }

    /// Who has what a thread waits for, in words, if that is known.
    pub(crate) fn holders(&self, wait: Wait) -> Option<String> {
        if let Wait::Object(object) | Wait::Timed(object, _) = wait
            && let Some(owner) = self.owner_of_mutex(object)
        {
            return Some(format!("a mutex, which {owner} has"));
        }
        let (Wait::SpinLock(lock) | Wait::ReaderWriter(lock)) = wait else {
            return (self.upcalls.holders)(self, wait);
        };
        let threads: Vec<_> = locked(&self.threads)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut names = threads.iter().filter_map(|thread| {
            let held = locked(&thread.held);
            let held = held.iter().find(|held| held.lock == lock)?;
            Some(match &held.place {
                Some(place) => format!("which {} has, acquired by {place}", thread.name()),
                None => format!("which {} has", thread.name()),
            })
        });
        names.next()
    }

    /// A thread that waits for an object whose memory is in a range, and the object.
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

    /// What the threads wait for.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        let threads = locked(&self.threads);
        let threads = threads.iter().filter_map(Weak::upgrade);
        threads
            .filter_map(|thread| *locked(&thread.waits_for))
            .collect()
    }

    /// The thread that has a mutex.
    fn owner_of_mutex(&self, mutex: usize) -> Option<String> {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        let owner = threads.find(|thread| locked(&thread.mutexes).contains(&mutex))?;
        Some(owner.name().to_owned())
    }

    /// Whether every thread waits, and no timer is set that could end that.
    pub(crate) fn nothing_goes_on(&self) -> bool {
        let threads = locked(&self.threads);
        let mut threads = threads.iter().filter_map(Weak::upgrade);
        let waits = |thread: Arc<Thread>| {
            locked(&thread.waits_for).is_some_and(|wait| !wait.is_short()) || thread.is_of_timers()
        };
        !self.clock.may_end_wait() && threads.all(waits)
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
