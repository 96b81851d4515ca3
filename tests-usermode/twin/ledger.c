/* Records, the device's counters and statistics, and the completion of requests. */

#include "device.h"

/* The zone grows by as many blocks as it has, but by no more than are linked under its lock in a short time. */
#define MAX_RECORDS (1 << 20)
#define MAX_NEW_RECORDS 256

VOID LedgerInitialize(LEDGER *Ledger)
{
    KeInitializeSpinLock(&Ledger->CountsLock);
    KeInitializeSpinLock(&Ledger->SequenceLock);
    KeInitializeSpinLock(&Ledger->LatencyLock);
    KeInitializeSpinLock(&Ledger->LongestLock);
}

NTSTATUS RecordAllocate(DEVICE *Device, OPENED *File, const PEND_INPUT *Pend, RECORD **Record)
{
    RECORD *New;

    if (InterlockedIncrement(&File->References) > RECORDS_PER_OPEN + 1)
    {
        FileRelease(File);
        return STATUS_QUOTA_EXCEEDED;
    }
    while (!(New = ZoneAllocate(&Device->Zone)))
    {
        ULONG Blocks = (ULONG)ReadNoFence(&Device->Zone.Blocks);
        ULONG More = Blocks < MAX_NEW_RECORDS ? Blocks : MAX_NEW_RECORDS;
        NTSTATUS Status = Blocks >= MAX_RECORDS ? STATUS_INSUFFICIENT_RESOURCES : ZoneExtend(&Device->Zone, More);

        if (!NT_SUCCESS(Status))
        {
            FileRelease(File);
            return Status;
        }
    }
    New->File = File;
    New->Pend = *Pend;
    New->Order = 0;
    New->Accepted = KeQueryPerformanceCounter(NULL).QuadPart;
    *Record = New;
    return STATUS_SUCCESS;
}

VOID RecordFree(DEVICE *Device, RECORD *Record)
{
    OPENED *File = Record->File;

    ZoneFree(&Device->Zone, Record);
    FileRelease(File);
}

/* The index of the current processor's counters; at DISPATCH_LEVEL. */
static ULONG CurrentProcessor(VOID)
{
    ULONG Number = KeGetCurrentProcessorNumberEx(NULL);

    return Number < PROCESSORS ? Number : PROCESSORS - 1;
}

VOID LedgerAccept(LEDGER *Ledger, RECORD *Record)
{
    KIRQL Irql;

    InterlockedIncrement(&Ledger->Outstanding);
    KeRaiseIrql(DISPATCH_LEVEL, &Irql);
    KeAcquireSpinLockAtDpcLevel(&Ledger->CountsLock);
    Ledger->Counts.Submitted++;
    KeReleaseSpinLockFromDpcLevel(&Ledger->CountsLock);
    InterlockedIncrement(&Ledger->Processor[CurrentProcessor()].Accepted);
    KeLowerIrql(Irql);
    Record->Sequence = ExInterlockedAddUlong(&Ledger->Sequence, 1, &Ledger->SequenceLock);
}

/* Adds to one of the counters, and returns its new value. */
static ULONG64 Count(LEDGER *Ledger, ULONG64 *Counter)
{
    KIRQL Irql;
    ULONG64 New;

    KeAcquireSpinLock(&Ledger->CountsLock, &Irql);
    New = ++*Counter;
    KeReleaseSpinLock(&Ledger->CountsLock, Irql);
    return New;
}

VOID LedgerReject(LEDGER *Ledger)
{
    Count(Ledger, &Ledger->Counts.Rejected);
}

VOID LedgerRefuse(LEDGER *Ledger)
{
    Count(Ledger, &Ledger->Counts.OverQuota);
}

VOID LedgerCountDpc(LEDGER *Ledger)
{
    InterlockedIncrement(&Ledger->Processor[CurrentProcessor()].Dpcs);
}

/* Adds a request's latency to the statistics, and counts the request as no longer outstanding. */
static VOID Measure(LEDGER *Ledger, const RECORD *Record)
{
    LARGE_INTEGER Frequency, Hundreds;
    ULONG64 Ticks = (ULONG64)(KeQueryPerformanceCounter(&Frequency).QuadPart - Record->Accepted);
    ULONG64 PerSecond = (ULONG64)Frequency.QuadPart;
    KIRQL Irql;

    Hundreds.QuadPart = (LONG64)(Ticks / PerSecond * 10000000 + Ticks % PerSecond * 10000000 / PerSecond);
    ExInterlockedAddLargeInteger(&Ledger->Latency, Hundreds, &Ledger->LatencyLock);
    KeAcquireSpinLock(&Ledger->LongestLock, &Irql);
    if (Ledger->Longest < Hundreds.QuadPart) Ledger->Longest = Hundreds.QuadPart;
    KeReleaseSpinLock(&Ledger->LongestLock, Irql);
    InterlockedDecrement(&Ledger->Outstanding);
}

VOID LedgerSucceed(LEDGER *Ledger, RECORD *Record)
{
    Measure(Ledger, Record);
    Record->Order = Count(Ledger, &Ledger->Counts.Completed);
}

VOID LedgerCounters(LEDGER *Ledger, COUNTERS *Counters)
{
    KIRQL Irql;
    LONG Pending = ReadNoFence(&Ledger->Outstanding);

    KeAcquireSpinLock(&Ledger->CountsLock, &Irql);
    *Counters = Ledger->Counts;
    KeReleaseSpinLock(&Ledger->CountsLock, Irql);
    Counters->Pending = Pending < 0 ? 0 : (ULONG64)Pending;
}

VOID DeviceStatistics(DEVICE *Device, STATISTICS *Statistics)
{
    static const LARGE_INTEGER Nothing;
    LEDGER *Ledger = &Device->Ledger;
    KIRQL Irql;
    ULONG Number;

    Statistics->Latency = ExInterlockedAddLargeInteger(&Ledger->Latency, Nothing, &Ledger->LatencyLock).QuadPart;
    KeAcquireSpinLock(&Ledger->LongestLock, &Irql);
    Statistics->Longest = Ledger->Longest;
    KeReleaseSpinLock(&Ledger->LongestLock, Irql);
    Statistics->Records = (ULONG)ReadNoFence(&Device->Zone.Blocks);
    Statistics->RecordsInUse = (ULONG)ReadNoFence(&Device->Zone.InUse);
    Statistics->Stacked = (ULONG)ReadNoFence(&Ledger->Stacked);
    Statistics->Processors = KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS);
    for (Number = 0; Number < PROCESSORS; Number++)
    {
        Statistics->Processor[Number].Accepted = (ULONG)ReadNoFence(&Ledger->Processor[Number].Accepted);
        Statistics->Processor[Number].Dpcs = (ULONG)ReadNoFence(&Ledger->Processor[Number].Dpcs);
    }
}

VOID RecordOutput(const RECORD *Record, PENDED_OUTPUT *Output)
{
    Output->Tag = Record->Pend.Tag;
    Output->Order = Record->Order;
    Output->Sequence = Record->Sequence;
    Output->Queue = Record->Pend.Queue;
    Output->Key = Record->Pend.Key;
    Output->Reserved = 0;
}

VOID CompleteRecord(DEVICE *Device, RECORD *Record)
{
    PIRP Irp = Record->Irp;

    LedgerSucceed(&Device->Ledger, Record);
    RecordOutput(Record, Irp->AssociatedIrp.SystemBuffer);
    /* Before the completion, so that the sender finds the record free. */
    RecordFree(Device, Record);
    Complete(Irp, STATUS_SUCCESS, sizeof(PENDED_OUTPUT));
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
}

VOID EndPended(DEVICE *Device, PIRP Irp, NTSTATUS Status)
{
    LEDGER *Ledger = &Device->Ledger;
    RECORD *Record = IRP_RECORD(Irp);

    if (Record)
    {
        Measure(Ledger, Record);
        Count(Ledger, Status == STATUS_CANCELLED ? &Ledger->Counts.Cancelled : &Ledger->Counts.Aborted);
        RecordFree(Device, Record);
    }
    Complete(Irp, Status, 0);
    IoReleaseRemoveLock(&Device->RemoveLock, Irp);
}
