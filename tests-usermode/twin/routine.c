/* The checks of a call by the rules of its routine, and which file runs it. */

#include "routine.h"

#define MAX_BLOCKS 64

static BOOLEAN Are32(const ULONG64 *Values, ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index++)
        if (Values[Index] > MAXULONG) return FALSE;
    return TRUE;
}

/* Whether two values are the size and the offset of a segment. */
static BOOLEAN IsSegment(const ULONG64 *Values)
{
    return Values[0] <= 65536 && Values[1] <= 15;
}

static BOOLEAN Fits(ULONG Routine, ULONG64 Argument, const ULONG64 *Values, ULONG Count)
{
    switch (Routine)
    {
    case R_IoAcquireCancelSpinLock:
    case R_KeInitializeSpinLock:
    case R_KeAcquireSpinLock:
    case R_KeAcquireSpinLockAtDpcLevel:
    case R_KeReleaseSpinLockFromDpcLevel:
    case R_KeInitializeDeviceQueue:
    case R_KeGetCurrentProcessorNumber:
        return Argument == 0 && Count == 0;
    case R_IoReleaseCancelSpinLock:
    case R_KeReleaseSpinLock:
        return Argument >= 1 && Argument <= 1000 && Count == 0;
    case R_IoSetCancelRoutine:
        return Argument <= 1 && Count == 0;
    case R_ExInterlockedInsertHeadList:
    case R_ExInterlockedInsertTailList:
    case R_ExInterlockedPushEntryList:
        return TRUE;
    case R_ExInterlockedRemoveHeadList:
    case R_ExInterlockedPopEntryList:
    case R_KeInsertDeviceQueue:
    case R_KeRemoveDeviceQueue:
        return Argument == 0;
    case R_ExInitializeZone:
        return Argument == 0 && Count == 3 && Are32(Values, 1) && IsSegment(Values + 1);
    case R_ExExtendZone:
    case R_ExInterlockedExtendZone:
        return Argument == 0 && Count == 5 && Are32(Values, 1) && IsSegment(Values + 1) && IsSegment(Values + 3);
    case R_ExInterlockedAllocateFromZone:
        return Argument <= 128 && Count == 1 && Values[0] <= MAX_BLOCKS;
    case R_ExInterlockedFreeToZone:
        return Count == 1 && Values[0] >= 1 && Values[0] <= MAX_BLOCKS && Argument <= Values[0];
    case R_KeInsertByKeyDeviceQueue:
        return Argument == 0 && Are32(Values, Count);
    case R_KeRemoveByKeyDeviceQueue:
    case R_KeRemoveByKeyDeviceQueueIfBusy:
        return Argument <= MAXULONG && Are32(Values, Count);
    case R_KeRemoveEntryDeviceQueue:
        return Argument < Count;
    case R_ExInterlockedAddUlong:
    case R_InterlockedExchange:
        return Argument <= MAXULONG && Count == 1 && Are32(Values, 1);
    case R_ExInterlockedAddLargeInteger:
        return Count == 1;
    case R_InterlockedIncrement:
    case R_InterlockedDecrement:
        return Argument == 0 && Count == 1 && Are32(Values, 1);
    default:
        return FALSE;
    }
}

BOOLEAN CallIsValid(ULONG Routine, const CALL *Call)
{
    ULONG MostReserved = Routine == R_KeRemoveByKeyDeviceQueueIfBusy && Call->Count == 0 ? 1 : 0, Index;

    if (Call->Count > CALL_VALUES || Call->Reserved > MostReserved) return FALSE;
    for (Index = Call->Count; Index < CALL_VALUES; Index++)
        if (Call->Values[Index] != 0) return FALSE;
    return Fits(Routine, Call->Argument, Call->Values, Call->Count);
}

NTSTATUS RunRoutine(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    if (Routine <= R_KeReleaseSpinLockFromDpcLevel) return RunLock(Routine, Call, Returned);
    if (Routine <= R_ExInterlockedPopEntryList) return RunList(Routine, Call, Returned);
    if (Routine <= R_ExInterlockedFreeToZone) return RunZone(Routine, Call, Returned);
    if (Routine <= R_KeRemoveEntryDeviceQueue) return RunDeviceQueue(Routine, Call, Returned);
    return RunNumber(Routine, Call, Returned);
}
