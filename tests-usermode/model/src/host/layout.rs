//! The kernel's structures as the model uses them, with the layouts of 64-bit Windows.

use std::{
    cell::Cell,
    ffi::c_void,
    mem::offset_of,
    sync::atomic::{AtomicI32, AtomicU8, AtomicU64, AtomicUsize},
};

/// `PAGE_SIZE`
pub(crate) const PAGE_SIZE: usize = 0x1000;

/// The byte with which freed memory is filled.
pub(crate) const FREED: u8 = 0xdd;

/// `LIST_ENTRY`
#[repr(C)]
pub(crate) struct ListEntry {
    pub(crate) next: Cell<*const ListEntry>,
    pub(crate) previous: Cell<*const ListEntry>,
}

/// `SINGLE_LIST_ENTRY`
#[repr(C)]
pub(crate) struct SingleListEntry {
    pub(crate) next: Cell<*const SingleListEntry>,
}

/// `ZONE_HEADER`
#[repr(C)]
pub(crate) struct Zone {
    pub(crate) free: SingleListEntry,
    pub(crate) segments: SingleListEntry,
    pub(crate) block_size: Cell<u32>,
    pub(crate) total_size: Cell<u32>,
}

/// `ZONE_SEGMENT_HEADER`
#[repr(C)]
pub(crate) struct ZoneSegment {
    pub(crate) link: SingleListEntry,
    pub(crate) reserved: Cell<*const c_void>,
}

/// `KDEVICE_QUEUE`
#[repr(C)]
pub(crate) struct DeviceQueue {
    pub(crate) kind: Cell<i16>,
    pub(crate) size: Cell<i16>,
    pub(crate) head: ListEntry,
    pub(crate) lock: AtomicU64,
    pub(crate) busy: Cell<u8>,
}

/// `KDEVICE_QUEUE_ENTRY`
#[repr(C)]
pub(crate) struct DeviceQueueEntry {
    pub(crate) link: ListEntry,
    pub(crate) key: Cell<u32>,
    pub(crate) inserted: u8,
}

/// `KDPC`
#[repr(C)]
pub(crate) struct Dpc {
    pub(crate) kind: Cell<u8>,
    pub(crate) importance: Cell<u8>,
    pub(crate) number: Cell<u16>,
    pub(crate) link: Cell<*const c_void>,
    pub(crate) history: Cell<usize>,
    pub(crate) routine: Cell<nt::PKDEFERRED_ROUTINE>,
    pub(crate) context: Cell<*mut c_void>,
    pub(crate) argument1: Cell<*mut c_void>,
    pub(crate) argument2: Cell<*mut c_void>,
    /// One more than the processor's number while the DPC is queued; else zero.
    pub(crate) queued_on: AtomicUsize,
}

/// `WORK_QUEUE_ITEM`
#[repr(C)]
pub(crate) struct WorkQueueItem {
    pub(crate) link: ListEntry,
    pub(crate) routine: Cell<Option<unsafe extern "C" fn(*mut c_void)>>,
    pub(crate) parameter: Cell<*mut c_void>,
}

/// `DISPATCHER_HEADER`
#[repr(C)]
pub(crate) struct Dispatcher {
    pub(crate) kind: AtomicU8,
    pub(crate) signal: AtomicI32,
    pub(crate) waiters: ListEntry,
}

/// `KTIMER`
#[repr(C)]
pub(crate) struct Timer {
    pub(crate) header: Dispatcher,
    pub(crate) due: Cell<u64>,
    pub(crate) link: ListEntry,
    pub(crate) dpc: Cell<*mut nt::KDPC>,
    pub(crate) processor: Cell<u32>,
    pub(crate) period: Cell<u32>,
}

/// `KMUTEX`
#[repr(C)]
pub(crate) struct Mutant {
    /// The signal state is 1 if the mutex is free, and decreases with each acquisition by its owner.
    pub(crate) header: Dispatcher,
    pub(crate) link: ListEntry,
    /// The number of the thread that owns the mutex; zero if it is free.
    pub(crate) owner: AtomicU64,
    /// Whether the mutex was acquired in a DPC. Windows stores this in `DpcActive` of the header, and has `Abandoned` and `ApcDisable` here.
    pub(crate) in_dpc: Cell<u64>,
}

/// `KSEMAPHORE`
#[repr(C)]
pub(crate) struct Semaphore {
    pub(crate) header: Dispatcher,
    pub(crate) limit: AtomicI32,
}

/// `IO_REMOVE_LOCK`
#[repr(C)]
pub(crate) struct RemoveLock {
    pub(crate) removed: AtomicU8,
    pub(crate) count: AtomicI32,
    pub(crate) event: Dispatcher,
}

/// `KLOCK_QUEUE_HANDLE`
#[repr(C)]
pub(crate) struct LockQueueHandle {
    pub(crate) next: Cell<*const c_void>,
    pub(crate) lock: Cell<*const AtomicU64>,
    pub(crate) old_irql: Cell<u8>,
}

/// `IRP.Tail.Overlay`
#[repr(C)]
pub(crate) struct TailOverlay {
    pub(crate) driver_context: [*mut c_void; 4],
    pub(crate) thread: *mut c_void,
    pub(crate) auxiliary_buffer: *mut c_void,
    pub(crate) list_entry: ListEntry,
    pub(crate) current_stack_location: *mut nt::IO_STACK_LOCATION,
    pub(crate) original_file_object: *mut nt::FILE_OBJECT,
}

/// `IO_STACK_LOCATION.Parameters.DeviceIoControl`
#[repr(C)]
pub(crate) struct DeviceIoControl {
    pub(crate) output_length: u64,
    pub(crate) input_length: u64,
    pub(crate) code: u64,
    pub(crate) type3_input: *mut c_void,
}

macro_rules! assert_layouts {
    ($($ours:ty = $theirs:ty { $($field:ident: $offset:expr),* $(,)? })*) => {
        $(
            const _: () = assert!(size_of::<$ours>() == size_of::<$theirs>());
            $(const _: () = assert!(offset_of!($ours, $field) == $offset);)*
        )*
    };
}

assert_layouts! {
    ListEntry = nt::LIST_ENTRY { next: 0, previous: 8 }
    SingleListEntry = nt::SINGLE_LIST_ENTRY { next: 0 }
    Zone = nt::ZONE_HEADER { free: 0, segments: 8, block_size: 0x10, total_size: 0x14 }
    ZoneSegment = nt::ZONE_SEGMENT_HEADER { link: 0, reserved: 8 }
    DeviceQueue = nt::KDEVICE_QUEUE { kind: 0, size: 2, head: 8, lock: 0x18, busy: 0x20 }
    DeviceQueueEntry = nt::KDEVICE_QUEUE_ENTRY { link: 0, key: 0x10, inserted: 0x14 }
    Dpc = nt::KDPC {
        kind: 0, importance: 1, number: 2, link: 8, history: 0x10, routine: 0x18, context: 0x20, argument1: 0x28,
        argument2: 0x30, queued_on: 0x38,
    }
    Dispatcher = nt::KEVENT { kind: 0, signal: 4, waiters: 8 }
    Timer = nt::KTIMER { header: 0, due: 0x18, link: 0x20, dpc: 0x30, processor: 0x38, period: 0x3c }
    Mutant = nt::KMUTEX { header: 0, link: 0x18, owner: 0x28, in_dpc: 0x30 }
    Semaphore = nt::KSEMAPHORE { header: 0, limit: 0x18 }
    RemoveLock = nt::IO_REMOVE_LOCK { removed: 0, count: 4, event: 8 }
    LockQueueHandle = nt::KLOCK_QUEUE_HANDLE { next: 0, lock: 8, old_irql: 0x10 }
    DeviceIoControl = [u64; 4] { output_length: 0, input_length: 8, code: 0x10, type3_input: 0x18 }
}

const _: () = assert!(size_of::<TailOverlay>() == 0x50);
const _: () = assert!(offset_of!(TailOverlay, list_entry) == 0x30);
const _: () = assert!(offset_of!(TailOverlay, current_stack_location) == 0x40);
