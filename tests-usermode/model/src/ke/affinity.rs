//! The affinity of the current thread, which is the set of processors that it may run on. All processors are in group 0.
//!
//! The affinity that a driver sets is the system affinity. Without one, a thread runs on any processor.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetsystemaffinitythreadex)

use std::sync::atomic::Ordering;

use nt::{DISPATCH_LEVEL, GROUP_AFFINITY};

use crate::{
    host::{Call, thread::Thread},
    verifier::Rule,
};

impl Call {
    /// Sets the system affinity of the thread, or the user affinity if it is zero.
    fn set_affinity(&self, mask: u64) {
        self.affinity.store(mask, Ordering::Relaxed);
        self.kernel.ke().any_affinity.store(true, Ordering::Relaxed);
        // At DISPATCH_LEVEL the thread changes its processor when the IRQL falls.
        if self.irql() < DISPATCH_LEVEL {
            self.move_to_affinity();
        }
    }

    /// Sets a system affinity, if each of its processors exists; returns the previous one.
    fn set_system_affinity(&self, group: u16, mask: usize) -> u64 {
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        let before = self.affinity.load(Ordering::Relaxed);
        let mask = mask as u64;
        if group == 0 && mask != 0 && mask & !self.kernel.active_processors() == 0 {
            self.set_affinity(mask);
        }
        before
    }

    fn revert_affinity(&self, group: u16, mask: usize) {
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        if group == 0 && mask as u64 & !self.kernel.active_processors() == 0 {
            self.set_affinity(mask as u64);
        }
    }

    /// Stops the system if a driver's routine returns to user mode with a system affinity.
    pub(crate) fn require_user_affinity(&self, routine: &str) {
        let mask = self.affinity.load(Ordering::Relaxed);
        self.require(mask == 0 || !self.is_user(), Rule::Affinity, || {
            format!(
                "{routine} has returned, and the user-mode thread has the system affinity {mask:#x}: call \
                 KeRevertToUserAffinityThreadEx"
            )
        });
    }
}

impl Thread {
    /// Moves a thread without a processor to one of its affinity.
    pub(in crate::ke) fn move_to_affinity(&self) {
        let mask = self.affinity.load(Ordering::Relaxed);
        if mask != 0 && mask >> self.processor() & 1 == 0 {
            self.set_processor(mask.trailing_zeros());
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kesetsystemaffinitythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetSystemAffinityThread(affinity: usize) {
    Call::enter_noted("KeSetSystemAffinityThread").set_system_affinity(0, affinity);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kereverttouseraffinitythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRevertToUserAffinityThread() {
    Call::enter_noted("KeRevertToUserAffinityThread").revert_affinity(0, 0);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetsystemaffinitythreadex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetSystemAffinityThreadEx(affinity: usize) -> usize {
    let call = Call::enter_noted("KeSetSystemAffinityThreadEx");
    let before = call.set_system_affinity(0, affinity);
    usize::try_from(before).unwrap_or_default()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereverttouseraffinitythreadex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRevertToUserAffinityThreadEx(affinity: usize) {
    Call::enter_noted("KeRevertToUserAffinityThreadEx").revert_affinity(0, affinity);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetsystemgroupaffinitythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetSystemGroupAffinityThread(
    affinity: *mut GROUP_AFFINITY,
    previous: *mut GROUP_AFFINITY,
) {
    let call = Call::enter_noted("KeSetSystemGroupAffinityThread");
    call.require_room(affinity);
    // SAFETY: the caller passes an affinity.
    let affinity = unsafe { affinity.read() };
    let before = call.set_system_affinity(affinity.Group, affinity.Mask);
    if !previous.is_null() {
        call.require_room(previous);
        let before = GROUP_AFFINITY {
            Mask: usize::try_from(before).unwrap_or_default(),
            ..GROUP_AFFINITY::default()
        };
        // SAFETY: the caller passes NULL or memory for an affinity.
        unsafe { previous.write(before) };
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereverttousergroupaffinitythread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRevertToUserGroupAffinityThread(previous: *mut GROUP_AFFINITY) {
    let call = Call::enter_noted("KeRevertToUserGroupAffinityThread");
    call.require_room(previous);
    // SAFETY: the caller passes the affinity that it got.
    let affinity = unsafe { previous.read() };
    call.revert_affinity(affinity.Group, affinity.Mask);
}
