//! The output of a request is read while the lower drivers write the next one to the same buffer.

use wdm::{LowerIrp, LowerIrpRoutine, irql::CallerLevel};

fn again<C: LowerIrpRoutine>(irp: LowerIrp<C>, irql: &mut CallerLevel) -> usize {
    let output = irp.output();
    let _ = irp.read(0, 4, irql); //~ E0505
    output.len()
}
