//! Threaded DPCs. The model runs each as an ordinary DPC, as a system does in which threaded DPCs are disabled: at `DISPATCH_LEVEL`, so that
//! a violation of the restrictions of threaded DPCs is found. Windows also runs them at `PASSIVE_LEVEL`, for which a lock must be acquired
//! with `KeAcquireSpinLockForDpc`.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-threaded-dpcs)

use std::{ffi::c_void, sync::atomic::Ordering};

use nt::{KDPC, KSPIN_LOCK, PKDEFERRED_ROUTINE};

use crate::{
    host::{Call, layout::Dpc},
    verifier::Rule,
};

/// `ThreadedDpcObject` of the kernel's object types.
pub(in crate::ke) const THREADED_DPC_OBJECT: u8 = 0x1a;

impl Call {
    /// Stops the system if a threaded DPC calls a routine that needs `DISPATCH_LEVEL`.
    pub(in crate::ke) fn require_no_threaded_dpc(&self, lock: *mut KSPIN_LOCK) {
        let is_threaded = self.in_threaded_dpc.load(Ordering::Relaxed);
        self.require(!is_threaded, Rule::SpinLockDpc, || {
            format!(
                "{} is called for the lock {lock:?} in a threaded DPC, which can run at PASSIVE_LEVEL: call KeAcquireSpinLockForDpc",
                self.routine()
            )
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializethreadeddpc)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeThreadedDpc(
    dpc: *mut KDPC,
    routine: PKDEFERRED_ROUTINE,
    context: *mut c_void,
) {
    // SAFETY: the caller passes memory for a DPC.
    unsafe { nt::KeInitializeDpc(dpc, routine, context) };
    // SAFETY: as above, and the object was initialised.
    let object = unsafe { &*dpc.cast::<Dpc>() };
    object.kind.set(THREADED_DPC_OBJECT);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlockfordpc)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireSpinLockForDpc(lock: *mut KSPIN_LOCK) -> u8 {
    // SAFETY: the caller passes a lock.
    unsafe { nt::KeAcquireSpinLockRaiseToDpc(lock) }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlockfordpc)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSpinLockForDpc(lock: *mut KSPIN_LOCK, irql: u8) {
    // SAFETY: the caller holds the lock.
    unsafe { nt::KeReleaseSpinLock(lock, irql) };
}
