//! Hosts that load images: Linux and Windows on x86-64.

#[cfg(not(windows))]
mod dwarf;
mod file;
mod guard;
mod inlines;
mod lookaside;
mod mapped;
mod memory;
mod routines;
#[cfg_attr(windows, path = "no_symbols.rs")]
mod symbols;
mod thunks;
mod unwind;

pub use mapped::Image;
#[cfg(target_os = "linux")]
pub(crate) use mapped::contains;
pub(crate) use mapped::{describe, offset, walk};
