//! Exploration: runs the same scenario repeatedly, each time under another order of the steps that other threads can
//! observe.
//!
//! A scenario is a function that creates devices and [actors](crate::Kernel::actor). `shuttle` runs it one thread at a
//! time, and can switch to another thread before each step that others can observe: the acquisition of a lock, an
//! insertion into a queue, an exchange of a Cancel routine. [`explore`] selects the orders. A violation is reported
//! with its schedule, which [`replay`] repeats step by step.
//!
//! This is the highest folder: it uses the others, and none of them uses it.

mod actor;
mod depth_first;
mod schedule;
mod scheduler;
mod search;
mod shared;

pub use actor::Actor;
pub use schedule::{Misfit, Schedule};
pub(crate) use search::end_with;
pub use search::{Explored, Found, Memory, Scenario, Search, explore, replay};
pub use shared::Shared;
