//! Exploration: the same work again and again, each time in another order of what its threads do to each other.
//!
//! A scenario is a function that makes devices and [actors](Kernel::actor). `shuttle` runs it, one thread at a time, and
//! lets another one go on wherever a thread is about to do what others can see: take a lock, insert into a queue, exchange
//! a Cancel routine. [`explore`] says in which orders; what is found comes with its schedule, which [`replay`] plays again,
//! step by step.

use std::{
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};

use crate::{
    Config, Kernel, OnViolation, Rule, Step, Violation,
    bug_check::BugCheck,
    call::Call,
    clock,
    scheduler::{Played, Player, Recorder, Yielding},
    thread::{self, Attached, Thread},
    wait::{Engine, Wait, away, locked},
};

/// The orders that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every order there is, by depth-first search; at the most so many.
    DepthFirst {
        /// How many.
        most: usize,
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
    /// The same search, of another number of schedules.
    #[must_use]
    pub const fn of(self, schedules: usize) -> Self {
        match self {
            Self::DepthFirst { .. } => Self::DepthFirst { most: schedules },
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
            Self::DepthFirst { .. } => write!(f, "depth first"),
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
    /// Whether that was every one there is.
    pub complete: bool,
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

/// The order in which the threads of a scenario ran: which one goes on at each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(pub(crate) Vec<usize>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A letter or digit for each step; a number where the thread went on for several.
        let mut steps = self.0.iter().peekable();
        while let Some(task) = steps.next() {
            let mut times = 1;
            while steps.next_if_eq(&task).is_some() {
                times += 1;
            }
            write!(f, "{}", letter(*task))?;
            if times > 1 {
                write!(f, "{times}")?;
            }
        }
        Ok(())
    }
}

/// The letter of a thread in a schedule.
fn letter(task: usize) -> char {
    let task = u32::try_from(task).ok();
    let letter = task.and_then(|task| char::from_u32('a' as u32 + task));
    letter.unwrap_or('?')
}

/// Why a schedule is not one of the scenario that it is played on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// At a step, counted from 1, a thread should go on that cannot.
    Thread {
        /// The step.
        step: usize,
        /// The thread.
        thread: usize,
        /// Those that can.
        runnable: Vec<usize>,
    },
    /// The scenario ends before the schedule does.
    Length {
        /// How many steps the scenario has.
        scenario: usize,
        /// How many steps the schedule has.
        schedule: usize,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread {
                step,
                thread,
                runnable,
            } => {
                let letters = runnable.iter().map(|task| letter(*task).to_string());
                let (thread, others) = (letter(*thread), letters.collect::<Vec<_>>().join(", "));
                write!(
                    f,
                    "at step {step} thread {thread} cannot go on, but {others} can"
                )
            }
            Self::Length { scenario, schedule } => {
                write!(f, "the scene ends after {scenario} of {schedule} steps")
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            let task = (letter as u32)
                .checked_sub('a' as u32)
                .filter(|task| *task < 26);
            let Some(task) = task else {
                return Err(format!("{letter:?} is no thread of a schedule"));
            };
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let times = if digits.is_empty() {
                Ok(1)
            } else {
                digits.parse::<usize>()
            };
            let times = times.ok().filter(|times| *times <= 1 << 20);
            let times = times.ok_or_else(|| format!("{digits} is no number of steps"))?;
            steps.extend(std::iter::repeat_n(task as usize, times));
        }
        if steps.is_empty() {
            return Err("a schedule has at least one step".into());
        }
        Ok(Self(steps))
    }
}

/// What the runs of an exploration and its caller share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) taken: Mutex<Vec<usize>>,
    pub(crate) schedules: AtomicUsize,
    kernel: Mutex<Option<Arc<Kernel>>>,
    pub(crate) out_of_choices: AtomicBool,
}

/// Tries a scenario in many orders, until a rule is broken in one.
///
/// # Errors
/// What was found.
pub fn explore(search: Search, scenario: Scenario) -> Result<Explored, Box<Found>> {
    match search {
        Search::DepthFirst { most } => {
            let scheduler = Yielding(DfsScheduler::new(Some(most), false));
            run(scheduler, scenario, false, Some(most))
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
        // Nobody has gone: the caller waits for this.
        let _ = sender.send(Ok(Explored {
            schedules: tried,
            complete: all && most.is_some_and(|most| tried < most),
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

/// Tells that no thread can go on.
pub(crate) fn end_with_hang(kernel: &Arc<Kernel>) -> ! {
    end_with(hang(kernel), kernel)
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
    clock::end_exploring(&kernel);
    *locked(&shared.kernel) = None;
}

/// What is wrong where nothing can go on, and nothing has broken a rule.
fn hang(kernel: &Arc<Kernel>) -> Violation {
    thread::replace_current(Some(Thread::new(kernel, "nobody")));
    let call = Call::enter("nothing can go on");
    let mut live = kernel.io.live();
    // What was cancelled comes first: that is what Driver Verifier would say.
    live.sort_by_key(|record| (!record.is_cancelled(), record.number));
    let (bug_check, rule, what) = match live.first() {
        _ if kernel.waits_for_lock() => {
            let what = "a thread waits for a spin lock that is never released";
            (BugCheck(0, [0; 4]), Rule::Hang, what.into())
        }
        Some(record) => {
            let (rule, what) = record.diagnose();
            let bug_check = if record.is_cancelled() {
                BugCheck::verifier(0x135, [record.address() as u64, 0, 0])
            } else {
                BugCheck(0, [0; 4])
            };
            (bug_check, rule, what)
        }
        None => (
            BugCheck(0, [0; 4]),
            Rule::Hang,
            "every thread waits for another".into(),
        ),
    };
    let mut violation = Violation::new(&call, bug_check, rule, what);
    // The stack is that of who explores.
    violation.callers.clear();
    drop(call);
    thread::replace_current(None);
    violation
}

/// A thread that a scenario has started.
pub struct Actor<T> {
    kernel: Arc<Kernel>,
    outcome: Arc<Outcome<T>>,
}

/// What an actor's part came to, once it is done.
struct Outcome<T>(Mutex<Option<std::thread::Result<T>>>);

impl<T> Outcome<T> {
    fn wait(self: &Arc<Self>) -> Wait {
        Wait::Actor(Arc::as_ptr(self).addr())
    }
}

impl<T> Actor<T> {
    /// Waits until it has done its part, and gives what that came to.
    pub fn join(self) -> T {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("a scenario waits for an actor");
        let wait = self.outcome.wait();
        match call.wait_for(wait, || locked(&self.outcome.0).take()) {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

impl Kernel {
    /// Starts a thread that does its part of a scenario: in an exploration one that runs in turn with the others.
    pub fn actor<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        part: impl FnOnce() -> T + Send + 'static,
    ) -> Actor<T> {
        let outcome = Arc::new(Outcome(Mutex::new(None)));
        let theirs = Arc::clone(&outcome);
        Thread::new(self, name).start(move |kernel| {
            let result = catch_unwind(AssertUnwindSafe(part));
            *locked(&theirs.0) = Some(result);
            kernel.sleepers.wake(theirs.wait());
        });
        Actor {
            kernel: Arc::clone(self),
            outcome,
        }
    }
}

impl Thread {
    /// Starts a thread of the kernel: one of the host's, or one that runs in turn with the others.
    pub(crate) fn start(self: Arc<Self>, body: impl FnOnce(&Arc<Kernel>) + Send + 'static) {
        match self.kernel.engine {
            Engine::Host => drop(std::thread::spawn(move || {
                let _attached = Attached::as_thread(Arc::clone(&self));
                body(&self.kernel);
            })),
            Engine::Shuttle => {
                self.kernel.sleepers.task_starts();
                let body = move || {
                    let _attached = Attached::as_thread(Arc::clone(&self));
                    body(&self.kernel);
                    self.kernel.sleepers.one_less(&self.kernel);
                };
                drop(away(|| shuttle::thread::spawn(body)));
            }
        }
    }
}
