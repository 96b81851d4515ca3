//! The current processor.

use std::ffi::c_void;

use crate::host::Call;

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32 {
    // It is the thread's own, and changes only when the thread raises its IRQL.
    let call = Call::enter_noted("KeGetCurrentProcessorNumberEx");
    let processor = call.processor();
    if !number.is_null() {
        let [in_group, ..] = processor.to_le_bytes();
        // SAFETY: the caller passes NULL or room for a PROCESSOR_NUMBER: the group, the number in the group, a reserved
        // byte.
        unsafe { number.cast::<[u8; 4]>().write([0, 0, in_group, 0]) };
    }
    processor
}

/// All processors are active, and in group 0.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryactiveprocessorcountex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveProcessorCountEx(_group: u16) -> u32 {
    Call::enter_noted("KeQueryActiveProcessorCountEx")
        .kernel
        .config
        .processors
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryactiveprocessorcount)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveProcessorCount(active: *mut usize) -> u32 {
    let call = Call::enter_noted("KeQueryActiveProcessorCount");
    let count = call.kernel.config.processors;
    if !active.is_null() {
        call.require_room(active);
        // SAFETY: the caller passes NULL or room for a KAFFINITY.
        unsafe { active.write(usize::MAX >> (64 - count.clamp(1, 64))) };
    }
    count
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryMaximumProcessorCountEx(_group: u16) -> u32 {
    Call::enter_noted("KeQueryMaximumProcessorCountEx")
        .kernel
        .config
        .processors
}
