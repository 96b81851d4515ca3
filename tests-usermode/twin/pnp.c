/* Adding, starting and removing the device. */

#include "device.h"

/* The records in each of the zone's first two segments. */
#define RECORDS 64

static NTSTATUS Prepare(DEVICE *Device, PDEVICE_OBJECT Pdo)
{
    static const GUID Guid = INTERFACE_GUID;
    NTSTATUS Status;
    ULONG Index;

    IoInitializeRemoveLock(&Device->RemoveLock, TAG, 0, 0);
    KeInitializeSpinLock(&Device->FilesLock);
    InitializeListHead(&Device->Files);
    LedgerInitialize(&Device->Ledger);
    for (Index = 0; Index < OWN_QUEUES; Index++) OwnQueueInitialize(Device, Index);
    for (Index = 0; Index < SERVED_QUEUES; Index++) ServedQueueInitialize(Device, Index);
    DrainedInitialize(Device);
    Device->Tags = ExAllocatePool2(POOL_FLAG_NON_PAGED, TAG_LISTS * sizeof(LIST_ENTRY), TAG);
    if (!Device->Tags) return STATUS_INSUFFICIENT_RESOURCES;
    for (Index = 0; Index < TAG_LISTS; Index++) InitializeListHead(&Device->Tags[Index]);
    Status = ZoneCreate(&Device->Zone, sizeof(RECORD), RECORDS);
    if (NT_SUCCESS(Status)) Status = ZoneExtend(&Device->Zone, RECORDS);
    if (NT_SUCCESS(Status)) Status = IoRegisterDeviceInterface(Pdo, &Guid, NULL, &Device->Interface);
    return Status;
}

/* Frees the allocations of Prepare. */
static VOID TearDown(DEVICE *Device)
{
    if (Device->Interface.Buffer) RtlFreeUnicodeString(&Device->Interface);
    ZoneDelete(&Device->Zone);
    if (Device->Tags) ExFreePoolWithTag(Device->Tags, TAG);
}

NTSTATUS NTAPI AddDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Pdo)
{
    PDEVICE_OBJECT Object;
    DEVICE *Device;
    NTSTATUS Status = IoCreateDevice(Driver, sizeof(DEVICE), NULL, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE,
                                     &Object);

    if (!NT_SUCCESS(Status)) return Status;
    Device = Object->DeviceExtension;
    Device->Self = Object;
    Status = Prepare(Device, Pdo);
    if (NT_SUCCESS(Status) && !(Device->Lower = IoAttachDeviceToDeviceStack(Object, Pdo))) Status = STATUS_NO_SUCH_DEVICE;
    if (!NT_SUCCESS(Status))
    {
        TearDown(Device);
        IoDeleteDevice(Object);
        return Status;
    }
    Object->Flags |= DO_BUFFERED_IO | (Device->Lower->Flags & DO_POWER_PAGABLE);
    Object->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}

static NTSTATUS PassDown(DEVICE *Device, PIRP Irp)
{
    IoSkipCurrentIrpStackLocation(Irp);
    return IoCallDriver(Device->Lower, Irp);
}

static IO_COMPLETION_ROUTINE SetEvent;
static NTSTATUS NTAPI SetEvent(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Event)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent(Event, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

/* Passes an IRP down, and waits until the lower drivers have completed it. */
static NTSTATUS ForwardAndWait(DEVICE *Device, PIRP Irp)
{
    KEVENT Event;

    KeInitializeEvent(&Event, NotificationEvent, FALSE);
    IoCopyCurrentIrpStackLocationToNext(Irp);
    IoSetCompletionRoutine(Irp, SetEvent, &Event, TRUE, TRUE, TRUE);
    IoCallDriver(Device->Lower, Irp);
    KeWaitForSingleObject(&Event, Executive, KernelMode, FALSE, NULL);
    return Irp->IoStatus.Status;
}

/* Disables the interface, and ends every pending request. Later requests are rejected. */
static VOID EndRequests(DEVICE *Device)
{
    COUNTERS Counters;
    ULONG Index;

    /* A removal that follows a surprise removal must not disable the interface again. */
    if (!Device->Gone) IoSetDeviceInterfaceState(&Device->Interface, FALSE);
    Device->Gone = TRUE;
    for (Index = 0; Index < OWN_QUEUES; Index++) OwnQueueEndAll(&Device->Own[Index]);
    for (Index = 0; Index < SERVED_QUEUES; Index++) ServedQueueEndAll(&Device->Served[Index]);
    LedgerCounters(&Device->Ledger, &Counters);
    Log(DPFLTR_INFO_LEVEL, "twin: removed: %llu submitted, %llu completed, %llu cancelled, %llu aborted\n",
        Counters.Submitted, Counters.Completed, Counters.Cancelled, Counters.Aborted);
}

static NTSTATUS Remove(DEVICE *Device, PIRP Irp)
{
    NTSTATUS Status;

    EndRequests(Device);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Status = PassDown(Device, Irp);
    IoReleaseRemoveLockAndWait(&Device->RemoveLock, Irp);
    /* The DPC that has ended the last request may still run. */
    KeFlushQueuedDpcs();
    ReleaseAllFiles(Device);
    TearDown(Device);
    IoDetachDevice(Device->Lower);
    IoDeleteDevice(Device->Self);
    return Status;
}

/* Completes a PnP request, and keeps the Information that the lower drivers have set. */
static NTSTATUS CompletePnp(PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

NTSTATUS NTAPI DispatchPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    NTSTATUS Status = IoAcquireRemoveLock(&Device->RemoveLock, Irp);

    if (!NT_SUCCESS(Status)) return Complete(Irp, STATUS_DELETE_PENDING, 0);
    switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction)
    {
    case IRP_MN_START_DEVICE:
        Status = ForwardAndWait(Device, Irp);
        if (NT_SUCCESS(Status)) Status = IoSetDeviceInterfaceState(&Device->Interface, TRUE);
        Status = CompletePnp(Irp, Status);
        break;
    case IRP_MN_CANCEL_REMOVE_DEVICE:
        ForwardAndWait(Device, Irp);
        Device->RemovePending = FALSE;
        Status = CompletePnp(Irp, STATUS_SUCCESS);
        break;
    case IRP_MN_REMOVE_DEVICE:
        return Remove(Device, Irp);
    case IRP_MN_SURPRISE_REMOVAL:
        EndRequests(Device);
        Irp->IoStatus.Status = STATUS_SUCCESS;
        Status = PassDown(Device, Irp);
        break;
    case IRP_MN_QUERY_REMOVE_DEVICE:
        Device->RemovePending = TRUE;
        Irp->IoStatus.Status = STATUS_SUCCESS;
        Status = PassDown(Device, Irp);
        break;
    case IRP_MN_QUERY_STOP_DEVICE:
    case IRP_MN_STOP_DEVICE:
    case IRP_MN_CANCEL_STOP_DEVICE:
        Irp->IoStatus.Status = STATUS_SUCCESS;
        Status = PassDown(Device, Irp);
        break;
    default:
        Status = PassDown(Device, Irp);
        break;
    }
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    return Status;
}

NTSTATUS NTAPI DispatchPassOn(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    NTSTATUS Status = IoAcquireRemoveLock(&Device->RemoveLock, Irp);

    if (!NT_SUCCESS(Status)) return Complete(Irp, STATUS_DELETE_PENDING, 0);
    Status = PassDown(Device, Irp);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    return Status;
}
