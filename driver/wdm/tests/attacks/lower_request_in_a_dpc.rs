//! A DPC sends a request to the device below and waits for it.

#![forbid(unsafe_code)]

use wdm::{Lower, irql::DispatchLevel};

fn in_a_dpc(below: &Lower, irql: &mut DispatchLevel) {
    let _ = below.device_control(0x22_2000, &[], &mut [], None, irql); //~ E0308
}

fn main() {}
