//! A value is run down while the same thread accesses it, which would wait for itself.

use wdm::{PassiveLevel, Rundown};

fn run(value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, irql| value.run_down(irql)); //~ E0277
}
