//! The model's routines as an image calls them: by the Microsoft x64 calling convention.
//!
//! [The convention](https://learn.microsoft.com/cpp/build/x64-calling-convention)

use std::ptr::NonNull;

/// A pointer to a function of this host, by the types of its parameters and of its result.
trait Thunk<Signature>: Copy {
    /// Returns the address of a function that an image can call, and which calls this one.
    fn address(self) -> usize;
}

/// Returns the only value of a closure that captures nothing.
fn captured_nothing<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: the type has no bytes, and each `Thunk` that asks for a value has had one.
    unsafe { NonNull::<F>::dangling().read() }
}

macro_rules! thunks {
    ($(($($argument:ident: $type:ident),*))*) => {
        $(
            impl<F, R, $($type),*> Thunk<fn($($type),*) -> R> for F
            where
                F: Fn($($type),*) -> R + Copy,
            {
                fn address(self) -> usize {
                    extern "win64" fn thunk<F, R, $($type),*>($($argument: $type),*) -> R
                    where
                        F: Fn($($type),*) -> R + Copy,
                    {
                        captured_nothing::<F>()($($argument),*)
                    }
                    thunk::<F, R, $($type),*> as *const () as usize
                }
            }
        )*
    };
}

thunks! {
    ()
    (a: A)
    (a: A, b: B)
    (a: A, b: B, c: C)
    (a: A, b: B, c: C, d: D)
    (a: A, b: B, c: C, d: D, e: E)
    (a: A, b: B, c: C, d: D, e: E, f: G)
    (a: A, b: B, c: C, d: D, e: E, f: G, g: H)
    (a: A, b: B, c: C, d: D, e: E, f: G, g: H, h: I)
    (a: A, b: B, c: C, d: D, e: E, f: G, g: H, h: I, i: J)
}

fn address<Signature>(function: impl Thunk<Signature>) -> usize {
    function.address()
}

macro_rules! routines {
    ($($name:ident($($argument:ident),*),)*) => {
        /// Returns the names of the model's routines, and the address that an image calls for each.
        pub(super) fn routines() -> Vec<(&'static str, usize)> {
            vec![$((
                stringify!($name),
                address(|$($argument),*| {
                    // SAFETY: the image keeps to the routine's documentation, as whoever loads it says.
                    unsafe { nt::$name($($argument),*) }
                }),
            )),*]
        }
    };
}

routines! {
    EtwProviderEnabled(handle, level, keyword),
    EtwRegister(provider, callback, context, handle),
    EtwUnregister(handle),
    EtwWrite(handle, event, activity, count, data),
    EtwWriteTransfer(handle, event, activity, related, count, data),
    ExAcquireFastMutex(mutex),
    ExAcquireFastMutexUnsafe(mutex),
    ExAcquireResourceExclusiveLite(resource, wait),
    ExAcquireResourceSharedLite(resource, wait),
    ExAcquireRundownProtection(run_ref),
    ExAcquireSpinLockExclusive(lock),
    ExAcquireSpinLockExclusiveAtDpcLevel(lock),
    ExAcquireSpinLockShared(lock),
    ExAcquireSpinLockSharedAtDpcLevel(lock),
    ExAllocatePool(kind, size),
    ExAllocatePool2(flags, size, tag),
    ExAllocatePoolWithQuotaTag(kind, size, tag),
    ExAllocatePoolWithTag(kind, size, tag),
    ExConvertExclusiveToSharedLite(resource),
    ExDeleteResourceLite(resource),
    ExEnterCriticalRegionAndAcquireResourceExclusive(resource),
    ExEnterCriticalRegionAndAcquireResourceShared(resource),
    ExExtendZone(zone, segment, size),
    ExFreePool(block),
    ExFreePoolWithTag(block, tag),
    ExGetPreviousMode(),
    ExInitializeResourceLite(resource),
    ExInitializeRundownProtection(run_ref),
    ExInitializeZone(zone, block_size, segment, size),
    ExInterlockedAddLargeInteger(addend, increment, lock),
    ExInterlockedAddUlong(addend, increment, lock),
    ExInterlockedExtendZone(zone, segment, size, lock),
    ExInterlockedInsertHeadList(head, entry, lock),
    ExInterlockedInsertTailList(head, entry, lock),
    ExInterlockedPopEntryList(head, lock),
    ExInterlockedPushEntryList(head, entry, lock),
    ExInterlockedRemoveHeadList(head, lock),
    ExIsResourceAcquiredExclusiveLite(resource),
    ExIsResourceAcquiredSharedLite(resource),
    ExLocalTimeToSystemTime(local, system),
    ExQueryDepthSList(head),
    ExQueueWorkItem(item, queue),
    ExReInitializeRundownProtection(run_ref),
    ExReleaseFastMutex(mutex),
    ExReleaseFastMutexUnsafe(mutex),
    ExReleaseResourceAndLeaveCriticalRegion(resource),
    ExReleaseResourceLite(resource),
    ExReleaseRundownProtection(run_ref),
    ExReleaseSpinLockExclusive(lock, irql),
    ExReleaseSpinLockExclusiveFromDpcLevel(lock),
    ExReleaseSpinLockShared(lock, irql),
    ExReleaseSpinLockSharedFromDpcLevel(lock),
    ExSystemTimeToLocalTime(system, local),
    ExTryAcquireSpinLockExclusiveAtDpcLevel(lock),
    ExTryAcquireSpinLockSharedAtDpcLevel(lock),
    ExTryConvertSharedSpinLockExclusive(lock),
    ExTryToAcquireFastMutex(mutex),
    ExWaitForRundownProtectionRelease(run_ref),
    ExpInterlockedFlushSList(head),
    ExpInterlockedPopEntrySList(head),
    ExpInterlockedPushEntrySList(head, entry),
    IoAcquireCancelSpinLock(irql),
    IoAcquireRemoveLockEx(lock, tag, file, line, size),
    IoAllocateDriverObjectExtension(driver, id, size, extension),
    IoAllocateErrorLogEntry(object, size),
    IoAllocateIrp(stack_size, charge_quota),
    IoAllocateMdl(address, length, secondary, charge_quota, irp),
    IoAllocateWorkItem(device),
    IoAttachDevice(source, name, attached),
    IoAttachDeviceToDeviceStack(source, target),
    IoAttachDeviceToDeviceStackSafe(source, target, attached_to),
    IoBuildAsynchronousFsdRequest(major, device, buffer, length, offset, block),
    IoBuildDeviceIoControlRequest(code, device, input, input_length, output, output_length, internal, event, block),
    IoBuildPartialMdl(source, target, address, length),
    IoBuildSynchronousFsdRequest(major, device, buffer, length, offset, event, block),
    IoCancelIrp(irp),
    IoCreateDevice(driver, extension_size, name, kind, characteristics, exclusive, device),
    IoCreateSymbolicLink(link, device),
    IoCsqInitialize(csq, insert, remove, peek, acquire, release, complete),
    IoCsqInitializeEx(csq, insert, remove, peek, acquire, release, complete),
    IoCsqInsertIrp(csq, irp, context),
    IoCsqInsertIrpEx(csq, irp, context, insert_context),
    IoCsqRemoveIrp(csq, context),
    IoCsqRemoveNextIrp(csq, context),
    IoDeleteDevice(device),
    IoDeleteSymbolicLink(link),
    IoDetachDevice(target),
    IoForwardIrpSynchronously(device, irp),
    IoFreeErrorLogEntry(entry),
    IoFreeIrp(irp),
    IoFreeMdl(mdl),
    IoFreeWorkItem(item),
    IoGetAttachedDevice(device),
    IoGetAttachedDeviceReference(device),
    IoGetCurrentProcess(),
    IoGetDeviceInterfaces(class, pdo, flags, list),
    IoGetDeviceObjectPointer(name, access, file, device),
    IoGetDeviceProperty(pdo, property, length, buffer, result_length),
    IoGetDriverObjectExtension(driver, id),
    IoGetRelatedDeviceObject(file),
    IoGetRequestorProcess(irp),
    IoGetRequestorProcessId(irp),
    IoInitializeIrp(irp, size, stack_size),
    IoInitializeRemoveLockEx(lock, tag, minutes, high_watermark, size),
    IoInitializeTimer(device, routine, context),
    IoInitializeWorkItem(object, item),
    IoInvalidateDeviceState(pdo),
    IoIs32bitProcess(irp),
    IoIsWdmVersionAvailable(major, minor),
    IoMakeAssociatedIrp(master, stack_size),
    IoOpenDeviceInterfaceRegistryKey(name, access, handle),
    IoOpenDeviceRegistryKey(pdo, kind, access, handle),
    IoQueueWorkItem(item, routine, queue, context),
    IoQueueWorkItemEx(item, routine, queue, context),
    IoRegisterDeviceInterface(pdo, class, reference, name),
    IoRegisterShutdownNotification(device),
    IoReleaseCancelSpinLock(irql),
    IoReleaseRemoveLockAndWaitEx(lock, tag, size),
    IoReleaseRemoveLockEx(lock, tag, size),
    IoReuseIrp(irp, status),
    IoSetCompletionRoutineEx(device, irp, routine, context, on_success, on_error, on_cancel),
    IoSetDeviceInterfaceState(name, enable),
    IoSetStartIoAttributes(device, deferred, non_cancelable),
    IoSizeofWorkItem(),
    IoStartNextPacket(device, cancelable),
    IoStartNextPacketByKey(device, cancelable, key),
    IoStartPacket(device, irp, key, cancel),
    IoStartTimer(device),
    IoStopTimer(device),
    IoUninitializeWorkItem(item),
    IoUnregisterShutdownNotification(device),
    IoWMIRegistrationControl(device, action),
    IoWriteErrorLogEntry(entry),
    IofCallDriver(device, irp),
    IofCompleteRequest(irp, boost),
    KeAcquireGuardedMutex(mutex),
    KeAcquireGuardedMutexUnsafe(mutex),
    KeAcquireInStackQueuedSpinLock(lock, handle),
    KeAcquireInStackQueuedSpinLockAtDpcLevel(lock, handle),
    KeAcquireSpinLockAtDpcLevel(lock),
    KeAcquireSpinLockRaiseToDpc(lock),
    KeAreAllApcsDisabled(),
    KeAreApcsDisabled(),
    KeBugCheckEx(code, first, second, third, fourth),
    KeCancelTimer(timer),
    KeClearEvent(event),
    KeDelayExecutionThread(mode, alertable, interval),
    KeEnterCriticalRegion(),
    KeEnterGuardedRegion(),
    KeFlushQueuedDpcs(),
    KeGetCurrentProcessorNumberEx(number),
    KeInitializeDeviceQueue(queue),
    KeInitializeDpc(dpc, routine, context),
    KeInitializeEvent(event, kind, state),
    KeInitializeGuardedMutex(mutex),
    KeInitializeMutex(mutex, level),
    KeInitializeSemaphore(semaphore, count, limit),
    KeInitializeSpinLock(lock),
    KeInitializeTimer(timer),
    KeInitializeTimerEx(timer, kind),
    KeInsertByKeyDeviceQueue(queue, entry, key),
    KeInsertDeviceQueue(queue, entry),
    KeInsertQueueDpc(dpc, first, second),
    KeLeaveCriticalRegion(),
    KeLeaveGuardedRegion(),
    KeLowerIrql(new_irql),
    KeQueryActiveProcessorCount(active),
    KeQueryActiveProcessorCountEx(group),
    KeQueryInterruptTimePrecise(counter),
    KeQueryMaximumProcessorCountEx(group),
    KeQueryPerformanceCounter(frequency),
    KeQuerySystemTimePrecise(time),
    KeQueryTimeIncrement(),
    KeReadStateEvent(event),
    KeReadStateMutex(mutex),
    KeReadStateSemaphore(semaphore),
    KeReadStateTimer(timer),
    KeReleaseGuardedMutex(mutex),
    KeReleaseGuardedMutexUnsafe(mutex),
    KeReleaseInStackQueuedSpinLock(handle),
    KeReleaseInStackQueuedSpinLockFromDpcLevel(handle),
    KeReleaseMutex(mutex, wait),
    KeReleaseSemaphore(semaphore, increment, adjustment, wait),
    KeReleaseSpinLock(lock, new_irql),
    KeReleaseSpinLockFromDpcLevel(lock),
    KeRemoveByKeyDeviceQueue(queue, key),
    KeRemoveByKeyDeviceQueueIfBusy(queue, key),
    KeRemoveDeviceQueue(queue),
    KeRemoveEntryDeviceQueue(queue, entry),
    KeRemoveQueueDpc(dpc),
    KeResetEvent(event),
    KeSetCoalescableTimer(timer, due, period, tolerable_delay, dpc),
    KeSetEvent(event, increment, wait),
    KeSetImportanceDpc(dpc, importance),
    KeSetPriorityThread(thread, priority),
    KeSetTargetProcessorDpc(dpc, number),
    KeSetTargetProcessorDpcEx(dpc, number),
    KeSetTimer(timer, due, dpc),
    KeSetTimerEx(timer, due, period, dpc),
    KeStallExecutionProcessor(microseconds),
    KeTryToAcquireGuardedMutex(mutex),
    KeTryToAcquireSpinLockAtDpcLevel(lock),
    KeWaitForMultipleObjects(count, objects, wait_type, reason, mode, alertable, timeout, blocks),
    KeWaitForSingleObject(object, reason, mode, alertable, timeout),
    KfRaiseIrql(new_irql),
    MmBuildMdlForNonPagedPool(mdl),
    MmGetSystemRoutineAddress(name),
    MmMapLockedPagesSpecifyCache(mdl, mode, cache, requested, bug_check_on_failure, priority),
    MmProbeAndLockPages(mdl, mode, operation),
    MmUnlockPages(mdl),
    MmUnmapLockedPages(address, mdl),
    ObOpenObjectByPointer(object, attributes, state, access, kind, mode, handle),
    ObReferenceObjectByHandle(handle, access, kind, mode, object, information),
    ObfDereferenceObject(object),
    ObfReferenceObject(object),
    PoCallDriver(device, irp),
    PoRequestPowerIrp(device, minor, state, completion, context, irp),
    PoSetPowerState(device, kind, state),
    PoStartNextPowerIrp(irp),
    ProbeForRead(address, length, alignment),
    ProbeForWrite(address, length, alignment),
    PsCreateSystemThread(handle, access, attributes, process, client, routine, context),
    PsGetCurrentProcessId(),
    PsGetCurrentThread(),
    PsGetCurrentThreadId(),
    PsGetVersion(major, minor, build, service_pack),
    PsTerminateSystemThread(status),
    RtlAnsiStringToUnicodeString(to, from, allocate),
    RtlAppendUnicodeStringToString(to, from),
    RtlAppendUnicodeToString(to, from),
    RtlCheckRegistryKey(place, path),
    RtlCompareMemory(one, other, length),
    RtlCompareUnicodeString(one, other, case_insensitive),
    RtlCopyUnicodeString(to, from),
    RtlCreateRegistryKey(place, path),
    RtlDeleteRegistryValue(place, path, name),
    RtlEqualUnicodeString(one, other, case_insensitive),
    RtlFreeAnsiString(string),
    RtlFreeUnicodeString(string),
    RtlGetVersion(version),
    RtlGUIDFromString(string, guid),
    RtlInitAnsiString(string, source),
    RtlInitString(string, source),
    RtlInitUnicodeString(string, source),
    RtlIntegerToUnicodeString(value, base, string),
    RtlPrefixUnicodeString(prefix, string, case_insensitive),
    RtlQueryRegistryValues(place, path, table, context, environment),
    RtlStringFromGUID(guid, string),
    RtlTimeFieldsToTime(fields, time),
    RtlTimeToTimeFields(time, fields),
    RtlUnicodeStringToAnsiString(to, from, allocate),
    RtlUnicodeStringToInteger(string, base, value),
    RtlUpcaseUnicodeChar(unit),
    RtlUpcaseUnicodeString(to, from, allocate),
    RtlWriteRegistryValue(place, path, name, kind, data, length),
    ZwClose(handle),
    ZwCreateKey(handle, access, attributes, title, class, options, disposition),
    ZwDeleteKey(handle),
    ZwDeleteValueKey(handle, name),
    ZwEnumerateKey(handle, index, class, information, length, result_length),
    ZwEnumerateValueKey(handle, index, class, information, length, result_length),
    ZwFlushKey(handle),
    ZwOpenKey(handle, access, attributes),
    ZwQueryKey(handle, class, information, length, result_length),
    ZwQueryValueKey(handle, name, class, information, length, result_length),
    ZwSetSecurityObject(handle, information, descriptor),
    ZwSetValueKey(handle, name, title, kind, data, size),
    ZwWaitForSingleObject(handle, alertable, timeout),
}
