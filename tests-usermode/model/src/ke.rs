//! The kernel proper: IRQL, spin locks, processors and DPCs, timers, events, mutexes, semaphores and waits, device queues, and what is said to the
//! kernel debugger.
//!
//! It uses `host` and `verifier`, and neither `ex` nor `io` nor `ps`.

mod clock;
mod debug_print;
mod device_queue;
pub(crate) mod dpc;
mod event;
mod irql;
pub(crate) mod lists;
mod mutex;
mod processor;
mod queued_spin_lock;
pub(crate) mod spin_lock;
mod timer;

pub(crate) use clock::{advance, end_exploring, expire, start};

use crate::{host::Kernel, ke::dpc::Processors, verifier::lock_order::LockOrder};

/// The state of this folder.
pub(crate) struct Ke {
    processors: Processors,
    lock_order: LockOrder,
}

impl Ke {
    pub(crate) fn new(processors: u32) -> Self {
        Self {
            processors: Processors::new(processors),
            lock_order: LockOrder::default(),
        }
    }
}

impl Kernel {
    fn ke(&self) -> &Ke {
        self.part()
    }
}
