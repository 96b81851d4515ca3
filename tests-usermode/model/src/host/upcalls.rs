//! The routines of higher folders that lower folders call. Lower folders call higher ones only through this table. `kernel`
//! fills in the table.

use std::{ops::Range, sync::Arc};

use nt::{KDEVICE_QUEUE_ENTRY, LIST_ENTRY};

use crate::{
    host::{Call, Kernel, wait::Wait},
    verifier::Violation,
};

/// The table of the routines.
pub(crate) struct Upcalls {
    /// Expires the next timer if it is due at a time, and returns whether there was one. Called while a thread waits
    /// under a virtual clock.
    pub(crate) expire: fn(&Arc<Kernel>, u64) -> bool,
    /// Sends a PnP request to the device that the thread is adding, when it enters its next routine.
    pub(crate) probe_device: fn(&Call),
    /// Records that an entry, which can belong to an IRP, was inserted into a device queue or removed.
    pub(crate) device_queue_entry: fn(&Call, *mut KDEVICE_QUEUE_ENTRY, bool),
    /// Stops the system if an entry that is inserted into an interlocked list belongs to an IRP that is already on a
    /// list.
    pub(crate) list_entry: fn(&Call, *mut LIST_ENTRY),
    /// Stops the system if memory is freed that holds an IRP which was sent, or a remove lock that is held.
    pub(crate) memory_freed: fn(&Call, usize, usize),
    /// Stops the system if memory that is no longer the driver's, for a reason, contains a timer that is set or a DPC that is queued.
    pub(crate) in_use: fn(&Call, &Range<usize>, &str),
    /// Stops the system if a thread waits at `APC_LEVEL` for an event that an APC of the thread would set.
    pub(crate) waits_at_apc_level: fn(&Call, usize),
    /// Describes the object of the driver that is or was at an address, if any.
    pub(crate) describe: fn(&Kernel, usize) -> Option<String>,
    /// Returns the pool block that contains an address, if any.
    pub(crate) pool_block: fn(&Kernel, usize) -> Option<Range<usize>>,
    /// Returns whether an address is in the paged pool.
    pub(crate) is_paged: fn(&Kernel, usize) -> bool,
    /// Describes the holders of the remove lock that a thread waits for.
    pub(crate) holders: fn(&Kernel, Wait) -> Option<String>,
    /// Ends an exploration with a violation.
    pub(crate) end_with: fn(Violation, &Kernel) -> !,
    /// Checks for IRPs and threads that remain at the end of a scenario.
    pub(crate) verify_end: fn(&Call),
    /// Returns the violation if no thread can continue and no rule was broken.
    pub(crate) hang: fn(&Arc<Kernel>) -> Violation,
}
