//! What real drivers got wrong, written on raw `nt`, each beside its correct twin.
//!
//! Each family is a driver of a few steps: a trait whose default methods are the correct ones. A mistake overrides one
//! step; the twin is the same driver, in the same scene, with that step as it should be. On a real kernel the mistakes
//! are undefined behaviour; the model stops at the rule that is broken, and keeps whatever a mistake would still touch.

mod frame;
mod interlocked;
mod locks;
mod own_queue;
mod start_io;
mod zone;

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

/// Every order there is.
const EVERY: Search = Search::every(1_000_000);

/// The mistakes.
pub const FAULTS: &[Fault] = &[
    own_queue::CANCEL_TESTED_FIRST,
    own_queue::NOT_TAKEN_BACK,
    own_queue::ARMED_AFTER_UNLOCK,
    own_queue::TAKEN_ANYWAY,
    own_queue::NOT_DISARMED,
    own_queue::NOT_SELF_LINKED,
    own_queue::COMPLETED_UNDER_LOCK,
    own_queue::COMPLETED_UNDER_CANCEL_LOCK,
    own_queue::WRONG_CANCEL_IRQL,
    own_queue::CLEANUP_STOPS,
    own_queue::MARKED_LATE,
    own_queue::NOT_MARKED,
    own_queue::MARKED_AND_ANSWERED,
    own_queue::OTHER_STATUS,
    own_queue::ANSWERED_PENDING,
    own_queue::NOT_COMPLETED,
    start_io::LEFT_BUSY,
    start_io::CANCEL_LOCK_KEPT,
    start_io::NOT_DISARMED,
    start_io::DISARMED_BEFORE,
    interlocked::MARKED_LATE,
    interlocked::MARKED_WHEN_SERVED,
    interlocked::LOCK_SHARED,
    locks::AT_DPC_AT_PASSIVE,
    locks::ONE_VARIABLE,
    locks::RELEASED_FROM_DPC,
    locks::TWO_ORDERS,
    zone::FREED_TWICE,
];
