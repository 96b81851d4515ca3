//! Run-down protection that is acquired and released several times at once, and its end.

use std::sync::atomic::Ordering;

use nt::EX_RUNDOWN_REF;

use crate::{
    ex::rundown::{ACTIVE, ONE},
    host::{Call, wait::Wait},
    verifier::Rule,
};

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirerundownprotectionex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireRundownProtectionEx(run_ref: *mut EX_RUNDOWN_REF, count: u32) -> u8 {
    let call = Call::enter_visible("ExAcquireRundownProtectionEx", run_ref);
    let state = call.run_ref(run_ref);
    let add = |state: usize| (state & ACTIVE == 0).then(|| state + ONE * count as usize);
    let added = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    u8::from(added.is_ok())
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleaserundownprotectionex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseRundownProtectionEx(run_ref: *mut EX_RUNDOWN_REF, count: u32) {
    let call = Call::enter_visible("ExReleaseRundownProtectionEx", run_ref);
    let state = call.run_ref(run_ref);
    let take = |state: usize| state.checked_sub(ONE * count as usize);
    let taken = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
    call.require(taken.is_ok(), Rule::Rundown, || {
        format!(
            "the run-down protection {run_ref:?} is released {count} times, which is more often than it was acquired"
        )
    });
    call.kernel.sleepers.wake(Wait::Object(run_ref.addr()));
    call.switch_after(call.routine(), run_ref);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exrundowncompleted)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExRundownCompleted(run_ref: *mut EX_RUNDOWN_REF) {
    let call = Call::enter_visible("ExRundownCompleted", run_ref);
    let before = call.run_ref(run_ref).swap(ACTIVE, Ordering::AcqRel);
    call.require(before == ACTIVE, Rule::Rundown, || {
        format!(
            "{run_ref:?} is marked as run down, and ExWaitForRundownProtectionRelease has not returned for it"
        )
    });
}
