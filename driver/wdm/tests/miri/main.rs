//! `wdm` on a kernel that Miri can interpret: locks, lists, zones and lookaside lists, shared values, IRP queues and device queues,
//! open files, DPCs and timers, forwarded requests and those of the driver's own, filters and power policies, each used by several threads at once.
//!
//! `cargo make miri` runs this under Miri. As an ordinary test it checks that the tests themselves pass.

#![allow(non_snake_case, reason = "the kernel's routines have NT's own names")]
#![cfg_attr(miri, allow(stable_features))]
#![cfg_attr(miri, feature(c_variadic))]

mod driver;
mod filters;
mod forwarded;
mod kernel;
mod lists;
mod lock_free;
mod locks;
mod lookaside;
mod power;
mod removal;
mod sharing;

/// The number of rounds of each thread: Miri is slow, but needs few.
const TIMES: u32 = if cfg!(miri) { 4 } else { 200 };

/// The number of threads in a test.
const THREADS: u32 = 3;
