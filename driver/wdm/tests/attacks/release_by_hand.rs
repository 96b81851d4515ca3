//! A guard has a release that the driver defines.

#![forbid(unsafe_code)]

struct Never;
impl wdm::Release for Never {} //~ E0277

fn main() {}
