//! Attacks with the handle of an event: a driver above passes a program's request on as its own. The event is then still one of the
//! program's, whose access is checked; in kernel mode it would not be.

mod common;
#[expect(dead_code, reason = "the driver here completes no request")]
#[path = "common/raw.rs"]
mod raw;

use common::{Controlled, Controls, Stack, load, status};
use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_INVALID_HANDLE, STATUS_SUCCESS, irp};
use ntmodel::Kernel;
use wdm::{Error, Handled, Irp, NewDevice, NtStatus, PassiveLevel};

/// Sets the event whose handle is the input.
const NOTIFY: u32 = 0x22_2000;

struct Notifies;

impl Controls for Notifies {
    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self)
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let event = irp
            .input::<u64>()
            .and_then(|handle| irp.user_event(handle, irql));
        match event {
            Ok(event) => {
                event.set(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            Err(error) => irp.complete(error, irql),
        }
    }
}

/// Sends each device control as a request from kernel mode, with the file of the program's.
struct SendsAsItsOwn;

impl raw::Control for SendsAsItsOwn {
    const IO_TYPE: u32 = nt::DO_BUFFERED_IO;

    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: this routine owns the IRP; so below.
        if unsafe { irp::major_function(irp) } == nt::IRP_MJ_DEVICE_CONTROL {
            // SAFETY: as above.
            unsafe { (*irp).RequestorMode = nt::KERNEL_MODE };
        }
        // SAFETY: as above.
        let object = unsafe { irp::device_object(irp) };
        // SAFETY: the device object exists as long as the call.
        let extension = unsafe { (*object).DeviceExtension };
        // SAFETY: the extension has the lower device object.
        let lower = unsafe { *extension.cast::<*mut DEVICE_OBJECT>() };
        // SAFETY: as above.
        unsafe { irp::IoSkipCurrentIrpStackLocation(irp) };
        // SAFETY: the IRP is given up.
        unsafe { nt::IofCallDriver(lower, irp) }
    }
}

/// Sends the handle of an event, and numbers that are no handles.
fn notify(stack: Stack, kernel: &std::sync::Arc<Kernel>) {
    let stack = stack.started();
    let file = stack.open();
    let event = kernel.create_event();
    let send =
        |handle: u64| status(&file.device_control(NOTIFY, &handle.to_ne_bytes(), Vec::new()));
    assert_eq!(send(event.handle()), STATUS_SUCCESS);
    assert!(event.is_set());
    for handle in [0, event.handle() + 4] {
        assert_eq!(send(handle), STATUS_INVALID_HANDLE);
    }
    file.close();
    stack.unload();
}

#[test]
fn event_of_a_program_is_set() {
    let kernel = common::kernel();
    notify(Stack::new(load::<Controlled<Notifies>>(&kernel)), &kernel);
}

#[test]
fn access_to_an_event_is_checked_if_a_driver_sends_the_request_as_its_own() {
    let kernel = common::kernel();
    let device = Stack::new(load::<Controlled<Notifies>>(&kernel));
    notify(device.filter(raw::load::<SendsAsItsOwn>(&kernel)), &kernel);
}
