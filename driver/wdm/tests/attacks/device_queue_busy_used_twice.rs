//! The proof that a queue is busy is used twice.

#![forbid(unsafe_code)]

use wdm::{Arrival, Busy, irql::DispatchLevel};

fn remove(busy: Busy<'_, 'static, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = busy.remove(irql);
    let _ = busy.remove(irql); //~ E0382
}

fn main() {}
