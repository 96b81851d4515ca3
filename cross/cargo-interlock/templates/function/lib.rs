//! The logic of `{{name}}.sys`: requests wait at a gate until another request opens it.

#![no_std]
#![forbid(unsafe_code)]

use wdm::{
    Device, Error, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel,
    PinInit, QueueCallbacks, Shared, SpinLock,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::ObjectHeld,
};

/// Waits until [`RELEASE`].
pub const WAIT: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Access::ReadWrite);

/// Completes every request that waits, and returns the number of requests that were cancelled, a `u64`.
pub const RELEASE: u32 = ctl_code(UNKNOWN_DEVICE, 0x801, Method::Buffered, Access::ReadWrite);

/// Counts the requests that were not released.
struct Cancelled(Shared<SpinLock<u64>>);

impl QueueCallbacks for Cancelled {
    type Record = ();

    /// Called before a request in the queue is cancelled, or ended with its handle or the device.
    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.0.with(irql, |cancelled, _| *cancelled += 1);
    }
}

/// The device's state. It is made when the device is added, and dropped when the device is removed.
pub struct Gate {
    waiting: Shared<IrpQueue<Cancelled>>,
    cancelled: Shared<SpinLock<u64>>,
}

impl Device for Gate {
    const INTERFACE: Guid = {{Guid}};

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let cancelled = Shared::new(SpinLock::new(0), device, irql)?;
        let waiting = IrpQueue::new(Cancelled(cancelled.clone()), device, irql)?;
        Ok(Ok::<_, Error>(Self { waiting, cancelled }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            WAIT => self.waiting.insert(irp, irql), // it can be cancelled from here on
            RELEASE => {
                while let Some(waiting) = self.waiting.remove_first(irql) {
                    waiting.complete(NtStatus::SUCCESS, irql);
                }
                let cancelled = self.cancelled.with(irql, |cancelled, _| *cancelled);
                irp.complete_with(&cancelled, irql)
            }
            _ => irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
        }
    }
}
