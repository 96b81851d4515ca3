//! A request is cancelled while a value is accessed. Its routine, which is called in the same thread, could wait for the access.

use wdm::{LowerIrpHandle, LowerIrpRoutine, PassiveLevel, Rundown};

fn cancel<C: LowerIrpRoutine>(handle: &LowerIrpHandle<C>, value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, held| handle.cancel(held)); //~ E0277
}
