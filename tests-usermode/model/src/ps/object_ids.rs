//! The numbers of threads and processes, by their objects.

use std::{ffi::c_void, ptr::without_provenance_mut, sync::Arc};

use nt::HANDLE;

use super::{SYSTEM, USER, identity::thread_id};
use crate::{
    host::{Call, thread::Thread},
    verifier::{BugCheck, Rule},
};

/// The process of the system threads, whose address drivers import.
#[repr(transparent)]
struct SystemProcess(*mut c_void);

// SAFETY: the pointer never changes, and no thread reads through it.
unsafe impl Sync for SystemProcess {}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
static PsInitialSystemProcess: SystemProcess = SystemProcess(SYSTEM.object());

impl Call {
    fn bad_object(&self, object: *mut c_void, kind: &str) -> ! {
        let bug_check = BugCheck(0x50, [object.addr() as u64, 0, 0, 0]);
        let what = format!("{object:?} is not the object of a {kind}");
        self.stop(bug_check, Rule::Pointer, what)
    }

    fn thread_of(&self, object: *mut c_void) -> Arc<Thread> {
        let mut threads = self.kernel.all_threads().into_iter();
        let found = threads.find(|thread| thread.object() == object.addr());
        found.unwrap_or_else(|| self.bad_object(object, "thread"))
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetprocessid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetProcessId(process: *mut c_void) -> HANDLE {
    let call = Call::enter_noted("PsGetProcessId");
    let mut processes = [SYSTEM, USER].into_iter();
    match processes.find(|known| known.object() == process) {
        Some(known) => without_provenance_mut(known.id as usize),
        None => call.bad_object(process, "process"),
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetthreadid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetThreadId(thread: *mut c_void) -> HANDLE {
    let call = Call::enter("PsGetThreadId");
    thread_id(&call.thread_of(thread))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetthreadprocessid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsGetThreadProcessId(thread: *mut c_void) -> HANDLE {
    let call = Call::enter("PsGetThreadProcessId");
    let is_user = call.thread_of(thread).is_user();
    let process = if is_user { USER } else { SYSTEM };
    without_provenance_mut(process.id as usize)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-psissystemthread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsIsSystemThread(thread: *mut c_void) -> u8 {
    let call = Call::enter("PsIsSystemThread");
    u8::from(!call.thread_of(thread).is_user())
}
