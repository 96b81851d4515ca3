//! `IoForwardIrpSynchronously`, in which an IRP is sent to the lower driver and kept when that has completed it.

use std::{
    ffi::c_void,
    ptr::{addr_of_mut, null_mut},
};

use nt::{DEVICE_OBJECT, IRP, KEVENT, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING};

use crate::host::Call;

const APC_LEVEL: u8 = 1;

unsafe extern "C" fn completed(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    event: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes the IRP, which is this routine's.
    if unsafe { nt::irp::pending_returned(irp) } {
        // SAFETY: the thread that has sent the IRP waits for the event.
        unsafe { nt::KeSetEvent(event.cast(), 0, 0) };
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioforwardirpsynchronously)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoForwardIrpSynchronously(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> u8 {
    let call = Call::enter_noted("IoForwardIrpSynchronously").at_most(APC_LEVEL);
    if call.live_irp(irp).current() <= 1 {
        return 0;
    }
    let mut event = KEVENT { Header: [0; 3] };
    let event = addr_of_mut!(event);
    // SAFETY: the event stays until the routine returns.
    unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::NotificationEvent, 0) };
    // SAFETY: the caller owns the IRP, which has a location for the lower driver.
    unsafe { nt::irp::IoCopyCurrentIrpStackLocationToNext(irp) };
    // SAFETY: as above, and the event stays until the lower driver has completed the IRP.
    unsafe {
        nt::irp::IoSetCompletionRoutine(irp, Some(completed), event.cast(), true, true, true);
    }
    // SAFETY: as above.
    if unsafe { nt::IofCallDriver(device, irp) } == STATUS_PENDING {
        // SAFETY: the event is initialised.
        unsafe { nt::KeWaitForSingleObject(event.cast(), 0, 0, 0, null_mut()) };
    }
    1
}
