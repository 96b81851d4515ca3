//! What is done to a queue's list while its spin lock is held, and what becomes of an IRP that leaves it.

use alloc::boxed::Box;
use core::ptr::{NonNull, null_mut};

use nt::{
    irp::{self, IoSetCancelRoutine},
    list::{InsertHeadList, InsertTailList, IsListEmpty, RemoveEntryList, UnlinkEntry},
};

use super::IrpQueue;
use crate::{
    Error, IrpView, NtStatus, QueueCallbacks,
    io::{
        cancel_lock::leave_to_caller,
        file,
        irp::finish,
        key_index::{KeyIndex, KeyNode},
        refusal::Refusal,
    },
    ke::irql::NoSpinLockHeld,
};

/// What the queue's spin lock protects, besides the lists.
pub(super) struct State {
    pub(super) length: usize,
    pub(super) refusal: Refusal,
    /// The IRPs by key. Empty if they are not found by key.
    pub(super) by_key: KeyIndex,
}

/// How many IRPs are looked at while the lock is held, which is to be no longer than 25 microseconds.
const STEPS: usize = 64;

/// Where an IRP is linked in.
#[derive(Clone, Copy)]
pub(super) enum End {
    Head,
    Tail,
}

/// What a look at the queue found.
pub(super) enum Found {
    /// An IRP that is this thread's now.
    Owned(*mut nt::IRP),
    /// An IRP whose Cancel routine is on its way, to which it is left.
    Lost,
    /// None so far, and the walk is not at its end.
    NotYet,
    Nothing,
}

impl<C: QueueCallbacks> IrpQueue<C> {
    /// Looks whether an IRP may come to this queue, and makes its node if IRPs are found by key.
    ///
    /// # Safety
    /// The caller owns the IRP, which is on no list.
    pub(super) unsafe fn prepare(&self, irp: *mut nt::IRP) -> Result<(), Error> {
        if C::LOOKUP {
            // SAFETY: the caller owns the IRP, which ends here: it is not passed on.
            unsafe { irp::set_argument4(irp, null_mut()) };
        }
        // SAFETY: the caller owns the IRP.
        if unsafe { irp::device_object(irp) } != self.device {
            // Its device is not the one that keeps the queue.
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        if C::LOOKUP {
            // SAFETY: the caller owns the IRP.
            let key = self.callbacks.lookup_key(unsafe { IrpView::new(&irp) });
            let node = KeyNode::allocate(irp, key)?;
            // SAFETY: as above.
            unsafe { irp::set_argument4(irp, node.as_ptr().cast()) };
        }
        Ok(())
    }

    /// The node of an IRP; `None` if it has none.
    ///
    /// # Safety
    /// The IRP went through [`IrpQueue::prepare`], and is this thread's, or on the queue, whose lock is held.
    unsafe fn node(irp: *mut nt::IRP) -> Option<NonNull<KeyNode>> {
        if !C::LOOKUP {
            return None;
        }
        // SAFETY: `prepare` set the word.
        NonNull::new(unsafe { irp::argument4(irp) }.cast())
    }

    /// Frees the node of an IRP that is not on the queue any more.
    ///
    /// # Safety
    /// The caller owns the IRP, on no list and without a Cancel routine. It went through [`IrpQueue::prepare`], and not
    /// through this since.
    pub(super) unsafe fn free_node(irp: *mut nt::IRP) {
        // SAFETY: passed on to the caller.
        if let Some(node) = unsafe { Self::node(irp) } {
            // SAFETY: the node came from the pool, and is in no index since the IRP is on no list.
            drop(unsafe { Box::from_raw(node.as_ptr()) });
        }
    }

    /// Links an IRP in and makes it cancelable, or says with which status it must be ended instead.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended, was sent to the queue's device and is on no list, and has locked `state`.
    pub(super) unsafe fn link(
        &self,
        state: &mut State,
        irp: *mut nt::IRP,
        end: End,
    ) -> Option<NtStatus> {
        if let Some(status) = state.refusal.status() {
            return Some(status);
        }
        // SAFETY: the IRP is owned, and was sent to the queue's device; its file stays until it is completed.
        let queued = unsafe { file::queued(irp, self.index) }.unwrap_or(&self.of_no_file);
        // SAFETY: the lock is held.
        if unsafe { queued.is_cleaned_up() } {
            return Some(NtStatus::CANCELLED);
        }
        // SAFETY: the caller owns the IRP.
        unsafe { irp::set_driver_context::<2>(irp, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: the queue has the IRP. IoCancelIrp sets Irp->Cancel and then takes the routine; here
        // the routine is set and then Irp->Cancel read, each with a full barrier between. So at least
        // one of the two sees the other: either it takes the routine, or the look below finds the flag.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // Nobody will call the routine now; the IRP is this thread's again.
            return Some(NtStatus::CANCELLED);
        }
        // A Cancel routine that has been called waits for `state`, so it finds the IRP linked.
        // SAFETY: the lock is held; the entry is the driver's while it has the IRP, and on no list.
        unsafe { insert(queued.head(), irp::second_list_entry(irp), end) };
        // SAFETY: as above.
        unsafe { insert(self.head.get(), irp::list_entry(irp), end) };
        // SAFETY: as above.
        if let Some(node) = unsafe { Self::node(irp) } {
            // SAFETY: `prepare` made the node, which is in no index.
            unsafe { state.by_key.insert(node) };
        }
        state.length += 1;
        None
    }

    /// Takes an IRP off the list, off its file's and out of the index. Its entry in the list is linked to itself then.
    ///
    /// # Safety
    /// `state` is the queue's and locked, and the IRP is on its list.
    unsafe fn unlink(state: &mut State, irp: *mut nt::IRP) {
        // SAFETY: the caller holds the lock, and the IRP is on the list.
        unsafe { RemoveEntryList(irp::list_entry(irp)) };
        // SAFETY: as above: it is on its file's list, or on that of the IRPs without a file.
        unsafe { UnlinkEntry(irp::second_list_entry(irp)) };
        // SAFETY: as above.
        if let Some(node) = unsafe { Self::node(irp) } {
            // SAFETY: the IRP is on the list, so its node is in the index.
            unsafe { state.by_key.remove(node) };
        }
        state.length -= 1;
    }

    /// Takes an IRP off the list and away from its Cancel routine.
    ///
    /// # Safety
    /// `state` is the queue's and locked, and the IRP is on its list.
    pub(super) unsafe fn take(state: &mut State, irp: *mut nt::IRP) -> Found {
        // SAFETY: passed on to the caller.
        unsafe { Self::unlink(state, irp) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes the IRP.
        if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            Found::Owned(irp)
        } else {
            // IoCancelIrp took the routine before. It has been called, or is about to be: the IRP is the
            // routine's, which finds it linked to itself.
            Found::Lost
        }
    }

    /// Takes the first IRP of the list.
    pub(super) fn take_first(&self, state: &mut State) -> Found {
        let head = self.head.get();
        // SAFETY: `state` is locked.
        let mut entry = unsafe { (*head).Flink };
        loop {
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
            // SAFETY: the entry is linked, and `state` is locked.
            entry = unsafe { Self::after_cursor(entry) };
        }
    }

    /// The entry after a cursor's. There are as many cursors as threads that walk now, so few come here.
    ///
    /// # Safety
    /// The entry is on the list, whose lock is held.
    #[cold]
    unsafe fn after_cursor(entry: *mut nt::LIST_ENTRY) -> *mut nt::LIST_ENTRY {
        // SAFETY: passed on to the caller.
        unsafe { (*entry).Flink }
    }

    /// Looks at the next IRPs after the cursor, or at the first ones if it is not linked, and takes the one that matches.
    ///
    /// The cursor is on the list afterwards if this returns [`Found::NotYet`], and only then. It is not there while the
    /// closure runs, which in user mode may unwind.
    ///
    /// # Safety
    /// `state` is the queue's and locked; `cursor` is zeroed, on the list if `is_linked` says so, and nobody else's.
    pub(super) unsafe fn walk(
        &self,
        state: &mut State,
        cursor: *mut nt::IRP,
        is_linked: &mut bool,
        matches: &mut impl FnMut(&IrpView<C::Record>) -> bool,
    ) -> Found {
        let (head, at) = (self.head.get(), irp::list_entry(cursor));
        let before = if *is_linked { at } else { head };
        // SAFETY: `state` is locked.
        let mut entry = unsafe { (*before).Flink };
        if core::mem::take(is_linked) {
            // SAFETY: as above.
            unsafe { RemoveEntryList(at) };
        }
        for _ in 0..STEPS {
            if entry == head {
                return Found::Nothing;
            }
            // SAFETY: every entry of the list but its head is an IRP's or a cursor's.
            let irp = unsafe { irp::from_list_entry(entry) };
            // SAFETY: the entry is linked, and `state` is locked. Read before it is unlinked.
            entry = unsafe { (*entry).Flink };
            // SAFETY: an IRP on the list is completed by nobody as long as `state` is locked: its Cancel
            // routine, if it is running, needs the lock first.
            if unsafe { is_cursor(irp) } || !matches(unsafe { IrpView::new(&irp) }) {
                continue;
            }
            // SAFETY: `state` is locked, and the IRP is linked.
            if let Found::Owned(irp) = unsafe { Self::take(state, irp) } {
                return Found::Owned(irp);
            }
        }
        // Inserted at the tail of the list that `entry` is taken for the head of: before `entry`.
        // SAFETY: `state` is locked, and the cursor on no list.
        unsafe { InsertTailList(entry, at) };
        *is_linked = true;
        Found::NotYet
    }

    /// Tells the driver, then completes an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, on no list and without a Cancel routine, and gives it up. `queue` is the one that the IRP was
    /// inserted into; it may be gone when this returns, with the device that the IRP has kept.
    #[cold]
    pub(super) unsafe fn end<L: NoSpinLockHeld>(
        queue: *const Self,
        irp: *mut nt::IRP,
        status: NtStatus,
        irql: &mut L,
    ) {
        // SAFETY: the queue outlives the IRP, which is not completed yet.
        let callbacks = unsafe { &(*queue).callbacks };
        // SAFETY: the caller owns the IRP.
        callbacks.before_completion(unsafe { IrpView::new(&irp) }, status, irql);
        // SAFETY: the caller owns the IRP, which is on no list.
        unsafe { Self::free_node(irp) };
        // SAFETY: the caller owns the IRP and gives it up. The token says that no spin lock is held.
        unsafe { finish::<C::Record>(irp, status, 0) };
    }
}

/// Whether what is on a queue's list is no IRP but a walk's cursor.
///
/// # Safety
/// It is on the list, whose lock is held.
unsafe fn is_cursor(irp: *mut nt::IRP) -> bool {
    // SAFETY: `link` set the word of every IRP, and a cursor is zeroed.
    unsafe { irp::driver_context::<2>(irp) }.is_null()
}

/// Links an entry in at one end of a list.
///
/// # Safety
/// As for [`InsertTailList`].
unsafe fn insert(head: *mut nt::LIST_ENTRY, entry: *mut nt::LIST_ENTRY, end: End) {
    match end {
        // SAFETY: passed on to the caller.
        End::Tail => unsafe { InsertTailList(head, entry) },
        // SAFETY: as above.
        End::Head => unsafe { InsertHeadList(head, entry) },
    }
}

/// The Cancel routine of every queued IRP.
///
/// `IoCancelIrp` has taken the routine's address out of the IRP before it calls it, so this runs once for
/// an IRP, and whoever removes the IRP from the list after that leaves its completion to this.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP that [`IrpQueue::link`] set it on.
unsafe extern "C" fn cancel_routine<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: this is the IRP's Cancel routine, which holds the lock.
    let mut irql = unsafe { leave_to_caller(irp) };
    // SAFETY: the IRP is this routine's, and `link` set the word before it set the routine.
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
