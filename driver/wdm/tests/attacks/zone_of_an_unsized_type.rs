//! A zone of blocks without a size.

#![forbid(unsafe_code)]

fn none(_: &wdm::Zone<[u32]>) {} //~ E0277

fn main() {}
