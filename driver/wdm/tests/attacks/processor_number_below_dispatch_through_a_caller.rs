//! The processor number is read with a Cancel routine's token, which does not keep the code on its processor.

use wdm::{irql::CallerLevel, processor};

fn number(irql: &CallerLevel) -> u32 {
    processor::current(irql) //~ E0277
}
