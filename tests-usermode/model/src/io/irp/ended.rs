//! IRPs that the I/O manager has ended: what their memory reads as, and whether a driver has written to it.

use std::ptr::without_provenance_mut;

use crate::{
    host::{Call, layout::FREED},
    io::{
        irp::{IrpRecord, Origin},
        mdl::DirectBuffer,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// What `IoStatus` of such an IRP reads as.
pub(in crate::io) const ENDED: i32 = i32::from_ne_bytes([FREED; 4]);
const ENDED_INFORMATION: usize = usize::from_ne_bytes([FREED; 8]);

impl IrpRecord {
    /// Fills the pointers and `IoStatus` in an IRP that the I/O manager has ended with the pattern of freed memory. Code that reads them
    /// after this breaks a rule.
    pub(in crate::io) fn fill_ended(&self) {
        // A multiple of every alignment.
        let freed = usize::from_ne_bytes([FREED; 8]) & !0xff;
        // SAFETY: the IRP has ended, and its memory stays as long as the record.
        let irp = unsafe { &mut *self.raw() };
        irp.MdlAddress = without_provenance_mut(freed);
        irp.UserBuffer = without_provenance_mut(freed);
        // A master IRP has the number of its associated IRPs in this place.
        if self.system_buffer.is_some() {
            irp.AssociatedIrp.SystemBuffer = without_provenance_mut(freed);
        }
        let overlay = self.overlay();
        overlay.current_stack_location = without_provenance_mut(freed);
        overlay.original_file_object = without_provenance_mut(freed);
        // SAFETY: as above.
        unsafe { nt::irp::set_status(self.raw(), ENDED) };
        // SAFETY: as above.
        unsafe { nt::irp::set_information(self.raw(), ENDED_INFORMATION) };
    }

    /// Returns whether `IoStatus` of a request that has ended was written to.
    fn is_written_after_end(&self) -> bool {
        // SAFETY: the memory stays as long as the record.
        let status = unsafe { nt::irp::status(self.raw()) };
        // SAFETY: as above.
        let information = unsafe { nt::irp::information(self.raw()) };
        self.origin == Origin::IoManager && (status, information) != (ENDED, ENDED_INFORMATION)
    }
}

impl Call {
    /// Stops the system if a driver has written to a request that has ended, or to its buffer.
    pub(in crate::io) fn require_ended_unused(&self) {
        for record in self.kernel.io().ended() {
            let buffer = record.direct.as_ref();
            let part = if record.is_written_after_end() {
                "IoStatus"
            } else if buffer.is_some_and(DirectBuffer::is_used_after_unlock) {
                "the buffer"
            } else {
                continue;
            };
            let by = locked(&record.state).completed_by.clone();
            let by = by.map_or_else(String::new, |by| by.to_string());
            let what = format!("{part} of {record} was written after {by} had completed it");
            let bug_check = BugCheck(0xd5, [record.address() as u64, 0, 0, 0]);
            self.stop(bug_check, Rule::CompletedIrp, what);
        }
    }
}
