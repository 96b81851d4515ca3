//! The parameters of a power request.

use core::ptr::addr_of;

use super::{DeviceIoControl, current_stack_location};
use crate::IRP;

/// The parameters of a power request: `Parameters.Power` by value.
#[derive(Clone, Copy)]
pub struct Power {
    /// The `POWER_STATE_TYPE`: 0 for a `SYSTEM_POWER_STATE`, 1 for a `DEVICE_POWER_STATE`.
    pub kind: i32,
    /// The state.
    pub state: i32,
}

/// Returns `Parameters.Power` of the current stack location.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MJ_POWER`.
#[must_use]
pub unsafe fn power(irp: *mut IRP) -> Power {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid. `Type` and `State` have the same offsets as the input length and
    // the code of a device control.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<DeviceIoControl>();
    // SAFETY: the caller guarantees that the power manager initialised this member of the union.
    let kind = unsafe { (*parameters).InputBufferLength };
    // SAFETY: as above.
    let state = unsafe { (*parameters).IoControlCode };
    Power {
        kind: kind.cast_signed(),
        state: state.cast_signed(),
    }
}
