//! IoAllocateComplete: an IRP that the driver has made is not completed by it, since there is no method for that.

use wdm::{LowerIrp, LowerIrpRoutine, NtStatus, PassiveLevel};

fn complete<C: LowerIrpRoutine>(irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql); //~ E0599
}
