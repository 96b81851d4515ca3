//! IoAllocateComplete: a driver cannot complete an IRP that it has made, since `LowerIrp` has no method for it.

use wdm::{LowerIrp, LowerIrpRoutine, NtStatus, PassiveLevel};

fn complete<C: LowerIrpRoutine>(irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql); //~ E0599
}
