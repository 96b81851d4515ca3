//! Sequences: random steps that a single thread executes, each compared with a reference that is written from
//! `interlock_abi`.
//!
//! ```text
//!   draw ──► Step ──► Reference   the expected outcome, and which requests end how
//!               │
//!               └───► System      the actual outcome: the model kernel, or the installed driver
//! ```
//!
//! Any part of a sequence is a sequence: a step names a file or a request by a number, modulo how many there are, and a step
//! that does not apply is skipped. So a sequence that fails is shortened by leaving out steps.

mod answer;
mod draw;
mod reference;
mod run;
mod step;
mod system;
#[cfg(test)]
mod tests;

pub use draw::everywhere;
pub use run::run;
pub use step::Step;
pub use system::{Installed, on_model};
