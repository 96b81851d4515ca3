//! A token, which has no size, is copied as the element of a slice.

use wdm::PassiveLevel;

fn copied(irql: &mut PassiveLevel) -> Vec<PassiveLevel> {
    core::slice::from_mut(irql).to_vec() //~ E0277
}

fn repeated(irql: &mut PassiveLevel) -> Vec<PassiveLevel> {
    core::slice::from_mut(irql).repeat(2) //~ E0277
}
