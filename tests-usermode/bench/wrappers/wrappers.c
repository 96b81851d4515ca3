/* Has a function of the same name and purpose for each function of lib.rs, as an expert in C writes
 * it. */

#include "../../twin/device.h"

DRIVER_INITIALIZE DriverEntry;
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(Driver);
    UNREFERENCED_PARAMETER(RegistryPath);
    return STATUS_SUCCESS;
}

typedef struct {
    KSPIN_LOCK Lock;
    ULONG Number;
} LOCKED;

VOID lock_increment(LOCKED *Locked)
{
    KIRQL Irql;

    KeAcquireSpinLock(&Locked->Lock, &Irql);
    Locked->Number++;
    KeReleaseSpinLock(&Locked->Lock, Irql);
}

VOID nested_locks(LOCKED *Outer, LOCKED *Inner)
{
    KIRQL Irql;

    KeAcquireSpinLock(&Outer->Lock, &Irql);
    Outer->Number++;
    KeAcquireSpinLockAtDpcLevel(&Inner->Lock);
    Inner->Number++;
    KeReleaseSpinLockFromDpcLevel(&Inner->Lock);
    KeReleaseSpinLock(&Outer->Lock, Irql);
}

VOID cancel_lock(ULONG *Number)
{
    KIRQL Irql;

    IoAcquireCancelSpinLock(&Irql);
    (*Number)++;
    IoReleaseCancelSpinLock(Irql);
}

LONG interlocked_increment(LONG volatile *Number)
{
    return InterlockedIncrement(Number);
}

typedef struct {
    LIST_ENTRY Head;
    KSPIN_LOCK Lock;
} LIST;

PLIST_ENTRY list_insert_tail(LIST *List, PLIST_ENTRY Entry)
{
    return ExInterlockedInsertTailList(&List->Head, Entry, &List->Lock);
}

PLIST_ENTRY list_remove_head(LIST *List)
{
    return ExInterlockedRemoveHeadList(&List->Head, &List->Lock);
}

typedef struct {
    SINGLE_LIST_ENTRY Head;
    KSPIN_LOCK Lock;
} STACK;

PSINGLE_LIST_ENTRY stack_push(STACK *Stack, PSINGLE_LIST_ENTRY Entry)
{
    return ExInterlockedPushEntryList(&Stack->Head, Entry, &Stack->Lock);
}

PSINGLE_LIST_ENTRY stack_pop(STACK *Stack)
{
    return ExInterlockedPopEntryList(&Stack->Head, &Stack->Lock);
}

/* Functions that are in another file of the twin, as lib.rs has another function for them. */
__attribute__((noinline, cold)) VOID EndPended(DEVICE *Device, PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
}

static DRIVER_CANCEL CancelQueued;

static VOID Unlink(OWN_QUEUE *Queue, PIRP Irp)
{
    RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
    InitializeListHead(&Irp->Tail.Overlay.ListEntry);
    RemoveEntryList(IRP_IN_FILE(Irp));
    Queue->Length--;
}

static BOOLEAN Take(OWN_QUEUE *Queue, PIRP Irp)
{
    Unlink(Queue, Irp);
    return IoSetCancelRoutine(Irp, NULL) != NULL;
}

NTSTATUS queue_insert(OWN_QUEUE *Queue, PIRP Irp)
{
    OPENED *File = IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
    NTSTATUS Status = STATUS_PENDING;
    KIRQL Irql;

    IRP_QUEUE(Irp) = Queue;
    IoMarkIrpPending(Irp);
    KeAcquireSpinLock(&Queue->Lock, &Irql);
    if (Queue->Device->Gone)
        Status = STATUS_DELETE_PENDING;
    else if (File->CleanedUp)
        Status = STATUS_CANCELLED;
    else
    {
        InsertTailList(&Queue->Head, &Irp->Tail.Overlay.ListEntry);
        InsertTailList(&File->Own[Queue->Index], IRP_IN_FILE(Irp));
        Queue->Length++;
        IoSetCancelRoutine(Irp, CancelQueued);
        if (Irp->Cancel && Take(Queue, Irp)) Status = STATUS_CANCELLED;
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
    if (Status != STATUS_PENDING) EndPended(Queue->Device, Irp, Status);
    return STATUS_PENDING;
}

static VOID NTAPI CancelQueued(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    OWN_QUEUE *Queue = IRP_QUEUE(Irp);
    KIRQL Irql;

    UNREFERENCED_PARAMETER(DeviceObject);
    IoReleaseCancelSpinLock(Irp->CancelIrql);
    KeAcquireSpinLock(&Queue->Lock, &Irql);
    if (!IsListEmpty(&Irp->Tail.Overlay.ListEntry)) Unlink(Queue, Irp);
    KeReleaseSpinLock(&Queue->Lock, Irql);
    EndPended(Queue->Device, Irp, STATUS_CANCELLED);
}

PIRP queue_remove(OWN_QUEUE *Queue)
{
    PIRP Found = NULL;
    KIRQL Irql;

    KeAcquireSpinLock(&Queue->Lock, &Irql);
    while (!Found && !IsListEmpty(&Queue->Head))
    {
        PIRP Irp = CONTAINING_RECORD(Queue->Head.Flink, IRP, Tail.Overlay.ListEntry);

        if (Take(Queue, Irp)) Found = Irp;
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
    return Found;
}

VOID complete(PIRP Irp)
{
    DEVICE *Device = IoGetCurrentIrpStackLocation(Irp)->DeviceObject->DeviceExtension;

    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
}

NTSTATUS parse_input(PIRP Irp, PEND_INPUT *Pend)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);

    if (Stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_PEND) return STATUS_INVALID_DEVICE_REQUEST;
    if (Stack->Parameters.DeviceIoControl.InputBufferLength != sizeof(*Pend)) return STATUS_INFO_LENGTH_MISMATCH;
    if (Stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(PENDED_OUTPUT)) return STATUS_BUFFER_TOO_SMALL;
    *Pend = *(PEND_INPUT *)Irp->AssociatedIrp.SystemBuffer;
    return Pend->Reserved == 0 ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}
