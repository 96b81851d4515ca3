//! `run`

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::Run;
use crate::error::{Error, Exit, Result};
use crate::report::{Plan, Report};
use crate::scenarios::{self, Context, Halt, Scenario, Verdict};
use crate::target::Device;

/// Runs scenarios one after another, since they share the device's one queue.
pub fn run(args: &Run) -> Result<Exit> {
    let selected = scenarios::select(args.filter.as_deref(), args.exact);
    if selected.is_empty() {
        return Err(Error::could_not_run(
            "no scenario has such a name: `harness list` lists them",
        ));
    }
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
    report.map_err(|error| Error::failed(format!("the report cannot be written: {error}")))
}

/// Runs the scenarios and reports on each. After one that hangs, nothing that follows can be believed,
/// so it is not run.
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
    let mut hung = None;
    for scenario in selected {
        report.started(scenario.name)?;
        let started = Instant::now();
        let verdict = if let Some(hung) = hung {
            Err(Halt::Ignored(format!("not run, since {hung} hangs")))
        } else {
            run(scenario).unwrap_or_else(|| {
                hung = Some(scenario.name);
                Err(Halt::Failed(format!(
                    "it hangs: no end after {} s",
                    args.timeout
                )))
            })
        };
        report.ended(scenario.name, &verdict, started.elapsed())?;
        if hung.is_none() && matches!(verdict, Err(Halt::Failed(_))) {
            scenarios::clean_up();
        }
    }
    Ok(report.end(start.elapsed())?.exit())
}

/// Runs a scenario in a thread of its own; `None` if it does not end in time.
fn run_within(timeout: Duration, scenario: &Scenario, context: Context) -> Option<Verdict> {
    let (sender, receiver) = mpsc::channel();
    let run = scenario.run;
    thread::spawn(move || {
        // Nobody listens any more if this was too late.
        let _ = sender.send(run(&context));
    });
    receiver.recv_timeout(timeout).ok()
}
