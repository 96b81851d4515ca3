//! Operations that Microsoft's pages permit: none is a violation.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};

use call::{broke, join_thread, queue_work, referenced, start_thread};
use common::{delete, event, extension, found_in, initialise, passes, scenario, set};
use nt::{DEVICE_OBJECT, DISPATCH_LEVEL, EX_SPIN_LOCK, KDPC, KEVENT, KLOCK_QUEUE_HANDLE, MDL};
use ntmodel::Rule;

const TAG: u32 = u32::from_le_bytes(*b"test");
const NONPAGED: u64 = nt::POOL_FLAG_NON_PAGED;
const HIGHER: u8 = DISPATCH_LEVEL + 1;

fn allocate<T>(size: usize) -> *mut T {
    let block = nt!(ExAllocatePool2(NONPAGED, size, TAG));
    assert!(!block.is_null());
    block.cast()
}

fn free<T>(block: *mut T) {
    nt!(ExFreePoolWithTag(block.cast(), TAG));
}

fn wait(object: *mut c_void) {
    assert_eq!(crate::call::wait(object), 0);
}

/// Starts a thread, and waits for its end.
fn run_thread(routine: unsafe extern "C" fn(*mut c_void), context: *mut c_void) {
    join_thread(start_thread(routine, context));
}

/// Ends the thread on its second step.
fn step(count: &AtomicI32) {
    if count.fetch_add(1, SeqCst) == 1 {
        nt!(PsTerminateSystemThread(nt::STATUS_SUCCESS));
    }
}

unsafe extern "C" fn works(count: *mut c_void) {
    // SAFETY: the test passes the count, and waits for this thread.
    let count = unsafe { &*count.cast::<AtomicI32>() };
    loop {
        step(count);
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-psterminatesystemthread>
#[test]
fn a_system_thread_ends_in_the_middle_of_its_routine() {
    passes(|device| {
        let count = AtomicI32::new(0);
        run_thread(works, (&raw const count).cast_mut().cast());
        assert_eq!(count.load(SeqCst), 2, "no step follows the end");
        let refused = nt!(PsTerminateSystemThread(nt::STATUS_SUCCESS));
        assert!(refused < 0, "the thread is not a system thread");
        delete(device);
    });
}

unsafe extern "C" fn ends_its_thread(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    nt!(PsTerminateSystemThread(nt::STATUS_SUCCESS));
}

/// A driver ends none of the threads of the system or of other drivers.
#[test]
fn a_worker_thread_is_not_ended() {
    let violation = found_in(scenario(|device| {
        let item = nt!(IoAllocateWorkItem(device));
        queue_work(item, ends_its_thread, null_mut());
    }));
    assert_eq!(violation.rule, Rule::SystemThread, "\n{violation}");
}

unsafe extern "C" fn sets(_: *mut KDPC, event: *mut c_void, _: *mut c_void, _: *mut c_void) {
    set(event.cast());
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertqueuedpc>: any level.
#[test]
fn a_dpc_is_queued_at_each_irql() {
    passes(|device| {
        let mut event: KEVENT = event();
        initialise(&raw mut event);
        let dpc: *mut KDPC = extension(device).cast();
        nt!(KeInitializeDpc(dpc, Some(sets), (&raw mut event).cast()));
        let irql = nt!(KfRaiseIrql(HIGHER));
        assert_eq!(nt!(KeInsertQueueDpc(dpc, null_mut(), null_mut())), 1);
        nt!(KeLowerIrql(irql));
        wait((&raw mut event).cast());
        delete(device);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ketrytoacquirespinlockatdpclevel>: `KeReleaseSpinLock`
/// releases it too, and the result is FALSE if the lock is held.
#[test]
fn spin_lock_of_an_attempt_is_released_by_both_routines() {
    passes(|device| {
        let lock = extension(device);
        nt!(KeInitializeSpinLock(lock));
        let irql = nt!(KeRaiseIrqlToDpcLevel());
        assert_eq!(nt!(KeTryToAcquireSpinLockAtDpcLevel(lock)), 1);
        assert_eq!(nt!(KeTryToAcquireSpinLockAtDpcLevel(lock)), 0);
        nt!(KeReleaseSpinLock(lock, DISPATCH_LEVEL));
        assert_eq!(nt!(KeTryToAcquireSpinLockAtDpcLevel(lock)), 1);
        nt!(KeReleaseSpinLockFromDpcLevel(lock));
        nt!(KeLowerIrql(irql));
        delete(device);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireinstackqueuedspinlockatdpclevel>
#[test]
fn a_queued_spin_lock_is_acquired_above_dispatch_level() {
    passes(|device| {
        let lock = extension(device);
        nt!(KeInitializeSpinLock(lock));
        let mut handle = KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        let irql = nt!(KfRaiseIrql(HIGHER));
        let handle = &raw mut handle;
        nt!(KeAcquireInStackQueuedSpinLockAtDpcLevel(lock, handle));
        nt!(KeReleaseInStackQueuedSpinLockFromDpcLevel(handle));
        nt!(KeLowerIrql(irql));
        delete(device);
    });
}

/// Acquires one lock, and then the other.
fn in_order([first, second]: [*mut EX_SPIN_LOCK; 2]) {
    let irql = nt!(ExAcquireSpinLockExclusive(first));
    nt!(ExAcquireSpinLockExclusiveAtDpcLevel(second));
    nt!(ExReleaseSpinLockExclusiveFromDpcLevel(second));
    nt!(ExReleaseSpinLockExclusive(first, irql));
}

#[test]
fn an_attempt_is_made_in_any_order_since_it_does_not_wait() {
    passes(|device| {
        let first: *mut EX_SPIN_LOCK = extension(device).cast();
        let second = first.wrapping_add(1);
        in_order([first, second]);
        let irql = nt!(ExAcquireSpinLockExclusive(second));
        assert_eq!(nt!(ExTryAcquireSpinLockExclusiveAtDpcLevel(first)), 1);
        nt!(ExReleaseSpinLockExclusiveFromDpcLevel(first));
        nt!(ExReleaseSpinLockExclusive(second, irql));
        delete(device);
    });
}

#[test]
fn order_of_locks_is_removed_with_their_memory() {
    passes(|device| {
        let fixed: *mut EX_SPIN_LOCK = extension(device).cast();
        let mut blocks: Vec<*mut EX_SPIN_LOCK> = Vec::new();
        // The host reuses the memory of a block after a while.
        for place in 0..2_000 {
            let lock = allocate(32);
            let order = if blocks.contains(&lock) {
                [lock, fixed]
            } else {
                [fixed, lock]
            };
            in_order(order);
            free(lock);
            blocks.push(lock);
            if place > 0 && order[0] == lock {
                break;
            }
        }
        delete(device);
    });
}

const LENGTH: u32 = 32;

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpagesspecifycache>
#[test]
fn pages_of_nonpaged_pool_are_mapped_for_user_mode() {
    passes(|device| {
        let block: *mut c_void = allocate(LENGTH as usize);
        let mdl = nt!(IoAllocateMdl(block, LENGTH, 0, 0, null_mut()));
        nt!(MmBuildMdlForNonPagedPool(mdl));
        let user = 1;
        let mapped = nt!(MmMapLockedPagesSpecifyCache(
            mdl,
            user,
            nt::MmCached,
            null_mut(),
            0,
            16
        ));
        assert!(!mapped.is_null());
        nt!(MmUnmapLockedPages(mapped, mdl));
        nt!(IoFreeMdl(mdl));
        free(block);
        delete(device);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpages>: the routine that `MmGetSystemAddressForMdl` calls
/// if the pages are not mapped.
#[test]
fn an_older_driver_maps_pages_for_itself() {
    passes(|device| {
        let block: *mut c_void = allocate(LENGTH as usize);
        let mdl = nt!(IoAllocateMdl(block, LENGTH, 0, 0, null_mut()));
        nt!(MmProbeAndLockPages(mdl, 0, 0));
        let mapped = nt!(MmMapLockedPages(mdl, 0));
        assert!(!mapped.is_null());
        nt!(MmUnmapLockedPages(mapped, mdl));
        nt!(MmUnlockPages(mdl));
        nt!(IoFreeMdl(mdl));
        free(block);
        delete(device);
    });
}

/// `MmInitializeMdl` fills in an MDL in the driver's memory:
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls>.
#[test]
fn an_mdl_is_made_in_nonpaged_memory_of_the_driver() {
    passes(|device| {
        let block: *mut c_void = allocate(LENGTH as usize);
        let size = size_of::<MDL>() + 2 * size_of::<usize>();
        let mdl: *mut MDL = allocate(size);
        let offset = block.addr() & 0xfff;
        let new = MDL {
            Next: null_mut(),
            Size: i16::try_from(size).expect("the size is small"),
            MdlFlags: 0,
            Reserved: 0,
            Process: null_mut(),
            MappedSystemVa: null_mut(),
            StartVa: block.wrapping_byte_sub(offset),
            ByteCount: LENGTH,
            ByteOffset: u32::try_from(offset).expect("it is in a page"),
        };
        // SAFETY: the block has room for it.
        unsafe { mdl.write(new) };
        nt!(MmBuildMdlForNonPagedPool(mdl));
        let priority = nt::NormalPagePriority;
        assert_eq!(nt!(MmGetSystemAddressForMdlSafe(mdl, priority)), block);
        free(mdl);
        free(block);
        delete(device);
    });
}

/// Drivers must set `BugCheckOnFailure` to FALSE:
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpagesspecifycache>.
#[test]
fn a_failure_to_map_must_not_stop_the_system() {
    let violation = common::found(|_| {
        let block: *mut c_void = allocate(LENGTH as usize);
        let mdl = nt!(IoAllocateMdl(block, LENGTH, 0, 0, null_mut()));
        nt!(MmProbeAndLockPages(mdl, 0, 0));
        let cached = nt::MmCached;
        nt!(MmMapLockedPagesSpecifyCache(
            mdl,
            0,
            cached,
            null_mut(),
            1,
            16
        ));
    });
    broke(&violation, Rule::Mdl, 0xc4, &[0x82]);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwwaitforsingleobject>
#[test]
fn a_wait_for_a_handle_ends_at_its_timeout() {
    passes(|device| {
        let mut event: KEVENT = event();
        initialise(&raw mut event);
        let handle = start_thread(waits, &raw mut event);
        let mut timeout = 0_i64;
        let ended = nt!(ZwWaitForSingleObject(handle, 0, &raw mut timeout));
        assert_eq!(ended, nt::STATUS_TIMEOUT);
        // The old priority is returned:
        // <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetprioritythread>.
        let thread = referenced(handle);
        nt!(KeSetPriorityThread(thread, 16));
        assert_eq!(nt!(KeSetPriorityThread(thread, 17)), 16);
        assert_eq!(nt!(KeSetPriorityThread(thread, 16)), 17);
        nt!(ObfDereferenceObject(thread));
        timeout = -common::MILLISECOND;
        let ended = nt!(ZwWaitForSingleObject(handle, 0, &raw mut timeout));
        assert_eq!(ended, nt::STATUS_TIMEOUT);
        set(&raw mut event);
        join_thread(handle);
        delete(device);
    });
}

unsafe extern "C" fn waits(event: *mut c_void) {
    wait(event);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasemutex>: a wait that is announced at `DISPATCH_LEVEL` has a
/// timeout of zero. <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwwaitforsingleobject>,
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-obopenobjectbypointer>,
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereadstatesemaphore>,
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetcurrentprocess>
#[test]
fn routines_are_called_at_the_highest_documented_irql() {
    passes(|device| {
        let mut event: KEVENT = event();
        initialise(&raw mut event);
        let thread = start_thread(waits, &raw mut event);
        let mut mutex = nt::KMUTEX { Reserved: [0; 7] };
        nt!(KeInitializeMutex(&raw mut mutex, 0));
        let mut semaphore = nt::KSEMAPHORE { Reserved: [0; 4] };
        nt!(KeInitializeSemaphore(&raw mut semaphore, 1, 1));
        let mut now = 0;
        let mut poll = |object| nt!(KeWaitForSingleObject(object, 0, 0, 0, &raw mut now));

        let irql = nt!(KeRaiseIrqlToDpcLevel());
        let mut timeout = 0;
        let ended = nt!(ZwWaitForSingleObject(thread, 0, &raw mut timeout));
        assert_eq!(ended, nt::STATUS_TIMEOUT);
        assert_eq!(poll((&raw mut mutex).cast()), nt::STATUS_SUCCESS);
        nt!(KeReleaseMutex(&raw mut mutex, 1));
        assert_eq!(poll((&raw mut semaphore).cast()), nt::STATUS_SUCCESS);
        nt!(KeLowerIrql(irql));

        let irql = nt!(KfRaiseIrql(1));
        let mut handle = null_mut();
        let opened = nt!(ObOpenObjectByPointer(
            device.cast(),
            nt::OBJ_KERNEL_HANDLE,
            null_mut(),
            0,
            null_mut(),
            0,
            &raw mut handle
        ));
        assert_eq!(opened, nt::STATUS_SUCCESS);
        nt!(KeLowerIrql(irql));
        nt!(ZwClose(handle));

        let irql = nt!(KfRaiseIrql(HIGHER));
        assert_eq!(nt!(KeReadStateSemaphore(&raw mut semaphore)), 0);
        assert!(!nt!(IoGetCurrentProcess()).is_null());
        assert!(!nt!(PsGetCurrentThread()).is_null());
        nt!(KeLowerIrql(irql));

        set(&raw mut event);
        join_thread(thread);
        delete(device);
    });
}
