//! Critical regions, in which a thread gets no normal kernel APC and is not suspended, and the priority of threads. The model
//! has neither: it checks that a region is left as often as it is entered.

use std::{ffi::c_void, sync::atomic::Ordering};

use crate::{
    host::Call,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `APC_INDEX_MISMATCH`
const APC_INDEX_MISMATCH: u32 = 1;

const APC_LEVEL: u8 = 1;

/// The priority of a thread whose priority was not set.
const PRIORITY: i32 = 8;

impl Call {
    /// Stops the system if the thread can get a normal kernel APC, or be suspended, although it acquires or releases a lock that
    /// others wait for. System threads are not suspended.
    pub(crate) fn require_no_apcs(&self, rule: Rule, object: usize) {
        let can_be_suspended = self.serving.get().is_some_and(|serving| serving.is_of_file);
        let depth = self.critical_regions.load(Ordering::Relaxed);
        let is_disabled = self.irql() >= APC_LEVEL || depth != 0 || self.is_guarded();
        self.require(is_disabled || !can_be_suspended, rule, || {
            format!(
                "the thread has not called KeEnterCriticalRegion, so that it can be suspended while it owns {object:#x}, for which \
                 other threads wait"
            )
        });
    }

    /// Stops the system if a driver's routine has returned in another number of critical regions than it was called in, or in a guarded
    /// region.
    pub(crate) fn require_regions(&self, before: u32, routine: &str) {
        self.require_no_guarded_region(routine);
        let depth = self.critical_regions.load(Ordering::Relaxed);
        self.require(depth == before, Rule::CriticalRegions, || {
            let what = format!(
                "{routine} was called in {before} critical regions and has returned in {depth}: KeLeaveCriticalRegion leaves one"
            );
            (BugCheck(APC_INDEX_MISMATCH, [0, 0, 0xffff, 0]), what)
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-keentercriticalregion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeEnterCriticalRegion() {
    let call = Call::enter_noted("KeEnterCriticalRegion");
    call.require_at_most(1, Rule::IrqlKeApcLte2, 0x2_0010);
    call.critical_regions.fetch_add(1, Ordering::Relaxed);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-keleavecriticalregion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeLeaveCriticalRegion() {
    let call = Call::enter_noted("KeLeaveCriticalRegion");
    call.require_at_most(1, Rule::IrqlKeApcLte2, 0x2_0010);
    let depth = call.critical_regions.fetch_sub(1, Ordering::Relaxed);
    call.require(depth != 0, Rule::CriticalRegions, || {
        let what = "a critical region is left that was not entered";
        (BugCheck(APC_INDEX_MISMATCH, [0, 0, 1, 0]), what)
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryprioritythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryPriorityThread(thread: *mut c_void) -> i32 {
    let call = Call::enter_noted("KeQueryPriorityThread").at_most(0);
    let priorities = locked(&call.kernel.ke().priorities);
    priorities.get(&thread.addr()).copied().unwrap_or(PRIORITY)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetprioritythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetPriorityThread(thread: *mut c_void, priority: i32) -> i32 {
    let call = Call::enter_noted("KeSetPriorityThread").at_most(0);
    let mut priorities = locked(&call.kernel.ke().priorities);
    priorities
        .insert(thread.addr(), priority)
        .unwrap_or(PRIORITY)
}
