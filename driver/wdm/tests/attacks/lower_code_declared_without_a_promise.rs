//! A code of the driver below is declared without the promise that it passes no address.

use wdm::ControlCode;

const CONNECT: ControlCode = ControlCode::new(0x0b_0203); //~ E0133

fn main() {}
