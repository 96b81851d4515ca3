//! A queue whose busy state anybody may take over gives no proof that removes.

#![forbid(unsafe_code)]

use wdm::{Busy, ByKeyIfBusy, irql::DispatchLevel};

fn remove(busy: Busy<'_, 'static, u32, ByKeyIfBusy>, irql: &mut DispatchLevel) {
    let _ = busy.remove_by_key(0, irql); //~ E0599
}

fn main() {}
