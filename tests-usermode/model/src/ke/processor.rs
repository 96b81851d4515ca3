//! The processors, all of which are active and in group 0, and the current one.

use std::{
    ffi::c_void,
    sync::atomic::{AtomicI8, Ordering},
};

use nt::{INVALID_PROCESSOR_INDEX, NTSTATUS, PROCESSOR_NUMBER};

use crate::host::{Call, Kernel};

/// The number of processors of the kernel that was made last, since all kernels of a program have one variable.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
static KeNumberProcessors: AtomicI8 = AtomicI8::new(1);

/// `ALL_PROCESSOR_GROUPS`
const ALL_GROUPS: u16 = u16::MAX;

/// Sets the variable that drivers read.
pub(in crate::ke) fn publish(count: u32) {
    let count = i8::try_from(count).unwrap_or(i8::MAX);
    KeNumberProcessors.store(count, Ordering::Relaxed);
}

impl Kernel {
    /// The number of processors.
    fn processors(&self) -> u32 {
        self.config.processors.clamp(1, 64)
    }

    /// Returns a bit for each processor.
    pub(in crate::ke) fn active_processors(&self) -> u64 {
        u64::MAX >> (64 - self.processors())
    }

    /// Returns the number of processors of a group, or of all groups.
    fn processors_of(&self, group: u16) -> u32 {
        if group == 0 || group == ALL_GROUPS {
            self.processors()
        } else {
            0
        }
    }

    fn affinity(&self) -> usize {
        usize::try_from(self.active_processors()).unwrap_or(usize::MAX)
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32 {
    // It is the thread's own, and changes only when the thread raises its IRQL.
    let call = Call::enter_noted("KeGetCurrentProcessorNumberEx");
    let processor = call.processor();
    if !number.is_null() {
        let [in_group, ..] = processor.to_le_bytes();
        // SAFETY: the caller passes NULL or memory for a PROCESSOR_NUMBER: the group, the number in the group, a reserved
        // byte.
        unsafe { number.cast::<[u8; 4]>().write([0, 0, in_group, 0]) };
    }
    processor
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryactiveprocessorcountex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveProcessorCountEx(group: u16) -> u32 {
    let call = Call::enter_noted("KeQueryActiveProcessorCountEx");
    call.kernel.processors_of(group)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryactiveprocessorcount)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveProcessorCount(active: *mut usize) -> u32 {
    let call = Call::enter_noted("KeQueryActiveProcessorCount");
    if !active.is_null() {
        call.require_room(active);
        // SAFETY: the caller passes NULL or memory for a KAFFINITY.
        unsafe { active.write(call.kernel.affinity()) };
    }
    call.kernel.processors()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerymaximumprocessorcountex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryMaximumProcessorCountEx(group: u16) -> u32 {
    let call = Call::enter_noted("KeQueryMaximumProcessorCountEx");
    call.kernel.processors_of(group)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerymaximumprocessorcount)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryMaximumProcessorCount() -> u32 {
    let call = Call::enter_noted("KeQueryMaximumProcessorCount");
    call.kernel.processors()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kequeryactiveprocessors)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveProcessors() -> usize {
    let call = Call::enter_noted("KeQueryActiveProcessors");
    call.kernel.affinity()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryactivegroupcount)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryActiveGroupCount() -> u16 {
    let _call = Call::enter_noted("KeQueryActiveGroupCount");
    1
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerymaximumgroupcount)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryMaximumGroupCount() -> u16 {
    let _call = Call::enter_noted("KeQueryMaximumGroupCount");
    1
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerygroupaffinity)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryGroupAffinity(group: u16) -> usize {
    let call = Call::enter_noted("KeQueryGroupAffinity");
    if group == 0 {
        call.kernel.affinity()
    } else {
        0
    }
}

/// The index of a processor is its number in group 0.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetprocessornumberfromindex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeGetProcessorNumberFromIndex(index: u32, number: *mut PROCESSOR_NUMBER) -> NTSTATUS {
    let call = Call::enter_noted("KeGetProcessorNumberFromIndex");
    call.require_room(number);
    let known = u8::try_from(index).ok();
    let Some(known) = known.filter(|_| index < call.kernel.processors()) else {
        return nt::STATUS_INVALID_PARAMETER;
    };
    let processor = PROCESSOR_NUMBER {
        Number: known,
        ..PROCESSOR_NUMBER::default()
    };
    // SAFETY: the caller passes memory for the number.
    unsafe { number.write(processor) };
    nt::STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetprocessorindexfromnumber)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeGetProcessorIndexFromNumber(number: *mut PROCESSOR_NUMBER) -> u32 {
    let call = Call::enter_noted("KeGetProcessorIndexFromNumber");
    call.require_room(number);
    // SAFETY: the caller passes a number.
    let processor = unsafe { number.read() };
    let index = u32::from(processor.Number);
    let exists = processor.Group == 0 && index < call.kernel.processors();
    if exists && processor.Reserved == 0 {
        index
    } else {
        INVALID_PROCESSOR_INDEX
    }
}
