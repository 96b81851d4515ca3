//! The parameters of a PnP request.

use core::ptr::{addr_of, addr_of_mut};

use super::current_stack_location;
use crate::IRP;

/// Returns `Parameters.UsageNotification.InPath` of the current stack location.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MN_DEVICE_USAGE_NOTIFICATION`.
#[must_use]
pub unsafe fn usage_in_path(irp: *mut IRP) -> bool {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<u8>();
    // SAFETY: the caller guarantees that the PnP manager initialised this member of the union, whose first field is the BOOLEAN.
    unsafe { parameters.read() != 0 }
}

/// The start of `DEVICE_CAPABILITIES`, with its bits in one word.
#[repr(C)]
struct DeviceCapabilities {
    Size: u16,
    Version: u16,
    Bits: u32,
}

/// Sets bits of the `DEVICE_CAPABILITIES` that `Parameters.DeviceCapabilities.Capabilities` of the current stack location points to, such as
/// [`SURPRISE_REMOVAL_OK`](crate::SURPRISE_REMOVAL_OK). Returns `false`, and sets no bits, if the structure is not of version 1 or has no bits.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MN_QUERY_CAPABILITIES`.
#[must_use]
pub unsafe fn add_capabilities(irp: *mut IRP, bits: u32) -> bool {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<*mut DeviceCapabilities>();
    // SAFETY: the caller guarantees that the sender initialised this member of the union, which is a pointer.
    let capabilities = unsafe { parameters.read() };
    // SAFETY: the sender's structure is valid until the IRP is completed, and has these two fields in every version.
    let version = unsafe { (*capabilities).Version };
    // SAFETY: as above.
    let size = unsafe { (*capabilities).Size };
    if version != 1 || usize::from(size) < size_of::<DeviceCapabilities>() {
        return false;
    }
    // SAFETY: as above; the structure has this field, as its size says.
    let field = unsafe { addr_of_mut!((*capabilities).Bits) };
    // SAFETY: the owner of the IRP may write the structure.
    unsafe { *field |= bits };
    true
}
