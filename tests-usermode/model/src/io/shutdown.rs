//! The notification of drivers at a system shutdown.

use std::sync::{Arc, Mutex};

use nt::{DEVICE_OBJECT, IRP_MJ_SHUTDOWN, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

use crate::{
    host::{Call, Kernel, thread::Attached},
    io::{device_stack::top_of, irp::IrpParameters},
    mutex::locked,
    verifier::Rule,
};

impl Kernel {
    /// Sends `IRP_MJ_SHUTDOWN` to each device that is registered for it, the last one first, and waits for its end. Those that are
    /// registered for the last chance come after the others.
    pub fn notify_shutdown(self: &Arc<Self>) {
        let _attached = Attached::to(self);
        let call = Call::enter_shared("NtShutdownSystem");
        self.notify_each(&call, &self.io().shutdown);
        self.notify_each(&call, &self.io().last_shutdown);
    }

    fn notify_each(&self, call: &Call, registered: &Mutex<Vec<usize>>) {
        let mut notified = Vec::new();
        while let Some(device) = self.next_to_notify(registered, &notified) {
            notified.push(device);
            let top = top_of(std::ptr::with_exposed_provenance_mut(device));
            let parameters = IrpParameters::new(IRP_MJ_SHUTDOWN, 0);
            let record = call.new_irp(top, parameters, None, &[], Vec::new());
            call.send_and_wait(top, &record);
            self.io().devices.io_dereference(device);
        }
    }

    /// Returns the last registered device that is not among `notified`, with a reference to it, so that it exists until the driver
    /// has handled the request.
    fn next_to_notify(&self, registered: &Mutex<Vec<usize>>, notified: &[usize]) -> Option<usize> {
        let registered = locked(registered);
        let mut others = registered.iter().rev();
        let next = others.find(|device| !notified.contains(device)).copied();
        next.filter(|device| self.io().devices.io_reference(*device))
    }
}

impl Call {
    /// Removes the registrations of a device object.
    pub(in crate::io) fn forget_shutdown(&self, device: *mut DEVICE_OBJECT) {
        let io = self.kernel.io();
        for registered in [&io.shutdown, &io.last_shutdown] {
            locked(registered).retain(|registered| *registered != device.addr());
        }
    }

    fn register_shutdown(
        &self,
        registered: &Mutex<Vec<usize>>,
        device: *mut DEVICE_OBJECT,
    ) -> NTSTATUS {
        self.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
        self.require_live_device(device);
        if self.kernel.fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        locked(registered).push(device.expose_provenance());
        self.switch_after(self.routine(), device);
        STATUS_SUCCESS
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterlastchanceshutdownnotification)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterLastChanceShutdownNotification(device: *mut DEVICE_OBJECT) -> NTSTATUS {
    let call = Call::enter_shared("IoRegisterLastChanceShutdownNotification");
    call.register_shutdown(&call.kernel.io().last_shutdown, device)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregistershutdownnotification)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterShutdownNotification(device: *mut DEVICE_OBJECT) -> NTSTATUS {
    let call = Call::enter_shared("IoRegisterShutdownNotification");
    call.register_shutdown(&call.kernel.io().shutdown, device)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iounregistershutdownnotification)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoUnregisterShutdownNotification(device: *mut DEVICE_OBJECT) {
    let call = Call::enter_shared("IoUnregisterShutdownNotification");
    call.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
    call.require_live_device(device);
    call.forget_shutdown(device);
}
