//! Sequences: random steps that a single thread executes, each compared with a reference that is written from
//! `interlock_abi`.
//!
//! ```text
//!   draw ──► Step ──► Reference   the expected outcome, the requests that end, and their answers
//!               │
//!               └───► System      the actual outcome: the model kernel, or the installed driver
//! ```
//!
//! Any subset of the steps is a valid sequence: a step refers to a file or a request by an index, modulo their count, and a step
//! that does not apply is skipped. So a sequence that fails can be shortened by removing steps.

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
