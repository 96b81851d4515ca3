//! The type requires an alignment of 32 bytes, but the pool aligns blocks to 16 bytes.

use wdm::{DeviceObject, Error, PassiveLevel, Shared};

#[repr(align(32))]
pub struct Aligned(pub u8);

pub fn make(device: &DeviceObject, irql: &mut PassiveLevel) -> bool {
    Shared::<Aligned>::new(Ok::<_, Error>(Aligned(1)), device, irql).is_ok() //~? E0080
    //~| the pool aligns to 16 bytes
}
