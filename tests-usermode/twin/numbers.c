/* Interlocked variables, and the processor number. */

#include "routine.h"

/* Reads the processor number twice at DISPATCH_LEVEL, where the thread stays on its processor. */
static BOOLEAN ReadProcessor(ULONG *Number)
{
    KIRQL Irql;
    ULONG Again;

    KeRaiseIrql(DISPATCH_LEVEL, &Irql);
    *Number = KeGetCurrentProcessorNumberEx(NULL);
    Again = KeGetCurrentProcessorNumberEx(NULL);
    KeLowerIrql(Irql);
    return *Number == Again;
}

NTSTATUS RunNumber(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    KSPIN_LOCK Lock;
    volatile LONG Long = (LONG)Call->Values[0];
    ULONG Ulong = (ULONG)Call->Values[0];
    LARGE_INTEGER Large, Addend;

    KeInitializeSpinLock(&Lock);
    Large.QuadPart = (LONG64)Call->Values[0];
    Addend.QuadPart = (LONG64)Call->Argument;
    switch (Routine)
    {
    case R_ExInterlockedAddUlong:
        Returned->Value = ExInterlockedAddUlong(&Ulong, (ULONG)Call->Argument, &Lock);
        PushRemaining(Returned, Ulong);
        break;
    case R_ExInterlockedAddLargeInteger:
        Returned->Value = (ULONG64)ExInterlockedAddLargeInteger(&Large, Addend, &Lock).QuadPart;
        PushRemaining(Returned, (ULONG64)Large.QuadPart);
        break;
    case R_InterlockedIncrement:
        Returned->Value = (ULONG)InterlockedIncrement(&Long);
        PushRemaining(Returned, (ULONG)Long);
        break;
    case R_InterlockedDecrement:
        Returned->Value = (ULONG)InterlockedDecrement(&Long);
        PushRemaining(Returned, (ULONG)Long);
        break;
    case R_InterlockedExchange:
        Returned->Value = (ULONG)InterlockedExchange(&Long, (LONG)Call->Argument);
        PushRemaining(Returned, (ULONG)Long);
        break;
    case R_KeGetCurrentProcessorNumber:
        Returned->Found = ReadProcessor(&Ulong);
        Returned->Value = Ulong;
        PushRemaining(Returned, KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS));
        break;
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    return STATUS_SUCCESS;
}

/* The variables that the threads share. */
typedef struct {
    KSPIN_LOCK Lock;
    volatile LONG Long;
    ULONG Ulong;
    LARGE_INTEGER Large;
} NUMBERS;

static LONG64 Next(RUN *Run, NUMBERS *Numbers)
{
    static const LARGE_INTEGER One = { .QuadPart = 1 };

    switch (Run->Routine)
    {
    case R_ExInterlockedAddUlong:
        return ExInterlockedAddUlong(&Numbers->Ulong, 1, &Numbers->Lock);
    case R_ExInterlockedAddLargeInteger:
        return ExInterlockedAddLargeInteger(&Numbers->Large, One, &Numbers->Lock).QuadPart;
    case R_InterlockedIncrement:
        return InterlockedIncrement(&Numbers->Long);
    default:
        return -(LONG64)InterlockedDecrement(&Numbers->Long);
    }
}

/* Gets the next number in every round, and checks that it is larger than the thread's last one. */
static VOID Increase(RUN *Run, ULONG Thread)
{
    LONG64 Last = -1;
    ULONG Round;

    UNREFERENCED_PARAMETER(Thread);
    for (Round = 0; Round < Run->Rounds; Round++)
    {
        LONG64 Number = Next(Run, Run->Context);

        Check(Run, Last < Number);
        Last = Number;
    }
}

/* Exchanges distinct numbers. The sum of the returned ones and the last one must be the sum of all. */
static VOID Exchange(RUN *Run, ULONG Thread)
{
    NUMBERS *Numbers = Run->Context;
    LONG64 Sum = 0;
    ULONG Round;

    for (Round = 1; Round <= Run->Rounds; Round++)
        Sum += (ULONG)InterlockedExchange(&Numbers->Long, (LONG)(Thread * Run->Rounds + Round));
    InterlockedExchangeAdd64(&Run->Actual, Sum);
}

static VOID ReadProcessors(RUN *Run, ULONG Thread)
{
    ULONG Count = KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS), Round, Number;

    UNREFERENCED_PARAMETER(Thread);
    for (Round = 0; Round < Run->Rounds; Round++)
    {
        Check(Run, ReadProcessor(&Number) && Number < Count);
        InterlockedIncrement64(&Run->Actual);
    }
}

NTSTATUS NumbersInThreads(RUN *Run, ULONG64 *Expected)
{
    NUMBERS Numbers = { 0 };
    ULONG64 Total = *Expected;
    NTSTATUS Status;

    KeInitializeSpinLock(&Numbers.Lock);
    Run->Context = &Numbers;
    switch (Run->Routine)
    {
    case R_InterlockedExchange:
        Run->Body = Exchange;
        *Expected = Total * (Total + 1) / 2;
        break;
    case R_KeGetCurrentProcessorNumber:
        Run->Body = ReadProcessors;
        break;
    default:
        Run->Body = Increase;
        break;
    }
    Status = EachThread(Run);
    if (Run->Routine == R_InterlockedDecrement)
        Run->Actual = -(LONG64)Numbers.Long;
    else if (Run->Routine != R_KeGetCurrentProcessorNumber)
        /* Only one of them was changed. */
        Run->Actual += Numbers.Long + (LONG64)Numbers.Ulong + Numbers.Large.QuadPart;
    return Status;
}
