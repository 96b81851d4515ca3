//! Processes and threads (`Ps`): system threads.
//!
//! It uses `ke`.

pub mod thread;
