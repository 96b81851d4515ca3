//! `wdm` on a kernel that Miri can interpret: locks, lists, zones, shared values, queues of IRPs and of devices, open files,
//! DPCs and timers, each used by several threads at once.
//!
//! `cargo make miri` runs this under Miri. As an ordinary test it shows that the tests themselves hold.

#![allow(non_snake_case, reason = "the kernel's routines have NT's own names")]
#![cfg_attr(miri, allow(stable_features))]
#![cfg_attr(miri, feature(c_variadic))]

mod driver;
mod kernel;
mod lists;
mod locks;
mod sharing;

/// How many times each thread of a test does what it does: Miri takes its time, but needs few.
const TIMES: u32 = if cfg!(miri) { 4 } else { 200 };

/// How many threads a test has.
const THREADS: u32 = 3;
