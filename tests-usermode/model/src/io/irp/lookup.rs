//! The IRPs that a driver passes to routines.

use std::sync::{Arc, atomic::Ordering};

use nt::IRP;

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        layout::TailOverlay,
    },
    io::{
        inlines,
        irp::{IrpRecord, Origin},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

impl Call {
    /// Returns the record of an IRP that the driver passes to a routine.
    pub(in crate::io) fn irp(&self, irp: *mut IRP) -> Arc<IrpRecord> {
        let record = self.kernel.io().find(irp.addr()).unwrap_or_else(|| {
            let bug_check = BugCheck::io(3, [irp.addr() as u64, 0, 0]);
            self.stop(bug_check, Rule::Pointer, format!("{irp:?} is not an IRP"))
        });
        let valid = record.origin != Origin::Initialised || record.is_valid();
        self.require(valid, Rule::FreedMemory, || {
            let bug_check = BugCheck(0xd5, [irp.addr() as u64, 0, 0, 0]);
            let what = format!("the memory of {record} was freed{}", self.once(irp.addr()));
            (bug_check, what)
        });
        record
    }

    /// Records that the IRP of an entry, if there is one, was inserted into a device queue or removed.
    pub(crate) fn note_device_queue(&self, entry: *mut nt::KDEVICE_QUEUE_ENTRY, inserted: bool) {
        let irp = entry.addr().wrapping_sub(std::mem::offset_of!(IRP, Tail));
        if let Some(record) = self.kernel.io().find(irp) {
            footprint::touch(irp, Access::Exclusive);
            record.is_on_device_queue.store(inserted, Ordering::Relaxed);
            record.note_queued(inserted);
        }
    }

    /// Stops the system if an entry that is inserted belongs to an IRP that is already on a list.
    pub(crate) fn require_unlinked(&self, entry: *mut nt::LIST_ENTRY) {
        if !self.kernel.config.check_lists {
            return;
        }
        let offset =
            std::mem::offset_of!(IRP, Tail) + std::mem::offset_of!(TailOverlay, list_entry);
        let Some(record) = self.kernel.io().find(entry.addr().wrapping_sub(offset)) else {
            return;
        };
        self.require(!record.is_linked(), Rule::ListEntry, || {
            let bug_check = BugCheck(0x139, [3, entry.addr() as u64, 0, 0]);
            let what = format!("{record} is inserted into a list, but is already on a list");
            (bug_check, what)
        });
        record.note_queued(true);
    }

    /// Returns the record of an IRP that the driver may still access.
    pub(in crate::io) fn live_irp(&self, irp: *mut IRP) -> Arc<IrpRecord> {
        footprint::touch(irp.addr(), Access::Exclusive);
        let record = self.irp(irp);
        let completed_by = {
            let state = locked(&record.state);
            let has = if state.is_freed { "freed" } else { "completed" };
            let ended = state.completed_by.clone();
            ended.map(|by| (by, has))
        };
        if let Some((by, has)) = completed_by {
            let rule = if self.routine() == "IoMarkIrpPending" {
                inlines::marked_late(self, irp)
            } else {
                Rule::CompletedIrp
            };
            let bug_check = BugCheck(0xd5, [irp.addr() as u64, 0, 0, 0]);
            let what = format!("{record} is used after {by} has {has} it");
            self.stop(bug_check, rule, what);
        }
        record
    }
}
