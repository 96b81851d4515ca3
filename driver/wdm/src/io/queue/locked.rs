//! The operations on a queue's list under its spin lock, and the completion of IRPs that leave it.

use core::ptr::{NonNull, null_mut};

use nt::{
    irp::{self, IoSetCancelRoutine},
    list::{InitializeListHead, InsertHeadList, InsertTailList, IsListEmpty, RemoveEntryList},
};

use super::IrpQueue;
use crate::{
    Error, IrpView, NtStatus, QueueCallbacks,
    io::{
        cancel_lock::release_in_cancel_routine,
        file,
        key_index::{KeyIndex, KeyNode},
        queue_callbacks,
        refusal::Refusal,
    },
    ke::irql::NoSpinLockHeld,
};

/// The data that the queue's spin lock protects, in addition to the lists.
pub(super) struct State {
    pub(super) length: usize,
    pub(super) refusal: Refusal,
    /// The IRPs by key. Empty unless `LOOKUP` is set.
    pub(super) by_key: KeyIndex,
    /// The file objects, by address, that were cleaned up and are not closed. Empty unless the device is a filter's.
    pub(super) closed: KeyIndex,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            length: 0,
            refusal: Refusal::NONE,
            by_key: KeyIndex::new(),
            closed: KeyIndex::new(),
        }
    }
}

/// The key of a file object in [`State::closed`].
pub(super) fn file_key(file: *mut nt::FILE_OBJECT) -> u64 {
    file.addr() as u64
}

/// The number of IRPs that are examined under one acquisition of the lock, which must not be held for more than 25
/// microseconds.
const STEPS: usize = 64;

/// The end of the queue at which an IRP is inserted.
#[derive(Clone, Copy)]
pub(super) enum End {
    Head,
    Tail,
}

/// The result of a search of the queue.
pub(super) enum Found {
    /// An IRP that this thread owns now.
    Owned(*mut nt::IRP),
    /// An IRP whose Cancel routine was called or is about to be: the routine owns it.
    Lost,
    /// No IRP so far; the walk is not at the end.
    NotYet,
    Nothing,
}

/// The result of [`IrpQueue::link`].
pub(super) enum Linked {
    /// The queue has the IRP.
    Queued,
    /// The IRP must be completed with this status.
    Over(NtStatus),
    /// The index has no spare node for the IRP.
    NoNode,
}

impl<C: QueueCallbacks> IrpQueue<C> {
    /// Checks that an IRP may be inserted into this queue, and returns its key, if IRPs are found by key.
    ///
    /// # Safety
    /// The caller owns the IRP, which is on no list.
    pub(super) unsafe fn prepare(&self, irp: *mut nt::IRP) -> Result<u64, Error> {
        // SAFETY: the caller owns the IRP.
        if unsafe { irp::device_object(irp) } != self.device {
            // The IRP keeps another device than the one that owns the queue.
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        if !C::LOOKUP {
            return Ok(0);
        }
        // SAFETY: the caller owns the IRP.
        Ok(self.callbacks.lookup_key(unsafe { IrpView::new(&irp) }))
    }

    /// Returns the node of an IRP, or `None` if it has none.
    ///
    /// # Safety
    /// The IRP is on the queue, whose lock the caller holds.
    unsafe fn node(irp: *mut nt::IRP) -> Option<NonNull<KeyNode>> {
        if !C::LOOKUP {
            return None;
        }
        // SAFETY: `link` set the word.
        NonNull::new(unsafe { irp::argument4(irp) }.cast())
    }

    /// Links an IRP into the queue and makes it cancelable, if that is allowed and there is a node for it.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended, was sent to the queue's device and is on no list. The caller has
    /// locked `state`.
    pub(super) unsafe fn link(
        &self,
        state: &mut State,
        irp: *mut nt::IRP,
        key: u64,
        end: End,
    ) -> Linked {
        if let Some(status) = state.refusal.status() {
            return Linked::Over(status);
        }
        let (queued, is_cleaned_up) = if let Some(index) = self.index {
            // SAFETY: the caller owns the IRP, which was sent to the queue's device; its file stays until it is
            // completed.
            let queued = unsafe { file::queued(irp, index) }.unwrap_or(&self.without_file);
            // SAFETY: the lock is held.
            (queued, unsafe { queued.is_cleaned_up() })
        } else {
            // SAFETY: the caller owns the IRP.
            let file = file_key(unsafe { irp::file_object(irp) });
            (&self.without_file, state.closed.first_node(file).is_some())
        };
        if is_cleaned_up {
            return Linked::Over(NtStatus::CANCELLED);
        }
        if C::LOOKUP && !state.by_key.has_spare() {
            return Linked::NoNode;
        }
        // SAFETY: the caller owns the IRP.
        unsafe { irp::set_driver_context::<2>(irp, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: the queue owns the IRP. IoCancelIrp sets Irp->Cancel and then takes the routine, with the kernel's exchange, which is
        // a full barrier. This code exchanges the routine and then reads Irp->Cancel, and both are sequentially consistent: the
        // read does not come before the exchange, also on ARM64. So either IoCancelIrp takes the routine, or the read below
        // finds the flag, or both.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // IoCancelIrp can no longer call the routine; this thread owns the IRP again.
            return Linked::Over(NtStatus::CANCELLED);
        }
        // A Cancel routine that has been called waits for `state`, so it finds the IRP linked.
        // SAFETY: the lock is held; the driver may use the entry while it owns the IRP, and it is on no list.
        unsafe { insert(queued.head(), irp::second_list_entry(irp), end) };
        // SAFETY: as above.
        unsafe { insert(self.head.get(), irp::list_entry(irp), end) };
        if C::LOOKUP {
            // SAFETY: the queue owns the IRP.
            let argument4 = unsafe { irp::argument4(irp) };
            let node = state.by_key.insert(irp, key, argument4);
            let node = node.map_or(null_mut(), |node| node.as_ptr().cast());
            // SAFETY: as above. `unlink` restores the argument, which a lower driver may use.
            unsafe { irp::set_argument4(irp, node) };
        }
        state.length += 1;
        Linked::Queued
    }

    /// Removes an IRP from the list, from its file's list and from the index. Its entries keep what they point to.
    ///
    /// # Safety
    /// The caller has locked the queue's `state`, and the IRP is on the queue's list.
    unsafe fn unlink(state: &mut State, irp: *mut nt::IRP) {
        // SAFETY: the caller holds the lock, and the IRP is on the list.
        unsafe { RemoveEntryList(irp::list_entry(irp)) };
        // SAFETY: as above: it is on its file's list, or on that of the IRPs without a file.
        unsafe { RemoveEntryList(irp::second_list_entry(irp)) };
        // SAFETY: as above.
        if let Some(node) = unsafe { Self::node(irp) } {
            // SAFETY: the IRP is on the list, so its node is in the index, where `link` inserted it.
            let argument4 = unsafe { state.by_key.remove(node) };
            // SAFETY: the queue owns the IRP while it is on the list.
            unsafe { irp::set_argument4(irp, argument4) };
        }
        state.length -= 1;
    }

    /// Removes an IRP from the list and clears its Cancel routine.
    ///
    /// # Safety
    /// The caller has locked the queue's `state`, and the IRP is on the queue's list.
    pub(super) unsafe fn take(state: &mut State, irp: *mut nt::IRP) -> Found {
        // SAFETY: guaranteed by the caller.
        unsafe { Self::unlink(state, irp) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes the IRP.
        if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            Found::Owned(irp)
        } else {
            // IoCancelIrp took the routine first, and has called it or is about to. The routine owns the IRP, and
            // finds by the entry that it is on no list.
            // SAFETY: `state` is locked, and the entry is on no list.
            unsafe { InitializeListHead(irp::list_entry(irp)) };
            Found::Lost
        }
    }

    /// Removes the first IRP of the list. Returns [`Found::NotYet`] if a cursor is before it.
    pub(super) fn take_first(&self, state: &mut State) -> Found {
        let head = self.head.get();
        // SAFETY: `state` is locked.
        let entry = unsafe { (*head).Flink };
        if entry == head {
            return Found::Nothing;
        }
        // SAFETY: every entry of the list but its head is an IRP's or a cursor's.
        let irp = unsafe { irp::from_list_entry(entry) };
        // SAFETY: as above.
        if unsafe { is_cursor(irp) } {
            return Found::NotYet;
        }
        // SAFETY: `state` is locked, and the IRP is linked.
        unsafe { Self::take(state, irp) }
    }

    /// Removes the cursors at the head of the list, of which there is one for each thread that walks it, and the IRP after them. Returns
    /// [`Found::NotYet`] after [`STEPS`] cursors. It waits for none of those threads, which may be interrupted on this processor.
    pub(super) fn take_after_cursors(&self, state: &mut State) -> Found {
        let head = self.head.get();
        // SAFETY: `state` is locked.
        let mut entry = unsafe { (*head).Flink };
        for _ in 0..STEPS {
            if entry == head {
                return Found::Nothing;
            }
            // SAFETY: every entry of the list but its head is an IRP's or a cursor's.
            let irp = unsafe { irp::from_list_entry(entry) };
            // SAFETY: as above.
            if !unsafe { is_cursor(irp) } {
                // SAFETY: `state` is locked, and the IRP is linked.
                return unsafe { Self::take(state, irp) };
            }
            // SAFETY: the entry is a cursor's and is linked, and `state` is locked.
            entry = unsafe { Self::remove_cursor(entry) };
        }
        Found::NotYet
    }

    /// Removes a cursor before which there is no IRP, and returns the entry after it. The cursor is linked to itself then, by which
    /// [`IrpQueue::walk`] finds that it continues with the first IRP. So each cursor is passed once, not by every removal.
    ///
    /// # Safety
    /// The entry is a cursor's and is on the list, whose lock is held.
    unsafe fn remove_cursor(entry: *mut nt::LIST_ENTRY) -> *mut nt::LIST_ENTRY {
        // SAFETY: guaranteed by the caller.
        let next = unsafe { (*entry).Flink };
        // SAFETY: as above.
        unsafe { RemoveEntryList(entry) };
        // SAFETY: the thread that walks acquires the lock before it gives up the cursor.
        unsafe { InitializeListHead(entry) };
        next
    }

    /// Calls a closure with the next IRPs after the cursor, or the first ones if the cursor is not linked, until it returns
    /// [`Found::Owned`]. The closure may [`take`](IrpQueue::take) the IRP.
    ///
    /// The cursor is on the list afterwards only if this returns [`Found::NotYet`]. It is not on the list while the
    /// closure runs, since in user mode the closure may unwind.
    ///
    /// # Safety
    /// The caller has locked the queue's `state`; `cursor` is zeroed, is on the list or linked to itself if `is_linked` is set, and is
    /// not used by others.
    pub(super) unsafe fn walk(
        &self,
        state: &mut State,
        cursor: *mut nt::IRP,
        is_linked: &mut bool,
        step: &mut impl FnMut(&mut State, *mut nt::IRP) -> Found,
    ) -> Found {
        let (head, at) = (self.head.get(), irp::list_entry(cursor));
        let before = if *is_linked { at } else { head };
        // SAFETY: `state` is locked.
        let mut entry = unsafe { (*before).Flink };
        if core::mem::take(is_linked) {
            // SAFETY: as above.
            unsafe { RemoveEntryList(at) };
            if entry == at {
                // `remove_cursor` has removed the cursor.
                // SAFETY: as above.
                entry = unsafe { (*head).Flink };
            }
        }
        for _ in 0..STEPS {
            if entry == head {
                return Found::Nothing;
            }
            // SAFETY: every entry of the list but its head is an IRP's or a cursor's.
            let irp = unsafe { irp::from_list_entry(entry) };
            // SAFETY: the entry is linked, and `state` is locked. The link is read before the entry is unlinked.
            entry = unsafe { (*entry).Flink };
            // SAFETY: as above.
            if unsafe { is_cursor(irp) } {
                continue;
            }
            if let Found::Owned(irp) = step(state, irp) {
                return Found::Owned(irp);
            }
        }
        // With `entry` as the list head, the tail is the position before `entry`.
        // SAFETY: `state` is locked, and the cursor is on no list.
        unsafe { InsertTailList(entry, at) };
        *is_linked = true;
        Found::NotYet
    }

    /// Calls the driver's callback, then completes the IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, which is on no list and has no Cancel routine, and gives it up. The IRP was
    /// inserted into `queue`, which may be freed before this returns, since the IRP kept its device.
    #[cold]
    pub(super) unsafe fn end<L: NoSpinLockHeld>(
        queue: *const Self,
        irp: *mut nt::IRP,
        status: NtStatus,
        irql: &mut L,
    ) {
        // SAFETY: the queue outlives the IRP, which is not completed yet.
        let callbacks = unsafe { &raw const (*queue).callbacks };
        // SAFETY: guaranteed by the caller.
        unsafe { queue_callbacks::end(callbacks, irp, status, irql) };
    }
}

/// Returns whether an entry of a queue's list is the cursor of a walk, not an IRP.
///
/// # Safety
/// The entry is on the list, whose lock is held.
unsafe fn is_cursor(irp: *mut nt::IRP) -> bool {
    // SAFETY: `link` set the word of every IRP, and a cursor is zeroed.
    unsafe { irp::driver_context::<2>(irp) }.is_null()
}

/// Inserts an entry at one end of a list.
///
/// # Safety
/// As for [`InsertTailList`].
unsafe fn insert(head: *mut nt::LIST_ENTRY, entry: *mut nt::LIST_ENTRY, end: End) {
    match end {
        // SAFETY: guaranteed by the caller.
        End::Tail => unsafe { InsertTailList(head, entry) },
        // SAFETY: as above.
        End::Head => unsafe { InsertHeadList(head, entry) },
    }
}

/// The Cancel routine of every queued IRP.
///
/// `IoCancelIrp` clears the routine's address in the IRP before it calls the routine, so this runs once for an IRP.
/// A thread that removes the IRP from the list after that leaves the completion to this routine.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP on which [`IrpQueue::link`] set it.
unsafe extern "C" fn cancel_routine<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: this is the IRP's Cancel routine, which is called with the lock held.
    let mut irql = unsafe { release_in_cancel_routine(irp) };
    // SAFETY: this routine owns the IRP, and `link` set the word before it set the routine.
    let queue = unsafe { irp::driver_context::<2>(irp) }.cast::<IrpQueue<C>>();
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let state = unsafe { &(*queue).state };
    state.with(&mut irql, |state, _| {
        let entry = irp::list_entry(irp);
        // SAFETY: the entry is on the queue's list or linked to itself, and `state` is locked.
        if !unsafe { IsListEmpty(entry) } {
            // SAFETY: as above: the IRP is on the list.
            unsafe { IrpQueue::<C>::unlink(state, irp) };
        }
    });
    // SAFETY: the IRP is on no list, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { IrpQueue::end(queue, irp, NtStatus::CANCELLED, &mut irql) };
}
