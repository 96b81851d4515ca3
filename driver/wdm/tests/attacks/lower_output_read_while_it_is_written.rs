//! The input of a request to the device below is also its output.

#![forbid(unsafe_code)]

use wdm::{Lower, PassiveLevel};

fn both(below: &Lower, bytes: &mut [u8], irql: &mut PassiveLevel) {
    let _ = below.device_control(0x22_2000, bytes, bytes, None, irql); //~ E0502
}

fn main() {}
