//! A device queue gets an order of the driver's.

#![forbid(unsafe_code)]

struct Mine;
impl wdm::Keyed for Mine {} //~ E0277

fn main() {}
