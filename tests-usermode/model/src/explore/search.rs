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
        depth_first::{DepthFirst, Leaves},
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

/// What the code of the driver and of the scenario touches, besides what routines of the kernel touch for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Any memory, at any time. Two pieces of that code are dependent on each other.
    Unknown,
    /// Memory that two threads touch in an order that routines of the kernel, the [`Interlocked`](nt::interlocked) functions or
    /// [atomics that the model sees](nt::atomic) decide: under a lock, or when an IRP, an event or a thread has passed it on.
    /// A driver in safe code on `wdm` is such a driver.
    Guarded,
}

/// The orders that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every order, by depth-first search, except those that differ from one that is tried only in the order of independent
    /// steps, and so have the same outcome.
    ///
    /// Steps are independent if they touch no object in common: no lock, IRP, event, queue, DPC, timer, file or
    /// [tracked variable](crate::explore::Shared). A routine that the model knows no better of is dependent on everything.
    Reduced {
        /// How many orders at most.
        most: usize,
        /// What code between the routines of the kernel touches.
        memory: Memory,
    },
    /// Every order, or every order with a number of preemptions, by depth-first search.
    DepthFirst {
        /// How many orders at most.
        most: usize,
        /// How often at most a thread that can go on has to wait; `None` for no limit. Most mistakes need two preemptions at
        /// most; each further one multiplies the number of orders by about the number of steps.
        preemptions: Option<u32>,
    },
    /// Orders drawn at random.
    Random {
        /// How many orders.
        schedules: usize,
        /// The seed of the generator.
        seed: u64,
    },
    /// Random orders with few preemptions: "probabilistic concurrency testing", which finds what takes few preemptions at the
    /// right places.
    Pct {
        /// How many orders.
        schedules: usize,
        /// How many preemptions.
        depth: usize,
        /// The seed of the generator.
        seed: u64,
    },
}

impl Search {
    /// Every order, at most so many. It is for any driver: [`Memory::Unknown`].
    #[must_use]
    pub const fn every(most: usize) -> Self {
        Self::Reduced {
            most,
            memory: Memory::Unknown,
        }
    }

    /// Every order of a driver whose memory is guarded, at most so many: [`Memory::Guarded`].
    #[must_use]
    pub const fn guarded(most: usize) -> Self {
        Self::Reduced {
            most,
            memory: Memory::Guarded,
        }
    }

    /// Every order, those that have the same outcome too; at most so many.
    #[must_use]
    pub const fn unreduced(most: usize) -> Self {
        Self::DepthFirst {
            most,
            preemptions: None,
        }
    }

    /// Every order with so many preemptions, at most a million orders.
    #[must_use]
    pub const fn preempting(preemptions: u32) -> Self {
        Self::DepthFirst {
            most: 1_000_000,
            preemptions: Some(preemptions),
        }
    }

    /// The same search, of another number of schedules.
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

/// What is explored, by threads that run one at a time.
pub type Scenario = fn(&Arc<Kernel>);

/// What an exploration that found nothing has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many schedules.
    pub schedules: usize,
    /// Whether the search has ended by itself: every order of the scenario was tried, or one that differs from it only in the
    /// order of independent steps. Threads change at the routines of the kernel whose effect others can see, and one that yields
    /// does not go on while another one can. For [`Memory::Guarded`] it holds if the memory is guarded.
    pub complete: bool,
    /// If the search bounds the preemptions, and that was every one with no more: how many.
    pub complete_up_to: Option<u32>,
    /// How long it took.
    pub time: Duration,
}

/// What an exploration has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong.
    pub violation: Violation,
    /// The schedule in which it is.
    pub schedule: Schedule,
    /// How many schedules were tried, this one included.
    pub schedules: usize,
    /// How long it took.
    pub time: Duration,
    /// What happened, if steps were noted.
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

/// What the runs of an exploration and its caller share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) taken: Mutex<Vec<usize>>,
    pub(crate) schedules: AtomicUsize,
    kernel: Mutex<Option<Arc<Kernel>>>,
    pub(crate) out_of_choices: AtomicBool,
    /// Whether a schedule was so long that its end was not searched.
    pub(crate) cut: AtomicBool,
}

/// Tries a scenario in many orders, until a rule is broken in one.
///
/// # Errors
/// What was found.
pub fn explore(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    let explored = try_orders(search, scenario);
    explored.map_err(|mut found| {
        // Where each thread waits is noted when the schedule is played again: it takes too long to do so in all of them.
        let hangs = found.violation.rule.is_hang();
        if hangs && let Ok(Some(again)) = replay(&found.schedule, scenario) {
            found.violation = again.violation;
        }
        found
    })
}

/// Tests that a scenario breaks no rule in the orders that are tried: up to `schedules` by [`Search::every`], and as many drawn at
/// random.
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
        // Not in a closure, whose panics are not at the caller.
        if let Err(found) = explore(search, scenario) {
            panic!("{found}");
        }
    }
}

fn try_orders(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    match search {
        Search::Reduced { most, memory } => {
            let guarded = memory == Memory::Guarded;
            let scheduler = DepthFirst::new(most, Leaves::Independent { guarded });
            run(scheduler, scenario, false, Some(most))
        }
        Search::DepthFirst { most, preemptions } => {
            let scheduler = DepthFirst::new(most, Leaves::Preemptions(preemptions));
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

/// Runs a scenario in the order of a schedule, and gives what is found, if anything is, with the steps that led to it.
/// Beyond the end of the schedule whoever can goes on.
///
/// # Errors
/// The schedule does not fit the scenario; what was found in another order does not count.
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

/// Runs an exploration in a thread of the host. When something is found that thread stops for good where it is: nothing
/// unwinds through a driver, and what its stack holds is never used again.
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
        // Nobody has gone: the caller waits for this.
        let _ = sender.send(Ok(Explored {
            schedules: tried,
            complete: all && !cut && most.is_some_and(|most| tried < most),
            complete_up_to: None,
            time: start.elapsed(),
        }));
    });
    receiver.recv().unwrap_or_else(|_| match running.join() {
        Ok(()) => unreachable!("a thread that ends without a panic has sent what it came to"),
        Err(payload) => std::panic::resume_unwind(payload),
    })
}

fn config() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.stack_size = 0x4_0000;
    config.failure_persistence = shuttle::FailurePersistence::None;
    // What spins is found before that.
    config.max_steps = shuttle::MaxSteps::FailAfter(1_000_000);
    config.silence_warnings = true;
    config
}

thread_local! {
    /// The exploration that this thread of the host runs.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// What has to be known to tell what was found.
struct Run {
    shared: Arc<Shared>,
    start: Instant,
    sender: mpsc::Sender<Result<Explored, Box<Found>>>,
}

/// Tells what was found in the schedule that runs, and stops this thread of the host.
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
        // Nobody has gone: the caller waits for this.
        let _ = run.sender.send(Err(Box::new(found)));
    }
    loop {
        std::thread::park();
    }
}

/// Runs the scenario once, in a kernel of its own.
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
            // What ends a coroutine.
            None => resume_unwind(panic),
        }
    }
    ke::end_exploring(&kernel);
    main.wait_for_others();
    (kernel.upcalls.verify_end)(&Call::enter("the end of a scenario"));
    *locked(&shared.kernel) = None;
}
