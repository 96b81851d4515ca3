//! The scenarios: what the driver promises, one promise each.

mod access;
mod cancel;
mod complete;
mod malformed;
mod race;
mod session;
mod teardown;

use std::time::Duration;

use crate::error::Error;
use crate::target::Device;

pub use session::{expect_cancelled, expect_success};

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
    /// Runs it.
    pub run: fn(&Context) -> Verdict,
}

const fn scenario(
    name: &'static str,
    summary: &'static str,
    run: fn(&Context) -> Verdict,
) -> Scenario {
    Scenario { name, summary, run }
}

/// Every scenario, in the order in which they run.
pub const ALL: &[Scenario] = &[
    scenario(
        "access::version",
        "the driver speaks the version of the interface that this harness was built with",
        access::version,
    ),
    scenario(
        "access::read_only",
        "a handle opened to read alone may ask for the version and the counters, and nothing else",
        access::read_only,
    ),
    scenario(
        "access::write_only",
        "a handle opened to write alone may complete requests, and nothing else",
        access::write_only,
    ),
    scenario(
        "complete::in_order",
        "requests of two handles are completed oldest first, and no more than asked for",
        complete::in_order,
    ),
    scenario(
        "complete::more_than_pending",
        "asking for more than pends completes what there is and says how many that were",
        complete::more_than_pending,
    ),
    scenario(
        "complete::by_tag",
        "requests are completed by tag in any order, each with its own tag, the others untouched",
        complete::by_tag,
    ),
    scenario(
        "complete::same_tag",
        "of requests with the same tag, the oldest is completed first",
        complete::same_tag,
    ),
    scenario(
        "complete::unknown_tag",
        "a tag that nobody has is not found, and that is counted nowhere",
        complete::unknown_tag,
    ),
    scenario(
        "cancel::one_of_many",
        "CancelIoEx of one request ends that one and leaves its neighbours pending, in order",
        cancel::one_of_many,
    ),
    scenario(
        "cancel::threads_own",
        "CancelIo ends the requests of the calling thread and leaves another thread's pending",
        cancel::threads_own,
    ),
    scenario(
        "cancel::all_of_a_handle",
        "CancelIoEx of a whole handle ends its requests and leaves another handle's pending",
        cancel::all_of_a_handle,
    ),
    scenario(
        "cancel::at_once",
        "a request that is cancelled as soon as it is sent ends as cancelled, 10,000 times",
        cancel::at_once,
    ),
    scenario(
        "cancel::twice",
        "a second cancellation of the same request changes nothing",
        cancel::twice,
    ),
    scenario(
        "cancel::completed",
        "cancelling a request that was completed finds nothing and changes nothing",
        cancel::completed,
    ),
    scenario(
        "race::cancel_against_completion",
        "two threads cancel and complete the same request, 100,000 times: exactly one of them wins",
        race::cancel_against_completion,
    ),
    scenario(
        "malformed::random",
        "10,000 random malformed requests are each refused with the exact status, and counted",
        malformed::random,
    ),
    scenario(
        "teardown::close_handle",
        "closing a handle with 1,000 requests pending cancels them all, and no other handle's",
        teardown::close_handle,
    ),
    scenario(
        "teardown::kill_process",
        "killing a process with 1,000 requests pending cancels them all",
        teardown::kill_process,
    ),
    scenario(
        "teardown::remove_device",
        "removing the device with requests pending ends each with the status for that, losing none",
        teardown::remove_device,
    ),
];

/// The scenarios that a filter selects: all without one.
pub fn select(filter: Option<&str>, exact: bool) -> Vec<Scenario> {
    let selected = |scenario: &&Scenario| match filter {
        None => true,
        Some(filter) if exact => scenario.name == filter,
        Some(filter) => scenario.name.contains(filter),
    };
    ALL.iter().filter(selected).copied().collect()
}

/// Completes what a scenario that failed has left pending, so that the next one starts with nothing.
pub fn clean_up() {
    // What cannot be cleaned up is found by the next scenario, which says so.
    let _ = Device::open().and_then(|device| device.complete_oldest(u32::MAX));
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

    use super::{ALL, select};

    #[test]
    fn names_are_unique_and_listed_in_the_document() {
        let document = include_str!("../SCENARIOS.md");
        let mut names = HashSet::new();
        for scenario in ALL {
            assert!(
                names.insert(scenario.name),
                "{} is there twice",
                scenario.name
            );
            let row = format!("| `{}` | {} |", scenario.name, scenario.summary);
            assert!(document.contains(&row), "SCENARIOS.md lacks: {row}");
        }
        let table = document.split("## Broken on purpose").next();
        let rows = table.into_iter().flat_map(str::lines);
        let listed = rows.filter(|line| line.starts_with("| `")).count();
        assert_eq!(listed, ALL.len(), "SCENARIOS.md lists what is not there");
    }

    #[test]
    fn a_filter_is_a_part_of_the_name_or_the_whole() {
        assert_eq!(select(None, false).len(), ALL.len());
        assert_eq!(select(Some("complete::"), false).len(), 5);
        assert!(select(Some("complete::"), true).is_empty());
        assert_eq!(select(Some("cancel::twice"), true).len(), 1);
        assert!(select(Some("no such"), false).is_empty());
    }
}
