//! System threads.

use std::{
    ffi::c_void,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
    STATUS_TIMEOUT,
};

use crate::{
    ex::EventObject,
    host::{
        Call, Kernel,
        footprint::{self, Access},
        thread::Thread,
        thread_exit::{self, Start},
        wait::Wait,
    },
    verifier::{BugCheck, Rule},
};

const STATUS_INVALID_HANDLE: NTSTATUS = 0xc000_0008_u32.cast_signed();

fn wait_for_end(thread: &EventObject, call: &Call) {
    call.wait_for(Wait::Thread(thread.address()), || {
        thread.is_set().then_some(())
    });
}

fn end(thread: &EventObject, kernel: &Kernel) {
    footprint::touch((&raw const kernel.ps().threads).addr(), Access::Commuting);
    kernel.ps().threads.fetch_sub(1, Ordering::SeqCst);
    thread.set();
    kernel.sleepers.wake(Wait::Thread(thread.address()));
    // A thread that waits for several objects.
    kernel.sleepers.wake(Wait::Object(thread.address()));
    Call::again("a system thread ends").event_closed(thread);
}

impl Kernel {
    /// Returns the number of the driver's threads that have not ended.
    pub(crate) fn driver_threads(&self) -> usize {
        footprint::touch((&raw const self.ps().threads).addr(), Access::Exclusive);
        self.ps().threads.load(Ordering::SeqCst)
    }
}

fn run(mut start: Start) {
    let call = Call::enter("a system thread");
    let run: unsafe extern "C" fn(*mut Start) = thread_exit::run;
    // SAFETY: the routine is called as the kernel calls it: at PASSIVE_LEVEL, once.
    unsafe { Call::in_driver(run, (&raw mut start,)) };
    call.require_returned("a system thread", 0);
    call.require_regions(0, "a system thread");
    call.require_no_mutex("a system thread");
    call.require_not_attached("a system thread");
    // The thread may have notified other threads of its end, and still runs code of the driver.
    call.switch_point("a system thread ends", 0);
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
    // The thread can end before this routine continues.
    let opened = call.kernel.open_handle(Arc::clone(&object) as _);
    call.kernel.ps().threads.fetch_add(1, Ordering::SeqCst);
    let name = format!("system thread of {}", call.name());
    Thread::new_system(&call.kernel, name).start(move |kernel| {
        run(start);
        end(&object, kernel);
    });
    call.require_room(handle);
    // SAFETY: the caller passes memory for a handle.
    unsafe { handle.write(opened) };
    call.switch_after(call.routine(), handle);
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-psterminatesystemthread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsTerminateSystemThread(_status: NTSTATUS) -> NTSTATUS {
    let call = Call::enter("PsTerminateSystemThread");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    let exit = call.exit.load(Ordering::Relaxed);
    let is_systems = exit.is_null() && call.is_system();
    call.require(
        !is_systems,
        Rule::SystemThread,
        || "a driver ends a thread that the system has made",
    );
    if exit.is_null() {
        return nt::STATUS_INVALID_PARAMETER;
    }
    let is_inner = call.frame.load(Ordering::Relaxed) < exit.addr();
    call.require(!is_inner, Rule::SystemThread, || {
        "a thread ends in a routine that the kernel has called in it, so that the kernel's call never returns"
    });
    drop(call);
    // SAFETY: the routine of the thread has called this routine, with no call of the kernel between them.
    unsafe { thread_exit::leave(exit) }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwWaitForSingleObject(handle: HANDLE, _alertable: u8, timeout: *mut i64) -> NTSTATUS {
    let call = Call::enter("ZwWaitForSingleObject");
    let irql = call.irql();
    // SAFETY: the caller passes NULL or a time.
    let timeout = unsafe { call.optional(timeout) };
    let polls = timeout == Some(0) && irql <= nt::DISPATCH_LEVEL;
    call.require(irql == 0 || polls, Rule::Irql, || {
        let what =
            format!("the IRQL is {irql}, and must be PASSIVE_LEVEL unless the timeout is zero");
        (BugCheck::verifier(0xe6, [0, irql.into(), 0]), what)
    });
    let Some(thread) = call.kernel.object_of::<EventObject>(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    let is_over = match timeout {
        None if thread.is_thread() => {
            wait_for_end(&thread, &call);
            true
        }
        None => {
            call.wait_for_object(thread.header());
            true
        }
        Some(0) if thread.is_thread() => thread.is_set(),
        Some(due) => call.wait_for_object_until(thread.header(), due),
    };
    if is_over {
        STATUS_SUCCESS
    } else {
        STATUS_TIMEOUT
    }
}
