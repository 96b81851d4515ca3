//! A code with `METHOD_NEITHER` is made, whose buffers are addresses of user mode.

use wdm::ctl_code::Method;

const NEITHER: Method = Method::Neither; //~ E0599
