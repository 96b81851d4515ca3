//! A request is read while it is cancelable, when it may be completed already.

use wdm::{CancelableIrp, QueueCallbacks};

fn code<C: QueueCallbacks>(served: &CancelableIrp<C>) -> u32 {
    served.code() //~ E0599
}

fn main() {}
