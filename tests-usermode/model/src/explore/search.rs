//! Searches: the orders in which a scenario's threads run, and the result.

use std::{
    cell::RefCell,
    fmt,
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
        schedule::{Misfit, Schedule},
        scheduler::{Exhaustive, Played, Player, Recorder},
    },
    host::{
        Call, Config, Kernel, OnViolation, Step,
        thread::{Attached, Thread},
        wait::{Engine, away},
    },
    ke,
    mutex::locked,
    verifier::Violation,
};

/// The orders that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every order there is, or every one with so many preemptions, by depth-first search; at the most so many.
    DepthFirst {
        /// How many.
        most: usize,
        /// How often a thread that could go on is made to wait, at the most; `None` for as often as may be. What goes wrong
        /// mostly does so with two, and each one more multiplies the orders by some number of steps.
        preemptions: Option<u32>,
    },
    /// Orders drawn at random.
    Random {
        /// How many.
        schedules: usize,
        /// What is drawn from.
        seed: u64,
    },
    /// Orders drawn at random that change hands rarely: "probabilistic concurrency testing", which finds what takes few
    /// preemptions at the right places.
    Pct {
        /// How many.
        schedules: usize,
        /// How many preemptions.
        depth: usize,
        /// What is drawn from.
        seed: u64,
    },
}

impl Search {
    /// Every order there is, at the most so many.
    #[must_use]
    pub const fn every(most: usize) -> Self {
        Self::DepthFirst {
            most,
            preemptions: None,
        }
    }

    /// Every order with so many preemptions, at the most a million orders.
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
            Self::DepthFirst {
                preemptions: None, ..
            } => write!(f, "depth first"),
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
    /// Whether that was every one there is: every choice at each point at which threads may be switched. A thread that
    /// yields is not the one that goes on, unless no other can.
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

fn try_orders(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    match search {
        Search::DepthFirst { most, preemptions } => {
            let scheduler = Exhaustive::new(most, preemptions);
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
    let _attached = Attached::as_thread(Thread::new(&kernel, "main"));
    scenario(&kernel);
    ke::end_exploring(&kernel);
    // The other threads go on as far as they can.
    while kernel.sleepers.any_awake() {
        away(shuttle::thread::yield_now);
    }
    (kernel.upcalls.verify_end)(&Call::enter("the end of a scene"));
    *locked(&shared.kernel) = None;
}
