/* IRP_MJ_DEVICE_CONTROL: checks and performs each request. */

#include "device.h"
#include "routine.h"

/* Checks the lengths of a request's buffers. */
static NTSTATUS CheckLengths(PIO_STACK_LOCATION Stack, ULONG Input, ULONG Output)
{
    if (Stack->Parameters.DeviceIoControl.InputBufferLength != Input) return STATUS_INFO_LENGTH_MISMATCH;
    if (Stack->Parameters.DeviceIoControl.OutputBufferLength < Output) return STATUS_BUFFER_TOO_SMALL;
    return STATUS_SUCCESS;
}

static BOOLEAN PendIsValid(const PEND_INPUT *Pend)
{
    static const struct {
        ULONG Key, ServiceMs;
    } Most[] = {
        [QUEUE_FIFO] = { 0, 0 },
        [QUEUE_KEYED] = { MAXULONG, MAX_SERVICE_MS },
        [QUEUE_SERIAL] = { 0, MAX_SERVICE_MS },
        [QUEUE_INTERLOCKED] = { 1, 0 },
        [QUEUE_STACK] = { 0, 0 },
    };

    return Pend->Queue < RTL_NUMBER_OF(Most) && Pend->Key <= Most[Pend->Queue].Key &&
           Pend->ServiceMs <= Most[Pend->Queue].ServiceMs && Pend->Reserved == 0;
}

/* Checks a request: its code, the lengths of its buffers, the values in its input. */
static NTSTATUS CheckRequest(PIO_STACK_LOCATION Stack, PVOID Buffer)
{
    ULONG Code = Stack->Parameters.DeviceIoControl.IoControlCode;
    NTSTATUS Status;
    BOOLEAN Valid = TRUE;

    switch (Code)
    {
    case IOCTL_GET_VERSION:
        return CheckLengths(Stack, 0, sizeof(VERSION_OUTPUT));
    case IOCTL_GET_COUNTERS:
        return CheckLengths(Stack, 0, sizeof(COUNTERS));
    case IOCTL_GET_STATISTICS:
        return CheckLengths(Stack, 0, sizeof(STATISTICS));
    case IOCTL_POP:
        return CheckLengths(Stack, 0, sizeof(PENDED_OUTPUT));
    case IOCTL_COMPLETE_BY_TAG:
        return CheckLengths(Stack, sizeof(COMPLETE_BY_TAG_INPUT), 0);
    case IOCTL_PEND:
        Status = CheckLengths(Stack, sizeof(PEND_INPUT), sizeof(PENDED_OUTPUT));
        if (NT_SUCCESS(Status)) Valid = PendIsValid(Buffer);
        break;
    case IOCTL_COMPLETE_OLDEST:
        Status = CheckLengths(Stack, sizeof(COMPLETE_OLDEST_INPUT), sizeof(COMPLETED_OUTPUT));
        if (NT_SUCCESS(Status))
        {
            const COMPLETE_OLDEST_INPUT *Input = Buffer;

            Valid = Input->Count != 0 && Input->Reserved == 0;
        }
        break;
    case IOCTL_SET_RUN_STATE:
        Status = CheckLengths(Stack, sizeof(RUN_STATE), sizeof(RUN_STATE));
        if (NT_SUCCESS(Status))
        {
            const RUN_STATE *Input = Buffer;

            Valid = Input->State <= RUN_STATE_STOPPED && Input->Reserved == 0;
        }
        break;
    case IOCTL_RUN_THREADS:
        Status = CheckLengths(Stack, sizeof(RUN_THREADS_INPUT), sizeof(THREADS_RAN_OUTPUT));
        if (NT_SUCCESS(Status)) Valid = ThreadsAreValid(Buffer);
        break;
    default:
        if ((Code - IOCTL_FIRST_ROUTINE) % 4 != 0 || (Code - IOCTL_FIRST_ROUTINE) / 4 >= ROUTINES)
            return STATUS_INVALID_DEVICE_REQUEST;
        Status = CheckLengths(Stack, sizeof(CALL), sizeof(RETURNED));
        if (NT_SUCCESS(Status)) Valid = CallIsValid((Code - IOCTL_FIRST_ROUTINE) / 4, Buffer);
        break;
    }
    return NT_SUCCESS(Status) && !Valid ? STATUS_INVALID_PARAMETER : Status;
}

/* Pends a request. Returns STATUS_PENDING if a queue owns it, with the caller's hold of the remove lock. */
static NTSTATUS Pend(DEVICE *Device, OPENED *File, PIRP Irp, ULONG_PTR *Information)
{
    const PEND_INPUT *Input = Irp->AssociatedIrp.SystemBuffer;
    RECORD *Record;
    NTSTATUS Status;

    if (ReadNoFence(&Device->RunState) != RUN_STATE_RUNNING) return STATUS_DEVICE_NOT_READY;
    Status = RecordAllocate(Device, File, Input, &Record);
    if (!NT_SUCCESS(Status))
    {
        if (Status == STATUS_QUOTA_EXCEEDED) LedgerRefuse(&Device->Ledger);
        return Status;
    }
    Record->Irp = Irp;
    LedgerAccept(&Device->Ledger, Record);
    switch (Record->Pend.Queue)
    {
    case QUEUE_KEYED:
        return ServedQueueInsert(&Device->Served[SERVED_KEYED], File, Irp, Record);
    case QUEUE_SERIAL:
        return ServedQueueInsert(&Device->Served[SERVED_SERIAL], File, Irp, Record);
    case QUEUE_INTERLOCKED:
        return DrainedInsert(Device, Irp, Record);
    case QUEUE_STACK:
        LedgerSucceed(&Device->Ledger, Record);
        RecordOutput(Record, Irp->AssociatedIrp.SystemBuffer);
        InterlockedIncrement(&Device->Ledger.Stacked);
        ExInterlockedPushEntryList(&File->Stack, &Record->Link, &File->StackLock);
        *Information = sizeof(PENDED_OUTPUT);
        return STATUS_SUCCESS;
    default:
        return OwnQueueInsert(&Device->Own[OWN_FIFO], File, Irp, Record);
    }
}

static NTSTATUS Pop(DEVICE *Device, OPENED *File, PENDED_OUTPUT *Output, ULONG_PTR *Information)
{
    PSINGLE_LIST_ENTRY Entry = ExInterlockedPopEntryList(&File->Stack, &File->StackLock);
    RECORD *Record;

    if (!Entry) return STATUS_NOT_FOUND;
    Record = CONTAINING_RECORD(Entry, RECORD, Link);
    InterlockedDecrement(&Device->Ledger.Stacked);
    RecordOutput(Record, Output);
    RecordFree(Device, Record);
    *Information = sizeof(*Output);
    return STATUS_SUCCESS;
}

/* Completes the oldest requests. Requests that arrive during the call are not completed, so the call ends. */
static ULONG CompleteOldest(DEVICE *Device, ULONG Count)
{
    OWN_QUEUE *Queue = &Device->Own[OWN_FIFO];
    ULONG Length = OwnQueueLength(Queue), Done;
    PIRP Irp;

    for (Done = 0; Done < Count && Done < Length && (Irp = OwnQueueRemoveFirst(Queue)); Done++)
        CompleteRecord(Device, IRP_RECORD(Irp));
    return Done;
}

static NTSTATUS CompleteByTag(DEVICE *Device, ULONG64 Tag)
{
    PIRP Irp = OwnQueueRemoveByTag(&Device->Own[OWN_FIFO], Tag);

    if (!Irp) return STATUS_NOT_FOUND;
    CompleteRecord(Device, IRP_RECORD(Irp));
    return STATUS_SUCCESS;
}

/* IoSetCancelRoutine runs on the request's own IRP. */
static NTSTATUS CallCancelable(DEVICE *Device, OPENED *File, PIRP Irp)
{
    const CALL *Call = Irp->AssociatedIrp.SystemBuffer;

    if (Call->Argument != 0) return OwnQueueInsert(&Device->Own[OWN_LEFT], File, Irp, NULL);
    OwnQueueInsert(&Device->Own[OWN_RETURNED], File, Irp, NULL);
    /* Another request on this queue has the same result. A request that was cancelled before is not found. */
    Irp = OwnQueueRemoveFirst(&Device->Own[OWN_RETURNED]);
    if (Irp)
    {
        RETURNED *Returned = Irp->AssociatedIrp.SystemBuffer;

        RtlZeroMemory(Returned, sizeof(*Returned));
        Returned->Found = 1;
        Complete(Irp, STATUS_SUCCESS, sizeof(*Returned));
        IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    }
    return STATUS_PENDING;
}

static NTSTATUS Handle(DEVICE *Device, PIRP Irp, OPENED *File, ULONG Code, ULONG_PTR *Information)
{
    PVOID Buffer = Irp->AssociatedIrp.SystemBuffer;
    NTSTATUS Status = STATUS_SUCCESS;

    switch (Code)
    {
    case IOCTL_GET_VERSION:
        *(VERSION_OUTPUT *)Buffer = (VERSION_OUTPUT){ ABI_VERSION, VERSION_MAJOR, VERSION_MINOR, VERSION_PATCH };
        *Information = sizeof(VERSION_OUTPUT);
        return STATUS_SUCCESS;
    case IOCTL_PEND:
        return Pend(Device, File, Irp, Information);
    case IOCTL_COMPLETE_OLDEST:
    {
        COMPLETED_OUTPUT *Completed = Buffer;

        Completed->Count = CompleteOldest(Device, Completed->Count);
        Completed->Reserved = 0;
        *Information = sizeof(*Completed);
        return STATUS_SUCCESS;
    }
    case IOCTL_COMPLETE_BY_TAG:
        return CompleteByTag(Device, ((COMPLETE_BY_TAG_INPUT *)Buffer)->Tag);
    case IOCTL_GET_COUNTERS:
        LedgerCounters(&Device->Ledger, Buffer);
        *Information = sizeof(COUNTERS);
        return STATUS_SUCCESS;
    case IOCTL_GET_STATISTICS:
        DeviceStatistics(Device, Buffer);
        *Information = sizeof(STATISTICS);
        return STATUS_SUCCESS;
    case IOCTL_POP:
        return Pop(Device, File, Buffer, Information);
    case IOCTL_SET_RUN_STATE:
    {
        RUN_STATE *State = Buffer;

        State->State = (ULONG)InterlockedExchange(&Device->RunState, (LONG)State->State);
        *Information = sizeof(*State);
        return STATUS_SUCCESS;
    }
    case IOCTL_RUN_THREADS:
    {
        RUN_THREADS_INPUT Input = *(RUN_THREADS_INPUT *)Buffer;

        Status = RunThreads(&Input, Buffer);
        if (NT_SUCCESS(Status)) *Information = sizeof(THREADS_RAN_OUTPUT);
        return Status;
    }
    default:
    {
        ULONG Routine = (Code - IOCTL_FIRST_ROUTINE) / 4;
        CALL Call;

        if (Routine == R_IoSetCancelRoutine) return CallCancelable(Device, File, Irp);
        Call = *(CALL *)Buffer;
        RtlZeroMemory(Buffer, sizeof(RETURNED));
        Status = RunRoutine(Routine, &Call, Buffer);
        if (NT_SUCCESS(Status)) *Information = sizeof(RETURNED);
        return Status;
    }
    }
}

NTSTATUS NTAPI DispatchControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    DEVICE *Device = DeviceObject->DeviceExtension;
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG_PTR Information = 0;
    NTSTATUS Status = IoAcquireRemoveLock(&Device->RemoveLock, Irp);

    if (!NT_SUCCESS(Status)) return Complete(Irp, STATUS_DELETE_PENDING, 0);
    /* A pended request keeps the first hold; the second one is for this call. */
    Status = IoAcquireRemoveLock(&Device->RemoveLock, DeviceObject);
    if (!NT_SUCCESS(Status) || Device->Gone)
    {
        if (NT_SUCCESS(Status)) IoReleaseRemoveLock(&Device->RemoveLock, DeviceObject);
        Complete(Irp, STATUS_DELETE_PENDING, 0);
        IoReleaseRemoveLock(&Device->RemoveLock, Irp);
        return STATUS_DELETE_PENDING;
    }
    /* Other threads wait for what this one holds, so user mode must not suspend it. */
    KeEnterCriticalRegion();
    Status = CheckRequest(Stack, Irp->AssociatedIrp.SystemBuffer);
    if (!NT_SUCCESS(Status))
    {
        LedgerReject(&Device->Ledger);
        Log(DPFLTR_TRACE_LEVEL, "twin: IOCTL 0x%08lx rejected with NTSTATUS 0x%08lx\n",
            Stack->Parameters.DeviceIoControl.IoControlCode, Status);
    }
    else
        Status = Handle(Device, Irp, Stack->FileObject->FsContext, Stack->Parameters.DeviceIoControl.IoControlCode,
                        &Information);
    if (Status != STATUS_PENDING)
    {
        Complete(Irp, Status, Information);
        IoReleaseRemoveLock(&Device->RemoveLock, Irp);
    }
    KeLeaveCriticalRegion();
    IoReleaseRemoveLock(&Device->RemoveLock, DeviceObject);
    return Status;
}

NTSTATUS NTAPI DispatchOther(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}
