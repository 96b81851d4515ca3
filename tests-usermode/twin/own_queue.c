/*
 * Queues of cancelable requests that have their own spin lock. Those on OWN_FIFO have records, and are also found by
 * their tag.
 */

#include "device.h"

static DRIVER_CANCEL CancelOwn;

VOID OwnQueueInitialize(DEVICE *Device, ULONG Index)
{
    OWN_QUEUE *Queue = &Device->Own[Index];

    KeInitializeSpinLock(&Queue->Lock);
    InitializeListHead(&Queue->Head);
    Queue->Index = Index;
    Queue->Device = Device;
}

static PIRP IrpOf(PLIST_ENTRY Entry)
{
    return CONTAINING_RECORD(Entry, IRP, Tail.Overlay.ListEntry);
}

static PLIST_ENTRY ListOfTag(const DEVICE *Device, ULONG64 Tag)
{
    /* Fibonacci hashing: the upper bits of the product depend on all bits of the tag. */
    return &Device->Tags[(Tag * 0x9e3779b97f4a7c15) >> 32 & (TAG_LISTS - 1)];
}

/* Removes an IRP from its lists, with the lock held, and links its entries to themselves. */
static VOID Unlink(OWN_QUEUE *Queue, PIRP Irp)
{
    RECORD *Record = IRP_RECORD(Irp);

    RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
    InitializeListHead(&Irp->Tail.Overlay.ListEntry);
    RemoveEntryList(IRP_IN_FILE(Irp));
    InitializeListHead(IRP_IN_FILE(Irp));
    if (Record) RemoveEntryList(&Record->InQueue);
    Queue->Length--;
}

/* Removes an IRP from the queue, with the lock held. Returns FALSE if its Cancel routine was called, which completes it. */
static BOOLEAN Take(OWN_QUEUE *Queue, PIRP Irp)
{
    Unlink(Queue, Irp);
    return IoSetCancelRoutine(Irp, NULL) != NULL;
}

NTSTATUS OwnQueueInsert(OWN_QUEUE *Queue, OPENED *File, PIRP Irp, RECORD *Record)
{
    NTSTATUS Status = STATUS_PENDING;
    KIRQL Irql;

    IRP_QUEUE(Irp) = Queue;
    IRP_RECORD(Irp) = Record;
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
        if (Record) InsertTailList(ListOfTag(Queue->Device, Record->Pend.Tag), &Record->InQueue);
        Queue->Length++;
        IoSetCancelRoutine(Irp, CancelOwn);
        if (Irp->Cancel && Take(Queue, Irp)) Status = STATUS_CANCELLED;
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
    if (Status != STATUS_PENDING) EndPended(Queue->Device, Irp, Status);
    return STATUS_PENDING;
}

static VOID NTAPI CancelOwn(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    OWN_QUEUE *Queue = IRP_QUEUE(Irp);
    KIRQL Irql;

    UNREFERENCED_PARAMETER(DeviceObject);
    IoReleaseCancelSpinLock(Irp->CancelIrql);
    KeAcquireSpinLock(&Queue->Lock, &Irql);
    /* The thread that lost the IRP to this routine has already removed it. */
    if (!IsListEmpty(&Irp->Tail.Overlay.ListEntry)) Unlink(Queue, Irp);
    KeReleaseSpinLock(&Queue->Lock, Irql);
    EndPended(Queue->Device, Irp, STATUS_CANCELLED);
}

PIRP OwnQueueRemoveFirst(OWN_QUEUE *Queue)
{
    PIRP Found = NULL;
    KIRQL Irql;

    KeAcquireSpinLock(&Queue->Lock, &Irql);
    while (!Found && !IsListEmpty(&Queue->Head))
    {
        PIRP Irp = IrpOf(Queue->Head.Flink);

        if (Take(Queue, Irp)) Found = Irp;
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
    return Found;
}

PIRP OwnQueueRemoveByTag(OWN_QUEUE *Queue, ULONG64 Tag)
{
    PLIST_ENTRY List = ListOfTag(Queue->Device, Tag), Entry;
    PIRP Found = NULL;
    KIRQL Irql;

    KeAcquireSpinLock(&Queue->Lock, &Irql);
    for (Entry = List->Flink; !Found && Entry != List;)
    {
        RECORD *Record = CONTAINING_RECORD(Entry, RECORD, InQueue);

        Entry = Entry->Flink;
        if (Record->Pend.Tag == Tag && Take(Queue, Record->Irp)) Found = Record->Irp;
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
    return Found;
}

ULONG OwnQueueLength(OWN_QUEUE *Queue)
{
    KIRQL Irql;
    ULONG Length;

    KeAcquireSpinLock(&Queue->Lock, &Irql);
    Length = Queue->Length;
    KeReleaseSpinLock(&Queue->Lock, Irql);
    return Length;
}

VOID OwnQueueCleanup(OWN_QUEUE *Queue, OPENED *File)
{
    PLIST_ENTRY Head = &File->Own[Queue->Index];
    PIRP Irp;
    KIRQL Irql;

    for (;;)
    {
        BOOLEAN Mine;

        KeAcquireSpinLock(&Queue->Lock, &Irql);
        if (IsListEmpty(Head)) break;
        Irp = CONTAINING_RECORD(Head->Flink, IRP, Tail.Overlay.DriverContext);
        Mine = Take(Queue, Irp);
        KeReleaseSpinLock(&Queue->Lock, Irql);
        if (Mine) EndPended(Queue->Device, Irp, STATUS_CANCELLED);
    }
    KeReleaseSpinLock(&Queue->Lock, Irql);
}

VOID OwnQueueEndAll(OWN_QUEUE *Queue)
{
    PIRP Irp;

    while ((Irp = OwnQueueRemoveFirst(Queue))) EndPended(Queue->Device, Irp, STATUS_DELETE_PENDING);
}
