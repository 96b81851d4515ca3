//! Exploration: the same work again and again, each time in another order of what its threads do to each other.
//!
//! A scenario is a function that makes devices and [actors](crate::Kernel::actor). `shuttle` runs it, one thread at a time,
//! and lets another one go on wherever a thread is about to do what others can see: take a lock, insert into a queue,
//! exchange a Cancel routine. [`explore`] says in which orders; what is found comes with its schedule, which [`replay`] plays
//! again, step by step.
//!
//! It is the highest folder: it uses the others, and none of them uses it.

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
