//! The rules and their bug checks, the driver's stack, the order of locks, and fault injection.
//!
//! This is the lowest folder. It uses no thread and no kernel, so every other folder can use it.

pub(crate) mod bug_check;
pub(crate) mod faults;
pub(crate) mod held;
pub(crate) mod lock_order;
mod rule;
mod symbol;

pub use bug_check::Violation;
pub(crate) use bug_check::{
    BugCheck, Finding, KMODE_EXCEPTION_NOT_HANDLED, UNEXPECTED_KERNEL_MODE_TRAP, callers,
    callers_on,
};
pub use faults::Faults;
pub use rule::Rule;
