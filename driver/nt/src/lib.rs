//! Raw bindings to the NT kernel's types, routines and inline functions that Interlock uses.
//!
//! With the feature `wdk` most types come from `wdk-sys`, generated from the headers of the installed WDK. Without it
//! they are the portable definitions in this crate, so that all crates that use it build on any host; there the model kernel
//! defines the routines. In both cases `layout` asserts at compile time that the types have
//! their layout on 64-bit Windows.
//!
//! Headers differ in how they declare anonymous unions, and so do the bindings made from them. Code outside this
//! crate never names a field inside such a union. It uses the functions of [`irp`], which access the field through
//! structures whose offsets are asserted. Routines that are inline functions or macros in the WDK have no bindings
//! and are defined here.
//!
//! Headers also differ in which routines are inline functions, need `ntifs.h`, or are documented. The WDK's import
//! libraries for 64-bit Windows export all routines in `ke`, `ex`, `io`, `mm`, `ps`, `rtl` and `routines`, so these modules declare
//! them, for every set of bindings.

#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

#[cfg(not(feature = "wdk"))]
mod portable;
#[cfg(feature = "wdk")]
mod wdk;

#[cfg(not(feature = "wdk"))]
pub use portable::*;
#[cfg(feature = "wdk")]
pub use wdk::*;

pub mod atomic;
mod constants;
mod ex;
mod io;
mod ke;
mod layout;
pub mod list;
mod mm;
pub mod model;
mod ps;
mod routines;
mod rtl;

pub use constants::*;
pub use ex::*;
pub use io::*;
pub use ke::{irql::*, *};
pub use mm::*;
pub use ps::*;
pub use routines::*;
pub use rtl::*;

/// Whether this crate is linked into a driver image, so that its statics belong to one driver. A program with the
/// model kernel can contain several drivers, each in its own kernel.
pub const IS_DRIVER: bool = cfg!(feature = "wdk");

/// A spin lock that is not held, for a lock that is initialised at compile time.
///
/// On Windows it is zero: in the WDK's `wdm.h` for systems before Windows 8, `KeInitializeSpinLock` is inline and stores zero.
/// The model kernel marks each lock that was initialised.
pub const SPIN_LOCK_FREE: KSPIN_LOCK = if IS_DRIVER { 0 } else { 0x4c4b << 48 };
