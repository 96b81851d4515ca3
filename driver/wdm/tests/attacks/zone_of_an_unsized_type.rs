//! A zone has an unsized type.

#![forbid(unsafe_code)]

fn none(_: &wdm::Zone<[u32]>) {} //~ E0277

fn main() {}
