//! The kernel core (`Ke`): IRQL, spin locks, device queues, DPCs, timers, processors. It does not use `ex`, `io` or
//! `ps`.

pub(crate) mod critical_region;
pub(crate) mod device_queue;
pub(crate) mod dpc;
pub(crate) mod event;
pub mod irql;
pub(crate) mod lock_debug;
pub mod lock_order;
pub(crate) mod on_drop;
pub(crate) mod place;
pub mod processor;
pub(crate) mod queued_spin_lock;
pub(crate) mod spin_lock;
pub(crate) mod time;
pub(crate) mod timer;
pub(crate) mod unload;
pub(crate) mod wait;
