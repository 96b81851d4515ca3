//! Two threads each run down the value that the other one accesses.

use wdm::{PassiveLevel, Rundown};

fn run(one: &Rundown<u32>, other: &Rundown<u32>, irql: &mut PassiveLevel) {
    one.access(irql, |_, irql| other.run_down(irql)); //~ E0277
    other.access(irql, |_, irql| one.run_down(irql)); //~ E0277
}
