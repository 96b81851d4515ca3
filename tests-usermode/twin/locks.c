/* Spin locks: acquisition, mutual exclusion, and that the IRQL is restored. */

#include "routine.h"

/* Two threads: one holds a lock while the other tries to acquire it. */
typedef struct {
    KSPIN_LOCK Lock;
    volatile LONG State;
    volatile LONG Taken; /* the lock was acquired while the other thread held it */
} MEETING;

enum { MEETING_FREE, MEETING_HELD, MEETING_TRIED };

#define MEETING_TRIES 1000
#define MEETING_POLLS 200

static BOOLEAN WaitFor(MEETING *Meeting, LONG State)
{
    ULONG Poll;

    for (Poll = 0; Poll < MEETING_POLLS; Poll++)
    {
        YieldProcessor();
        if (Meeting->State == State) return TRUE;
    }
    return FALSE;
}

/* Holds the lock for a few microseconds; returns whether the other thread tried to acquire it. */
static BOOLEAN Hold(MEETING *Meeting)
{
    BOOLEAN Tried;

    KeAcquireSpinLockAtDpcLevel(&Meeting->Lock);
    InterlockedExchange(&Meeting->State, MEETING_HELD);
    WaitFor(Meeting, MEETING_TRIED);
    Tried = InterlockedExchange(&Meeting->State, MEETING_FREE) == MEETING_TRIED;
    KeReleaseSpinLockFromDpcLevel(&Meeting->Lock);
    return Tried;
}

/* Tries to acquire the lock; returns whether the other thread held it throughout. */
static BOOLEAN TryToAcquire(MEETING *Meeting)
{
    if (!WaitFor(Meeting, MEETING_HELD)) return FALSE;
    if (KeTryToAcquireSpinLockAtDpcLevel(&Meeting->Lock))
    {
        if (Meeting->State == MEETING_HELD) Meeting->Taken = TRUE;
        KeReleaseSpinLockFromDpcLevel(&Meeting->Lock);
    }
    return InterlockedCompareExchange(&Meeting->State, MEETING_TRIED, MEETING_HELD) == MEETING_HELD;
}

static VOID Meet(RUN *Run, ULONG Thread)
{
    BOOLEAN Met = FALSE;
    ULONG Try;

    for (Try = 0; !Met && Try < MEETING_TRIES; Try++)
    {
        KIRQL Irql;

        KeRaiseIrql(DISPATCH_LEVEL, &Irql);
        Met = Thread == 0 ? Hold(Run->Context) : TryToAcquire(Run->Context);
        KeLowerIrql(Irql);
    }
}

/* Whether a lock can be acquired. */
static BOOLEAN IsFree(PKSPIN_LOCK Lock)
{
    KIRQL Irql;
    BOOLEAN Free;

    KeRaiseIrql(DISPATCH_LEVEL, &Irql);
    Free = KeTryToAcquireSpinLockAtDpcLevel(Lock);
    if (Free) KeReleaseSpinLockFromDpcLevel(Lock);
    KeLowerIrql(Irql);
    return Free;
}

static NTSTATUS AcquireHeld(RETURNED *Returned)
{
    MEETING Meeting = { 0, MEETING_FREE, FALSE };
    RUN Run = { R_KeAcquireSpinLockAtDpcLevel, 2, 1, 0, 0, Meet, &Meeting };
    NTSTATUS Status;

    KeInitializeSpinLock(&Meeting.Lock);
    Status = EachThread(&Run);
    Returned->Value = (ULONG64)Meeting.Taken;
    return Status;
}

NTSTATUS RunLock(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    KSPIN_LOCK Lock, Other;
    KIRQL Irql, Inner;
    ULONG64 Time;

    KeInitializeSpinLock(&Lock);
    KeInitializeSpinLock(&Other);
    switch (Routine)
    {
    case R_IoAcquireCancelSpinLock:
        IoAcquireCancelSpinLock(&Irql);
        IoReleaseCancelSpinLock(Irql);
        Returned->Value = Irql;
        KeAcquireSpinLock(&Lock, &Irql);
        IoAcquireCancelSpinLock(&Inner);
        IoReleaseCancelSpinLock(Inner);
        KeReleaseSpinLock(&Lock, Irql);
        PushRemaining(Returned, Inner);
        break;
    case R_IoReleaseCancelSpinLock:
        for (Time = 0; Time < Call->Argument; Time++)
        {
            IoAcquireCancelSpinLock(&Irql);
            IoReleaseCancelSpinLock(Irql);
            Returned->Value = Irql;
        }
        break;
    case R_KeInitializeSpinLock:
        Returned->Value = IsFree(&Lock);
        break;
    case R_KeAcquireSpinLock:
        KeAcquireSpinLock(&Lock, &Irql);
        KeAcquireSpinLock(&Other, &Inner);
        KeReleaseSpinLock(&Other, Inner);
        KeReleaseSpinLock(&Lock, Irql);
        Returned->Value = Irql;
        PushRemaining(Returned, Inner);
        break;
    case R_KeReleaseSpinLock:
        for (Time = 0; Time < Call->Argument; Time++)
        {
            KeAcquireSpinLock(&Lock, &Irql);
            KeReleaseSpinLock(&Lock, Irql);
            Returned->Value = Irql;
        }
        Returned->Found = IsFree(&Lock);
        break;
    case R_KeAcquireSpinLockAtDpcLevel:
        return AcquireHeld(Returned);
    case R_KeReleaseSpinLockFromDpcLevel:
        KeRaiseIrql(DISPATCH_LEVEL, &Irql);
        KeAcquireSpinLockAtDpcLevel(&Lock);
        KeReleaseSpinLockFromDpcLevel(&Lock);
        KeLowerIrql(Irql);
        Returned->Value = IsFree(&Lock);
        break;
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    return STATUS_SUCCESS;
}

/* The count of the threads under one lock. */
typedef struct {
    KSPIN_LOCK Lock;
    ULONG64 Turns;
    /* A copy of the count, which differs if two threads held the lock together. */
    ULONG64 Again;
} TURNS;

static VOID TakeTurns(RUN *Run, ULONG Thread)
{
    TURNS *Turns = Run->Context;
    ULONG Round;

    UNREFERENCED_PARAMETER(Thread);
    for (Round = 0; Round < Run->Rounds; Round++)
    {
        BOOLEAN IsCancel = Run->Routine <= R_IoReleaseCancelSpinLock;
        BOOLEAN AtDpc = Run->Routine >= R_KeAcquireSpinLockAtDpcLevel;
        KIRQL Irql;

        if (IsCancel)
            IoAcquireCancelSpinLock(&Irql);
        else if (AtDpc)
        {
            KeRaiseIrql(DISPATCH_LEVEL, &Irql);
            KeAcquireSpinLockAtDpcLevel(&Turns->Lock);
        }
        else
            KeAcquireSpinLock(&Turns->Lock, &Irql);

        Check(Run, Irql == PASSIVE_LEVEL && Turns->Turns == Turns->Again);
        Turns->Turns++;
        Turns->Again++;

        if (IsCancel)
            IoReleaseCancelSpinLock(Irql);
        else if (AtDpc)
        {
            KeReleaseSpinLockFromDpcLevel(&Turns->Lock);
            KeLowerIrql(Irql);
        }
        else
            KeReleaseSpinLock(&Turns->Lock, Irql);
    }
}

NTSTATUS LocksInThreads(RUN *Run, ULONG64 *Expected)
{
    TURNS Turns = { 0, 0, 0 };
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(Expected);
    KeInitializeSpinLock(&Turns.Lock);
    Run->Body = TakeTurns;
    Run->Context = &Turns;
    Status = EachThread(Run);
    Run->Actual = (LONG64)Turns.Turns;
    return Status;
}
