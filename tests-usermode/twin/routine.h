/* The routines that a request runs, on objects that are made for it. */
#pragma once

#include "abi.h"

/* routine.c */
BOOLEAN CallIsValid(ULONG Routine, const CALL *Call);
NTSTATUS RunRoutine(ULONG Routine, const CALL *Call, RETURNED *Returned);

/* A run of a routine from threads. */
typedef struct _RUN RUN;
typedef VOID THREAD_BODY(RUN *Run, ULONG Thread);
struct _RUN {
    ULONG Routine, Threads, Rounds;
    volatile LONG64 Actual, Violations;
    THREAD_BODY *Body;
    PVOID Context;
};

/* threads.c */
BOOLEAN ThreadsAreValid(const RUN_THREADS_INPUT *Input);
NTSTATUS RunThreads(const RUN_THREADS_INPUT *Input, THREADS_RAN_OUTPUT *Output);
/* Calls Run->Body in Run->Threads system threads, and waits for their ends. */
NTSTATUS EachThread(RUN *Run);
VOID Check(RUN *Run, BOOLEAN Holds);

/* Each file runs its routines once, and from threads. Expected is the number of rounds unless the
 * file sets it. */
NTSTATUS RunLock(ULONG Routine, const CALL *Call, RETURNED *Returned);
NTSTATUS LocksInThreads(RUN *Run, ULONG64 *Expected);
NTSTATUS RunList(ULONG Routine, const CALL *Call, RETURNED *Returned);
NTSTATUS ListsInThreads(RUN *Run, ULONG64 *Expected);
NTSTATUS RunZone(ULONG Routine, const CALL *Call, RETURNED *Returned);
NTSTATUS ZonesInThreads(RUN *Run, ULONG64 *Expected);
NTSTATUS RunDeviceQueue(ULONG Routine, const CALL *Call, RETURNED *Returned);
NTSTATUS DeviceQueuesInThreads(RUN *Run, ULONG64 *Expected);
NTSTATUS RunNumber(ULONG Routine, const CALL *Call, RETURNED *Returned);
NTSTATUS NumbersInThreads(RUN *Run, ULONG64 *Expected);

static inline VOID PushRemaining(RETURNED *Returned, ULONG64 Value)
{
    Returned->Values[Returned->Count++] = Value;
}

static inline VOID SetFound(RETURNED *Returned, ULONG64 Value)
{
    Returned->Found = 1;
    Returned->Value = Value;
}
