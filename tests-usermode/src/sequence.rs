//! Sequences: steps drawn at random and taken one after another by a single thread, each held against what
//! `interlock_abi` says must come of it.
//!
//! ```text
//!   draw ──► Step ──► Reference   what must come of it: the outcome, and which requests end how
//!               │
//!               └───► System      what comes of it: the model kernel, or the installed driver
//! ```
//!
//! Any part of a sequence is a sequence: a step names a file or a request by a number that is taken modulo how many there
//! are, and one that there is nothing for is left out. So one that fails can be made shorter by leaving steps out.

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
