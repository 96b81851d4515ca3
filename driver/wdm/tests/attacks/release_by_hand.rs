//! The driver defines how a guard releases its lock.

struct Never;
impl wdm::Release for Never {} //~ E0277
