//! A DPC waits until a value is run down.

use wdm::{Rundown, irql::DispatchLevel};

fn run(value: &Rundown<u32>, irql: &mut DispatchLevel) {
    value.run_down(irql); //~ E0277
}
