//! The processor's caches of an I/O buffer. `KeFlushIoBuffers` does nothing on a processor whose caches are coherent, such as x64, so it is
//! imported for ARM64 only.

#![warn(missing_docs)]

use crate::MDL;

#[cfg(all(feature = "wdk", target_arch = "aarch64"))]
#[link(name = "ntoskrnl")]
unsafe extern "C" {
    /// Flushes a buffer from the caches of data and of instructions of all processors.
    pub fn KeFlushIoBuffers(Mdl: *mut MDL, ReadOperation: u8, DmaOperation: u8);
}

/// Does nothing: the caches are coherent.
///
/// # Safety
/// `Mdl` describes locked pages.
#[cfg(not(all(feature = "wdk", target_arch = "aarch64")))]
#[inline]
pub unsafe fn KeFlushIoBuffers(_Mdl: *mut MDL, _ReadOperation: u8, _DmaOperation: u8) {}
