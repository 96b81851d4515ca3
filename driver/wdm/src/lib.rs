//! Safe wrappers over the NT kernel's spin locks, cancelable IRPs and interlocked queues, in which the
//! classic driver bugs do not compile.
//!
//! A driver on this crate is a [`Device`] and a line of [`driver_entry!`]. The rest follows from three
//! ideas:
//!
//! * **IRQL is a capability.** The kernel calls a driver at a known IRQL, and the routine gets a token
//!   that says so ([`irql`]). A spin lock borrows the token while it is held, and lends one that waits
//!   and completions do not accept.
//! * **An IRP is owned.** A dispatch routine gets an [`Irp`] and must return [`Handled`], which only
//!   completing or queueing that very IRP makes. So no IRP is forgotten, completed twice, or returned
//!   with a status that does not fit.
//! * **Cancellation is settled at the queue.** [`IrpQueue`] takes IRPs by value and gives them back by
//!   value, no longer cancelable. Whoever wins the exchange of the Cancel routine owns the IRP. A queue belongs to its
//!   device, so no driver can forget to clean it up.
//!
//! Names are NT's own, and every wrapper says which routine it calls and at which IRQL.
//!
//! [`guide`] is a first driver, step by step. Then, by what the C version is called:
//!
//! | in C | here |
//! | --- | --- |
//! | `KSPIN_LOCK`, `KeAcquireSpinLock`, `..AtDpcLevel`, `KeTryToAcquireSpinLockAtDpcLevel` | [`SpinLock`] |
//! | `KeAcquireInStackQueuedSpinLock` | [`QueuedSpinLock`] |
//! | the order of locks, in a comment | [`lock_order`](mod@lock_order) |
//! | `IoAcquireCancelSpinLock` | [`CancelSpinLock`] |
//! | `IoMarkIrpPending`, `IoCompleteRequest` | [`Irp`], [`PendedIrp`] |
//! | `IoSetCancelRoutine` and a list of one's own | [`IrpQueue`] |
//! | `IoStartPacket`, `IoStartNextPacketByKey`, `CurrentIrp` | [`StartIoQueue`], [`CurrentIrp`] |
//! | `KDEVICE_QUEUE`, `KeInsertDeviceQueue`, `KeRemoveEntryDeviceQueue` | [`DeviceQueue`] |
//! | `ExInterlockedInsertTailList`, `ExInterlockedRemoveHeadList` | [`InterlockedList`] |
//! | `ExInterlockedPushEntryList`, `ExInterlockedPopEntryList` | [`InterlockedStack`] |
//! | `ZONE_HEADER`, `ExInitializeZone`, `ExInterlockedAllocateFromZone` | [`Zone`], [`RawZone`] |
//! | `ExInterlockedAddUlong`, `ExInterlockedAddLargeInteger` | [`ExInterlockedUlong`], [`ExInterlockedLargeInteger`] |
//! | `InterlockedIncrement`, `InterlockedExchange` | [`InterlockedLong`], [`InterlockedLong64`] |
//! | `KDPC`, `KTIMER` | [`Dpc`], [`Timer`] |
//! | `PsCreateSystemThread` | [`thread::run`] |
//! | `KeGetCurrentProcessorNumber` | [`processor::current`], [`processor::hint`] |
//! | `KeRaiseIrql`, `KeLowerIrql` | [`irql::raise_to_dispatch`] |
//! | a pointer in the device extension | [`Shared`] |
//! | `FileObject->FsContext` | [`FileState`] |
//! | `ObReferenceObject`, `IoQueueWorkItem` | [`DeviceObject`] |
//! | `NTSTATUS` | [`NtStatus`], [`Error`] |
//!
//! A value of this crate may be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held; [`DeviceObject`] says
//! how. `SOUNDNESS.md` beside this crate's `Cargo.toml` has the argument, type by type, why the crate is sound.

#![no_std]
#![debugger_visualizer(natvis_file = "../wdm.natvis")]

extern crate alloc;

#[doc = include_str!("../docs/first_driver.md")]
pub mod guide {}

mod ex;
mod io;
mod ke;
pub mod log;
mod ps;
mod record;
mod registry;
mod shared;
mod status;

pub use ex::{
    interlocked_list::{EntryId, InterlockedList, InterlockedStack},
    node::{ListItem, Node},
    number::{ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, InterlockedLong64},
    pool::PoolAllocator,
    zone::{RawBlock, RawZone, Segment, Zone, ZoneBox},
};
pub use io::{
    cancel_lock::{CancelSpinLock, CancelSpinLockGuard},
    device::{Device, NewDevice},
    device_object::DeviceObject,
    driver::entry,
    file::FileState,
    interface::Guid,
    irp::{Handled, Irp, IrpView, MajorFunction, PendedIrp},
    queue::{IrpQueue, IrpQueueLock},
    queue_callbacks::QueueCallbacks,
    reply::Reply,
    start_io::{CurrentIrp, Start, StartIoOrder, StartIoQueue},
};
#[cfg(feature = "lock-debug")]
pub use ke::lock_debug::LockStatistics;
pub use ke::{
    device_queue::{
        Arrival, Busy, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Insert, Keyed, NodeInUse,
        Remove,
    },
    dpc::{Dpc, DpcRoutine},
    irql::{self, PassiveLevel},
    lock_order, processor,
    queued_spin_lock::QueuedSpinLock,
    spin_lock::{
        Guard, KeepIrql, Release, RestoreIrql, SpinLock, SpinLockAtDpcGuard, SpinLockGuard,
    },
    time::Moment,
    timer::{Timer, TimerRoutine},
};
pub use ps::thread;
pub use record::Record;
pub use registry::RegistryKey;
pub use shared::Shared;
pub use status::{Error, NtStatus};

#[doc(hidden)]
pub mod __private {
    //! What [`driver_entry!`](crate::driver_entry) expands to.
    pub use crate::io::driver::entry;
    pub use nt::{DRIVER_OBJECT, NTSTATUS, UNICODE_STRING};
}
