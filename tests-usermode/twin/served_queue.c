/*
 * Device queues: one request at a time is served, until a timer expires. The cancel spin lock protects the queue, the
 * lists of those that wait and their Cancel routines. A request that is served cannot be cancelled.
 */

#include "device.h"

/* The maximum number of requests that wait by key. An insertion or a removal can walk all of them under the cancel spin lock. */
#define MAX_BY_KEY 1024

/* How many requests without a service time are served one after the other. The DPC of a timer without a time runs at
 * once, so many of them would keep the processor at DISPATCH_LEVEL; the next one has a time. */
#define MAX_CONSECUTIVE 32
#define SHORTEST_MS 1

static DRIVER_CANCEL CancelServed;
static KDEFERRED_ROUTINE ServiceEnds;

VOID ServedQueueInitialize(DEVICE *Device, ULONG Index)
{
    SERVED_QUEUE *Queue = &Device->Served[Index];

    KeInitializeDeviceQueue(&Queue->Queue);
    InitializeListHead(&Queue->Waiting);
    KeInitializeTimer(&Queue->Timer);
    KeInitializeDpc(&Queue->Dpc, ServiceEnds, Queue);
    Queue->Index = Index;
    Queue->Device = Device;
}

/* Removes a request from the lists of those that wait, and links its entries to themselves. */
static VOID Unlink(SERVED_QUEUE *Queue, RECORD *Record)
{
    if (!IsListEmpty(&Record->InQueue)) Queue->Length--;
    RemoveEntryList(&Record->InQueue);
    InitializeListHead(&Record->InQueue);
    RemoveEntryList(&Record->InFile);
    InitializeListHead(&Record->InFile);
}

/* The same, also off the device queue. Returns FALSE if its Cancel routine was called, which waits for the lock. */
static BOOLEAN Withdraw(SERVED_QUEUE *Queue, RECORD *Record)
{
    KeRemoveEntryDeviceQueue(&Queue->Queue, &Record->InDeviceQueue);
    Unlink(Queue, Record);
    return IoSetCancelRoutine(Record->Irp, NULL) != NULL;
}

/*
 * Serves a request, or if there is none, or it was cancelled, the next one after the key. The queue is busy. Called
 * with the cancel spin lock held, and releases it.
 */
static VOID Serve(SERVED_QUEUE *Queue, RECORD *Record, ULONG Key, KIRQL Irql)
{
    for (;;)
    {
        if (!Record)
        {
            PKDEVICE_QUEUE_ENTRY Entry = Queue->Index == SERVED_KEYED ? KeRemoveByKeyDeviceQueue(&Queue->Queue, Key)
                                                                      : KeRemoveDeviceQueue(&Queue->Queue);

            if (!Entry) break;
            Record = CONTAINING_RECORD(Entry, RECORD, InDeviceQueue);
        }
        Unlink(Queue, Record);
        if (IoSetCancelRoutine(Record->Irp, NULL))
        {
            /* The request can have been cancelled before its Cancel routine was set. */
            BOOLEAN Cancelled = Record->Irp->Cancel;

            IoReleaseCancelSpinLock(Irql);
            if (!Cancelled)
            {
                LARGE_INTEGER Due;
                ULONG Ms = Record->Pend.ServiceMs;

                Queue->Consecutive++;
                if (Ms == 0 && Queue->Consecutive > MAX_CONSECUTIVE) Ms = SHORTEST_MS;
                if (Ms != 0) Queue->Consecutive = 0;
                Due.QuadPart = -10000LL * Ms;
                Queue->Current = Record;
                KeSetTimer(&Queue->Timer, Due, &Queue->Dpc);
                return;
            }
            EndPended(Queue->Device, Record->Irp, STATUS_CANCELLED);
            IoAcquireCancelSpinLock(&Irql);
        }
        Record = NULL;
    }
    IoReleaseCancelSpinLock(Irql);
}

NTSTATUS ServedQueueInsert(SERVED_QUEUE *Queue, OPENED *File, PIRP Irp, RECORD *Record)
{
    DEVICE *Device = Queue->Device;
    ULONG Key = Record->Pend.Key;
    NTSTATUS Status = STATUS_PENDING;
    KIRQL Irql;

    IRP_RECORD(Irp) = Record;
    IoMarkIrpPending(Irp);
    IoAcquireCancelSpinLock(&Irql);
    if (Device->Gone)
        Status = STATUS_DELETE_PENDING;
    else if (File->CleanedUp)
        Status = STATUS_CANCELLED;
    else if (Queue->Index == SERVED_KEYED && Queue->Length == MAX_BY_KEY)
        Status = STATUS_INSUFFICIENT_RESOURCES;
    else
    {
        BOOLEAN Queued;

        InsertTailList(&Queue->Waiting, &Record->InQueue);
        Queue->Length++;
        InsertTailList(&File->Served[Queue->Index], &Record->InFile);
        IoSetCancelRoutine(Irp, CancelServed);
        Queued = Queue->Index == SERVED_KEYED ? KeInsertByKeyDeviceQueue(&Queue->Queue, &Record->InDeviceQueue, Key)
                                              : KeInsertDeviceQueue(&Queue->Queue, &Record->InDeviceQueue);
        if (!Queued)
        {
            Serve(Queue, Record, Key, Irql);
            return STATUS_PENDING;
        }
        if (Irp->Cancel && Withdraw(Queue, Record)) Status = STATUS_CANCELLED;
    }
    IoReleaseCancelSpinLock(Irql);
    if (Status != STATUS_PENDING) EndPended(Device, Irp, Status);
    return STATUS_PENDING;
}

static VOID NTAPI ServiceEnds(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    SERVED_QUEUE *Queue = Context;
    DEVICE *Device = Queue->Device;
    RECORD *Record = Queue->Current;
    ULONG Key = Record->Pend.Key;
    KIRQL Irql;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    LedgerCountDpc(&Device->Ledger);
    /* In this order, since the next request may be completed on another processor before this routine returns. The
     * queue stays busy until then. */
    CompleteRecord(Device, Record);
    IoAcquireCancelSpinLock(&Irql);
    Serve(Queue, NULL, Key, Irql);
}

static VOID NTAPI CancelServed(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    RECORD *Record = IRP_RECORD(Irp);
    SERVED_QUEUE *Queue = &Device->Served[Record->Pend.Queue == QUEUE_KEYED ? SERVED_KEYED : SERVED_SERIAL];

    /* Neither has an effect on a request that was removed by a thread that lost it to this routine. */
    KeRemoveEntryDeviceQueue(&Queue->Queue, &Record->InDeviceQueue);
    Unlink(Queue, Record);
    IoReleaseCancelSpinLock(Irp->CancelIrql);
    EndPended(Device, Irp, STATUS_CANCELLED);
}

VOID ServedQueueCleanup(SERVED_QUEUE *Queue, OPENED *File)
{
    PLIST_ENTRY Head = &File->Served[Queue->Index];
    KIRQL Irql;

    for (;;)
    {
        RECORD *Record;
        BOOLEAN Mine;

        IoAcquireCancelSpinLock(&Irql);
        if (IsListEmpty(Head)) break;
        Record = CONTAINING_RECORD(Head->Flink, RECORD, InFile);
        Mine = Withdraw(Queue, Record);
        IoReleaseCancelSpinLock(Irql);
        if (Mine) EndPended(Queue->Device, Record->Irp, STATUS_CANCELLED);
    }
    IoReleaseCancelSpinLock(Irql);
}

VOID ServedQueueEndAll(SERVED_QUEUE *Queue)
{
    KIRQL Irql;

    for (;;)
    {
        RECORD *Record;
        BOOLEAN Mine;

        IoAcquireCancelSpinLock(&Irql);
        if (IsListEmpty(&Queue->Waiting)) break;
        Record = CONTAINING_RECORD(Queue->Waiting.Flink, RECORD, InQueue);
        Mine = Withdraw(Queue, Record);
        IoReleaseCancelSpinLock(Irql);
        if (Mine) EndPended(Queue->Device, Record->Irp, STATUS_DELETE_PENDING);
    }
    IoReleaseCancelSpinLock(Irql);
}
