//! The routines that a driver registers for bug checks. The model does not call them: after a violation no code of the driver runs.

use std::ops::Range;

use nt::{
    BufferEmpty, BufferInserted, KBUGCHECK_CALLBACK_RECORD, KBUGCHECK_REASON_CALLBACK_RECORD,
    PKBUGCHECK_CALLBACK_ROUTINE, PKBUGCHECK_REASON_CALLBACK_ROUTINE,
};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
    },
    mutex::locked,
    verifier::Rule,
};

/// A record of a registration.
trait Record {
    fn state(&mut self) -> &mut u8;
}

impl Record for KBUGCHECK_CALLBACK_RECORD {
    fn state(&mut self) -> &mut u8 {
        &mut self.State
    }
}

impl Record for KBUGCHECK_REASON_CALLBACK_RECORD {
    fn state(&mut self) -> &mut u8 {
        &mut self.State
    }
}

impl Call {
    /// Registers a record, or removes its registration; returns whether it was in the other state.
    fn change_registration<R: Record>(&self, record: *mut R, registers: bool) -> u8 {
        self.require_room(record);
        self.require_nonpaged(record);
        let registered = &self.kernel.ke().bug_check_callbacks;
        footprint::touch((&raw const *registered).addr(), Access::Exclusive);
        let mut registered = locked(registered);
        // SAFETY: the caller of the routine passes its record, which only these routines use.
        let state = unsafe { &mut *record }.state();
        let (before, after) = if registers {
            (BufferEmpty, BufferInserted)
        } else {
            (BufferInserted, BufferEmpty)
        };
        if *state != before || registered.contains(&record.addr()) == registers {
            return 0;
        }
        *state = after;
        if registers {
            registered.insert(record.addr());
        } else {
            registered.remove(&record.addr());
        }
        1
    }

    /// Stops the system if memory is freed that contains a record of a registered routine.
    pub(in crate::ke) fn require_no_bug_check_record_in(&self, memory: Range<usize>) {
        let registered = locked(&self.kernel.ke().bug_check_callbacks);
        let record = registered.range(memory).next().copied();
        drop(registered);
        self.require(record.is_none(), Rule::BugCheckCallback, || {
            let record = record.unwrap_or_default();
            format!(
                "the memory of the record {record:#x} is freed, and its routine for bug checks is still registered"
            )
        });
    }

    /// Stops the system if a routine for bug checks is registered when its driver is unloaded.
    pub(crate) fn require_no_bug_check_callback(&self) {
        let any = !locked(&self.kernel.ke().bug_check_callbacks).is_empty();
        self.require(!any, Rule::BugCheckCallback, || {
            "the driver is unloaded, and has not called KeDeregisterBugCheckCallback or \
             KeDeregisterBugCheckReasonCallback for a routine that it has registered"
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keregisterbugcheckcallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRegisterBugCheckCallback(
    record: *mut KBUGCHECK_CALLBACK_RECORD,
    _routine: PKBUGCHECK_CALLBACK_ROUTINE,
    buffer: *mut std::ffi::c_void,
    _length: u32,
    _component: *mut u8,
) -> u8 {
    let call = Call::enter_noted("KeRegisterBugCheckCallback");
    call.require_nonpaged(buffer);
    call.change_registration(record, true)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kederegisterbugcheckcallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeDeregisterBugCheckCallback(record: *mut KBUGCHECK_CALLBACK_RECORD) -> u8 {
    let call = Call::enter_noted("KeDeregisterBugCheckCallback");
    call.change_registration(record, false)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keregisterbugcheckreasoncallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRegisterBugCheckReasonCallback(
    record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    _routine: PKBUGCHECK_REASON_CALLBACK_ROUTINE,
    _reason: i32,
    _component: *mut u8,
) -> u8 {
    let call = Call::enter_noted("KeRegisterBugCheckReasonCallback");
    call.change_registration(record, true)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kederegisterbugcheckreasoncallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeDeregisterBugCheckReasonCallback(
    record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
) -> u8 {
    let call = Call::enter_noted("KeDeregisterBugCheckReasonCallback");
    call.change_registration(record, false)
}
