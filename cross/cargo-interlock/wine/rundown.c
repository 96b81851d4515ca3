/*
 * Run-down protection, for which Wine has only stubs. An EX_RUNDOWN_REF has the number of holders
 * in all bits except the lowest. The lowest bit is set when the run-down has begun; the other bits
 * are then the address of the object that the thread waits for.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "irql.h"

/* Routines of Wine, under the names that build.sh gives them in the import library. */
void NTAPI wine_KeInitializeEvent(PRKEVENT event, EVENT_TYPE type, BOOLEAN state);
LONG NTAPI wine_KeSetEvent(PRKEVENT event, KPRIORITY increment, BOOLEAN wait);

/* The object that a thread waits for. An EX_RUNDOWN_REF contains its address with the lowest bit
 * set. */
struct wait {
    volatile LONG64 holders;
    KEVENT event;
};

static volatile LONG64 *word(PEX_RUNDOWN_REF ref)
{
    return (volatile LONG64 *)ref;
}

void FASTCALL ExInitializeRundownProtection(PEX_RUNDOWN_REF ref)
{
    *word(ref) = 0;
}

void FASTCALL ExReInitializeRundownProtection(PEX_RUNDOWN_REF ref)
{
    InterlockedExchange64(word(ref), 0);
}

BOOLEAN FASTCALL ExAcquireRundownProtection(PEX_RUNDOWN_REF ref)
{
    LONG64 old = *word(ref), seen;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    for (;; old = seen)
    {
        if (old & EX_RUNDOWN_ACTIVE) return FALSE;
        seen = InterlockedCompareExchange64(word(ref), old + EX_RUNDOWN_COUNT_INC, old);
        if (seen == old) return TRUE;
    }
}

void FASTCALL ExReleaseRundownProtection(PEX_RUNDOWN_REF ref)
{
    LONG64 old = *word(ref), seen;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    for (;; old = seen)
    {
        if (old & EX_RUNDOWN_ACTIVE)
        {
            struct wait *wait = (void *)(ULONG_PTR)(old & ~EX_RUNDOWN_ACTIVE);

            if (!InterlockedDecrement64(&wait->holders)) wine_KeSetEvent(&wait->event, IO_NO_INCREMENT, FALSE);
            return;
        }
        if (!old)
        {
            violation(CALLER, "%s without a hold", __func__);
            return;
        }
        seen = InterlockedCompareExchange64(word(ref), old - EX_RUNDOWN_COUNT_INC, old);
        if (seen == old) return;
    }
}

void FASTCALL ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF ref)
{
    LONG64 old = *word(ref), seen;
    struct wait wait;

    wine_KeInitializeEvent(&wait.event, SynchronizationEvent, FALSE);
    for (;; old = seen)
    {
        if (old & EX_RUNDOWN_ACTIVE) return;
        wait.holders = old >> EX_RUNDOWN_COUNT_SHIFT;
        seen = InterlockedCompareExchange64(word(ref), old ? (LONG64)(ULONG_PTR)&wait | EX_RUNDOWN_ACTIVE : EX_RUNDOWN_ACTIVE, old);
        if (seen == old) break;
    }
    /* The routine of irql.c, which checks the IRQL. */
    if (old) KeWaitForSingleObject(&wait.event, Executive, KernelMode, FALSE, NULL);
    InterlockedExchange64(word(ref), EX_RUNDOWN_ACTIVE);
}
