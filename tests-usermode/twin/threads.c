/* A routine that several system threads run on one object. */

#include "routine.h"

typedef struct {
    RUN *Run;
    ULONG Number;
} JOB;

VOID Check(RUN *Run, BOOLEAN Holds)
{
    if (!Holds) InterlockedIncrement64(&Run->Violations);
}

static KSTART_ROUTINE Thread;
static VOID NTAPI Thread(PVOID Context)
{
    JOB *Job = Context;

    Job->Run->Body(Job->Run, Job->Number);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

NTSTATUS EachThread(RUN *Run)
{
    OBJECT_ATTRIBUTES Attributes;
    HANDLE Handles[MAX_THREADS];
    JOB Jobs[MAX_THREADS];
    ULONG Started, Number;
    NTSTATUS Status = STATUS_SUCCESS;

    InitializeObjectAttributes(&Attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    for (Started = 0; Started < Run->Threads; Started++)
    {
        Jobs[Started].Run = Run;
        Jobs[Started].Number = Started;
        Status = PsCreateSystemThread(&Handles[Started], THREAD_ALL_ACCESS, &Attributes, NULL, NULL, Thread,
                                      &Jobs[Started]);
        if (!NT_SUCCESS(Status)) break;
    }
    for (Number = 0; Number < Started; Number++)
    {
        ZwWaitForSingleObject(Handles[Number], FALSE, NULL);
        ZwClose(Handles[Number]);
    }
    return Status;
}

BOOLEAN ThreadsAreValid(const RUN_THREADS_INPUT *Input)
{
    switch (Input->Routine)
    {
    case R_IoSetCancelRoutine:
    case R_KeInitializeSpinLock:
    case R_ExInitializeZone:
    case R_ExExtendZone:
    case R_KeInitializeDeviceQueue:
        return FALSE;
    }
    return Input->Routine < ROUTINES && Input->Threads >= 1 && Input->Threads <= MAX_THREADS && Input->Rounds >= 1 &&
           Input->Rounds <= MAX_ROUNDS && Input->Reserved == 0;
}

NTSTATUS RunThreads(const RUN_THREADS_INPUT *Input, THREADS_RAN_OUTPUT *Output)
{
    RUN Run = { Input->Routine, Input->Threads, Input->Rounds, 0, 0, NULL, NULL };
    ULONG64 Total = (ULONG64)Run.Threads * Run.Rounds, Expected = Total;
    NTSTATUS Status;

    if (Run.Routine <= R_KeReleaseSpinLockFromDpcLevel)
        Status = LocksInThreads(&Run, &Expected);
    else if (Run.Routine <= R_ExInterlockedPopEntryList)
        Status = ListsInThreads(&Run, &Expected);
    else if (Run.Routine <= R_ExInterlockedFreeToZone)
        Status = ZonesInThreads(&Run, &Expected);
    else if (Run.Routine <= R_KeRemoveEntryDeviceQueue)
        Status = DeviceQueuesInThreads(&Run, &Expected);
    else
        Status = NumbersInThreads(&Run, &Expected);
    if (!NT_SUCCESS(Status)) return Status;
    Output->Rounds = Total;
    Output->Expected = Expected;
    Output->Actual = (ULONG64)Run.Actual;
    Output->Violations = (ULONG64)Run.Violations;
    return STATUS_SUCCESS;
}
