//! The kernel core: IRQL, spin locks, processors, DPCs, timers, events, mutexes, semaphores, waits, device queues, and
//! messages to the kernel debugger.
//!
//! It uses `host` and `verifier`, but not `ex`, `io` or `ps`.

mod affinity;
mod attach;
mod bug_check_callbacks;
mod clock;
mod critical_region;
mod debug_print;
mod debugger;
pub(crate) mod device_queue;
pub(crate) mod dpc;
mod event;
mod guarded_region;
mod hold_times;
mod interrupt;
mod irql;
pub(crate) mod lists;
mod mutex;
mod processor;
mod pulse;
mod queued_spin_lock;
mod several;
pub(crate) mod spin_lock;
mod threaded_dpc;
mod time;
mod timer;

pub(crate) use clock::{advance, end_exploring, expire, start};
pub(crate) use interrupt::Connection;

use std::{
    collections::BTreeSet,
    sync::{Mutex, atomic::AtomicBool},
};

use rustc_hash::FxHashMap;

use crate::{
    host::Kernel,
    ke::{dpc::Processors, hold_times::HoldTimes},
    verifier::lock_order::LockOrder,
};

/// The state of this folder.
pub(crate) struct Ke {
    processors: Processors,
    /// Whether a spin lock that is zero is initialised: an image has `KeInitializeSpinLock` as an inline function.
    pub(crate) has_inline_locks: AtomicBool,
    lock_order: LockOrder,
    hold_times: HoldTimes,
    /// Whether a driver has set the affinity of a thread, so that a thread can have to wait for a processor.
    any_affinity: AtomicBool,
    /// The addresses of the records with which routines are registered for a bug check.
    bug_check_callbacks: Mutex<BTreeSet<usize>>,
    /// The priorities that were set, by the addresses of the threads.
    priorities: Mutex<FxHashMap<usize, i32>>,
    interrupts: interrupt::Interrupts,
}

impl Ke {
    pub(crate) fn new(processors: u32) -> Self {
        processor::publish(processors);
        Self {
            processors: Processors::new(processors),
            has_inline_locks: AtomicBool::new(false),
            lock_order: LockOrder::default(),
            hold_times: HoldTimes::default(),
            any_affinity: AtomicBool::new(false),
            bug_check_callbacks: Mutex::default(),
            priorities: Mutex::default(),
            interrupts: interrupt::Interrupts::default(),
        }
    }
}

impl Kernel {
    pub(crate) fn ke(&self) -> &Ke {
        self.part()
    }
}
