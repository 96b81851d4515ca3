//! Routines that the system calls at an event, and the locks and data that they use.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, ERESOURCE, HANDLE, IRP, KMUTEX, NTSTATUS, STATUS_SUCCESS,
    UNICODE_STRING, interlocked::InterlockedExchangePointer,
};
use ntmodel::{Driver, Kernel};

use crate::{
    call::{attributes, wait, with_string},
    frame::{CORRECT, allocate, free},
    steps::{FIRST, Steps, complete, two_requests as two},
};

const UNREGISTERS_UNDER_MUTEX: u8 = 1;
const DELETES_RESOURCE_FIRST: u8 = 2;
/// The correct driver of the second pair, whose test runs beside that of the first.
const DELETES_RESOURCE_LAST: u8 = 3;

/// The locks of each driver, in blocks of the pool. Its process notify routine acquires them.
static MUTEX: [AtomicPtr<KMUTEX>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];
static RESOURCE: [AtomicPtr<ERESOURCE>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];

unsafe extern "C" fn process_notify<const M: u8>(_: HANDLE, _: HANDLE, _: u8) {
    let mutex = MUTEX[usize::from(M)].load(SeqCst);
    wait(mutex);
    nt!(KeReleaseMutex(mutex, 0));
    let resource = RESOURCE[usize::from(M)].load(SeqCst);
    nt!(KeEnterCriticalRegion());
    nt!(ExAcquireResourceSharedLite(resource, 1));
    nt!(ExReleaseResourceLite(resource));
    nt!(KeLeaveCriticalRegion());
}

unsafe extern "C" fn unloads<const M: u8>(_: *mut DRIVER_OBJECT) {
    let mutex = MUTEX[usize::from(M)].load(SeqCst);
    let resource = RESOURCE[usize::from(M)].load(SeqCst);
    let unregister = || {
        nt!(PsSetCreateProcessNotifyRoutine(
            Some(process_notify::<M>),
            1
        ))
    };
    // As in <https://github.com/sandboxie-plus/Sandboxie/pull/5329>.
    if M == DELETES_RESOURCE_FIRST {
        nt!(ExDeleteResourceLite(resource));
    }
    wait(mutex);
    if M == UNREGISTERS_UNDER_MUTEX {
        unregister();
    }
    nt!(KeReleaseMutex(mutex, 0));
    if M != UNREGISTERS_UNDER_MUTEX {
        unregister();
    }
    if M != DELETES_RESOURCE_FIRST {
        nt!(ExDeleteResourceLite(resource));
    }
    free(resource);
    free(mutex);
}

unsafe extern "C" fn registers<const M: u8>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let (mutex, resource) = (allocate::<KMUTEX>(), allocate::<ERESOURCE>());
    nt!(KeInitializeMutex(mutex, 0));
    nt!(ExInitializeResourceLite(resource));
    MUTEX[usize::from(M)].store(mutex, SeqCst);
    RESOURCE[usize::from(M)].store(resource, SeqCst);
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).DriverUnload = Some(unloads::<M>) };
    nt!(PsSetCreateProcessNotifyRoutine(
        Some(process_notify::<M>),
        0
    ))
}

fn process_starts_as_it_unloads<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, registers::<M>) }.expect("DriverEntry");
    let theirs = Arc::clone(kernel);
    let other = kernel.actor("process", move || {
        let _ = theirs.run_process();
    });
    driver.unload();
    other.join();
}

/// A driver with a callback object, that one request notifies and the other unregisters from.
struct Notified<const M: u8>;

struct Own {
    mutex: UnsafeCell<KMUTEX>,
    object: AtomicPtr<c_void>,
    registration: AtomicPtr<c_void>,
}

unsafe extern "C" fn notified(mutex: *mut c_void, _: *mut c_void, _: *mut c_void) {
    wait(mutex);
    nt!(KeReleaseMutex(mutex.cast(), 0));
}

impl Own {
    fn unregister<const M: u8>(&self) {
        let mutex = self.mutex.get();
        wait(mutex);
        let registration = InterlockedExchangePointer(&self.registration, null_mut());
        let unregister = || {
            if !registration.is_null() {
                nt!(ExUnregisterCallback(registration));
            }
        };
        if M == UNREGISTERS_UNDER_MUTEX {
            unregister();
        }
        nt!(KeReleaseMutex(mutex, 0));
        if M != UNREGISTERS_UNDER_MUTEX {
            unregister();
        }
    }
}

impl<const M: u8> Steps for Notified<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        nt!(KeInitializeMutex(own.mutex.get(), 0));
        let mut object = null_mut();
        let status = with_string(r"\Callback\Pairs", |name| {
            let mut attributes = attributes(null_mut(), name, nt::OBJ_CASE_INSENSITIVE);
            nt!(ExCreateCallback(&raw mut object, &raw mut attributes, 1, 1))
        });
        assert_eq!(status, STATUS_SUCCESS);
        own.object.store(object, SeqCst);
        let mutex = from_ref(&own.mutex).cast_mut().cast();
        let registration = nt!(ExRegisterCallback(object, Some(notified), mutex));
        own.registration.store(registration, SeqCst);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            let object = own.object.load(SeqCst);
            nt!(ExNotifyCallback(object, null_mut(), null_mut()));
        } else {
            own.unregister::<M>();
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Own) {
        own.unregister::<CORRECT>();
        nt!(ObfDereferenceObject(own.object.load(SeqCst)));
    }
}

pairs! {
    process_routine_waits_for_the_mutex_under_which_it_is_removed:
        process_starts_as_it_unloads::<UNREGISTERS_UNDER_MUTEX>, process_starts_as_it_unloads::<CORRECT>, Hang, "";
    process_routine_acquires_a_resource_that_was_deleted:
        process_starts_as_it_unloads::<DELETES_RESOURCE_FIRST>, process_starts_as_it_unloads::<DELETES_RESOURCE_LAST>, LockInitialisation, "was deleted";
    callback_waits_for_the_mutex_under_which_it_is_unregistered:
        two::<Notified<UNREGISTERS_UNDER_MUTEX>>, two::<Notified<CORRECT>>, IrpProcessingComplete, "";
}
