//! A queue's callbacks borrow from a stack frame.

use wdm::{IrpView, NtStatus, QueueCallbacks, irql::ObjectHeld};

struct Mine<'a>(&'a u32);
impl<'a> QueueCallbacks for Mine<'a> { //~ E0478
//~^ E0803
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, _: &mut ObjectHeld) {}
}
