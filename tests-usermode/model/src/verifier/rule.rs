//! The rules, with the names of Static Driver Verifier.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A rule that a driver must follow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Returns the name of the rule: that of Static Driver Verifier, or a description if it has no such rule.
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
    /// A spin lock is released once, by the thread that acquired it, to the saved IRQL.
    SpinlockRelease = "SpinlockRelease",
    /// No routine is called under a spin lock that forbids it.
    SpinLockSafe = "SpinLockSafe",
    /// A queued spin lock is not acquired twice, nor mixed with plain calls.
    QueuedSpinLock = "QueuedSpinLock",
    /// A queued spin lock is released once, with its handle.
    QueuedSpinLockRelease = "QueuedSpinLockRelease",
    /// A spin lock is released at `DISPATCH_LEVEL`.
    IrqlKeReleaseSpinLock = "IrqlKeReleaseSpinLock",
    /// Some kernel routines are called at `DISPATCH_LEVEL` or lower.
    IrqlKeDispatchLte = "IrqlKeDispatchLte",
    /// An event is set at `DISPATCH_LEVEL` or lower, or at `APC_LEVEL` or lower if a wait follows.
    IrqlKeSetEvent = "IrqlKeSetEvent",
    /// Some routines are called at exactly `DISPATCH_LEVEL`.
    IrqlDispatch = "IrqlDispatch",
    /// The IRQL is raised to a higher value and lowered to a lower one.
    IrqlKeRaiseLower = "IrqlKeRaiseLower",
    /// A routine returns at the IRQL that it was called at.
    IrqlReturn = "IrqlReturn",
    /// Some I/O manager routines, such as `IoDeleteDevice`, are called at `APC_LEVEL` or lower.
    IrqlIoApcLte = "IrqlIoApcLte",
    /// Memory that is accessed at `DISPATCH_LEVEL` is not in the paged pool.
    PagedMemory = "paged memory",
    /// The pool is used at `DISPATCH_LEVEL` or lower.
    IrqlExAllocatePool = "IrqlExAllocatePool",
    /// Some kernel routines are called at `APC_LEVEL` or lower.
    IrqlKeApcLte1 = "IrqlKeApcLte1",
    /// No thread waits at `DISPATCH_LEVEL`; the rule's page names `KeWaitForSingleObject`.
    IrqlKeWaitForMutexObject = "IrqlKeWaitForMutexObject",
    /// No thread waits at `DISPATCH_LEVEL` for several objects, unless the timeout is zero.
    IrqlKeWaitForMultipleObjects = "IrqlKeWaitForMultipleObjects",
    /// The number of objects of a wait does not exceed the wait blocks.
    WaitObjects = "objects of a wait",
    /// Some kernel routines, such as `KeEnterCriticalRegion`, are called at `APC_LEVEL` or lower.
    IrqlKeApcLte2 = "IrqlKeApcLte2",
    /// A wait for an object on the stack, or for a mutex, is in `KernelMode`.
    WaitMode = "mode of a wait",
    /// A call with `Wait` set is followed by a wait.
    AnnouncedWait = "wait after a call with Wait set",
    /// A critical region is left as often as it was entered.
    CriticalRegions = "CriticalRegions",
    /// Some I/O manager routines, such as `IoGetDeviceObjectPointer`, are called at `PASSIVE_LEVEL`.
    IrqlIoPassive5 = "IrqlIoPassive5",
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
    /// `Irp->Cancel` is tested after the Cancel routine was set.
    IrpCancelField = "IrpCancelField",
    /// A dispatch routine that calls `IoMarkIrpPending` returns `STATUS_PENDING`.
    MarkIrpPending = "MarkIrpPending",
    /// A dispatch routine that returns `STATUS_PENDING` has called `IoMarkIrpPending` or passed the IRP down.
    MarkIrpPending2 = "MarkIrpPending2",
    /// An IRP is marked pending before it is queued.
    MarkingQueuedIrps = "MarkingQueuedIrps",
    /// An IRP is marked pending before it is inserted into an interlocked list.
    MarkingInterlockedQueuedIrps = "MarkingInterlockedQueuedIrps",
    /// `STATUS_PENDING` is not returned for a completed IRP.
    PendedCompletedRequest = "PendedCompletedRequest",
    /// An IRP is completed once.
    DoubleCompletion = "DoubleCompletion",
    /// An IRP is completed with no Cancel routine, on no queue, under no lock.
    CompleteRequest = "CompleteRequest",
    /// The dispatch routine returns the status with which the IRP was completed.
    CompleteRequestStatusCheck = "CompleteRequestStatusCheck",
    /// Every IRP is completed, pended or passed down.
    IrpProcessingComplete = "IrpProcessingComplete",
    /// Some PnP requests, such as `IRP_MN_REMOVE_DEVICE`, are not failed.
    PnpRemove = "PnpRemove",
    /// A surprise removal neither detaches nor deletes the device object.
    PnpSurpriseRemove = "PnpSurpriseRemove",
    /// PnP and power requests are passed down, unless the driver fails them.
    PnpIrpCompletion = "PnpIrpCompletion",
    /// A driver that queries the capabilities of a device initialises the structure.
    QueryCapabilities = "query of capabilities",
    /// A driver sends no PnP request that is reserved for the system.
    ReservedRequest = "request reserved for the system",
    /// A request to enter S0 or D0 is passed down, and not failed.
    PowerUpFail = "PowerUpFail",
    /// A request to leave S0 or D0 is passed down, and not failed.
    PowerDownFail = "PowerDownFail",
    /// `PoSetPowerState` is called with a power state of a device.
    PowerState = "power state of a device",
    /// A device object is deleted after the removal was passed down.
    DeleteDevice = "DeleteDevice",
    /// `AddDevice` attaches the device object that it creates, or fails and deletes it.
    AddDevice = "AddDevice",
    /// A device interface that was disabled in a surprise removal is not disabled again in the removal.
    InterfaceDisabledAgain = "device interface disabled again",
    /// A device object is detached, then deleted, once each, when its device is removed.
    DeviceRemoval = "removal of a device",
    /// A symbolic link is deleted when its device is.
    SymbolicLink = "symbolic link",
    /// A device object's flags are those of the device stack, and `DO_DEVICE_INITIALIZING` is cleared.
    DeviceFlags = "flags of a device object",
    /// A driver that passes an IRP down returns the status of the lower driver.
    LowerDriverReturn = "LowerDriverReturn",
    /// A driver that passes an IRP down copies or skips its stack location once, and does not change the upper driver's.
    StackLocation = "stack location of an IRP",
    /// A driver does not use an IRP that a lower driver has.
    PassedIrp = "IRP of a lower driver",
    /// A completion routine that is called with `PendingReturned` set marks the IRP pending.
    PendingReturned = "PendingReturned",
    /// `IoReleaseRemoveLockAndWait` is called after the removal was passed down, and before the device object is
    /// detached.
    RemoveLockMnRemove = "RemoveLockMnRemove",
    /// `IoReleaseRemoveLockAndWait` is called only for `IRP_MN_REMOVE_DEVICE`.
    IoReleaseRemoveLockAndWaitOutsideRemoveDevice = "IoReleaseRemoveLockAndWaitOutsideRemoveDevice",
    /// `IRP_MJ_CLEANUP` completes the queued IRPs of its file.
    Cleanup = "cleanup of queued IRPs",
    /// A busy device queue has a request that is being served, and entries are removed only from a busy queue.
    DeviceQueueBusy = "device queue busy",
    /// An IRP is not accessed after its completion.
    CompletedIrp = "IRP used after its completion",
    /// Spin locks are acquired in one order, and so are fast mutexes.
    LockOrder = "lock order",
    /// The lock of an interlocked list is used for nothing else.
    InterlockedLock = "lock of an interlocked list",
    /// A lock is initialised before it is used, and not while it is held.
    LockInitialisation = "lock initialisation",
    /// The links of a list are consistent, and an entry is on one list, once.
    ListEntry = "list entry",
    /// A zone's block is freed once.
    ZoneBlock = "zone block",
    /// Each pool block is freed once.
    Pool = "pool",
    /// A mutex is released by its owner before the routine returns; a semaphore's count does not exceed its limit.
    Mutex = "mutex or semaphore",
    /// A fast mutex is acquired at `APC_LEVEL` or lower.
    IrqlExApcLte1 = "IrqlExApcLte1",
    /// Some executive routines, such as `ProbeForRead`, are called at `APC_LEVEL` or lower.
    IrqlExApcLte2 = "IrqlExApcLte2",
    /// Some executive routines, such as `ExDeleteResourceLite`, are called at `APC_LEVEL` or lower.
    IrqlExApcLte3 = "IrqlExApcLte3",
    /// A fast mutex is acquired once, and released by its owner.
    FastMutex = "fast mutex",
    /// An executive resource is released as often as it was acquired, by the thread that acquired it, and deleted before its memory is
    /// freed.
    Resource = "executive resource",
    /// Run-down protection is released as often as it was acquired.
    Rundown = "run-down protection",
    /// Two accesses of threads to plain memory are ordered, if one of them is a write.
    PlainMemory = "plain memory of two threads",
    /// Memory is not used after it was freed.
    FreedMemory = "freed memory",
    /// A driver's threads have ended before it is unloaded.
    SystemThread = "system thread",
    /// A driver that is unloaded has an Unload routine.
    DriverUnload = "Unload routine",
    /// `Information` does not exceed the output buffer, or the number of bytes that the driver has written.
    Information = "Information of a request",
    /// An MDL is mapped once, and its pages are written only if they were locked for that.
    Mdl = "MDL of a request",
    /// An IRP has a stack location for each driver that it is sent to.
    StackLocations = "stack locations of an IRP",
    /// An IRP that a driver has made returns to it, and is freed by it, once.
    OwnIrp = "IRP that a driver has made",
    /// `IoFreeIrp` frees IRPs that `IoAllocateIrp` or `IoBuildAsynchronousFsdRequest` has made, after they have returned.
    IoAllocateFree = "IoAllocateFree",
    /// An IRP that `IoAllocateIrp` has made is not completed by the driver that made it.
    IoAllocateComplete = "IoAllocateComplete",
    /// An IRP that `IoBuildAsynchronousFsdRequest` has made is not completed by the driver that made it.
    IoBuildFsdComplete = "IoBuildFsdComplete",
    /// An IRP that the I/O manager frees, such as that of `IoBuildDeviceIoControlRequest`, is not freed by the driver.
    IoBuildDeviceControlNoFree = "IoBuildDeviceControlNoFree",
    /// A driver waits for a request that it has sent if the I/O manager reports the result by an event and a status block.
    IoBuildDeviceControlWait = "IoBuildDeviceControlWait",
    /// The event of a request that the I/O manager ends is not set by a completion routine too.
    IoBuildDeviceIoControlSetEvent = "IoBuildDeviceIoControlSetEvent",
    /// A guarded region is left as often as it was entered.
    GuardedRegions = "GuardedRegions",
    /// A WMI request for the provider of a lower driver is passed down.
    WmiForward = "WmiForward",
    /// A device object is deregistered from WMI before it is deleted.
    WmiRegistration = "registration with WMI",
    /// A provider of events is unregistered once, before its driver is unloaded.
    EventProvider = "provider of events",
    /// A query of the registry does not expand environment variables.
    RegistryQuery = "query of the registry",
    /// `IoSetCompletionRoutineEx` is called with a device object of the driver that has the IRP.
    IoSetCompletionRoutineExCheckDeviceObject = "IoSetCompletionRoutineExCheckDeviceObject",
    /// An IRP with a routine of `IoSetCompletionRoutineEx` is sent to the lower driver.
    IoSetCompletionExCompleteIrp = "IoSetCompletionExCompleteIrp",
    /// `IoReuseIrp` is called only for IRPs of `IoAllocateIrp`, after they have returned.
    IoReuseIrp = "IoReuseIrp",
    /// The routines of a cancel-safe queue follow their documentation, and the driver does not change `DriverContext[3]` of
    /// its IRPs.
    CancelSafeQueue = "cancel-safe queue",
    /// A driver that starts packets has a StartIo routine.
    StartIo = "StartIo routine",
    /// StartIo is not called by itself for each queued packet.
    StartIoRecursion = "StartIoRecursion",
    /// A device object has one `IoTimer` routine, which does not stop its own timer.
    IoTimer = "IoTimer routine",
    /// A driver splits a request of its own, without a system buffer, and counts its associated IRPs.
    AssociatedIrp = "associated IRP",
    /// A remove lock is released with the tag that it was acquired with.
    RemoveLock = "remove lock",
    /// Timers are cancelled, and DPCs have run, before their memory is freed or the driver is unloaded.
    Dpc = "DPC or timer",
    /// A work item is queued once at a time, and freed while it is not queued, before the driver is unloaded.
    WorkItem = "work item",
    /// An object is dereferenced as often as it was referenced.
    Reference = "references to an object",
    /// A handle that a driver opens in the context of a process is the kernel's (`OBJ_KERNEL_HANDLE`).
    KernelHandle = "kernel handle",
    /// The driver itself stopped the system.
    BugCheck = "the driver's own bug check",
    /// An image calls only routines that the model has.
    MissingRoutine = "routine that the model lacks",
    /// An image has no privileged instruction, except those that the model emulates.
    Instruction = "instruction of an image",
    /// The driver's code raises no exception, such as a division by zero.
    Exception = "unhandled exception",
    /// The driver's routines do not use more of the stack than a kernel stack has.
    KernelStack = "kernel stack",
    /// A user-mode buffer is accessed after it was probed, in the context of the requestor, and below `DISPATCH_LEVEL`.
    UserBuffer = "user-mode buffer",
    /// A pointer points to an object.
    Pointer = "valid pointer",
    /// A condition that a scenario asserts is true.
    Promise = "a promise of the scenario",
    /// A routine that has set the affinity of a user-mode thread restores it.
    Affinity = "affinity of a thread",
    /// A bus driver reports physical device objects, each once, and deletes one that is removed after it was no longer reported.
    BusRelations = "children of a bus",
    /// A routine that the system calls at an event is removed before its context is freed and its driver is unloaded.
    Callback = "registered routine",
    /// A connected interrupt object is used, whose spin lock no other routines acquire, and disconnected before the driver is unloaded.
    Interrupt = "interrupt object",
    /// The memory of a device is unmapped as it was mapped, before the driver is unloaded.
    IoSpace = "mapping of device memory",
    /// A thread that is attached to a process is detached from it, in the reverse order, before the driver's routine returns.
    Attach = "attachment to a process",
    /// A range of bits that a driver changes is inside the bitmap.
    Bitmap = "range of a bitmap",
    /// A routine for bug checks is deregistered before its driver is unloaded and its record is freed.
    BugCheckCallback = "routine for bug checks",
    /// No thread waits forever.
    Hang = "hang",
}

impl Rule {
    /// Returns whether the system hangs, if Windows has no bug check for the violation.
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
