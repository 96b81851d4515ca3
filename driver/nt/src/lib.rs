//! The NT kernel's types, routines and inlines, raw, as Interlock uses them.
//!
//! With the feature `wdk` the types and routines are `wdk-sys`' own, generated from the headers of
//! the WDK at hand. Without it they are the portable definitions in this crate, so that everything
//! above builds on any host; there a model of the kernel defines the routines. `layout` asserts at
//! compile time, in both cases, that what is used lies where it lies on 64-bit Windows.
//!
//! Headers differ in how they spell anonymous unions, and so do the bindings made from them.
//! Nobody above this crate names a field inside one: the functions of [`irp`] reach it instead, by
//! views whose offsets are asserted. Routines that are inlines or macros in the WDK have no binding
//! and are written here once.

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

mod constants;
mod family;
pub mod interlocked;
pub mod irp;
mod irql;
mod layout;
pub mod list;
pub mod model;
mod synchronisation;

pub use constants::*;
pub use family::*;
pub use irql::*;
pub use synchronisation::*;

/// Whether this is a driver's image, whose statics are one driver's. A program with a model of the kernel may run several
/// drivers, each in a kernel of its own.
pub const IS_DRIVER: bool = cfg!(feature = "wdk");

unsafe extern "C" {
    /// Makes a spin lock free.
    ///
    /// An export since Windows 8. Headers that still support older systems make it an inline, so not
    /// every set of bindings has it, and it is declared here instead.
    pub fn KeInitializeSpinLock(SpinLock: *mut KSPIN_LOCK);
}
