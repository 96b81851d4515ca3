//! Exploration: runs a scenario repeatedly, each time with another order of its threads.
//!
//! A scenario is a function that loads a driver and starts its threads, the [actors](crate::Kernel::actor). `shuttle` runs
//! one thread at a time. The scheduler can switch to another thread at each step that others can observe: before a thread
//! acquires a lock, inserts into a queue, marks an IRP pending or exchanges a Cancel routine, and
//! after it has released a lock or a protection, signalled an object, inserted into a queue, changed a variable by an
//! [Interlocked](nt::interlocked) function, set a timer, completed an IRP or started a thread or a work item. If the
//! thread holds no lock, another thread can also run before it allocates or frees memory, an IRP or an MDL. [`explore`] tries the orders
//! that a [`Search`] selects. If an order breaks a rule, the result has its [`Schedule`], which [`replay`] repeats step by step.
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), include_str!("../examples/explore.txt"), "```")]
//!
//! # Which orders
//!
//! [`Search::every`] tries every order, except those that differ only in the order of independent steps and so have the
//! same outcome. It makes no assumption about the driver: any code of the driver and of the scenario can access any memory.
//! For a driver in safe code on `wdm`, [`Search::guarded`] needs far fewer schedules. [`Explored::complete`] states whether
//! every order was tried. If a search does not end, bound the preemptions ([`Search::preempting`]), or choose the orders at
//! random.
//!
//! Some orders are not tried, so a mistake that needs one of them is not found, even if the search is complete:
//!
//! * No other thread runs between an access to plain memory or to an [atomic variable](nt::atomic) and the routine of the kernel before or after
//!   it, nor directly after a routine that is not of the kinds above. With a point at each atomic variable, most of which are reference
//!   counts, the searches of `wdm` take up to 200 times as long.
//! * No other thread runs directly before an IRP is completed, nor directly after a lower driver has pended one, since most searches would
//!   take several times as long.
//! * An actor does not run before the thread that has started it reaches its next step; if that thread sends a request, the request exists by
//!   then. If both orders matter, an actor sends the request.
//! * In a loaded image, no other thread runs before or after the inline functions of the WDK, such as
//!   `InterlockedIncrement`, `IoSetCancelRoutine` and `IoMarkIrpPending`.
//! * A timer does not expire before another one that is set and has an earlier due time. A periodic timer's DPC does not run while its last
//!   call still runs, and a DPC that sets a further timer has returned before that one expires, unless other timers were set.
//!
//! # Time
//!
//! The clock is virtual: it does not advance while a thread can continue, except by 100 ns for each read. A thread "timers"
//! expires the timers in the order of their due times, and runs their DPCs. If several timers with a DPC are set, a DPC runs on
//! another processor, and the thread continues with the next timer. A timer can expire at any point of the schedule after it is set, except
//! before a timer with an earlier due time, since the steps of another thread can take any time. So a wait with a timeout is explored with both
//! outcomes. A periodic timer expires three times and then stays set, since otherwise the number of orders would be infinite.
//! [`Request::wait`](crate::Request::wait) has no timeout in an exploration: a request that does not end is a hang, which
//! is a violation.
//!
//! # Memory
//!
//! The model observes the objects that routines work on. For plain memory there is [`Shared`].
//!
//! This is the highest folder: it uses the others, and they do not use it.

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
