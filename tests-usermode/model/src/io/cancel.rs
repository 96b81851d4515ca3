//! The cancel spin lock, and `IoCancelIrp`.

use std::ffi::c_void;

use nt::{DISPATCH_LEVEL, IRP};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
    },
    io::irp::IrpRecord,
    verifier::{BugCheck, Rule, held::Kind},
};

impl Call {
    pub(in crate::io) fn acquire_cancel_lock(&self) -> u8 {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        let old_irql = self.raise_irql(DISPATCH_LEVEL);
        self.acquire(&self.kernel.io().cancel_lock, Kind::Cancel, Some(old_irql));
        old_irql
    }

    pub(in crate::io) fn release_cancel_lock(&self, new_irql: u8) {
        let irql = self.irql();
        self.require(irql == DISPATCH_LEVEL, Rule::CancelSpinLockRelease, || {
            let bug_check = BugCheck::verifier(0x32, [irql.into(), 0, 0]);
            let what = format!(
                "the IRQL is {irql}, not DISPATCH_LEVEL: probably the lock is released twice"
            );
            (bug_check, what)
        });
        let held = self.release(&self.kernel.io().cancel_lock, Kind::Cancel);
        self.require_saved_irql(&held, new_irql);
        self.lower_irql(new_irql);
    }

    /// Sets `Irp->Cancel`, and calls the Cancel routine, if there is one, with the cancel spin lock held
    /// (`IoCancelIrp`). The I/O manager keeps the memory of the IRP.
    pub(in crate::io) fn cancel_irp(&self, record: &IrpRecord) -> bool {
        self.cancel_irp_of(record, false)
    }

    fn cancel_irp_of(&self, record: &IrpRecord, is_drivers: bool) -> bool {
        let irp = record.raw();
        self.switch_point("IoCancelIrp", irp.addr());
        let old_irql = self.acquire_cancel_lock();
        footprint::touch(irp.addr(), Access::Exclusive);
        record.set_cancel();
        self.switch_point("IoCancelIrp: IoSetCancelRoutine", irp.addr());
        self.synchronise(irp.addr());
        if is_drivers {
            // Another thread can have ended it.
            self.live_irp(irp);
        }
        let Some(routine) = record.take_cancel_routine() else {
            self.release_cancel_lock(old_irql);
            return false;
        };
        self.call_cancel_routine(record, routine, old_irql);
        true
    }

    /// Calls a Cancel routine, with the cancel spin lock held; the routine releases it.
    pub(in crate::io) fn call_cancel_routine(
        &self,
        record: &IrpRecord,
        routine: CancelRoutine,
        old_irql: u8,
    ) {
        let irp = record.raw();
        self.require(!record.is_completed(), Rule::CompleteRequest, || {
            let bug_check = BugCheck(0x48, [irp.addr() as u64, 0, 0, 0]);
            (
                bug_check,
                format!("{record} was completed with its Cancel routine set, and is cancelled now"),
            )
        });
        record.set_cancel_irql(old_irql);
        // The routine restores the IRQL before it returns, by this release or later.
        if let Some(held) = self.held.all().last_mut() {
            held.may_stay = true;
        }
        let device = record.device();
        let serving = self.serving.take();
        // SAFETY: the routine is called as IoCancelIrp calls it.
        unsafe { Call::in_driver(routine, (device, irp)) };
        self.serving.set(serving);
        let lock = (&raw const self.kernel.io().cancel_lock).addr();
        let held = self.held.all().iter().any(|held| held.lock == lock);
        self.require(!held, Rule::CancelSpinLockRelease, || {
            let bug_check = BugCheck::verifier(0x2_001d, [self.irql().into(), old_irql.into(), 0]);
            let what = "a Cancel routine has returned without releasing the cancel spin lock";
            (bug_check, what)
        });
        self.require_returned("a Cancel routine", old_irql);
    }
}

/// A `DRIVER_CANCEL` that is not NULL.
pub(crate) type CancelRoutine = unsafe extern "C" fn(*mut nt::DEVICE_OBJECT, *mut IRP);

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAcquireCancelSpinLock(irql: *mut u8) {
    let call = Call::enter_noted("IoAcquireCancelSpinLock");
    let lock: *const c_void = (&raw const call.kernel.io().cancel_lock).cast();
    call.switch_point(call.routine(), lock.addr());
    let old_irql = call.acquire_cancel_lock();
    call.require_room(irql);
    // SAFETY: the caller passes memory for an IRQL.
    unsafe { irql.write(old_irql) };
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseCancelSpinLock(irql: u8) {
    let call = Call::enter_noted("IoReleaseCancelSpinLock");
    call.release_cancel_lock(irql);
    call.switch_after(
        "IoReleaseCancelSpinLock",
        &raw const call.kernel.io().cancel_lock,
    );
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCancelIrp(irp: *mut IRP) -> u8 {
    let call = Call::enter_noted("IoCancelIrp");
    let record = call.live_irp(irp);
    u8::from(call.cancel_irp_of(&record, true))
}
