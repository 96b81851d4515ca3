//! A queue has callbacks that are not `Sync`, which many threads would call.

use core::cell::Cell;
use wdm::{IrpView, NtStatus, QueueCallbacks, irql::ObjectHeld};

struct Mine(Cell<u32>);
impl QueueCallbacks for Mine { //~ E0277
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, _: &mut ObjectHeld) {}
}
