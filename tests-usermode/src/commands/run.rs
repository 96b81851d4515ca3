//! `run`

use std::io;
use std::time::{Duration, Instant};

use crate::cli::Run;
use crate::client::Device;
use crate::error::{Error, Exit, Result};
use crate::report::{Plan, Report};
use crate::scenarios::{self, Context, Scenario};
use crate::target;

/// Runs scenarios one after another, since they share the queues of one device.
pub fn run(args: &Run) -> Result<Exit> {
    let selected = scenarios::select(args.filter.as_deref(), args.exact);
    if selected.is_empty() {
        return Err(Error::could_not_run(
            "no scenario's name contains the filter: `harness list` lists the scenarios",
        ));
    }
    target::start(&args.on)?;
    // Without a device no scenario can run, which is reported once.
    Device::open()?.close();
    let context = Context {
        iterations: args.iterations,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
    };
    let timeout = Duration::from_secs(args.timeout);
    let report = write_report(args, &selected, context.seed, |scenario| {
        let run = scenario.run;
        target::run_watched(timeout, target::stopped, move || run(&context))
    });
    let exit =
        report.map_err(|error| Error::failed(format!("the report cannot be written: {error}")))?;
    if exit == Exit::Passed {
        target::stop()?;
    }
    Ok(exit)
}

/// Runs the scenarios and reports the result of each. After a scenario that hangs, or in which the kernel has stopped, the
/// others are not run, since their results would mean nothing.
fn write_report(
    args: &Run,
    selected: &[Scenario],
    seed: u64,
    run: impl Fn(&Scenario) -> Option<Result>,
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
        let result = if let Some(why) = &ended {
            Err(Error::unsupported(format!("not run, since {why}")))
        } else {
            run(scenario).unwrap_or_else(|| {
                ended = Some(format!("{} hangs", scenario.name));
                let seconds = args.timeout;
                Err(Error::failed(format!(
                    "the scenario did not end within {seconds} s"
                )))
            })
        };
        let result = match target::stopped() {
            Some(violation) if ended.is_none() => {
                ended = Some(format!("the kernel has stopped in {}", scenario.name));
                Err(Error::failed(violation))
            }
            _ => result,
        };
        report.ended(scenario.name, &result, started.elapsed())?;
        if ended.is_none() && result.is_err_and(|error| !error.is_unsupported()) {
            scenarios::clean_up();
        }
    }
    Ok(report.end(start.elapsed())?.exit())
}
