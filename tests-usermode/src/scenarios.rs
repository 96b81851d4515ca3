//! The scenarios: each checks one promise of the driver.

/// A table of scenarios: for each its name, what runs it unless that is the function of its name, the routines that it
/// covers, and what it proves.
macro_rules! scenarios {
    ($theme:literal: $($name:ident $(=> $run:expr)?, [$($routine:ident),*], $summary:literal;)*) => {
        &[$(
            $crate::scenarios::Scenario {
                name: concat!($theme, "::", stringify!($name)),
                summary: $summary,
                routines: &[$(interlock_abi::Routine::$routine),*],
                run: |context| {
                    $crate::scenarios::Session::run(context, scenarios!(@run $name $($run)?))
                },
            },
        )*]
    };
    (@run $name:ident) => { $name };
    (@run $name:ident $run:expr) => { $run };
}

mod access;
mod cancel;
mod complete;
mod interlocked;
mod malformed;
mod race;
mod routine;
mod run_state;
mod served;
mod session;
mod stack;
mod statistics;
mod teardown;
mod threads;

use std::thread;
use std::time::{Duration, Instant};

use interlock_abi::{Routine, RunState};

use crate::client::Device;
use crate::error::{Error, Result};
use crate::target::DEADLINE;

pub use session::{Session, Tally};

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The number of repetitions; `None` for each scenario's own number.
    pub iterations: Option<u64>,
    /// The seed of random choices.
    pub seed: u64,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, by which it is filtered.
    pub name: &'static str,
    /// What it proves.
    pub summary: &'static str,
    /// The routines whose failure it would detect.
    pub routines: &'static [Routine],
    /// Runs it.
    pub run: fn(&Context) -> Result,
}

/// The scenarios of each theme, in the order in which they run.
const THEMES: &[&[Scenario]] = &[
    access::SCENARIOS,
    complete::SCENARIOS,
    cancel::SCENARIOS,
    race::SCENARIOS,
    served::KEYED,
    served::SERIAL,
    interlocked::SCENARIOS,
    stack::SCENARIOS,
    run_state::SCENARIOS,
    statistics::SCENARIOS,
    routine::locks::SCENARIOS,
    routine::lists::SCENARIOS,
    routine::zones::SCENARIOS,
    routine::device_queues::SCENARIOS,
    routine::numbers::SCENARIOS,
    threads::SCENARIOS,
    malformed::SCENARIOS,
    teardown::SCENARIOS,
    &[teardown::REMOVE_DEVICE],
];

/// Returns every scenario, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    THEMES.iter().copied().flatten()
}

/// Returns the scenarios that cover a routine.
pub fn covering(routine: Routine) -> impl Iterator<Item = &'static Scenario> {
    all().filter(move |scenario| scenario.routines.contains(&routine))
}

/// Returns the scenarios that a filter selects; all of them without one.
pub fn select(filter: Option<&str>, exact: bool) -> Vec<Scenario> {
    let selected = |scenario: &&Scenario| match filter {
        None => true,
        Some(filter) if exact => scenario.name == filter,
        Some(filter) => scenario.name.contains(filter),
    };
    all().filter(selected).copied().collect()
}

/// Ends the requests, empties the stack and restarts the device after a scenario that failed, so that the next one starts
/// from a clean state.
pub fn clean_up() {
    // If this fails, the next scenario detects and reports it.
    let _ = Device::open().and_then(|device| {
        device.set_run_state(RunState::RUNNING)?;
        device.complete_oldest(u32::MAX)?;
        while device.pop()?.is_some() {}
        // A request that is being served ends by itself.
        eventually("requests are still pending", || {
            Ok(device.counters()?.pending == 0)
        })
    });
}

/// Waits until `done` returns true; fails with `message` after the deadline.
fn eventually(message: &str, mut done: impl FnMut() -> Result<bool>) -> Result {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > DEADLINE {
            return Err(Error::failed(message));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Runs `work` on `count` threads at once, each with its number; returns their results, or the first error by number.
fn on_threads<T: Send>(count: u64, work: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let results = threads.into_iter().map(|thread| {
            let panicked = |_| Err(Error::failed("a thread of the scenario panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        // Each is joined before any error is returned.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use interlock_abi::Routine;

    use super::{all, covering, select};

    #[test]
    fn names_are_unique_and_listed_in_the_document() {
        let document = include_str!("../SCENARIOS.md");
        let mut names = HashSet::new();
        for scenario in all() {
            let is_new = names.insert(scenario.name);
            assert!(is_new, "{} is defined twice", scenario.name);
            let row = format!("| `{}` | {} |", scenario.name, scenario.summary);
            assert!(document.contains(&row), "SCENARIOS.md lacks: {row}");
        }
        let table = document.split("\n## ").next();
        let rows = table.into_iter().flat_map(str::lines);
        let listed = rows.filter(|line| line.starts_with("| `")).count();
        assert_eq!(
            listed,
            names.len(),
            "SCENARIOS.md lists an unknown scenario"
        );
    }

    #[test]
    fn every_routine_is_covered_alone_and_in_threads() {
        for routine in Routine::ALL {
            let names: Vec<&str> = covering(*routine).map(|scenario| scenario.name).collect();
            let alone = format!("routine::{}::", routine.name());
            assert!(
                names.iter().any(|name| name.starts_with(&alone)),
                "{alone}* is missing: {names:?}"
            );
            let threads = format!("threads::{}", routine.name());
            assert_eq!(
                names.contains(&threads.as_str()),
                routine.runs_in_threads(),
                "{threads}: {names:?}"
            );
        }
    }

    #[test]
    fn a_filter_is_a_part_of_the_name_or_the_whole() {
        assert_eq!(select(None, false).len(), all().count());
        assert_eq!(select(Some("complete::"), false).len(), 5);
        assert!(select(Some("complete::"), true).is_empty());
        assert_eq!(select(Some("cancel::twice"), true).len(), 1);
        assert!(select(Some("no such"), false).is_empty());
    }
}
