//! A handle is used as the request, or the request is copied.

use wdm::{LowerIrp, LowerIrpHandle, LowerIrpRoutine};

fn read<C: LowerIrpRoutine>(handle: &LowerIrpHandle<C>) {
    let _ = handle.output(); //~ E0599
}

fn copy<C: LowerIrpRoutine>(irp: &LowerIrp<C>) -> LowerIrp<C> {
    irp.clone() //~ E0308
}
