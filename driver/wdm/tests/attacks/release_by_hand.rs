//! A guard has a release that the driver defines.

struct Never;
impl wdm::Release for Never {} //~ E0277
