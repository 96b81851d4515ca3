//! A zone has an unsized type.

fn none(_: &wdm::Zone<[u32]>) {} //~ E0277
