//! Memory that is used for another kind of object when the first one is no longer needed: every kind after every other, in the
//! same memory, is allowed. An object ends as its page states, such as by
//! [`ExDeleteLookasideListEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exdeletelookasidelistex); most
//! objects need no routine.

#[macro_use]
mod call;
mod body;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
};

use body::{run, stops};
use call::acquire_remove_lock;
use nt::{
    KDEVICE_QUEUE_ENTRY, KDPC, KLOCK_QUEUE_HANDLE, KSPIN_LOCK, LIST_ENTRY, LOOKASIDE_LIST_EX,
    POOL_FLAG_NON_PAGED, SINGLE_LIST_ENTRY, SLIST_ENTRY, STATUS_SUCCESS,
};
use ntmodel::{Clock, Config, Kernel, Rule};

/// Memory for an object of any kind.
#[repr(C, align(16))]
struct Memory(UnsafeCell<[u64; 64]>);

impl Memory {
    fn at<T>(&self, offset: usize) -> *mut T {
        self.0.get().wrapping_byte_add(offset).cast()
    }
}

/// A function that makes an object in the memory, uses it, and ends it.
type Kind = fn(&Memory);

fn at_dispatch<R>(code: impl FnOnce() -> R) -> R {
    let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
    let result = code();
    nt!(KeLowerIrql(irql));
    result
}

fn wait(object: *mut c_void) {
    let status = crate::call::wait(object);
    assert_eq!(status, STATUS_SUCCESS);
}

fn lock() -> KSPIN_LOCK {
    let mut lock = 0;
    nt!(KeInitializeSpinLock(&raw mut lock));
    lock
}

fn spin_lock(memory: &Memory) {
    let lock = memory.at(0);
    nt!(KeInitializeSpinLock(lock));
    let irql = nt!(KeAcquireSpinLockRaiseToDpc(lock));
    nt!(KeReleaseSpinLock(lock, irql));
}

fn queued_spin_lock(memory: &Memory) {
    let lock = memory.at(0);
    nt!(KeInitializeSpinLock(lock));
    let mut handle = KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
    nt!(KeAcquireInStackQueuedSpinLock(lock, &raw mut handle));
    nt!(KeReleaseInStackQueuedSpinLock(&raw mut handle));
}

/// Two locks, acquired in an order that depends on the address of the memory's first one.
fn two_spin_locks<const FIRST: usize>(memory: &Memory) {
    let locks = [memory.at(8 * FIRST), memory.at(8 * (1 - FIRST))];
    for lock in locks {
        nt!(KeInitializeSpinLock(lock));
    }
    let irql = nt!(KeAcquireSpinLockRaiseToDpc(locks[0]));
    nt!(KeAcquireSpinLockAtDpcLevel(locks[1]));
    nt!(KeReleaseSpinLockFromDpcLevel(locks[1]));
    nt!(KeReleaseSpinLock(locks[0], irql));
}

fn reader_writer_lock(memory: &Memory) {
    let lock = memory.at::<i32>(0);
    // SAFETY: the memory is this function's.
    unsafe { lock.write(0) };
    let irql = nt!(ExAcquireSpinLockShared(lock));
    nt!(ExReleaseSpinLockShared(lock, irql));
}

fn event(memory: &Memory) {
    nt!(KeInitializeEvent(memory.at(0), 0, 0));
    nt!(KeSetEvent(memory.at(0), 0, 0));
    wait(memory.at(0));
}

fn semaphore(memory: &Memory) {
    nt!(KeInitializeSemaphore(memory.at(0), 1, 1));
    wait(memory.at(0));
}

fn mutex(memory: &Memory) {
    nt!(KeInitializeMutex(memory.at(0), 0));
    wait(memory.at(0));
    nt!(KeReleaseMutex(memory.at(0), 0));
}

fn fast_mutex(memory: &Memory) {
    nt!(ExInitializeFastMutex(memory.at(0)));
    nt!(ExAcquireFastMutex(memory.at(0)));
    nt!(ExReleaseFastMutex(memory.at(0)));
}

/// A timer that has expired.
fn timer(memory: &Memory) {
    nt!(KeInitializeTimer(memory.at(0)));
    nt!(KeSetTimer(memory.at(0), -10, null_mut()));
    wait(memory.at(0));
    // It is not set.
    nt!(KeInitializeTimer(memory.at(0)));
}

fn cancelled_timer(memory: &Memory) {
    nt!(KeInitializeTimerEx(memory.at(0), 1));
    nt!(KeSetTimerEx(memory.at(0), -100_000_000, 10, null_mut()));
    assert_eq!(nt!(KeCancelTimer(memory.at(0))), 1);
}

unsafe extern "C" fn runs(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

fn dpc(memory: &Memory) {
    nt!(KeInitializeDpc(memory.at(0), Some(runs), null_mut()));
    nt!(KeInsertQueueDpc(memory.at(0), null_mut(), null_mut()));
    nt!(KeFlushQueuedDpcs());
}

fn device_queue(memory: &Memory) {
    nt!(KeInitializeDeviceQueue(memory.at(0)));
    let entries = [memory.at::<KDEVICE_QUEUE_ENTRY>(64), memory.at(96)];
    at_dispatch(|| {
        for entry in entries {
            nt!(KeInsertDeviceQueue(memory.at(0), entry));
        }
        assert_eq!(nt!(KeRemoveDeviceQueue(memory.at(0))), entries[1]);
        assert!(nt!(KeRemoveDeviceQueue(memory.at(0))).is_null());
    });
}

fn list(memory: &Memory) {
    let (head, entry) = (memory.at(0), memory.at::<LIST_ENTRY>(16));
    nt!(list::InitializeListHead(head));
    nt!(list::InsertTailList(head, entry));
    nt!(list::RemoveEntryList(entry));
}

fn interlocked_list(memory: &Memory) {
    let mut lock = lock();
    let (head, entry, lock) = (memory.at(0), memory.at(16), &raw mut lock);
    nt!(list::InitializeListHead(head));
    nt!(ExInterlockedInsertTailList(head, entry, lock));
    assert_eq!(nt!(ExInterlockedRemoveHeadList(head, lock)), entry);
}

fn interlocked_single_list(memory: &Memory) {
    let mut lock = lock();
    let (head, entry, lock) = (
        memory.at::<SINGLE_LIST_ENTRY>(0),
        memory.at(16),
        &raw mut lock,
    );
    // SAFETY: the memory is this function's.
    unsafe { (*head).Next = null_mut() };
    nt!(ExInterlockedPushEntryList(head, entry, lock));
    assert_eq!(nt!(ExInterlockedPopEntryList(head, lock)), entry);
}

fn sequenced_list(memory: &Memory) {
    let entry = memory.at::<SLIST_ENTRY>(16);
    nt!(InitializeSListHead(memory.at(0)));
    nt!(ExpInterlockedPushEntrySList(memory.at(0), entry));
    assert_eq!(nt!(ExpInterlockedPopEntrySList(memory.at(0))), entry);
}

fn initialise_lookaside(list: *mut LOOKASIDE_LIST_EX) {
    let tag = u32::from_le_bytes(*b"esuR");
    let status = nt!(ExInitializeLookasideListEx(
        list, None, None, 0x200, 0, 32, tag, 0
    ));
    assert_eq!(status, STATUS_SUCCESS);
}

fn lookaside_list(memory: &Memory) {
    let list = memory.at(0);
    initialise_lookaside(list);
    let block = nt!(ExAllocateFromLookasideListEx(list));
    nt!(ExFreeToLookasideListEx(list, block));
    nt!(ExDeleteLookasideListEx(list));
}

fn zone(memory: &Memory) {
    let mut lock = lock();
    let (zone, segment, lock) = (
        memory.at::<nt::ZONE_HEADER>(0),
        memory.at(64),
        &raw mut lock,
    );
    assert_eq!(nt!(ExInitializeZone(zone, 16, segment, 80)), STATUS_SUCCESS);
    let block = nt!(ExInterlockedPopEntryList(zone.cast(), lock));
    nt!(ExInterlockedPushEntryList(zone.cast(), block, lock));
}

fn run_down_protection(memory: &Memory) {
    nt!(ExInitializeRundownProtection(memory.at(0)));
    assert_eq!(nt!(ExAcquireRundownProtection(memory.at(0))), 1);
    nt!(ExReleaseRundownProtection(memory.at(0)));
    nt!(ExWaitForRundownProtectionRelease(memory.at(0)));
}

fn remove_lock(memory: &Memory) {
    let tag = without_provenance_mut(8);
    nt!(IoInitializeRemoveLockEx(memory.at(0), 0, 0, 0, 32));
    acquire_remove_lock(memory.at(0), tag, 32);
    nt!(IoReleaseRemoveLockEx(memory.at(0), tag, 32));
}

fn irp(memory: &Memory) {
    nt!(IoInitializeIrp(memory.at(0), nt::IoSizeOfIrp(1), 1));
}

const KINDS: &[Kind] = &[
    spin_lock,
    queued_spin_lock,
    two_spin_locks::<0>,
    two_spin_locks::<1>,
    reader_writer_lock,
    event,
    semaphore,
    mutex,
    fast_mutex,
    timer,
    cancelled_timer,
    dpc,
    device_queue,
    list,
    interlocked_list,
    interlocked_single_list,
    sequenced_list,
    lookaside_list,
    zone,
    run_down_protection,
    irp,
];

fn use_for_every_kind(memory: &Memory) {
    for make_first in KINDS {
        for make_second in KINDS {
            make_first(memory);
            make_second(memory);
        }
    }
}

fn reuses_the_stack() {
    use_for_every_kind(&Memory(UnsafeCell::new([0; 64])));
}

fn reuses_a_block() {
    let tag = u32::from_le_bytes(*b"esuR");
    let size = size_of::<Memory>();
    let block = nt!(ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag));
    // SAFETY: the block is as long, aligned, and zeroed.
    use_for_every_kind(unsafe { &*block.cast::<Memory>() });
    nt!(ExFreePoolWithTag(block, tag));
}

/// Each object has a separate block, whose address is soon reused.
fn reuses_freed_blocks() {
    let tag = u32::from_le_bytes(*b"esuR");
    for _ in 0..20 {
        // Only freeing its memory ends a remove lock whose device stays.
        for make in KINDS.iter().chain(&[remove_lock as Kind]) {
            let block = nt!(ExAllocatePool2(
                POOL_FLAG_NON_PAGED,
                size_of::<Memory>(),
                tag
            ));
            // SAFETY: as above.
            make(unsafe { &*block.cast::<Memory>() });
            nt!(ExFreePoolWithTag(block, tag));
        }
    }
}

#[test]
fn memory_is_reused_for_every_kind_of_object() {
    for body in [reuses_the_stack, reuses_a_block, reuses_freed_blocks] {
        let kernel = Kernel::new(Config {
            clock: Clock::Virtual,
            ..Config::default()
        });
        run(&kernel, body);
    }
}

/// Uses a lookaside list that was deleted.
fn uses_deleted() {
    let memory = Memory(UnsafeCell::new([0; 64]));
    lookaside_list(&memory);
    nt!(ExAllocateFromLookasideListEx(memory.at(0)));
}

#[test]
fn deleted_lookaside_list_is_not_used() {
    let routine = "InterlockedPopEntrySList";
    stops(uses_deleted, Rule::Pool, 0, 0, routine);
}

/// Makes an event of a timer that is set.
fn makes_an_event_of_a_set_timer() {
    let memory = Memory(UnsafeCell::new([0; 64]));
    nt!(KeInitializeTimer(memory.at(0)));
    nt!(KeSetTimer(memory.at(0), -100_000_000, null_mut()));
    nt!(KeInitializeEvent(memory.at(0), 0, 0));
}

#[test]
fn memory_of_a_timer_that_is_set_is_not_reused() {
    let routine = "KeInitializeEvent";
    stops(makes_an_event_of_a_set_timer, Rule::Dpc, 0xc7, 0, routine);
}
