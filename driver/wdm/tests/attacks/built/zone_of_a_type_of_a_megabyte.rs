//! The size of a zone's blocks does not fit in 32 bits.

use wdm::{PassiveLevel, Zone};

pub fn make(irql: &mut PassiveLevel) -> bool {
    Zone::<[u64; 1 << 30]>::new(1, &[], irql).is_ok() //~? E0080
    //~| must be smaller than 1 MB
}
