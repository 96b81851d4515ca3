//! The queues and requests that a device owns until it is removed.

use core::ptr::NonNull;

use crate::{PassiveLevel, Record, Shared, io::file::Queued};

/// The operations of a queue that its device calls.
pub(crate) trait DeviceQueues: Sync {
    /// Cancels the requests of an open file on the queue, and prevents further requests of the file from being
    /// queued.
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel);

    /// Completes all requests on the queue of a removed device, and rejects all further requests.
    fn end_all(&self, irql: &mut PassiveLevel);

    /// As [`DeviceQueues::cleanup`], of a filter's device, which has no state for each open file.
    fn cleanup_object(&self, _file: *mut nt::FILE_OBJECT, _irql: &mut PassiveLevel) {}

    /// Forgets a file of a filter's device that was cleaned up and is being closed.
    fn close_object(&self, _file: *mut nt::FILE_OBJECT, _irql: &mut PassiveLevel) {}
}

/// A queue of a device, with the device's owner of it.
pub(super) struct OwnedQueue {
    queue: NonNull<dyn DeviceQueues>,
    /// An owner of the queue that was given up, and the function that makes it again and drops it.
    owner: *mut (),
    release: unsafe fn(*mut ()),
}

// SAFETY: `OwnedQueue::new` requires that a queue can be shared between threads and dropped in any of them.
unsafe impl Send for OwnedQueue {}
// SAFETY: as above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Makes another owner of a queue.
    pub(super) fn new<Q: Send + Sync + 'static>(
        shared: &Shared<Q>,
        operations: fn(&Q) -> &(dyn DeviceQueues + 'static),
    ) -> Self {
        let release = |owner: *mut ()| {
            // SAFETY: `drop` calls this once, with the owner that is given up below.
            drop(unsafe { Shared::<Q>::from_raw(owner) });
        };
        Self {
            queue: NonNull::from(operations(shared)),
            owner: shared.clone().into_raw(),
            release,
        }
    }

    pub(super) fn queue(&self) -> &dyn DeviceQueues {
        // SAFETY: the owner keeps the queue alive.
        unsafe { self.queue.as_ref() }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: `new` gave up the owner, and it is made again once.
        unsafe { (self.release)(self.owner) };
    }
}
