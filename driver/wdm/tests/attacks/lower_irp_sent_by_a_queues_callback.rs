//! A queue's callback sends and cancels a request, whose routine could complete the next IRP of the queue, and so on for each one.

use wdm::{
    IrpView, LowerIrp, LowerIrpHandle, LowerIrpRoutine, NtStatus, QueueCallbacks, SpinLock, irql::CallerLevel,
    irql::ObjectHeld,
};

struct R;
impl LowerIrpRoutine for R {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}

struct Mine {
    idle: SpinLock<Option<LowerIrp<R>>>,
    handle: LowerIrpHandle<R>,
}

impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.handle.cancel(irql); //~ E0277
        if let Some(irp) = self.idle.with(irql, |idle, _| idle.take()) {
            let _ = irp.read(0, 1, irql); //~ E0277
        }
    }
}
