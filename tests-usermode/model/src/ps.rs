//! Processes and threads: the driver's system threads.
//!
//! It uses `ke`, `ex`, `host` and `verifier`, but not `io`.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod exit;
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
