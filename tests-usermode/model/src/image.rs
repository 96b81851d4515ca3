//! Images of drivers: a `.sys` file for x64 in the memory of this program, for a [`Kernel`](crate::Kernel) to load.
//!
//! An [`Image`] is mapped as Windows maps it: it is relocated, its imports are bound to the model's routines, its sections
//! are protected, and its discardable sections are unmapped after `DriverEntry`. Calls into it and out of it use the
//! Microsoft x64 calling convention. The address of a driver's routine determines its convention, so an image and a driver
//! that is linked with this program can be loaded side by side.
//!
//! Code that a compiler has inlined into the image does not call the model:
//!
//! | inline code | what the model knows |
//! | --- | --- |
//! | `IoSetCancelRoutine`, a read of `Irp->Cancel` | the state of the IRP when it is next passed to a routine, cancelled or completed, or when its dispatch routine returns |
//! | `IoMarkIrpPending` | the same: a late call is found for a device queue, and for an interlocked list if [lists are checked](crate::Config::check_lists) |
//! | `InsertTailList` and other lists | the state of the entries when the IRP is completed |
//! | `KeInitializeSpinLock`, before Windows 8 | nothing: a lock that is zero is initialised if an image is loaded that does not import the routine |
//! | any use of an IRP after its completion | a routine that the IRP is passed to |
//! | `Interlocked*`, `YieldProcessor` | nothing: in an [exploration](crate::explore) no other thread runs there |
//! | `KeGetCurrentIrql`, `KeRaiseIrql`, `KeLowerIrql` (CR8) | everything: the model emulates them |
//! | `KeGetCurrentProcessorNumber`, `KeGetCurrentThread` (GS) | the model emulates them; there is no memory at the thread's address |
//! | other uses of GS, privileged instructions | a violation that names the instruction |
//!
//! The last three rows apply to a Linux host. A Windows host refuses an image that contains one of the inline functions
//! named there, its reports have the image's addresses instead of its functions, and other invalid instructions end the
//! program, as invalid memory does.
//!
//! Structured exceptions are not modelled. A section that can be both written and executed is refused if it is not discardable. On
//! Linux a thread at `DISPATCH_LEVEL` that runs code or accesses data in a section whose name starts with `PAGE` stops the system.

#[cfg_attr(
    all(any(target_os = "linux", windows), target_arch = "x86_64"),
    path = "image/x64.rs"
)]
#[cfg_attr(
    not(all(any(target_os = "linux", windows), target_arch = "x86_64")),
    path = "image/none.rs"
)]
mod host;

use std::{fmt, io, sync::OnceLock};

use nt::{DEVICE_OBJECT, IRP, NTSTATUS};

pub use host::Image;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use host::contains;
pub(crate) use host::{
    any_paged, close_paged, default_dispatch, describe, lock_section, offset, walk,
};
#[cfg(target_os = "linux")]
pub(crate) use host::{is_paged, open_paged};

/// The routines of higher folders that the imports of an image call. `io`, which loads images, fills in the table.
#[cfg_attr(
    not(all(any(target_os = "linux", windows), target_arch = "x86_64")),
    expect(dead_code, reason = "such a host loads no image")
)]
pub(crate) struct Upcalls {
    /// Stops the system, since an image has called this routine, which the model lacks.
    pub(crate) lacks: fn(&str) -> !,
    /// The dispatch routine of the requests for which the driver sets none.
    pub(crate) invalid_request: unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS,
}

/// Set before an image is loaded.
pub(crate) static UPCALLS: OnceLock<Upcalls> = OnceLock::new();

/// Why an image cannot be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read, or there is no memory for it.
    Io(io::Error),
    /// Windows would not load the image either, for this reason.
    Invalid(String),
    /// The model lacks these routines that the image imports. See [`Image::load_partly`].
    Missing(Vec<String>),
    /// The image contains this inline function, which the model does not emulate on Windows.
    Inline(&'static str),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the image cannot be loaded: {error}"),
            Self::Invalid(why) => write!(f, "the image cannot be loaded: {why}"),
            Self::Missing(routines) => write!(
                f,
                "the image imports {} routines that the model kernel lacks: {}",
                routines.len(),
                routines.join(", ")
            ),
            Self::Inline(function) => write!(
                f,
                "the image contains {function} as an inline function, which the model kernel emulates on Linux only"
            ),
        }
    }
}

impl std::error::Error for ImageError {}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
