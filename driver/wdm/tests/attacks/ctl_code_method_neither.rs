//! A code with `METHOD_NEITHER` is made, whose buffers are user-mode addresses.

use wdm::ctl_code::Method;

const NEITHER: Method = Method::Neither; //~ E0599
