//! Passing an IRP on to the next lower driver.

use core::{ffi::c_void, mem::MaybeUninit};

use nt::irp::{IoSkipCurrentIrpStackLocation, copy_to_next_with_completion};

use crate::ke::{irql::Waitable, wait};

/// Passes an IRP on and forgets about it (`IoSkipCurrentIrpStackLocation`, `IoCallDriver`).
///
/// # Safety
/// The caller owns the IRP and gives it up. `lower` is the next lower device object.
pub(crate) unsafe fn pass_down(lower: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the caller owns the IRP, which has no completion routine of ours.
    unsafe { IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: the caller gives the IRP up.
    unsafe { nt::IofCallDriver(lower, irp) }
}

/// Passes an IRP on, waits until the lower drivers are done, and gives their status; the IRP is the
/// caller's again.
///
/// WDK: "Postponing PnP IRP Processing Until Lower Drivers Finish".
///
/// # Safety
/// The caller owns the IRP. `lower` is the next lower device object.
pub(crate) unsafe fn forward_and_wait<L: Waitable>(
    lower: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    irql: &mut L,
) -> i32 {
    let mut event = MaybeUninit::<nt::KEVENT>::uninit();
    // Taken once: the kernel keeps pointers made of this one in the event.
    let event = event.as_mut_ptr();
    // SAFETY: the event is valid for writes. It stays in this frame until it has been waited for, in
    // kernel mode, during which the kernel stack is resident.
    unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::NotificationEvent, 0) };
    let context = event.cast();
    // SAFETY: the caller owns the IRP, whose stack has a location for every lower driver; the event
    // outlives the call, as every outcome of the IRP sets it and it is waited for below.
    unsafe { copy_to_next_with_completion(irp, Some(set_event), context) };
    // SAFETY: the IRP goes on, and comes back by the completion routine.
    let _ = unsafe { nt::IofCallDriver(lower, irp) };
    // The routine runs whether or not the lower drivers pend, so there is one way to wait for both.
    // SAFETY: the event is initialised, and stays in this frame until the wait has ended.
    unsafe { wait::for_object(context, irql) };
    // SAFETY: the completion routine stopped the completion, so the IRP is the caller's again.
    unsafe { nt::irp::status(irp) }
}

/// The completion routine that gives an IRP back to the thread that waits for it.
///
/// # Safety
/// Called by the I/O manager with the context that [`forward_and_wait`] set.
unsafe extern "C" fn set_event(
    _device: *mut nt::DEVICE_OBJECT,
    _irp: *mut nt::IRP,
    context: *mut c_void,
) -> i32 {
    // SAFETY: the context is an event whose owner waits for just this. At most DISPATCH_LEVEL, as
    // KeSetEvent without a wait asks.
    let _ = unsafe { nt::KeSetEvent(context.cast(), 0, 0) };
    nt::STATUS_MORE_PROCESSING_REQUIRED
}
