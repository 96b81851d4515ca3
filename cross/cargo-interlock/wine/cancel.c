/*
 * The cancel spin lock, and IoCancelIrp, which calls a Cancel routine with the lock held. Wine's own
 * IoCancelIrp does not call it at DISPATCH_LEVEL.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "spinlock.h"

static spin_lock cancel_lock;

void NTAPI IoAcquireCancelSpinLock(PKIRQL irql)
{
    *irql = spin_lock_acquire(&cancel_lock, __func__, CALLER);
}

void NTAPI IoReleaseCancelSpinLock(KIRQL irql)
{
    spin_lock_release(&cancel_lock, irql, __func__, CALLER);
}

BOOLEAN NTAPI IoCancelIrp(PIRP irp)
{
    union thread before = thread_get(), after;
    KIRQL irql = spin_lock_acquire(&cancel_lock, __func__, CALLER);
    PDRIVER_CANCEL routine;

    irp->Cancel = TRUE;
    routine = IoSetCancelRoutine(irp, NULL);
    if (!routine)
    {
        spin_lock_release(&cancel_lock, irql, __func__, CALLER);
        return FALSE;
    }
    irp->CancelIrql = irql;
    routine(IoGetCurrentIrpStackLocation(irp)->DeviceObject, irp);
    after = thread_get();
    if (after.irql != before.irql || after.locks != before.locks)
        violation(routine, "a Cancel routine returned at IRQL %d with %d spin locks held, entered from IRQL %d with %d",
                  after.irql, after.locks, before.irql, before.locks);
    return TRUE;
}
