//! A device queue has an order that the driver defines.

#![forbid(unsafe_code)]

struct Mine;
impl wdm::Keyed for Mine {} //~ E0277

fn main() {}
