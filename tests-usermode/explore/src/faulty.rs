//! What real drivers got wrong, written on raw `nt`, each beside its correct twin.

use ntmodel::{
    Rule,
    explore::{Scenario, Search},
};

/// A mistake.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// The name of its twin.
    pub twin_name: &'static str,
    /// What is wrong, and which real driver or sample had it, where that is known.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: Rule,
    /// In which orders it is looked for.
    pub search: Search,
    /// The scene with the mistake.
    pub faulty: Scenario,
    /// The same scene without it.
    pub twin: Scenario,
}

/// The mistakes.
pub const FAULTS: &[Fault] = &[];
