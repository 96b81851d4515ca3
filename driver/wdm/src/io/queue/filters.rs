//! The queues of a filter's device, which has no state for each open file.

use core::{mem::MaybeUninit, ptr::null_mut};

use nt::{
    irp,
    list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList},
};

use super::{
    IrpQueue,
    locked::{Found, State, file_key},
};
use crate::{
    NtStatus, PassiveLevel, QueueCallbacks,
    io::{
        file::{Queued, UNLINKED},
        key_index::KeyNode,
        owned_queue::DeviceQueues,
    },
};

/// The queue of a filter's device. It is another type, so that a driver without filters does not contain this code.
#[repr(transparent)]
pub(super) struct FilterQueue<C: QueueCallbacks>(IrpQueue<C>);

impl<C: QueueCallbacks> FilterQueue<C> {
    pub(super) fn of(queue: &IrpQueue<C>) -> &Self {
        // SAFETY: the types have the same layout, and the reference keeps its lifetime.
        unsafe { &*core::ptr::from_ref(queue).cast() }
    }
}

impl<C: QueueCallbacks> DeviceQueues for FilterQueue<C> {
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel) {
        self.0.cleanup(file, irql);
    }

    fn end_all(&self, irql: &mut PassiveLevel) {
        self.0.end_all(irql);
    }

    fn cleanup_object(&self, file: *mut nt::FILE_OBJECT, irql: &mut PassiveLevel) {
        let key = file_key(file);
        if file.is_null() {
            return;
        }
        // Without memory for a node, a request of the file that arrives later is queued until its thread exits.
        let mark = |state: &mut State| {
            let closed = &mut state.closed;
            closed.first_node(key).is_some() || closed.insert(null_mut(), key, null_mut()).is_some()
        };
        if !self.0.state.with(irql, |state, _| mark(state))
            && let Ok(node) = KeyNode::allocate()
        {
            self.0.state.with(irql, |state, _| {
                state.closed.add_spare(node);
                mark(state)
            });
        }
        // From now on, no IRP of the file is inserted. Those on the queue are collected before the first one is completed, so
        // that no driver is called while the cursor is linked.
        let mut batch = UNLINKED;
        let batch = &raw mut batch;
        // SAFETY: the list head stays in this stack frame, and is used through this pointer only.
        unsafe { InitializeListHead(batch) };
        let mut cursor = MaybeUninit::zeroed();
        let cursor = cursor.as_mut_ptr();
        let mut is_linked = false;
        let mut collect = |state: &mut State, irp| {
            // SAFETY: as in `remove_matching`.
            if unsafe { irp::file_object(irp) } == file {
                // SAFETY: `state` is locked, and the IRP is linked.
                if let Found::Owned(irp) = unsafe { IrpQueue::<C>::take(state, irp) } {
                    // SAFETY: this thread owns the IRP, which is on no list now.
                    unsafe { InsertTailList(batch, irp::list_entry(irp)) };
                }
            }
            Found::NotYet
        };
        let none = self.0.remove(irql, |state| {
            // SAFETY: as in `remove_matching`.
            unsafe { self.0.walk(state, cursor, &mut is_linked, &mut collect) }
        });
        // `collect` keeps every IRP.
        drop(none);
        // SAFETY: only this thread uses the list.
        while !unsafe { IsListEmpty(batch) } {
            // SAFETY: as above.
            let entry = unsafe { (*batch).Flink };
            // SAFETY: as above.
            unsafe { RemoveEntryList(entry) };
            // SAFETY: `collect` inserted the entry.
            let irp = unsafe { irp::from_list_entry(entry) };
            // SAFETY: `collect` made this thread the IRP's owner.
            unsafe { IrpQueue::end(&raw const self.0, irp, NtStatus::CANCELLED, irql) };
        }
    }

    fn close_object(&self, file: *mut nt::FILE_OBJECT, irql: &mut PassiveLevel) {
        self.0.state.with(irql, |state, _| {
            if let Some(node) = state.closed.first_node(file_key(file)) {
                // SAFETY: the node is in the index.
                unsafe { state.closed.remove(node) };
            }
        });
    }
}
