//! A lookaside list aligns its blocks to 16 bytes, and the type requires 32.

use wdm::{Lookaside, PassiveLevel};

#[repr(align(32))]
pub struct Wide(pub u8);

pub fn make(irql: &mut PassiveLevel) -> bool {
    Lookaside::<Wide>::new(irql).is_ok() //~? E0080
    //~| a lookaside list aligns its blocks to 16 bytes
}
