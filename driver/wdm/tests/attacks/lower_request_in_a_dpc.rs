//! A DPC sends a request to the lower device and waits for it.

use wdm::{ControlCode, Lower, irql::DispatchLevel};

fn in_a_dpc(below: &Lower, code: ControlCode, irql: &mut DispatchLevel) {
    let _ = below.device_control(code, &[], &mut [], None, irql); //~ E0308
}

fn main() {}
