//! The completion of IRPs: checks the status of dispatch routines; `IoCompleteRequest` moves up the device stack, calls
//! the completion routines and wakes the threads that wait.

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DISPATCH_LEVEL, LIST_ENTRY, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
    SL_PENDING_RETURNED, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        layout::FREED,
        wait::Wait,
    },
    io::{
        inlines,
        irp::{CompletedLocation, ENDED, IrpRecord, Origin},
        mdl::UnlockedPages,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

impl Call {
    /// Compares the status that a dispatch routine returned with the state of the IRP at its stack location. If the
    /// routine has passed the IRP down, `passed` is the status that the lower driver's routine returned. `was_marked` is whether the
    /// upper driver had marked the location, which it has skipped.
    ///
    /// A driver that has passed the IRP down need not mark it pending: the completion does so.
    /// `sent` is the number of times that the IRP was sent to the location, before the call and now. If a completion
    /// routine has sent it there while the routine ran, its state is that of the later call.
    pub(in crate::io) fn verify_answer(
        &self,
        record: &IrpRecord,
        (location, sent): (i8, u32),
        (passed, was_marked): (Option<i32>, bool),
        status: i32,
    ) {
        let irp = record.raw().addr() as u64;
        let (left, marked) = {
            let state = locked(&record.state);
            let (left, again) = IrpRecord::visit(&state, location);
            if again != sent {
                return;
            }
            let marked = left.map_or_else(|| record.is_marked(location), |left| left.marked);
            (left, marked)
        };
        // A Cancel routine that the driver has set with its own exchange is detected here at the latest.
        let _ = record.has_cancel_routine();
        if left.is_none() && marked && record.was_queued_unmarked() {
            inlines::queued_before_marked(self, record);
        }
        let pending = status == STATUS_PENDING;
        let passed_on = left.is_none() && passed == Some(STATUS_PENDING);
        if pending && !marked && !passed_on {
            let (rule, what) = if left.is_some() {
                (
                    Rule::PendedCompletedRequest,
                    "is completed, was not marked pending",
                )
            } else {
                (Rule::MarkIrpPending2, "was not marked pending")
            };
            let what = format!("{record} {what}, but STATUS_PENDING is returned");
            self.stop(BugCheck::io(0x23d, [0, irp, 0]), rule, what);
        }
        if !pending && passed == Some(STATUS_PENDING) && (marked || left.is_none()) {
            let what = format!(
                "{record} was passed down, the lower driver has returned STATUS_PENDING, but {status:#x} is returned"
            );
            let code = if marked { 0x23e } else { 0x226 };
            let bug_check = BugCheck::io(code, [0, irp, 0]);
            self.stop(bug_check, Rule::LowerDriverReturn, what);
        }
        if marked && !was_marked && !pending {
            let what = format!("{record} was marked pending, but {status:#x} is returned");
            self.stop(BugCheck::io(0x23e, [0, irp, 0]), Rule::MarkIrpPending, what);
        }
        if passed_on && pending && !marked {
            record.note_pended(location);
        }
        match left {
            None if !pending => {
                let what = format!(
                    "{record} is neither completed nor pended, and {status:#x} is returned{}",
                    record.kept()
                );
                let bug_check = BugCheck::io(0x226, [0, irp, 0]);
                self.stop(bug_check, Rule::IrpProcessingComplete, what);
            }
            Some(_) if status == ENDED => {
                let what = format!(
                    "the status that is returned was read in {record} after the IRP was completed: keep it in a variable"
                );
                self.stop(BugCheck(0xd5, [irp, 0, 0, 0]), Rule::CompletedIrp, what);
            }
            Some(left) if !pending && left.status != status => {
                let what = format!(
                    "{record} is completed with {:#x}, but {status:#x} is returned",
                    left.status
                );
                let bug_check = BugCheck::io(0x224, [0, irp, 0]);
                self.stop(bug_check, Rule::CompleteRequestStatusCheck, what);
            }
            _ => {}
        }
    }

    /// `IoCompleteRequest`.
    pub(in crate::io) fn complete(&self, record: &Arc<IrpRecord>) {
        record.touch();
        footprint::touch(nt::irp::list_entry(record.raw()).addr(), Access::Exclusive);
        self.verify_completion(record);
        locked(&record.state).is_kept = false;
        let irp = record.raw();
        let mut is_event_set = false;
        loop {
            let location = record.current();
            // A driver completes an IRP that has returned to it: no location is left, and PendingReturned keeps its value.
            if !record.has_location() {
                break;
            }
            let stack = record.stack();
            let (control, routine, context) =
                (stack.Control, stack.CompletionRoutine, stack.Context);
            let pending = control & SL_PENDING_RETURNED;
            // SAFETY: the caller that completes an IRP owns it. A completion routine may have changed the status.
            let status = unsafe { nt::irp::status(irp) };
            let left = CompletedLocation {
                status,
                marked: pending != 0,
            };
            self.verify_pended(record, location, pending != 0);
            record.leave(location, Some(left));
            record.clear_location(location);
            let more = record.previous_location();
            let is_back = record.returned();
            // SAFETY: as above.
            unsafe { (*irp).PendingReturned = pending };
            let wanted = if status >= 0 {
                SL_INVOKE_ON_SUCCESS
            } else {
                SL_INVOKE_ON_ERROR
            };
            let cancelled = control & SL_INVOKE_ON_CANCEL != 0 && record.is_cancelled();
            if let Some(routine) = routine.filter(|_| control & wanted != 0 || cancelled) {
                let device = if more {
                    record.stack().DeviceObject
                } else {
                    null_mut()
                };
                // The routine is the upper driver's, and may send the IRP again.
                let (serving, passed) = (self.serving.take(), self.passed.take());
                let (irql, regions) = (self.irql(), self.critical_regions.load(Ordering::Relaxed));
                let outer_event = self.request_event.replace((record.awaited_event(), false));
                // SAFETY: the routine is called as the I/O manager calls it, with what it was set with.
                let answer = unsafe { Call::in_driver(routine, (device, irp, context)) };
                is_event_set |= self.request_event.replace(outer_event).1;
                self.verify_completion_returned(routine as usize as u64, irql, regions);
                self.serving.set(serving);
                self.passed.set(passed);
                if answer == STATUS_MORE_PROCESSING_REQUIRED {
                    locked(&record.state).is_kept = true;
                    return;
                }
                self.require_kept(record, is_back, Some(answer));
                self.verify_propagated(record, pending != 0 && more);
            } else if pending != 0 && more {
                // The upper driver has no completion routine that could mark the IRP.
                record.stack().Control |= SL_PENDING_RETURNED;
            }
            self.require_kept(record, is_back, None);
            if !more {
                break;
            }
        }
        match record.origin {
            Origin::IoManager => self.finish(record),
            Origin::Associated => self.finish_associated(record),
            _ => self.finish_threaded(record, is_event_set),
        }
    }

    /// Stops the system if a dispatch routine has returned `STATUS_PENDING`, and the IRP is completed at its location, which was not
    /// marked pending.
    fn verify_pended(&self, record: &IrpRecord, location: i8, marked: bool) {
        self.require(marked || !record.is_pended(location), Rule::MarkIrpPending2, || {
            let bug_check = BugCheck::io(0x23d, [0, record.address() as u64, 0]);
            let what = format!(
                "{record} is completed and was not marked pending, but its dispatch routine has returned STATUS_PENDING: the \
                 completion routine that keeps an IRP marks it"
            );
            (bug_check, what)
        });
    }

    /// Stops the system if a completion routine has returned at another IRQL, with a lock, or in another critical region.
    fn verify_completion_returned(&self, routine: u64, irql: u8, regions: u32) {
        let now = self.irql();
        let holds = !self.held.is_empty();
        self.require(now == irql || holds, Rule::IrqlReturn, || {
            let parameters = [routine, irql.into(), now.into()];
            let what =
                format!("a completion routine was called at IRQL {irql} and has returned at {now}");
            (BugCheck::verifier(0xfa, parameters), what)
        });
        self.require_returned("a completion routine", irql);
        let regions_now = self.critical_regions.load(Ordering::Relaxed);
        self.require(regions_now == regions, Rule::CriticalRegions, || {
            let parameters = [routine, regions.into(), regions_now.into()];
            let what = "a completion routine has entered or left a critical region";
            (BugCheck::verifier(0xfb, parameters), what)
        });
    }

    /// Stops the system if a completion routine was called with `PendingReturned` set and has not marked the IRP
    /// pending, so that the upper driver is not informed.
    fn verify_propagated(&self, record: &IrpRecord, pending: bool) {
        let lost = pending && !record.is_marked(record.current());
        self.require(!lost, Rule::PendingReturned, || {
            let bug_check = BugCheck::io(0x228, [0, record.address() as u64, 0]);
            let what = format!(
                "the completion routine was called for {record} with PendingReturned set, but has not marked it pending"
            );
            (bug_check, what)
        });
    }

    fn require_first_completion(&self, record: &IrpRecord) {
        let twice = {
            let state = locked(&record.state);
            let ended = state.completed_by.clone();
            if state.is_freed {
                drop(state);
                self.live_irp(record.raw());
            }
            ended
        };
        if let Some(by) = twice {
            let bug_check = BugCheck(0x44, [record.address() as u64, 0, 0, 0]);
            let what = format!("{record} is completed again; {by} has completed it before");
            self.stop(bug_check, Rule::DoubleCompletion, what);
        }
    }

    fn verify_completion(&self, record: &IrpRecord) {
        let irp = record.raw();
        let address = irp.addr() as u64;
        let irql = self.irql();
        self.require(irql <= DISPATCH_LEVEL, Rule::Irql, || {
            let what = format!("the IRQL is {irql}");
            (BugCheck::io(0xe, [irql.into(), address, 0]), what)
        });
        self.require_first_completion(record);
        self.require_sent(record);
        let held = self.held.innermost(ToString::to_string);
        if let Some(held) = held {
            let bug_check = BugCheck::verifier(0x2_0011, [irql.into(), address, 0]);
            let what = format!("{record} is completed while the thread holds {held}");
            self.stop(bug_check, Rule::SpinLockSafe, what);
        }
        // SAFETY: the caller that completes an IRP owns it.
        let status = unsafe { nt::irp::status(irp) };
        self.require(
            status != STATUS_PENDING && status != -1,
            Rule::CompleteRequest,
            || {
                let status_bits = u64::from(status.cast_unsigned());
                let what = format!("{record} is completed with the status {status:#x}");
                (BugCheck::io(6, [status_bits, address, 0]), what)
            },
        );
        self.require(!record.has_cancel_routine(), Rule::CompleteRequest, || {
            let what = format!("{record} is completed while its Cancel routine is set");
            (BugCheck::io(7, [0, address, 0]), what)
        });
        self.require(!record.is_on_device_queue(), Rule::CompleteRequest, || {
            let what = format!("{record} is completed while it is on a queue");
            (BugCheck::io(0x209, [0, address, 0]), what)
        });
    }

    /// Stops the system if more bytes are copied out of the system buffer than there is room for, or the driver has written past
    /// the end of it. The `Information` of a request without such output is the driver's.
    pub(in crate::io) fn verify_information(
        &self,
        record: &IrpRecord,
        information: usize,
        copied: bool,
    ) {
        let (_, length) = record.parameters().buffered_lengths();
        let is_longer = length != 0 && information > length;
        self.require(!(copied && is_longer), Rule::Information, || {
            let bug_check = BugCheck::io(0x312, [0, record.address() as u64, 0]);
            let what = format!(
                "{record} is completed with Information {information}, but its output has {length} bytes"
            );
            (bug_check, what)
        });
        if let Some(what) = record.overrun() {
            self.stop(BugCheck::verifier(0x51, [0; 3]), Rule::Pool, what);
        }
    }

    /// Ends an IRP: copies the output to user mode, and wakes the threads that wait.
    fn finish(&self, record: &Arc<IrpRecord>) {
        record.touch();
        // SAFETY: the caller that completes an IRP owns it.
        let status = unsafe { nt::irp::status(record.raw()) };
        // SAFETY: as above.
        let information = unsafe { (*record.raw()).IoStatus.Information };
        let information = usize::try_from(information).unwrap_or(usize::MAX);
        // The I/O manager copies no output if the status is an error (severity 3).
        let copied = status.cast_unsigned() >> 30 != 3;
        self.verify_information(record, information, copied);
        let leaks = record.direct.is_none() && copied && record.is_unwritten(information);
        self.require(!leaks, Rule::Information, || {
            format!(
                "{record} is completed with Information {information}, and the driver has not written the last of these \
                 bytes: whatever the system buffer had before goes to the user"
            )
        });
        let mut is_changed = false;
        let is_first = {
            let mut state = locked(&record.state);
            let is_first = state.completion.is_none();
            if let Some(direct) = record.direct.as_ref().filter(|_| is_first) {
                match direct.unlock() {
                    UnlockedPages::Output(bytes) => state.output = bytes,
                    UnlockedPages::Input { changed } => is_changed = changed,
                }
            } else if let Some(user) = record.user.as_ref().filter(|_| is_first) {
                state.output = user.written();
            } else if copied && record.direct.is_none() {
                let length = information.min(state.output.len());
                let bytes = record.system_bytes(length);
                state.output[..bytes.len()].copy_from_slice(bytes);
            }
            if is_first {
                state.completion = Some((status, information));
                state.completed_by = Some(self.caller());
            }
            is_first
        };
        // Two threads may have reached this point at the same time.
        if !is_first {
            self.require_first_completion(record);
        }
        self.require(!is_changed, Rule::Mdl, || {
            format!(
                "the driver has written into the buffer of {record}, whose pages were locked for reading only"
            )
        });
        self.free_mdls(record);
        self.kernel.io().retire(record);
        record.fill_ended();
        if record.is_linked() {
            // A list that still contains the IRP is found damaged at its next operation. It can also be one that the driver has forgotten.
            let entry = nt::irp::list_entry(record.raw()).cast::<u8>();
            // SAFETY: the IRP has ended, and its memory stays as long as the record.
            unsafe { entry.write_bytes(FREED, size_of::<LIST_ENTRY>()) };
        }
        if let Some(file) = &record.file {
            file.irp_ended(self);
        }
        self.kernel.sleepers.wake(Wait::Irp(record.address()));
    }
}
