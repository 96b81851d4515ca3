//! A filter makes a queue, which would take the function driver's `FsContext` for its own.

use pinned_init::PinInit;
use wdm::{
    DeviceObject, Error, Filter, IrpQueue, IrpView, NtStatus, PassiveLevel, QueueCallbacks, Shared,
    irql::NoSpinLockHeld,
};

struct Quiet;
impl QueueCallbacks for Quiet {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
}

struct Mine(Shared<IrpQueue<Quiet>>);
impl Filter for Mine {
    fn add(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?; //~ E0308
        Ok(Ok::<_, Error>(Self(queue)))
    }
}
