//! What a lower folder has a higher one do: the one seam through which a call goes up. The crate's `kernel` fills it in.

use std::sync::Arc;

use nt::{KDEVICE_QUEUE_ENTRY, LIST_ENTRY};

use crate::{
    host::{Call, Kernel, wait::Wait},
    verifier::Violation,
};

/// The routines of higher folders, for lower ones to call.
pub(crate) struct Upcalls {
    /// Lets the next timer expire if it is due by a time, and says whether there was one: while a thread waits by a virtual
    /// clock.
    pub(crate) expire: fn(&Arc<Kernel>, u64) -> bool,
    /// Sends a PnP request to the device that the thread is adding, when it enters its next routine.
    pub(crate) probe_device: fn(&Call),
    /// Notes that an entry has come to a device queue or left it: it may be an IRP's.
    pub(crate) device_queue_entry: fn(&Call, *mut KDEVICE_QUEUE_ENTRY, bool),
    /// Stops the system if an entry that is inserted into an interlocked list is an IRP's, and is on a list already.
    pub(crate) list_entry: fn(&Call, *mut LIST_ENTRY),
    /// What an address is or was, if it is one of the driver's objects.
    pub(crate) describe: fn(&Kernel, usize) -> Option<String>,
    /// Who has what a thread waits for, if it is a remove lock's.
    pub(crate) holders: fn(&Kernel, Wait) -> Option<String>,
    /// Ends an exploration with what was found.
    pub(crate) end_with: fn(Violation, &Kernel) -> !,
    /// Looks for what a scene leaves behind.
    pub(crate) verify_end: fn(&Call),
    /// What is wrong when no thread can go on, and none has broken a rule.
    pub(crate) hang: fn(&Arc<Kernel>) -> Violation,
}
