//! The rules, by Static Driver Verifier's names.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A rule that a driver has to keep.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// The rule's name: Static Driver Verifier's, or what is broken where that has no rule.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    /// The cancel spin lock is not acquired twice, nor left held.
    CancelSpinLock = "CancelSpinLock",
    /// The cancel spin lock is released once, to the IRQL that was saved.
    CancelSpinLockRelease = "CancelSpinLockRelease",
    /// A spin lock is not acquired twice by one thread, nor left held.
    SpinLock = "SpinLock",
    /// The `AtDpc` routines are called at `DISPATCH_LEVEL`.
    SpinLockDpc = "SpinLockDpc",
    /// A spin lock is released by who acquired it, once, to the IRQL that was saved.
    SpinlockRelease = "SpinlockRelease",
    /// What may not be called under a spin lock is not.
    SpinLockSafe = "SpinLockSafe",
    /// A queued spin lock is not acquired twice, nor mixed with plain calls.
    QueuedSpinLock = "QueuedSpinLock",
    /// A queued spin lock is released once, by its handle.
    QueuedSpinLockRelease = "QueuedSpinLockRelease",
    /// A spin lock is released at `DISPATCH_LEVEL`.
    IrqlKeReleaseSpinLock = "IrqlKeReleaseSpinLock",
    /// Some kernel routines are called at `DISPATCH_LEVEL` or lower.
    IrqlKeDispatchLte = "IrqlKeDispatchLte",
    /// An event is set at `DISPATCH_LEVEL` or lower, and at `APC_LEVEL` or lower by who waits next.
    IrqlKeSetEvent = "IrqlKeSetEvent",
    /// Some routines are called at exactly `DISPATCH_LEVEL`.
    IrqlDispatch = "IrqlDispatch",
    /// The IRQL is raised and lowered, not the other way round.
    IrqlKeRaiseLower = "IrqlKeRaiseLower",
    /// A routine returns at the IRQL that it was called at.
    IrqlReturn = "IrqlReturn",
    /// Some I/O manager routines, such as `IoDeleteDevice`, are called at `APC_LEVEL` or lower.
    IrqlIoApcLte = "IrqlIoApcLte",
    /// The pool is asked at `DISPATCH_LEVEL` or lower.
    IrqlExAllocatePool = "IrqlExAllocatePool",
    /// Some kernel routines are called at `APC_LEVEL` or lower.
    IrqlKeApcLte1 = "IrqlKeApcLte1",
    /// Nothing waits at `DISPATCH_LEVEL`: the rule's page names `KeWaitForSingleObject`.
    IrqlKeWaitForMutexObject = "IrqlKeWaitForMutexObject",
    /// A routine is called at the IRQL that its page names, if no rule of Static Driver Verifier names the routine.
    Irql = "IRQL on the routine's page",
    /// Some I/O manager routines, such as `IoCreateDevice`, are called at `PASSIVE_LEVEL` or `APC_LEVEL`.
    IrqlIoPassive1 = "IrqlIoPassive1",
    /// Some I/O manager routines, such as `IoDetachDevice`, are called at `PASSIVE_LEVEL`.
    IrqlIoPassive3 = "IrqlIoPassive3",
    /// Some I/O manager routines, such as `IoCreateSymbolicLink`, are called at `PASSIVE_LEVEL`.
    IrqlIoPassive4 = "IrqlIoPassive4",
    /// An IRP is sent at `DISPATCH_LEVEL` only if its major function allows that, and never above.
    ForwardedAtBadIrql = "ForwardedAtBadIrql",
    /// Zw routines are called at `PASSIVE_LEVEL`.
    IrqlZwPassive = "IrqlZwPassive",
    /// Process and thread routines are called at `PASSIVE_LEVEL`.
    IrqlPsPassive = "IrqlPsPassive",
    /// `Irp->Cancel` is looked at after the Cancel routine was set.
    IrpCancelField = "IrpCancelField",
    /// A dispatch routine that calls `IoMarkIrpPending` returns `STATUS_PENDING`.
    MarkIrpPending = "MarkIrpPending",
    /// A dispatch routine that returns `STATUS_PENDING` has called `IoMarkIrpPending` or passed the IRP down.
    MarkIrpPending2 = "MarkIrpPending2",
    /// An IRP is marked pending before it is queued.
    MarkingQueuedIrps = "MarkingQueuedIrps",
    /// An IRP is marked pending before it is inserted into an interlocked list.
    MarkingInterlockedQueuedIrps = "MarkingInterlockedQueuedIrps",
    /// What is completed is not returned as pending.
    PendedCompletedRequest = "PendedCompletedRequest",
    /// An IRP is completed once.
    DoubleCompletion = "DoubleCompletion",
    /// An IRP is completed with no Cancel routine, on no queue, under no lock.
    CompleteRequest = "CompleteRequest",
    /// The status that is returned is the one that the IRP was completed with.
    CompleteRequestStatusCheck = "CompleteRequestStatusCheck",
    /// Every IRP is completed, pended or passed on.
    IrpProcessingComplete = "IrpProcessingComplete",
    /// A queued IRP's Cancel routine is cleared before it is started.
    StartIoCancel = "StartIoCancel",
    /// Some PnP requests, such as `IRP_MN_REMOVE_DEVICE`, are not failed.
    PnpRemove = "PnpRemove",
    /// A surprise removal neither detaches nor deletes the device object.
    PnpSurpriseRemove = "PnpSurpriseRemove",
    /// PnP requests are passed on.
    PnpIrpCompletion = "PnpIrpCompletion",
    /// A device object is deleted after the removal was passed on.
    DeleteDevice = "DeleteDevice",
    /// `AddDevice` attaches the device object that it creates, or fails and leaves none.
    AddDevice = "AddDevice",
    /// A device object is detached, then deleted, once each, when its device is removed.
    DeviceRemoval = "removal of a device",
    /// A symbolic link is deleted when its device is.
    SymbolicLink = "symbolic link",
    /// A device object's flags are those of the device stack, and `DO_DEVICE_INITIALIZING` is cleared.
    DeviceFlags = "flags of a device object",
    /// A driver that passes an IRP on returns what the lower driver has returned.
    LowerDriverReturn = "LowerDriverReturn",
    /// A completion routine that is called with `PendingReturned` set marks the IRP pending.
    PendingReturned = "PendingReturned",
    /// `IoReleaseRemoveLockAndWait` comes after the removal was passed on, and before the device object is detached.
    RemoveLockMnRemove = "RemoveLockMnRemove",
    /// `IoReleaseRemoveLockAndWait` is called for `IRP_MN_REMOVE_DEVICE` alone.
    IoReleaseRemoveLockAndWaitOutsideRemoveDevice = "IoReleaseRemoveLockAndWaitOutsideRemoveDevice",
    /// `IRP_MJ_CLEANUP` ends what is queued of its file.
    Cleanup = "cleanup of queued IRPs",
    /// A device queue that is busy has somebody who serves it, and only such a one is emptied.
    DeviceQueueBusy = "device queue busy",
    /// Nobody touches an IRP once it is completed.
    CompletedIrp = "IRP used after its completion",
    /// Spin locks are taken in one order.
    LockOrder = "lock order",
    /// The lock of an interlocked list serves nothing else.
    InterlockedLock = "lock of an interlocked list",
    /// A lock is initialised before it is used, and not while it is held.
    LockInitialisation = "lock initialisation",
    /// A list holds together, and an entry is on one list once.
    ListEntry = "list entry",
    /// A zone's block is freed once.
    ZoneBlock = "zone block",
    /// The pool's blocks are freed, once each.
    Pool = "pool",
    /// A mutex is released by the thread that has it, before its routine returns; a semaphore's count stays below its limit.
    Mutex = "mutex or semaphore",
    /// A fast mutex is acquired at `APC_LEVEL` or lower.
    IrqlExApcLte1 = "IrqlExApcLte1",
    /// A fast mutex is acquired once, and released by the thread that has it.
    FastMutex = "fast mutex",
    /// Run-down protection is released as often as it was acquired.
    Rundown = "run-down protection",
    /// Two threads touch plain memory one after the other, if one of them writes it.
    PlainMemory = "plain memory of two threads",
    /// Memory is not used after it was freed.
    FreedMemory = "freed memory",
    /// A driver's threads have ended before it is unloaded.
    SystemThread = "system thread",
    /// A driver that may be unloaded has an Unload routine.
    DriverUnload = "Unload routine",
    /// `Information` says no more than the output buffer holds, and than the driver has written.
    Information = "Information of a request",
    /// An MDL is mapped once, and its pages are written only if they were locked for that.
    Mdl = "MDL of a request",
    /// A remove lock is released by whom it was acquired for.
    RemoveLock = "remove lock",
    /// Timers and DPCs are gone before their memory or the driver is.
    Dpc = "DPC or timer",
    /// A work item is queued once at a time, freed while it is not queued, and gone before the driver is.
    WorkItem = "work item",
    /// An object is dereferenced as often as it was referenced.
    Reference = "references to an object",
    /// The driver itself stopped the system.
    BugCheck = "the driver's own bug check",
    /// An image has no instruction that needs the kernel, but for those that the model carries out.
    Instruction = "instruction of an image",
    /// A pointer points to an object.
    Pointer = "valid pointer",
    /// What a scenario promises holds.
    Promise = "a promise of the scenario",
    /// Nothing waits for ever.
    Hang = "hang",
}

impl Rule {
    /// Whether the system hangs if Windows has no bug check for the breach.
    pub(crate) const fn is_hang(self) -> bool {
        matches!(
            self,
            Self::Hang | Self::IrpCancelField | Self::DeviceQueueBusy | Self::IrpProcessingComplete
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
