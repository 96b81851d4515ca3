//! The current thread, its process, and their numbers.

use std::{
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
};

use nt::{DISPATCH_LEVEL, HANDLE, KERNEL_MODE, UNICODE_STRING};

use crate::{
    ex::VERSION,
    host::{
        Call,
        process::{Process, SYSTEM, USER},
        thread::Thread,
    },
    verifier::Rule,
};

/// Returns the number of a thread. The numbers of threads and processes are multiples of four that do not coincide.
pub(super) fn thread_id(thread: &Thread) -> HANDLE {
    without_provenance_mut(0x1000 + 4 * thread.number as usize)
}

impl Call {
    /// Returns the process of the thread. A user-mode thread that serves no request of a file represents a thread of the system, such
    /// as one of the PnP manager.
    pub(crate) fn process(&self) -> Process {
        if self.serves_user_mode() {
            USER
        } else {
            SYSTEM
        }
    }

    fn serves_user_mode(&self) -> bool {
        let serving = self.serving.get();
        self.is_user() && serving.is_some_and(|serving| serving.is_of_file)
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetcurrentthread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetCurrentThread() -> *mut c_void {
    let call = Call::enter_noted("PsGetCurrentThread");
    without_provenance_mut(call.object())
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetcurrentprocess)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetCurrentProcess() -> *mut c_void {
    let call = Call::enter_noted("PsGetCurrentProcess");
    let attached = call.attached_to();
    attached.unwrap_or_else(|| call.process()).object()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetcurrentprocessid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetCurrentProcessId() -> HANDLE {
    let call = Call::enter_noted("PsGetCurrentProcessId");
    without_provenance_mut(call.process().id as usize)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetcurrentthreadid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetCurrentThreadId() -> HANDLE {
    thread_id(&Call::enter_noted("PsGetCurrentThreadId"))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exgetpreviousmode)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExGetPreviousMode() -> i8 {
    let call = Call::enter_noted("ExGetPreviousMode").at_most(DISPATCH_LEVEL);
    KERNEL_MODE + i8::from(call.serves_user_mode())
}

/// The system is not a checked build.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetversion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetVersion(
    major: *mut u32,
    minor: *mut u32,
    build: *mut u32,
    service_pack: *mut UNICODE_STRING,
) -> u8 {
    let call = Call::enter_noted("PsGetVersion");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    for (place, value) in [major, minor, build].into_iter().zip(VERSION) {
        if !place.is_null() {
            // SAFETY: the caller passes NULL or memory for a number.
            unsafe { place.write(value) };
        }
    }
    if !service_pack.is_null() {
        let empty = UNICODE_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: null_mut(),
        };
        // SAFETY: the caller passes NULL or a string.
        unsafe { service_pack.write(empty) };
    }
    0
}
