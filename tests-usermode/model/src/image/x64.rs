//! Hosts that load images: Linux and Windows on x86-64.

mod c_library;
#[cfg(not(windows))]
mod dwarf;
mod file;
mod guard;
mod inlines;
mod lookaside;
mod mapped;
mod memory;
mod paged;
mod routines;
mod stubs;
#[cfg_attr(windows, path = "no_symbols.rs")]
mod symbols;
mod thunks;
mod unwind;

pub use mapped::Image;
pub(crate) use mapped::{any_paged, close_paged, describe, lock_section, offset, walk};
#[cfg(target_os = "linux")]
pub(crate) use mapped::{contains, is_paged, open_paged};
pub(crate) use thunks::default_dispatch;
