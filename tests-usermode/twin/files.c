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

VOID EmptyStack(DEVICE *Device, OPENED *File)
{
    PSINGLE_LIST_ENTRY Entry;

    while ((Entry = ExInterlockedPopEntryList(&File->Stack, &File->StackLock)))
    {
        InterlockedDecrement(&Device->Ledger.Stacked);
        RecordFree(Device, CONTAINING_RECORD(Entry, RECORD, Link));
    }
}

VOID EmptyAllStacks(DEVICE *Device)
{
    PLIST_ENTRY Entry;
    KIRQL Irql;

    KeAcquireSpinLock(&Device->FilesLock, &Irql);
    while (!IsListEmpty(&Device->Files))
    {
        Entry = RemoveHeadList(&Device->Files);
        InitializeListHead(Entry);
        EmptyStack(Device, CONTAINING_RECORD(Entry, OPENED, InDevice));
    }
    KeReleaseSpinLock(&Device->FilesLock, Irql);
}

NTSTATUS NTAPI DispatchCleanup(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    OPENED *File = IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
    ULONG Index;

    /* A device that was removed has no requests. */
    if (!NT_SUCCESS(IoAcquireRemoveLock(&Device->RemoveLock, Irp))) return Complete(Irp, STATUS_SUCCESS, 0);
    File->CleanedUp = TRUE;
    for (Index = 0; Index < OWN_QUEUES; Index++) OwnQueueCleanup(&Device->Own[Index], File);
    for (Index = 0; Index < SERVED_QUEUES; Index++) ServedQueueCleanup(&Device->Served[Index], File);
    EmptyStack(Device, File);
    Complete(Irp, STATUS_SUCCESS, 0);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DispatchClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    OPENED *File = IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
    KIRQL Irql;

    /* The file's requests have all ended. One that came after the cleanup may have left a record. */
    KeAcquireSpinLock(&Device->FilesLock, &Irql);
    RemoveEntryList(&File->InDevice);
    EmptyStack(Device, File);
    KeReleaseSpinLock(&Device->FilesLock, Irql);
    ExFreePoolWithTag(File, TAG);
    return Complete(Irp, STATUS_SUCCESS, 0);
}
