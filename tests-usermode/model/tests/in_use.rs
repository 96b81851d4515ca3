//! Objects that are used while they must not be: entries on two lists, queues that hold entries, memory that Rust's allocator has
//! freed, and timers of an unloaded driver.

#[macro_use]
mod call;
mod body;
mod steps;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    mem::ManuallyDrop,
    ptr::null_mut,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use body::{found, passes, run, stops};
use call::{broke, queue_work, wait};
use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, FAST_MUTEX, IO_WORKITEM, KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY,
    KDPC, KEVENT, KMUTEX, KSPIN_LOCK, KTIMER, LIST_ENTRY,
};
use ntmodel::{Clock, Config, Kernel, OnViolation, Rule};
use steps::{Stage, Steps, breaks, holds};

fn entry() -> LIST_ENTRY {
    LIST_ENTRY {
        Flink: null_mut(),
        Blink: null_mut(),
    }
}

/// Inserts an entry into two lists, with or without removing it from the first one before.
fn inserts<const REMOVES: bool>() {
    let (mut one, mut two) = (entry(), entry());
    let mut entries = [entry(), entry()];
    let mut lock: KSPIN_LOCK = 0;
    let lock = &raw mut lock;
    // SAFETY, for every block here: the objects are this function's.
    nt!(KeInitializeSpinLock(lock));
    for head in [&raw mut one, &raw mut two] {
        nt!(list::InitializeListHead(head));
    }
    let [first, second] = entries.each_mut().map(|entry| &raw mut *entry);
    for entry in [first, second] {
        nt!(ExInterlockedInsertTailList(&raw mut one, entry, lock));
    }
    if REMOVES {
        nt!(ExInterlockedRemoveHeadList(&raw mut one, lock));
    }
    nt!(ExInterlockedInsertHeadList(&raw mut two, first, lock));
}

#[test]
fn entry_is_on_one_list() {
    let routine = "ExInterlockedInsertHeadList";
    let violation = stops(inserts::<false>, Rule::ListEntry, 0x139, 3, routine);
    assert!(violation.what.contains("on another list"), "\n{violation}");
    passes(inserts::<true>);
}

/// Initialises a device queue again, with an entry on it or after the entry was removed.
fn initialises<const EMPTIES: bool>() {
    let mut queue = Box::new(KDEVICE_QUEUE { Reserved: [0; 5] });
    let mut entries: [KDEVICE_QUEUE_ENTRY; 2] = [
        KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] },
        KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] },
    ];
    let queue = &raw mut *queue;
    nt!(KeInitializeDeviceQueue(queue));
    let irql = nt!(KfRaiseIrql(DISPATCH_LEVEL));
    for entry in &mut entries {
        nt!(KeInsertDeviceQueue(queue, entry));
    }
    for _ in 0..if EMPTIES { 2 } else { 0 } {
        nt!(KeRemoveDeviceQueue(queue));
    }
    nt!(KeLowerIrql(irql));
    nt!(KeInitializeDeviceQueue(queue));
}

#[test]
fn device_queue_with_entries_is_not_initialised_again() {
    let routine = "KeInitializeDeviceQueue";
    let body = initialises::<false>;
    stops(body, Rule::DeviceQueueBusy, 0xc4, 0x1005, routine);
    passes(initialises::<true>);
}

/// Leaves a device queue busy, with no entry.
fn leaves_busy(queue: *mut KDEVICE_QUEUE) {
    let mut entry = KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] };
    nt!(KeInitializeDeviceQueue(queue));
    let irql = nt!(KfRaiseIrql(DISPATCH_LEVEL));
    nt!(KeInsertDeviceQueue(queue, &raw mut entry));
    nt!(KeLowerIrql(irql));
}

/// On a stack the memory of a queue whose function has returned can belong to the next function's.
#[test]
fn device_queue_replaces_a_deleted_one() {
    passes(|| {
        let mut memory = KDEVICE_QUEUE { Reserved: [0; 5] };
        leaves_busy(&raw mut memory);
        leaves_busy(&raw mut memory);
    });
}

/// Writes to a box that it has freed, or frees it after that.
fn writes<const AFTER: bool>() {
    let mut value = ManuallyDrop::new(Box::new([0_u64; 4]));
    let second = (&raw mut **value).cast::<u64>().wrapping_add(1);
    if !AFTER {
        // SAFETY: the box is valid.
        unsafe { second.write_volatile(1) };
    }
    // SAFETY: it is dropped once.
    unsafe { ManuallyDrop::drop(&mut value) };
    if AFTER {
        // SAFETY: the write to freed memory is the violation that the test expects.
        unsafe { second.write_volatile(1) };
    }
}

#[test]
fn memory_that_rusts_allocator_has_freed_is_not_written_to() {
    let violation = found(writes::<true>);
    broke(&violation, Rule::FreedMemory, 0xd5, &[]);
    let text = violation.to_string();
    assert!(text.contains("byte 8 of a block of 32 bytes"), "\n{text}");
    passes(writes::<false>);
}

/// Waits for an event that is never set, while a periodic timer expires repeatedly.
fn waits() {
    let mut event = KEVENT { Header: [0; 3] };
    let mut timer = KTIMER { Reserved: [0; 8] };
    nt!(KeInitializeEvent(&raw mut event, 0, 0));
    nt!(KeInitializeTimer(&raw mut timer));
    let no_dpc: *mut KDPC = null_mut();
    nt!(KeSetTimerEx(&raw mut timer, -10_000, 1, no_dpc));
    wait(&raw mut event);
}

#[test]
fn periodic_timer_does_not_hide_a_hang() {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        on_violation: OnViolation::Halt,
        hang_after: Duration::from_millis(200),
        ..Config::default()
    });
    let (sender, receiver) = mpsc::channel::<()>();
    let kernel_clone = Arc::clone(&kernel);
    thread::spawn(move || {
        run(&kernel_clone, waits);
        drop(sender);
    });
    for _ in 0..600 {
        if kernel.violation().is_some() {
            break;
        }
        let ended = receiver.recv_timeout(Duration::from_millis(50));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it waits");
    }
    let violation = kernel.violation().expect("a hang is found");
    assert_eq!(violation.rule, Rule::Hang, "\n{violation}");
}

/// Queues a work item when its device is removed, which sets a timer of the driver, and may cancel it.
struct Leaves<const CANCELS: bool>;

struct Timed {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

// SAFETY: only the kernel's routines access the objects.
unsafe impl Sync for Timed {}

/// Like a driver's global variables, which are unmapped with its image.
static TIMED: Timed = Timed {
    timer: UnsafeCell::new(KTIMER { Reserved: [0; 8] }),
    dpc: UnsafeCell::new(KDPC { Reserved: [0; 8] }),
};

unsafe extern "C" fn expired(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

unsafe extern "C" fn leaves<const CANCELS: bool>(_: *mut DEVICE_OBJECT, item: *mut c_void) {
    nt!(KeSetTimer(TIMED.timer.get(), -10_000, TIMED.dpc.get()));
    if CANCELS {
        nt!(KeCancelTimer(TIMED.timer.get()));
        nt!(KeFlushQueuedDpcs());
    }
    nt!(IoFreeWorkItem(item.cast()));
}

impl<const CANCELS: bool> Steps for Leaves<CANCELS> {
    type Own = UnsafeCell<*mut IO_WORKITEM>;

    fn add(device: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(KeInitializeTimer(TIMED.timer.get()));
        nt!(KeInitializeDpc(TIMED.dpc.get(), Some(expired), null_mut()));
        let item = nt!(IoAllocateWorkItem(device));
        // SAFETY: no other code accesses the extension yet.
        unsafe { own.get().write(item) };
    }

    fn remove(own: &Self::Own) {
        // SAFETY: `add` has set it.
        let item = unsafe { *own.get() };
        queue_work(item, leaves::<CANCELS>, item.cast());
    }
}

fn unloads<const CANCELS: bool>(kernel: &Arc<Kernel>) {
    Stage::set::<Leaves<CANCELS>>(kernel).tear_down();
}

#[test]
fn work_item_that_runs_after_unload_leaves_no_timer() {
    let text = "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS";
    breaks(unloads::<false>, Rule::Dpc, text);
    holds(unloads::<true>);
}

fn block(size: usize) -> *mut c_void {
    nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, 1))
}

/// Frees a block of the pool with a mutex that the thread owns, or that it has released.
fn frees_mutex<const RELEASES: bool>() {
    let block = block(size_of::<KMUTEX>());
    nt!(KeInitializeMutex(block.cast(), 0));
    wait(block);
    if RELEASES {
        nt!(KeReleaseMutex(block.cast(), 0));
    }
    nt!(ExFreePoolWithTag(block, 1));
}

fn frees_fast_mutex<const RELEASES: bool>() {
    let block = block(size_of::<FAST_MUTEX>());
    nt!(ExInitializeFastMutex(block.cast()));
    nt!(ExAcquireFastMutex(block.cast()));
    if RELEASES {
        nt!(ExReleaseFastMutex(block.cast()));
    }
    nt!(ExFreePoolWithTag(block, 1));
}

fn frees_guarded_mutex<const RELEASES: bool>() {
    let block = block(size_of::<FAST_MUTEX>());
    nt!(KeInitializeGuardedMutex(block.cast()));
    nt!(KeAcquireGuardedMutex(block.cast()));
    if RELEASES {
        nt!(KeReleaseGuardedMutex(block.cast()));
    }
    nt!(ExFreePoolWithTag(block, 1));
}

#[test]
fn mutex_is_released_before_its_memory_is_freed() {
    for (body, kind) in [
        (frees_mutex::<false> as fn(), "the mutex"),
        (frees_fast_mutex::<false>, "the fast mutex"),
        (frees_guarded_mutex::<false>, "the guarded mutex"),
    ] {
        let violation = stops(body, Rule::Mutex, 0xc4, 0x1005, "ExFreePoolWithTag");
        assert!(violation.what.contains(kind), "\n{violation}");
    }
    passes(frees_mutex::<true>);
    passes(frees_fast_mutex::<true>);
    passes(frees_guarded_mutex::<true>);
}

/// Frees a block whose pages an MDL has locked, or unlocked.
fn frees_pages<const UNLOCKS: bool>() {
    let block = block(64);
    let mdl = nt!(IoAllocateMdl(block, 64, 0, 0, null_mut()));
    nt!(MmProbeAndLockPages(mdl, nt::KERNEL_MODE, nt::IoReadAccess));
    if UNLOCKS {
        nt!(MmUnlockPages(mdl));
    }
    nt!(ExFreePoolWithTag(block, 1));
    nt!(IoFreeMdl(mdl));
}

/// Uses an MDL that was built for a block that is freed, or frees the block later.
fn uses_mdl<const FREES_FIRST: bool>() {
    let block = block(64);
    let mdl = nt!(IoAllocateMdl(block, 64, 0, 0, null_mut()));
    nt!(MmBuildMdlForNonPagedPool(mdl));
    if FREES_FIRST {
        nt!(ExFreePoolWithTag(block, 1));
    }
    let part = nt!(IoAllocateMdl(block, 64, 0, 0, null_mut()));
    nt!(IoBuildPartialMdl(mdl, part, block, 32));
    if !FREES_FIRST {
        nt!(ExFreePoolWithTag(block, 1));
    }
    nt!(IoFreeMdl(part));
    nt!(IoFreeMdl(mdl));
}

#[test]
fn memory_of_an_mdl_is_freed_when_it_is_not_in_use() {
    let routine = "ExFreePoolWithTag";
    let violation = stops(frees_pages::<false>, Rule::Mdl, 0, 0, routine);
    assert!(violation.what.contains("has locked"), "\n{violation}");
    let violation = stops(uses_mdl::<true>, Rule::Mdl, 0, 0, "IoBuildPartialMdl");
    assert!(violation.what.contains("was freed"), "\n{violation}");
    passes(frees_pages::<true>);
    passes(uses_mdl::<false>);
}
