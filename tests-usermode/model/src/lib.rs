//! A model, in user mode, of the part of the NT kernel that a driver on `nt` can observe.
//!
//! It defines the routines that `nt` declares, so a driver is linked with it instead of ntoskrnl.exe. It tracks the
//! IRQL, the processors, the owner and the order of every spin lock, the pool, and the owner of every IRP. It stops at
//! the first violation of a rule, and reports a [`Violation`]: the bug check that Driver Verifier raises, and the name
//! of Static Driver Verifier's rule.
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
//! The sources have NT's folders, `ke`, `ex`, `io` and `ps`, by the prefix of a routine's name. Below them are
//! `verifier` (rules, bug checks, the driver's stack) and `host` (threads, waits, time); above them is [`explore`]. A
//! folder uses only those below it. It calls those above it through `host::upcalls`, which `kernel` fills in.
//!
//! The threads of a [`Kernel`] are the host threads that enter it. An [exploration](explore) runs them one at a time,
//! in every order of the steps that other threads can observe, or in many.
//!
//! A violation stops the thread forever, as a bug check does: nothing unwinds through the driver.
//! [`Config::on_violation`] selects the effect on the program.

#![allow(
    clippy::must_use_candidate,
    reason = "the operations have effects, and a test may ignore their results"
)]
#![cfg_attr(
    all(windows, target_env = "gnu"),
    allow(
        clippy::missing_const_for_thread_local,
        reason = "rust-clippy 17566: reported for const initialisers, if std has no native thread locals"
    )
)]

mod ex;
pub mod explore;
mod host;
mod image;
mod io;
mod ke;
mod kernel;
mod mutex;
mod ps;
mod verifier;

pub use ex::UserEvent;
pub use host::{Clock, Config, Kernel, OnViolation, Step};
pub use image::{Image, ImageError};
pub use io::{
    Access, BusAnswer, Cancelling, Completion, Device, Driver, DriverEntry, File, Request, User,
};
pub use verifier::{Faults, Rule, Violation};
