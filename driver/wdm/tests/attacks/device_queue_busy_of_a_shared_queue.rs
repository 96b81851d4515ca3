//! A node is removed with the `Busy` of a `ByKeyIfBusy` queue, which proves nothing.

use wdm::{Busy, ByKeyIfBusy, irql::DispatchLevel};

fn remove(busy: Busy<'_, 'static, u32, ByKeyIfBusy>, irql: &mut DispatchLevel) {
    let _ = busy.remove_by_key(0, irql); //~ E0599
}
