//! The parameters of a PnP request.

use core::ptr::addr_of;

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
