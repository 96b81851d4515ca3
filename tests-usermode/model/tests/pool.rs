//! Finds mistakes of a driver with memory: blocks of the pool, and objects in freed memory.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{addr_of_mut, null_mut},
};

use call::{broke, start_thread, wait};
use common::{MILLISECOND, delete, extension, found, initialise, passes, stops};
use nt::{
    DEVICE_OBJECT, KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY, KDPC, KEVENT, KSPIN_LOCK, KTIMER,
    LIST_ENTRY, POOL_FLAG_NON_PAGED, POOL_FLAG_PAGED,
};
use ntmodel::Rule;

const TAG: u32 = u32::from_le_bytes(*b"test");
const SIZE: usize = 100;

fn allocate(flags: u64) -> *mut c_void {
    nt!(ExAllocatePool2(flags, SIZE, TAG))
}

fn free(block: *mut c_void, tag: u32) {
    nt!(ExFreePoolWithTag(block, tag));
}

fn raise() -> u8 {
    nt!(KeRaiseIrqlToDpcLevel())
}

fn lower(irql: u8) {
    nt!(KeLowerIrql(irql));
}

/// A block's byte.
fn byte(block: *mut c_void, offset: usize) -> *mut u8 {
    block.cast::<u8>().wrapping_add(offset)
}

fn correct(device: *mut DEVICE_OBJECT) {
    for flags in [POOL_FLAG_NON_PAGED, POOL_FLAG_PAGED] {
        let block = allocate(flags);
        assert!(!block.is_null());
        // SAFETY: the block has this length.
        unsafe { byte(block, SIZE - 1).write(1) };
        free(block, TAG);
    }
    let irql = raise();
    free(allocate(POOL_FLAG_NON_PAGED), 0);
    lower(irql);
    delete(device);
}

#[test]
fn pool_blocks_are_allocated_and_freed() {
    passes(correct);
}

fn paged_high(_: *mut DEVICE_OBJECT) {
    raise();
    allocate(POOL_FLAG_PAGED);
}

fn paged_freed_high(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_PAGED);
    raise();
    free(block, TAG);
}

#[test]
fn paged_pool_is_for_apc_level_at_most() {
    let routine = "ExAllocatePool2";
    stops(paged_high, Rule::IrqlExAllocatePool, 0xc4, 1, routine);
    let routine = "ExFreePoolWithTag";
    stops(paged_freed_high, Rule::Pool, 0xc4, 0x11, routine);
}

fn freed_twice<const TAG: u32>(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    free(block, TAG);
    free(block, TAG);
}

fn never_allocated(_: *mut DEVICE_OBJECT) {
    free(std::ptr::without_provenance_mut(0x10_0000), TAG);
}

fn other_tag(_: *mut DEVICE_OBJECT) {
    free(allocate(POOL_FLAG_NON_PAGED), TAG + 1);
}

#[test]
fn a_block_is_freed_once_with_its_tag() {
    let routine = "ExFreePoolWithTag";
    stops(freed_twice::<TAG>, Rule::Pool, 0xc4, 0x13, routine);
    let routine = "ExFreePoolWithTag";
    stops(freed_twice::<0>, Rule::Pool, 0xc4, 0x13, routine);
    stops(never_allocated, Rule::Pool, 0xc4, 0x10, "ExFreePoolWithTag");
    stops(other_tag, Rule::Pool, 0xc4, 0x16, "ExFreePoolWithTag");
}

fn overrun(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    // SAFETY: the model has guard bytes there.
    unsafe { byte(block, SIZE).write(1) };
    free(block, TAG);
}

/// The block is too long for a special page.
fn long_overrun(_: *mut DEVICE_OBJECT) {
    let size = 0x2000;
    // SAFETY: a block may be allocated here.
    let block = unsafe { nt::ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG) };
    // SAFETY: the model has guard bytes there.
    unsafe { byte(block, size).write(1) };
    free(block, TAG);
}

#[test]
fn a_block_is_written_past_its_end() {
    stops(long_overrun, Rule::Pool, 0xc4, 0x51, "ExFreePoolWithTag");
    if cfg!(target_os = "linux") {
        let violation = found(overrun);
        let seen = (violation.rule, violation.code);
        // The block ends before the page does, so the write is seen when the block is freed.
        assert_eq!(seen, (Rule::Pool, 0xc1), "\n{violation}");
    }
}

fn written_after(device: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    free(block, TAG);
    // SAFETY: the model keeps the memory for a while.
    unsafe { byte(block, 50).write(1) };
    delete(device);
}

/// The block is used by a kernel routine.
fn used_after(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    let event: *mut KEVENT = block.cast();
    initialise(event);
    free(block, TAG);
    common::set(event);
}

/// The lock is in the extension of a deleted device object.
fn extension_used_after(device: *mut DEVICE_OBJECT) {
    let lock: *mut KSPIN_LOCK = extension(device).cast();
    nt!(KeInitializeSpinLock(lock));
    delete(device);
    nt!(KeAcquireSpinLockRaiseToDpc(lock));
}

#[test]
fn memory_is_used_after_it_was_freed() {
    let rule = Rule::FreedMemory;
    let written = found(written_after);
    broke(&written, rule, 0xd5, &[]);
    let used = found(used_after);
    let seen = (used.rule, used.code, used.routine);
    assert_eq!(seen, (rule, 0xd5, "KeSetEvent"), "\n{used}");
    let used = found(extension_used_after);
    let seen = (used.rule, used.code, used.routine);
    assert_eq!(seen, (rule, 0xd5, "KeAcquireSpinLock"), "\n{used}");
}

unsafe extern "C" fn routine(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

fn timer_freed(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    let timer: *mut KTIMER = block.cast();
    nt!(KeInitializeTimer(timer));
    nt!(KeSetTimer(timer, -10_000 * MILLISECOND, null_mut()));
    free(block, TAG);
}

/// The timer is in a block that Rust allocates.
fn boxed_timer_freed(_: *mut DEVICE_OBJECT) {
    let mut timer = Box::new(KTIMER { Reserved: [0; 8] });
    nt!(KeInitializeTimer(&raw mut *timer));
    nt!(KeSetTimer(
        &raw mut *timer,
        -10_000 * MILLISECOND,
        null_mut()
    ));
    drop(timer);
}

fn queued(dpc: *mut KDPC) {
    nt!(KeInitializeDpc(dpc, Some(routine), null_mut()));
    raise();
    nt!(KeInsertQueueDpc(dpc, null_mut(), null_mut()));
}

/// The timer is in the extension of a device object, which is deleted immediately or with the last reference.
fn extension_deleted<const REFERENCED: bool>(device: *mut DEVICE_OBJECT) {
    if REFERENCED {
        nt!(ObfReferenceObject(device.cast()));
    }
    let timer: *mut KTIMER = extension(device).cast();
    nt!(KeInitializeTimer(timer));
    nt!(KeSetTimer(timer, -10_000 * MILLISECOND, null_mut()));
    delete(device);
    nt!(ObfDereferenceObject(device.cast()));
}

fn dpc_freed(_: *mut DEVICE_OBJECT) {
    let block = allocate(POOL_FLAG_NON_PAGED);
    queued(block.cast());
    free(block, TAG);
}

#[test]
fn a_block_is_freed_with_a_timer_that_is_set_or_a_dpc_that_is_queued() {
    stops(timer_freed, Rule::Dpc, 0xc4, 0x15, "ExFreePoolWithTag");
    stops(boxed_timer_freed, Rule::Dpc, 0xc4, 0x15, "ExFreePool");
    let routine = "IoDeleteDevice";
    stops(extension_deleted::<false>, Rule::Dpc, 0xc4, 0x15, routine);
    let routine = "ObDereferenceObject";
    stops(extension_deleted::<true>, Rule::Dpc, 0xc4, 0x15, routine);
    stops(dpc_freed, Rule::Dpc, 0xc7, 1, "ExFreePoolWithTag");
}

fn dpc_again(_: *mut DEVICE_OBJECT) {
    let mut dpc = KDPC { Reserved: [0; 8] };
    queued(&raw mut dpc);
    nt!(KeInitializeDpc(&raw mut dpc, Some(routine), null_mut()));
}

fn queue_again(_: *mut DEVICE_OBJECT) {
    let mut queue = Box::new(KDEVICE_QUEUE { Reserved: [0; 5] });
    let queue = &raw mut *queue;
    let mut entry = KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] };
    nt!(KeInitializeDeviceQueue(queue));
    let irql = raise();
    nt!(KeInsertDeviceQueue(queue, addr_of_mut!(entry)));
    lower(irql);
    nt!(KeInitializeDeviceQueue(queue));
}

#[test]
fn object_in_use_is_initialised_again() {
    stops(dpc_again, Rule::Dpc, 0xc7, 1, "KeInitializeDpc");
    let rule = Rule::DeviceQueueBusy;
    stops(queue_again, rule, 0xc4, 0x1005, "KeInitializeDeviceQueue");
}

fn null_entry(_: *mut DEVICE_OBJECT) {
    let mut head = LIST_ENTRY {
        Flink: null_mut(),
        Blink: null_mut(),
    };
    let mut lock = 0;
    nt!(KeInitializeSpinLock(&raw mut lock));
    nt!(list::InitializeListHead(&raw mut head));
    nt!(ExInterlockedInsertTailList(
        &raw mut head,
        null_mut(),
        &raw mut lock
    ));
}

#[test]
fn a_null_entry_is_inserted() {
    let routine = "ExInterlockedInsertTailList";
    stops(null_entry, Rule::Pointer, 0x50, 0, routine);
}

unsafe extern "C" fn waits(event: *mut c_void) {
    wait(event);
}

/// A thread that still waits when the driver is unloaded.
fn thread_outlives(device: *mut DEVICE_OBJECT) {
    let event: *mut KEVENT = Box::into_raw(Box::new([0_u64; 3])).cast();
    initialise(event);
    nt!(ZwClose(start_thread(waits, event)));
    delete(device);
}

#[test]
fn a_thread_outlives_its_driver() {
    stops(thread_outlives, Rule::SystemThread, 0xce, 0, "DriverEntry");
}
