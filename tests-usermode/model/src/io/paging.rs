//! Pageable sections of an image that a driver locks in memory.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmlockpagabledatasection)

use std::ffi::c_void;

use crate::{host::Call, image, verifier::Rule};

const APC_LEVEL: u8 = 1;

impl Call {
    /// Locks the section of an address, or unlocks it. Only an image has sections; the code of another driver is never paged.
    fn lock_section(&self, address: *mut c_void, locks: bool) {
        self.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
        let is_done = image::lock_section(address.addr(), locks);
        self.require(is_done, Rule::PagedMemory, || {
            format!("the section of {address:?} is unlocked more often than it was locked")
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmLockPagableDataSection(address: *mut c_void) -> *mut c_void {
    let call = Call::enter_noted("MmLockPagableDataSection");
    call.lock_section(address, true);
    address
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmlockpagablesectionbyhandle)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmLockPagableSectionByHandle(section: *mut c_void) {
    Call::enter_noted("MmLockPagableSectionByHandle").lock_section(section, true);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmunlockpagableimagesection)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmUnlockPagableImageSection(section: *mut c_void) {
    Call::enter_noted("MmUnlockPagableImageSection").lock_section(section, false);
}

/// The model keeps the sections that are not pageable in memory, as Windows may.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmpageentiredriver)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmPageEntireDriver(address: *mut c_void) -> *mut c_void {
    let _call = Call::enter_noted("MmPageEntireDriver").at_most(APC_LEVEL);
    address
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmresetdriverpaging)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmResetDriverPaging(_address: *mut c_void) {
    let _call = Call::enter_noted("MmResetDriverPaging").at_most(APC_LEVEL);
}
