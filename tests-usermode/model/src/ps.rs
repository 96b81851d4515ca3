//! Processes and threads: the driver's system threads.
//!
//! It uses `ke`, `ex`, `host` and `verifier`, but not `io`.

mod system_thread;

use std::sync::atomic::AtomicUsize;

use crate::host::Kernel;

/// The state of this folder.
#[derive(Default)]
pub(crate) struct Ps {
    /// The number of the driver's threads that have not ended.
    threads: AtomicUsize,
}

impl Kernel {
    fn ps(&self) -> &Ps {
        self.part()
    }
}
