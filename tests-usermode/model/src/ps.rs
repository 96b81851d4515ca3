//! Processes and threads: the driver's system threads, and which process and thread runs.
//!
//! It uses `ke`, `ex`, `host` and `verifier`, but not `io`.

mod identity;
mod notify;
mod object_ids;
mod system_thread;

use std::sync::atomic::AtomicUsize;

use crate::host::Kernel;
pub(crate) use crate::host::process::{Process, SYSTEM, USER};

/// The state of this folder.
#[derive(Default)]
pub(crate) struct Ps {
    /// The number of the driver's threads that have not ended.
    threads: AtomicUsize,
    notify_routines: notify::NotifyRoutines,
}

impl Kernel {
    fn ps(&self) -> &Ps {
        self.part()
    }
}
