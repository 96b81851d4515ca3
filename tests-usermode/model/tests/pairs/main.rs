//! Pairs of a faulty and a correct driver on raw `nt`. The mistakes are those of real drivers, and those that Driver Verifier and
//! Static Driver Verifier have rules for.
//!
//! The drivers of a file share their correct steps. A mistake is a constant, by which a driver differs from the correct one.

#[path = "../call/mod.rs"]
#[macro_use]
mod call;
#[path = "../steps/mod.rs"]
mod steps;

use ntmodel::{
    Config, Kernel, Rule,
    explore::{Scenario, Search, explore},
};

/// Makes two tests for each pair: the faulty scenario breaks the rule in some order, with this text in the message, and the
/// correct one breaks none.
macro_rules! pairs {
    ($($name:ident: $faulty:expr, $correct:expr, $rule:ident, $text:literal;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_found() {
                $crate::breaks($faulty, ntmodel::Rule::$rule, $text);
            }

            #[test]
            fn is_not_found_in_the_correct_version() {
                $crate::passes($correct);
            }
        }
    )*};
}

/// Checks the rule that a scenario breaks in some order, and that the message contains a text. Few preemptions are tried
/// first, since most mistakes need no more.
#[track_caller]
fn breaks(scenario: Scenario, rule: Rule, text: &str) {
    let few = explore(Search::preempting(2).of(20_000), scenario);
    let found = few.and_then(|_| explore(Search::every(20_000), scenario));
    let violation = found.expect_err("a rule is broken").violation;
    assert_eq!(violation.rule, rule, "\n{violation}");
    let message = violation.to_string();
    assert!(message.contains(text), "{text:?}:\n{message}");
}

/// Checks that a scenario breaks no rule, on host threads and in many orders.
fn passes(scenario: Scenario) {
    scenario(&Kernel::new(Config::default()));
    if let Err(found) = explore(Search::every(2_000), scenario) {
        panic!("{found}");
    }
}

mod attempts;
mod buffers;
mod callbacks;
mod deadlocks;
mod events;
mod files;
mod filters;
mod frame;
mod interfaces;
mod kept;
mod lifetimes;
mod lists;
mod mdls;
mod memory;
mod pnp;
mod queues;
mod races;
mod returned;
mod shared;
mod slots;
mod splits;
mod start_io;
mod states;
mod styles;
mod synchronisation;
mod teardown;
mod timeouts;
mod timing;
mod watches;
