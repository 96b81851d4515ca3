//! A zone aligns its blocks to 8 bytes, and the type wants 16.

use wdm::{PassiveLevel, Zone};

#[repr(align(16))]
pub struct Aligned(pub u8);

pub fn make(irql: &mut PassiveLevel) -> bool {
    Zone::<Aligned>::new(1, &[], irql).is_ok() //~? E0080
    //~| a zone aligns its blocks to 8 bytes
}
