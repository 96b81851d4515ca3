//! The processes. The model has the system process and one other process, in which the user-mode threads run. The objects are opaque: there is
//! no memory at their addresses.

use std::{ffi::c_void, ptr::without_provenance_mut};

use crate::{host::thread::Thread, mutex::locked};

/// A process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    object: usize,
    pub(crate) id: u32,
}

/// The process of the system threads.
pub(crate) const SYSTEM: Process = Process {
    object: 0xffff_9000_0000_0000,
    id: 4,
};

/// The user-mode process.
pub(crate) const USER: Process = Process {
    object: 0xffff_9000_0000_1000,
    id: 0x1a4,
};

impl Process {
    /// Returns the `PEPROCESS`.
    pub(crate) const fn object(&self) -> *mut c_void {
        without_provenance_mut(self.object)
    }
}

impl Thread {
    /// Returns the process to whose address space the thread is attached, if it is.
    pub(crate) fn attached_to(&self) -> Option<Process> {
        locked(&self.attached).last().map(|(_, process)| *process)
    }

    /// Returns whether the user-mode memory is in the thread's address space.
    pub(crate) fn has_user_memory(&self) -> bool {
        self.attached_to()
            .map_or(!self.is_system(), |process| process == USER)
    }
}
