//! A queue's callback completes IRPs that are not the one it is called for: the completion routine of an upper driver sends the next one,
//! which the queue rejects, and so on, until the stack overflows.

use wdm::{
    CurrentIrp, IrpView, NtStatus, PendedIrp, QueueCallbacks, Reply, SpinLock, irql::ObjectHeld,
};

struct Mine {
    kept: SpinLock<Option<PendedIrp>>,
    written: SpinLock<Option<Reply<PendedIrp>>>,
}

impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, status: NtStatus, irql: &mut ObjectHeld) {
        if let Some(irp) = self.kept.with(irql, |kept, _| kept.take()) {
            irp.complete(status, irql); //~ E0277
        }
        if let Some(reply) = self.written.with(irql, |written, _| written.take()) {
            reply.complete(status, irql); //~ E0277
        }
    }
}

fn next(current: CurrentIrp<Mine>, irql: &mut ObjectHeld) {
    drop(current.start_next(irql)); //~ E0277
}
