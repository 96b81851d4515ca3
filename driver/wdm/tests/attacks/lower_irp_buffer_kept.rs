//! A reference to the buffer of a request is kept while the lower drivers write to it.

use wdm::{LowerIrp, LowerIrpRoutine, PassiveLevel};

fn output<C: LowerIrpRoutine>(irp: LowerIrp<C>, irql: &mut PassiveLevel) -> u8 {
    let output = irp.output();
    let _ = irp.read(0, 4, irql); //~ E0505
    output[0]
}

fn buffer<C: LowerIrpRoutine>(mut irp: LowerIrp<C>, irql: &mut PassiveLevel) {
    let buffer = irp.buffer();
    let _ = irp.read(0, 4, irql); //~ E0505
    buffer[0] = 1;
}

fn input<C: LowerIrpRoutine>(irp: LowerIrp<C>, code: wdm::ControlCode, irql: &mut PassiveLevel) {
    let _ = irp.device_control(code, irp.output(), 4, irql); //~ E0382
}
