//! `run`

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::Run;
use crate::error::{Error, Exit, Result};
use crate::report::{Plan, Report};
use crate::scenarios::{self, Context, Halt, Scenario, Verdict};
use crate::target::{self, Device};

/// Runs scenarios one after another, since they share the device's one queue.
pub fn run(args: &Run) -> Result<Exit> {
    let selected = scenarios::select(args.filter.as_deref(), args.exact);
    if selected.is_empty() {
        return Err(Error::could_not_run(
            "no scenario has such a name: `harness list` lists them",
        ));
    }
    target::start(args.on)?;
    // Without a device nothing can run, and that is said once, not by each scenario.
    Device::open()?.close();
    let context = Context {
        iterations: args.iterations,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
    };
    let timeout = Duration::from_secs(args.timeout);
    let report = write_report(args, &selected, context.seed, |scenario| {
        run_within(timeout, scenario, context)
    });
    let exit =
        report.map_err(|error| Error::failed(format!("the report cannot be written: {error}")))?;
    if exit == Exit::Passed {
        target::stop()?;
    }
    Ok(exit)
}

/// Runs the scenarios and reports on each. After one that hangs, or in which the system has stopped, nothing that
/// follows can be believed, so it is not run.
fn write_report(
    args: &Run,
    selected: &[Scenario],
    seed: u64,
    run: impl Fn(&Scenario) -> Option<Verdict>,
) -> io::Result<Exit> {
    let names = selected.iter().map(|scenario| scenario.name.len());
    let plan = Plan {
        count: selected.len(),
        filtered_out: scenarios::all().count() - selected.len(),
        seed,
        name_width: names.max().unwrap_or_default(),
    };
    let start = Instant::now();
    let mut report = Report::begin(anstream::stdout(), args.format, plan)?;
    let mut ended = None;
    for scenario in selected {
        report.started(scenario.name)?;
        let started = Instant::now();
        let verdict = if let Some(why) = &ended {
            Err(Halt::Ignored(format!("not run, since {why}")))
        } else {
            run(scenario).unwrap_or_else(|| {
                ended = Some(format!("{} hangs", scenario.name));
                Err(Halt::Failed(format!(
                    "it hangs: no end after {} s",
                    args.timeout
                )))
            })
        };
        let verdict = match target::stopped() {
            Some(violation) if ended.is_none() => {
                ended = Some(format!("the system has stopped in {}", scenario.name));
                Err(Halt::Failed(violation))
            }
            _ => verdict,
        };
        report.ended(scenario.name, &verdict, started.elapsed())?;
        if ended.is_none() && matches!(verdict, Err(Halt::Failed(_))) {
            scenarios::clean_up();
        }
    }
    Ok(report.end(start.elapsed())?.exit())
}

/// Runs a scenario in a thread of its own; `None` if it does not end in time. It does not end either if the system
/// stops, and that is told by the system.
fn run_within(timeout: Duration, scenario: &Scenario, context: Context) -> Option<Verdict> {
    const LOOK: Duration = Duration::from_millis(50);
    let (sender, receiver) = mpsc::channel();
    let run = scenario.run;
    thread::spawn(move || {
        // Nobody listens any more if this was too late.
        let _ = sender.send(run(&context));
    });
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match receiver.recv_timeout(left.min(LOOK)) {
            Ok(verdict) => return Some(verdict),
            Err(mpsc::RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return None,
        }
        if let Some(violation) = target::stopped() {
            return Some(Err(Halt::Failed(violation)));
        }
    }
}
