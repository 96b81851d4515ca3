//! System threads.

use std::{
    ffi::c_void,
    sync::{Arc, atomic::Ordering},
};

use nt::{HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::ps::exit;
use crate::{
    ex::EventObject,
    host::{Call, Kernel, thread::Thread, wait::Wait},
    verifier::{BugCheck, Rule},
};

const STATUS_INVALID_HANDLE: NTSTATUS = 0xc000_0008_u32.cast_signed();

fn wait_for_end(thread: &EventObject, call: &Call) {
    call.wait_for(Wait::Thread(thread.address()), || {
        thread.is_set().then_some(())
    });
}

fn end(thread: &EventObject, kernel: &Kernel) {
    kernel.ps().threads.fetch_sub(1, Ordering::SeqCst);
    thread.set();
    kernel.sleepers.wake(Wait::Thread(thread.address()));
}

impl Kernel {
    /// Returns the number of the driver's threads that have not ended.
    pub(crate) fn driver_threads(&self) -> usize {
        self.ps().threads.load(Ordering::SeqCst)
    }
}

/// The routine of a new thread and its context.
struct Start {
    routine: unsafe extern "C" fn(*mut c_void),
    context: *mut c_void,
}

// SAFETY: the driver passed the context for use by another thread.
unsafe impl Send for Start {}

impl Start {
    fn run(self) {
        let call = Call::enter("a system thread");
        self.call_routine(&call);
        call.require_returned("a system thread", 0);
        call.require_no_mutex("a system thread");
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn call_routine(mut self, call: &Call) {
        unsafe extern "sysv64" fn in_driver(start: *mut c_void) {
            // SAFETY: `exit::call` passes it on.
            let start = unsafe { &*start.cast::<Start>() };
            // SAFETY: the routine is called as the kernel calls it: at PASSIVE_LEVEL, once.
            unsafe { Call::in_driver(start.routine, (start.context,)) };
        }
        let start = (&raw mut self).cast();
        // SAFETY: the routine stays until the call has returned.
        unsafe { exit::call(call.exit.as_ptr(), in_driver, start) };
        call.exit.store(0, Ordering::Relaxed);
        Call::leave_driver();
    }

    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    fn call_routine(self, _: &Call) {
        // SAFETY: the routine is called as the kernel calls it: at PASSIVE_LEVEL, once.
        unsafe { Call::in_driver(self.routine, (self.context,)) };
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsCreateSystemThread(
    handle: *mut HANDLE,
    _access: u32,
    _attributes: *mut OBJECT_ATTRIBUTES,
    _process: HANDLE,
    _client: *mut c_void,
    routine: nt::PKSTART_ROUTINE,
    context: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter("PsCreateSystemThread");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let Some(routine) = routine else {
        return nt::STATUS_INVALID_PARAMETER;
    };
    let object = call.kernel.new_thread_object();
    let start = Start { routine, context };
    let theirs = Arc::clone(&object);
    call.kernel.ps().threads.fetch_add(1, Ordering::SeqCst);
    let name = format!("system thread of {}", call.name());
    Thread::new_system(&call.kernel, name).start(move |kernel| {
        start.run();
        end(&theirs, kernel);
    });
    call.require_room(handle);
    // SAFETY: the caller passes room for a handle.
    unsafe { handle.write(call.kernel.open_handle(object)) };
    STATUS_SUCCESS
}

/// It does not return to a system thread. On other hosts than Linux on x86-64 it does, and the code that follows it is part of the
/// thread's end.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsTerminateSystemThread(_status: NTSTATUS) -> NTSTATUS {
    let call = Call::enter("PsTerminateSystemThread");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    call.require_returned("a system thread", 0);
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        let place = call.exit.load(Ordering::Relaxed);
        if place != 0 {
            drop(call);
            // SAFETY: the call has not returned, since the thread is in the driver's routine. The driver's frames are left for
            // good, and the model has nothing in those between.
            unsafe { exit::leave(place) };
        }
    }
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwWaitForSingleObject(
    handle: HANDLE,
    _alertable: u8,
    _timeout: *mut i64,
) -> NTSTATUS {
    let call = Call::enter("ZwWaitForSingleObject");
    let irql = call.irql();
    call.require(irql == 0, Rule::Irql, || {
        let what = format!("the IRQL is {irql}, and must be PASSIVE_LEVEL");
        (BugCheck::verifier(0xe6, [0, irql.into(), 0]), what)
    });
    let Some(thread) = call.kernel.object_of::<EventObject>(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    wait_for_end(&thread, &call);
    STATUS_SUCCESS
}
