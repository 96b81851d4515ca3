//! The macro and the functions with which the tests' drivers call the kernel, and the check of what a driver breaks.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    ffi::c_void,
    ptr::{NonNull, from_ref, null_mut},
};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, GUID, HANDLE, IO_REMOVE_LOCK, IO_STATUS_BLOCK,
    IO_WORKITEM, IRP, KDPC, KEVENT, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Rule, Violation};

/// Calls a routine of `nt`. In a report, the caller is the line that contains the macro.
#[collapse_debuginfo(yes)]
macro_rules! nt {
    ($($routine:ident)::+($($argument:expr),* $(,)?)) => {
        // SAFETY: the objects are the test's or the model's, and the model keeps their memory. It checks the other
        // obligations of the caller, and stops at the first that a test breaks.
        unsafe { nt::$($routine)::+($($argument),*) }
    };
}

/// The class of a device interface, or a provider.
pub static CLASS: GUID = GUID {
    Data1: 1,
    Data2: 2,
    Data3: 3,
    Data4: [4; 8],
};

pub const NO_STRING: UNICODE_STRING = UNICODE_STRING {
    Length: 0,
    MaximumLength: 0,
    Buffer: null_mut(),
};

/// The status block of a request that has not ended.
pub const BLOCK: IO_STATUS_BLOCK = IO_STATUS_BLOCK {
    Status: nt::STATUS_PENDING,
    Reserved: 0,
    Information: 0,
};

/// The attributes of an object that is opened (`InitializeObjectAttributes`).
pub fn attributes(root: HANDLE, name: *mut UNICODE_STRING, flags: u32) -> OBJECT_ATTRIBUTES {
    OBJECT_ATTRIBUTES {
        Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("it is small"),
        RootDirectory: root,
        ObjectName: name,
        Attributes: flags,
        SecurityDescriptor: null_mut(),
        SecurityQualityOfService: null_mut(),
    }
}

/// Lends a string to a routine.
pub fn with_string<R>(text: &str, routine: impl FnOnce(*mut UNICODE_STRING) -> R) -> R {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    let length = u16::try_from(2 * units.len()).expect("the string is short");
    let mut string = UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: units.as_mut_ptr(),
    };
    routine(&raw mut string)
}

/// Creates a device object without a name.
pub fn create_device(driver: *mut DRIVER_OBJECT, extension: u32) -> *mut DEVICE_OBJECT {
    let (none, kind, mut device) = (null_mut(), nt::FILE_DEVICE_UNKNOWN, null_mut());
    let status = nt!(IoCreateDevice(
        driver,
        extension,
        none,
        kind,
        0,
        0,
        &raw mut device
    ));
    assert_eq!(status, STATUS_SUCCESS);
    device
}

/// Creates a device object with a name.
pub fn create_named_device(
    driver: *mut DRIVER_OBJECT,
    extension: u32,
    name: &str,
    flags: u32,
    exclusive: u8,
) -> Result<*mut DEVICE_OBJECT, NTSTATUS> {
    let (kind, mut device) = (nt::FILE_DEVICE_UNKNOWN, null_mut());
    let status = with_string(name, |name| {
        nt!(IoCreateDevice(
            driver,
            extension,
            name,
            kind,
            flags,
            exclusive,
            &raw mut device
        ))
    });
    if status < 0 { Err(status) } else { Ok(device) }
}

/// Opens a device object by its name, with an access to its file object.
pub fn open_device(
    name: &str,
    access: u32,
) -> Result<(*mut FILE_OBJECT, *mut DEVICE_OBJECT), NTSTATUS> {
    let (mut file, mut device) = (null_mut(), null_mut());
    let status = with_string(name, |name| {
        nt!(IoGetDeviceObjectPointer(
            name,
            access,
            &raw mut file,
            &raw mut device
        ))
    });
    if status < 0 {
        Err(status)
    } else {
        Ok((file, device))
    }
}

/// Waits for an object without a timeout.
pub fn wait<T>(object: *mut T) -> NTSTATUS {
    nt!(KeWaitForSingleObject(object.cast(), 0, 0, 0, null_mut()))
}

/// Runs a routine, which is a function, with a context.
fn run<T, R: Fn(&T) + Copy>(context: *mut c_void) {
    const { assert!(size_of::<R>() == 0, "the routine captures a value") };
    // SAFETY: the test had a value of the type, which has no bytes and can be copied.
    let routine = unsafe { NonNull::<R>::dangling().read() };
    // SAFETY: a correct driver keeps the context until the routine has run, and the model detects the others.
    routine(unsafe { &*context.cast::<T>() });
}

/// Initialises a DPC whose routine gets a reference to its context.
pub fn initialise_dpc<T, R: Fn(&T) + Copy>(dpc: *mut KDPC, context: &T, _: R) {
    unsafe extern "C" fn dpc_routine<T, R: Fn(&T) + Copy>(
        _: *mut KDPC,
        context: *mut c_void,
        _: *mut c_void,
        _: *mut c_void,
    ) {
        run::<T, R>(context);
    }
    let (routine, context) = (dpc_routine::<T, R>, from_ref(context).cast_mut().cast());
    nt!(KeInitializeDpc(dpc, Some(routine), context));
}

/// Starts a thread of the driver; returns its handle.
pub fn start_thread(
    routine: unsafe extern "C" fn(*mut c_void),
    context: *const impl Sized,
) -> HANDLE {
    let (mut handle, attributes, context) = (null_mut(), null_mut(), context.cast_mut().cast());
    let (process, client, access) = (null_mut(), null_mut(), nt::THREAD_ALL_ACCESS);
    let routine = Some(routine);
    let status = nt!(PsCreateSystemThread(
        &raw mut handle,
        access,
        attributes,
        process,
        client,
        routine,
        context
    ));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

/// Starts a thread whose routine gets a reference to its context; returns its handle.
pub fn spawn<T, R: Fn(&T) + Copy>(context: &T, _: R) -> HANDLE {
    unsafe extern "C" fn thread<T, R: Fn(&T) + Copy>(context: *mut c_void) {
        run::<T, R>(context);
    }
    start_thread(thread::<T, R>, context)
}

/// Waits for the end of a thread, and closes its handle.
pub fn join_thread(handle: HANDLE) {
    let status = nt!(ZwWaitForSingleObject(handle, 0, null_mut()));
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!(nt!(ZwClose(handle)), STATUS_SUCCESS);
}

/// References the object of a handle.
pub fn referenced(handle: HANDLE) -> *mut c_void {
    let (mut object, any) = (null_mut(), null_mut());
    let (place, none) = (&raw mut object, null_mut());
    let status = nt!(ObReferenceObjectByHandle(handle, 0, any, 0, place, none));
    assert_eq!(status, STATUS_SUCCESS);
    object
}

/// Acquires a remove lock of a size.
pub fn acquire_remove_lock(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, size: u32) -> NTSTATUS {
    nt!(IoAcquireRemoveLockEx(lock, tag, c"".as_ptr(), 1, size))
}

/// Makes a request for an IOCTL without buffers, which the I/O manager frees.
pub fn build_io_control(
    code: u32,
    device: *mut DEVICE_OBJECT,
    event: *mut KEVENT,
    block: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    let none = null_mut();
    nt!(IoBuildDeviceIoControlRequest(
        code, device, none, 0, none, 0, 0, event, block
    ))
}

/// Queues a work item.
pub fn queue_work(
    item: *mut IO_WORKITEM,
    routine: unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut c_void),
    context: *mut c_void,
) {
    let queue = nt::DelayedWorkQueue;
    nt!(IoQueueWorkItem(item, Some(routine), queue, context));
}

/// Sets a completion routine, which is called for every status.
pub fn on_completion(
    irp: *mut IRP,
    routine: unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS,
    context: *mut c_void,
) {
    let routine = Some(routine);
    nt!(irp::IoSetCompletionRoutine(
        irp, routine, context, true, true, true
    ));
}

/// A completion routine that sets an event, and leaves the IRP to the driver.
pub unsafe extern "C" fn sets_event(
    _: *mut DEVICE_OBJECT,
    _: *mut IRP,
    event: *mut c_void,
) -> NTSTATUS {
    nt!(KeSetEvent(event.cast(), 0, 0));
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

/// Fills in the next stack location for an IOCTL without buffers.
pub fn fill_in(irp: *mut IRP, code: u32) {
    let parameters = nt::irp::IoControl {
        code,
        input_length: 0,
        output_length: 0,
    };
    let next = nt!(irp::IoGetNextIrpStackLocation(irp));
    nt!(set_io_control(next, nt::IRP_MJ_DEVICE_CONTROL, parameters));
}

/// Checks the rule that a driver has broken, the code of the bug check, and its first parameters.
#[track_caller]
pub fn broke(violation: &Violation, rule: Rule, code: u32, parameters: &[u64]) {
    let seen = (violation.rule, violation.code);
    assert_eq!(seen, (rule, code), "\n{violation}");
    assert!(
        violation.parameters.starts_with(parameters),
        "\n{violation}"
    );
}
