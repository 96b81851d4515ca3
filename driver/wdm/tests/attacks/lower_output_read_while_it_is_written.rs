//! The input of a request to the lower device is also its output.

use wdm::{ControlCode, Lower, PassiveLevel};

fn both(below: &Lower, code: ControlCode, bytes: &mut [u8], irql: &mut PassiveLevel) {
    let _ = below.device_control(code, bytes, bytes, None, irql); //~ E0502
}

fn main() {}
