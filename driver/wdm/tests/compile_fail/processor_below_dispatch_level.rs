//! The number of the current processor is not available below DISPATCH_LEVEL.

use wdm::{PassiveLevel, processor};

fn slot(irql: &mut PassiveLevel) -> u32 {
    processor::current(irql) //~ E0277
    //~| Dispatch
}
