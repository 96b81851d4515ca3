//! Processes and threads (`Ps`): system threads.
//!
//! It uses `ke`.

pub(crate) mod device_thread;
pub mod thread;
