use wdm::{
    Device, Error, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel,
    PinInit, QueueCallbacks, Shared, SpinLock,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::ObjectHeld,
};

const WAIT: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Access::ReadWrite);
const RELEASE: u32 = ctl_code(UNKNOWN_DEVICE, 0x801, Method::Buffered, Access::ReadWrite);

/// Counts the requests that were not released.
struct Cancelled(Shared<SpinLock<u64>>);

impl QueueCallbacks for Cancelled {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.0.with(irql, |cancelled, _| *cancelled += 1);
    }
}

struct Gate {
    waiting: Shared<IrpQueue<Cancelled>>,
    cancelled: Shared<SpinLock<u64>>,
}

impl Device for Gate {
    const INTERFACE: Guid = Guid::new(0x2f6c_9d10, 0x7a41, 0x4c0b, [0x9e, 0x52, 0, 0, 0, 0, 0, 1]);

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
            WAIT => self.waiting.insert(irp, irql),
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
