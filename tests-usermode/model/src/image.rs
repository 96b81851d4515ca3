//! Images of drivers: a `.sys` file for x64 in the memory of this program, for a [`Kernel`](crate::Kernel) to load.
//!
//! An [`Image`] is mapped as Windows maps it: relocated, its imports bound to the model's routines, its sections protected, and
//! what is discardable gone after `DriverEntry`. Its routines are called, and call the model's, by the Microsoft x64 calling
//! convention. Which convention a driver's routine has, its address says, so that an image and a driver that is linked with this
//! program can be loaded side by side.
//!
//! What a compiler has put into the image itself does not call the model:
//!
//! | inline | what is known |
//! | --- | --- |
//! | `IoSetCancelRoutine`, a read of `Irp->Cancel` | what the IRP shows when it is next passed to a routine, cancelled or completed, or its dispatch routine returns |
//! | `IoMarkIrpPending` | the same: one that comes too late is found for a device queue, and for an interlocked list if [lists are checked](crate::Config::check_lists) |
//! | `InsertTailList` and other lists | what the entries show when the IRP is completed |
//! | any use of an IRP after its completion | a routine that it is passed to |
//! | `Interlocked*`, `YieldProcessor` | nothing: in an [exploration](crate::explore) no other thread runs there |
//! | `KeGetCurrentIrql`, `KeRaiseIrql`, `KeLowerIrql` (CR8) | all: they are carried out as the routines are |
//! | `KeGetCurrentProcessorNumber`, `KeGetCurrentThread` (GS) | they are carried out; no memory is at the thread's address |
//! | other uses of GS, privileged instructions | a violation that names the instruction |
//!
//! The last three rows are those of a Linux host. On a Windows host an image that contains one of the inline functions named there is
//! refused, reports have the image's addresses instead of its functions, and other invalid instructions end the program, as invalid
//! memory does.
//!
//! Structured exceptions are not modelled. A section that can be both written and executed is refused.

#[cfg_attr(
    all(any(target_os = "linux", windows), target_arch = "x86_64"),
    path = "image/x64.rs"
)]
#[cfg_attr(
    not(all(any(target_os = "linux", windows), target_arch = "x86_64")),
    path = "image/none.rs"
)]
mod host;

use std::{fmt, io};

pub use host::Image;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use host::contains;
pub(crate) use host::{describe, offset, walk};

/// Why an image is not loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read, or there is no memory for it.
    Io(io::Error),
    /// Windows would not load it either, for this reason.
    Invalid(String),
    /// The model lacks routines that it imports: all of these.
    Missing(Vec<String>),
    /// It contains this inline function, which the model does not carry out on Windows.
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
                "the image contains {function} as an inline function, which the model kernel carries out on Linux alone"
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
