/* The requests that the next DPC completes, on an interlocked list. */

#include "device.h"

/* A DPC should run for no more than 100 microseconds. */
#define PER_DPC 16

static KDEFERRED_ROUTINE Drain;

VOID DrainedInitialize(DEVICE *Device)
{
    KeInitializeSpinLock(&Device->DrainedLock);
    InitializeListHead(&Device->Drained);
    KeInitializeDpc(&Device->DrainDpc, Drain, Device);
}

NTSTATUS DrainedInsert(DEVICE *Device, PIRP Irp, RECORD *Record)
{
    IRP_RECORD(Irp) = Record;
    IoMarkIrpPending(Irp);
    if (Record->Pend.Key == 0)
        ExInterlockedInsertTailList(&Device->Drained, &Record->InQueue, &Device->DrainedLock);
    else
        ExInterlockedInsertHeadList(&Device->Drained, &Record->InQueue, &Device->DrainedLock);
    /* A DPC that is queued already is dequeued before it runs, and will find the request. */
    KeInsertQueueDpc(&Device->DrainDpc, NULL, NULL);
    return STATUS_PENDING;
}

static VOID NTAPI Drain(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    DEVICE *Device = Context;
    ULONG Done;

    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    LedgerCountDpc(&Device->Ledger);
    for (Done = 0; Done < PER_DPC; Done++)
    {
        PLIST_ENTRY Entry = ExInterlockedRemoveHeadList(&Device->Drained, &Device->DrainedLock);

        if (!Entry) return;
        CompleteRecord(Device, CONTAINING_RECORD(Entry, RECORD, InQueue));
    }
    KeInsertQueueDpc(Dpc, NULL, NULL);
}
