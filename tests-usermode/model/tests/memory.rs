//! Invalid or freed memory: accesses by the driver itself, and pointers that it passes to a routine.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod body;
mod steps;

use std::{
    hint::black_box,
    ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use body::{found, stops};
use call::broke;
use nt::{DEVICE_OBJECT, IRP, KDPC, KEVENT, KTIMER, LIST_ENTRY, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Kernel, Rule};
use steps::{FIRST, Stage, Steps, breaks, complete, holds, one_request};

/// An address at which no host has memory for a program.
const NOWHERE: usize = 0x10_0008;

fn nowhere<T>() -> *mut T {
    without_provenance_mut(black_box(NOWHERE))
}

/// Reads from an address without memory.
fn read_nowhere() {
    // SAFETY: the address has no memory, and the model detects the access.
    black_box(unsafe { nowhere::<u64>().read_volatile() });
}

#[test]
fn a_read_at_an_invalid_address_stops_the_driver() {
    let violation = found(|| {
        let mut event = KEVENT { Header: [0; 3] };
        nt!(KeInitializeEvent(&raw mut event, 0, 0));
        read_nowhere();
        black_box(());
    });
    broke(&violation, Rule::Pointer, 0x50, &[NOWHERE as u64, 0]);
    assert_eq!(violation.routine, "KeInitializeEvent");
    let text = violation.to_string();
    assert!(
        text.contains("reads from 0x100008, where there is no memory"),
        "\n{text}"
    );
    assert!(
        text.contains("it has entered DriverEntry, KeInitializeEvent"),
        "\n{text}"
    );
    assert!(text.contains("memory::read_nowhere"), "\n{text}");
}

#[test]
fn a_write_at_an_invalid_address_at_dispatch_level_stops_the_driver() {
    let violation = found(|| {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        // SAFETY: the address has no memory, and the model detects the access.
        unsafe { nowhere::<u64>().write_volatile(1) };
        black_box(());
    });
    broke(&violation, Rule::Pointer, 0xd1, &[NOWHERE as u64, 2, 1]);
}

const TAG: u32 = u32::from_le_bytes(*b"tseT");

#[test]
fn a_pointer_from_a_freed_block_is_recognised() {
    let violation = found(|| {
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 32, TAG));
        let block = block.cast::<*mut u8>();
        // SAFETY: the block is long enough.
        unsafe { block.write(null_mut()) };
        nt!(ExFreePoolWithTag(block.cast(), TAG));
        // SAFETY: the model keeps freed memory for a while, and detects the access.
        let stale = unsafe { black_box(block).read_volatile() };
        // SAFETY: as above.
        black_box(unsafe { stale.read_volatile() });
        black_box(());
    });
    broke(&violation, Rule::FreedMemory, 0xd5, &[]);
}

#[test]
fn a_report_describes_the_invalid_pointer() {
    let violation = found(|| {
        let event = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 64, TAG));
        let event = event.cast::<KEVENT>();
        nt!(KeInitializeEvent(event, 0, 0));
        nt!(ExFreePoolWithTag(event.cast(), TAG));
        nt!(KeSetEvent(event, 0, 0));
        black_box(());
    });
    let broken = (violation.rule, violation.routine);
    assert_eq!(broken, (Rule::FreedMemory, "KeSetEvent"), "\n{violation}");
    let text = violation.to_string();
    assert!(
        text.contains("byte 0 of a block of 64 bytes of the pool, tag tseT, which"),
        "\n{text}"
    );
    assert!(text.contains("has freed"), "\n{text}");
}

/// Checks that a routine is stopped for its pointer.
macro_rules! is_no_object {
    ($($routine:literal: $call:expr;)*) => {
        $({
            let violation = found(|| {
                // SAFETY: the pointer is no object, and the model detects it.
                unsafe { $call };
                black_box(());
            });
            assert_eq!(violation.rule, Rule::Pointer, "\n{violation}");
            assert_eq!(violation.routine, $routine, "\n{violation}");
        })*
    };
}

static LOCK: AtomicUsize = AtomicUsize::new(0);

fn lock() -> *mut u64 {
    let lock = LOCK.as_ptr().cast();
    nt!(KeInitializeSpinLock(lock));
    lock
}

#[test]
fn routines_stop_the_system_for_a_pointer_to_no_object() {
    is_no_object! {
        "KeSetEvent": nt::KeSetEvent(null_mut(), 0, 0);
        "KeSetEvent": nt::KeSetEvent(nowhere(), 0, 0);
        "KeClearEvent": nt::KeClearEvent(nowhere());
        "KeInitializeEvent": nt::KeInitializeEvent(nowhere(), 0, 0);
        "KeWaitForSingleObject": nt::KeWaitForSingleObject(nowhere(), 0, 0, 0, null_mut());
        "KeInitializeTimer": nt::KeInitializeTimer(nowhere());
        "KeSetTimer": nt::KeSetTimer(nowhere::<KTIMER>(), -1, null_mut());
        "KeInitializeDpc": nt::KeInitializeDpc(nowhere(), None, null_mut());
        "KeInsertQueueDpc": nt::KeInsertQueueDpc(nowhere::<KDPC>(), null_mut(), null_mut());
        "KeInitializeSpinLock": nt::KeInitializeSpinLock(nowhere());
        "KeAcquireSpinLock": nt::KeAcquireSpinLockRaiseToDpc(nowhere());
        "ExInterlockedInsertTailList": nt::ExInterlockedInsertTailList(null_mut(), nowhere(), lock());
        "ExInterlockedInsertTailList": nt::ExInterlockedInsertTailList(list(), nowhere(), lock());
        "ExInterlockedInsertHeadList": nt::ExInterlockedInsertHeadList(list(), null_mut(), lock());
        "ExInterlockedRemoveHeadList": nt::ExInterlockedRemoveHeadList(list_to(nowhere()), lock());
        "ExInterlockedAddUlong": nt::ExInterlockedAddUlong(nowhere::<u32>().wrapping_byte_add(8), 1, lock());
        "IoCompleteRequest": nt::IofCompleteRequest(null_mut(), 0);
        "IoMarkIrpPending": nt::irp::IoMarkIrpPending(nowhere());
        "IoSetCancelRoutine": nt::irp::IoSetCancelRoutine(null_mut(), None);
        "IoDeleteDevice": nt::IoDeleteDevice(nowhere());
        "IoDetachDevice": nt::IoDetachDevice(null_mut());
        "IoAttachDeviceToDeviceStack": nt::IoAttachDeviceToDeviceStack(nowhere(), nowhere());
        "IoAcquireCancelSpinLock": nt::IoAcquireCancelSpinLock(null_mut());
        "IoInitializeRemoveLock": nt::IoInitializeRemoveLockEx(nowhere(), 0, 0, 0, 32);
    }
}

fn list() -> *mut LIST_ENTRY {
    let list = Box::leak(Box::new(LIST_ENTRY {
        Flink: null_mut(),
        Blink: null_mut(),
    }));
    nt!(list::InitializeListHead(list));
    list
}

/// A list whose first entry is at an address.
fn list_to(entry: *mut LIST_ENTRY) -> *mut LIST_ENTRY {
    let list = list();
    // SAFETY: the list stays.
    unsafe { (*list).Flink = entry };
    list
}

#[test]
fn an_inline_on_a_null_list_stops_the_driver() {
    let insert = || nt!(list::InsertTailList(null_mut(), list()));
    let violation = stops(insert, Rule::Pointer, 0x50, 8, "InsertTailList");
    assert!(violation.what.contains("reads from 0x8"), "\n{violation}");
}

/// A driver that stores numbers in the memory of a list entry: some look like pointers, and one is a pointer to another object.
struct KeepsNumbers;

impl Steps for KeepsNumbers {
    type Own = AtomicUsize;

    fn control(_: *mut DEVICE_OBJECT, own: &AtomicUsize, irp: *mut IRP, _: u32) -> NTSTATUS {
        let numbers = [
            NOWHERE,
            0x7fff_0000_1000,
            usize::MAX & !7,
            own.as_ptr().addr(),
        ];
        let number = numbers[own.fetch_add(1, Relaxed) % numbers.len()];
        // SAFETY: the IRP is this routine's, and the entry its own.
        unsafe { (*nt::irp::list_entry(irp)).Flink = without_provenance_mut(number) };
        complete(irp, STATUS_SUCCESS)
    }
}

fn four_requests(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<KeepsNumbers>(kernel);
    for _ in 0..4 {
        let _ = stage.send(FIRST);
    }
    stage.tear_down();
}

#[test]
fn a_driver_may_keep_numbers_in_its_list_entry() {
    holds(four_requests);
}

/// A driver that uses its extension after its device object was deleted.
struct KeepsDevice;

static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Steps for KeepsDevice {
    type Own = u64;

    fn add(device: *mut DEVICE_OBJECT, _: &u64) {
        KEPT.store(device.expose_provenance(), Relaxed);
    }

    fn unload() {
        let device: *mut DEVICE_OBJECT = with_exposed_provenance_mut(KEPT.load(Relaxed));
        // SAFETY: the model keeps the memory of a deleted device object, and detects the access.
        let extension = unsafe { (*device).DeviceExtension };
        // SAFETY: as above.
        black_box(unsafe { extension.cast::<u8>().read_volatile() });
    }
}

#[test]
fn an_extension_of_a_deleted_device_is_not_used() {
    let text = "reads from an address that it has read from freed memory";
    breaks(one_request::<KeepsDevice>, Rule::FreedMemory, text);
}
