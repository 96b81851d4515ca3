//! A request is sent, and its buffer is used or it is sent again while the lower drivers have it.

use wdm::{LowerIrp, LowerIrpRoutine, PassiveLevel};

fn send<C: LowerIrpRoutine>(mut irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    let _ = irp.write(0, 4, irql);
    irp.buffer()[0] = 1; //~ E0382
}

fn send_again<C: LowerIrpRoutine>(irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    let _ = irp.read(0, 4, irql);
    let _ = irp.read(0, 4, irql); //~ E0382
}
