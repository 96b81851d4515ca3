//! The closure of an access captures the outer token and runs the value down.

use wdm::{PassiveLevel, Rundown};

fn run(value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, _| value.run_down(irql)); //~ E0500
    //~^ E0501
}
