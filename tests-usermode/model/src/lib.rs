//! A model of the NT kernel, in user mode: as much of it as a driver on `nt` can see.
//!
//! It defines the routines that `nt` declares, so a driver is linked with it instead of with ntoskrnl.exe, and keeps
//! what the kernel keeps: the IRQL, the processors, who holds which spin lock and in which order, the pool, and of each
//! IRP who owns it. It stops at the first thing that a driver may not do, with the bug check that Driver Verifier
//! would raise and the name of Static Driver Verifier's rule: a [`Violation`].
//!
//! ```text
//!   test, harness              ─ files, requests, cancellation: [`File`], [`Request`]
//!        │                     ─ loading, removal: [`Driver`], [`Device`]
//!   ┌────▼─────────────────────────────────────────┐
//!   │ Kernel   threads ─ IRQL ─ processors ─ DPCs  │
//!   │          spin locks ─ their order            │  a host thread each, or
//!   │          IRPs ─ device objects ─ pool        │  one at a time under [`explore`]
//!   └────▲─────────────────────────────────────────┘
//!        │                     ─ KeAcquireSpinLockRaiseToDpc, IofCompleteRequest, ...
//!   driver (wdm, or raw nt)
//! ```
//!
//! The sources have NT's own folders: `ke`, `ex`, `io` and `ps`, by the prefix of a routine's name. Below them are `verifier`
//! (rules, bug checks, who calls) and `host` (threads, waiting, time); above them is [`explore`]. Each uses those below it only;
//! a call that goes up does so through `host::upcalls`, which `kernel` fills in.
//!
//! The threads of a [`Kernel`] are those of the host that enter it. In an [exploration](explore) they are run one at a
//! time, and every order of what they do to each other is tried, or many are.
//!
//! A violation stops the thread for good, as a bug check does: nothing unwinds through the driver. What then
//! becomes of the program, the [`Config`] says.

#![allow(
    clippy::must_use_candidate,
    reason = "what is asked of a kernel has its effect, whatever the answer"
)]
#![cfg_attr(
    all(windows, target_env = "gnu"),
    allow(
        clippy::missing_const_for_thread_local,
        reason = "rust-clippy 17566: said of initialisers that are const, where std has no native thread locals"
    )
)]

mod ex;
pub mod explore;
mod host;
mod io;
mod ke;
mod kernel;
mod mutex;
mod ps;
mod verifier;

pub use ex::UserEvent;
pub use host::{Clock, Config, Kernel, OnViolation, Step};
pub use io::{
    Access, BusAnswer, Cancelling, Completion, Device, Driver, DriverEntry, File, Request, User,
};
pub use verifier::{Faults, Rule, Violation};
