//! Run-down protection: the number of accesses to an object that are in progress, and whether the object is run down.
//!
//! The lowest bit of the variable is set if the object is being run down; the other bits are the count.

use std::sync::atomic::{AtomicUsize, Ordering};

use nt::{DISPATCH_LEVEL, EX_RUNDOWN_REF};

use crate::{
    host::{Call, Kernel, fault, wait::Wait},
    mutex::locked,
    verifier::Rule,
};

const APC_LEVEL: u8 = 1;

pub(in crate::ex) const ACTIVE: usize = 1;
pub(in crate::ex) const ONE: usize = 2;

impl Call {
    pub(in crate::ex) fn run_ref<'a>(&self, run_ref: *mut EX_RUNDOWN_REF) -> &'a AtomicUsize {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        if self.irql() == DISPATCH_LEVEL {
            self.require_nonpaged(run_ref);
        }
        // SAFETY: the caller of the routine passes a variable, which only these routines access.
        unsafe { self.view(run_ref) }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializerundownprotection)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializeRundownProtection(run_ref: *mut EX_RUNDOWN_REF) {
    let call = Call::enter("ExInitializeRundownProtection").at_most(APC_LEVEL);
    call.require_room(run_ref);
    // SAFETY: the caller passes memory for a variable.
    unsafe { run_ref.write(EX_RUNDOWN_REF { Count: 0 }) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreinitializerundownprotection)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReInitializeRundownProtection(run_ref: *mut EX_RUNDOWN_REF) {
    let call = Call::enter_visible("ExReInitializeRundownProtection", run_ref).at_most(APC_LEVEL);
    let state = call.run_ref(run_ref);
    let before = state.load(Ordering::Acquire);
    call.require(before == ACTIVE, Rule::Rundown, || {
        format!("{run_ref:?} is initialised again, but was not run down")
    });
    state.store(0, Ordering::Release);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirerundownprotection)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireRundownProtection(run_ref: *mut EX_RUNDOWN_REF) -> u8 {
    let call = Call::enter_visible("ExAcquireRundownProtection", run_ref);
    let add = |state: usize| (state & ACTIVE == 0).then(|| state + ONE);
    let added = call
        .run_ref(run_ref)
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    u8::from(added.is_ok())
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleaserundownprotection)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseRundownProtection(run_ref: *mut EX_RUNDOWN_REF) {
    let call = Call::enter_visible("ExReleaseRundownProtection", run_ref);
    let take = |state: usize| state.checked_sub(ONE);
    let taken = call
        .run_ref(run_ref)
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
    call.require(taken.is_ok(), Rule::Rundown, || {
        format!("the run-down protection {run_ref:?} is released more often than it was acquired")
    });
    call.kernel.sleepers.wake(Wait::Object(run_ref.addr()));
    call.switch_after(call.routine(), run_ref);
}

impl Kernel {
    /// Describes the run-down protection that a thread waits for.
    pub(crate) fn holders_of_rundown(&self, wait: Wait) -> Option<String> {
        let Wait::Object(run_ref) = wait else {
            return None;
        };
        if !locked(&self.ex().run_downs).contains(&run_ref) {
            return None;
        }
        let state = fault::read_word(run_ref)?;
        Some(format!(
            "run-down protection that is held {} times",
            state / ONE
        ))
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exwaitforrundownprotectionrelease)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExWaitForRundownProtectionRelease(run_ref: *mut EX_RUNDOWN_REF) {
    let call = Call::enter_visible("ExWaitForRundownProtectionRelease", run_ref).at_most(APC_LEVEL);
    let state = call.run_ref(run_ref);
    state.fetch_or(ACTIVE, Ordering::AcqRel);
    locked(&call.kernel.ex().run_downs).insert(run_ref.addr());
    call.wait_for(Wait::Object(run_ref.addr()), || {
        (state.load(Ordering::Acquire) == ACTIVE).then_some(())
    });
    locked(&call.kernel.ex().run_downs).remove(&run_ref.addr());
}
