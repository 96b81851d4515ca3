//! The queues and requests that a device owns until it is removed.

use alloc::boxed::Box;
use core::{iter::successors, ptr::NonNull};

use crate::{Error, PassiveLevel, Record, Shared, ex::pool, io::file::Queued};

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

/// The queues of a device, in the order in which they were made.
#[derive(Default)]
pub(super) struct OwnedQueues {
    first: Option<Box<OwnedQueue>>,
}

impl OwnedQueues {
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn DeviceQueues> {
        successors(self.first.as_deref(), |owned| owned.next.as_deref()).map(OwnedQueue::queue)
    }

    /// Returns the number of queues.
    pub(super) fn count(&self) -> usize {
        self.iter().count()
    }

    /// Makes the device an owner of another queue.
    // Not generic, so that it is compiled once.
    #[inline(never)]
    pub(super) fn push(&mut self, queue: OwnedQueue) -> Result<(), Error> {
        let mut last = &mut self.first;
        while let Some(owned) = last {
            last = &mut owned.next;
        }
        let owned = pool::allocate(Ok(queue))?;
        // SAFETY: `pool::allocate` made the value, which has no other owner.
        *last = Some(unsafe { Box::from_raw(owned) });
        Ok(())
    }
}

impl Drop for OwnedQueues {
    fn drop(&mut self) {
        // One after the other, since the stack is small.
        while let Some(mut owned) = self.first.take() {
            self.first = owned.next.take();
        }
    }
}

/// A queue of a device, with the device's owner of it.
pub(super) struct OwnedQueue {
    next: Option<Box<OwnedQueue>>,
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
            next: None,
            queue: NonNull::from(operations(shared)),
            owner: shared.clone().into_raw(),
            release,
        }
    }

    fn queue(&self) -> &dyn DeviceQueues {
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
