//! The `Busy` of a device queue is used twice.

use wdm::{Arrival, Busy, irql::DispatchLevel};

fn remove(busy: Busy<'_, 'static, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = busy.remove(irql);
    let _ = busy.remove(irql); //~ E0382
}
