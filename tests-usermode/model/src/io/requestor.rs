//! The process that has requested an I/O operation. It is a 64-bit one.

use std::{ffi::c_void, ptr::null_mut};

use nt::{DISPATCH_LEVEL, IRP};

use crate::{host::Call, ps::Process};

fn requestor(routine: &'static str, irp: *mut IRP) -> Option<Process> {
    let call = Call::enter_noted(routine).at_most(DISPATCH_LEVEL);
    call.live_irp(irp).requestor
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iogetrequestorprocess)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetRequestorProcess(irp: *mut IRP) -> *mut c_void {
    requestor("IoGetRequestorProcess", irp).map_or(null_mut(), |process| process.object())
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iogetrequestorprocessid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetRequestorProcessId(irp: *mut IRP) -> u32 {
    requestor("IoGetRequestorProcessId", irp).map_or(0, |process| process.id)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iois32bitprocess)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoIs32bitProcess(irp: *mut IRP) -> u8 {
    let call = Call::enter_noted("IoIs32bitProcess").at_most(DISPATCH_LEVEL);
    if !irp.is_null() {
        call.live_irp(irp);
    }
    0
}
