//! A code with `METHOD_NEITHER` is made, whose buffers are addresses of user mode.

#![forbid(unsafe_code)]

use wdm::ctl_code::Method;

const NEITHER: Method = Method::Neither; //~ E0599

fn main() {}
