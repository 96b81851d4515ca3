//! Mistakes of real drivers, written on raw `nt`, each with the correct version.
//!
//! Each family is a driver in a few steps: a trait whose default methods are correct. A mistake overrides one step or two; the
//! correct version is the same driver, in the same test, without the override. On a real kernel the mistakes are undefined
//! behaviour; the model stops at the first broken rule, and keeps the memory that a mistake would still access.

/// Makes the table of a family's mistakes. A row has the name, the steps with the mistake, the correct steps if they are not
/// `Correct`, the test, the rule that the mistake breaks, and a description.
macro_rules! faults {
    ($family:literal: $(
        $name:literal, $steps:ident $(/ $correct:ident)?, $test:ident, $rule:ident,
        $what:literal;
    )*) => {
        &[$(
            $crate::faulty::Fault {
                name: concat!($family, "::", $name),
                correct_name: concat!($family, "::", $name, ", corrected"),
                what: $what,
                rule: ntmodel::Rule::$rule,
                faulty: $test::<$steps>,
                correct: $test::<faults!(@correct $($correct)?)>,
            },
        )*]
    };
    (@correct) => { Correct };
    (@correct $correct:ident) => { $correct };
}

mod frame;
mod interlocked;
mod locks;
mod own_queue;
mod start_io;
mod zone;

use ntmodel::{Rule, explore::Scenario};

/// A mistake.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The name.
    pub name: &'static str,
    /// The name of the correct version.
    pub correct_name: &'static str,
    /// What is wrong, and which real driver or sample had it, if that is known.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: Rule,
    /// The test with the mistake.
    pub faulty: Scenario,
    /// The same test without it.
    pub correct: Scenario,
}

/// The mistakes, by family.
const FAMILIES: &[&[Fault]] = &[
    own_queue::FAULTS,
    start_io::FAULTS,
    interlocked::FAULTS,
    locks::FAULTS,
    zone::FAULTS,
];

/// Returns the mistakes.
pub fn faults() -> impl Iterator<Item = &'static Fault> {
    FAMILIES.iter().copied().flatten()
}
