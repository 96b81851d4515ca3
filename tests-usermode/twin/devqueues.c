/* Device queues: checks the order of the requests, and that one request is served at a time. */

#include "routine.h"

typedef struct {
    KDEVICE_QUEUE_ENTRY Entry;
    ULONG64 Number;      /* the value in the call, or the number of the thread; also the key */
    volatile LONG Waits; /* TRUE from the submission until the request is served */
} REQUEST;

static BOOLEAN ByKey(ULONG Routine)
{
    return Routine == R_KeInsertByKeyDeviceQueue || Routine == R_KeRemoveByKeyDeviceQueue ||
           Routine == R_KeRemoveByKeyDeviceQueueIfBusy;
}

static BOOLEAN Insert(ULONG Routine, PKDEVICE_QUEUE Queue, REQUEST *Request)
{
    return ByKey(Routine) ? KeInsertByKeyDeviceQueue(Queue, &Request->Entry, (ULONG)Request->Number)
                          : KeInsertDeviceQueue(Queue, &Request->Entry);
}

static REQUEST *Remove(ULONG Routine, PKDEVICE_QUEUE Queue, ULONG Key)
{
    PKDEVICE_QUEUE_ENTRY Entry;

    if (Routine == R_KeRemoveByKeyDeviceQueueIfBusy)
        Entry = KeRemoveByKeyDeviceQueueIfBusy(Queue, Key);
    else if (ByKey(Routine))
        Entry = KeRemoveByKeyDeviceQueue(Queue, Key);
    else
        Entry = KeRemoveDeviceQueue(Queue);
    return Entry ? CONTAINING_RECORD(Entry, REQUEST, Entry) : NULL;
}

NTSTATUS RunDeviceQueue(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    BOOLEAN Inserts = Routine == R_KeInsertDeviceQueue || Routine == R_KeInsertByKeyDeviceQueue;
    REQUEST Requests[CALL_VALUES], Served = { 0 }, *Request = NULL;
    KDEVICE_QUEUE Queue;
    ULONG Index;
    BOOLEAN Busy = FALSE;
    KIRQL Irql;

    KeInitializeDeviceQueue(&Queue);
    KeRaiseIrql(DISPATCH_LEVEL, &Irql);
    if (Routine == R_KeInitializeDeviceQueue)
        Returned->Value = KeInsertDeviceQueue(&Queue, &Served.Entry);
    else
    {
        /* The removal routines run on a queue that is busy with another request, unless the call specifies an idle queue. */
        if (!Inserts && Call->Reserved == 0) Busy = !Insert(Routine, &Queue, &Served);
        for (Index = 0; Index < Call->Count; Index++)
        {
            Requests[Index].Number = Call->Values[Index];
            if (Insert(Routine, &Queue, &Requests[Index]))
                Returned->Value += Inserts;
            else
            {
                Busy = TRUE;
                Returned->Found = Inserts && Index == 0;
            }
        }
        if (Routine == R_KeRemoveEntryDeviceQueue)
        {
            PKDEVICE_QUEUE_ENTRY Entry = &Requests[Call->Argument].Entry;

            Returned->Found = KeRemoveEntryDeviceQueue(&Queue, Entry);
            Returned->Value = KeRemoveEntryDeviceQueue(&Queue, Entry);
        }
        else if (!Inserts)
        {
            Request = Remove(Routine, &Queue, (ULONG)Call->Argument);
            Busy = Request != NULL;
            if (Request)
                SetFound(Returned, Request->Number);
            else
                Returned->Status = (ULONG)STATUS_DEVICE_NOT_READY;
        }
        while (Busy && (Request = Remove(Routine, &Queue, 0))) PushRemaining(Returned, Request->Number);
    }
    KeLowerIrql(Irql);
    return STATUS_SUCCESS;
}

/* A device that serves one request at a time. */
typedef struct {
    KDEVICE_QUEUE Queue;
    volatile LONG Serves;
    REQUEST Requests[MAX_THREADS];
} SHARED;

/* The number of times that a thread checks whether its request was served, which takes seconds. */
#define POLLS (1 << 28)

/* Counts a request, and checks that it was waiting. Its thread may submit it again immediately. */
static VOID Done(RUN *Run, REQUEST *Request)
{
    InterlockedIncrement64(&Run->Actual);
    Check(Run, InterlockedExchange(&Request->Waits, FALSE) == TRUE);
}

/* Serves a request and all that follow. */
static VOID Serve(RUN *Run, SHARED *Shared, REQUEST *Request)
{
    while (Request)
    {
        ULONG Key = (ULONG)Request->Number;
        KIRQL Irql;

        Check(Run, InterlockedExchange(&Shared->Serves, TRUE) == FALSE);
        Done(Run, Request);
        Check(Run, InterlockedExchange(&Shared->Serves, FALSE) == TRUE);
        /* Lowers the IRQL each time, since otherwise the other threads could keep this one at DISPATCH_LEVEL. */
        KeRaiseIrql(DISPATCH_LEVEL, &Irql);
        Request = Remove(Run->Routine, &Shared->Queue, Key);
        KeLowerIrql(Irql);
    }
}

static BOOLEAN IsServed(REQUEST *Request)
{
    ULONG Poll;

    for (Poll = 0; Poll < POLLS; Poll++)
    {
        YieldProcessor();
        if (!Request->Waits) return TRUE;
    }
    return FALSE;
}

static VOID Submit(RUN *Run, ULONG Thread)
{
    SHARED *Shared = Run->Context;
    REQUEST *Request = &Shared->Requests[Thread];
    ULONG Round;

    for (Round = 0; Round < Run->Rounds; Round++)
    {
        BOOLEAN Queued;
        KIRQL Irql;

        InterlockedExchange(&Request->Waits, TRUE);
        KeRaiseIrql(DISPATCH_LEVEL, &Irql);
        Queued = Insert(Run->Routine, &Shared->Queue, Request);
        KeLowerIrql(Irql);
        if (!Queued) Serve(Run, Shared, Request);
        if (Run->Routine == R_KeRemoveEntryDeviceQueue && KeRemoveEntryDeviceQueue(&Shared->Queue, &Request->Entry))
            Done(Run, Request);
        if (!IsServed(Request))
        {
            Check(Run, FALSE);
            return;
        }
    }
}

NTSTATUS DeviceQueuesInThreads(RUN *Run, ULONG64 *Expected)
{
    SHARED Shared = { 0 };
    ULONG Thread;

    UNREFERENCED_PARAMETER(Expected);
    KeInitializeDeviceQueue(&Shared.Queue);
    for (Thread = 0; Thread < MAX_THREADS; Thread++) Shared.Requests[Thread].Number = Thread;
    Run->Body = Submit;
    Run->Context = &Shared;
    return EachThread(Run);
}
