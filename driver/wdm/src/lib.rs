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

mod cancel_lock;
mod device;
mod device_object;
mod device_queue;
mod dispatch;
mod dpc;
mod driver;
mod file;
mod forward;
mod interface;
mod interlocked_list;
mod irp;
pub mod irql;
mod key_index;
mod lock_debug;
pub mod lock_order;
pub mod log;
mod node;
mod number;
mod place;
mod pnp;
mod pool;
pub mod processor;
mod queue;
mod queue_callbacks;
mod queued_spin_lock;
mod record;
mod refusal;
mod registry;
mod remove_lock;
mod shared;
mod spin_lock;
mod start_io;
mod status;
pub mod thread;
mod time;
mod timer;
mod wait;
mod zone;

pub use cancel_lock::{CancelSpinLock, CancelSpinLockGuard};
pub use device::{Device, NewDevice};
pub use device_object::DeviceObject;
pub use device_queue::{
    Arrival, Busy, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Insert, Keyed, NodeInUse,
    Remove,
};
pub use dpc::{Dpc, DpcRoutine};
pub use driver::entry;
pub use file::FileState;
pub use interface::Guid;
pub use interlocked_list::{EntryId, InterlockedList, InterlockedStack};
pub use irp::{Handled, Irp, IrpView, PendedIrp};
pub use irql::PassiveLevel;
#[cfg(feature = "lock-debug")]
pub use lock_debug::LockStatistics;
pub use node::{ListItem, Node};
pub use number::{
    ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, InterlockedLong64,
};
pub use pool::PoolAllocator;
pub use queue::{IrpQueue, IrpQueueLock};
pub use queue_callbacks::QueueCallbacks;
pub use queued_spin_lock::QueuedSpinLock;
pub use record::Record;
pub use registry::RegistryKey;
pub use shared::Shared;
pub use spin_lock::{
    Guard, KeepIrql, Release, RestoreIrql, SpinLock, SpinLockAtDpcGuard, SpinLockGuard,
};
pub use start_io::{CurrentIrp, Start, StartIoOrder, StartIoQueue};
pub use status::{Error, NtStatus};
pub use time::Moment;
pub use timer::{Timer, TimerRoutine};
pub use zone::{RawBlock, RawZone, Segment, Zone, ZoneBox};

#[doc(hidden)]
pub mod __private {
    //! What [`driver_entry!`](crate::driver_entry) expands to.
    pub use crate::driver::entry;
    pub use nt::{DRIVER_OBJECT, NTSTATUS, UNICODE_STRING};
}
