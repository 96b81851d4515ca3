/*
 * The routines that this ntoskrnl.exe defines; every other export is forwarded to Wine's. build.sh
 * reads the names for the .def file from this list, and ntoskrnl.c reads them for the log.
 *
 *   SUPPLIED(routine, why)   replaces Wine's routine, or supplies one that Wine lacks
 *   WRAPPED(routine, why)    does a part of the work and calls Wine's routine
 *
 * For a new routine, add a line here and a function of that name in one of the C files.
 */
SUPPLIED(ExAllocatePool2, "Wine 8 has none; the memory is from Wine's ExAllocatePoolWithTag")
WRAPPED(ExFreePool, "counts what is freed")
WRAPPED(ExFreePoolWithTag, "counts what is freed")
WRAPPED(IoCreateDevice, "makes Wine send IRP_MJ_CLEANUP before IRP_MJ_CLOSE, which it never does")
WRAPPED(IofCompleteRequest, "keeps an IRP for a while, since Wine may cancel it late; reports spin locks held")
WRAPPED(ZwUnloadDriver, "reports pool that is not freed, and remaining DPCs and timers")

/* irql.c */
SUPPLIED(KeGetCurrentIrql, "Wine has none")
SUPPLIED(KeLowerIrql, "Wine keeps no IRQL")
SUPPLIED(KfRaiseIrql, "Wine keeps no IRQL")
WRAPPED(KeDelayExecutionThread, "checks the IRQL")
WRAPPED(KeGetCurrentProcessorNumberEx, "returns the same number at DISPATCH_LEVEL, where Wine may move the thread")
WRAPPED(KeWaitForMultipleObjects, "checks the IRQL")
WRAPPED(KeWaitForSingleObject, "checks the IRQL")

/* spinlock.c */
SUPPLIED(ExAcquireSpinLockExclusive, "Wine has none")
SUPPLIED(ExAcquireSpinLockShared, "Wine has none")
SUPPLIED(ExReleaseSpinLockExclusive, "Wine has none")
SUPPLIED(ExReleaseSpinLockShared, "Wine has none")
SUPPLIED(KeAcquireInStackQueuedSpinLock, "Wine keeps no IRQL")
SUPPLIED(KeAcquireInStackQueuedSpinLockAtDpcLevel, "Wine checks nothing")
SUPPLIED(KeAcquireSpinLockAtDpcLevel, "Wine checks nothing")
SUPPLIED(KeAcquireSpinLockRaiseToDpc, "Wine keeps no IRQL")
SUPPLIED(KeReleaseInStackQueuedSpinLock, "Wine keeps no IRQL")
SUPPLIED(KeReleaseInStackQueuedSpinLockFromDpcLevel, "Wine checks nothing")
SUPPLIED(KeReleaseSpinLock, "Wine keeps no IRQL")
SUPPLIED(KeReleaseSpinLockFromDpcLevel, "Wine checks nothing")
SUPPLIED(KeTryToAcquireSpinLockAtDpcLevel, "Wine has none")

/* cancel.c */
SUPPLIED(IoAcquireCancelSpinLock, "Wine keeps no IRQL")
SUPPLIED(IoCancelIrp, "Wine's routine sets no IRQL; this one is also called by Wine")
SUPPLIED(IoReleaseCancelSpinLock, "Wine keeps no IRQL")

/* workitem.c */
WRAPPED(IoAllocateWorkItem, "records the items; makes the unload of the driver wait for their routines")
WRAPPED(IoFreeWorkItem, "reports an item that is queued, and a pointer that is not an item")
WRAPPED(IoQueueWorkItem, "reports an item that is already queued; checks the IRQL and the locks after its routine")

/* lookaside.c */
SUPPLIED(ExDeleteLookasideListEx, "Wine has none")
SUPPLIED(ExInitializeLookasideListEx, "Wine has none")

/* power.c */
SUPPLIED(PoRequestPowerIrp, "Wine has a stub")

/* rundown.c */
SUPPLIED(ExAcquireRundownProtection, "Wine has a stub")
SUPPLIED(ExInitializeRundownProtection, "Wine has a stub")
SUPPLIED(ExReInitializeRundownProtection, "Wine has a stub")
SUPPLIED(ExReleaseRundownProtection, "Wine has a stub")
SUPPLIED(ExWaitForRundownProtectionRelease, "Wine has a stub")

/* object.c */
WRAPPED(ObOpenObjectByPointer, "opens an event in place of a device object, for which Wine has no security descriptor")
WRAPPED(ObReferenceObjectByHandle, "duplicates the handle from the process that sent the request")

/* interlocked.c */
SUPPLIED(ExInterlockedAddLargeInteger, "Wine has a stub")
SUPPLIED(ExInterlockedAddUlong, "Wine has a stub")
SUPPLIED(ExInterlockedInsertHeadList, "Wine has a stub")
SUPPLIED(ExInterlockedInsertTailList, "Wine has a stub")
SUPPLIED(ExInterlockedPopEntryList, "Wine has a stub")
SUPPLIED(ExInterlockedPushEntryList, "Wine has a stub")
SUPPLIED(ExInterlockedRemoveHeadList, "Wine's returns the list head when the list is empty")

/* zone.c */
SUPPLIED(ExExtendZone, "Wine has a stub")
SUPPLIED(ExInitializeZone, "Wine's does nothing")
SUPPLIED(ExInterlockedExtendZone, "Wine has a stub")

/* devqueue.c */
SUPPLIED(KeInitializeDeviceQueue, "must match the other routines")
SUPPLIED(KeInsertByKeyDeviceQueue, "Wine has a stub")
SUPPLIED(KeInsertDeviceQueue, "Wine checks nothing")
SUPPLIED(KeRemoveByKeyDeviceQueue, "Wine has a stub")
SUPPLIED(KeRemoveByKeyDeviceQueueIfBusy, "Wine has a stub")
SUPPLIED(KeRemoveDeviceQueue, "Wine checks nothing")
SUPPLIED(KeRemoveEntryDeviceQueue, "Wine has a stub")

/* dpc.c */
SUPPLIED(KeFlushQueuedDpcs, "Wine runs no DPC")
SUPPLIED(KeInsertQueueDpc, "Wine runs no DPC")
SUPPLIED(KeRemoveQueueDpc, "Wine has a stub")

/* timer.c */
SUPPLIED(KeCancelTimer, "must match KeSetTimer")
SUPPLIED(KeReadStateTimer, "Wine has a stub")
SUPPLIED(KeSetTimer, "Wine calls the DPC routine from a thread pool")
SUPPLIED(KeSetTimerEx, "Wine calls the DPC routine from a thread pool")
