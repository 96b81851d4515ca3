//! A token is copied out of its place by `ManuallyDrop`.

use core::mem::ManuallyDrop;

use wdm::PassiveLevel;

fn copy(irql: &mut PassiveLevel) -> ManuallyDrop<PassiveLevel> {
    ManuallyDrop::new(*irql) //~ E0507
}
