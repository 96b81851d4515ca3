//! A guard is released in a way of the driver's.

#![forbid(unsafe_code)]

struct Never;
impl wdm::Release for Never {} //~ E0277

fn main() {}
