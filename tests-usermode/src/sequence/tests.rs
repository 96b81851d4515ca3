//! Sequences of every kind of step, on the model.

use std::cell::Cell;
use std::collections::HashSet;
use std::env;
use std::fmt;
use std::iter;
use std::process::Command;

use fastrand::Rng;
use interlock_abi::Counters;
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::answer::Answer;
use super::draw;
use super::reference::{Outcome, Reference};
use super::step::{Pnp, Step};
use super::{everywhere, on_model};
use crate::cli::On;
use crate::status::Status;
use crate::target::Access;

/// The model, with two processors.
const ON: On = On {
    processors: 2,
    ..On::MODEL
};

/// The maximum number of steps.
const DRAWN: usize = 60;

/// A sequence, whose `Debug` output `harness sequence --steps` reads.
#[derive(Clone)]
struct Sequence(Vec<Step>);

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps:", self.0.len())?;
        self.0.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Sequences that begin by opening a file. They shrink by leaving out steps.
fn sequences() -> impl Strategy<Value = Sequence> {
    let seed = proptest::prelude::any::<u64>().no_shrink();
    let step = seed.prop_map(|seed| any(&mut Rng::with_seed(seed)));
    proptest::collection::vec(step, 1..DRAWN).prop_map(|mut steps| {
        steps.insert(0, Step::Open(Access::ReadWrite));
        Sequence(steps)
    })
}

/// Draws a step of any kind.
fn any(rng: &mut Rng) -> Step {
    match rng.u8(..100) {
        0..6 => Step::Pnp(pnp(rng)),
        6..14 => Step::Advance(rng.u32(..12)),
        _ => draw::common(rng),
    }
}

fn pnp(rng: &mut Rng) -> Pnp {
    match rng.u8(..8) {
        0 => Pnp::QueryRemove,
        1 => Pnp::CancelRemove,
        2 => Pnp::Remove,
        3 => Pnp::SurpriseRemove,
        _ => Pnp::Restore,
    }
}

/// Runs 5,000 sequences, or as many as the environment variable `PROPTEST_CASES` says, which `cargo make fuzz` sets.
#[test]
fn any_sequence_agrees_with_the_reference() {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 5000;
    }
    let (count, has_failed) = (Cell::new(0_u64), Cell::new(false));
    let run = |Sequence(steps): Sequence| {
        count.set(count.get() + 1);
        if count.get().is_multiple_of(10_000) {
            eprintln!("{} sequences", count.get());
        }
        // A driver that was not unloaded does not reset its statics. So the sequences after a failure, which
        // shrink it, run in processes of their own.
        let result = if has_failed.get() {
            in_a_process(&steps)
        } else {
            on_model(steps, &ON).map_err(|error| error.to_string())
        };
        has_failed.set(has_failed.get() || result.is_err());
        result.map(drop).map_err(TestCaseError::fail)
    };
    let result = TestRunner::new(config).run(&sequences(), run);
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The environment variable with the sequence that a process runs.
const STEPS: &str = "INTERLOCK_STEPS";

/// Runs a sequence in a process of its own.
fn in_a_process(steps: &[Step]) -> Result<Vec<String>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let output = Command::new(program)
        .args(["--exact", "sequence::tests::sequence_of_a_process"])
        .args(["--ignored", "--nocapture"])
        .env(STEPS, steps.join("\n"))
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "any_sequence_agrees_with_the_reference runs this in a process of its own"]
fn sequence_of_a_process() {
    let steps = env::var(STEPS).unwrap_or_default();
    let steps = steps.lines().map(serde_json::from_str);
    let steps: Vec<Step> = steps.collect::<Result<_, _>>().expect("steps");
    if let Err(error) = on_model(steps, &ON) {
        panic!("{error}");
    }
}

/// Adds the outcomes and the statuses of a sequence, by the reference alone.
fn add_reached(steps: &[Step], reached: &mut HashSet<String>) {
    let mut reference = Reference::new(Counters::default());
    for step in steps {
        let Some(step) = reference.resolve(step) else {
            continue;
        };
        reached.insert(format!("{:?}", reference.execute(&step)));
        for (_, answer) in reference.take_ended() {
            reached.insert(match answer {
                Answer::Only(status) => status.to_string(),
                Answer::Bytes(bytes) => format!("{} bytes", bytes.len()),
                _ => "other".into(),
            });
        }
    }
}

#[test]
fn sequences_reach_every_outcome_and_every_status() {
    let mut reached = HashSet::new();
    for seed in 0..500 {
        let mut rng = Rng::with_seed(seed);
        let steps: Vec<Step> = iter::once(Step::Open(Access::ReadWrite))
            .chain((0..DRAWN).map(|_| any(&mut rng)))
            .collect();
        add_reached(&steps, &mut reached);
    }
    let statuses = [
        Status::SUCCESS,
        Status::INFO_LENGTH_MISMATCH,
        Status::INVALID_PARAMETER,
        Status::INVALID_DEVICE_REQUEST,
        Status::ACCESS_DENIED,
        Status::BUFFER_TOO_SMALL,
        Status::DELETE_PENDING,
        Status::DEVICE_NOT_READY,
        Status::CANCELLED,
        Status::NOT_FOUND,
    ];
    let outcomes = [
        Outcome::Done,
        Outcome::Opened(true),
        Outcome::Opened(false),
        Outcome::Found(true),
        Outcome::Found(false),
        Outcome::FoundBefore,
        Outcome::Removed(true),
        Outcome::Removed(false),
    ];
    let outcomes = outcomes.iter().map(|outcome| format!("{outcome:?}"));
    let every = outcomes.chain(statuses.iter().map(ToString::to_string));
    let missing: Vec<String> = every.filter(|one| !reached.contains(one)).collect();
    assert_eq!(missing, [""; 0], "{reached:?}");
}

#[test]
fn a_sequence_for_every_kernel_is_deterministic_and_cleans_up() {
    for seed in 0..500 {
        let steps = everywhere(seed);
        assert_eq!(steps, everywhere(seed));
        let mut reference = Reference::new(Counters::default());
        for step in &steps {
            let resolved = reference.resolve(step).expect("the step applies");
            assert!(!matches!(resolved, Step::Pnp(_) | Step::Advance(_)));
            reference.execute(&resolved);
        }
        assert_eq!(reference.waiting().count(), 0, "seed {seed}");
    }
}

#[test]
fn a_printed_step_can_be_parsed() {
    for step in everywhere(0) {
        let read: Step = serde_json::from_str(&step.to_string()).expect("a step");
        assert_eq!(read, step);
    }
}
