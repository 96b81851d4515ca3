//! `IoAttachDevice`, which attaches a device object to the stack of a device that it opens by name.

use std::sync::Arc;

use nt::{
    DEVICE_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
    UNICODE_STRING,
};

use crate::{
    host::{Call, footprint},
    io::{
        File,
        file::{FILE_READ_ATTRIBUTES, Opening},
    },
    verifier::Rule,
};

/// The file is closed after the attachment, so that the source device gets the `IRP_MJ_CLEANUP` and `IRP_MJ_CLOSE` of it.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioattachdevice)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAttachDevice(
    source: *mut DEVICE_OBJECT,
    name: *mut UNICODE_STRING,
    attached: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let call = Call::enter_shared("IoAttachDevice");
    call.require_at_most(0, Rule::IrqlIoPassive1, 0x2_000a);
    call.require_live_device(source);
    call.require_room(name);
    call.require_room(attached);
    let is_on_stack = call.is_on_stack(attached.addr());
    call.require(!is_on_stack, Rule::Pointer, || {
        format!(
            "{attached:?}, for the lower device object, is on the stack: the dispatch routines for IRP_MJ_CLEANUP and IRP_MJ_CLOSE of the \
             device need it before IoAttachDevice has returned"
        )
    });
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passes a name.
    let name = unsafe { call.text(name) };
    let kernel = Arc::clone(&call.kernel);
    let namespace = &kernel.io().namespace;
    let (inner, named, name) = match namespace.admit(&name, FILE_READ_ATTRIBUTES, None) {
        Ok(found) => found,
        Err(status) => return status,
    };
    let opening = Opening {
        access: FILE_READ_ATTRIBUTES,
        name,
        object: Some(named),
        by_kernel: true,
    };
    let opened = File::open(&call, &kernel, &inner, &opening);
    inner.file_closed(&call);
    let file = match opened {
        Ok(file) => file,
        Err(status) => return status,
    };
    // Other threads can have run since the routine was entered.
    footprint::touch_everything();
    let lower = call.attach_at(source, inner.top(), |lower| {
        // SAFETY: the caller passes memory for the device object.
        unsafe { attached.write(lower) };
    });
    file.close();
    call.switch_after(call.routine(), source);
    if lower.is_null() {
        STATUS_NO_SUCH_DEVICE
    } else {
        STATUS_SUCCESS
    }
}
