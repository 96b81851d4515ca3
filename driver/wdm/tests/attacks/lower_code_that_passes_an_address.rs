//! The keyboard class driver's way: a code that passes the address of a routine, which the lower driver calls.

use wdm::{ControlCode, Lower, PassiveLevel};

/// `IOCTL_INTERNAL_KEYBOARD_CONNECT`
const CONNECT: u32 = 0x0b_0203;

fn connect(below: &Lower, irql: &mut PassiveLevel) {
    let connect = [0x41; 16];
    let _ = below.internal_device_control(CONNECT, &connect, &mut [], None, irql); //~ E0308
    let _ = ControlCode(CONNECT); //~ E0423
}

fn main() {}
