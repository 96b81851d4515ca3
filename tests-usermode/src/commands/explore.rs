//! `explore` and `replay`: small tests on the model kernel, under many schedules or one.

use interlock_explore::{TESTS, Test, faults, find};
use ntmodel::explore::{Explored, Found, Schedule, Search, explore, replay};

use crate::cli::Explore;
use crate::error::{Error, Exit, Result};

/// Explores the tests that a filter selects, until a rule is broken. A mistake is selected by its full name.
pub fn explore_tests(args: &Explore) -> Result<Exit> {
    let filter = args.filter.as_deref().unwrap_or_default();
    let tests = TESTS.iter().copied().flatten().copied();
    let mut tests: Vec<Test> = tests.filter(|test| test.name.contains(filter)).collect();
    let is_listed = |name: &str| args.list && name.contains(filter);
    tests.extend(faults().filter(|test| test.name == filter || is_listed(test.name)));
    if tests.is_empty() {
        return Err(Error::could_not_run(
            "no test has this name: `harness explore --list` lists the tests",
        ));
    }
    let widths = tests.iter().map(|test| test.name.len());
    let width = widths.max().unwrap_or_default();
    if args.list {
        for Test { name, summary, .. } in tests {
            anstream::println!("{name:width$}  {summary}");
        }
        return Ok(Exit::Passed);
    }
    anstream::println!(
        "{:width$}  {:13}  {:>9}  {:>10}",
        "test",
        "orders",
        "schedules",
        "per second"
    );
    for test in tests {
        for search in test.searches {
            let search = args
                .schedules
                .map_or(*search, |schedules| search.of(schedules.get()));
            match explore(search, test.run) {
                Ok(explored) => print(test.name, width, search, &explored),
                Err(found) => return Ok(report(test.name, &found)),
            }
        }
    }
    Ok(Exit::Passed)
}

fn print(name: &str, width: usize, search: Search, explored: &Explored) {
    let orders = if explored.complete {
        "all".into()
    } else {
        search.to_string()
    };
    let schedules = explored.schedules;
    let milliseconds = explored.time.as_millis().max(1);
    let rate = schedules as u128 * 1000 / milliseconds;
    anstream::println!("{name:width$}  {orders:13}  {schedules:>9}  {rate:>10}");
}

/// Prints the violation, and the command that replays it.
fn report(name: &str, found: &Found) -> Exit {
    anstream::println!("\n{name}\n{found}");
    anstream::println!(
        "\nharness replay {name}:{} repeats it step by step",
        found.schedule
    );
    Exit::Failed
}

/// Replays one schedule of a test, step by step.
pub fn replay_schedule(given: &str) -> Result<Exit> {
    let usage = || {
        Error::could_not_run(format!(
            "{given:?} is not a schedule: `harness explore` prints TEST:SCHEDULE"
        ))
    };
    let (name, schedule) = given.rsplit_once(':').ok_or_else(usage)?;
    let schedule: Schedule = schedule
        .parse()
        .map_err(|error| Error::could_not_run(format!("{given}: {error}")))?;
    let test = find(name).ok_or_else(|| {
        Error::could_not_run(format!(
            "no test is named {name}: `harness explore --list` lists the tests"
        ))
    })?;
    let found = replay(&schedule, test.run).map_err(|misfit| {
        Error::could_not_run(format!("{given} does not fit the test: {misfit}"))
    })?;
    match found {
        None => {
            anstream::println!("{name}: no rule is broken in this schedule");
            Ok(Exit::Passed)
        }
        Some(found) => {
            for (number, step) in found.steps.iter().enumerate() {
                anstream::println!("{number:4}  {step}");
            }
            anstream::println!("\n{}", found.violation);
            Ok(Exit::Failed)
        }
    }
}
