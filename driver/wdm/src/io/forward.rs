//! Passing an IRP to the next lower driver.

use core::{ffi::c_void, mem::MaybeUninit, ptr::null_mut};

use nt::irp::{
    IoGetNextIrpStackLocation, IoSkipCurrentIrpStackLocation, copy_to_next_with_completion,
    current_stack_location, device_object,
};

use crate::{
    io::{extension::Extension, irp_data::IrpData},
    ke::{irql::Waitable, wait},
};

/// Passes an IRP to the next lower driver and gives it up (`IoSkipCurrentIrpStackLocation`, `IoCallDriver`).
///
/// # Safety
/// The caller owns the IRP and gives it up. `lower` is the next lower device object in the stack.
pub(crate) unsafe fn pass_down(lower: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // The lower driver gets this stack location, which this driver does not read again.
    // SAFETY: the caller owns the IRP.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: as above.
    unsafe { hide_file(irp, stack) };
    // SAFETY: the caller owns the IRP, for which this driver has set no completion routine.
    unsafe { IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: the caller gives up the IRP.
    unsafe { nt::IofCallDriver(lower, irp) }
}

/// A completion routine: receives the device object, the IRP and the context.
pub(crate) type CompletionRoutine =
    unsafe extern "C" fn(*mut nt::DEVICE_OBJECT, *mut nt::IRP, *mut c_void) -> i32;

/// Passes an IRP to the next lower driver, with a completion routine (`IoSetCompletionRoutine`, `IoCallDriver`).
///
/// # Safety
/// The caller owns the IRP and gives it up until `routine` is called with it and `context`, once, in any thread, at most at
/// `DISPATCH_LEVEL`. `lower` is the next lower device object in the stack.
pub(crate) unsafe fn forward_with(
    lower: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    routine: CompletionRoutine,
    context: *mut c_void,
) -> i32 {
    // SAFETY: the caller owns the IRP, which has a stack location for every lower driver.
    unsafe { copy_to_next_with_completion(irp, Some(routine), context) };
    // SAFETY: as above.
    let next = unsafe { IoGetNextIrpStackLocation(irp) };
    // SAFETY: as above.
    unsafe { hide_file(irp, next) };
    // SAFETY: as above.
    if unsafe { IrpData::new(irp) }.is_control_of_a_driver() {
        // SAFETY: as above.
        let own = unsafe { current_stack_location(irp) };
        // SAFETY: as above. The lower driver gets another stack location.
        unsafe { (*own).Flags |= SENT };
    }
    // SAFETY: the caller gives up the IRP.
    unsafe { nt::IofCallDriver(lower, irp) }
}

/// A bit in `Flags` of this driver's stack location. It marks a device control of another driver that this driver has forwarded with a
/// completion routine. The WDK defines no such bit for a device control.
const SENT: u8 = 0x80;

/// Returns whether the lower drivers must not get an IRP again: another driver has sent it, and its input may contain addresses, which the
/// lower drivers trust. They have used it, and may have overwritten it with the output.
///
/// # Safety
/// The caller owns the IRP, which was sent to a device of this crate.
pub(crate) unsafe fn is_used_up(irp: *mut nt::IRP) -> bool {
    // SAFETY: guaranteed by the caller.
    let own = unsafe { current_stack_location(irp) };
    // SAFETY: as above.
    let was_sent = unsafe { (*own).Flags } & SENT != 0;
    // SAFETY: as above.
    was_sent && unsafe { IrpData::new(irp) }.is_control_of_a_driver()
}

/// Hides the file of an IRP from the lower drivers, in the stack location that they get, unless the device is a filter's: then the lower
/// drivers open the files. A function driver opens the files itself, and uses `FsContext`; a lower driver that does so too, such as
/// another driver on this crate, must not mistake the file for one of its own.
///
/// # Safety
/// The caller owns the IRP, which was sent to a device of this crate that is held; `stack` is its current stack location or the next.
unsafe fn hide_file(irp: *mut nt::IRP, stack: *mut nt::IO_STACK_LOCATION) {
    // SAFETY: guaranteed by the caller.
    let device = unsafe { device_object(irp) };
    // SAFETY: as above.
    let extension = unsafe { Extension::of(device) };
    if !extension.is_filter() {
        // SAFETY: the owner of an IRP may write both stack locations.
        unsafe { (*stack).FileObject = null_mut() };
    }
}

/// Passes an IRP to the lower drivers, waits until they have completed it, and returns their status. The caller
/// then owns the IRP again.
///
/// WDK: [Postponing PnP IRP Processing Until Lower Drivers Finish](https://learn.microsoft.com/windows-hardware/drivers/kernel/postponing-pnp-irp-processing-until-lower-drivers-finish).
///
/// # Safety
/// The caller owns the IRP. `lower` is the next lower device object in the stack.
pub(crate) unsafe fn forward_and_wait<L: Waitable>(
    lower: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    irql: &mut L,
) -> i32 {
    let mut event = MaybeUninit::<nt::KEVENT>::uninit();
    // One pointer for all uses: the kernel stores pointers derived from it in the event.
    let event = event.as_mut_ptr();
    // SAFETY: the event is valid for writes. It stays in this stack frame until the wait below has ended; the wait
    // is in kernel mode, so the stack stays resident.
    unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::NotificationEvent, 0) };
    let context = event.cast();
    // SAFETY: the caller owns the IRP, and the completion routine returns it. The event outlives the routine: the routine
    // runs on success, error and cancellation, and the wait below ends only after it has set the event.
    let _ = unsafe { forward_with(lower, irp, set_event, context) };
    // The completion routine runs whether or not the lower drivers pend the IRP, so the returned status does not
    // matter.
    // SAFETY: the event is initialised, and stays in this stack frame until the wait has ended.
    unsafe { wait::for_object(context, irql) };
    // SAFETY: the completion routine stopped the completion, so the caller owns the IRP again.
    unsafe { nt::irp::status(irp) }
}

/// The completion routine: returns the IRP to the waiting thread.
///
/// # Safety
/// Called by the I/O manager with an event as the context, whose owner waits for it before it uses the IRP.
pub(crate) unsafe extern "C" fn set_event(
    _device: *mut nt::DEVICE_OBJECT,
    _irp: *mut nt::IRP,
    context: *mut c_void,
) -> i32 {
    // SAFETY: the context is an event whose owner waits for it to be set. The IRQL is at most DISPATCH_LEVEL, as
    // KeSetEvent without a wait requires.
    let _ = unsafe { nt::KeSetEvent(context.cast(), 0, 0) };
    nt::STATUS_MORE_PROCESSING_REQUIRED
}
