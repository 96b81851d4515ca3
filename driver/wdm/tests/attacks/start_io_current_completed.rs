//! The current IRP of a queue is completed without starting the next one.

use wdm::{CurrentIrp, NtStatus, PassiveLevel, QueueCallbacks};

fn complete<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    current.complete(NtStatus::SUCCESS, irql); //~ E0599
}
