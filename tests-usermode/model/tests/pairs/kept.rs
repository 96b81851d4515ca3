//! What a driver does not release.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, IRP, KEVENT, MDL, NTSTATUS, STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Driver, Kernel};

use crate::{
    call::{CLASS, fill_in, on_completion, sets_event, start_thread, wait},
    frame::{CORRECT, TAG, initialise_event},
    steps::{FIRST, SECOND, Steps, complete, lower, one_request as one},
};

const FAULTY: u8 = 1;

/// Waits for a thread, whose handle stays open in a faulty driver.
struct Threads<const M: u8>;

unsafe extern "C" fn ends(_: *mut c_void) {}

impl<const M: u8> Steps for Threads<M> {
    type Own = Cell<HANDLE>;

    fn add(_: *mut DEVICE_OBJECT, own: &Cell<HANDLE>) {
        own.set(start_thread(ends, own));
    }

    fn remove(own: &Cell<HANDLE>) {
        nt!(ZwWaitForSingleObject(own.get(), 0, null_mut()));
        if M == CORRECT {
            nt!(ZwClose(own.get()));
        }
    }
}

/// Registers a device interface, whose name is the driver's to free.
struct Registers<const M: u8>;

impl<const M: u8> Steps for Registers<M> {
    type Own = UnsafeCell<UNICODE_STRING>;

    fn control(
        device: *mut DEVICE_OBJECT,
        own: &UnsafeCell<UNICODE_STRING>,
        irp: *mut IRP,
        _: u32,
    ) -> NTSTATUS {
        let (none, pdo) = (null_mut(), lower::<Self>(device));
        let status = nt!(IoRegisterDeviceInterface(
            pdo,
            &raw const CLASS,
            none,
            own.get()
        ));
        assert_eq!(status, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &UnsafeCell<UNICODE_STRING>) {
        if M == CORRECT {
            nt!(RtlFreeUnicodeString(own.get()));
        }
    }
}

/// Describes a part of its memory for an IRP of its own, and frees the IRP with or without the MDL.
struct Describes<const M: u8>;

impl<const M: u8> Steps for Describes<M> {
    type Own = UnsafeCell<KEVENT>;

    fn control(
        device: *mut DEVICE_OBJECT,
        own: &UnsafeCell<KEVENT>,
        irp: *mut IRP,
        code: u32,
    ) -> NTSTATUS {
        if code != FIRST {
            return complete(irp, STATUS_SUCCESS);
        }
        initialise_event(own.get());
        // SAFETY: the device object is the driver's.
        let size = unsafe { (*device).StackSize };
        let sent = nt!(IoAllocateIrp(size, 0));
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 64, TAG));
        let mdl: *mut MDL = nt!(IoAllocateMdl(block, 64, 0, 0, sent));
        nt!(MmBuildMdlForNonPagedPool(mdl));
        fill_in(sent, SECOND);
        on_completion(sent, sets_event, own.get().cast());
        nt!(IofCallDriver(device, sent));
        wait(own.get());
        if M == CORRECT {
            nt!(IoFreeMdl(mdl));
        }
        nt!(IoFreeIrp(sent));
        nt!(ExFreePoolWithTag(block, TAG));
        complete(irp, STATUS_SUCCESS)
    }
}

unsafe extern "C" fn is_notified(_: HANDLE, _: HANDLE, _: u8) {}

/// Registers a routine, and then fails.
unsafe extern "C" fn fails<const M: u8>(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let routine: nt::PCREATE_PROCESS_NOTIFY_ROUTINE = Some(is_notified);
    nt!(PsSetCreateProcessNotifyRoutine(routine, 0));
    if M == CORRECT {
        nt!(PsSetCreateProcessNotifyRoutine(routine, 1));
    }
    STATUS_NOT_SUPPORTED
}

fn loads<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let loaded = unsafe { Driver::load(kernel, fails::<M>) };
    assert_eq!(loaded.err(), Some(STATUS_NOT_SUPPORTED));
}

pairs! {
    handle_of_a_thread_is_not_closed:
        one::<Threads<FAULTY>>, one::<Threads<CORRECT>>, Pool, "handles open";
    name_of_an_interface_is_not_freed:
        one::<Registers<FAULTY>>, one::<Registers<CORRECT>>, Pool, "not freed";
    mdl_of_an_irp_is_not_freed_with_it:
        one::<Describes<FAULTY>>, one::<Describes<CORRECT>>, Mdl, "MDL";
    entry_point_fails_and_leaves_a_routine_registered:
        loads::<FAULTY>, loads::<CORRECT>, Callback, "registered routines";
}
