//! Exploration: runs a scenario again and again, each time with another order of its threads.
//!
//! A scenario is a function that loads a driver and starts [actors](crate::Kernel::actor), its threads. `shuttle` runs one thread
//! at a time. Another one can go on at each step that others can observe: where a thread acquires a lock, inserts into a queue,
//! exchanges a Cancel routine. [`explore`] tries the orders that a [`Search`] selects. If one of them breaks a rule, the result
//! has its [`Schedule`], which [`replay`] repeats step by step.
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), include_str!("../examples/explore.txt"), "```")]
//!
//! # Which orders
//!
//! [`Search::every`] tries every order, except those that differ only in the order of independent steps and so have the same
//! outcome. It makes no assumption about the driver: code of the driver and of the scenario is taken to touch any memory. For a
//! driver in safe code on `wdm`, [`Search::guarded`] needs far fewer schedules. [`Explored::complete`] tells whether no order is
//! left. If a search does not end, bound the preemptions ([`Search::preempting`]), or draw the orders at random.
//!
//! # Time
//!
//! The clock is virtual: it does not advance while a thread can continue, except by 100 ns for each read. A thread "timers" lets
//! the timers expire, in the order of their due times, and each at any point of the schedule from when it is set on: what another
//! thread does may take any time. So a wait with a timeout ends both ways. A periodic timer expires three times, and then stays
//! set; otherwise there would be no end to the orders. [`Request::wait`](crate::Request::wait) has no timeout in an exploration: a
//! request that does not end is a hang, and a violation.
//!
//! # Memory
//!
//! The model sees the objects that routines work on. For plain memory there is [`Shared`].
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
pub use search::{Explored, Found, Memory, Scenario, Search, check, explore, replay};
pub use shared::Shared;
