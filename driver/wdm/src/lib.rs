//! Safe wrappers for the NT kernel's spin locks, cancelable IRPs and interlocked queues, with which the classic
//! driver bugs do not compile.
//!
//! A driver on this crate implements [`Device`] and calls [`driver_entry!`]. The crate is built on three ideas:
//!
//! * **IRQL is a capability.** The kernel calls each routine of a driver at a known IRQL, and the routine gets a
//!   token of that IRQL ([`irql`]). A held spin lock borrows the token and lends another one, which routines that
//!   wait or complete IRPs do not accept.
//! * **An IRP is owned.** A dispatch routine gets an [`Irp`] and must return a [`Handled`], which only completing,
//!   pending or queueing that IRP makes. So no IRP is lost, completed twice, or returned with the wrong status.
//! * **Queues handle cancellation.** [`IrpQueue`] takes IRPs by value and returns them by value, no longer
//!   cancelable. The thread that wins the exchange of the Cancel routine owns the IRP. A queue belongs to its
//!   device, which cleans it up.
//!
//! Names follow NT. The documentation of each wrapper names the routine that it calls and the IRQL at which it can
//! be called. To find a wrapper, search this documentation for the name of the routine.
//!
//! [`guide`] develops a first driver step by step, and [`from_io_csq`] is for authors who know `IO_CSQ`. The wrappers by their C names:
//!
//! | in C | here |
//! | --- | --- |
//! | `KSPIN_LOCK`, `KeAcquireSpinLock`, `..AtDpcLevel`, `KeTryToAcquireSpinLockAtDpcLevel` | [`SpinLock`] |
//! | `KeAcquireInStackQueuedSpinLock` | [`QueuedSpinLock`] |
//! | `EX_SPIN_LOCK`, `ExAcquireSpinLockShared` | [`RwSpinLock`] |
//! | lock order, in a comment | [`lock_order`](mod@lock_order) |
//! | `IoAcquireCancelSpinLock` | [`CancelSpinLock`] |
//! | `IoMarkIrpPending`, `IoCompleteRequest` | [`Irp`], [`PendedIrp`] |
//! | `AssociatedIrp.SystemBuffer`, `IoStatus.Information` | [`IrpView::input_bytes`], [`Reply`] |
//! | `MdlAddress`, `MmGetSystemAddressForMdlSafe` | [`UserBuffer`] |
//! | `CTL_CODE` | [`ctl_code`](mod@ctl_code) |
//! | `IoAttachDeviceToDeviceStack` | [`Filter`] |
//! | `IoCallDriver`, `IoSetCompletionRoutine`, `IoForwardIrpSynchronously` | [`Irp::forward`] and related methods |
//! | `IoSetCancelRoutine` and a list, `IO_CSQ` | [`IrpQueue`] |
//! | `IoStartPacket`, `IoStartNextPacketByKey`, `CurrentIrp` | [`StartIoQueue`], [`CurrentIrp`], [`CancelableIrp`] |
//! | `KDEVICE_QUEUE`, `KeInsertDeviceQueue`, `KeRemoveEntryDeviceQueue` | [`DeviceQueue`] |
//! | `ExInterlockedInsertTailList`, `ExInterlockedRemoveHeadList` | [`InterlockedList`] |
//! | `ExInterlockedPushEntryList`, `ExInterlockedPopEntryList` | [`InterlockedStack`] |
//! | `SLIST_HEADER`, `InterlockedPushEntrySList` | [`SList`] |
//! | `LOOKASIDE_LIST_EX`, `ExAllocateFromLookasideListEx` | [`Lookaside`] |
//! | `EX_RUNDOWN_REF`, `ExAcquireRundownProtection` | [`Rundown`] |
//! | `ZONE_HEADER`, `ExInitializeZone`, `ExInterlockedAllocateFromZone` | [`Zone`], [`RawZone`] |
//! | `ExInterlockedAddUlong`, `ExInterlockedAddLargeInteger` | [`ExInterlockedUlong`], [`ExInterlockedLargeInteger`] |
//! | `InterlockedExchangePointer` | [`InterlockedOwner`] |
//! | `InterlockedIncrement`, `InterlockedExchange` | [`InterlockedLong`], [`InterlockedLong64`] |
//! | `KDPC`, `KTIMER` | [`Dpc`], [`Timer`] |
//! | `KEVENT`, `KeSetEvent`, `KeWaitForSingleObject` | [`Event`] |
//! | `ObReferenceObjectByHandle` for a user-mode event | [`UserEvent`] |
//! | `FAST_MUTEX`, `ExAcquireFastMutex` | [`Mutex`] |
//! | `PsCreateSystemThread` | [`Thread`], [`thread::run`] |
//! | `IoAllocateWorkItem`, `IoQueueWorkItem` | [`WorkItem`] |
//! | `KeDelayExecutionThread` | [`thread::delay`] |
//! | `KeGetCurrentProcessorNumber` | [`processor::current`], [`processor::hint`] |
//! | `KeRaiseIrql`, `KeLowerIrql` | [`irql::raise_to_dispatch`] |
//! | a pointer in the device extension | [`Shared`] |
//! | `IoCreateDevice` with a name, `IoCreateSymbolicLink` | [`ControlDevice`] |
//! | `FileObject->FsContext` | [`FileState`] |
//! | `IRP_MJ_POWER`, `PoSetPowerState` | [`Device::set_power`] |
//! | `PoRequestPowerIrp` | [`PowerPolicy`], [`PowerReference`] |
//! | `IoBuildSynchronousFsdRequest`, `IoBuildDeviceIoControlRequest` | [`Lower`] |
//! | `IoAllocateIrp`, `IoCancelIrp` for an IRP of the driver's own | [`LowerIrp`], [`LowerIrpHandle`] |
//! | `ObReferenceObject`, `IoQueueWorkItem` | [`DeviceObject`] |
//! | `NTSTATUS` | [`NtStatus`], [`Error`] |
//!
//! Values of this crate can be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held; see
//! [`DeviceObject`]. The exception is a [`Dpc`] or [`Timer`] that was used and is part of neither a
//! device's state nor a [`Shared`]. `SOUNDNESS.md` in this crate's folder explains, type by type, why the crate is sound.

#![no_std]
#![debugger_visualizer(natvis_file = "../wdm.natvis")]

extern crate alloc;

#[doc = include_str!("../docs/first_driver.md")]
pub mod guide {}

#[doc = include_str!("../docs/from_io_csq.md")]
#[doc(alias = "IO_CSQ")]
#[doc(alias = "IoCsqInitialize")]
#[doc(alias = "IoCsqInsertIrp")]
#[doc(alias = "IoCsqRemoveIrp")]
#[doc(alias = "IoCsqRemoveNextIrp")]
pub mod from_io_csq {}

mod block;
mod ex;
mod io;
mod ke;
pub mod log;
mod ps;
mod record;
mod registry;
mod shared;
mod status;

pub use ctl_code;
pub use ex::{
    interlocked_list::{EntryId, InterlockedList, InterlockedStack},
    interlocked_owner::InterlockedOwner,
    lookaside::{Lookaside, LookasideBox},
    mutex::Mutex,
    node::{ListItem, Node},
    number::{ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, InterlockedLong64},
    pool::PoolAllocator,
    rundown::Rundown,
    rw_spin_lock::RwSpinLock,
    slist::SList,
    zone::{RawBlock, RawZone, Segment, Zone, ZoneBox},
};
pub use io::{
    cancel_lock::{CancelSpinLock, CancelSpinLockGuard},
    control::{ControlDevice, control_entry},
    device::{Device, NewDevice, NewFilter, QueueOwner},
    device_object::DeviceObject,
    device_thread::{Thread, ThreadRoutine},
    driver::entry,
    file::FileState,
    file_irp::FileIrp,
    filter::{Filter, filter_entry},
    forwarded::{CompletionObserver, CompletionRoutine, Returned},
    interface::Guid,
    io_type::IoType,
    irp::{Handled, Irp, PendedIrp},
    irp_view::{IrpView, MajorFunction},
    lower::{ControlCode, Lower},
    lower_irp::{LowerIrp, LowerIrpHandle, LowerIrpRoutine},
    power::{DevicePowerState, PowerState, SystemPowerState},
    power_policy::{PowerPolicy, PowerReference},
    queue::{IrpQueue, IrpQueueLock},
    queue_callbacks::QueueCallbacks,
    reply::Reply,
    security::DeviceAccess,
    serial,
    start_io::{CancelableIrp, CurrentIrp, Start, StartIoOrder, StartIoQueue},
    user_buffer::UserBuffer,
    user_event::UserEvent,
    work_item::{WorkItem, WorkItemRoutine},
};
#[cfg(feature = "lock-debug")]
pub use ke::lock_debug::LockStatistics;
pub use ke::{
    device_queue::{
        Arrival, Busy, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Insert, Keyed, NodeInUse,
        Remove,
    },
    dpc::{Dpc, DpcRoutine, Importance},
    event::{Event, EventType},
    irql::{self, PassiveLevel},
    lock_order, processor,
    queued_spin_lock::QueuedSpinLock,
    spin_lock::{
        Guard, KeepIrql, Release, RestoreIrql, SpinLock, SpinLockAtDpcGuard, SpinLockGuard,
    },
    time::Moment,
    timer::{Timer, TimerRoutine},
};
// The types in the signatures of this crate, so that a driver needs no dependency on their crates. `#[pin_data]` still does.
pub use pinned_init::{self, PinInit};
pub use ps::thread;
pub use record::Record;
pub use registry::RegistryKey;
pub use shared::Shared;
pub use status::{Error, NtStatus};
pub use zerocopy;

#[doc(hidden)]
pub mod __private {
    //! The items that [`driver_entry!`](crate::driver_entry) uses.
    pub use crate::io::{control::control_entry, driver::entry, filter::filter_entry};
    pub use nt::{DRIVER_OBJECT, NTSTATUS, UNICODE_STRING};
}
