//! Guarded regions, in which a thread gets no APC.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/critical-regions-and-guarded-regions)

use std::sync::atomic::Ordering;

use nt::DISPATCH_LEVEL;

use crate::{
    host::{Call, layout::Dispatcher},
    ke::mutex::MUTANT_OBJECT,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

impl Call {
    /// Returns whether the thread is in a guarded region.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guarded_regions.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn enter_guarded(&self) {
        self.guarded_regions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave_guarded(&self) {
        let depth = self.guarded_regions.fetch_sub(1, Ordering::Relaxed);
        self.require(depth != 0, Rule::GuardedRegions, || {
            let what = "a guarded region is left that was not entered";
            (BugCheck::verifier(0x4_000e, [0; 3]), what)
        });
    }

    /// Stops the system if a driver's routine returns to user mode, or a thread ends, and the thread is in a guarded region.
    pub(in crate::ke) fn require_no_guarded_region(&self, routine: &str) {
        self.require(!self.is_guarded(), Rule::GuardedRegions, || {
            let what = format!(
                "{routine} has returned in a guarded region, which KeLeaveGuardedRegion leaves"
            );
            (BugCheck::verifier(0x4_000e, [0; 3]), what)
        });
    }

    /// Returns whether the thread owns a mutex object, which disables its normal kernel APCs.
    fn owns_mutex(&self) -> bool {
        self.owned().into_iter().any(|mutex| {
            let mutex = std::ptr::with_exposed_provenance::<Dispatcher>(mutex);
            // SAFETY: the thread owns the object, which is a mutex or a fast mutex, whose first number is the count 1.
            let kind = unsafe { &(*mutex).kind };
            kind.load(Ordering::Relaxed) == MUTANT_OBJECT
        })
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keenterguardedregion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeEnterGuardedRegion() {
    let call = Call::enter_noted("KeEnterGuardedRegion").at_most(APC_LEVEL);
    call.enter_guarded();
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keleaveguardedregion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeLeaveGuardedRegion() {
    let call = Call::enter_noted("KeLeaveGuardedRegion").at_most(APC_LEVEL);
    call.leave_guarded();
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keareapcsdisabled)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAreApcsDisabled() -> u8 {
    let call = Call::enter_noted("KeAreApcsDisabled").at_most(DISPATCH_LEVEL);
    let is_critical = call.critical_regions.load(Ordering::Relaxed) != 0;
    u8::from(is_critical || call.is_guarded() || call.owns_mutex())
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keareallapcsdisabled)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAreAllApcsDisabled() -> u8 {
    let call = Call::enter_noted("KeAreAllApcsDisabled").at_most(DISPATCH_LEVEL);
    u8::from(call.is_guarded() || call.irql() >= APC_LEVEL)
}
