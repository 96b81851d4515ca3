/* Open files: IRP_MJ_CREATE, IRP_MJ_CLEANUP and IRP_MJ_CLOSE. */

#include "device.h"

NTSTATUS NTAPI DispatchCreate(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    NTSTATUS Status = IoAcquireRemoveLock(&Device->RemoveLock, Irp);
    OPENED *File;
    ULONG Index;
    KIRQL Irql;

    if (!NT_SUCCESS(Status)) return Complete(Irp, STATUS_DELETE_PENDING, 0);
    if (Device->RemovePending || Device->Gone)
        Status = STATUS_DELETE_PENDING;
    else if (!(File = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*File), TAG)))
        Status = STATUS_INSUFFICIENT_RESOURCES;
    else
    {
        File->References = 1;
        KeInitializeSpinLock(&File->StackLock);
        for (Index = 0; Index < OWN_QUEUES; Index++) InitializeListHead(&File->Own[Index]);
        for (Index = 0; Index < SERVED_QUEUES; Index++) InitializeListHead(&File->Served[Index]);
        KeAcquireSpinLock(&Device->FilesLock, &Irql);
        InsertTailList(&Device->Files, &File->InDevice);
        KeReleaseSpinLock(&Device->FilesLock, Irql);
        IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext = File;
    }
    Complete(Irp, Status, 0);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    return Status;
}

VOID FileRelease(OPENED *File)
{
    if (InterlockedDecrement(&File->References) == 0) ExFreePoolWithTag(File, TAG);
}

VOID EmptyStack(DEVICE *Device, OPENED *File)
{
    PSINGLE_LIST_ENTRY Entry;

    while ((Entry = ExInterlockedPopEntryList(&File->Stack, &File->StackLock)))
    {
        InterlockedDecrement(&Device->Ledger.Stacked);
        RecordFree(Device, CONTAINING_RECORD(Entry, RECORD, Link));
    }
}

/* Removes a file from the device's list, and releases the reference of its open. FilesLock is held. */
static VOID ReleaseFile(DEVICE *Device, OPENED *File)
{
    RemoveEntryList(&File->InDevice);
    EmptyStack(Device, File);
    FileRelease(File);
}

VOID ReleaseAllFiles(DEVICE *Device)
{
    KIRQL Irql;

    KeAcquireSpinLock(&Device->FilesLock, &Irql);
    Device->FilesReleased = TRUE;
    while (!IsListEmpty(&Device->Files)) ReleaseFile(Device, CONTAINING_RECORD(Device->Files.Flink, OPENED, InDevice));
    KeReleaseSpinLock(&Device->FilesLock, Irql);
}

NTSTATUS NTAPI DispatchCleanup(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    OPENED *File = IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
    ULONG Index;

    /* A device that was removed has no requests. */
    if (!NT_SUCCESS(IoAcquireRemoveLock(&Device->RemoveLock, Irp))) return Complete(Irp, STATUS_SUCCESS, 0);
    KeEnterCriticalRegion();
    File->CleanedUp = TRUE;
    for (Index = 0; Index < OWN_QUEUES; Index++) OwnQueueCleanup(&Device->Own[Index], File);
    for (Index = 0; Index < SERVED_QUEUES; Index++) ServedQueueCleanup(&Device->Served[Index], File);
    EmptyStack(Device, File);
    KeLeaveCriticalRegion();
    Complete(Irp, STATUS_SUCCESS, 0);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DispatchClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    OPENED *File = IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
    KIRQL Irql;

    KeAcquireSpinLock(&Device->FilesLock, &Irql);
    if (!Device->FilesReleased) ReleaseFile(Device, File);
    KeReleaseSpinLock(&Device->FilesLock, Irql);
    return Complete(Irp, STATUS_SUCCESS, 0);
}
