//! A request is sent and cancelled under a spin lock, in which the lower drivers' routines would be called.

use wdm::{LowerIrp, LowerIrpHandle, LowerIrpRoutine, PassiveLevel, SpinLock};

fn send<C: LowerIrpRoutine>(lock: &SpinLock<u32>, irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| drop(irp.read(0, 4, held))); //~ E0277
}

fn cancel<C: LowerIrpRoutine>(lock: &SpinLock<u32>, handle: &LowerIrpHandle<C>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| handle.cancel(held)); //~ E0277
}
