//! The scenarios: what the driver promises, one promise each.

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

use std::time::Duration;

use interlock_abi::{Routine, RunState};

use crate::error::Error;
use crate::target::{DEADLINE, Device};

pub use session::{expect_cancelled, expect_pended};

/// Why a scenario did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The driver, or the system, did something else than it promises.
    Failed(String),
    /// This kernel cannot show it, for this reason.
    Ignored(String),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How a scenario, or a step of one, ended.
pub type Verdict<T = ()> = Result<T, Halt>;

/// What a scenario is run with.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// How often to repeat what is repeated, if not as often as the scenario would by itself.
    pub iterations: Option<u64>,
    /// What random choices are drawn from.
    pub seed: u64,
}

impl Context {
    /// How often to repeat something that is repeated `usual` times unless told otherwise.
    fn rounds(&self, usual: u64) -> u64 {
        self.iterations.unwrap_or(usual)
    }
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, by which it is filtered.
    pub name: &'static str,
    /// What it proves.
    pub summary: &'static str,
    /// The routines that it would see go wrong.
    pub routines: &'static [Routine],
    /// Runs it.
    pub run: fn(&Context) -> Verdict,
}

const fn scenario(
    name: &'static str,
    summary: &'static str,
    routines: &'static [Routine],
    run: fn(&Context) -> Verdict,
) -> Scenario {
    Scenario {
        name,
        summary,
        routines,
        run,
    }
}

/// The scenarios of each theme, in the order in which they run.
const THEMES: &[&[Scenario]] = &[
    access::SCENARIOS,
    complete::SCENARIOS,
    cancel::SCENARIOS,
    race::SCENARIOS,
    served::SCENARIOS,
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
];

/// Every scenario, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    THEMES.iter().copied().flatten()
}

/// The scenarios that cover a routine.
pub fn covering(routine: Routine) -> impl Iterator<Item = &'static Scenario> {
    all().filter(move |scenario| scenario.routines.contains(&routine))
}

/// The scenarios that a filter selects: all without one.
pub fn select(filter: Option<&str>, exact: bool) -> Vec<Scenario> {
    let selected = |scenario: &&Scenario| match filter {
        None => true,
        Some(filter) if exact => scenario.name == filter,
        Some(filter) => scenario.name.contains(filter),
    };
    all().filter(selected).copied().collect()
}

/// Ends what a scenario that failed has left pending, on the stack or stopped, so that the next one starts
/// with nothing.
pub fn clean_up() {
    // What cannot be cleaned up is found by the next scenario, which says so.
    let _ = Device::open().map_err(Halt::from).and_then(|device| {
        device.set_run_state(RunState::RUNNING)?;
        device.complete_oldest(u32::MAX)?;
        while device.pop()?.is_some() {}
        // What is served ends by itself.
        eventually(
            DEADLINE,
            || "requests still pend".into(),
            || Ok(device.counters()?.pending == 0),
        )
    });
}

/// Fails with `what` unless `holds`.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds {
        return Ok(());
    }
    Err(Halt::Failed(what()))
}

/// Waits until `done` says so; fails with `what` if that takes longer than `deadline`.
fn eventually(
    deadline: Duration,
    what: impl FnOnce() -> String,
    mut done: impl FnMut() -> Verdict<bool>,
) -> Verdict {
    let start = std::time::Instant::now();
    while !done()? {
        if start.elapsed() > deadline {
            return Err(Halt::Failed(what()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
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
            assert!(
                names.insert(scenario.name),
                "{} is there twice",
                scenario.name
            );
            let row = format!("| `{}` | {} |", scenario.name, scenario.summary);
            assert!(document.contains(&row), "SCENARIOS.md lacks: {row}");
        }
        let table = document.split("\n## ").next();
        let rows = table.into_iter().flat_map(str::lines);
        let listed = rows.filter(|line| line.starts_with("| `")).count();
        assert_eq!(listed, names.len(), "SCENARIOS.md lists what is not there");
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
