//! Log files, numbers from a bitmap, and routines that the system calls at an event.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, EventCategoryDeviceInterfaceChange, FAST_MUTEX, HANDLE,
    IO_STATUS_BLOCK, IRP, KMUTEX, NTSTATUS, RTL_BITMAP, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Driver, Kernel};

use crate::{
    call::{CLASS, attributes, wait, with_string},
    frame::{CORRECT, allocate, free},
    steps::{Steps, complete, entry, lower, one_request as one, skip, two_requests as two},
};

const WRITES_UNDER_FAST_MUTEX: u8 = 1;
const KEEPS_FILE_AFTER_ERROR: u8 = 2;

/// A driver that appends a line to a log file for each request.
struct Logs<const M: u8>;

fn open_log() -> Result<HANDLE, NTSTATUS> {
    let mut handle = null_mut();
    // SAFETY: zero is valid for every field.
    let mut block = unsafe { std::mem::zeroed::<IO_STATUS_BLOCK>() };
    let status = with_string(r"\??\C:\log.txt", |name| {
        let mut attributes = attributes(null_mut(), name, nt::OBJ_KERNEL_HANDLE);
        let (access, open_if, synchronous) = (0x10_0004, 3, 0x20);
        nt!(ZwCreateFile(
            &raw mut handle,
            access,
            &raw mut attributes,
            &raw mut block,
            null_mut(),
            0,
            0,
            open_if,
            synchronous,
            null_mut(),
            0
        ))
    });
    if status < 0 { Err(status) } else { Ok(handle) }
}

fn append(log: HANDLE, offset: i64) -> NTSTATUS {
    // SAFETY: zero is valid for every field.
    let mut block = unsafe { std::mem::zeroed::<IO_STATUS_BLOCK>() };
    let (mut line, mut offset, none) = (*b"request", offset, null_mut());
    nt!(ZwWriteFile(
        log,
        none,
        none,
        none,
        &raw mut block,
        line.as_mut_ptr().cast(),
        7,
        &raw mut offset,
        null_mut()
    ))
}

impl<const M: u8> Steps for Logs<M> {
    type Own = UnsafeCell<FAST_MUTEX>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(ExInitializeFastMutex(own.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let log = match open_log() {
            Ok(log) => log,
            Err(status) => return complete(irp, status),
        };
        // -1 is the end of the file, and -3 is no offset.
        let offset = if M == KEEPS_FILE_AFTER_ERROR { -3 } else { -1 };
        let status = if M == WRITES_UNDER_FAST_MUTEX {
            // It raises the IRQL to APC_LEVEL.
            nt!(ExAcquireFastMutex(own.get()));
            let status = append(log, offset);
            nt!(ExReleaseFastMutex(own.get()));
            status
        } else {
            nt!(KeEnterCriticalRegion());
            nt!(ExAcquireFastMutexUnsafe(own.get()));
            let status = append(log, offset);
            nt!(ExReleaseFastMutexUnsafe(own.get()));
            nt!(KeLeaveCriticalRegion());
            status
        };
        if status < 0 {
            return complete(irp, status);
        }
        nt!(ZwClose(log));
        complete(irp, STATUS_SUCCESS)
    }
}

const NO_LOCK: u8 = 1;

/// A driver that gives each request a number from a bitmap, and keeps a block for each number.
struct Numbers<const M: u8>;

struct Own {
    map: UnsafeCell<RTL_BITMAP>,
    words: UnsafeCell<u32>,
    mutex: UnsafeCell<KMUTEX>,
    blocks: [AtomicPtr<u64>; 2],
}

impl<const M: u8> Numbers<M> {
    fn guarded<R>(own: &Own, change: impl FnOnce() -> R) -> R {
        if M == NO_LOCK {
            return change();
        }
        wait(own.mutex.get());
        let result = change();
        nt!(KeReleaseMutex(own.mutex.get(), 0));
        result
    }
}

impl<const M: u8> Steps for Numbers<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        let (map, words) = (own.map.get(), own.words.get());
        nt!(RtlInitializeBitMap(map, words, 2));
        nt!(RtlClearAllBits(map));
        nt!(KeInitializeMutex(own.mutex.get(), 0));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let map = own.map.get();
        let number = Self::guarded(own, || nt!(RtlFindClearBitsAndSet(map, 1, 0)));
        let block = &own.blocks[number as usize];
        block.store(allocate::<u64>(), SeqCst);
        // The request uses the pool while its block is allocated.
        free(allocate::<u64>());
        free(block.swap(null_mut(), SeqCst));
        Self::guarded(own, || nt!(RtlClearBits(map, number, 1)));
        complete(irp, STATUS_SUCCESS)
    }
}

const REMOVES_AFTER_LIST: u8 = 1;

/// A driver that records the last process in a block of the pool.
static LAST: [AtomicPtr<u64>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

unsafe extern "C" fn records<const M: u8>(_: HANDLE, _: HANDLE, create: u8) {
    if create != 0 {
        let before = LAST[usize::from(M)].swap(allocate::<u64>(), SeqCst);
        if !before.is_null() {
            free(before);
        }
    }
}

unsafe extern "C" fn stops_recording<const M: u8>(_: *mut DRIVER_OBJECT) {
    let forget = || {
        let last = LAST[usize::from(M)].swap(null_mut(), SeqCst);
        if !last.is_null() {
            free(last);
        }
    };
    if M == REMOVES_AFTER_LIST {
        forget();
    }
    nt!(PsSetCreateProcessNotifyRoutine(Some(records::<M>), 1));
    if M != REMOVES_AFTER_LIST {
        forget();
    }
}

unsafe extern "C" fn recorder<const M: u8>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    LAST[usize::from(M)].store(null_mut(), SeqCst);
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).DriverUnload = Some(stops_recording::<M>) };
    nt!(PsSetCreateProcessNotifyRoutine(Some(records::<M>), 0))
}

fn process_starts_as_it_unloads<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, recorder::<M>) }.expect("DriverEntry");
    let kernel_clone = Arc::clone(kernel);
    let other = kernel.actor("process", move || {
        let _ = kernel_clone.run_process();
    });
    driver.unload();
    other.join();
}

const UNREGISTERS_UNDER_MUTEX: u8 = 1;

/// A driver that is notified of device interfaces, and counts them under a mutex.
struct NotifiedOfInterfaces<const M: u8>;

struct Counted {
    mutex: UnsafeCell<KMUTEX>,
    name: UnsafeCell<UNICODE_STRING>,
    entry: AtomicPtr<c_void>,
}

unsafe extern "C" fn counts(_: *mut c_void, mutex: *mut c_void) -> NTSTATUS {
    wait(mutex);
    nt!(KeReleaseMutex(mutex.cast(), 0));
    STATUS_SUCCESS
}

impl<const M: u8> Steps for NotifiedOfInterfaces<M> {
    type Own = Counted;

    fn add(_: *mut DEVICE_OBJECT, own: &Counted) {
        nt!(KeInitializeMutex(own.mutex.get(), 0));
    }

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Counted, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        if is_pnp && nt!(irp::minor_function(irp)) == nt::IRP_MN_START_DEVICE {
            let mut class = CLASS;
            let (none, name) = (null_mut(), own.name.get());
            let pdo = lower::<Self>(device);
            nt!(IoRegisterDeviceInterface(pdo, &raw const class, none, name));
            // SAFETY: the device object is the driver's.
            let driver = unsafe { (*device).DriverObject };
            let mut entry = null_mut();
            nt!(IoRegisterPlugPlayNotification(
                EventCategoryDeviceInterfaceChange,
                0,
                (&raw mut class).cast(),
                driver,
                Some(counts),
                own.mutex.get().cast(),
                &raw mut entry
            ));
            own.entry.store(entry, SeqCst);
            nt!(IoSetDeviceInterfaceState(name, 1));
        }
        skip(lower::<Self>(device), irp)
    }

    fn remove(own: &Counted) {
        let mutex = own.mutex.get();
        wait(mutex);
        if M == UNREGISTERS_UNDER_MUTEX {
            nt!(IoUnregisterPlugPlayNotificationEx(own.entry.load(SeqCst)));
        }
        nt!(KeReleaseMutex(mutex, 0));
        if M != UNREGISTERS_UNDER_MUTEX {
            nt!(IoUnregisterPlugPlayNotificationEx(own.entry.load(SeqCst)));
        }
        nt!(IoSetDeviceInterfaceState(own.name.get(), 0));
        nt!(RtlFreeUnicodeString(own.name.get()));
    }
}

fn starts_and_is_removed<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: as above.
    let driver =
        unsafe { Driver::load(kernel, entry::<NotifiedOfInterfaces<M>>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    device.remove().expect("no file is open");
    driver.unload();
}

pairs! {
    log_is_written_under_a_fast_mutex:
        one::<Logs<WRITES_UNDER_FAST_MUTEX>>, one::<Logs<CORRECT>>, IrqlZwPassive, "ZwWriteFile";
    log_stays_open_after_an_error:
        one::<Logs<KEEPS_FILE_AFTER_ERROR>>, two::<Logs<CORRECT>>, Pool, "handles open";
    number_is_given_twice_without_a_lock:
        two::<Numbers<NO_LOCK>>, two::<Numbers<CORRECT>>, Pool, "";
    routine_is_removed_after_what_it_fills:
        process_starts_as_it_unloads::<REMOVES_AFTER_LIST>, process_starts_as_it_unloads::<CORRECT>, Pool, "";
    routine_waits_for_the_mutex_under_which_it_is_unregistered:
        starts_and_is_removed::<UNREGISTERS_UNDER_MUTEX>, starts_and_is_removed::<CORRECT>, Hang, "";
}
