//! Searches: the orders in which a scenario's threads run, and the result.

use std::{
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use crate::{
    explore::{
        depth_first::{DepthFirst, Pruning},
        schedule::{Misfit, Schedule},
        scheduler::{Played, Player, Recorder},
    },
    host::{
        Call, Config, Kernel, OnViolation, Step, footprint,
        thread::{Attached, Thread},
        wait::Engine,
    },
    ke,
    mutex::locked,
    verifier::Violation,
};

/// The memory that the driver and the scenario access outside routines of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Any memory, at any time. Two such accesses are dependent on each other.
    Unknown,
    /// Memory whose accesses are ordered by routines of the kernel, the [`Interlocked`](nt::interlocked) functions or
    /// [atomics that the model observes](nt::atomic): under a lock, or after an IRP, an event or a thread has passed it on.
    /// A driver in safe code on `wdm` has only such memory.
    Guarded,
}

/// The orders that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every order, by depth-first search, except those that differ only in the order of independent steps from one that is
    /// tried, and so have the same outcome.
    ///
    /// Steps are independent if they access no object in common: no lock, IRP, event, queue, DPC, timer, file or [tracked
    /// variable](crate::explore::Shared). A routine whose accesses the model does not record is dependent on everything.
    Reduced {
        /// The maximum number of orders.
        most: usize,
        /// The memory that code between the routines of the kernel accesses.
        memory: Memory,
    },
    /// Every order, or every order with a bounded number of preemptions, by depth-first search.
    DepthFirst {
        /// The maximum number of orders.
        most: usize,
        /// The maximum number of times that a thread is preempted although it can continue; `None` for no limit. Most
        /// mistakes need at most two preemptions. Each further one multiplies the number of orders by about the number of
        /// steps.
        preemptions: Option<u32>,
    },
    /// Orders chosen at random.
    Random {
        /// The number of orders.
        schedules: usize,
        /// The seed of the generator.
        seed: u64,
    },
    /// Random orders with few preemptions: "probabilistic concurrency testing", which finds mistakes that need few
    /// preemptions at the right steps.
    Pct {
        /// The number of orders.
        schedules: usize,
        /// The number of preemptions.
        depth: usize,
        /// The seed of the generator.
        seed: u64,
    },
}

impl Search {
    /// Tries every order of any driver ([`Memory::Unknown`]), up to a number of schedules.
    #[must_use]
    pub const fn every(most: usize) -> Self {
        Self::Reduced {
            most,
            memory: Memory::Unknown,
        }
    }

    /// Tries every order of a driver whose memory is guarded ([`Memory::Guarded`]), up to a number of schedules.
    #[must_use]
    pub const fn guarded(most: usize) -> Self {
        Self::Reduced {
            most,
            memory: Memory::Guarded,
        }
    }

    /// Tries every order, including those with the same outcome, up to a number of schedules.
    #[must_use]
    pub const fn unreduced(most: usize) -> Self {
        Self::DepthFirst {
            most,
            preemptions: None,
        }
    }

    /// Tries every order with at most this many preemptions, up to a million schedules.
    #[must_use]
    pub const fn preempting(preemptions: u32) -> Self {
        Self::DepthFirst {
            most: 1_000_000,
            preemptions: Some(preemptions),
        }
    }

    /// Returns the same search with another number of schedules.
    #[must_use]
    pub const fn of(self, schedules: usize) -> Self {
        match self {
            Self::Reduced { memory, .. } => Self::Reduced {
                most: schedules,
                memory,
            },
            Self::DepthFirst { preemptions, .. } => Self::DepthFirst {
                most: schedules,
                preemptions,
            },
            Self::Random { seed, .. } => Self::Random { schedules, seed },
            Self::Pct { depth, seed, .. } => Self::Pct {
                schedules,
                depth,
                seed,
            },
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reduced {
                memory: Memory::Unknown,
                ..
            } => write!(f, "every order"),
            Self::Reduced {
                memory: Memory::Guarded,
                ..
            } => write!(f, "every order, memory guarded"),
            Self::DepthFirst {
                preemptions: None, ..
            } => write!(f, "every order, unreduced"),
            Self::DepthFirst {
                preemptions: Some(most),
                ..
            } => write!(f, "preempt <= {most}"),
            Self::Random { .. } => write!(f, "at random"),
            Self::Pct { depth, .. } => write!(f, "PCT, depth {depth}"),
        }
    }
}

/// The subject of an exploration, whose threads run one at a time.
pub type Scenario = fn(&Arc<Kernel>);

/// The result of an exploration that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// The number of schedules.
    pub schedules: usize,
    /// Whether the search has tried every order of the scenario, except those that differ from one only in the order of
    /// independent steps. The scheduler switches threads at routines of the kernel whose effect others can observe. A
    /// thread that yields does not continue while another one can. For [`Memory::Guarded`] this holds if the memory is
    /// guarded.
    pub complete: bool,
    /// The bound on the preemptions, if the search has one and has tried every order within it.
    pub complete_up_to: Option<u32>,
    /// The duration of the exploration.
    pub time: Duration,
}

/// The finding of an exploration.
#[derive(Clone, Debug)]
pub struct Found {
    /// The violation.
    pub violation: Violation,
    /// The schedule that leads to it.
    pub schedule: Schedule,
    /// The number of schedules that were tried, including this one.
    pub schedules: usize,
    /// The duration of the exploration.
    pub time: Duration,
    /// The steps, if they were recorded.
    pub steps: Vec<Step>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            violation,
            schedule,
            schedules,
            ..
        } = self;
        write!(
            f,
            "{violation}\n    found    in schedule {schedules}: {schedule}"
        )
    }
}

/// The state that the runs of an exploration share with its caller.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) taken: Mutex<Vec<usize>>,
    pub(crate) schedules: AtomicUsize,
    kernel: Mutex<Option<Arc<Kernel>>>,
    pub(crate) out_of_choices: AtomicBool,
    /// Whether a schedule was too long for its end to be searched.
    pub(crate) cut: AtomicBool,
}

/// Runs a scenario in many orders, until one breaks a rule.
///
/// # Errors
/// The finding: the violation and its schedule.
pub fn explore(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    let explored = try_orders(search, scenario);
    explored.map_err(|mut found| {
        // The stack of each wait is recorded only when the schedule is replayed, since it would take too long in all of
        // them.
        let hangs = found.violation.rule.is_hang();
        if hangs && let Ok(Some(again)) = replay(&found.schedule, scenario) {
            found.violation = again.violation;
        }
        found
    })
}

/// Tests that a scenario breaks no rule: in up to `schedules` orders of [`Search::every`], and in as many at random.
///
/// ```
/// ntmodel::explore::check(100, |kernel| {
///     let other = kernel.actor("other", || 1);
///     assert_eq!(other.join(), 1);
/// });
/// ```
///
/// # Panics
/// With the violation and its schedule, if a rule is broken or an assertion of the scenario fails.
#[track_caller]
pub fn check(schedules: usize, scenario: Scenario) {
    for search in [
        Search::every(schedules),
        Search::Random { schedules, seed: 1 },
    ] {
        // Not in a closure, whose panics would not be reported at the caller.
        if let Err(found) = explore(search, scenario) {
            panic!("{found}");
        }
    }
}

fn try_orders(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    match search {
        Search::Reduced { most, memory } => {
            let guarded = memory == Memory::Guarded;
            let scheduler = DepthFirst::new(most, Pruning::Independent { guarded });
            run(scheduler, scenario, false, Some(most))
        }
        Search::DepthFirst { most, preemptions } => {
            let scheduler = DepthFirst::new(most, Pruning::Preemptions(preemptions));
            let mut explored = run(scheduler, scenario, false, Some(most))?;
            if preemptions.is_some() && explored.complete {
                explored.complete_up_to = preemptions;
                explored.complete = false;
            }
            Ok(explored)
        }
        Search::Random { schedules, seed } => {
            let scheduler = RandomScheduler::new_from_seed(seed, schedules);
            run(scheduler, scenario, false, None)
        }
        Search::Pct {
            schedules,
            depth,
            seed,
        } => {
            let scheduler = PctScheduler::new_from_seed(seed, depth, schedules);
            run(scheduler, scenario, false, None)
        }
    }
}

/// Runs a scenario in the order of a schedule, and returns the finding, if any, with the steps that led to it. Beyond the
/// end of the schedule any thread that can run is chosen.
///
/// # Errors
/// The schedule does not fit the scenario. A finding in another order is not returned.
pub fn replay(schedule: &Schedule, scenario: Scenario) -> Result<Option<Box<Found>>, Misfit> {
    let progress = Arc::<Mutex<Played>>::default();
    let player = Player {
        schedule: schedule.clone(),
        started: false,
        played: Arc::clone(&progress),
    };
    let found = run(player, scenario, true, None).err();
    let Played { steps, misfit } = &*locked(&progress);
    match misfit {
        Some(misfit) => Err(misfit.clone()),
        None if found.is_none() && *steps < schedule.0.len() => Err(Misfit::Length {
            scenario: *steps,
            schedule: schedule.0.len(),
        }),
        None => Ok(found),
    }
}

/// Runs an exploration in a host thread. After a finding that thread stops forever: nothing unwinds through a driver, and
/// the content of its stack is never used again.
fn run<S: Scheduler + Send + 'static>(
    scheduler: S,
    scenario: Scenario,
    steps: bool,
    most: Option<usize>,
) -> Result<Explored, Box<Found>> {
    let (sender, receiver) = mpsc::channel();
    let running = std::thread::spawn(move || {
        let shared = Arc::<Shared>::default();
        let start = Instant::now();
        RUN.set(Some(Run {
            shared: Arc::clone(&shared),
            start,
            sender: sender.clone(),
        }));
        let recorder = Recorder {
            scheduler,
            shared: Arc::clone(&shared),
            steps: 0,
        };
        let body = {
            let shared = Arc::clone(&shared);
            move || one_schedule(&shared, scenario, steps)
        };
        shuttle::Runner::new(recorder, config()).run(body);
        footprint::end();
        let tried = shared.schedules.load(Ordering::Relaxed);
        let all = shared.out_of_choices.load(Ordering::Relaxed);
        let cut = shared.cut.load(Ordering::Relaxed);
        // The receiver exists, since the caller waits for this.
        let _ = sender.send(Ok(Explored {
            schedules: tried,
            complete: all && !cut && most.is_some_and(|most| tried < most),
            complete_up_to: None,
            time: start.elapsed(),
        }));
    });
    receiver.recv().unwrap_or_else(|_| match running.join() {
        Ok(()) => unreachable!("a thread that ends without a panic has sent its result"),
        Err(payload) => std::panic::resume_unwind(payload),
    })
}

fn config() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.stack_size = 0x8_0000;
    config.failure_persistence = shuttle::FailurePersistence::None;
    // A spinning thread is detected before this limit.
    config.max_steps = shuttle::MaxSteps::FailAfter(1_000_000);
    config.silence_warnings = true;
    config
}

thread_local! {
    /// The exploration that this thread of the host runs.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// The data that a report of a finding needs.
struct Run {
    shared: Arc<Shared>,
    start: Instant,
    sender: mpsc::Sender<Result<Explored, Box<Found>>>,
}

/// Reports a finding in the current schedule, and stops this host thread.
pub(crate) fn end_with(violation: Violation, kernel: &Kernel) -> ! {
    if let Some(run) = RUN.take() {
        let steps = kernel.steps.as_ref().map(|steps| locked(steps).clone());
        let found = Found {
            violation,
            schedule: Schedule(locked(&run.shared.taken).clone()),
            schedules: run.shared.schedules.load(Ordering::Relaxed),
            time: run.start.elapsed(),
            steps: steps.unwrap_or_default(),
        };
        // The receiver exists, since the caller waits for this.
        let _ = run.sender.send(Err(Box::new(found)));
    }
    loop {
        std::thread::park();
    }
}

/// Runs the scenario once, in a new kernel.
fn one_schedule(shared: &Arc<Shared>, scenario: Scenario, steps: bool) {
    let config = Config {
        processors: 8,
        on_violation: OnViolation::Halt,
        locations: steps,
        print: false,
        ..Config::default()
    };
    let kernel = Kernel::with_engine(config, Engine::Shuttle, steps);
    *locked(&shared.kernel) = Some(Arc::clone(&kernel));
    let main = Thread::new(&kernel, "main");
    let _attached = Attached::as_thread(Arc::clone(&main));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(&kernel))) {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        match message {
            Some(message) => kernel.verify(false, || format!("the scenario panicked: {message}")),
            // Ends a coroutine.
            None => resume_unwind(panic),
        }
    }
    ke::end_exploring(&kernel);
    main.wait_for_others();
    (kernel.upcalls.verify_end)(&Call::enter("the end of a scenario"));
    *locked(&shared.kernel) = None;
}
