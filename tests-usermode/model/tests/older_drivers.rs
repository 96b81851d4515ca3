//! Operations of drivers for older kits that Microsoft's pages allow: none is a violation.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::{Arc, atomic::AtomicPtr, atomic::Ordering::SeqCst},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, DRIVER_OBJECT, IRP, KSPIN_LOCK, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
    irp as io,
};
use ntmodel::{Driver, Kernel};
use steps::{FIRST, Stage, Steps, complete, end_of, holds, lower, mark, one_request, skip};

const TAG: u32 = u32::from_le_bytes(*b"test");

/// A queue with a Cancel routine.
struct Queue {
    lock: UnsafeCell<KSPIN_LOCK>,
    head: UnsafeCell<LIST_ENTRY>,
}

impl Queue {
    /// Queues a request. Another thread can see it when the lock is released.
    fn insert<S: Steps>(&self, irp: *mut IRP, marks_later: bool) -> NTSTATUS {
        if !marks_later {
            mark(irp);
        }
        let old = nt!(KeAcquireSpinLockRaiseToDpc(self.lock.get()));
        nt!(list::InsertTailList(self.head.get(), io::list_entry(irp)));
        if marks_later {
            mark(irp);
        }
        nt!(irp::IoSetCancelRoutine(irp, Some(steps::cancel::<S>)));
        let cancelled = nt!(irp::is_cancel_requested(irp));
        let is_own = cancelled && nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
        if is_own {
            nt!(list::RemoveEntryList(io::list_entry(irp)));
        }
        nt!(KeReleaseSpinLock(self.lock.get(), old));
        if is_own {
            complete(irp, STATUS_CANCELLED);
        }
        STATUS_PENDING
    }
}

struct Queues<const MARKS_LATER: bool>;

impl<const MARKS_LATER: bool> Steps for Queues<MARKS_LATER> {
    type Own = Queue;

    fn add(_: *mut DEVICE_OBJECT, own: &Queue) {
        nt!(KeInitializeSpinLock(own.lock.get()));
        nt!(list::InitializeListHead(own.head.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Queue, irp: *mut IRP, _: u32) -> NTSTATUS {
        own.insert::<Self>(irp, MARKS_LATER)
    }

    /// Releases the cancel spin lock, but stays at `DISPATCH_LEVEL` for the lock of the queue.
    fn cancel(own: &Queue, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(DISPATCH_LEVEL));
        nt!(KeAcquireSpinLockAtDpcLevel(own.lock.get()));
        nt!(list::RemoveEntryList(io::list_entry(irp)));
        nt!(KeReleaseSpinLockFromDpcLevel(own.lock.get()));
        nt!(KeLowerIrql(irql));
        complete(irp, STATUS_CANCELLED);
    }
}

/// Cancels a request while another thread sends it, or afterwards.
fn cancels<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<S>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        file.cancel_all();
    });
    let sent = stage.send(FIRST);
    other.join();
    stage.file.cancel_all();
    assert_eq!(end_of(&sent), STATUS_CANCELLED);
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/28144-cancelirql-should-be-current-irql>: no specific routine
/// restores the IRQL.
#[test]
fn a_cancel_routine_stays_at_dispatch_level_when_it_releases_the_cancel_spin_lock() {
    holds(cancels::<Queues<false>>);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-markingqueuedirps>: the rule is about an IRP that is marked after
/// the lock was released.
#[test]
fn an_irp_is_marked_pending_on_its_queue_while_the_lock_of_the_queue_is_held() {
    holds(cancels::<Queues<true>>);
}

/// `DEVICE_CAPABILITIES`
#[repr(C)]
struct Capabilities {
    size: u16,
    version: u16,
    flags: u32,
    address: u32,
    ui_number: u32,
    device_state: [u32; 7],
    others: [u32; 5],
}

/// Reads the capabilities of its device.
struct Asks;

unsafe extern "C" fn keeps(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

impl Steps for Asks {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let mut capabilities = Capabilities {
            size: 64,
            version: 1,
            flags: 0,
            address: u32::MAX,
            ui_number: u32::MAX,
            device_state: [0; 7],
            others: [0; 5],
        };
        let own = nt!(IoAllocateIrp(2, 0));
        nt!(irp::set_status(own, STATUS_NOT_SUPPORTED));
        let next = nt!(IoGetNextIrpStackLocation(own));
        // SAFETY: the IRP was made here, and has two stack locations.
        let next = unsafe { &mut *next };
        next.MajorFunction = 0x1b;
        next.MinorFunction = nt::IRP_MN_QUERY_CAPABILITIES;
        let parameter = (&raw mut next.Parameters).cast::<*mut Capabilities>();
        // SAFETY: the parameters start with the pointer.
        unsafe { parameter.write(&raw mut capabilities) };
        nt!(irp::IoSetCompletionRoutine(
            own,
            Some(keeps),
            null_mut(),
            true,
            true,
            true
        ));
        let status = nt!(IofCallDriver(lower::<Self>(device), own));
        assert_eq!(status, STATUS_SUCCESS);
        nt!(IoFreeIrp(own));
        // PowerDeviceD0 for PowerSystemWorking, and PowerDeviceD3 for the sleeping states.
        assert_eq!(capabilities.device_state[1..], [1, 4, 4, 4, 4, 4]);
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/devicestate>: the bus driver sets these values.
#[test]
fn the_capabilities_say_the_device_state_of_each_system_state() {
    holds(one_request::<Asks>);
}

/// Its block is in the driver extension until it is unloaded.
unsafe extern "C" fn keeps_memory(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let mut extension = null_mut();
    let size = u32::try_from(size_of::<*mut c_void>()).expect("it is small");
    let key = without_provenance_mut(1);
    let status = nt!(IoAllocateDriverObjectExtension(
        driver,
        key,
        size,
        &raw mut extension
    ));
    assert_eq!(status, STATUS_SUCCESS);
    let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 16, TAG));
    // SAFETY: the extension has room for the pointer.
    unsafe { extension.cast::<*mut c_void>().write(block) };
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).DriverUnload = Some(frees_memory) };
    STATUS_SUCCESS
}

unsafe extern "C" fn frees_memory(driver: *mut DRIVER_OBJECT) {
    let key = without_provenance_mut(1);
    let extension = nt!(IoGetDriverObjectExtension(driver, key)).cast::<*mut c_void>();
    // SAFETY: the entry point has written it.
    let block = unsafe { extension.read() };
    nt!(ExFreePoolWithTag(block, TAG));
}

unsafe extern "C" fn does_nothing(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn leaks(driver: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager passes both.
    let status = unsafe { keeps_memory(driver, path) };
    // SAFETY: as above.
    unsafe { (*driver).DriverUnload = Some(does_nothing) };
    status
}

fn load(kernel: &Arc<Kernel>, entry: ntmodel::DriverEntry) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry) }.expect("DriverEntry succeeds")
}

#[test]
fn one_of_two_drivers_is_unloaded() {
    for order in [[0, 1], [1, 0]] {
        holds(match order {
            [0, _] => |kernel| {
                let [first, second] = [(); 2].map(|()| load(kernel, keeps_memory));
                first.unload();
                second.unload();
            },
            _ => |kernel| {
                let [first, second] = [(); 2].map(|()| load(kernel, keeps_memory));
                second.unload();
                first.unload();
            },
        });
    }
}

#[test]
fn a_driver_whose_entry_point_fails_is_loaded_while_another_is_loaded() {
    unsafe extern "C" fn fails(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
        STATUS_CANCELLED
    }
    holds(|kernel| {
        let first = load(kernel, keeps_memory);
        common::load(kernel, fails);
        first.unload();
    });
}

#[test]
fn the_memory_that_one_of_two_drivers_has_not_freed_is_found_when_the_other_is_unloaded_too() {
    let violation = common::found_in(|kernel| {
        let [first, second] = [leaks, keeps_memory].map(|entry| load(kernel, entry));
        first.unload();
        second.unload();
    });
    assert_eq!((violation.code, violation.parameters[0]), (0xc4, 0x62));
}

/// A filter of the bus, which answers queries of the PnP manager in its memory.
struct AnswersQueries;

/// `DEVICE_RELATIONS`
#[repr(C)]
struct Relations {
    count: u32,
    objects: [*mut DEVICE_OBJECT; 1],
}

impl Steps for AnswersQueries {
    type Own = AtomicPtr<DEVICE_OBJECT>;

    fn add(device: *mut DEVICE_OBJECT, own: &Self::Own) {
        own.store(device, SeqCst);
    }

    fn control(_: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        if QUERIES.contains(&nt!(irp::minor_function(irp))) {
            let block = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, 16, TAG));
            if nt!(irp::minor_function(irp)) == 7 {
                let child = own.load(SeqCst);
                nt!(ObfReferenceObject(child.cast()));
                let relations = Relations {
                    count: 1,
                    objects: [child],
                };
                // SAFETY: the block is as long.
                unsafe { block.cast::<Relations>().write(relations) };
            }
            nt!(irp::set_status(irp, STATUS_SUCCESS));
            nt!(irp::set_information(irp, block.expose_provenance()));
        }
        skip(lower::<Self>(device), irp)
    }
}

/// `IRP_MN_QUERY_DEVICE_RELATIONS`, `IRP_MN_QUERY_RESOURCES`, `IRP_MN_QUERY_RESOURCE_REQUIREMENTS`, `IRP_MN_QUERY_DEVICE_TEXT`,
/// `IRP_MN_FILTER_RESOURCE_REQUIREMENTS`, `IRP_MN_QUERY_ID` and `IRP_MN_QUERY_BUS_INFORMATION`.
const QUERIES: [u8; 7] = [0x7, 0xa, 0xb, 0xc, 0xd, 0x13, 0x15];

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-device-relations>: the PnP manager frees the structure
/// and dereferences the device objects.
#[test]
fn the_pnp_manager_frees_the_answers_of_its_queries() {
    holds(|kernel| {
        let stage = Stage::set::<AnswersQueries>(kernel);
        for minor in QUERIES {
            assert_eq!(stage.device.pnp(minor), STATUS_SUCCESS, "{minor:#x}");
        }
        stage.tear_down();
    });
}
