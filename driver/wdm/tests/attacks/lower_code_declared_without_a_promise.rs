//! A control code of the lower driver is declared without `unsafe`, the promise that the request passes no address.

use wdm::ControlCode;

const CONNECT: ControlCode = ControlCode::new(0x0b_0203); //~ E0133

fn main() {}
