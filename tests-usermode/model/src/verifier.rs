//! What the model knows about rules: their names, the bug checks for them, who calls, the order of locks, and which requests
//! fail on purpose.
//!
//! It is the lowest folder: it knows no thread and no kernel, so that every other one can use it.

pub(crate) mod bug_check;
pub(crate) mod faults;
pub(crate) mod held;
pub(crate) mod lock_order;
mod rule;
mod symbol;

pub use bug_check::Violation;
pub(crate) use bug_check::{BugCheck, callers, callers_on};
pub use faults::Faults;
pub use rule::Rule;
