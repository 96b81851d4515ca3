//! A Cancel routine's token does not say on which processor the code stays.

#![forbid(unsafe_code)]

use wdm::{irql::CallerLevel, processor};

fn number(irql: &CallerLevel) -> u32 {
    processor::current(irql) //~ E0277
}

fn main() {}
